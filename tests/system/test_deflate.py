"""permessage-deflate (RFC 7692) against servers that others wrote, and against one that lies.  The
messages themselves, byte by byte, are judged in tests/unit/test-deflate.c and test-ws.c."""

import os
import random
import threading
import zlib

import pytest
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

import servers
from harness import FAST, KIB, MEMORY_IS_REAL, MIB, eventually, scaled, section
from peer import BINARY, CONTINUATION, PING, TEXT, make_frame

NAME = "permessage-deflate"
RSV1 = 4
HELLO = bytes.fromhex("f248cdc9c90700")


def conversation():
    """What goes both ways: all sizes, both kinds, compressible and not."""
    dice = random.Random(7692)
    words = [f"w{i}\u00e4\u20ac\U0001f600" for i in range(200)]
    messages = ["", b"", "Hello", b"\0", "", ""]
    messages += ["{" + " ".join(dice.choices(words, k=dice.randrange(1, 120))) + "}"
                 for _ in range(600)]
    messages += [dice.randbytes(dice.randrange(400)) for _ in range(100)]
    messages += [bytes(5 * MIB), " ".join(dice.choices(words, k=20000)), dice.randbytes(300 * KIB),
                 "\u20ac" * 70000, dice.randbytes(100) * 2000, "end"]
    return messages


def record(message):
    data, flag = (message.encode(), 0) if isinstance(message, str) else (message, 1 << 31)
    return (len(data) | flag).to_bytes(4, "big") + data


def echo_everything(daemon, name="a"):
    messages = [record(m) for m in conversation()]
    with daemon.listener(name) as client:
        writer = threading.Thread(target=client.write, args=(b"".join(messages), 30), daemon=True)
        writer.start()
        for i, message in enumerate(messages):
            assert client.exactly(len(message), 30) == message, f"message {i}"
        writer.join(scaled(10))
        assert not writer.is_alive()


class Counted:
    """Counts the compressed frames that an extension of python3-websockets sees, each way."""

    def __init__(self, **options):
        self.factory = ServerPerMessageDeflateFactory(**options)
        self.name = self.factory.name
        self.received = self.sent = 0

    def process_request_params(self, params, accepted):
        answer, extension = self.factory.process_request_params(params, accepted)
        decode, encode = extension.decode, extension.encode

        def counted_decode(frame, **kw):
            self.received += frame.rsv1
            return decode(frame, **kw)

        def counted_encode(frame):
            frame = encode(frame)
            self.sent += frame.rsv1
            return frame
        extension.decode, extension.encode = counted_decode, counted_encode
        return answer, extension


# What python3-websockets is told, and what it answers.
NEGOTIATIONS = {
    "default": (dict(server_max_window_bits=12, client_max_window_bits=12),
                "; server_max_window_bits=12; client_max_window_bits=12"),
    "15 and 15": (dict(server_max_window_bits=15, client_max_window_bits=15),
                  "; server_max_window_bits=15; client_max_window_bits=15"),
    "no takeover": (dict(server_no_context_takeover=True, client_no_context_takeover=True),
                    "; server_no_context_takeover; client_no_context_takeover"),
    "9 and 10, server resets": (
        dict(server_max_window_bits=9, client_max_window_bits=10, server_no_context_takeover=True),
        "; server_no_context_takeover; server_max_window_bits=9; client_max_window_bits=10"),
    "15 and 9, client resets": (
        dict(server_max_window_bits=15, client_max_window_bits=9, client_no_context_takeover=True),
        "; client_no_context_takeover; server_max_window_bits=15; client_max_window_bits=9"),
}


@pytest.mark.parametrize("compress", ("receive", "both"))
@pytest.mark.parametrize("negotiation", NEGOTIATIONS)
def test_python_websockets(daemon, make_server, negotiation, compress):
    """Five negotiations, both directions, byte-exact; with `receive` we send nothing compressed."""
    options, answer = NEGOTIATIONS[negotiation]
    counted = Counted(**options)
    server = make_server(servers.PyServer, echo=True, keep=False, extensions=[counted])
    daemon.start(section("a", server.url, "framing = length", f"compress = {compress}"))
    daemon.wait_open("a")
    assert daemon.status("a")["compression"] == NAME + answer
    echo_everything(daemon)
    assert counted.sent > 600
    assert counted.received == 0 if compress == "receive" else counted.received > 400


NODE = {
    "default": ({"threshold": 0}, ""),
    "no takeover": ({"threshold": 0, "serverNoContextTakeover": True,
                     "clientNoContextTakeover": True},
                    "; server_no_context_takeover; client_no_context_takeover"),
    # ws says so only to those who ask for it, or allow it; ours allows the client's bits
    "client 10": ({"threshold": 0, "clientMaxWindowBits": 10}, "; client_max_window_bits=10"),
    "client 8": ({"threshold": 0, "clientMaxWindowBits": 8}, "; client_max_window_bits=8"),
    "server 9": ({"threshold": 0, "serverMaxWindowBits": 9, "clientMaxWindowBits": 15},
                 "; server_max_window_bits=9; client_max_window_bits=15"),
}


@pytest.mark.parametrize("compress", ("receive", "both"))
@pytest.mark.parametrize("options", NODE)
def test_node_ws(daemon, make_server, options, compress):
    """node's ws with its sets of options; with 8 bits for us everything leaves plain (D05)."""
    settings, answer = NODE[options]
    server = make_server(servers.NodeEcho, deflate=settings)
    daemon.start(section("a", server.url, "framing = length", f"compress = {compress}"))
    daemon.wait_open("a")
    assert daemon.status("a")["compression"] == NAME + answer
    echo_everything(daemon)


def test_nginx_between(daemon, make_server, pki):
    """nginx passes the extension on."""
    node = make_server(servers.NodeEcho, deflate={"threshold": 0})
    nginx = make_server(servers.Nginx, node.port, pki)
    daemon.start(section("a", nginx.wss(), f"cacert = {pki.cert('ca')}", "framing = length",
                         "compress = both"))
    daemon.wait_open("a")
    assert daemon.status("a")["compression"] == NAME
    echo_everything(daemon)


def test_reload(daemon, make_server):
    """A change of `compress` makes the connection anew; messages go on; a new connection begins with
    nothing from the one before (D40)."""
    server = make_server(servers.NodeEcho, deflate={"threshold": 0})
    daemon.start(section("a", server.url, "compress = no"))
    daemon.wait_open("a")
    with daemon.open_out("a") as out:
        for compress, compression in (("no", "none"), ("both", NAME), ("receive", NAME),
                                      ("both", NAME), ("no", "none")):
            daemon.write_config(section("a", server.url, f"compress = {compress}"))
            assert daemon.client("reload").code == 0
            eventually(lambda: daemon.status("a")["state"] == "open" and
                       daemon.status("a")["compression"] == compression)
            for _ in range(2):
                daemon.put("a", f"{compress} " * 100)
                assert out.line() == f"{compress} " * 100


# --- a server that is scripted ------------------------------------------------------------------


def extensions(value):
    return f"Sec-WebSocket-Extensions: {value}"


@pytest.mark.parametrize("compress, offer", (
    ("receive", ["permessage-deflate; client_max_window_bits"]),
    ("both", ["permessage-deflate; client_max_window_bits"]),
    ("no", [])))
def test_offer(daemon, peer, compress, offer):
    """The request has the offer, once, as browsers write it; a server that does not take it up gets
    and sends plain messages, and RSV1 is an error then."""
    def script(c):
        c.good()
        assert c.field("sec-websocket-extensions") == offer
        c.frame(TEXT, "plain")
        c.expect_frame(TEXT, "x" * 1000)
        c.frame(TEXT, HELLO, rsv=RSV1)
        c.expect_close(1002)
    server = peer(script)
    daemon.start(section("a", server.url, f"compress = {compress}", *FAST))
    with daemon.open_out("a") as out:
        assert out.line() == "plain"
    assert daemon.status("a")["compression"] == "none"
    daemon.put("a", "x" * 1000)
    server.wait_finished()


GOOD = ("", "; server_no_context_takeover", "; client_no_context_takeover",
        "; server_no_context_takeover; client_no_context_takeover",
        *(f"; server_max_window_bits={n}" for n in range(8, 16)),
        *(f"; client_max_window_bits={n}" for n in range(8, 16)),
        '; server_max_window_bits="10"', " ;  server_no_context_takeover")


def test_good_answers(daemon, peer):
    """D01 to D05, D10: every legal answer is taken, and then used both ways."""
    text = "a text that repeats, repeats, repeats, repeats; " * 20 + "end"

    def script(answer):
        def run(c):
            c.good(extensions(NAME + answer))
            c.frame(TEXT, HELLO, rsv=RSV1)
            opcode, data, fin, rsv = c.read_frame()
            while opcode == PING:
                opcode, data, fin, rsv = c.read_frame()
            assert (opcode, fin) == (TEXT, 1), answer
            if "client_max_window_bits=8" in answer:
                assert rsv == 0
            else:
                assert rsv == RSV1, answer
                bits = answer.partition("client_max_window_bits=")[2] or "15"
                data = zlib.decompressobj(-int(bits)).decompress(data + b"\0\0\xff\xff")
            assert data == text.encode()
            c.half_close()  # a Close so early, so often, would be tried again slowly
            c.expect_eof()
        return run
    server = peer(*map(script, GOOD))
    daemon.start(section("a", server.url, "compress = both", f"on-open = {text}", *FAST))
    server.wait_finished(len(GOOD), 40)
    with daemon.open_out("a") as out:
        assert out.lines(len(GOOD)) == ["Hello"] * len(GOOD)


BAD = ("; client_max_window_bits",
       *(f"; server_max_window_bits={n}" for n in ("7", "16", "010", "+9", "9.0", "")),
       "; server_max_window_bits",
       "; server_max_window_bits=10; server_max_window_bits=10",
       "; server_no_context_takeover; server_no_context_takeover",
       "; unknown", "; server_no_context_takeover=1", ", permessage-deflate",
       ", x-webkit-deflate-frame")


@pytest.mark.parametrize("answer", [NAME + x for x in BAD] + ["permessage-bzip2",
                                                             "Permessage-Deflate"])
def test_bad_answers(daemon, peer, answer):
    """D06 to D09: the handshake fails, and says why; nothing is sent or delivered.  D10: a name in
    another case is not what was offered either."""
    def script(c):
        c.read_head()
        c.send(c.good_head(extensions(answer)) + make_frame(TEXT, HELLO, rsv=RSV1))
        c.expect_eof()
    server = peer(script)
    daemon.start(section("a", server.url, "on-open = must not be sent", *FAST))
    server.wait_finished()
    status = daemon.wait_state("a", "waiting", "failed")
    assert status["received"]["messages"] == 0
    assert "handshake is wrong" in status["cause"]


@pytest.mark.parametrize("drip", (None, 1, 3))
def test_mixed(daemon, peer, drip):
    """D11 to D22 in one connection: compressed, plain, fragments, pings between, BFINAL, empty."""
    frames = (
        make_frame(TEXT, HELLO, rsv=RSV1) + make_frame(TEXT, b"\xf2\0\x11\0\0", rsv=RSV1) +
        make_frame(TEXT, "plain") +
        make_frame(TEXT, HELLO[:3], fin=0, rsv=RSV1) + make_frame(PING, HELLO) +
        make_frame(CONTINUATION, b"", fin=0) + make_frame(CONTINUATION, HELLO[3:]) +
        make_frame(TEXT, b"", rsv=RSV1) + make_frame(TEXT, b"\0", rsv=RSV1) +
        make_frame(TEXT, bytes.fromhex("f348cdc9c9070000"), rsv=RSV1) +
        make_frame(TEXT, b"\xf2\0\x11\0\0", rsv=RSV1))

    def script(c):
        c.good(extensions(NAME))
        c.send(frames, drip)
        assert c.expect_frame(10) == HELLO
        c.stall()
    server = peer(script)
    daemon.start(section("a", server.url))
    with daemon.open_out("a") as out:
        assert out.lines(8) == ["Hello", "Hello", "plain", "Hello", "", "", "Hello", "Hello"]


@pytest.mark.parametrize("fragments", (1, 20))
def test_bomb(daemon, peer, fragments):
    """D30: 200 KiB that stand for 200 MiB are refused with 1009, and cost no more than the limit.
    What fits, to the byte, is delivered (D39), even when it was longer on the wire."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(bytes(200 * MIB)) + packer.flush(zlib.Z_SYNC_FLUSH)[:-4]
    noise = os.urandom(MIB)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    fits = packer.compress(noise) + packer.flush(zlib.Z_SYNC_FLUSH)[:-4]
    assert len(bomb) < 220 * KIB and len(fits) > MIB

    def send(c, data):
        size = len(data) // fragments + 1
        pieces = [data[i:i + size] for i in range(0, len(data), size)]
        for i, piece in enumerate(pieces):
            c.frame(CONTINUATION if i else BINARY, piece, fin=int(i == len(pieces) - 1),
                    rsv=0 if i else RSV1)

    def script(c):
        c.good(extensions(NAME))
        send(c, fits)
        c.expect_frame(TEXT, "go on")
        send(c, bomb)
        c.expect_close(1009)
        c.expect_eof()
    server = peer(script)
    daemon.start(section("a", server.url, "max-message = 1M", "framing = length",
                         "reconnect = never"))
    with daemon.open_out("a") as out:
        assert out.exactly(4 + MIB) == record(noise)
    before = daemon.rss()
    with daemon.open_in("a") as stream:
        stream.write(record("go on"))
    server.wait_finished()
    assert "1048576" in daemon.wait_state("a", "closed", "failed")["cause"]
    if MEMORY_IS_REAL:
        assert daemon.rss() - before < 3 * MIB


@pytest.mark.parametrize("frame, code", (
    (make_frame(TEXT, b"\xff" * 5, rsv=RSV1), 1007),
    (make_frame(TEXT, HELLO[:3], rsv=RSV1), 1007),
    (make_frame(TEXT, b"\xf2\0\x11\0\0", rsv=RSV1), 1007),
    (make_frame(TEXT, HELLO + b"\xaa\xbb", rsv=RSV1), 1007),
    (make_frame(TEXT, bytes.fromhex("000100feffff00"), rsv=RSV1), 1007),
    (make_frame(PING, b"x", rsv=RSV1), 1002),
    (make_frame(TEXT, b"x", rsv=2), 1002),
    (make_frame(TEXT, HELLO[:3], fin=0, rsv=RSV1) + make_frame(0, HELLO[3:], rsv=RSV1), 1002),
), ids=("garbage", "cut", "refers to nothing", "more behind", "not UTF-8", "ping", "RSV2",
        "continuation"))
def test_broken_messages(daemon, peer, frame, code):
    """D23 to D28, D37: closed with the code for it, nothing of it delivered; then it works again."""
    def bad(c):
        c.good(extensions(NAME))
        c.send(frame)
        c.expect_close(code)
        c.expect_eof()

    def good(c):
        c.good(extensions(NAME))
        c.frame(TEXT, HELLO, rsv=RSV1)
        c.stall()
    server = peer(bad, good)
    daemon.start(section("a", server.url, "reconnect-delay = 100ms", "reconnect-max = 100ms"))
    with daemon.open_out("a") as out:
        assert out.line(20) == "Hello"
    assert daemon.status("a")["received"]["messages"] == 1
