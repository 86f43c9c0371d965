"""`file`: messages appended to a regular file, rotated, reopened, and mended when the disk was full."""

import os
import resource
import signal
import stat
import time

from harness import KIB, eventually, section


def lines_of(path):
    return path.read_text().splitlines() if path.exists() else []


def test_append_and_rotate_by_size(daemon, server, tmp_path):
    """Every message once, in order, whole, over all files; file-keep of them stay."""
    log = tmp_path / "feed.log"
    daemon.start(section("a", server.url, "endpoints = status file", f"file = {log}",
                         "file-max = 4K", "file-keep = 3"))
    eventually(log.exists, what="it is there before the first message")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    server.session().send(*[f"{i:>9}" for i in range(2000)])
    eventually(lambda: lines_of(log)[-1:] == [f"{1999:>9}"])
    files = [tmp_path / f"feed.log.{n}" for n in (3, 2, 1)] + [log]
    assert not (tmp_path / "feed.log.4").exists()
    assert all(f.stat().st_size <= 4 * KIB for f in files)
    got = [int(x) for f in files for x in lines_of(f)]
    assert got == list(range(2000 - len(got), 2000)) and len(got) > 1000


def test_sigusr1_reopens(daemon, server, tmp_path):
    """As logrotate does it: rename, then SIGUSR1; no message is lost or written twice."""
    log, old = tmp_path / "feed.log", tmp_path / "feed.log-1"
    daemon.start(section("a", server.url, f"file = {log}"))
    session = server.session()
    session.send("one")
    eventually(lambda: lines_of(log) == ["one"])
    log.rename(old)
    session.send("two")
    eventually(lambda: lines_of(old) == ["one", "two"])
    daemon.signal(signal.SIGUSR1)
    eventually(log.exists)
    session.send("three")
    eventually(lambda: lines_of(log) == ["three"])
    assert lines_of(old) == ["one", "two"]


def test_full_disk_is_told_once_and_mended(daemon, server, tmp_path):
    """A full disk (here a limit on the size of files): the connection and other readers go on, it is told
    once, counted, and all is written when there is room again, without a restart."""
    log = tmp_path / "feed.log"
    daemon.start(section("a", server.url, f"file = {log}", "endpoints = sock status file"))
    daemon.wait_open("a")
    session = server.session()
    with daemon.listener("a") as other:
        soft, hard = resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (100003, hard))
        session.send(*[f"{i} {'x' * 1000}" for i in range(300)])
        assert len(other.lines(300)) == 300
        session.ping()
        reader = eventually(lambda: [r for r in daemon.readers("a", "file") if r["failures"]])[0]
        assert reader["failing"] and reader["missed"] == 0
        written = lines_of(log)
        assert log.read_bytes().endswith(b"x\n"), "no half of a record"
        assert reader["behind_messages"] == 300 - len(written) > 100
        time.sleep(2.5)
        assert daemon.readers("a", "file")[0]["failures"] < 6, "tried once a second"
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (soft, hard))
        eventually(lambda: len(lines_of(log)) == 300, 10)
    assert [int(x.split()[0]) for x in lines_of(log)] == list(range(300))
    eventually(lambda: "written again" in daemon.log)
    assert daemon.log.count("cannot be written") == 1, "once, not once a message"
    assert not daemon.readers("a", "file")[0]["failing"]


def test_reload_and_removal(daemon, server, tmp_path):
    """Made anew it goes on where it was; the key alone is enough; endpoints = file without it is a fault;
    the file stays when the connection goes."""
    log = tmp_path / "feed.log"
    assert "key file does not say" in daemon.check(
        section("a", server.url, "endpoints = in file")).err
    daemon.start(section("a", server.url, f"file = {log}"))
    server.session().send("one")
    eventually(lambda: lines_of(log) == ["one"])
    daemon.write_config(section("a", server.url, f"file = {log}", "endpoints = in status"))
    assert daemon.reload().code == 0
    server.session().send("two")
    eventually(lambda: lines_of(log) == ["one", "two"])
    assert not os.path.exists(daemon.path("a", "file"))
    daemon.write_config("")
    assert daemon.reload().code == 0
    eventually(lambda: not daemon.path("a").exists())
    assert lines_of(log) == ["one", "two"]
