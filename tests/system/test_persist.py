"""What outlives the daemon with `persist = yes`: messages kept, messages to be sent, places of readers
and named cursors; across kill -9, torn files, a full disk, and readers that are late."""

import json
import os
import re
import resource
import signal
import struct
import subprocess
import time

import pytest

import rounds
from harness import DONE, NO_CONN, PEER, USAGE, eventually, section

NEVER = ("reconnect-delay = 1h", "reconnect-max = 1h")


def persistent(url, *lines, name="a"):
    return section(name, url, "persist = yes", "reconnect-delay = 100ms", "reconnect-max = 100ms",
                   *lines)


def kept(daemon, count, name="a"):
    eventually(lambda: daemon.status(name)["kept"]["messages"] == count, what=f"{count} are kept")


def crash(daemon):
    daemon.kill()
    daemon.start()
    daemon.wait_open("a")


def numbers(first, end):
    return [str(i) for i in range(first, end)]


def files(daemon, prefix, name="a"):
    return sorted(p for p in (daemon.state_dir / name).iterdir() if p.name.startswith(prefix))


# --- messages received, and `out` ---------------------------------------------------------------


def test_received_messages_outlive_kill(daemon, server):
    daemon.start(persistent(server.url))
    server.session(0).send(*numbers(0, 500))
    kept(daemon, 500)
    crash(daemon)
    assert daemon.status("a")["persist"] == "ok"
    server.session(1).send("after")
    with daemon.open_out("a") as out:
        assert out.lines(501) == numbers(0, 500) + ["after"]


def test_without_persist_nothing_is_written(daemon, server):
    daemon.start(section("a", server.url))
    server.session(0).send("x")
    kept(daemon, 1)
    assert daemon.status("a")["persist"] is None
    assert not daemon.state_dir.exists()


def test_state_directory_is_closed_to_others(daemon, server):
    daemon.start(persistent(server.url))
    server.session(0).send("x")
    kept(daemon, 1)
    for path in [daemon.state_dir, *daemon.state_dir.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("how", ("kill", "stop"))
def test_out_goes_on_where_its_reader_was(daemon, server, how):
    daemon.start(persistent(server.url))
    server.session(0).send(*numbers(0, 100))
    kept(daemon, 100)
    with daemon.open_out("a") as out:
        assert out.lines(40) == numbers(0, 40)
        eventually(lambda: daemon.readers("a", "out")[0]["behind_messages"] <= 60)
        if how == "stop":
            daemon.stop()
            daemon.start()
            daemon.wait_open("a")
        else:
            crash(daemon)
        assert out.lines(60) == numbers(40, 100)


def test_out_repeats_what_nobody_had_read(daemon, server):
    """The record that stood in the pipe goes with the pipe, when nobody has that open."""
    daemon.start(persistent(server.url))
    server.session(0).send(*numbers(0, 20))
    with daemon.open_out("a") as out:
        assert out.lines(10) == numbers(0, 10)
        eventually(lambda: daemon.readers("a", "out")[0]["behind_messages"] == 10)
    crash(daemon)
    with daemon.open_out("a") as out:
        lines = out.lines(10)
        assert lines == numbers(10, 20)


def test_reload_of_endpoints_repeats_nothing(daemon, server):
    daemon.start(section("a", server.url))
    server.session(0).send(*numbers(0, 10))
    with daemon.open_out("a") as out:
        assert out.lines(10) == numbers(0, 10)
    daemon.write_config(section("a", server.url, "batch = yes"))
    assert daemon.reload().code == 0
    server.session(0).send("next")
    with daemon.open_out("a") as out:
        assert out.line() == "next"


def test_marks_outlive_kill(daemon, server):
    """In json framing the opens and closes are there, too, in their places."""
    daemon.start(persistent(server.url, "framing = json"))
    server.session(0).send("one")
    kept(daemon, 1)
    crash(daemon)
    server.session(1).send("two")
    with daemon.open_out("a") as out:
        seen = [json.loads(x) for x in out.lines(4)]
    assert [(x["type"], x.get("data")) for x in seen] == [
        ("open", None), ("text", "one"), ("open", None), ("text", "two")]


def last_block(daemon, prefix="spool."):
    """The newest file, and how many bytes of records are in it."""
    path = files(daemon, prefix)[-1]
    used, = struct.unpack_from("=Q", path.read_bytes(), 40)
    return path, 64 + used


def test_torn_end_is_cut_with_one_line(daemon, server):
    daemon.start(persistent(server.url))
    server.session(0).send(*numbers(0, 10))
    kept(daemon, 10)
    daemon.kill()
    path, end = last_block(daemon)
    data = bytearray(path.read_bytes())
    data[end - 8] ^= 1  # the payload of the last message
    path.write_bytes(data)
    daemon.start()
    daemon.wait_open("a")
    assert daemon.log.count("torn") == 1
    server.session(1).send("after")
    with daemon.open_out("a") as out:
        assert out.lines(10) == numbers(0, 9) + ["after"]


def test_foreign_file_is_set_aside(daemon, server):
    daemon.start(persistent(server.url))
    server.session(0).send("x")
    kept(daemon, 1)
    daemon.stop()
    path = files(daemon, "spool.")[0]
    data = bytearray(path.read_bytes())
    data[8] = 99  # the version
    path.write_bytes(data)
    (daemon.state_dir / "a" / "cursor.c").write_bytes(b"nonsense")
    daemon.start()
    daemon.wait_open("a")
    assert [p.name for p in files(daemon, "bad.")] == ["bad.cursor.c", "bad." + path.name]
    server.session(1).send("y")
    with daemon.open_out("a") as out:
        assert out.line() == "y"


def test_retention_removes_files(daemon, server):
    daemon.start(persistent(server.url, "keep = 256K"))
    for i in range(40):
        server.session(0).send(*(f"{i}:{j}:" + "x" * 1000 for j in range(50)))
    eventually(lambda: daemon.status("a")["received"]["messages"] == 2000)
    assert sum(p.stat().st_size for p in files(daemon, "spool.")) <= 300 * 1024
    crash(daemon)
    with daemon.open_out("a") as out:
        first = out.line()
        assert first != "0:0:" + "x" * 1000
        rest = out.lines(daemon.status("a")["kept"]["messages"] - 1)
    assert rest[-1].startswith("39:49:")


def test_full_disk_leaves_the_live_path(daemon, server):
    """Files of more than 100 KB cannot be made, until they can."""
    daemon.start(persistent(server.url))
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    big = ["%04d" % i + "x" * 10_000 for i in range(200)]
    with daemon.listener("a") as live:
        server.session(0).send(*big)
        assert live.lines(200) == big
    assert daemon.status("a")["state"] == "open"
    assert daemon.status("a")["persist"].startswith("failing: ")
    assert daemon.log.count("kept in memory only") == 1
    with daemon.open_out("a") as out:
        assert out.lines(200) == big
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    server.session(0).send(*big)
    eventually(lambda: daemon.status("a")["persist"] == "ok")
    assert daemon.log.count("state directory again") == 1


def test_messages_that_were_in_memory_only_are_counted(daemon, server):
    daemon.start(persistent(server.url))
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    big = ["%04d" % i + "x" * 10_000 for i in range(400)]
    server.session(0).send(*big[:200])
    kept(daemon, 200)
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    server.session(0).send(*big[200:])
    kept(daemon, 400)
    crash(daemon)
    absent = int(re.search(r"(\d+) messages are missing among", daemon.log).group(1))
    assert 0 < absent < 400
    with daemon.open_out("a") as out:
        seen = out.lines(400 - absent)
    assert seen == [x for x in big if x in set(seen)]
    assert daemon.readers("a", "out")[0]["missed"] == absent


def test_turned_on_and_off_by_reload(daemon, server):
    daemon.start(section("a", server.url))
    server.session(0).send("memory")
    kept(daemon, 1)
    daemon.write_config(section("a", server.url, "persist = yes"))
    assert daemon.reload().code == 0
    server.session(0).send("disk")
    kept(daemon, 2)
    crash(daemon)
    with daemon.open_out("a") as out:
        assert out.line() == "disk"
    daemon.write_config(section("a", server.url))
    assert daemon.reload().code == 0
    server.session(1).send("memory again")
    with daemon.open_out("a") as out:
        assert out.line() == "memory again"


def test_second_daemon_on_the_state_directory(daemon, server, tmp_path):
    from harness import Daemon
    daemon.start(persistent(server.url))
    daemon.wait_open("a")
    (tmp_path / "two").mkdir()
    other = Daemon(tmp_path / "two")
    other.state_dir = daemon.state_dir
    try:
        other.start(persistent(server.url))
        other.wait_open("a")
        assert other.status("a")["persist"].startswith("failing: ")
        assert "another wspiped is using it" in other.log
    finally:
        other.cleanup()


def test_open_with_persist_leaves_nothing_when_closed(daemon, server):
    daemon.start("")
    assert daemon.client("open", "b", server.url, "--persist").code == 0
    server.session(0).send("x")
    kept(daemon, 1, "b")
    assert files(daemon, "spool.", "b")
    assert daemon.client("close", "b").code == 0
    eventually(lambda: not (daemon.state_dir / "b").exists())


# --- messages to be sent ------------------------------------------------------------------------


def test_queue_outlives_kill(daemon, server):
    daemon.start(persistent(server.url))
    server.session(0)
    assert daemon.client("pause", "a").code == 0
    assert daemon.client("send", "a", *numbers(0, 300)).code == 0
    assert daemon.status("a")["queue"]["messages"] == 300
    crash(daemon)
    session = server.session(1)
    assert [session.recv() for _ in range(300)] == numbers(0, 300)
    assert session.messages.empty()
    eventually(lambda: daemon.status("a")["queue"]["messages"] == 0)
    crash(daemon)
    daemon.put("a", "only this")
    assert server.session(2).recv() == "only this"


def test_queue_outlives_stop(daemon, server):
    daemon.start(persistent(server.url))
    server.session(0)
    assert daemon.client("pause", "a").code == 0
    assert daemon.client("send", "a", "x", "y").code == 0
    daemon.stop()
    assert "2 outgoing messages stay queued" in daemon.log
    daemon.start()
    session = server.session(1)
    assert [session.recv(), session.recv()] == ["x", "y"]


def test_what_may_have_left_is_not_sent_twice(daemon, peer):
    """The server does not read, so the link has taken some: after kill -9 these are counted."""
    server = peer(lambda c: (c.good(), c.wait(3600)), lambda c: (c.good(), c.echo()),
                  receive_buffer=4096)
    daemon.start(persistent(server.url, "queue = 64M"))
    server.wait_connections(1)
    daemon.wait_open("a")
    big = [f"{i:04}" + "x" * 50_000 for i in range(200)]
    assert daemon.client("send", "a", input="\n".join(big) + "\n").code == 0
    eventually(lambda: 0 < daemon.status("a")["sent"]["messages"] < 200)
    time.sleep(0.3)
    sent = daemon.status("a")["sent"]["messages"]
    daemon.kill()
    daemon.start()
    lost = int(re.search(r"(\d+) outgoing messages \(\d+ bytes\) were on their way", daemon.log).group(1))
    assert lost > 0 and daemon.status("a")["unconfirmed"]["messages"] == lost
    with daemon.open_out("a") as out:
        assert out.lines(200 - sent - lost, 20) == big[sent + lost:]


def test_confirm_and_requests_behind_what_was_taken_up(daemon, server):
    """Messages have numbers, which go on behind those of an earlier daemon."""
    daemon.start(persistent(server.url, "id = /id"))
    server.session(0)
    assert daemon.client("pause", "a").code == 0
    assert daemon.client("send", "a", "x", "y").code == 0
    daemon.kill()
    daemon.start()
    session = server.session(1)
    assert [session.recv(), session.recv()] == ["x", "y"]
    assert daemon.client("send", "--confirm", "a", "z").code == 0
    assert session.recv() == "z"
    asking = daemon.spawn_client("request", "a", '{"id":"mine","n":1}')
    request = json.loads(session.recv())
    session.send(json.dumps({"id": request["id"], "answer": 2}))
    assert json.loads(asking.communicate(timeout=20)[0]) == {"id": "mine", "answer": 2}


def test_resend_sends_what_may_have_left_again(daemon, peer):
    """resend = yes: what the server is not known to have read survives kill -9, and nothing is missing."""
    server = peer(lambda c: (c.good(), c.wait(3600)), lambda c: (c.good(), c.echo()),
                  receive_buffer=4096)
    daemon.start(persistent(server.url, "queue = 64M\nresend = yes"))
    server.wait_connections(1)
    daemon.wait_open("a")
    big = [f"{i:04}" + "x" * 50_000 for i in range(100)]
    assert daemon.client("send", "a", input="\n".join(big) + "\n").code == 0
    time.sleep(0.5)
    assert daemon.status("a")["sent"]["messages"] == 0
    daemon.kill()
    daemon.start()
    assert re.search(r"[1-9]\d* outgoing messages \(\d+ bytes\) were on their way .* are sent again", daemon.log)
    assert daemon.status("a")["unconfirmed"]["messages"] == 0
    with daemon.open_out("a") as out:
        assert out.lines(100, 20) == big


def test_drain_and_file_go_on_where_they_were(daemon, server, tmp_path):
    """Both have a place of their own that kill -9 does not take from them."""
    path, drain = tmp_path / "log", daemon.path("a", "drain")
    daemon.start(persistent(server.url, "endpoints = in out drain sock", f"file = {path}"))
    server.session(0).send("a", "b")
    eventually(lambda: path.exists() and path.read_text() == "a\nb\n")
    assert subprocess.run(["cat", drain], capture_output=True, timeout=10).stdout == b"a\nb\n"
    crash(daemon)
    server.session(1).send("c")
    eventually(lambda: path.read_text() == "a\nb\nc\n")
    assert subprocess.run(["cat", drain], capture_output=True, timeout=10).stdout == b"c\n"


# --- named cursors ------------------------------------------------------------------------------


def recv(daemon, *args, code=DONE):
    result = daemon.client("recv", "a", *args)
    assert result.code == code, result
    return result.out.splitlines()


def test_cursor_goes_on_where_it_stood(daemon, server):
    daemon.start(persistent(server.url))
    session = server.session(0)
    session.send("before")
    kept(daemon, 1)
    assert recv(daemon, "--cursor", "c") == []  # a new one begins now
    session.send(*numbers(0, 50))
    kept(daemon, 51)
    assert recv(daemon, "--cursor", "c", "-n", "20") == numbers(0, 20)
    crash(daemon)
    assert recv(daemon, "--cursor", "c") == numbers(20, 50)
    assert recv(daemon, "--cursor", "c") == []
    daemon.stop()
    daemon.start()
    daemon.wait_open("a")
    server.session(2).send("new")
    kept(daemon, 52)
    assert recv(daemon, "--cursor", "c", "--time")[0].endswith(" new")
    assert recv(daemon, "--cursor", "c") == []


def test_cursor_without_persist_is_in_memory(daemon, server):
    daemon.start(section("a", server.url))
    daemon.wait_open("a")
    assert recv(daemon, "--cursor", "c") == []
    server.session(0).send("x", "y")
    kept(daemon, 2)
    assert recv(daemon, "--cursor", "c", "-n", "1") == ["x"]
    assert recv(daemon, "--cursor", "c") == ["y"]


@pytest.mark.parametrize("framing", ("line", "nul", "length", "json", "raw"))
def test_cursor_in_every_framing(daemon, server, framing):
    daemon.start(persistent(server.url))
    daemon.wait_open("a")
    recv(daemon, "--cursor", "c")
    server.session(0).send("one", "two\nlines", "three")
    kept(daemon, 3)
    parts = [daemon.client("recv", "a", "--cursor", "c", "--framing", framing, "-n", "1").out
             for _ in range(3)]
    whole = daemon.client("recv", "a", "--last", "3", "--no-follow", "--framing", framing).out
    assert "".join(parts) == whole and all(parts)


def test_cursor_follows_and_commits(daemon, server):
    daemon.start(persistent(server.url))
    daemon.wait_open("a")
    child = daemon.spawn_client("recv", "a", "--cursor", "c", "--follow")
    eventually(lambda: daemon.readers("a", "recv"))
    server.session(0).send(*numbers(0, 1000))
    got = b""
    while got.count(b"\n") < 1000:
        got += os.read(child.stdout.fileno(), 65536)
    eventually(lambda: daemon.readers("a", "cursor")[0]["behind_messages"] == 0)
    child.send_signal(signal.SIGKILL)
    child.wait()
    crash(daemon)
    assert recv(daemon, "--cursor", "c") == []


def test_killed_before_the_commit_repeats(daemon, server):
    """What the client had not printed (its reader takes nothing) comes again, all of it."""
    daemon.start(persistent(server.url))
    daemon.wait_open("a")
    recv(daemon, "--cursor", "c")
    big = [f"{i:04}" + "x" * 1000 for i in range(3000)]
    server.session(0).send(*big)
    kept(daemon, 3000)
    child = daemon.spawn_client("recv", "a", "--cursor", "c", "--follow")
    printed = b""
    while printed.count(b"\n") < 700:
        printed += os.read(child.stdout.fileno(), 4096)
    child.send_signal(signal.SIGKILL)
    child.wait()
    while more := os.read(child.stdout.fileno(), 65536):
        printed += more
    seen = printed.decode().split("\n")[:-1]
    assert seen == big[:len(seen)]
    again = recv(daemon, "--cursor", "c")
    first = big.index(again[0])
    assert first <= len(seen), "some were passed over"
    assert again == big[first:]


def test_cursor_is_held_by_one(daemon, server):
    daemon.start(persistent(server.url))
    daemon.wait_open("a")
    child = daemon.spawn_client("recv", "a", "--cursor", "c", "--follow")
    eventually(lambda: daemon.readers("a", "cursor"))
    result = daemon.client("recv", "a", "--cursor", "c")
    assert result.code == PEER and f"in use by process {child.pid}" in result.err
    assert daemon.client("cursor", "rm", "a", "c").code == PEER
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert recv(daemon, "--cursor", "c") == []


def test_cursor_behind_retention_is_told(daemon, server):
    daemon.start(persistent(server.url, "keep = 64K"))
    daemon.wait_open("a")
    recv(daemon, "--cursor", "c")
    recv(daemon, "--cursor", "d")
    server.session(0).send(*(f"{i:04}" + "x" * 1000 for i in range(500)))
    eventually(lambda: daemon.status("a")["received"]["messages"] == 500)
    missed = daemon.readers("a", "cursor")[0]["missed"]
    assert missed > 300
    crash(daemon)
    result = daemon.client("recv", "a", "--cursor", "c")
    assert result.code == DONE and f"missed {missed} messages" in result.err
    lines = result.out.splitlines()
    assert len(lines) == 500 - missed and lines[0].startswith(f"{missed:04}")
    result = daemon.client("recv", "a", "--cursor", "d", "--strict")
    assert result.code == PEER and result.out.splitlines() == lines
    result = daemon.client("recv", "a", "--cursor", "c", "--strict")
    assert result.code == DONE and not result.err


def test_cursor_on_a_closed_connection(daemon, server):
    daemon.start(persistent(server.url))
    daemon.wait_open("a")
    recv(daemon, "--cursor", "c")
    server.session(0).send("x")
    kept(daemon, 1)
    assert daemon.client("pause", "a").code == 0
    daemon.wait_state("a", "closed")
    assert recv(daemon, "--cursor", "c") == ["x"]


def test_cursor_verbs(daemon, server):
    daemon.start(persistent(server.url))
    session = server.session(0)
    session.send("0", "1")
    kept(daemon, 2)
    time.sleep(0.6)
    between = time.time()
    time.sleep(0.6)
    session.send("2", "3")
    kept(daemon, 4)
    assert daemon.client("cursor", "set", "a", "c", "oldest").code == 0
    assert daemon.client("cursor", "set", "a", "b", "newest").code == 0
    listed = json.loads(daemon.client("cursor", "ls", "a", "--json").out)
    assert [(c["name"], c["behind_messages"], c["pid"]) for c in listed] == [
        ("b", 0, None), ("c", 4, None)]
    table = daemon.client("cursor", "ls", "a").out.splitlines()
    assert table[0].split() == ["NAME", "BEHIND", "MISSED", "PID"]
    assert table[2].split() == ["c", "4", "0", "-"]
    assert recv(daemon, "--cursor", "c") == numbers(0, 4)
    assert daemon.client("cursor", "set", "a", "c", f"@{between:.3f}").code == 0
    assert recv(daemon, "--cursor", "c") == ["2", "3"]
    assert daemon.client("cursor", "rm", "a", "b").code == 0
    assert daemon.client("cursor", "rm", "a", "b").code == PEER
    assert [p.name for p in files(daemon, "cursor.")] == ["cursor.c"]
    for bad in (("cursor", "ls"), ("cursor", "mv", "a", "c"), ("cursor", "set", "a", "c", "soon"),
                ("cursor", "set", "a", "../c", "oldest"), ("recv", "a", "--cursor", ""),
                ("recv", "a", "--cursor", "c", "--last", "3"), ("recv", "a", "--since", "soon")):
        assert daemon.client(*bad).code == USAGE, bad
    assert daemon.client("cursor", "ls", "nobody").code == NO_CONN


def test_last_and_since(daemon, server):
    daemon.start(section("a", server.url))
    session = server.session(0)
    session.send(*numbers(0, 5))
    kept(daemon, 5)
    assert recv(daemon, "--last", "2", "--no-follow") == ["3", "4"]
    assert recv(daemon, "--last", "99", "--no-follow") == numbers(0, 5)
    assert recv(daemon, "--last", "3", "-n", "1") == ["2"]
    assert recv(daemon, "--since", "1h", "--no-follow") == numbers(0, 5)
    assert recv(daemon, "--since", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60)),
                "--no-follow") == []
    now = time.localtime()
    for when in ("@0", "1d", "3600s", time.strftime("%Y-%m-%d", now), time.strftime("%Y-%m-%dT00:00", now),
                 time.strftime("%Y-%m-%d 00:00:00.000", now), "00:00"):
        assert recv(daemon, "--since", when, "--no-follow") == numbers(0, 5), when
    for when in ("", "10", "1x", "@", "2026-13-01", "25:00", "10:00:00Y", "yesterday"):
        recv(daemon, "--since", when, code=USAGE)
    child = daemon.spawn_client("recv", "a", "--last", "1", "-n", "2")
    eventually(lambda: daemon.readers("a", "recv"))
    session.send("next")
    out, _ = child.communicate(timeout=20)
    assert out == b"4\nnext\n"


# --- kill -9, again and again -------------------------------------------------------------------


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("resend", (False, True), ids=("once", "resend"))
def test_promises_hold_over_kill(daemon, server, resend):
    """Promises 1 and 3, in both readings of "sent": WSPIPE_KILL_ROUNDS rounds (`tests/soak kill`: 1000)."""
    count = int(os.environ.get("WSPIPE_KILL_ROUNDS", "12"))
    print(rounds.run(daemon, server, count, resend))
