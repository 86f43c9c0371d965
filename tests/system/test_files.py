"""The files of the runtime directory: `last`, `status`, modes, and what a restart finds."""

import os
import signal
import stat
import threading
import time

import pytest

from harness import FAST, KIB, Timeout, eventually, run, scaled, section


def test_last_is_always_one_whole_message(daemon, server):
    """"the newest message, replaced atomically: whoever opens it reads one whole message." """
    daemon.start(section("a", server.url))
    session = server.session()
    session.send("first")
    path = daemon.path("a", "last")
    eventually(lambda: path.read_text().rstrip("\n") == "first")
    future = session.flood(3000, lambda i: chr(ord("a") + i % 26) * (1 + i % 50 * KIB))
    seen = set()
    while not future.done():
        text = path.read_text().rstrip("\n")
        if text == "first":
            continue
        assert text and text == text[0] * len(text) and (len(text) - 1) % KIB == 0, text[:100]
        seen.add(text[0])
    assert future.result() == 3000
    session.send("last one")
    eventually(lambda: path.read_text().rstrip("\n") == "last one")
    assert len(seen) > 2, "the file was not replaced while messages came"


def test_last_is_replaced_not_rewritten(daemon, server):
    """An open descriptor of `last` goes on seeing the message that it was opened for."""
    daemon.start(section("a", server.url))
    session = server.session()
    session.send("one")
    path = daemon.path("a", "last")
    eventually(lambda: path.read_text().rstrip("\n") == "one")
    with open(path) as old:
        session.send("two, which is longer")
        eventually(lambda: path.read_text().rstrip("\n") == "two, which is longer")
        assert old.read().rstrip("\n") == "one"
    assert sorted(os.listdir(daemon.path("a"))) == ["in", "last", "out", "sock", "status"]


def test_inotify_sees_the_new_last(daemon, server):
    """A program can wait for the next message with inotifywait on the directory."""
    daemon.start(section("a", server.url))
    daemon.wait_open("a")
    watch = daemon.spawn_shell("inotifywait -q -m -e moved_to --format %f a 2>&1")
    eventually(lambda: any(_has_inotify(p) for p in [watch.pid, *_children(watch.pid)]))
    names = []
    reader = threading.Thread(target=lambda: names.extend(iter(watch.stdout.readline, b"")))
    reader.start()
    server.session().send("hello")
    eventually(lambda: b"last\n" in names, what="inotifywait tells of `last`")
    for pid in [*_children(watch.pid), watch.pid]:
        os.kill(pid, signal.SIGTERM)
    reader.join(scaled(10))


def _has_inotify(pid):
    return any("inotify" in os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))


def _children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(x) for x in file.read().split()]


def test_status_can_be_sourced(daemon, server):
    """"`key=value` lines that a shell can source: state, since, url, close_code, cause, ..." """
    daemon.start(section("a", server.url + "path?x=1&y=$HOME", "reconnect = never"))
    eventually(lambda: daemon.status_file("a")["state"] == "open")
    status = daemon.status_file("a")
    assert {"state", "since", "url", "close_code", "cause"} <= set(status)
    assert status["url"] == server.url + "path?x=1&y=$HOME"
    server.session().close(4000, "done")
    eventually(lambda: daemon.status_file("a")["state"] in ("closed", "failed"))
    assert daemon.status_file("a")["close_code"] == "4000"


def test_status_is_safe_to_source_whatever_the_server_says(daemon, server):
    """A close reason with quotes, `$(...)` and line breaks neither runs nor breaks anything."""
    daemon.start(section("a", server.url, "reconnect = never"))
    eventually(lambda: daemon.status_file("a")["state"] == "open")
    pwned = daemon.path("a", "pwned")  # status is read in there; a reason has at most 123 bytes
    server.session().close(4001, "'; touch pwned #$(touch pwned)`touch pwned`\n\"\\ state=x")
    eventually(lambda: daemon.status_file("a")["state"] in ("closed", "failed"))
    status = daemon.status_file("a")
    assert status["close_code"] == "4001"
    assert not pwned.exists()
    assert daemon.status("a")["close_code"] == 4001


def test_status_is_replaced_atomically_at_each_change(daemon, server):
    """"replaced atomically at each change of state": every read is whole, each change a new file."""
    daemon.start(section("a", server.url, *FAST))
    daemon.wait_open("a")
    path = daemon.path("a", "status")
    torn, over = [], threading.Event()

    def read_on():
        while not over.is_set():
            text = path.read_text()
            if not text.startswith("state=") and "\nstate=" not in text or not text.endswith("\n"):
                torn.append(text)
    reader = threading.Thread(target=read_on)
    reader.start()
    inodes = set()
    for number in range(10):
        server.session(number).abort()
        server.session(number + 1)
        daemon.wait_open("a")
        inodes.add((os.stat(path).st_ino, os.stat(path).st_mtime_ns))
        assert daemon.status_file("a")["state"] == "open"
    over.set()
    reader.join(scaled(10))
    assert not torn
    assert len(inodes) > 5


@pytest.mark.parametrize("umask", (0o000, 0o022, 0o077))
def test_modes(daemon, server, umask):
    """"files are made 0600, directories 0700", whatever the umask."""
    old = os.umask(umask)
    try:
        daemon.start(section("a", server.url))
    finally:
        os.umask(old)
    server.session().send("x")
    eventually(lambda: daemon.path("a", "last").exists())
    modes = {}
    for directory, _, files in os.walk(daemon.run_dir):
        modes[os.path.relpath(directory, daemon.run_dir)] = stat.S_IMODE(os.stat(directory).st_mode)
        for name in files:
            path = os.path.join(directory, name)
            modes[os.path.relpath(path, daemon.run_dir)] = stat.S_IMODE(os.lstat(path).st_mode)
    assert {"a/in", "a/out", "a/sock", "a/last", "a/status", "control"} <= set(modes)
    wrong = {p: oct(m) for p, m in modes.items()
             if m != (0o700 if (daemon.run_dir / p).is_dir() else 0o600)}
    assert not wrong
    kinds = {n: stat.S_IFMT(os.lstat(daemon.path("a", n)).st_mode)
             for n in ("in", "out", "sock", "last", "status")}
    assert kinds == {"in": stat.S_IFIFO, "out": stat.S_IFIFO, "sock": stat.S_IFSOCK,
                     "last": stat.S_IFREG, "status": stat.S_IFREG}


def test_only_the_endpoints_asked_for(daemon, server):
    """`endpoints` is the list of what there is."""
    daemon.start(section("a", server.url, "endpoints = in", "endpoints = status"))
    daemon.wait_open("a")
    assert sorted(os.listdir(daemon.path("a"))) == ["in", "status"]
    daemon.put("a", "works")
    assert server.session().recv() == "works"


def test_stale_runtime_directory_is_taken_over(daemon, echo):
    """"A stale runtime directory left by a crash is taken over without help", FIFOs with their
    inodes, and programs that hold them go on."""
    config = section("a", echo.url)
    daemon.start(config)
    daemon.wait_open("a")
    inodes = [os.stat(daemon.path("a", n)).st_ino for n in ("in", "out")]
    with daemon.open_in("a") as held:
        daemon.kill()
        assert daemon.client("status").code == 3, "nobody answers"
        daemon.start()
        daemon.wait_open("a")
        assert [os.stat(daemon.path("a", n)).st_ino for n in ("in", "out")] == inodes
        with daemon.open_out("a") as out, daemon.listener("a") as client:
            held.write("still here\n")
            assert out.line() == "still here" == client.line()


def test_fifos_survive_a_restart(daemon, echo):
    """SIGTERM and a new start keep the FIFOs; a writer and a reader that hold them notice nothing."""
    daemon.start(section("a", echo.url))
    daemon.wait_open("a")
    inodes = [os.stat(daemon.path("a", n)).st_ino for n in ("in", "out")]
    with daemon.open_in("a") as held:
        held.write("before\n")
        assert echo.session().recv() == "before"
        daemon.stop()
        daemon.start()
        daemon.wait_open("a")
        assert [os.stat(daemon.path("a", n)).st_ino for n in ("in", "out")] == inodes
        held.write("after\n")
        with daemon.open_out("a") as out:
            assert out.line() == "after"


def test_opener_that_waits_over_a_restart_is_woken(daemon, server):
    """A program blocked in open(2) of `in` while no daemon runs goes on when it is back."""
    daemon.start(section("a", server.url))
    daemon.wait_open("a")
    daemon.stop()
    writer = daemon.spawn_shell("echo hello > a/in")
    eventually(lambda: _syscall_blocked_in_open(writer.pid), what="the writer sleeps in open")
    daemon.start()
    assert server.session(1).recv() == "hello"
    assert writer.wait(scaled(10)) == 0


def _syscall_blocked_in_open(pid):
    with open(f"/proc/{pid}/wchan") as wchan, open(f"/proc/{pid}/stat") as stat_file:
        state = stat_file.read().rsplit(")", 1)[1].split()[0]
        return state == "S" and wchan.read() not in ("do_wait",)


def test_files_in_the_way_are_not_destroyed(daemon, server):
    """A regular file where a FIFO should be (`echo > in` before the daemon ran) is a clear fault or is
    replaced, never read as if it were one; the daemon runs."""
    os.makedirs(daemon.path("a"), mode=0o700)
    daemon.path("a", "in").write_text("old\n")
    if daemon.start(section("a", server.url) + section("b", server.url)):
        assert daemon.alive
        daemon.wait_open("b")
        if not stat.S_ISFIFO(os.lstat(daemon.path("a", "in")).st_mode):
            assert str(daemon.path("a")) in daemon.log or "a/in" in daemon.log
    else:
        assert "in" in daemon.log
        daemon.wait_exit()


def test_second_daemon_is_refused(daemon, server):
    """"A second daemon on the same runtime directory is refused", and the first notices nothing."""
    daemon.start(section("a", server.url))
    daemon.wait_open("a")
    second = run(daemon.command(), env=daemon.env)
    assert second.code not in (0, None) and second.code > 0, second
    assert str(daemon.run_dir) in second.err, second
    assert daemon.status("a")["state"] == "open" and len(server.sessions) == 1
    with daemon.listener("a") as client:
        server.session().send("hello")
        assert client.line() == "hello"


def test_two_daemons_on_two_directories(daemon, server, tmp_path):
    """Two instances live side by side."""
    import harness
    daemon.start(section("a", server.url))
    (tmp_path / "second").mkdir()
    other = harness.Daemon(tmp_path / "second")
    try:
        assert other.start(section("a", server.url))
        other.wait_open("a")
        other.put("a", "from the second")
        assert server.session(1).recv() == "from the second"
    finally:
        other.cleanup()


def test_long_runtime_directory(daemon, server):
    """A path too long for a socket's address (107 bytes) works all the same, or is refused in one
    clear line."""
    daemon.run_dir = daemon.home / ("d" * 60) / ("e" * 60)
    daemon.run_dir.parent.mkdir()
    daemon.write_config(section("a", server.url))
    try:
        up = daemon.start()
    except Timeout:
        up = None
    assert up is not None, "it neither runs nor ends"
    if not up:
        assert daemon.wait_exit() > 0 and str(daemon.run_dir) in daemon.log
        return
    daemon.wait_open("a")
    with daemon.listener("a") as client:
        server.session().send("works")
        assert client.line() == "works"


def test_removed_connection_leaves_no_directory(daemon, server):
    """`wspipe close` of an opened connection and a reload without the section remove NAME/."""
    daemon.start(section("a", server.url) + section("b", server.url))
    daemon.wait_open("a", "b")
    daemon.write_config(section("a", server.url))
    assert daemon.reload().code == 0
    eventually(lambda: not daemon.path("b").exists())
    assert daemon.path("a", "in").exists()
    assert set(daemon.status_all()) == {"a"}


def test_sigterm_and_sigint_close_properly(daemon, server):
    """"SIGTERM and SIGINT close every connection properly (close frame, bounded wait) and exit 0",
    and what was queued before goes out first."""
    for number, sig in enumerate((signal.SIGTERM, signal.SIGINT)):
        daemon.start(section("a", server.url))
        daemon.wait_open("a")
        daemon.put("a", *[f"{i}" for i in range(1000)])
        daemon.signal(sig)
        assert daemon.wait_exit() == 0
        session = server.session(number)
        assert session.recv_many(1000) == [f"{i}" for i in range(1000)]
        assert session.wait_closed()[0] in (1000, 1001)


def test_nothing_is_reloaded_while_stopping(daemon, peer, server):
    """A connection that a late SIGHUP opens would have the daemon wait for its end for ever."""
    def script(c):
        c.good()
        c.stall()
    daemon.start(section("a", peer(script).url, "close-timeout = 2s"))
    daemon.wait_open("a")
    daemon.signal(signal.SIGTERM)
    eventually(lambda: "stopping: SIGTERM" in daemon.log)
    daemon.write_config(section("b", server.url))
    daemon.signal(signal.SIGHUP)
    assert daemon.wait_exit() == 0
    assert "is not read again" in daemon.log and "b: " not in daemon.log


def test_stop_is_bounded(daemon, peer):
    """A server that never answers the Close holds the end up for `close-timeout`, not longer."""
    def script(c):
        c.good()
        c.stall()
    daemon.start(section("a", peer(script).url, "close-timeout = 500ms"))
    daemon.wait_open("a")
    begin = time.monotonic()
    daemon.stop()
    assert time.monotonic() - begin < scaled(8)
