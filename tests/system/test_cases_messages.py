"""Messages: fragments (RFC 6455 5.4), UTF-8 (8.1), and the pings and pongs between them (5.5.2)."""

import itertools
import struct
import threading
import time

import pytest

from cases import (HELLO, PLAIN_HOW, SOON, B, Control, Row, T, again, alive, rows, run_row, send_as,
                   up)
from harness import KIB, MEMORY_IS_REAL, MIB, eventually, scaled, section
from peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close_frame, make_frame

FRAGMENTS_MAX = 131072  # of one message


def fragments(opcode, *parts, between=b""):
    """A message in fragments, with BETWEEN between each two."""
    last = len(parts) - 1
    return between.join(make_frame(CONTINUATION if i else opcode, part, fin=int(i == last))
                        for i, part in enumerate(parts))


# --- fragments ----------------------------------------------------------------------------------


@rows(Row("three", fragments(TEXT, "he", "l", "lo"), T("hello")),
      Row("two messages", fragments(TEXT, "he", "llo") + fragments(BINARY, b"\0", b"\xff"),
          T("hello"), B(b"\0\xff")))
def test_g01_fragments(bench, row, how):
    """The parts of a message make one message."""
    run_row(bench, row, how)


@rows(*(Row("-".join(p or "0" for p in parts), fragments(TEXT, *parts), T("".join(parts)))
        for parts in itertools.product(("", "a"), ("", "b"), ("", "c"))),
      Row("two empty", fragments(BINARY, "", ""), B(b"")))
def test_g02_empty_fragments(bench, row, how):
    """Empty fragments at the beginning, in the middle, at the end, all of them."""
    run_row(bench, row, how)


@pytest.mark.parametrize("count", (65536, FRAGMENTS_MAX))
def test_g03_many_fragments(bench, count):
    """So many fragments of one byte cost no more than the bytes."""
    data = fragments(BINARY, *[b"x"] * count)
    run_row(bench, Row("warm", make_frame(TEXT, "warm"), T("warm")), "once")
    before = bench.daemon.rss()
    run_row(bench, Row("many", data, B(b"x" * count)), "once")
    if MEMORY_IS_REAL:
        assert bench.daemon.rss() - before < MIB + 4 * count


@pytest.mark.parametrize("how", ("once", "deflate"))
def test_g04_too_many_fragments(bench, how):
    """One fragment more than are allowed.  (Here that is 131072: servers exist that send large
    messages in pieces of a few bytes, and they cost nothing.)"""
    run_row(bench, Row("x", fragments(BINARY, *[b"x"] * (FRAGMENTS_MAX + 1)), code=1008), how)


def test_g05_endless_empty_fragments(bench):
    """A million empty continuations end with 1008, and are no work."""
    data = make_frame(TEXT, "", fin=0) + make_frame(CONTINUATION, "", fin=0) * 1000000
    before = bench.daemon.cpu()
    run_row(bench, Row("x", data, code=1008), "once")
    assert bench.daemon.cpu() - before < scaled(2)


@rows(Row("first", make_frame(CONTINUATION, "x"), code=1002),
      Row("first, not final", make_frame(CONTINUATION, "x", fin=0), code=1002),
      Row("first, empty", make_frame(CONTINUATION, ""), code=1002),
      Row("after a message", make_frame(TEXT, "whole") + make_frame(CONTINUATION, "x"), T("whole"),
          code=1002),
      Row("after fragments", fragments(TEXT, "a", "b") + make_frame(CONTINUATION, "x"), T("ab"),
          code=1002))
def test_g06_continuation_of_nothing(bench, row, how):
    """A continuation where no message has begun."""
    run_row(bench, row, how)


@rows(*(Row(f"{a} in {b}", make_frame(b, "x", fin=0) + make_frame(a, "y", fin=fin), code=1002)
        for a in (TEXT, BINARY) for b in (TEXT, BINARY) for fin in (0, 1)))
def test_g07_message_inside_a_message(bench, row, how):
    """A new message before the last one has ended."""
    run_row(bench, row, how)


ODD = bytes(range(256))[-125:]


@rows(Row("ping", fragments(TEXT, "he", "llo", between=make_frame(PING, ODD)), T("hello"),
          pongs=[ODD]),
      Row("empty ping", fragments(TEXT, "he", "llo", between=make_frame(PING)), T("hello"),
          pongs=[b""]),
      Row("pong", fragments(TEXT, "he", "l", "lo", between=make_frame(PONG, "unasked")),
          T("hello")))
def test_g08_control_frames_between_fragments(bench, row, how):
    """Pings between fragments are answered, the message is whole."""
    run_row(bench, row, how)


@pytest.mark.parametrize("how", PLAIN_HOW)
def test_g09_close_between_fragments(bench, how):
    """A Close in the middle of a message counts; the message does not, and the cause says so."""
    def script(c):
        send_as(c, how, make_frame(TEXT, "begun", fin=0) + close_frame(4000, "enough"))
        payload = c.close_payload()
        assert payload == struct.pack("!H", 4000)
        c.half_close()
        c.expect_eof()
    case = bench.case(script, again, how=how)
    told = case.expect_ended("4000", SOON, was_open=True)
    assert "in the middle of a message" in told and "enough" in told
    assert case.session() == ([], 4000)
    case.expect_works_again(by_itself=True)


@rows(*(Row(f"{opcode:x} {what}", make_frame(opcode, payload, fin=0) + make_frame(CONTINUATION, ""),
            code=1002)
        for opcode in (CLOSE, PING, PONG) for what, payload in (("", b"\x03\xe8"), ("empty", b""))))
def test_g10_fragmented_control_frames(bench, row, how):
    """Control frames must not be fragmented."""
    run_row(bench, row, how)


@pytest.mark.parametrize("opcode", (TEXT, BINARY))
def test_g11_fragments_beyond_the_limit(bench, opcode):
    """The fragment that makes the message too long is refused at its beginning, whatever
    follows."""
    part = "x" * 400 * KIB
    data = (make_frame(opcode, part, fin=0) + make_frame(CONTINUATION, part, fin=0)
            + make_frame(CONTINUATION, part, fin=0)[:11])
    run_row(bench, Row("x", data, code=1009), "once")
    run_row(bench, Row("x", data, code=1009), "drip")


def test_g12_a_thousand_pings_between(bench):
    """A thousand pings between two fragments: the newest is answered at least, in order; the
    message is whole."""
    def script(c):
        up(c)
        c.send(fragments(TEXT, "he", "llo",
                         between=b"".join(make_frame(PING, f"{i}") for i in range(1000))))
        got = [-1]
        while got[-1] != 999:
            number = int(c.expect_frame(PONG))
            assert number > got[-1]
            got.append(number)
        alive(c)
    case = bench.case(script, reconnect="never")
    assert case.message() == T("hello")
    case.expect_works_again(by_itself=True)


def test_g13_message_left_unfinished(bench):
    """Half a message, then only pings: the connection stays, they are answered, and the message is
    whole when its end does come.  It holds no more memory than it has."""
    half = "x" * 700 * KIB

    def script(c):
        up(c)
        c.frame(TEXT, half, fin=0)
        for i in range(20):
            c.frame(PING, f"{i}")
            assert c.expect_frame(PONG) == f"{i}".encode()
        c.frame(CONTINUATION, "end")
        alive(c)
    before = bench.daemon.rss()
    case = bench.case(script, reconnect="never", ping_interval="100ms", ping_timeout="10s")
    assert case.message() == T(half + "end")
    case.expect_works_again(by_itself=True)
    if MEMORY_IS_REAL:
        assert bench.daemon.rss() - before < 4 * MIB


def test_g13_message_never_finished(faulty, peer):
    """After a minute without one more byte of it, it is not waited for any longer, whatever pings
    come; with a byte the minute begins anew."""
    step, went_on = [threading.Event() for _ in range(2)], threading.Event()

    def script(c):
        c.good()
        c.frame(TEXT, "begin", fin=0)
        c.frame(PING, "1")
        assert c.expect_frame(PONG) == b"1"
        assert step[0].wait(scaled(20))
        c.frame(CONTINUATION, "more", fin=0)
        c.frame(PING, "2")
        assert c.expect_frame(PONG) == b"2"
        went_on.set()
        assert step[1].wait(scaled(20))
        c.frame(PING, "3")
        assert c.expect_frame(PONG) == b"3"
        assert "message for 60 s" in c.expect_close(1008)
    server = peer(script)
    faulty.start(section("a", server.url, "reconnect = never", "ping-interval = 0"))
    faulty.wait_open("a")
    faulty.pass_time(40)
    step[0].set()
    assert went_on.wait(scaled(20))
    faulty.pass_time(40)
    assert faulty.status("a")["state"] == "open"
    step[1].set()
    faulty.pass_time(40)
    server.wait_finished()
    status = faulty.wait_state("a", "failed", "closed")
    assert "the server has not gone on with a message for 60 s (closed with 1008)" in status["cause"]
    assert status["cause_class"] == "protocol" and status["received"]["messages"] == 0


@rows(Row("looks like half a text", fragments(BINARY, b"\xce", b"\xff\xba"), B(b"\xce\xff\xba")))
def test_g14_fragmented_binary(bench, row, how):
    """A binary message is not judged as text."""
    run_row(bench, row, how)


# --- UTF-8 --------------------------------------------------------------------------------------

VALID = {"kosme": "\u03ba\u1f79\u03c3", "U+10FFFF": "\U0010ffff", "U+FFFE": "\ufffe",
         "BOM": "\ufeffx", "NUL inside": "a\0b", "U+D7FF U+E000": "\ud7ff\ue000",
         "U+7F U+80 U+7FF U+800": "\x7f\x80\u07ff\u0800"}
INVALID = {x: bytes.fromhex(x) for x in (
    "ff", "fe", "c080", "c0af", "c1bf", "e080af", "e09fbf", "f08080af", "f08fbfbf", "eda080",
    "edbfbf", "edafbfedb080", "f4908080", "f5808080", "f888808080", "80", "bf", "c3c3", "e28228",
    "f09f9820")}
CUT = {x: bytes.fromhex(x) for x in ("c3", "e2", "e282", "f0", "f09f", "f09f98")}


@rows(*(Row(name, make_frame(TEXT, text), T(text)) for name, text in VALID.items()))
def test_u01_valid(bench, row, how):
    """Whatever is UTF-8 is delivered byte for byte."""
    run_row(bench, row, how)


@rows(*(Row(f"{name}{where}", make_frame(TEXT, before + data), code=1007)
        for name, data in INVALID.items()
        for where, before in (("", b""), (" behind text", b"text "))))
def test_u02_invalid(bench, row, how):
    """Overlong forms, surrogates, numbers that are too large, bytes that stand alone."""
    run_row(bench, row, how)


@rows(*(Row(f"{name}", make_frame(TEXT, b"text " + data), code=1007) for name, data in CUT.items()),
      *(Row(f"{name} in fragments", fragments(TEXT, b"text ", data), code=1007)
        for name, data in CUT.items()))
def test_u03_cut_off(bench, row, how):
    """A message ends within a character."""
    run_row(bench, row, how)


MANY = "\xe4\u20ac\U0001f600"


@rows(*(Row(f"at {i}", fragments(TEXT, MANY.encode()[:i], MANY.encode()[i:]), T(MANY))
        for i in range(len(MANY.encode()) + 1)),
      Row("each byte", fragments(TEXT, *(bytes([b]) for b in MANY.encode())), T(MANY)))
def test_u04_characters_over_fragments(bench, row, how):
    """Characters of two, three and four bytes, cut by fragments at each place."""
    run_row(bench, row, how)


@pytest.mark.parametrize("behind", (2, 4), ids=("short frame", "long frame"))
def test_u05_characters_over_segments(bench, behind):
    """... and by segments."""
    text = MANY if behind == 2 else MANY * 20
    frame = make_frame(TEXT, text)
    cuts = range(behind, len(MANY.encode()) + behind + 1)

    def script(c):
        c.good()
        for cut in cuts:
            c.send_pieces([frame[:cut], frame[cut:]])
        c.expect_frame(TEXT, HELLO)
        alive(c)
    case = bench.case(script, unix=True, reconnect="never")
    for _ in cuts:
        assert case.message() == T(text)
    case.expect_works_again(by_itself=True)


@rows(*(Row(name, make_frame(TEXT, data, fin=0), code=1007) for name, data in INVALID.items()))
def test_u06_invalid_in_the_first_fragment(bench, row, how):
    """What cannot become UTF-8 any more is refused before the message ends."""
    run_row(bench, row, how)


@rows(Row("last byte", make_frame(TEXT, b"a" * (MIB - 1) + b"\xff"), code=1007),
      Row("last but one", make_frame(TEXT, b"a" * (MIB - 2) + b"\xc3a"), code=1007))
def test_u07_invalid_at_the_end_of_a_long_message(bench, row, how):
    """A megabyte of ASCII, and then a bad byte: nothing is delivered."""
    run_row(bench, row, how)


@rows(*(Row(f"at {i}", fragments(TEXT, b"x" + MANY.encode()[:i], MANY.encode()[i:],
                                 between=make_frame(PING, b"\xff")),
            T("x" + MANY), pongs=[b"\xff"]) for i in range(1, len(MANY.encode()))))
def test_u08_ping_within_a_character(bench, row, how):
    """A ping (of what is no UTF-8) between the halves of a character."""
    run_row(bench, row, how)


@rows(*(Row(name, make_frame(BINARY, data), B(data)) for name, data in {**INVALID, **CUT}.items()))
def test_u09_as_binary(bench, row, how):
    """The same bytes are fine in a binary message."""
    run_row(bench, row, how)


@pytest.mark.parametrize("data", (b"\xff", b"\xc3", b"a\xed\xa0\x80b"),
                         ids=("ff", "c3", "surrogate"))
def test_u10_invalid_text_to_be_sent(bench, data):
    """A local program's text that is not UTF-8 is refused and counted; nothing of it is sent."""
    def script(c):
        up(c)
        c.expect_frame(TEXT, "before")
        c.expect_frame(TEXT, "behind")
    case = bench.case(script, reconnect="never")
    send = Control(bench.daemon, "send", name=case.name, framing="nul")
    case.controls.append(send)
    send.stream.write(b"before\0" + data + b"\0behind\0")
    case.peer.wait_finished()
    assert case.status()["rejected"]["messages"] == 1
    assert b'"rejected"' in send.sock.recv(65536)


@rows(*(Row(f"{size} {at}", make_frame(TEXT, b"a" * at + b"\xff" + b"a" * (size - at - 1)),
            code=1007)
        for size in (16, 40) for at in range(16)), how=("once", "deflate"))
def test_u11_each_offset(bench, row, how):
    """A bad byte at each offset of a run of ASCII, which is judged in words of several bytes."""
    run_row(bench, row, how)


# --- pings and pongs ----------------------------------------------------------------------------


@rows(Row("empty", make_frame(PING), pongs=[b""]),
      Row("125 bytes", make_frame(PING, ODD), pongs=[ODD]),
      Row("zeros", make_frame(PING, b"\0\xff\0"), pongs=[b"\0\xff\0"]))
def test_k01_ping(bench, row, how):
    """A ping is answered with its own payload."""
    run_row(bench, row, how)


@rows(Row("126 bytes", make_frame(PING, "x" * 126), code=1002),
      Row("65536 bytes", make_frame(PING, "x" * 65536), code=1002),
      Row("pong of 126 bytes", make_frame(PONG, "x" * 126), code=1002),
      Row("not final", make_frame(PING, "x", fin=0), code=1002))
def test_k02_ping_too_long(bench, row, how):
    """Control frames have at most 125 bytes, and are whole."""
    run_row(bench, row, how)


def test_k03_three_pings_at_once(bench):
    """Of pings in one segment the newest at least is answered (RFC 6455 5.5.3), none behind a
    newer."""
    def script(c):
        up(c)
        c.send(b"".join(make_frame(PING, x) for x in "abc"))
        got = b""
        while not got.endswith(b"c"):
            got += c.expect_frame(PONG)
        assert got in (b"c", b"bc", b"ac", b"abc")
        alive(c)
    bench.case(script, reconnect="never").expect_works_again(by_itself=True)


def test_k04_pings_to_one_who_cannot_answer(bench):
    """A flood of pings while the server reads nothing: the answers do not pile up, and the newest
    comes when it reads again."""
    count = 300000
    flooded = threading.Event()

    def script(c):
        up(c)
        c.send(b"".join(make_frame(PING, f"{i:06}" * 20) for i in range(count // 10)))
        c.send(b"".join(make_frame(PING, f"{i:06}") for i in range(count)))
        flooded.set()
        number = -1
        while number != count - 1:
            data = c.expect_frame(PONG, timeout=30)
            number = int(data[:6])
        alive(c)
    before = bench.daemon.rss()
    case = bench.case(script, reconnect="never", peer_args={"receive_buffer": 4096})
    assert flooded.wait(scaled(30))
    if MEMORY_IS_REAL:
        assert bench.daemon.rss() - before < MIB
    case.expect_works_again(by_itself=True)


def test_k05_unsolicited_pongs(bench):
    """Pongs that nobody asked for, or with another payload, are ignored: no round trip is measured
    by them, and they are no answer to our ping; but they are life, as any byte."""
    def script(c):
        up(c)
        c.send(make_frame(PONG, b"nobody asked") + make_frame(PONG))
        ping = c.expect_frame(PING)
        c.frame(PONG, ping[:-1] + bytes([ping[-1] ^ 1]))
        c.frame(PONG, ping + b"x")
        c.frame(TEXT, "wrong pongs")
        c.expect_frame(TEXT, "now the right one")
        c.frame(PONG, ping)
        c.frame(TEXT, "right pong")
        c.stall()
    case = bench.case(script, reconnect="never", ping_interval="100ms", ping_timeout="1h")
    assert case.message() == T("wrong pongs")
    assert case.status()["rtt_ms"] is None
    case.send("now the right one")
    assert case.message() == T("right pong")
    assert case.status()["rtt_ms"] is not None


def test_k06_any_byte_is_life(bench):
    """No pong ever, but data for several times `ping-timeout`: it stays up.  Then silence: dead."""
    def script(c):
        up(c)
        c.expect_frame(PING)
        for i in range(15):
            c.frame(TEXT, f"{i}")
            c.wait(0.1)
        c.swallow()
    case = bench.case(script, again, ping_interval="200ms", ping_timeout="500ms")
    for i in range(15):
        assert case.message() == T(f"{i}")
    told = case.expect_ended("ping timeout", SOON, was_open=True)
    assert "silent" in told
    while case.record() != ("close", 1006):
        pass
    case.expect_works_again(by_itself=True)


def test_k07_pong_behind_a_slow_message(bench):
    """The pong stands behind a long message that comes slowly: each piece is life."""
    def script(c):
        up(c)
        ping = c.expect_frame(PING)
        frame = make_frame(TEXT, "x" * MIB)
        size = len(frame) // 30
        c.send_pieces([frame[i:i + size] for i in range(0, len(frame), size)], every=0.05)
        c.frame(PONG, ping)
        alive(c)
    case = bench.case(script, reconnect="never", ping_interval="200ms", ping_timeout="500ms")
    assert case.message() == T("x" * MIB)
    case.expect_works_again(by_itself=True)


def test_k08_no_ping_timeout_while_paused(bench):
    """With `overflow = block` a reader that does not read stops the reading from the server, for
    longer than `ping-timeout`: the pong is behind that, so its time does not run."""
    count, size = 400, 20000

    def script(c):
        up(c)
        c.expect_frame(TEXT, "there is a reader")

        def answer():  # pongs, while the other thread cannot send
            while True:
                opcode, data, _, _ = c.read_frame(60)
                if opcode == PING:
                    pongs.append(data)
                elif opcode == CLOSE:
                    return
        pongs = []
        reader = threading.Thread(target=lambda: _quietly(answer), daemon=True)
        reader.start()
        for i in range(count):
            c.frame(BINARY, struct.pack("!I", i) * (size // 4))
            while pongs:
                c.frame(PONG, pongs.pop())
        while reader.is_alive():
            while pongs:
                c.frame(PONG, pongs.pop())
            reader.join(0.01)
        c.send(close_frame(1000))
    case = bench.case(script, overflow="block", keep="100K", ping_interval="100ms",
                      ping_timeout="500ms",
                      peer_args={"receive_buffer": 65536})
    case.send("there is a reader")
    assert case.message() == B(bytes(size))
    time.sleep(1.5)  # a reader that is slow
    assert case.status()["state"] == "open"
    for i in range(1, count):
        assert case.message(20) == B(struct.pack("!I", i) * (size // 4))
    before = case.status()["rtt_ms"]
    eventually(lambda: case.status()["rtt_ms"] != before, what="pings are answered again")
    assert len(case.peer.connections) == 1
    assert bench.ask("close", name=case.name)["close_code"] == 1000


def _quietly(run):
    try:
        run()
    except BaseException:
        pass


@pytest.mark.parametrize("answer", (True, False), ids=("before our Close", "and no Close"))
def test_k09_ping_behind_our_close(bench, answer):
    """Pings after we have sent Close need no pong, and get no data; the handshake goes on."""
    def script(c):
        up(c)
        c.expect_close(1000)
        c.send(make_frame(PING, "a") * 3 + make_frame(TEXT, "late"))
        if answer:
            c.send(close_frame(1000))
            c.half_close()
        for opcode, _ in c.frames_to_end():
            assert opcode == PONG
    case = bench.case(script)
    case.wait_state("open")
    told = bench.ask("close", name=case.name)
    assert told["close_code"] == (1000 if answer else 1006)
    case.peer.wait_finished()


def test_k10_ping_in_the_middle_of_closing(bench):
    """The server has sent its Close and goes on pinging."""
    def script(c):
        up(c)
        c.send(make_frame(PING, "a") + close_frame(1001) + make_frame(PING, "b") * 10)
        assert c.close_payload() == b"\x03\xe9"
        c.send(make_frame(PING, "c") * 10)
        c.half_close()
        c.expect_eof()
    case = bench.case(script, again)
    assert case.session() == ([], 1001)
    case.expect_works_again(by_itself=True)


def test_k11_our_pings(bench):
    """Our pings differ, none comes while one is open, the first only behind the 101."""
    payloads = []

    def script(c):
        c.read_head()
        c.expect_silence(0.3)
        c.send(c.good_head())
        c.expect_frame(TEXT, HELLO)
        for i in range(5):
            payloads.append(c.expect_frame(PING))
            if i == 2:
                c.expect_silence(0.3)
            c.frame(PONG, payloads[-1])
        alive(c)
    case = bench.case(script, reconnect="never", ping_interval="50ms", ping_timeout="10s")
    case.expect_works_again(by_itself=True)
    assert len(set(payloads)) == 5 and all(len(x) <= 125 for x in payloads)


def test_k04_pings_are_answered_while_nobody_reads(bench):
    """Pings are answered although everything received waits for a reader."""
    def script(c):
        up(c)
        for i in range(200):
            c.frame(BINARY, b"x" * 20000)
            c.frame(PING, f"{i}")
            assert c.expect_frame(PONG) == f"{i}".encode()
    case = bench.case(script)
    case.peer.wait_finished()
