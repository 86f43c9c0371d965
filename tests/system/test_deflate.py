"""permessage-deflate (RFC 7692) against servers that others wrote.  One that lies: test_cases_deflate.py;
the messages themselves, byte by byte: tests/unit/test-deflate.c and test-ws-deflate.c."""

import random
import threading

import pytest
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

import servers
from harness import FAST, KIB, MIB, eventually, scaled, section
from peer import TEXT

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


@pytest.mark.parametrize("negotiation", NEGOTIATIONS)
def test_python_websockets_behind_nginx(daemon, make_server, pki, negotiation):
    """nginx passes on what was agreed, each of the negotiations, and every byte."""
    options, answer = NEGOTIATIONS[negotiation]
    counted = Counted(**options)
    server = make_server(servers.PyServer, echo=True, keep=False, extensions=[counted])
    behind_nginx(daemon, make_server, pki, server, answer)
    assert counted.sent > 600 and counted.received > 400


@pytest.mark.parametrize("options", NODE)
def test_node_ws_behind_nginx(daemon, make_server, pki, options):
    """... and with node's ws behind it."""
    settings, answer = NODE[options]
    behind_nginx(daemon, make_server, pki, make_server(servers.NodeEcho, deflate=settings), answer)


def behind_nginx(daemon, make_server, pki, server, answer):
    nginx = make_server(servers.Nginx, server.port, pki)
    daemon.start(section("a", nginx.wss(), f"cacert = {pki.cert('ca')}", "framing = length",
                         "compress = both"))
    daemon.wait_open("a")
    assert daemon.status("a")["compression"] == NAME + answer
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
