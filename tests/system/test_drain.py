"""`drain`: everything since the last drain, then end of file."""

import os
import threading
import time

import pytest

from harness import ended, eventually, run, scaled, section

WITH_DRAIN = "endpoints = in drain status"


def cp(daemon, to, timeout=10):
    """`cp NAME/drain FILE`, as cron would; the lines."""
    result = run(["cp", daemon.path("a", "drain"), to], timeout=timeout, env=daemon.env)
    assert result.code == 0, result
    return to.read_text().splitlines()


def test_everything_since_the_last_drain_then_end_of_file(daemon, server, tmp_path):
    daemon.start(section("a", server.url, WITH_DRAIN))
    daemon.wait_open("a")
    assert cp(daemon, tmp_path / "batch") == [], "also when there is nothing"
    for first in (0, 500):
        server.session().send(*[f"{i}" for i in range(first, first + 500)])
        eventually(lambda: daemon.readers("a", "drain")[0]["behind_messages"] == 500)
        assert cp(daemon, tmp_path / "batch") == [f"{i}" for i in range(first, first + 500)]
        assert cp(daemon, tmp_path / "batch") == []
    assert daemon.readers("a", "drain")[0]["missed"] == 0


@pytest.mark.parametrize("batch", ["no", "yes"])
def test_early_leavers_leave_the_rest(daemon, server, batch, tmp_path):
    """`head -n1`, which reads as much as it gets, takes no more than what it has read: with batch = no, one
    line.  What was not read is for the next drain."""
    daemon.start(section("a", server.url, WITH_DRAIN, f"batch = {batch}"))
    server.session().send(*[f"{i} {'x' * 100}" for i in range(2000)])
    eventually(lambda: daemon.status("a")["received"]["messages"] == 2000)
    got = []
    for _ in range(20):
        with daemon.open_out("a", "drain") as stream:
            chunk = stream.chunk(size=250 if batch == "yes" else 1 << 16)
            whole = [line for line in chunk.split(b"\n")[:-1]]
            got += [int(line.split()[0]) for line in whole]
    assert got == list(range(len(got))) and len(got) == (40 if batch == "yes" else 20)
    rest = cp(daemon, tmp_path / "batch")
    assert [int(line.split()[0]) for line in rest] == list(range(len(got), 2000))


@pytest.mark.timeout(90)
@pytest.mark.parametrize("batch", ["no", "yes"])
def test_eight_parallel_drainers_against_a_steady_producer(daemon, server, batch, tmp_path):
    """"8 parallel drainers against a steady producer: each message in exactly one batch, no hang,
    every batch ends." """
    daemon.start(section("a", server.url, WITH_DRAIN, f"batch = {batch}"))
    daemon.wait_open("a")
    over, sent, failures = threading.Event(), [0], []  # cp looks at the name twice, cat once
    session = server.session()
    got, batches = [[] for _ in range(8)], [0] * 8

    def produce():
        while not over.is_set():
            session.send(*[f"{i}" for i in range(sent[0], sent[0] + 20)])
            sent[0] += 20
            time.sleep(0.002)

    def drain(number):
        try:
            while not over.is_set():
                result = run(["cat", daemon.path("a", "drain")], timeout=10, env=daemon.env)
                assert result.code == 0, result
                lines = result.out.splitlines()
                assert [int(x) for x in lines] == sorted(int(x) for x in lines)
                got[number] += [int(x) for x in lines]
                batches[number] += 1
        except BaseException as problem:
            failures.append(problem)

    threads = [threading.Thread(target=produce)]
    threads += [threading.Thread(target=drain, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(float(os.environ.get("WSPIPE_DRAIN_SECONDS", "5")))
    over.set()
    for thread in threads:
        thread.join(scaled(20))
        assert not thread.is_alive()
    assert not failures, failures
    eventually(lambda: daemon.status("a")["received"]["messages"] == sent[0])
    rest = [int(x) for x in cp(daemon, tmp_path / "rest")]
    everything = sorted(sum(got, rest))
    assert everything == list(range(sent[0])), "each message in exactly one batch"
    assert min(batches) > 5
    print(f"{sum(batches)} batches, {sent[0]} messages")
    eventually(lambda: daemon.fds() < 40, what="no descriptors stay")
    cpu = daemon.cpu()
    time.sleep(1)
    assert daemon.cpu() - cpu < 0.2, "and it is quiet afterwards"


def test_open_waits_for_nobody_and_blocked_openers_are_served(daemon, server, tmp_path):
    """A reader that sleeps in open() while no daemon runs gets his batch from the next one."""
    config = section("a", server.url, WITH_DRAIN)
    daemon.start(config)
    daemon.stop()
    sleeper = daemon.spawn_shell("exec cat a/drain")
    eventually(lambda: b"fifo" in open(f"/proc/{sleeper.pid}/wchan", "rb").read() or
               b"wait" in open(f"/proc/{sleeper.pid}/wchan", "rb").read() or
               open(f"/proc/{sleeper.pid}/stat").read().split()[2] == "S")
    daemon.start()
    assert ended(sleeper) == 0
    assert sleeper.stdout.read() == b""


def test_reload_loses_no_place(daemon, server, tmp_path):
    """Endpoints that are made anew go on where they were."""
    daemon.start(section("a", server.url, WITH_DRAIN))
    server.session().send("one", "two")
    eventually(lambda: daemon.status("a")["received"]["messages"] == 2)
    assert cp(daemon, tmp_path / "batch") == ["one", "two"]
    server.session().send("three")
    eventually(lambda: daemon.status("a")["received"]["messages"] == 3)
    daemon.write_config(section("a", server.url, "endpoints = in drain"))
    assert daemon.reload().code == 0
    assert cp(daemon, tmp_path / "batch") == ["three"]
    assert sorted(os.listdir(daemon.path("a"))) == ["drain", "in"]
