"""send --confirm, resend, "unconfirmed", and what is said of messages that wait."""

import time

from harness import DONE, FAST, NOT_OPEN, PEER, TIMED_OUT, ended, eventually, free_port, section
from peer import CLOSE, PING, PONG, TEXT


def read_text(c):
    """The next message; pings are not answered."""
    while True:
        opcode, data, _, _ = c.read_frame()
        if opcode == TEXT:
            return data.decode()


def test_confirm_returns_when_a_pong_has_covered_it(daemon, peer):
    """Not before: the server holds its pong back."""
    def script(c):
        c.good()
        assert read_text(c) == "hello"
        opcode, data, _, _ = c.read_frame()
        assert opcode == PING, "a ping behind the message, at once"
        while not (daemon.home / "go").exists():
            c.wait(0.02)
        c.frame(PONG, data)
        c.echo()
    p = peer(script)
    daemon.start(section("a", p.url, "ping-interval = 0"))
    daemon.wait_open("a")
    child = daemon.spawn_client("send", "a", "--confirm", "hello")
    eventually(lambda: daemon.status("a")["sent"]["messages"] == 1)
    time.sleep(0.3)
    assert child.poll() is None, "it waits for the pong"
    (daemon.home / "go").touch()
    assert ended(child) == DONE


def test_confirm_of_many_lines(daemon, server):
    daemon.start(section("a", server.url))
    daemon.wait_open("a")
    lines = [f"{i}" for i in range(5000)]
    result = daemon.client("send", "a", "--confirm", input="\n".join(lines) + "\n")
    assert result.code == DONE and result.err == "", result
    assert server.session().recv_many(5000) == lines


def test_confirm_fails_when_the_connection_is_lost_before(daemon, peer):
    def script(c):
        c.good()
        assert read_text(c) == "hello"
        c.rst()
    p = peer(script, lambda c: c.good().echo())
    daemon.start(section("a", p.url, "ping-interval = 0", *FAST))
    daemon.wait_open("a")
    result = daemon.client("send", "a", "--confirm", "hello")
    assert result.code == PEER and "unconfirmed" in result.err, result
    eventually(lambda: daemon.status("a")["unconfirmed"]["messages"] == 1)
    assert "unconfirmed" in daemon.log


def test_confirm_waits_for_the_open_with_a_limit(daemon, server):
    url, port = server.url, server.port
    server.stop()
    daemon.start(section("a", url, *FAST))
    result = daemon.client("send", "a", "--confirm", "--timeout", "0.5", "one")
    assert result.code == TIMED_OUT
    child = daemon.spawn_client("send", "a", "--confirm", "two")
    eventually(lambda: daemon.status("a")["queue"]["messages"] == 2)
    server.start()
    assert ended(child) == DONE
    assert server.session().recv_many(2) == ["one", "two"]


def test_resend_what_no_pong_has_covered(daemon, peer):
    """In order and before newer ones; what was covered is not sent again."""
    def first(c):
        c.good()
        assert read_text(c) == "covered"
        opcode, data, _, _ = c.read_frame()
        assert opcode == PING, "after a quiet moment, though pings are off"
        c.frame(PONG, data)
        assert [read_text(c), read_text(c)] == ["one", "two"]
        c.rst()

    def second(c):
        c.good()
        assert [read_text(c) for _ in range(3)] == ["one", "two", "three"]
        c.echo()
    p = peer(first, second)
    daemon.start(section("a", p.url, "resend = yes", "ping-interval = 0", "reconnect-delay = 1s"))
    daemon.wait_open("a")
    daemon.put("a", "covered")
    eventually(lambda: daemon.status("a")["queue"]["messages"] == 0)
    daemon.put("a", "one", "two")
    daemon.wait_state("a", "waiting", "connecting")
    daemon.put("a", "three")
    p.wait_connections(2)
    eventually(lambda: daemon.status("a")["queue"]["messages"] == 0, what="all is confirmed")
    status = daemon.status("a")
    assert status["unconfirmed"]["messages"] == 0 and status["sent"]["messages"] == 4
    assert "sent again" in daemon.log
    wakeups = daemon.wakeups()
    time.sleep(2.5)
    assert daemon.wakeups() - wakeups < 5, "no timer when nothing is unconfirmed"


def test_without_resend_they_are_counted(daemon, peer):
    def first(c):
        c.good()
        assert [read_text(c), read_text(c)] == ["one", "two"]
        c.rst()

    def second(c):
        c.good()
        assert read_text(c) == "three"
        c.echo()
    p = peer(first, second)
    daemon.start(section("a", p.url, "ping-interval = 0", *FAST))
    daemon.wait_open("a")
    daemon.put("a", "one", "two")
    p.wait_connections(2)
    daemon.wait_open("a")
    daemon.put("a", "three")
    eventually(lambda: daemon.status("a")["sent"]["messages"] == 3)
    assert daemon.status("a")["unconfirmed"]["messages"] == 2
    assert daemon.status("a")["dropped"]["messages"] == 0
    assert "2 messages are unconfirmed" in daemon.log


def test_unconfirmed_messages_count_as_queued(daemon, peer):
    """The bound of resend: a server that answers no ping makes writers wait."""
    def script(c):
        c.good()
        while True:
            if c.read_frame(30)[0] == CLOSE:
                return
    p = peer(script)
    daemon.start(section("a", p.url, "resend = yes", "queue = 64K", "ping-interval = 0",
                         "close-timeout = 100ms"))
    daemon.wait_open("a")
    with daemon.open_in("a") as stream:
        written = stream.write_until_blocked((b"x" * 1023 + b"\n") * 4096)
    assert 64 * 1024 <= written < 512 * 1024
    assert 32 * 1024 < daemon.status("a")["queue"]["bytes"] <= 64 * 1024


def test_send_to_a_closed_connection_queues(daemon, server):
    """"`send` to a closed connection queues (exit 0 says "queued"), `--no-queue` fails with 5." """
    daemon.start(section("a", server.url))
    daemon.wait_open("a")
    assert daemon.client("pause", "a").code == 0
    daemon.wait_state("a", "closed")
    result = daemon.client("send", "a", "later")
    assert result.code == DONE and "queued" in result.err, result
    result = daemon.client("send", "a", "--no-queue", "never")
    assert result.code == NOT_OPEN and "closed" in result.err, result
    assert daemon.status("a")["queue"]["messages"] == 1
    assert daemon.client("resume", "a").code == 0
    assert server.session(1).recv() == "later" and server.session(1).got_nothing()
    result = daemon.client("send", "a", "--no-queue", "now")
    assert result.code == DONE and result.err == ""
    assert server.session(1).recv() == "now"


def test_send_to_a_port_where_nobody_listens_queues(daemon):
    daemon.start(section("a", f"ws://127.0.0.1:{free_port()}/"))
    result = daemon.client("send", "a", "one")
    assert result.code == DONE and "queued" in result.err
    assert daemon.client("send", "a", "--no-queue", "two").code == NOT_OPEN
    result = daemon.client("send", "a", "--confirm", "--no-queue", "two")
    assert result.code == NOT_OPEN
