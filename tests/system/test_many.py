"""Many connections in one daemon: all open, what each costs, one wake-up for each event, and a stop within
the close timeout.  WSPIPE_MANY says how many (default 300), as far as the limit of
descriptors allows; tests/soak-many runs it with 10000."""

import json
import os
import pathlib
import resource
import select
import signal
import subprocess
import tempfile
import time

import pytest

from harness import BUILD, KIB, MEMORY_IS_REAL, eventually, find_connections, scaled, section

MANY = int(os.environ.get("WSPIPE_MANY", "300"))
PEER = BUILD / "tests" / "bench" / "bench-peer"


def limits():
    """Descriptors that we and all that we start may have; as many connections as they suffice for."""
    spare, soft = 500, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = 2 * MANY + spare  # a socket, and the directory of each
    if soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            soft = wanted
        except (ValueError, OSError):
            pass  # not allowed to raise it
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, soft))
    return min(MANY, (soft - spare) // 2)


MANY = limits()


class Server:
    """tests/bench/peer.c, which echoes."""

    def __init__(self):
        self.process = subprocess.Popen([PEER, "--echo"], stdin=subprocess.PIPE, text=True, bufsize=1,
                                        stdout=subprocess.PIPE)
        self.url = f"ws://127.0.0.1:{self.line('port')[0]}/"

    def line(self, word, timeout=20):
        assert select.select([self.process.stdout], [], [], scaled(timeout))[0], f"no {word} came"
        first, *rest = self.process.stdout.readline().split()
        assert first == word, (first, rest)
        return [int(x) for x in rest]

    def stats(self):
        """Connections, and pings that it has seen."""
        self.process.stdin.write("stats\n")
        return self.line("stats")

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(scaled(20))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(autouse=True)
def runtime_in_memory(daemon):
    """As /run is: on a disk each change of a status file waits for the disk."""
    if not os.access("/dev/shm", os.W_OK):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="wsp-", dir="/dev/shm") as directory:
        daemon.run_dir = pathlib.Path(directory) / "run"
        yield
        daemon.cleanup()


@pytest.fixture
def many_server():
    server = Server()
    yield server
    server.stop()


def config(server, count, *lines):
    return "".join(section(f"c{i}", f"{server.url}{i}", "endpoints = status", "connect-timeout = 120s",
                           *lines) for i in range(count))


def connections(daemon):
    result = daemon.client("status", "--json", timeout=120)
    assert result.code == 0, result
    return list(find_connections(json.loads(result.out)).values())


def stop(daemon):
    daemon.signal(signal.SIGTERM)
    assert daemon.wait_exit(120) == 0


def settled(daemon):
    before = daemon.wakeups()
    time.sleep(0.3)
    return daemon.wakeups() - before <= 1


def say(what, *numbers):
    print(f"{MANY} connections: {what}", *numbers)


@pytest.mark.timeout(600)
def test_many(daemon, many_server):
    assert daemon.start(config(many_server, 1, "ping-interval = 0"))
    daemon.wait_open("c0")
    eventually(lambda: settled(daemon), 20, "one is quiet")
    base, began = daemon.rss(), time.monotonic()
    daemon.write_config(config(many_server, MANY, "ping-interval = 0"))
    assert daemon.client("reload", timeout=120).code == 0
    eventually(lambda: many_server.stats()[0] == MANY, 200, "all are open at the server")
    say("open after", round(time.monotonic() - began, 2), "s")
    eventually(lambda: all(c["state"] == "open" for c in connections(daemon)), 60, "all open")
    eventually(lambda: settled(daemon), 60, "all are quiet")
    each = (daemon.rss() - base) / (MANY - 1)
    say("bytes for each:", round(each), "descriptors:", daemon.fds())
    if MEMORY_IS_REAL:
        assert each < 24 * KIB
    assert daemon.fds() <= 2 * MANY + 100

    wakeups = daemon.wakeups()
    time.sleep(2)  # an absence
    quiet = daemon.wakeups() - wakeups
    say("wake-ups in 2 s of silence:", quiet)
    assert quiet <= 3

    events = 50  # one message goes and its echo comes: a request, a frame; and a look at what it got
    wakeups, cpu = daemon.wakeups(), daemon.cpu()
    for i in range(events):
        assert daemon.client("send", f"c{i * (MANY - 1) // events}", "hello").code == 0
    eventually(lambda: sum(c["received"]["messages"] for c in connections(daemon)) == events, 20)
    woken = daemon.wakeups() - wakeups
    say("wake-ups for each message sent by a client and echoed:", round(woken / events, 2),
        "ms of CPU:", round(1000 * (daemon.cpu() - cpu) / events, 2))
    assert woken <= 12 * events

    cpu = daemon.cpu()
    assert daemon.client("reload", timeout=60).code == 0
    say("s of CPU for a reload:", round(daemon.cpu() - cpu, 2))
    assert many_server.stats()[0] == MANY

    began = time.monotonic()
    stop(daemon)
    say("stopped after", round(time.monotonic() - began, 2), "s")
    assert "did not answer within" not in daemon.log  # no close-timeout: all closed properly
    eventually(lambda: many_server.stats()[0] == 0, 20, "the server has seen them go")


@pytest.mark.timeout(600)
def test_many_are_pinged(daemon, many_server):
    assert daemon.start(config(many_server, MANY, "ping-interval = 2s", "ping-timeout = 60s"))
    eventually(lambda: many_server.stats()[0] == MANY, 200, "all are open")
    wanted = many_server.stats()[1] + 2 * MANY
    eventually(lambda: many_server.stats()[1] >= wanted, 200, "all have been pinged twice or so")
    assert all(c["state"] == "open" and c["reconnects"] == 0 for c in connections(daemon))
    stop(daemon)


@pytest.mark.timeout(600)
def test_many_lose_their_server(daemon, many_server):
    """The server dies: nobody spins."""
    assert daemon.start(config(many_server, MANY, "reconnect-delay = 1s", "reconnect-max = 2s"))
    eventually(lambda: many_server.stats()[0] == MANY, 200, "all are open")
    many_server.stop()
    eventually(lambda: all(c["cause"] for c in connections(daemon)), 60, "all have lost it")
    assert not any(c["state"] == "open" for c in connections(daemon))
    cpu, began = daemon.cpu(), time.monotonic()
    time.sleep(3)  # the pace of attempts at a port where nobody listens
    say("CPU while all fail:", round((daemon.cpu() - cpu) / (time.monotonic() - began), 3))
    stop(daemon)
