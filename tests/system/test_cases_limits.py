"""Limits, and what does not cost memory or time (see also test_pressure.py)."""

import pytest

from cases import B, Row, T, alive, rows, run_row, up
from harness import KIB, MEMORY_IS_REAL, MIB, eventually, scaled
from peer import BINARY, CONTINUATION, TEXT, make_frame


def halves(size, opcode=BINARY):
    half = size // 2
    return make_frame(opcode, b"h" * half, fin=0) + make_frame(CONTINUATION, b"h" * (size - half))


@rows(Row("limit, one frame", make_frame(BINARY, b"h" * MIB), B(b"h" * MIB)),
      Row("limit, fragments", halves(MIB), B(b"h" * MIB)),
      Row("limit, text", make_frame(TEXT, b"h" * MIB), T("h" * MIB)),
      Row("limit + 1, one frame", make_frame(BINARY, b"h" * (MIB + 1)), code=1009, cause="1048576"),
      Row("limit + 1, fragments", halves(MIB + 1), code=1009, cause="1048576"),
      Row("small limit", make_frame(TEXT, "x" * 100), T("x" * 100), max_message="100"),
      Row("small limit + 1", make_frame(TEXT, "x" * 101), code=1009, max_message="100"))
def test_m01_longest_message(bench, row, how):
    """`max-message` to the byte, in one frame and in fragments."""
    run_row(bench, row, how)


@pytest.mark.parametrize("size", (MIB + 1, 1 << 31, 1 << 40, (1 << 63) - 1))
def test_m02_refused_before_it_is_stored(bench, size):
    """... decided when the frame begins: one byte of the payload is enough, and nothing is
    allocated."""
    before = bench.daemon.rss()
    run_row(bench, Row("x", b"\x82\x7f" + size.to_bytes(8, "big") + b"x", code=1009), "once")
    if MEMORY_IS_REAL:
        assert bench.daemon.rss() - before < 512 * KIB


def test_m06_many_unfinished_messages(bench):
    """50 connections with a message of 1 MiB each that lacks its last byte: they hold what has
    come, and no more is needed the next time."""
    count, size = 50, MIB - 1

    def script(c):
        up(c)
        c.send(make_frame(BINARY, b"u" * (size + 1))[:-1])
        c.expect_frame(TEXT, "enough")
        c.rst()
    after = []
    for _ in range(3):
        cases = [bench.case(script, reconnect="never") for _ in range(count)]
        for case in cases:
            case.send("enough")
        for case in cases:
            case.peer.wait_finished()
            assert case.session() == ([], 1006)
        bench.end_of_test()
        after.append(bench.daemon.rss())
    if MEMORY_IS_REAL:
        assert after[2] - after[0] < 5 * MIB, "what is free need not go back, but is used again"


def test_m06_memory_while_unfinished(bench):
    """... no more than has come, and the buffer's own growth."""
    count, size = 20, MIB - 1
    read = []

    def almost(c):
        up(c)
        c.send_pieces([make_frame(BINARY, b"u" * (size + 1))[:-2], b"u"])
        read.append(c)
        c.stall()
    before = bench.daemon.rss()
    for _ in range(count):
        bench.case(almost, unix=True, reconnect="never")
    eventually(lambda: len(read) == count)
    if MEMORY_IS_REAL:
        assert bench.daemon.rss() - before < count * (size + 256 * KIB)


def test_m07_empty_messages(bench):
    """300,000 empty messages: all are delivered, and nothing grows."""
    count = 300000

    def script(c):
        up(c)
        c.expect_frame(TEXT, "there is a reader")
        c.send(make_frame(TEXT) * count)
        alive(c)
    before = bench.daemon.rss()
    case = bench.case(script, reconnect="never", framing="length", keep="1M", overflow="block")
    case.stream.write(b"\0\0\0\x11there is a reader")
    assert case.stream.exactly(4 * count, 30) == bytes(4 * count)
    assert case.message() == T("works?")
    if MEMORY_IS_REAL:
        assert bench.daemon.rss() - before < 4 * MIB
    case.stream.write(b"\0\0\0\x06works!")
    case.peer.wait_finished()


def test_m08_slow_drip(bench):
    """A byte now and then within a frame: no busy loop, and the connection lives."""
    frame = make_frame(TEXT, "slow" * 5)

    def script(c):
        up(c)
        c.send(frame, drip=1, every=0.05)
        alive(c)
    case = bench.case(script, reconnect="never", ping_interval="10s")
    case.wait_state("open")
    cpu = bench.daemon.cpu()
    assert case.message() == T("slow" * 5)
    assert bench.daemon.cpu() - cpu < scaled(0.2)
    case.expect_works_again(by_itself=True)
