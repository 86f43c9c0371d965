"""What must not happen when memory, descriptors or disk space run out, reads and writes are short, or clocks
jump: the end of the daemon, harm to who is not concerned, a loss that nobody is told of, a spin.

tests/faults/run makes every single call fail; here are some of each kind."""

import errno
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

import faults
import servers
from harness import (ASAN, FAST, KIB, MIB, ROOT, SCALE, SockClient, Timeout, eventually, free_port,
                     scaled, section)

pytestmark = pytest.mark.skipif(faults.why_not() is not None, reason=str(faults.why_not()))
CALLS_OF_EACH = 2


@pytest.fixture
def life(faulty, make_server, pki):
    deflate = {"echo": True, "keep": False, "compression": "deflate"}
    return faults.Life(faulty, make_server(servers.PyServer, **deflate),
                       make_server(servers.PyServer, tls=servers.server_tls(pki, "localhost"), **deflate),
                       pki.cert("ca"))


# --- a call that fails --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", faults.KINDS)
def test_some_calls_fail(life, kind):
    """Some of those that tests/faults/run goes through one by one, and runs of five."""
    life.start()
    for step in life.STEPS:
        calls = life.calls(kind, step)
        for i in range(CALLS_OF_EACH):
            first = 1 + calls * (2 * i + 1) // (2 * CALLS_OF_EACH)
            life.step(kind, step, first, count=5 if i % 2 else 1)


@pytest.mark.parametrize("kind", faults.KINDS)
def test_some_calls_fail_at_start(life, kind):
    """It runs, or it ends with a message and a status."""
    for first in (1, 3, 10, 30, 60, 90):
        assert faults.start_with(life.daemon, life, kind, first) <= 1
        if life.daemon.process is not None:
            life.daemon.stop()


def test_it_can_be_stopped_without_memory(life):
    life.start()
    life.daemon.page.fail("memory")
    life.daemon.stop()
    assert life.daemon.page.over("memory") > 0


def test_no_memory_in_the_handshake_is_not_the_servers_fault(faulty, make_server, pki):
    """What time cannot mend is retried slowly; this it can."""
    server = make_server(servers.PyServer, tls=servers.server_tls(pki, "localhost"))
    faulty.start(section("a", server.url, f"cacert = {pki.cert('ca')}", "reconnect-delay = 200ms",
                         "reconnect-max = 200ms", "endpoints = sock"))
    faulty.wait_open("a")
    faulty.page.count("memory")
    faulty.client("reconnect", "a")
    faulty.client("wait", "a", "--for", "open", "--timeout", "5")
    calls = faulty.page["memory.calls"]
    for first in range(20, calls, max(1, calls // 20)):
        faulty.page.fail("memory", first, 1000)
        faulty.client("reconnect", "a")
        eventually(lambda: faulty.page["memory.failed"] > 0 or faulty.status("a")["state"] == "open")
        faulty.page.over("memory")
        faulty.client("reconnect", "a")
        faulty.wait_open("a")
    failures = re.findall(r"trying again in ([0-9.]+) s: (.*)", faulty.log)
    assert any("TLS: Cannot allocate" in cause for _, cause in failures), "none in the handshake"
    assert all(float(delay) <= 0.2 for delay, _ in failures), failures


def test_what_libevent_complains_of_is_logged(faulty, server):
    """epoll has no place: each attempt fails, and the reason is one line of the log, like any other."""
    faulty.start(section("a", server.url, *FAST))
    faulty.wait_open("a")
    faulty.page.fail("space")
    server.session().close()
    eventually(lambda: faulty.page["space.failed"] > 8)
    faulty.page.over("space")
    faulty.wait_open("a")
    lines = [line for line in faulty.log.splitlines() if "libevent: " in line]
    assert len(lines) == 1
    assert lines[0].startswith("wspiped: warning: libevent: Epoll ADD")
    assert lines[0].endswith(os.strerror(errno.ENOSPC))
    assert "[warn]" not in faulty.log


# --- no descriptors -----------------------------------------------------------------------------


class NoDescriptors:
    """The daemon may not have more than it has: EMFILE."""

    def __init__(self, daemon, left=0):
        self.daemon, self.left = daemon, left

    def __enter__(self):
        self.before = resource.prlimit(self.daemon.pid, resource.RLIMIT_NOFILE)
        highest = max(int(fd) for fd in os.listdir(f"/proc/{self.daemon.pid}/fd"))
        resource.prlimit(self.daemon.pid, resource.RLIMIT_NOFILE, (highest + 1 + self.left, self.before[1]))
        held = set(map(int, os.listdir(f"/proc/{self.daemon.pid}/fd")))
        if len(held) < highest + 1:  # holes below the limit: clients who stay take them
            self.fill(highest + 1 - len(held))
        return self

    def fill(self, holes):
        self.fillers = []
        for _ in range(holes):
            filler = socket.socket(socket.AF_UNIX)
            filler.connect(str(self.daemon.run_dir / "control"))
            self.fillers.append(filler)
        eventually(lambda: len(os.listdir(f"/proc/{self.daemon.pid}/fd")) >= holes, 5)

    def __exit__(self, *_):
        resource.prlimit(self.daemon.pid, resource.RLIMIT_NOFILE, self.before)
        for filler in getattr(self, "fillers", ()):
            filler.close()


def test_no_descriptors_accept_rests(daemon, echo):
    """Both listeners rest, in which time nothing spins; all who waited are served when there are descriptors."""
    daemon.start(section("a", echo.url, *FAST))
    daemon.wait_open("a")
    with daemon.listener("a") as before, NoDescriptors(daemon):
        waiting = daemon.sock("a")
        asking = daemon.spawn_client("status", stdin=subprocess.DEVNULL)
        eventually(lambda: "control socket: cannot take another client" in daemon.log)
        eventually(lambda: "sock: cannot accept a client" in daemon.log)
        cpu, wakeups = daemon.cpu(), daemon.wakeups()
        before.write("goes on\n")
        assert before.line() == "goes on"
        time.sleep(3)
        assert daemon.wakeups() - wakeups < 30
        assert daemon.cpu() - cpu < 0.3 * SCALE
        assert asking.poll() is None
    assert asking.wait(scaled(10)) == 0
    before.close()
    waiting.write("served\n")
    assert waiting.line() == "served"
    waiting.close()
    assert daemon.log.count("control socket: cannot take another client") == 1
    assert daemon.log.count("sock: cannot accept a client") == 1


def test_no_descriptors_connect_and_files(faulty, server):
    """A connection that is lost then comes back; `status` and `last`, written meanwhile, are of now without
    another message."""
    faulty.start(section("a", server.url, *FAST))
    faulty.wait_open("a")
    faulty.page.fail("descriptors")
    server.session().send("the newest")
    eventually(lambda: "last: cannot be replaced" in faulty.log)
    server.session().close()
    eventually(lambda: "status: cannot be replaced" in faulty.log)
    eventually(lambda: "cannot connect" in faulty.log)
    time.sleep(2.5)  # several attempts
    faulty.page.over("descriptors")
    faulty.wait_open("a")
    eventually(lambda: faulty.path("a", "last").read_text() == "the newest\n")
    eventually(lambda: faulty.status_file("a")["state"] == "open")
    assert faulty.log.count("last: cannot be replaced") == 1
    assert faulty.log.count("status: cannot be replaced") == 1
    assert "last: is up to date again" in faulty.log and "status: is up to date again" in faulty.log


# --- a full disk --------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MB at tmp_path/disk, in a mount namespace that this process enters in a child only:
    the daemon is started through `enter`."""
    if os.getuid() != 0:
        pytest.skip("only root can mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    keeper = subprocess.Popen(
        ["unshare", "-m", "--propagation", "private", "sh", "-c",
         f"mount -t tmpfs -o size=8m,mode=0700 tmpfs {disk} && echo ready && exec sleep 600"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if keeper.stdout.readline() != b"ready\n":
        keeper.wait()
        pytest.skip("no file system can be mounted here")
    yield SmallDisk(disk, keeper.pid)
    keeper.kill()
    keeper.wait()
    keeper.stdout.close()


class SmallDisk:
    def __init__(self, path, pid):
        self.path, self.pid = path, pid
        self.seen = f"/proc/{pid}/root{path}"  # from outside
        self.enter = ["nsenter", "-m", "-t", str(pid)]

    def free(self):
        stat = os.statvfs(self.seen)
        return stat.f_bavail * stat.f_frsize

    def fill(self):
        """To the last byte."""
        with open(f"{self.seen}/filler", "ab", buffering=0) as file:
            size = 64 * KIB
            while size:
                try:
                    file.write(bytes(size))
                except OSError as problem:
                    assert problem.errno == errno.ENOSPC
                    size //= 2

    def clear(self):
        os.unlink(f"{self.seen}/filler")


@pytest.fixture
def on_disk(daemon, small_disk):
    """The daemon, in the namespace of the small disk."""
    plain = daemon.command
    daemon.command = lambda *args: small_disk.enter + plain(*args)
    return daemon


def numbered(first, end, size=2000):
    return [f"{i:06} {'x' * size}" for i in range(first, end)]


def test_state_directory_full(on_disk, small_disk, make_server):
    """The live path goes on, it is told once, and persisting goes on when there is space."""
    daemon = on_disk
    server = make_server(servers.PyServer, ping_interval=0.2, ping_timeout=scaled(5))
    daemon.state_dir = small_disk.path / "state"
    log = small_disk.path / "feed.log"
    daemon.start(section("a", server.url, *FAST, "persist = yes", "keep = 8M", f"file = {log}", "file-max = 0",
                         "endpoints = in out sock last status file"))
    daemon.wait_open("a")
    session = server.session()
    with daemon.listener("a") as sock, daemon.open_out("a") as out:
        session.send(*numbered(0, 100))
        small_disk.fill()
        session.send(*numbered(100, 400))
        small_disk.fill()
        session.send(*numbered(400, 800))
        assert sock.lines(800, 30) == numbered(0, 800)
        got = out.lines(800, 30)
        assert got == numbered(0, 800)
        session.ping()
        daemon.put("a", *[f"out {i}" for i in range(500)])
        assert session.recv_many(500) == [f"out {i}" for i in range(500)]
        status = daemon.status("a")
        assert status["state"] == "open" and status["reconnects"] == 0
        assert status["persist"].startswith("failing: ")
        assert daemon.readers("a", "file")[0]["failing"]
        assert daemon.log.count("kept in memory only") == 1
        assert daemon.log.count("cannot be written") == 1
        assert len(daemon.log.splitlines()) < 12, daemon.log
        small_disk.clear()
        session.send(*numbered(800, 1100))
        assert sock.lines(300, 30) == numbered(800, 1100)
        time.sleep(1)  # it tries once a second, when something comes
        session.send("one more")
        assert sock.line() == "one more"
        assert daemon.status("a")["persist"] == "ok"
        assert daemon.log.count("state directory again") == 1
        eventually(lambda: not daemon.readers("a", "file")[0]["failing"])
    eventually(lambda: daemon.readers("a", "file")[0]["behind_messages"] == 0)
    missed = daemon.readers("a", "file")[0]["missed"]
    written = open(small_disk.seen + "/feed.log").read().splitlines()
    assert len(written) + missed == 1101 and sorted(set(written)) == written
    kept = daemon.status("a")["kept"]["messages"]
    daemon.kill()
    daemon.start()
    status = daemon.status("a")
    assert 0 < status["kept"]["messages"] <= kept and status["persist"] == "ok"


def test_state_directory_full_from_the_start(on_disk, small_disk, server):
    """Nothing can be made there: it is told, and the connection lives."""
    daemon = on_disk
    daemon.state_dir = small_disk.path / "state"
    small_disk.fill()
    daemon.start(section("a", server.url, *FAST, "persist = yes"))
    daemon.wait_open("a")
    with daemon.listener("a") as sock:
        server.session().send(*numbered(0, 300))
        assert sock.lines(300) == numbered(0, 300)
    assert daemon.status("a")["persist"].startswith("failing: ")
    small_disk.clear()
    time.sleep(1)  # it tries once a second, when something comes
    server.session().send("one more")
    eventually(lambda: daemon.status("a")["persist"] == "ok", 10, "it persists")


def test_runtime_directory_full(on_disk, small_disk, server):
    """`last` and `status` cannot be replaced; all else goes on, and they are of now when they can be."""
    daemon = on_disk
    daemon.run_dir = small_disk.path / "run"
    outside = small_disk.seen + "/run"
    daemon.start(section("a", server.url, *FAST, "compress = no"), wait=False)
    daemon.run_dir = type(daemon.run_dir)(outside)  # as it is seen from here
    assert daemon.wait_ready()
    daemon.wait_open("a")
    session = server.session()
    session.send("before")
    eventually(lambda: daemon.path("a", "last").read_text() == "before\n")
    with daemon.listener("a") as sock, daemon.open_out("a") as out:
        assert out.line() == "before"
        small_disk.fill()
        big = numbered(0, 200, 9000)
        for message in big:
            session.send(message)
            assert sock.line() == message
        assert out.lines(200) == big
        eventually(lambda: "last: cannot be replaced" in daemon.log)
        session.ping()
        assert daemon.path("a", "last").read_text() == "before\n", "old, but whole"
        session.close()
        eventually(lambda: len(server.sessions) == 2)
        daemon.wait_open("a")
        assert daemon.log.count("last: cannot be replaced") == 1
        assert daemon.log.count("status: cannot be replaced") <= 1
        small_disk.clear()
        eventually(lambda: daemon.path("a", "last").read_text() == big[-1] + "\n", 10, "last is of now")
        eventually(lambda: daemon.status_file("a")["state"] == "open", 10, "status is of now")


# --- short reads and writes ---------------------------------------------------------------------


def test_short_reads_and_writes(faulty, make_server, pki):
    """Every read and write moves a few bytes, or is interrupted: all stays as it was, to the byte."""
    server = make_server(servers.PyServer, echo=True, compression="deflate",
                         tls=servers.server_tls(pki, "localhost"))
    log = faulty.home / "feed.log"
    faulty.start(section("a", server.url, f"cacert = {pki.cert('ca')}", "compress = both", f"file = {log}",
                         "endpoints = in out sock last status drain file", "persist = yes"))
    faulty.wait_open("a")
    count = 400 if ASAN else 1500
    lines = [f"{i} {'é' * (i % 97)}{'y' * (i * 7919 % 3000)}" for i in range(count)]
    data = "".join(line + "\n" for line in lines).encode()
    faulty.page["bytes_max"], faulty.page["interrupt"] = 700, 5
    with faulty.listener("a") as sock, faulty.open_out("a") as out, faulty.open_in("a") as writer:
        half = len(lines) // 2
        for first, end, target in ((0, half, writer), (half, count, sock)):
            for i in range(first, end, 50):
                part = lines[i:min(i + 50, end)]
                target.write("".join(x + "\n" for x in part), 30)
                assert sock.lines(len(part), 40) == part
                assert out.lines(len(part), 40) == part
        sock.write("from sock\n")
        assert sock.line() == out.line() == "from sock"
        sent = faulty.client("send", "a", "--confirm", input=data, timeout=60)
        assert sent.code == 0, sent
        assert sock.lines(count, 60) == lines
        assert out.lines(count, 60) == lines
    everything = lines + ["from sock"] + lines
    assert faulty.client("cursor", "set", "a", "c", "oldest").code == 0
    got = faulty.client("recv", "a", "--cursor", "c", "--no-follow", timeout=60)
    assert got.out.splitlines() == everything, got
    with faulty.open_out("a", "drain") as drain:
        assert drain.rest(60).decode().splitlines() == everything
    eventually(lambda: log.read_text().splitlines() == everything)
    assert faulty.path("a", "last").read_text() == lines[-1] + "\n"
    assert faulty.page["cut"] > 1000
    assert faulty.status("a")["reconnects"] == 0


# --- clocks -------------------------------------------------------------------------------------

HOUR_US = 3600 * 1000 * 1000


@pytest.mark.parametrize("jump", (-48 * HOUR_US, 48 * HOUR_US))
def test_wall_clock_jumps(faulty, server, jump):
    """The time of day is set: nothing that was kept or waits grows older by that, and nothing stands still."""
    token = faulty.home / "token"
    token.write_text("first")
    port = free_port()
    faulty.start(section("a", server.url, *FAST, "keep-age = 1h", "ping-interval = 1s", f"token-file = {token}",
                         "header = X-Token: @token@") +
                 section("w", f"ws://127.0.0.1:{port}/", "queue-ttl = 1h", "reconnect-delay = 2s",
                         "reconnect-max = 2s"))
    faulty.wait_open("a")
    faulty.put("w", "waits")
    session = server.session()
    session.send("old 1", "old 2")
    eventually(lambda: faulty.status("a")["kept"]["messages"] == 2)
    token.write_text("second")
    faulty.page["wall_us"] = jump
    cpu, wakeups = faulty.cpu(), faulty.wakeups()
    session.send("new 1", "new 2")
    eventually(lambda: faulty.status("a")["kept"]["messages"] == 4)
    faulty.put("w", "waits, too")
    assert faulty.status("w")["queue"]["messages"] == 2
    time.sleep(2.5)
    assert faulty.cpu() - cpu < 0.5 * SCALE and faulty.wakeups() - wakeups < 300
    assert faulty.status("a")["rtt_ms"] is not None, "pings go on"
    assert faulty.status("w")["queue"]["messages"] == 2
    assert faulty.status("a")["kept"]["messages"] == 4
    late = servers.PyServer(port=port).start()
    try:
        assert late.session(timeout=10).recv_many(2) == ["waits", "waits, too"], "retries go on"
    finally:
        late.stop()
    session.abort()
    assert server.session(1).headers["X-Token"] == "second"
    server.session(1).send("newest")
    with faulty.open_out("a") as out:
        assert out.lines(5) == ["old 1", "old 2", "new 1", "new 2", "newest"]
    stamp = time.time() + jump / 1e6
    shown = faulty.client("recv", "a", "--last", "1", "--no-follow", "--framing", "json").out
    assert time.strftime("%Y-%m-%dT%H:", time.gmtime(stamp)) in shown or \
        time.strftime("%Y-%m-%dT%H:", time.gmtime(stamp - 60)) in shown, "stamps tell the time as it is set"
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(stamp - 600))
    recent = faulty.client("recv", "a", "--since", since, "--no-follow").out.splitlines()
    assert recent[-3:] == ["new 1", "new 2", "newest"]


def test_time_in_which_the_machine_slept(faulty, server):
    """After a suspend what is due is done: CLOCK_BOOTTIME has gone on."""
    faulty.start(section("a", server.url, "keep-age = 1h", "ping-interval = 20s") +
                 section("w", f"ws://127.0.0.1:{free_port()}/", "queue-ttl = 1h", "reconnect-delay = 2h",
                         "reconnect-max = 2h"))
    faulty.wait_open("a")
    faulty.wait_state("w", "waiting")
    faulty.put("w", "waits")
    server.session().send("old")
    eventually(lambda: faulty.status("a")["kept"]["messages"] == 1)
    eventually(lambda: faulty.status("w")["queue"]["messages"] == 1)
    attempts = faulty.log.count("w: warning: cannot connect")
    faulty.page["boot_ms"] = 3 * 3600 * 1000
    faulty.page["wall_us"] = 3 * HOUR_US
    faulty.status("a")  # it wakes
    eventually(lambda: faulty.log.count("w: warning: cannot connect") > attempts, 10, "it was due")
    eventually(lambda: faulty.status("w")["queue"]["messages"] == 0, 10, "it was too old")
    server.session().send("new")
    with faulty.open_out("a") as out:
        assert out.line() == "new", "the old one is too old"
    server.session().ping()
    assert faulty.status("a")["reconnects"] == 0


# --- what waits, and is not sent ----------------------------------------------------------------


def test_queue_ttl_behind_what_is_in_flight(daemon, server):
    """On a link that takes nothing, what has waited too long is dropped all the same."""
    daemon.start(section("a", server.url, "queue-ttl = 1s", "queue = 64M", "ping-interval = 0",
                         "endpoints = in sock status"))
    daemon.wait_open("a")
    session = server.session()
    session.stop_reading()
    big = ["%04d" % i + "x" * 65536 for i in range(400)]
    daemon.put("a", *big, timeout=30)
    eventually(lambda: daemon.status("a")["unsent"]["messages"] > 0, 10, "some are dropped")
    eventually(lambda: "older than queue-ttl" in daemon.log)
    status = eventually(lambda: [s for s in [daemon.status("a")]
                                 if s["unsent"]["messages"] + s["sent"]["messages"] +
                                 s["queue"]["messages"] == 400][0], what="all are accounted for")
    time.sleep(2.5)  # all that had not begun to leave has waited longer
    dropped = daemon.status("a")["unsent"]["messages"]
    wakeups = daemon.wakeups()
    time.sleep(1.5)
    assert daemon.wakeups() - wakeups < 4, "no timer while nothing waits"
    assert daemon.status("a")["unsent"]["messages"] == dropped
    session.go_on_reading()
    got = session.recv_many(400 - dropped, 20)
    assert got == big[:400 - dropped], "those that were on their way, whole"
    daemon.put("a", "fresh")
    assert session.recv() == "fresh"
    eventually(lambda: daemon.status("a")["sent"]["messages"] == 401 - dropped)


def test_bytes_not_taken_from_in_are_told_at_a_stop(daemon):
    """The queue is full, and so is the FIFO: what stands in it is lost when its writer has gone."""
    daemon.start(section("a", f"ws://127.0.0.1:{free_port()}/", "queue = 1K", "reconnect-delay = 1h",
                         "reconnect-max = 1h"))
    daemon.wait_state("a", "waiting")
    lines = b"".join(b"%031d\n" % i for i in range(1000))
    writer = daemon.open_in("a")
    writer.write(lines)
    eventually(lambda: daemon.status("a")["queue"]["bytes"] > 900)
    rest = b"and these\n" * 10
    writer.write(rest)
    writer.close()
    queued = daemon.status("a")["queue"]["messages"]
    daemon.stop()
    unsent = int(re.search(r"in: (\d+) bytes were read, but not sent", daemon.log)[1])
    untaken = int((re.search(r"in: (\d+) bytes that were written were not taken, and are lost",
                             daemon.log) or [0, 0])[1])
    assert abs(unsent + untaken - (len(lines) + len(rest) - queued * 32)) <= 1, "but for the held one's LF"
    assert untaken == len(rest)
