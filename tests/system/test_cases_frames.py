"""Frames as a server must not send them, and as it may: lengths, masks, reserved bits, opcodes,
pace (RFC 6455 5).  Each row in each of the ways of cases.HOW."""

import threading

import pytest

import peer as p
from cases import PLAIN_HOW, B, HELLO, Row, T, again, alive, rows, run_row, up
from harness import KIB, MEMORY_IS_REAL, MIB
from peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, make_frame

SIZES = (0, 1, 125, 126, 127, 65535, 65536, MIB)


def text(size):
    return ("abcdefghij" * (size // 10 + 1))[:size]


@rows(Row("text", b"\x81\x05hello", T("hello")),
      Row("binary", b"\x82\x03\x00\xff\x0a", B(b"\x00\xff\x0a")))
def test_f01_whole_messages(bench, row, how):
    """A text and a binary message in one frame each are delivered as what they are."""
    run_row(bench, row, how)


@rows(*(Row(f"{n}", make_frame(TEXT, text(n)), T(text(n))) for n in SIZES),
      *(Row(f"{n} binary", make_frame(BINARY, b"\xfe" * n), B(b"\xfe" * n)) for n in SIZES))
def test_f02_lengths(bench, row, how):
    """Payloads of all lengths at the borders of the three forms, up to the limit."""
    run_row(bench, row, how)


@rows(Row("16 bits for 125", make_frame(TEXT, "x" * 125, form=16), code=1002),
      Row("16 bits for 5", make_frame(TEXT, "hello", form=16), code=1002),
      Row("16 bits for 0", make_frame(TEXT, "", form=16), code=1002),
      Row("64 bits for 65535", make_frame(TEXT, "x" * 65535, form=64), code=1002),
      Row("64 bits for 125", make_frame(TEXT, "x" * 125, form=64), code=1002),
      Row("64 bits for 5", make_frame(TEXT, "hello", form=64), code=1002),
      Row("16 bits for a ping", make_frame(PING, "x", form=16), code=1002))
def test_f03_length_not_in_its_shortest_form(bench, row, how):
    """A length in a longer form than it needs is a violation."""
    run_row(bench, row, how)


@rows(Row("2^63", b"\x82\x7f\x80" + b"\0" * 7 + b"x" * 64, code=1002),
      Row("all ones", b"\x81\x7f" + b"\xff" * 8 + b"x" * 64, code=1002))
def test_f04_bit_63_of_the_length(bench, row, how):
    """The most significant bit of a 64-bit length must be 0."""
    run_row(bench, row, how)


KEYS = {"zeros": b"\0\0\0\0", "random": p.random_mask()}


@rows(*(Row(f"{what}, key of {key}", before + make_frame(opcode, payload, mask=mask), code=1002)
        for key, mask in KEYS.items()
        for what, before, opcode, payload in (
            ("text", b"", TEXT, "x"), ("binary", b"", BINARY, "x"), ("empty", b"", TEXT, ""),
            ("ping", b"", PING, "x"), ("pong", b"", PONG, "x"), ("Close", b"", CLOSE, b"\3\xe8"),
            ("continuation", make_frame(TEXT, "a", fin=0), CONTINUATION, "x"))))
def test_f05_masked_by_the_server(bench, row, how):
    """A server must not mask, data or control, whatever the key."""
    run_row(bench, row, how)


@rows(*(Row(f"RSV {rsv:03b} on {what}", before + make_frame(opcode, "x" * 2, rsv=rsv), code=1002)
        for rsv in range(1, 8)
        for what, before, opcode in (
            ("text", b"", TEXT), ("binary", b"", BINARY), ("ping", b"", PING), ("pong", b"", PONG),
            ("Close", b"", CLOSE), ("continuation", make_frame(TEXT, "a", fin=0), CONTINUATION))),
      how=PLAIN_HOW)
def test_f06_reserved_bits(bench, row, how):
    """Reserved bits that no extension has given a meaning, on any frame."""
    run_row(bench, row, how)


@rows(*(Row(f"{opcode} {what}", make_frame(opcode, payload), code=1002)
        for opcode in (3, 4, 5, 6, 7)
        for what, payload in (("empty", ""), ("with payload", "x" * 200))))
def test_f07_unknown_opcodes(bench, row, how):
    """Opcodes of data that are reserved."""
    run_row(bench, row, how)


@rows(*(Row(f"{opcode:x} {what}", make_frame(opcode, payload), code=1002)
        for opcode in (11, 12, 13, 14, 15)
        for what, payload in (("empty", ""), ("with payload", "x" * 125))))
def test_f08_unknown_control_opcodes(bench, row, how):
    """Opcodes of control frames that are reserved."""
    run_row(bench, row, how)


@rows(*(Row(f"{opcode:x}", make_frame(TEXT, "begun", fin=0) + make_frame(opcode, "x"), code=1002)
        for opcode in (3, 7, 11, 15)))
def test_f09_unknown_opcode_inside_a_message(bench, row, how):
    """... within a fragmented message, of which nothing is delivered then."""
    run_row(bench, row, how)


HEADERS = {"2 bytes": "x" * 5, "4 bytes": "x" * 126, "10 bytes": "x" * 65536}


@pytest.mark.parametrize("payload", HEADERS.values(), ids=HEADERS)
def test_f10_header_split_at_each_byte(bench, payload):
    """A frame's header in two pieces, cut at each place."""
    frame = make_frame(TEXT, payload)
    cuts = range(1, 12)

    def script(c):
        c.good()
        for cut in cuts:
            c.send_pieces([frame[:cut], frame[cut:]])
        c.expect_frame(TEXT, HELLO)
        alive(c)
    case = bench.case(script, unix=True)
    for _ in cuts:
        assert case.message() == T(payload)
    assert case.message() == T("works?")
    case.send("works!")
    case.peer.wait_finished()


@rows(Row("1000", b"".join(make_frame(TEXT, f"{i}") for i in range(1000)),
          *(T(f"{i}") for i in range(1000))))
def test_f11_many_frames_in_one_segment(bench, row, how):
    """1000 messages at once: all, in order."""
    run_row(bench, row, how)


@rows(*(Row(f"{at}", make_frame(BINARY, bytes(at - 4)) + make_frame(TEXT, "edge " * 30)
            + make_frame(TEXT, "next"), B(bytes(at - 4)), T("edge " * 30), T("next"))
        for at in range(4086, 4101)), how=("once", "head", "deflate"))
def test_f12_frame_at_the_edge_of_the_buffer(bench, row, how):
    """A frame that begins at each offset around 4096, where a parser's buffer may end."""
    run_row(bench, row, how)


def test_f13_sent_frames_are_as_the_rfc_says(bench):
    """What we send: masked (read_frame() checks that, and the shortest form of the length), no two
    keys alike, all four bytes of them varying; text as text; long messages in fragments."""
    masks = []
    sizes = (0, 1, 125, 126, 65535, 65536, 200000)

    def script(c):
        up(c)
        original = c._take

        def take(size, *args):
            data = original(size, *args)
            if size == 4:
                masks.append(data)
            return data
        c._take = take
        for size in sizes:
            data = b""
            while True:
                opcode, part, fin, rsv = c.read_frame()
                assert opcode == (CONTINUATION if data else TEXT) and rsv == 0
                data += part
                if fin:
                    break
            assert data == b"m" * size
        for i in range(10000):
            c.expect_frame(TEXT, "short")
    case = bench.case(script, queue="16M")
    for size in sizes:
        case.send("m" * size)
    case.stream.write(b'{"type":"text","data":"short"}\n' * 10000)
    case.peer.wait_finished()
    keys = masks[-10000:]
    assert len(set(keys)) > 9990, "keys are repeated"
    for column in zip(*keys):
        assert len(set(column)) > 200, "a byte of the keys hardly varies"
    for lag in range(1, 100):  # no period
        assert sum(a == b for a, b in zip(keys, keys[lag:])) < 5


def test_f14_pongs_pass_between_fragments(bench):
    """While a long message of ours is on its way, pings are answered between its fragments."""
    size = 16 * MIB  # the kernel's buffers hold some of it, where nothing can pass
    order = []

    def script(c):
        up(c)
        got = sent = 0
        while got < size:
            opcode, data, fin, rsv = c.read_frame()
            order.append(opcode)
            if opcode == PONG:
                continue
            got += len(data)
            if got > sent * 256 * KIB:
                sent += 1
                c.frame(PING, f"{sent}")
        assert fin
    case = bench.case(script, max_message="32M", queue="32M",
                      peer_args={"receive_buffer": 32 * KIB})
    case.send("y" * size)
    case.peer.wait_finished()
    assert order.count(PONG) >= 3, "no pong came before the message's end"


@rows(Row("2 GiB", b"\x82\x7f" + (1 << 31).to_bytes(8, "big") + b"x", code=1009),
      Row("2^62", b"\x82\x7f" + (1 << 62).to_bytes(8, "big") + b"x", code=1009),
      Row("one too many", b"\x82\x7f" + (MIB + 1).to_bytes(8, "big") + b"x", code=1009))
def test_f15_announcement_beyond_the_limit(bench, row, how):
    """A frame longer than `max-message` is refused at its first byte: the rest never comes."""
    run_row(bench, row, how)


def address_space(daemon):
    """What it has asked for, whether it was used or not."""
    line = next(x for x in daemon.proc("status").splitlines() if x.startswith("VmData:"))
    return int(line.split()[1]) * KIB


@pytest.mark.parametrize("size, begun", ((1 << 30, b"x" * 1000), (1 << 30, b""), (1 << 62, b"")),
                         ids=("1 GiB", "1 GiB, header alone", "2^62, header alone"))
def test_f16_huge_announcement_takes_no_memory(bench, size, begun):
    """More is announced than ever comes, within `max-message` or not even its first byte: nothing
    is allocated for it, and the silence ends by ping timeout."""
    during = []

    def script(c):
        up(c)
        c.send(b"\x82\x7f" + size.to_bytes(8, "big") + begun)
        c.expect_frame(PING)
        during.append(address_space(bench.daemon))
        c.expect_eof()
    before = address_space(bench.daemon)
    case = bench.case(script, max_message="2047M", ping_interval="200ms", ping_timeout="500ms")
    case.wait_state("open")
    case.peer.wait_finished()
    if MEMORY_IS_REAL:
        assert max(during) - before < 16 * MIB
    case.expect_ended("ping timeout")


@rows(Row("after a message", make_frame(TEXT, "valid") + make_frame(3, "x"), T("valid"), code=1002),
      Row("after ten", make_frame(TEXT, "valid") * 10 + make_frame(TEXT, b"\xff"),
          *[T("valid")] * 10, code=1007))
def test_f17_what_came_before_is_delivered(bench, row, how):
    """A violation right behind valid messages takes nothing from these."""
    run_row(bench, row, how)


def test_f18_server_goes_on_after_the_violation(bench):
    """After our Close the server sends 10 MiB more: nothing of that is kept, and TCP ends."""
    done = threading.Event()

    def script(c):
        up(c)
        c.send(make_frame(3, "x"))
        c.expect_close(1002)
        c.send(make_frame(BINARY, bytes(64 * KIB)) * 160)
        done.set()
        c.expect_eof()
    before = bench.daemon.rss()
    case = bench.case(script, again)
    case.peer.wait_finished()
    assert done.is_set()
    if MEMORY_IS_REAL:
        assert bench.daemon.rss() - before < 4 * MIB
    case.expect_ended(retry=(60, 66))
    assert case.session() == ([], 1006)
    case.expect_works_again()
