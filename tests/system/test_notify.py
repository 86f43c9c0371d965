"""What systemd is told (sd_notify), seen by a socket in its place."""

import os
import queue
import signal
import socket
import threading
import time

import pytest

from harness import FAST, Timeout, eventually, free_port, scaled, section


class Notify:
    """A NOTIFY_SOCKET; messages as dicts, in order."""

    def __init__(self, path):
        self.path = str(path)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path)
        self.seen = []
        self.queue = queue.Queue()
        self.thread = threading.Thread(target=self._receive, daemon=True)
        self.thread.start()

    def _receive(self):
        while True:
            data = self.sock.recv(65536)
            if data == b"over":
                return
            message = dict(x.split("=", 1) for x in data.decode().splitlines() if "=" in x)
            message["at"] = time.monotonic()
            self.seen.append(message)
            self.queue.put(message)

    def wait(self, key, value=None, timeout=10):
        """The next message with KEY (= VALUE)."""
        deadline = time.monotonic() + scaled(timeout)
        while True:
            try:
                message = self.queue.get(timeout=max(deadline - time.monotonic(), 0.001))
            except queue.Empty:
                raise Timeout(f"no {key}={value or ''}; seen: {self.seen}") from None
            if key in message and value in (None, message[key]):
                return message

    def has(self, key):
        return any(key in m for m in self.seen)

    def close(self):
        sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sender.sendto(b"over", self.path)
        sender.close()
        self.thread.join(5)
        self.sock.close()


@pytest.fixture
def notify(tmp_path):
    notify = Notify(tmp_path / "notify")
    yield notify
    notify.close()


def start(daemon, notify, config, **env):
    daemon.start(config, env={"NOTIFY_SOCKET": notify.path, **env}, wait=False)


def test_ready_after_every_connection_was_tried_once(daemon, notify, server, peer):
    """"READY when every connection has been tried once": not while one is in its handshake; one
    that is refused has been tried."""
    go = threading.Event()

    def script(c):
        c.read_head()
        while not go.is_set():
            c.wait(0.02)
        c.good()
        c.echo()
    slow = peer(script)
    start(daemon, notify, section("a", server.url) + section("slow", slow.url) + section(
        "refused", f"ws://127.0.0.1:{free_port()}/", *FAST))
    slow.wait_connections(1)
    daemon.wait_open("a")
    daemon.wait_state("refused", "waiting", "connecting")
    with pytest.raises(Timeout):
        notify.wait("READY", timeout=0.5)
    go.set()
    assert notify.wait("READY")["READY"] == "1"
    daemon.wait_open("slow")


def test_ready_without_connections(daemon, notify):
    """Nothing to try: READY at once."""
    start(daemon, notify, "")
    notify.wait("READY", "1")
    assert daemon.client("status").code == 0


def test_ready_is_not_sent_for_a_bad_configuration(daemon, notify):
    """A fault in the configuration ends it with 2 and without READY."""
    start(daemon, notify, "[a]\nurl = nonsense\n")
    assert daemon.wait_exit() == 2
    assert not notify.has("READY")


def test_status_tells_how_many_are_open(daemon, notify, server):
    """STATUS= is a line for people that changes with the connections."""
    start(daemon, notify, section("a", server.url, *FAST))
    notify.wait("READY")
    eventually(lambda: any("STATUS" in m for m in notify.seen))
    before = [m["STATUS"] for m in notify.seen if "STATUS" in m][-1]
    daemon.wait_open("a")
    daemon.client("close", "a")
    eventually(lambda: [m["STATUS"] for m in notify.seen if "STATUS" in m][-1] != before)


@pytest.mark.parametrize("text", ("good", "bad"))
def test_reloading(daemon, notify, server, text):
    """RELOADING=1 with MONOTONIC_USEC, then READY=1 again, also when the reload is refused."""
    start(daemon, notify, section("a", server.url))
    notify.wait("READY")
    daemon.write_config(section("a", server.url) + ("" if text == "good" else "[b]\nnonsense\n"))
    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    daemon.signal(signal.SIGHUP)
    message = notify.wait("RELOADING", "1")
    after = time.clock_gettime(time.CLOCK_MONOTONIC)
    assert before <= int(message["MONOTONIC_USEC"]) / 1e6 <= after
    notify.wait("READY", "1")
    daemon.wait_open("a")


def test_stopping(daemon, notify, server):
    """STOPPING=1 when it begins to end."""
    start(daemon, notify, section("a", server.url))
    notify.wait("READY")
    daemon.signal(signal.SIGTERM)
    notify.wait("STOPPING", "1")
    assert daemon.wait_exit() == 0


def test_watchdog(daemon, notify, server):
    """WATCHDOG=1 at least every half of WATCHDOG_USEC, from the loop itself: a daemon that hangs
    (SIGSTOP) sends none."""
    period = scaled(0.6)
    start(daemon, notify, section("a", server.url), WATCHDOG_USEC=str(int(period * 1e6)))
    notify.wait("READY")
    times = [notify.wait("WATCHDOG", "1")["at"] for _ in range(4)]
    assert max(b - a for a, b in zip(times, times[1:])) < period
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        while not notify.queue.empty():
            notify.queue.get()
        with pytest.raises(Timeout):
            notify.wait("WATCHDOG", timeout=1.2)
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    notify.wait("WATCHDOG", "1")


def test_no_watchdog_unasked(daemon, notify, server):
    """Without WATCHDOG_USEC there is none, so that idle costs nothing."""
    start(daemon, notify, section("a", server.url))
    notify.wait("READY")
    with pytest.raises(Timeout):
        notify.wait("WATCHDOG", timeout=1)


def test_notify_socket_that_is_gone(daemon, server):
    """A NOTIFY_SOCKET that nobody listens on does not matter."""
    daemon.start(section("a", server.url), env={"NOTIFY_SOCKET": str(daemon.home / "nobody")})
    daemon.wait_open("a")


