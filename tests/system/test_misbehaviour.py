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


@pytest.mark.timeout(100)
def test_unfinished_message(daemon, peer):
    """G13: pings are answered, but no byte of a message comes for a minute: Close 1008, and nothing of
    the message.  One that goes on slowly is none of that."""
    def script(c):
        c.good()
        c.frame(TEXT, "half", fin=0)
        for _ in range(3):
            opcode, data, _, _ = c.read_frame(40)
            while opcode == PING:
                c.frame(PONG, data)
                opcode, data, _, _ = c.read_frame(75)
            if opcode == 8:
                break
        assert opcode == 8 and data[:2] == b"\x03\xf0", (opcode, data)
        assert b"message for 60 s" in data
    server = peer(script)
    daemon.start(section("a", f"ws://127.0.0.1:{server.port}/", "ping-interval = 5s",
                         "reconnect = never"))
    daemon.wait_open("a")
    server.wait_finished(1, 95)
    status = cause(daemon, "the server has not gone on with a message for 60 s (closed with 1008)")
    assert status["cause_class"] == "protocol" and status["received"]["messages"] == 0


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
