"""Small versions of the long runs: nothing grows, and idle costs nothing."""

import os
import time

import pytest

import servers
from harness import KIB, MEMORY_IS_REAL, eventually, section

ROUNDS = int(os.environ.get("WSPIPE_ROUNDS", "200"))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", ("verb", "abort"))
def test_r16_reconnects_leave_nothing_behind(daemon, server, how):
    """"no descriptor or memory growth over ... reconnects", each with traffic both ways."""
    daemon.start(section("a", server.url, "reconnect-delay = 100ms", "reconnect-max = 100ms"))
    rounds = ROUNDS if how == "verb" else ROUNDS // 4

    def turn(number):
        session = server.session(number)
        daemon.put("a", f"{number}")
        assert session.recv() == f"{number}"
        session.send(f"reply {number}")
        assert out.line() == f"reply {number}"
        if how == "verb":
            assert daemon.client("reconnect", "a").code == 0
        else:
            session.abort()

    with daemon.open_out("a") as out:
        for number in range(rounds // 4):
            turn(number)
        server.session(rounds // 4)  # the next one is there: the state alone may be of the last
        daemon.wait_open("a")
        fds, rss = daemon.fds(), daemon.rss()
        for number in range(rounds // 4, rounds):
            turn(number)
        server.session(rounds)
        daemon.wait_open("a")
        eventually(lambda: daemon.fds() <= fds, what=f"no more than {fds} descriptors")
        if MEMORY_IS_REAL:
            assert daemon.rss() - rss < 512 * KIB
    eventually(lambda: daemon.status("a")["reconnects"] == rounds, what="the last one is noticed")


def test_open_and_close_leave_nothing_behind(daemon, server):
    """60 connections made and removed, 60 reloads, 60 short clients: no descriptor more."""
    daemon.start(section("a", server.url))
    daemon.wait_open("a")
    counts = []
    for i in range(60):
        assert daemon.client("open", "b", server.url).code == 0
        with daemon.sock("b") as client:
            client.write("x\n")
        assert daemon.client("close", "b").code == 0
        assert daemon.reload().code == 0
        if i == 9:
            counts = [daemon.fds(), daemon.rss()]
    eventually(lambda: daemon.fds() <= counts[0], what=f"no more than {counts[0]} descriptors")
    if MEMORY_IS_REAL:
        assert daemon.rss() - counts[1] < 512 * KIB


def test_idle_costs_nothing(daemon, make_server):
    """"Idle costs nothing: no timer wakes a daemon whose connections are quiet, pings aside": 50
    connections, nobody sends, three seconds, (almost) no wake-ups."""
    server = make_server(servers.PyServer)
    names = [f"c{i}" for i in range(50)]
    daemon.start("".join(section(n, server.url, "ping-interval = 0") for n in names))
    eventually(lambda: {c["state"] for c in daemon.status_all().values()} == {"open"}, 20)
    out = daemon.open_out("c0")  # a reader that waits is quiet, too
    with daemon.open_in("c1"), out:
        eventually(lambda: _quiet(daemon), what="the start is over")
        before, cpu = daemon.wakeups(), daemon.cpu()
        time.sleep(3)
        assert daemon.wakeups() - before <= 3
        assert daemon.cpu() - cpu <= 0.02


def _quiet(daemon):
    before = daemon.wakeups()
    time.sleep(0.2)
    return daemon.wakeups() == before


def test_idle_waiting_costs_nothing(daemon):
    """Connections that wait for their next attempt, an hour away, do not poll either."""
    from harness import free_port
    daemon.start("".join(section(f"c{i}", f"ws://127.0.0.1:{free_port()}/", "reconnect-delay = 1h",
                                 "reconnect-max = 1h") for i in range(10)))
    eventually(lambda: {c["state"] for c in daemon.status_all().values()} == {"waiting"}, 20)
    eventually(lambda: _quiet(daemon), what="the start is over")
    before = daemon.wakeups()
    time.sleep(2)
    assert daemon.wakeups() - before <= 3
