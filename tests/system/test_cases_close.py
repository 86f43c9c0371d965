"""Closing (RFC 6455 7): the server's Close and ours, at all moments, and ends without one."""

import struct
import threading

import pytest

from cases import (HOW, SLOW, SOON, Row, T, again, alive, rows, run_row, send_as, up)
from harness import MIB, eventually, scaled
from peer import BINARY, CLOSE, CONTINUATION, TEXT, close_frame, make_frame

VALID = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3003, 3999,
         4000,
         4999)
INVALID = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 65535)

# By the server's code: how long until the next attempt, in seconds.
RETRY = {1002: SLOW, 1003: SLOW, 1007: SLOW, 1008: SLOW, 1009: (30, 33), 1010: SLOW, 1012: (5, 30),
         1013: (30, 45), 3000: SLOW, 3003: SLOW}


def body(code, reason=""):
    return struct.pack("!H", code) + (reason if isinstance(reason, bytes) else reason.encode())


def closed_by_server(bench, how, data, code, reason="", echo=None, messages=(), **options):
    """The server sends DATA, which ends with a Close: that is answered with the same code, once,
    reported, and the next connection works."""
    seen = []

    def script(c):
        send_as(c, how, data)
        seen.append(c.close_payload())
        c.half_close()
        seen.extend(c.frames_to_end())
    case = bench.case(script, again, how=how, **options)
    case.peer.wait_finished()
    assert seen == [body(code) if echo is None else echo], seen
    assert case.session() == (list(messages), code)
    retry = RETRY.get(code, SOON)
    told = case.expect_ended(f"server closed: {code}", retry, was_open=True)
    if retry != SOON:
        status = case.status()
        assert status["state"] == "waiting" and status["cause"] == told
        assert (status["close_code"], status["close_reason"]) == (code, reason or None)
        assert status["received"]["messages"] == len(messages)
    assert told.endswith(reason)
    if retry != SOON or how == "once":  # the others need not all be waited for
        case.expect_works_again(by_itself=retry == SOON)


def close_from_here(bench, case):
    """`wspipe close`, to its end: the answer."""
    return bench.ask("close", name=case.name)


def begin_close(bench, case):
    """The same, without waiting; a thread whose end is the answer's."""
    thread = threading.Thread(target=close_from_here, args=(bench, case), daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("how", HOW)
def test_l01_close_without_code(bench, how):
    """An empty Close is answered by an empty one, and reported as 1005."""
    closed_by_server(bench, how, make_frame(CLOSE), 1005, echo=b"")


@pytest.mark.parametrize("how", HOW)
def test_l02_close_with_reason(bench, how):
    """1000 and a reason: answered with 1000, both are told."""
    closed_by_server(bench, how, close_frame(1000, "bye"), 1000, "bye")


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("code", VALID)
def test_l03_valid_codes(bench, code, how):
    """Every code that a server may send, also those that came after the RFC (1012 to 1014)."""
    closed_by_server(bench, how, close_frame(code, "why"), code, "why")


@rows(*(Row(f"{code}", close_frame(code), code=1002) for code in INVALID),
      *(Row(f"{code} with reason", close_frame(code, "why"), code=1002)
        for code in (999, 1005, 1006, 5000)))
def test_l04_invalid_codes(bench, row, how):
    """Codes that must not be on the wire."""
    run_row(bench, row, how)


@rows(Row("3", make_frame(CLOSE, b"\3"), code=1002), Row("0", make_frame(CLOSE, b"\0"), code=1002))
def test_l05_half_a_code(bench, row, how):
    """A Close with one byte."""
    run_row(bench, row, how)


@pytest.mark.parametrize("how", HOW)
def test_l06_longest_reason(bench, how):
    """A reason of 123 bytes."""
    closed_by_server(bench, how, close_frame(4001, "r" * 123), 4001, "r" * 123)


@rows(Row("126", make_frame(CLOSE, body(1000, "r" * 124)), code=1002),
      Row("70000", make_frame(CLOSE, body(1000, "r" * 70000)), code=1002))
def test_l06_reason_too_long(bench, row, how):
    """... one byte more makes the frame too long."""
    run_row(bench, row, how)


@rows(*(Row(f"{name}", make_frame(CLOSE, body(1000, data)), code=1007) for name, data in {
    "ff": b"\xff", "behind text": b"abc\xff", "cut off": b"abc\xe2\x82",
    "surrogate": b"\xed\xa0\x80", "overlong": b"\xc0\x80", "last of 123": b"r" * 122 + b"\xff"}.items()))
def test_l07_reason_is_not_utf8(bench, row, how):
    """A reason that is not UTF-8."""
    run_row(bench, row, how)


REASON = "\xe4\u20ac\U0001f600"


@pytest.mark.parametrize("cut", range(1, len(close_frame(4000, REASON))))
def test_l08_reason_in_two_segments(bench, cut):
    """A reason of characters of two, three and four bytes, the frame cut at each place."""
    frame = close_frame(4000, REASON)
    seen = []

    def script(c):
        c.good()
        c.send_pieces([frame[:cut], frame[cut:]])
        seen.append(c.close_payload())
        c.half_close()
        c.expect_eof()
    case = bench.case(script, again, unix=True)
    told = case.expect_ended("server closed: 4000", SOON)
    assert told.endswith(REASON) and seen == [body(4000)]
    case.expect_works_again(by_itself=True)


@pytest.mark.parametrize("at", range(4086, 4100))
def test_l09_close_at_the_edge_of_the_buffer(bench, at):
    """A Close that begins at each offset around 4096."""
    data = b"x" * (at - 4)
    closed_by_server(bench, "once", make_frame(BINARY, data) + close_frame(4002, "edge"), 4002,
                     "edge",
                     messages=[("binary", data)])


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("behind",
                         (make_frame(TEXT, "ghost"), make_frame(3, "x"), make_frame(TEXT, b"\xff"),
                                    b"\xff" * 5000),
                         ids=("text", "bad opcode", "bad text", "noise"))
def test_l10_data_behind_a_close(bench, behind, how):
    """What stands behind a Close is nothing: not delivered, not judged."""
    closed_by_server(bench, how, close_frame(4000, "x") + behind, 4000, "x")


@pytest.mark.parametrize("how", HOW)
def test_l11_second_close(bench, how):
    """A second Close is not answered."""
    closed_by_server(bench, how, close_frame(4000, "x") + close_frame(4001), 4000, "x")


def asked(bench, script, **options):
    """A connection that is open and then closed from here: what the client is told."""
    case = bench.case(script, **options)
    case.wait_state("open")
    answer = close_from_here(bench, case)
    case.peer.wait_finished()
    return case, answer


def test_l12_close_from_here(bench):
    """We close: 1000, the server answers and ends the stream, then we do."""
    def script(c):
        up(c)
        assert c.expect_close(1000) == ""
        c.expect_silence(0.1)  # the server goes first
        c.send(close_frame(1000))
        c.half_close()
        c.expect_eof()
    case, answer = asked(bench, script, close_timeout="10s")
    assert answer["close_code"] == 1000


def test_l13_answered_with_another_code(bench):
    """The server answers with a code of its own: that is reported, and no failure."""
    def script(c):
        up(c)
        c.expect_close(1000)
        c.send(close_frame(4321, "mine"))
    case, answer = asked(bench, script)
    assert (answer["close_code"], answer["close_reason"]) == (4321, "mine")
    assert any("info: closed" in x or x.startswith("closed") for x in case.log()), case.log()


def test_l14_data_behind_our_close(bench):
    """After our Close the server sends what it still had, then its own: delivered, all of it."""
    def script(c):
        up(c)
        c.expect_close(1000)
        for i in range(50):
            c.frame(TEXT, f"{i}")
        c.send(close_frame(1000))
    case, answer = asked(bench, script)
    assert answer["close_code"] == 1000
    assert case.session() == ([T(f"{i}") for i in range(50)], 1000)


def test_l15_never_answered(bench):
    """The server ignores our Close: TCP ends after `close-timeout`, with 1006."""
    def script(c):
        up(c)
        c.expect_close(1000)
        c.expect_eof()
    case, answer = asked(bench, script)
    assert answer["close_code"] == 1006 and "did not answer" in answer["message"]


def test_l16_answered_but_not_ended(bench):
    """The server answers, and leaves the stream open: we end it after a while; it was clean."""
    def script(c):
        up(c)
        c.expect_close(1000)
        c.send(close_frame(1000))
        c.expect_eof()
    case, answer = asked(bench, script)
    assert answer["close_code"] == 1000


def test_l16_closed_but_not_ended(bench):
    """... also when the server began: its Close is answered, then nothing comes."""
    def script(c):
        up(c)
        c.send(close_frame(1001))
        c.expect_close(1001)
        c.expect_eof()
    case = bench.case(script, again)
    assert case.session() == ([], 1001)
    case.expect_works_again(by_itself=True)


@pytest.mark.parametrize("end", ("eof", "rst", "half close", "in a frame", "in a message"))
def test_l17_end_without_close(bench, end):
    """TCP ends without a Close, anywhere: 1006, what was whole is delivered, and it connects
    again."""
    def script(c):
        up(c)
        c.frame(TEXT, "before")
        c.expect_frame(TEXT, "seen")
        if end == "rst":
            c.rst()
        elif end == "half close":
            c.half_close()
            c.expect_eof()
        elif end == "in a frame":
            c.send(make_frame(TEXT, "lost")[:4])
        elif end == "in a message":
            c.frame(TEXT, "lost", fin=0)
    case = bench.case(script, again)
    assert case.message() == T("before")
    case.send("seen")
    case.expect_ended("" if end == "rst" else "without a close frame", SOON, was_open=True)
    assert case.record() == ("close", 1006)
    case.expect_works_again(by_itself=True)
    assert case.status()["reconnects"] >= 1


def test_l18_queued_messages_go_first(bench):
    """All that was accepted arrives before our Close."""
    go = threading.Event()
    count, more = 3000, "x" * 4000

    def script(c):
        up(c)
        assert go.wait(scaled(10))
        for i in range(count):
            c.expect_frame(TEXT, f"{i}" + more)
        c.expect_close(1000)
        c.send(close_frame(1000))
    case = bench.case(script, close_timeout="10s", queue="16M", peer_args={"receive_buffer": 4096})
    for i in range(count):
        case.send(f"{i}" + more)

    def all_taken():
        status = case.status()
        return status["queue"]["messages"] + status["sent"]["messages"] >= count
    eventually(all_taken)
    assert case.status()["queue"]["messages"] > 100
    closing = begin_close(bench, case)
    case.wait_state("closing")
    go.set()
    closing.join(scaled(20))
    case.peer.wait_finished()


def test_l19_server_closes_while_messages_wait(bench):
    """The server's Close is answered though messages wait to be sent; these stay queued, are sent
    in the next connection, and none is lost in silence or sent twice."""
    count, size = 3000, 4000
    go = threading.Event()
    got = []

    def closing(c):
        up(c)
        assert go.wait(scaled(10))
        c.send(close_frame(4000))
        for opcode, data in c.frames_to_end():
            if opcode == TEXT:
                got.append(int(data[:8]))
            else:
                assert opcode == CLOSE and data == body(4000)

    def rest(c):
        up(c)
        while not got or got[-1] != count - 1:
            got.append(int(c.expect_frame(TEXT)[:8]))
        alive(c)
    case = bench.case(closing, rest, queue="16M", peer_args={"receive_buffer": 4096})
    for i in range(count):
        case.send(f"{i:08}".ljust(size, "x"))
    eventually(lambda: case.status()["queue"]["messages"] > 100)
    go.set()
    case.expect_ended("server closed: 4000", SOON)
    while case.message(20) != T("works?"):
        pass
    case.send("works!")
    case.peer.wait_finished(2)
    assert got == sorted(set(got)), "sent twice, or not in order"
    lost = sum(int(x.split(" outgoing")[0].split()[-1]) for x in case.log() if "were not sent" in x)
    assert len(got) + lost >= count


@pytest.mark.parametrize("who", ("server", "client"))
def test_l20_close_in_the_middle_of_our_message(bench, who):
    """A long message of ours is half sent when a Close comes, from there or from here: no data
    behind our Close, and an unfinished message is never passed off as whole."""
    begun = threading.Event()
    go = threading.Event()
    frames = []

    def script(c):
        up(c)
        opcode, _, fin, _ = c.read_frame()
        assert opcode == TEXT and not fin
        begun.set()
        assert go.wait(scaled(10))
        if who == "server":
            c.send(close_frame(1000))
        while not frames or frames[-1][0] != CLOSE:
            opcode, data, fin, _ = c.read_frame()
            frames.append((opcode, fin))
        if who == "client":
            c.send(close_frame(1000))
        c.half_close()
        c.expect_eof()
    case = bench.case(script, reconnect="never", max_message="32M", queue="32M",
                      close_timeout="10s",
                      peer_args={"receive_buffer": 4096})
    case.send("z" * 16 * MIB)
    assert begun.wait(scaled(10))
    if who == "client":
        assert bench.ask("pause", name=case.name)["ok"]
    go.set()
    case.peer.wait_finished()
    assert all(opcode == CONTINUATION for opcode, _ in frames[:-1])
    if who == "server":
        assert not any(fin for _, fin in frames[:-1])
    else:
        assert frames[-2] == (CONTINUATION, 1), "the message that had begun is finished first"


def test_l21_nobody_chooses_our_code(bench):
    """A local program cannot ask for a code or reason at all, so for none that is forbidden."""
    result = bench.daemon.client("close", "--help")
    assert result.code == 0 and "code" not in result.out.lower()
    assert bench.daemon.client("close", "x", "1006").code == 2


def test_l22_both_close_at_once(bench):
    """Both send a Close before they have seen the other's: one each, and it is clean."""
    go = threading.Event()
    frames = []

    def script(c):
        up(c)
        assert go.wait(scaled(10))
        c.wait(0.05)  # ours has been sent, and not been read
        c.send(close_frame(1001, "same time"))
        frames.extend(c.frames_to_end())
    case = bench.case(script)
    case.wait_state("open")
    closing = begin_close(bench, case)
    case.wait_state("closing")
    go.set()
    case.peer.wait_finished()
    closing.join(scaled(10))
    assert frames == [(CLOSE, body(1000))]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("code", (1000, 1013, 4000))
def test_l23_close_behind_the_head(bench, code, how):
    """A Close at once behind the 101: it was open, and the code is reported."""
    closed_by_server(bench, how, close_frame(code), code)


@pytest.mark.parametrize("how", HOW)
def test_l24_message_and_close_in_one_segment(bench, how):
    """The message is delivered before the end is told."""
    closed_by_server(bench, how, make_frame(TEXT, "last") + close_frame(4000, "why"), 4000, "why",
                     messages=[T("last")])
