"""permessage-deflate (RFC 7692) against a server that lies: what it may answer to our offer, what
it may send, and what not.  Servers that others wrote: test_deflate.py."""

import os
import pathlib
import random
import struct
import threading
import zlib

import pytest

from cases import (DEFLATE, HELLO, PLAIN_HOW, SLOW, B, Row, T, again, refused, rows, run_row,
                   send_as)
from harness import KIB, MEMORY_IS_REAL, MIB, eventually
from peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, make_frame

NAME = "permessage-deflate"
RSV1 = 4
WORD = bytes.fromhex("f248cdc9c90700")  # "Hello" (RFC 7692 7.2.3.1)
SHARED = bytes.fromhex("f200110000")    # "Hello" by reference to the one before (7.2.3.2)
ANSWERS_HOW = ("once", "drip")


def extension(value):
    return f"Sec-WebSocket-Extensions: {value}"


def compressed(data, opcode=TEXT, **kw):
    return make_frame(opcode, data, rsv=RSV1, **kw)


def deflate(data, bits=15, level=9):
    packer = zlib.compressobj(level, zlib.DEFLATED, -bits)
    return packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)[:-4]


def inflate(data, bits=15):
    return zlib.decompressobj(-bits).decompress(data + b"\0\0\xff\xff")


def run(bench, row, how):
    """A row with the extension agreed on."""
    run_row(bench, row, how, DEFLATE)


# --- the answer to our offer --------------------------------------------------------------------

TEXT_THAT_REPEATS = "a text that repeats, repeats, repeats, repeats; " * 20 + "end"
SAID_FIRST = "a secret that repeats, repeats, repeats, repeats; " * 20 + "end"


def agreed(bench, how, answer, bits=15):
    """The answer is taken, and then both sides compress: BITS is what our window may have, 8: we
    send plain, since zlib cannot do so little.  What is said at the open may be a secret, and is
    never compressed."""
    def script(c):
        send_as(c, how, compressed(WORD), extension(NAME + answer))
        c.expect_frame(TEXT, SAID_FIRST)
        opcode, data, fin, rsv = c.read_frame()
        assert (opcode, fin) == (TEXT, 1)
        if bits == 8:
            assert rsv == 0
        else:
            assert rsv == RSV1
            data = inflate(data, bits)
        assert data == TEXT_THAT_REPEATS.encode()
        c.frame(TEXT, "so it is")
        c.stall()
    case = bench.case(script, how=how, compress="both", on_open=SAID_FIRST, reconnect="never")
    assert case.message() == T("Hello")
    case.send(TEXT_THAT_REPEATS)
    assert case.message() == T("so it is")
    assert case.status()["compression"].startswith(NAME)


@pytest.mark.parametrize("how", PLAIN_HOW)
def test_d01_plain_answer(bench, how):
    """No parameters."""
    agreed(bench, how, "")


@pytest.mark.parametrize("how", PLAIN_HOW)
@pytest.mark.parametrize("answer", ("; server_no_context_takeover", "; client_no_context_takeover",
                                    "; server_no_context_takeover; client_no_context_takeover"))
def test_d02_no_context_takeover(bench, answer, how):
    """Either side, or both, forget the messages before."""
    agreed(bench, how, answer)


@pytest.mark.parametrize("how", ANSWERS_HOW)
@pytest.mark.parametrize("bits", range(8, 16))
def test_d03_server_window(bench, bits, how):
    """Every window that the server may have."""
    agreed(bench, how, f"; server_max_window_bits={bits}")


@pytest.mark.parametrize("how", ANSWERS_HOW)
@pytest.mark.parametrize("bits", range(9, 16))
def test_d04_client_window(bench, bits, how):
    """Every window that we may be told to have: nothing we send refers back further (it is inflated
    with just that)."""
    agreed(bench, how, f"; client_max_window_bits={bits}", bits)


@pytest.mark.parametrize("how", ANSWERS_HOW)
def test_d05_client_window_of_8_bits(bench, how):
    """256 bytes: legal, but zlib cannot; then all that we send is plain."""
    agreed(bench, how, "; client_max_window_bits=8", 8)


BAD = {
    "d06": ("; client_max_window_bits", "; server_max_window_bits"),
    "d07": tuple(f"; {side}_max_window_bits={n}" for side in ("server", "client")
                 for n in ("7", "16", "010", "+9", "9.0", "", "-9", "9 9", "0x9", '"', '""')),
    "d08": ("; server_max_window_bits=10; server_max_window_bits=10",
            "; client_max_window_bits=10; client_max_window_bits=11",
            "; server_no_context_takeover; server_no_context_takeover",
            "; unknown", "; unknown=1", ";", "; ;", "; server_no_context_takeover=1",
            "; client_no_context_takeover="),
    "d09": (", permessage-deflate", ", x-webkit-deflate-frame", ", permessage-bzip2"),
}


def bad_answer(bench, answer, how):
    told = refused(bench, lambda c: c.good_head(extension(answer)), how, "handshake is wrong")
    assert answer.split(",")[-1].split(";")[0].strip() in told


@pytest.mark.parametrize("how", ANSWERS_HOW)
@pytest.mark.parametrize("answer", BAD["d06"])
def test_d06_window_without_bits(bench, answer, how):
    """In an answer the number of bits must be there."""
    bad_answer(bench, NAME + answer, how)


@pytest.mark.parametrize("how", ANSWERS_HOW)
@pytest.mark.parametrize("answer", BAD["d07"])
def test_d07_bits_that_are_none(bench, answer, how):
    """Numbers out of range, or not written as RFC 7692 7.1.2 wants it."""
    bad_answer(bench, NAME + answer, how)


@pytest.mark.parametrize("how", ANSWERS_HOW)
def test_d07_bits_in_quotes(bench, how):
    """A quoted value is the same value (RFC 6455 9.1)."""
    agreed(bench, how, '; server_max_window_bits="10"')


@pytest.mark.parametrize("how", ANSWERS_HOW)
@pytest.mark.parametrize("answer", BAD["d08"])
def test_d08_bad_parameters(bench, answer, how):
    """Parameters that are repeated, unknown, or have a value that they cannot have."""
    bad_answer(bench, NAME + answer, how)


@pytest.mark.parametrize("how", ANSWERS_HOW)
@pytest.mark.parametrize("answer", [NAME + x for x in BAD["d09"]]
                         + ["permessage-bzip2", "x-webkit-deflate-frame"])
def test_d09_other_extensions(bench, answer, how):
    """The extension twice, or one that was not offered."""
    bad_answer(bench, answer, how)


@pytest.mark.parametrize("how", ANSWERS_HOW)
def test_d10_blanks(bench, how):
    """Blanks between the parts mean nothing."""
    agreed(bench, how, " ;  server_no_context_takeover\t; \tserver_max_window_bits = 10 ")


@pytest.mark.parametrize("how", ANSWERS_HOW)
def test_d10_name_in_another_case(bench, how):
    """Extensions' names are tokens that compare exactly: this one was not offered."""
    bad_answer(bench, "Permessage-Deflate", how)


# --- messages -----------------------------------------------------------------------------------


def row_test(*table):
    return rows(*table, how=PLAIN_HOW)


@row_test(Row("Hello", compressed(WORD), T("Hello")))
def test_d11_one_message(bench, row, how):
    """The RFC's first example."""
    run(bench, row, how)


@row_test(Row("two", compressed(WORD[:3], fin=0) + make_frame(CONTINUATION, WORD[3:]), T("Hello")),
          Row("each byte", compressed(WORD[:1], fin=0) + b"".join(
              make_frame(CONTINUATION, WORD[i:i + 1], fin=int(i == 6)) for i in range(1, 7)),
              T("Hello")))
def test_d12_fragments(bench, row, how):
    """A compressed message in fragments."""
    run(bench, row, how)


@row_test(Row("shared", compressed(WORD) + compressed(SHARED) * 3, *[T("Hello")] * 4))
def test_d13_context_takeover(bench, row, how):
    """A message that refers to the one before."""
    run(bench, row, how)


@row_test(Row("twice", compressed(WORD) * 2, T("Hello"), T("Hello")))
def test_d14_no_takeover(bench, row, how):
    """The server has agreed to forget: each message stands for itself."""
    run_row(bench, row, how, extension(NAME + "; server_no_context_takeover"))


@row_test(Row("shared", compressed(WORD) + compressed(SHARED), T("Hello"), code=1007))
def test_d14_takeover_against_the_agreement(bench, row, how):
    """... and does not: a reference to nothing."""
    run_row(bench, row, how, extension(NAME + "; server_no_context_takeover"))


@row_test(Row("stored", compressed(bytes.fromhex("000500faff48656c6c6f00")), T("Hello")))
def test_d15_stored_block(bench, row, how):
    """A block that is not compressed."""
    run(bench, row, how)


@row_test(Row("final",
              compressed(bytes.fromhex("f348cdc9c9070000")) + compressed(WORD) + compressed(SHARED),
              *[T("Hello")] * 3),
          Row("final, then shared",
              compressed(bytes.fromhex("f348cdc9c9070000")) + compressed(SHARED),
              *[T("Hello")] * 2))
def test_d16_final_block(bench, row, how):
    """A block marked as the last of the stream (RFC 7692 7.2.3.4): the window goes on."""
    run(bench, row, how)


@row_test(Row("two blocks", compressed(bytes.fromhex("f24805000000ffffcac9c90700")), T("Hello")))
def test_d17_two_blocks(bench, row, how):
    """A message of two blocks."""
    run(bench, row, how)


@row_test(Row("empty", compressed(b"\0"), T("")),
          Row("thrice", compressed(b"\0") * 3 + compressed(WORD),
                                                    *[T("")] * 3, T("Hello")))
def test_d18_empty_message(bench, row, how):
    """An empty message, compressed."""
    run(bench, row, how)


@row_test(Row("no bytes", compressed(b"") + compressed(WORD), T(""), T("Hello")),
          Row("no bytes, shared", compressed(WORD) + compressed(b"") + compressed(SHARED),
              T("Hello"), T(""),
              T("Hello")))
def test_d19_message_without_bytes(bench, row, how):
    """... of not even a block: nothing is spoilt for the next."""
    run(bench, row, how)


@row_test(Row("plain", compressed(WORD) + make_frame(TEXT, "plain") + make_frame(BINARY, WORD)
              + compressed(SHARED), T("Hello"), T("plain"), B(WORD), T("Hello")))
def test_d20_plain_between(bench, row, how):
    """Plain messages between compressed ones leave the window alone."""
    run(bench, row, how)


@row_test(Row("ping, pong",
              compressed(WORD[:3], fin=0) + make_frame(PING, WORD) + make_frame(PONG, SHARED)
              + make_frame(CONTINUATION, WORD[3:]) + compressed(SHARED), T("Hello"), T("Hello"),
              pongs=[WORD]))
def test_d21_control_frames_between(bench, row, how):
    """Control frames are never compressed, whatever they look like."""
    run(bench, row, how)


@row_test(Row("last", compressed(WORD, fin=0) + make_frame(CONTINUATION, b"") + compressed(SHARED),
              *[T("Hello")] * 2),
          Row("first", compressed(b"", fin=0) + make_frame(CONTINUATION, WORD), T("Hello")),
          Row("all", compressed(b"", fin=0) + make_frame(CONTINUATION, b"", fin=0)
              + make_frame(CONTINUATION, b""),
              T("")))
def test_d22_empty_fragments(bench, row, how):
    """Empty fragments."""
    run(bench, row, how)


@row_test(Row("continuation", compressed(WORD[:3], fin=0)
              + make_frame(CONTINUATION, WORD[3:], rsv=RSV1), code=1002),
          Row("continuation of a plain one",
              make_frame(TEXT, "a", fin=0) + make_frame(CONTINUATION, WORD, rsv=RSV1),
              code=1002),
          Row("ping", make_frame(PING, "x", rsv=RSV1), code=1002),
          Row("pong", make_frame(PONG, "x", rsv=RSV1), code=1002),
          Row("Close", make_frame(CLOSE, b"\x03\xe8", rsv=RSV1), code=1002))
def test_d23_rsv1_where_it_means_nothing(bench, row, how):
    """RSV1 belongs on the first frame of a message only."""
    run(bench, row, how)


@row_test(*(Row(f"{rsv:03b}", make_frame(TEXT, WORD, rsv=rsv), code=1002)
            for rsv in (1, 2, 3, 5, 6, 7)))
def test_d24_other_reserved_bits(bench, row, how):
    """The other two have no meaning."""
    run(bench, row, how)


@row_test(Row("ones", compressed(b"\xff" * 5), code=1007),
          Row("bad stored length", compressed(b"\0\1\0\0\0x\0"), code=1007),
          Row("bad distance code", compressed(bytes.fromhex("fbff3f")), code=1007),
          Row("behind a good one", compressed(WORD) + compressed(b"\xff" * 5), T("Hello"),
              code=1007),
          Row("in a fragment", compressed(b"\xff" * 5, fin=0), code=1007))
def test_d25_garbage(bench, row, how):
    """Bytes that are no deflate stream."""
    run(bench, row, how)


@row_test(*(Row(f"after {n}", compressed(WORD[:n]), code=1007) for n in range(1, 6)),
          Row("stored", compressed(b"\0\5\0\xfa\xffHel"), code=1007))
def test_d26_cut_off(bench, row, how):
    """A message ends within a block: nothing of it is delivered."""
    run(bench, row, how)


@row_test(Row("nothing before", compressed(SHARED), code=1007),
          Row("too far back", compressed(deflate(b"x")) + compressed(SHARED), T("x"), code=1007))
def test_d27_reference_to_nothing(bench, row, how):
    """A distance to before the first byte."""
    run(bench, row, how)


@row_test(*(Row(data.hex(), compressed(deflate(b"text " + data)), code=1007)
            for data in (b"\xff", b"\xc3", b"\xe2\x82", b"\xed\xa0\x80", b"\xc0\x80")),
          Row("stored", compressed(bytes.fromhex("000100feffff00")), code=1007),
          Row("in the first fragment", compressed(deflate(b"\xff" * 40), fin=0), code=1007))
def test_d28_text_is_not_utf8(bench, row, how):
    """It is what comes out that must be UTF-8."""
    run(bench, row, how)


@row_test(Row("text", compressed(deflate("\u20ac\xe4".encode())), T("\u20ac\xe4")),
          Row("binary", compressed(deflate(b"\xff\xfe"), BINARY), B(b"\xff\xfe")))
def test_d28_compressed_bytes_are_not_judged(bench, row, how):
    """... not what went in, and not of a binary message."""
    run(bench, row, how)


@row_test(*(Row(f"{n}", compressed(deflate(b"a" * n + "\u20ac\U0001f600\xe4".encode() * 3)),
                T(b"a" * n + "\u20ac\U0001f600\xe4".encode() * 3))
            for n in range(16 * KIB - 12, 16 * KIB + 4)))
def test_d29_characters_at_the_edge_of_a_step(bench, row, how):
    """Characters across 16 KiB of output, the step in which it is inflated."""
    run(bench, row, how)


def in_fragments(data, count, opcode=BINARY):
    size = len(data) // count + 1
    parts = [data[i:i + size] for i in range(0, len(data), size)]
    return b"".join(make_frame(CONTINUATION if i else opcode, part, fin=int(i == len(parts) - 1),
                               rsv=0 if i else RSV1)
                    for i, part in enumerate(parts))


class Peak:
    """The most memory that a process has had since this was made."""

    def __init__(self, daemon):
        self.status = pathlib.Path(f"/proc/{daemon.pid}/status")
        pathlib.Path(f"/proc/{daemon.pid}/clear_refs").write_text("5")
        self.before = self._read()

    def _read(self):
        line = next(x for x in self.status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) * KIB

    def grown(self):
        return self._read() - self.before


@pytest.mark.parametrize("fragments", (1, 20))
def test_d30_bomb(bench, fragments):
    """200 KiB that stand for 200 MiB: 1009, for no more memory than the limit, and no more work."""
    bomb = deflate(bytes(200 * MIB))
    assert len(bomb) < 220 * KIB
    small = Row("warm", compressed(WORD), T("Hello"))
    run(bench, small, "once")
    for limit in (1, 8):
        peak, cpu = Peak(bench.daemon), bench.daemon.cpu()
        run(bench, Row("bomb", in_fragments(bomb, fragments), code=1009, cause=str(limit * MIB),
                       max_message=f"{limit}M"), "once")
        if MEMORY_IS_REAL:
            assert peak.grown() <= limit * MIB + MIB
            assert bench.daemon.cpu() - cpu < 0.1 * limit


@pytest.mark.parametrize("count", (1000,))
def test_d31_many_small_bombs(bench, count):
    """A thousand messages of just the limit, of a few bytes each on the wire: all are delivered,
    and the memory stays what one of them needs, and what is kept."""
    limit = 64 * KIB
    frames = [compressed(deflate(bytes([i % 256]) * (limit - 1)), BINARY) for i in range(count)]

    def script(c):
        c.good(extension(NAME + "; server_no_context_takeover"))
        c.expect_frame(TEXT, HELLO)
        c.expect_frame(TEXT, "there is a reader")
        c.send(b"".join(frames))
        c.expect_frame(TEXT, "all there", timeout=60)
    before = bench.daemon.rss()
    case = bench.case(script, reconnect="never", framing="length", max_message="64K", keep="2M",
                      overflow="block")
    case.stream.write(framed("there is a reader"))
    for i in range(count):
        kind, data = case.message(20)
        assert kind == "binary" and data == bytes([i % 256]) * (limit - 1)
    if MEMORY_IS_REAL:
        assert bench.daemon.rss() - before < 8 * MIB
    case.stream.write(framed("all there"))
    case.peer.wait_finished()


def framed(message):
    data, flag = (message.encode(), 0) if isinstance(message, str) else (message, 1 << 31)
    return struct.pack("!I", len(data) | flag) + data


def test_d32_bombs_while_paused(bench):
    """With `overflow = block` and a reader that does not read, inflating stops: 40 MiB that have
    come as 40 KiB do not become 40 MiB here."""
    count = 40
    frames = [compressed(deflate(bytes([i]) * (MIB - 1)), BINARY) for i in range(count)]

    def script(c):
        c.good(extension(NAME + "; server_no_context_takeover"))
        c.expect_frame(TEXT, HELLO)
        c.expect_frame(TEXT, "there is a reader")
        c.send(b"".join(frames))
        c.expect_frame(TEXT, "all there", timeout=60)
    before = bench.daemon.rss()
    case = bench.case(script, reconnect="never", framing="length", keep="2M", overflow="block")
    case.stream.write(framed("there is a reader"))
    kept = eventually(lambda: case.status()["kept"]["bytes"])
    eventually(lambda: case.status()["kept"]["bytes"] == case.status()["kept"]["bytes"] >= kept)
    if MEMORY_IS_REAL:
        assert bench.daemon.rss() - before < 8 * MIB
    for i in range(count):
        kind, data = case.message(20)
        assert kind == "binary" and data == bytes([i]) * (MIB - 1)
    case.stream.write(framed("all there"))
    case.peer.wait_finished()


# How many messages for each window; the environment may ask for fewer (or more).
MANY = int(os.environ.get("WSPIPE_DEFLATE_MESSAGES", "10000"))


def conversation(count, longest):
    dice = random.Random(7692)
    words = [f"w{i}\u00e4\u20ac\U0001f600" for i in range(200)]
    for i in range(count):
        if i % 10 == 9:
            yield dice.randbytes(dice.randrange(longest // 4))
        elif i % 97 == 96:
            yield ""
        else:
            text = "{" + " ".join(dice.choices(words, k=dice.randrange(1, longest // 12))) + "}"
            yield text.encode()[:longest].decode(errors="ignore")


@pytest.mark.timeout(200)
@pytest.mark.parametrize("bits", range(8, 16))
def test_d33_many_messages(bench, bits):
    """Ten thousand messages both ways for each size of the windows, the server's with context
    takeover: byte-exact.  (With 8 bits a compressor of 9 is used, for messages of at most 256
    bytes, each by itself: no distance is longer then.)"""
    messages = list(conversation(MANY, 256 if bits == 8 else 700))
    packer = zlib.compressobj(6, zlib.DEFLATED, -max(bits, 9))
    frames = []
    for message in messages:
        data = message.encode() if isinstance(message, str) else message
        flush = zlib.Z_FULL_FLUSH if bits == 8 else zlib.Z_SYNC_FLUSH
        packed = (packer.compress(data) + packer.flush(flush))[:-4] or b"\0"
        frames.append(compressed(packed, TEXT if isinstance(message, str) else BINARY))
    plain = []

    def script(c):
        c.good(extension(f"{NAME}; server_max_window_bits={bits}; client_max_window_bits={bits}"))
        sender = threading.Thread(target=c.send, args=(b"".join(frames),), daemon=True)
        sender.start()
        unpacker = zlib.decompressobj(-bits)
        for message in messages:
            opcode, data, fin, rsv = c.read_frame(30)
            if rsv:
                data = unpacker.decompress(data + b"\0\0\xff\xff")
            else:
                plain.append(data)
            want = message.encode() if isinstance(message, str) else message
            assert fin and data == want and opcode == (TEXT if isinstance(message, str) else BINARY)
        sender.join()
    case = bench.case(script, reconnect="never", framing="length", compress="both", on_open=None,
                      keep="256M")
    writer = threading.Thread(target=case.stream.write, args=(b"".join(map(framed, messages)), 60),
                              daemon=True)
    writer.start()
    for i, message in enumerate(messages):
        assert case.message(30) == (T(message)
                                    if isinstance(message, str) else B(message)), f"message {i}"
    case.peer.wait_finished(timeout=60)
    writer.join()
    assert len(plain) == len(messages) if bits == 8 else len(plain) < len(messages) * 2 // 3


def test_d34_message_larger_than_the_window(bench):
    """References back over the whole window of 32 KiB, within a message and to the one before."""
    noise = random.Random(1).randbytes(32 * KIB - 262)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    messages = [noise * 20, noise, noise[::-1] + noise, bytes(300000) + noise]
    data = b""
    for message in messages:
        packed = packer.compress(message) + packer.flush(zlib.Z_SYNC_FLUSH)
        data += compressed(packed[:-4], BINARY)
    assert len(data) < 6 * len(noise), "the distances are what is tested"
    for how in PLAIN_HOW:
        run(bench, Row("far", data, *map(B, messages)), how)


SENT = ["first, " * 100, "", "", "second, first, " * 100, "x", "long " * 50000,
        "\u20ac\U0001f600" * 1000, "",
        "first, " * 100]


def sent_compressed(bench, answer, fresh):
    """What we send arrives; whether the server keeps its window or not."""
    first_frames = []

    def script(c):
        c.good(extension(NAME + answer))
        unpacker = zlib.decompressobj(-15)
        for message in SENT:
            data, fin, begun = b"", 0, False
            while not fin:
                opcode, part, fin, rsv = c.read_frame()
                assert opcode == (CONTINUATION if begun else TEXT)
                if begun:
                    assert rsv == 0, "RSV1 is on the first frame only"
                else:
                    first_frames.append((message, rsv))
                    packed = rsv == RSV1
                data, begun = data + part, True
            if packed:
                unpacker = zlib.decompressobj(-15) if fresh else unpacker
                data = unpacker.decompress(data + b"\0\0\xff\xff")
                assert not unpacker.unused_data and not unpacker.eof
            assert data == message.encode()
        c.frame(TEXT, "all of it")
        c.stall()
    case = bench.case(script, reconnect="never", compress="both", on_open=None)
    for message in SENT:
        case.send(message)
    assert case.message() == T("all of it")
    plain = [message for message, rsv in first_frames if rsv == 0]
    assert plain.count("") == SENT.count(""), "an empty message is sent plain"
    assert sum(rsv == RSV1 for _, rsv in first_frames) >= 4


def test_d35_we_compress(bench):
    """Our messages, to a server that keeps its window."""
    sent_compressed(bench, "", fresh=False)


@pytest.mark.parametrize("answer", ("; client_no_context_takeover", ""))
def test_d36_we_compress_each_by_itself(bench, answer):
    """... and to one that takes a fresh inflater for each (which always works: ours never refer to
    messages before)."""
    sent_compressed(bench, answer, fresh=True)


@row_test(Row("two", compressed(WORD + b"\xaa\xbb"), code=1007),
          Row("behind a final block", compressed(bytes.fromhex("f348cdc9c9070000") + b"\xff" * 8),
              code=1007))
def test_d37_bytes_behind_the_end(bench, row, how):
    """Bytes behind the message's last block that are no block."""
    run(bench, row, how)


@row_test(Row("plain", make_frame(TEXT, "plain") * 3 + make_frame(BINARY, b"\0"), *[T("plain")] * 3,
              B(b"\0")))
def test_d38_never_compressed(bench, row, how):
    """Agreed on, and never used by the server."""
    run(bench, row, how)


@pytest.mark.parametrize("fragments", (1, 20))
def test_d39_limit_counts_what_comes_out(bench, fragments):
    """`max-message` counts inflated bytes: what fits to the byte is delivered, even when it was
    longer on the wire; one more is too long, even when it was short there."""
    noise = os.urandom(MIB)
    data = deflate(noise)
    assert len(data) > MIB
    run(bench, Row("fits", in_fragments(data, fragments), B(noise)), "once")
    run(bench, Row("one more", in_fragments(deflate(bytes(MIB + 1)), fragments), code=1009), "once")
    run(bench, Row("one more, noise", in_fragments(deflate(noise + b"x"), fragments), code=1009),
        "once")


def test_d40_new_connection_new_window(bench):
    """The next connection begins with nothing from the one before, in both directions."""
    def first(c):
        c.good(DEFLATE)
        c.expect_frame(TEXT, HELLO)
        c.send(compressed(WORD))
        c.rst()

    def second(c):
        c.good(DEFLATE)
        c.expect_frame(TEXT, HELLO)
        c.send(compressed(SHARED))
        c.expect_close(1007)
        c.expect_eof()
    case = bench.case(first, second, again)
    case.expect_ended("(closed with 1007)", SLOW, number=2)
    assert case.session()[1] == 1006
    assert case.session() == ([], 1006)
    case.expect_works_again()
