"""Servers that say no at length, and servers that do not end what they have begun."""

import pytest

from harness import FAST, eventually, section
from peer import CONTINUATION, PING, PONG, TEXT


def cause(daemon, text):
    return eventually(lambda: text in str(daemon.status("a")["cause"]) and daemon.status("a"), 15,
                      what=text)


def test_reason_in_the_body(daemon, peer):
    """H47: what stands there is shown on one line, without tags, controls and what we had sent."""
    def script(c):
        c.read_head()
        c.send(b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\n\r\n"
               b"<html><body>\r\n<h1>Account  closed\x1b[2J</h1>\nkey s3cret-key\n")
        c.expect_eof(5)
    server = peer(script)
    daemon.start(section("a", f"ws://127.0.0.1:{server.port}/?key=s3cret-key", *FAST))
    status = cause(daemon, "HTTP 403 Forbidden: Account closed [2J key **********")
    assert status["cause_class"] == "http"
    line = next(line for line in daemon.log.splitlines() if "403" in line)
    assert "Account closed" in line and "s3cret" not in line


@pytest.mark.parametrize("head", ["", "Transfer-Encoding: chunked\r\n",
                                  "Content-Length: 99999999999999999999\r\n"])
def test_endless_body(daemon, peer, head):
    """H47: it is closed after 4 KiB of it."""
    def script(c):
        c.read_head()
        c.send(f"HTTP/1.1 500 Oops\r\n{head}\r\n".encode())
        with pytest.raises(OSError):
            for _ in range(1000):
                c.sock.sendall((b"100\r\n" + b"no, no; " * 32 + b"\r\n") * 400)
    server = peer(script)
    daemon.start(section("a", f"ws://127.0.0.1:{server.port}/", "reconnect = never"))
    server.wait_finished()
    status = cause(daemon, "HTTP 500 Oops")
    assert "no, no; no" in status["cause"] and len(status["cause"]) < 200


def test_body_that_does_not_come(daemon, peer):
    """H47: ... or after a second."""
    def script(c):
        c.read_head()
        c.send(b"HTTP/1.1 500 Oops\r\nContent-Length: 100\r\n\r\nso far")
        c.expect_eof(10)
    server = peer(script)
    daemon.start(section("a", f"ws://127.0.0.1:{server.port}/", "reconnect = never"))
    cause(daemon, "HTTP 500 Oops: so far")
    server.wait_finished()


def test_finished_after_all(daemon, peer):
    def script(c):
        c.good()
        c.frame(TEXT, "ha", fin=0)
        c.frame(PING, "?")
        c.expect_frame(PONG, "?")
        c.frame(CONTINUATION, "lf")
        c.expect_frame(8)
    server = peer(script)
    daemon.start(section("a", f"ws://127.0.0.1:{server.port}/", "reconnect = never"))
    with daemon.open_out("a") as out:
        assert out.line() == "half"
    daemon.client("close", "a")
    server.wait_finished()
