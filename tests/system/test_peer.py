"""A hostile server (peer.py): the first of the cases of RFC 6455 that a client must survive.  The
names at the end of each sentence are rows of the complete list, which has its own suite later."""

import pytest

import peer as p
from harness import FAST, MIB, MEMORY_IS_REAL, KIB, eventually, section
from peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close_frame, make_frame

QUICK = ("connect-timeout = 2s", "close-timeout = 500ms", "reconnect-delay = 100ms",
         "reconnect-max = 200ms")


def start(daemon, url, *lines):
    daemon.start(section("a", url, *QUICK, *lines))


def alive(c):
    """The connection works: a text goes both ways."""
    c.frame(TEXT, "alive?")
    c.expect_frame(TEXT, "alive!")


def answer(daemon):
    """The local program of alive()."""
    with daemon.open_out("a") as out:
        while out.line() != "alive?":
            pass
    daemon.put("a", "alive!")


# --- the opening handshake ----------------------------------------------------------------------


def test_request_is_as_the_rfc_says(daemon, peer):
    """One request, complete, in one go, with a key of 16 random bytes, and nothing behind it (H01, H02)."""
    import base64
    keys = set()

    def script(c):
        c.read_head()
        assert c.head == "GET / HTTP/1.1"
        one = {n: c.field(n) for n in ("host", "upgrade", "connection", "sec-websocket-version",
                                       "sec-websocket-key")}
        assert all(len(v) == 1 for v in one.values()), one
        assert one["upgrade"][0].lower() == "websocket"
        assert "upgrade" in one["connection"][0].lower()
        assert one["sec-websocket-version"] == ["13"]
        assert len(base64.b64decode(c.key(), validate=True)) == 16
        keys.add(c.key())
        c.expect_silence()
        c.good()
        c.rst()
    server = peer(script)
    start(daemon, server.url)
    server.wait_finished(5)
    assert len(keys) >= 5


@pytest.mark.parametrize("accept", (
    lambda c: p.accept_of("AAAAAAAAAAAAAAAAAAAAAA=="),
    lambda c: p.accept_of(c.key()).swapcase(),
    lambda c: c.key(),
), ids=("of another key", "case changed", "the key itself"))
def test_bad_accept_key(daemon, peer, accept):
    """A wrong Sec-WebSocket-Accept fails the attempt; no frame is sent, nothing delivered (H17, H19)."""
    def script(c):
        c.read_head()
        c.send(c.good_head(accept=accept(c)) + make_frame(TEXT, "must not be seen"))
        c.expect_eof()
    server = peer(script)
    start(daemon, server.url, "on-open = must not be sent")
    server.wait_finished()
    status = daemon.wait_state("a", "waiting", "failed")
    assert "accept" in str(status["cause"]).lower()
    assert status["received"]["messages"] == 0 and not daemon.path("a", "last").exists()


@pytest.mark.parametrize("head", (
    b"HTTP/1.0 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>",
    b"SSH-2.0-OpenSSH_9\r\n",
    b"\x15\x03\x01\x00\x02\x02\x46",
    b"\0" * 100,
    b"HTTP/1.1 101 X\r\nUpgrade : websocket\r\nConnection: Upgrade\r\n\r\n",
    b"HTTP/1.1 101 X\r\n" + b"X: y\r\n" * 5000,
), ids=("1.0", "200", "ssh", "tls", "zeros", "blank before colon", "endless"))
def test_heads_that_are_none(daemon, peer, head):
    """What is no proper answer fails the attempt with a cause (H23, H24, H28, H30, H35)."""
    def script(c):
        c.read_head()
        c.send(head)
        c.expect_eof()
    server = peer(script)
    start(daemon, server.url)
    server.wait_finished()
    status = daemon.wait_state("a", "waiting", "failed")
    assert str(status["cause"]) not in ("", "None", "none")


def test_head_in_drips(daemon, peer):
    """The answer byte by byte, with odd but legal spelling (H10, H13, H14)."""
    def script(c):
        c.read_head()
        c.send(f"HTTP/1.1 101\r\nupgrade: WebSocket\r\nCONNECTION: keep-alive, Upgrade\r\n"
               f"Server: x\r\nsec-websocket-accept:\t {p.accept_of(c.key())} \r\n\r\n".encode(),
               drip=1, every=0.002)
        alive(c)
    server = peer(script)
    start(daemon, server.url)
    answer(daemon)
    server.wait_finished()


def test_head_and_frames_in_one_segment(daemon, peer):
    """Frames right behind the head are delivered, once; Content-Length does not swallow them (H11,
    H32, F11)."""
    def script(c):
        c.read_head()
        c.send(c.good_head("Content-Length: 5") + b"".join(make_frame(TEXT, f"{i}")
                                                          for i in range(1000)))
        alive(c)
    server = peer(script)
    start(daemon, server.url)
    with daemon.open_out("a") as out:
        assert out.lines(1000) == [f"{i}" for i in range(1000)]
        assert out.line() == "alive?"
    daemon.put("a", "alive!")
    server.wait_finished()


@pytest.mark.parametrize("cut", (b"", b"HTTP/1.1 1", b"HTTP/1.1 101 Switching Protocols\r\n"))
@pytest.mark.parametrize("end", ("eof", "rst"))
def test_half_head(daemon, peer, cut, end):
    """The stream ends in the middle of the answer: tried again, then it works (H48, H49)."""
    def half(c):
        c.read_head()
        c.send(cut)
        if end == "rst":
            c.rst()

    def good(c):
        c.good()
        c.echo()
    server = peer(half, good)
    start(daemon, server.url)
    server.wait_connections(2)
    daemon.wait_open("a")


@pytest.mark.parametrize("stage", ("connected", "half head"))
def test_silent_server(daemon, peer, stage):
    """`connect-timeout` bounds the way to the end of the handshake as a whole (S06, S07)."""
    def silent(c):
        c.read_head()
        if stage == "half head":
            c.send(b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"y" * 2000, drip=1, every=0.05)
        c.expect_eof()

    def good(c):
        c.good()
        c.echo()
    server = peer(silent, good)
    daemon.start(section("a", server.url, "connect-timeout = 700ms", *FAST))
    eventually(lambda: "tim" in str(daemon.status("a")["cause"]).lower())
    daemon.wait_open("a")


# --- frames -------------------------------------------------------------------------------------

VIOLATIONS = {
    "masked by the server (F05)": (make_frame(TEXT, "x", mask=b"\1\2\3\4"), 1002),
    "masked with zeros (F05)": (make_frame(TEXT, "x", mask=b"\0\0\0\0"), 1002),
    "RSV1 without extension (F06)": (make_frame(TEXT, "x", rsv=4), 1002),
    "RSV3 (F06)": (make_frame(TEXT, "x", rsv=1), 1002),
    "unknown opcode (F07)": (make_frame(3, "x"), 1002),
    "unknown control opcode (F08)": (make_frame(11), 1002),
    "16-bit form of 5 (F03)": (make_frame(TEXT, "hello", form=16), 1002),
    "64-bit form of 5 (F03)": (make_frame(TEXT, "hello", form=64), 1002),
    "bit 63 of the length (F04)": (b"\x82\x7f\x80" + b"\0" * 7 + b"x" * 64, 1002),
    "continuation first (G06)": (make_frame(CONTINUATION, "x"), 1002),
    "text inside a message (G07)": (make_frame(TEXT, "x", fin=0) + make_frame(TEXT, "y"), 1002),
    "fragmented ping (G10)": (make_frame(PING, "x", fin=0), 1002),
    "ping of 126 bytes (K02)": (make_frame(PING, "x" * 126), 1002),
    "Close with one byte (L05)": (make_frame(CLOSE, b"\3"), 1002),
    "Close 1005 (L04)": (close_frame(1005), 1002),
    "Close 999 (L04)": (close_frame(999), 1002),
    "Close, reason not UTF-8 (L07)": (make_frame(CLOSE, b"\x03\xe8\xff"), 1007),
    "invalid UTF-8 (U02)": (make_frame(TEXT, b"\xed\xa0\x80"), 1007),
    "UTF-8 cut off (U03)": (make_frame(TEXT, b"ok \xe2\x82"), 1007),
    "UTF-8 over fragments (U06)": (make_frame(TEXT, b"\xff", fin=0), 1007),
    "larger than max-message (M01)": (make_frame(BINARY, b"x" * (64 * KIB + 1)), 1009),
    "2 GiB announced (F15)": (b"\x82\x7f" + (1 << 31).to_bytes(8, "big") + b"x", 1009),
    "too big in fragments (G11)": (make_frame(TEXT, b"x" * 40000, fin=0)
                                   + make_frame(CONTINUATION, b"x" * 40000), 1009),
}


@pytest.mark.parametrize("drip", (None, 1), ids=("at once", "dripped"))
@pytest.mark.parametrize("case", VIOLATIONS)
def test_violations(daemon, peer, case, drip):
    """Exactly one Close with the right code, nothing of the broken message delivered, what came before
    delivered, then the end of TCP."""
    data, code = VIOLATIONS[case]
    if drip and len(data) > 1000:
        drip = len(data) // 100

    def script(c):
        c.good()
        c.frame(TEXT, "before")
        c.send(data, drip)
        c.expect_close(code)
        c.expect_eof()
    server = peer(script)
    start(daemon, server.url, "max-message = 64K", "reconnect = never")
    with daemon.open_out("a") as out:
        assert out.line() == "before"
        server.wait_finished()
        status = daemon.wait_state("a", "closed", "failed")
        assert status["received"]["messages"] == 1
        assert str(status["cause"]) not in ("", "None", "none")
        assert out.silent()


def test_huge_announcement_takes_no_memory(daemon, peer):
    """1 GiB announced and never sent allocates nothing, though `max-message` permits it (F16)."""
    def script(c):
        c.good()
        c.send(b"\x82\x7f" + (1 << 30).to_bytes(8, "big") + b"x" * 1000)
        c.expect_frame(PING)
        c.stall()
    server = peer(script)
    start(daemon, server.url, "max-message = 1G", "ping-interval = 200ms", "ping-timeout = 1h")
    before = daemon.rss()
    server.wait_connections(1)
    daemon.wait_open("a")
    if MEMORY_IS_REAL:
        assert daemon.rss() - before < 8 * MIB


def test_legal_oddities(daemon, peer):
    """Fragments with pings between, empty fragments, every form of length, unsolicited pongs, frames
    dripped byte by byte (F01, F02, F10, G01, G02, G08, K01, K05)."""
    def script(c):
        c.good()
        c.frame(TEXT, "he", fin=0)
        c.frame(PING, b"\0\xff" * 62)
        assert c.expect_frame(PONG) == b"\0\xff" * 62
        c.frame(CONTINUATION, "", fin=0)
        c.frame(CONTINUATION, "llo")
        c.frame(PONG, "nobody asked")
        c.frame(TEXT, "")
        for size in (125, 126, 127, 65535, 65536):
            c.frame(TEXT, "x" * size)
        c.frame(TEXT, "\u2603" * 3, drip=1)
        snow = "\u2603".encode()
        for i in range(3):
            c.frame(CONTINUATION if i else TEXT, snow[i:i + 1], fin=i == 2)
        alive(c)
    server = peer(script)
    start(daemon, server.url, "ping-interval = 0")
    with daemon.open_out("a") as out:
        assert out.line() == "hello"
        assert out.line() == ""
        for size in (125, 126, 127, 65535, 65536):
            assert out.line() == "x" * size
        assert out.line() == "\u2603" * 3
        assert out.line() == "\u2603"
        assert out.line() == "alive?"
    daemon.put("a", "alive!")
    server.wait_finished()


def test_sent_frames_are_as_the_rfc_says(daemon, peer):
    """Masked with a new key each, shortest length, text or binary as asked (F13)."""
    masks = []

    def script(c):
        c.good()
        original = c._take

        def take(size, *args):
            data = original(size, *args)
            if size == 4:
                masks.append(data)
            return data
        c._take = take
        for size in (0, 1, 125, 126, 65535, 65536):
            data = b""
            while True:
                opcode, part, fin, rsv = c.read_frame()
                assert opcode == (CONTINUATION if data else TEXT) and rsv == 0
                data += part
                if fin:
                    break
            assert data == b"m" * size
    server = peer(script)
    start(daemon, server.url, "ping-interval = 0")
    daemon.put("a", *["m" * n for n in (0, 1, 125, 126, 65535, 65536)])
    server.wait_finished()
    assert len(set(masks)) >= 6


# --- closing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", (None, 1000, 1012, 1013, 1014, 3999))
def test_close_codes_are_echoed(daemon, peer, code):
    """The peer's Close is answered with its code and reported (L01, L02, L03)."""
    def script(c):
        c.good()
        c.send(make_frame(TEXT, "last") + close_frame(code, "" if code is None else "why"))
        c.expect_close(code)
    server = peer(script)
    start(daemon, server.url, "reconnect = never")
    server.wait_finished()
    status = daemon.wait_state("a", "closed", "failed")
    assert status["close_code"] == (code or 1005)
    assert (status["close_reason"] or "") == ("" if code is None else "why")
    with daemon.open_out("a") as out:
        assert out.line() == "last"


@pytest.mark.parametrize("end", ("rst", "eof"))
def test_end_without_close(daemon, peer, end):
    """TCP ends without a Close: 1006, and it connects again (L17)."""
    def lost(c):
        c.good()
        c.frame(TEXT, "before")
        c.expect_frame(TEXT, "seen")
        if end == "rst":
            c.rst()

    def good(c):
        c.good()
        c.frame(TEXT, "after")
        c.echo()
    server = peer(lost, good)
    start(daemon, server.url)
    with daemon.open_out("a") as out:
        assert out.line() == "before"
        daemon.put("a", "seen")
        assert out.line() == "after"
    daemon.wait_open("a")
    assert daemon.status("a")["close_code"] in (1006, 0, None)
    assert daemon.status("a")["reconnects"] == 1


def test_close_that_is_never_answered(daemon, peer):
    """The server ignores our Close: TCP ends after `close-timeout` (L15)."""
    def script(c):
        c.good()
        c.expect_close(1000)
        c.expect_eof()
    server = peer(script)
    start(daemon, server.url)
    daemon.wait_open("a")
    assert daemon.client("close", "a").code == 0
    server.wait_finished()


def test_queued_messages_go_before_the_close(daemon, peer):
    """Graceful close: everything that was accepted arrives before the Close frame (L18)."""
    def script(c):
        c.good()
        c.wait(0.3)  # lets a queue build up
        for i in range(5000):
            c.expect_frame(TEXT, f"{i}")
        c.expect_close(1000)
        c.send(close_frame(1000))
    server = peer(script, receive_buffer=4096)
    daemon.start(section("a", server.url, "close-timeout = 10s"))
    daemon.wait_open("a")
    daemon.put("a", *[f"{i}" for i in range(5000)])
    eventually(lambda: daemon.status("a")["queue"]["messages"]
               + daemon.status("a")["sent"]["messages"] >= 5000)
    assert daemon.client("close", "a").code == 0
    server.wait_finished()


def test_data_behind_a_close_is_ignored(daemon, peer):
    """What comes behind a Close in the same segment is nothing (L10, L11)."""
    def script(c):
        c.good()
        c.send(close_frame(4000, "x") + make_frame(TEXT, "ghost") + close_frame(4001))
        c.expect_close(4000)
    server = peer(script)
    start(daemon, server.url, "reconnect = never")
    server.wait_finished()
    status = daemon.wait_state("a", "closed", "failed")
    assert status["close_code"] == 4000 and status["received"]["messages"] == 0


# --- life ---------------------------------------------------------------------------------------


def test_pings_never_answered(daemon, peer):
    """A server that never answers our pings, and sends nothing, is left within `ping-timeout`; pongs
    that match nothing do not help for ever (K06)."""
    def deaf(c):
        c.good()
        c.expect_frame(PING)
        while True:  # everything that still comes is swallowed, until the end of the stream
            try:
                if not c.sock.recv(65536):
                    return
            except ConnectionResetError:
                return
            except TimeoutError:
                if c.peer.over.is_set():
                    raise p.Over from None

    def good(c):
        c.good()
        c.echo()
    server = peer(deaf, good)
    start(daemon, server.url, "ping-interval = 200ms", "ping-timeout = 400ms")
    server.wait_finished()
    eventually(lambda: daemon.status("a")["reconnects"] == 1)


def test_any_byte_is_life(daemon, peer):
    """"any received byte counts as life": no pongs, but data, for several times the timeout (K06)."""
    def script(c):
        c.good()
        c.expect_frame(PING)
        for i in range(20):
            c.frame(TEXT, f"{i}")
            c.wait(0.1)
        alive(c)
    server = peer(script)
    daemon.start(section("a", server.url, "ping-interval = 200ms", "ping-timeout = 500ms"))
    with daemon.open_out("a") as out:
        assert out.lines(20, 15) == [f"{i}" for i in range(20)]
        assert out.line() == "alive?"
    daemon.put("a", "alive!")
    server.wait_finished()
    assert len(server.connections) >= 1


def test_answers_pings_while_nobody_reads(daemon, peer):
    """Pings are answered although everything received waits for a reader (promise 2)."""
    def script(c):
        c.good()
        for i in range(200):
            c.frame(BINARY, b"x" * 20000)
            c.frame(PING, f"{i}")
            assert c.expect_frame(PONG) == f"{i}".encode()
    server = peer(script)
    start(daemon, server.url, "ping-interval = 0")
    server.wait_finished()


def test_flapping_server_is_not_hammered(daemon, peer):
    """Accept, 101, gone, again and again: the delays grow, no tight loop (R03)."""
    def script(c):
        c.good()
    server = peer(script)
    daemon.start(section("a", server.url, "reconnect-delay = 500ms", "reconnect-max = 60s"))
    server.wait_connections(2)
    cpu = daemon.cpu()
    eventually(lambda: daemon.status("a")["state"] == "waiting")
    with pytest.raises(AssertionError):
        server.wait_connections(40, timeout=2)
    assert daemon.cpu() - cpu < 2
