"""on-message and on-state: commands that are run one after the other, with what they are told, what
becomes of what they print, and what happens when they are slow, fail, or never end."""

import os
import re
import signal
import subprocess

import pytest

from harness import (DONE, FAST, KIB, MIB, NO_CONN, VALGRIND, eventually, free_port, scaled,
                     section)
from servers import PyServer

pytestmark = pytest.mark.skipif(VALGRIND, reason="valgrind 3.19 has no pidfd_open(2)")


def lines_of(path):
    return path.read_text().splitlines() if path.exists() else []


def script(tmp_path, text, name="hook"):
    """A shell script beside the test; the command that runs it."""
    path = tmp_path / name
    path.write_text(text)
    return f"sh {path}"


def hook(daemon, name="on-message", connection="a"):
    return [r for r in daemon.readers(connection, "hook") if r["name"] == name][0]


# --- each message, each change ------------------------------------------------------------------


def test_each_message_once_in_order_as_it_is(daemon, server, tmp_path):
    """The bytes of the message alone are its standard input, whatever the framing."""
    out = tmp_path / "got"
    daemon.start(section("a", server.url, "framing = json", "endpoints = status",
                         f"on-message = {{ echo \"$WSPIPE_TYPE\"; cat; echo; }} >> {out}"))
    session = server.session()
    session.send("one", "two\nlines", "", "Grüße", b"\x00\xff\n")
    wanted = "text\none\ntext\ntwo\nlines\ntext\n\ntext\nGrüße\nbinary\n".encode() + b"\x00\xff\n\n"
    eventually(lambda: out.read_bytes() == wanted)
    session.send(*[str(i) for i in range(100)])
    eventually(lambda: lines_of_bytes(out)[-1] == b"99")
    assert [int(x) for x in lines_of_bytes(out)[-199::2]] == list(range(100))
    reader = eventually(lambda: hook(daemon) if hook(daemon)["pid"] is None else None)
    assert reader["behind_messages"] == reader["missed"] == reader["failures"] == 0


def lines_of_bytes(path):
    return path.read_bytes().splitlines()


def test_never_two_at_once(daemon, server, tmp_path):
    """Neither two for messages, nor one of each kind; and both kinds get their turn."""
    out = tmp_path / "got"
    command = script(tmp_path, f"""
        mkdir {tmp_path}/lock || echo overlap >> {out}
        sleep 0.01
        rmdir {tmp_path}/lock
        echo "$WSPIPE_HOOK $(cat)" >> {out}
        """)
    daemon.start(section("a", server.url, f"on-message = {command}", f"on-state = {command}", *FAST))
    for number in range(3):
        session = server.session(number)
        session.send(*[f"{number} {i}" for i in range(10)])
        session.close(4000)
    server.session(3)
    eventually(lambda: len(lines_of(out)) >= 30 + 11 and not hook(daemon)["behind_messages"], 20)
    got = lines_of(out)
    assert "overlap" not in got
    assert [x for x in got if x.startswith("on-message")] == \
        [f"on-message {number} {i}" for number in range(3) for i in range(10)]


def test_what_on_state_is_told(daemon, server, tmp_path):
    """Each change, in order, with what was so at that time; the URL has no secrets."""
    out = tmp_path / "got"
    command = script(tmp_path, f"""
        set -u
        echo "$WSPIPE_HOOK|$WSPIPE_NAME|$WSPIPE_STATE|$WSPIPE_CLOSE_CODE|$WSPIPE_CLOSE_REASON|$WSPIPE_HTTP_STATUS|$WSPIPE_URL|$WSPIPE_TIME|$WSPIPE_MISSED|$WSPIPE_TYPE|$WSPIPE_CAUSE" >> {out}
        cat >> {out}
        """)
    url = server.url.replace("ws://", "ws://user:geheim@")
    daemon.start(section("a", url, f"on-state = {command}", *FAST))
    server.session().close(4001, "see you")
    server.session(1)
    daemon.wait_open("a")
    assert daemon.client("close", "a").code == DONE
    eventually(lambda: len(lines_of(out)) >= 7 and "|closed|" in lines_of(out)[-1])
    rows = [x.split("|") for x in lines_of(out)]
    assert [x[2] for x in rows] == ["connecting", "open", "waiting", "connecting", "open", "closing",
                                    "closed"]
    assert all(x[:2] == ["on-state", "a"] and x[6] == server.url and x[8:10] == ["0", ""]
               for x in rows), rows
    assert rows[1][3:6] == ["", "", "101"]
    assert rows[2][3:5] == ["4001", "see you"] and "4001" in rows[2][10]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", x[7]) for x in rows)
    assert "geheim" not in out.read_text() + daemon.log


def test_environment_of_a_message(daemon, server, tmp_path):
    """Name, state, time; and the runtime directory, so that the client finds this daemon."""
    out = tmp_path / "got"
    daemon.start(section("a", server.url, "on-message = env > %s.new; wspipe send b \"$(cat)\"; "
                                          "mv %s.new %s" % (out, out, out))
                 + section("b", server.url + "b"), env={"WSPIPE_CLOSE_CODE": "stale",
                                                        "LISTEN_FDS": "7", "OURS": "stays"})
    daemon.wait_open("a", "b")
    sessions = {s.path: s for s in (server.session(0), server.session(1))}
    sessions["/"].send("pass it on")
    assert sessions["/b"].recv() == "pass it on"
    eventually(out.exists)
    env = dict(x.split("=", 1) for x in lines_of(out) if "=" in x)
    assert env["WSPIPE_HOOK"] == "on-message" and env["WSPIPE_NAME"] == "a"
    assert env["WSPIPE_STATE"] == "open" and env["WSPIPE_CLOSE_CODE"] == ""
    assert env["WSPIPE_RUNTIME_DIR"] == str(daemon.run_dir.resolve())
    assert env["WSPIPE_TIME"].endswith("Z") and env["OURS"] == "stays"
    assert "LISTEN_FDS" not in env and "NOTIFY_SOCKET" not in env


def test_fresh_process(daemon, server, tmp_path):
    """No signal is blocked or ignored, it leads a session of its own, and no descriptor of the daemon
    is open in it."""
    out = tmp_path / "got"
    daemon.start(section("a", server.url, "on-message = " + script(tmp_path, f"""
        grep -E '^Sig(Blk|Ign)' /proc/self/status > {out}.new
        ls /proc/self/fd | wc -l >> {out}.new
        echo $PPID $(cut -d" " -f5,6 /proc/$PPID/stat) >> {out}.new
        mv {out}.new {out}
        """)))
    server.session().send("x")
    eventually(out.exists)
    blocked, ignored, descriptors, ids = lines_of(out)
    # 32 and 33 are libc's own, and ignored below anybody who uses posix_spawn()
    assert int(blocked.split()[1], 16) == 0 and int(ignored.split()[1], 16) & ~(3 << 31) == 0
    assert int(descriptors) == 4, "0, 1, 2, and the directory"
    assert len(set(ids.split())) == 1, ids


def test_replies_only_when_asked_for(daemon, server, tmp_path):
    """Events, and replies with replies = all, as `out`."""
    asker, every = tmp_path / "asker", tmp_path / "all"
    daemon.start(section("a", server.url, "id = /id", f"on-message = {{ cat; echo; }} >> {asker}")
                 + section("b", server.url + "b", "id = /id", "replies = all",
                           f"on-message = {{ cat; echo; }} >> {every}"))
    daemon.wait_open("a", "b")
    sessions = {s.path: s for s in (server.session(0), server.session(1))}
    for name, path in (("a", "/"), ("b", "/b")):
        with daemon.sock(name) as client:
            client.write('{"id":1}\n')
            sessions[path].send(sessions[path].recv().replace("}", ',"result":5}'), '{"event":1}')
            assert client.lines(2) == ['{"id":1,"result":5}', '{"event":1}']
    eventually(lambda: len(lines_of(every)) == 2)
    eventually(lambda: lines_of(asker) == ['{"event":1}'])


# --- commands that behave badly -----------------------------------------------------------------


def test_one_that_does_not_read(daemon, server, tmp_path):
    """Messages that are larger than the pipe, read by nobody: no error, no hang; and by one that reads
    late, whole."""
    out = tmp_path / "got"
    daemon.start(section("a", server.url, f"on-message = echo >> {out}")
                 + section("b", server.url + "b", f"on-message = sleep 0.2; wc -c >> {out}.b"))
    daemon.wait_open("a", "b")
    for session in (server.session(0), server.session(1)):
        session.send(*["x" * 3 * MIB for _ in range(5)])
    eventually(lambda: len(lines_of(out)) == 5)
    eventually(lambda: [int(x) for x in lines_of(tmp_path / "got.b")] == [3 * MIB] * 5)
    assert hook(daemon)["failures"] == 0


def test_output_is_logged_and_bounded(daemon, server, tmp_path):
    """Both streams, line by line with the connection's name; long lines are cut, a flood is counted."""
    daemon.start(section("a", server.url, "on-message = " + script(tmp_path, """
        case $(cat) in
        words) echo to out; echo to err >&2; printf unfinished;;
        long) head -c 100000 /dev/zero | tr '\\0' y; echo;;
        flood) seq 1 300;;
        esac
        """)))
    session = server.session()
    session.send("words")
    eventually(lambda: all(f"a: on-message: {x}" in daemon.log
                           for x in ("to out\n", "to err\n", "unfinished\n")))
    session.send("long")
    eventually(lambda: "yyy" in daemon.log)
    assert 900 <= max(map(len, re.findall("y+", daemon.log))) <= 1000
    session.send("flood")
    eventually(lambda: "a: on-message: 200 more lines" in daemon.log)
    assert "on-message: 100\n" in daemon.log and "on-message: 101\n" not in daemon.log


def test_failures_are_told_once(daemon, server, tmp_path):
    """A command that always fails has one line in the log, and one more when it works again; status counts."""
    daemon.start(section("a", server.url, f"on-message = test -e {tmp_path}/works"))
    session = server.session()
    session.send(*["x"] * 20)
    eventually(lambda: hook(daemon)["failures"] == 20)
    assert hook(daemon)["failing"]
    assert daemon.log.count("ended with status 1") == 1
    (tmp_path / "works").touch()
    session.send("y")
    eventually(lambda: "works again, after 20 failures" in daemon.log)
    assert not hook(daemon)["failing"] and hook(daemon)["failures"] == 20


def test_slow_one_misses_and_is_told(daemon, server, tmp_path):
    """What is more than `keep` behind is lost to it alone, counted, and told to it; others get all."""
    out, gate = tmp_path / "got", tmp_path / "gate"
    os.mkfifo(gate)
    daemon.start(section("a", server.url, "keep = 64K", "endpoints = sock status",
                         f"on-message = echo \"$WSPIPE_MISSED $(head -c 8)\" >> {out}; read x < {gate}"))
    daemon.wait_open("a")
    session = server.session()
    with daemon.listener("a") as other:
        session.send("first   ")
        eventually(lambda: lines_of(out) == ["0 first   "])
        assert hook(daemon)["pid"] > 0 and hook(daemon)["behind_messages"] == 1
        assert other.line() == "first   "
        for i in range(300):
            session.send(f"{i:<8}" + "x" * KIB)
            assert other.line().startswith(f"{i:<8}x")
    missed = eventually(lambda: hook(daemon)["missed"])
    daemon.write_config(section("a", server.url, "keep = 64K", "endpoints = sock status",
                                f"on-message = echo \"$WSPIPE_MISSED $(head -c 8)\" >> {out}"))
    assert daemon.reload().code == DONE
    with open(gate, "w") as opener:
        opener.write("go\n")
    eventually(lambda: lines_of(out)[-1] == "0 299     ")
    second = lines_of(out)[1].split()
    assert second[0] == str(missed) == second[1], "so many were missed, and it goes on behind them"
    assert len(lines_of(out)) == 1 + 300 - missed
    assert "messages dropped for 'on-message'" in daemon.log


def test_changes_of_state_are_bounded(daemon, tmp_path):
    """At most 64 wait; the oldest go, which is logged once, counted, and told to the command."""
    out, gate = tmp_path / "got", tmp_path / "gate"
    os.mkfifo(gate)
    url = f"ws://127.0.0.1:{free_port()}/"
    daemon.start(section("a", url, "reconnect-delay = 1ms", "reconnect-max = 1ms",
                         f"on-state = echo \"$WSPIPE_MISSED\" >> {out}; read x < {gate}"))
    eventually(lambda: hook(daemon, "on-state")["missed"] > 100, 30)
    assert hook(daemon, "on-state")["behind_messages"] == 65, "and the one that runs"
    assert daemon.log.count("changes of state are dropped") == 1
    assert daemon.client("close", "a").code == DONE
    missed = hook(daemon, "on-state")["missed"]
    daemon.write_config(section("a", url, "reconnect-delay = 1ms", "reconnect-max = 1ms",
                                f"on-state = echo \"$WSPIPE_MISSED\" >> {out}"))
    assert daemon.reload().code == DONE
    with open(gate, "w") as opener:
        opener.write("go\n")
    eventually(lambda: hook(daemon, "on-state")["behind_messages"] == 0)
    assert lines_of(out) == ["0", str(missed)] + ["0"] * 63
    assert f"{missed} changes of state were dropped" in daemon.log


# --- reload, the end, persist -------------------------------------------------------------------


def test_reload(daemon, server, tmp_path):
    """Another command takes effect; without the key there is none; one that is new begins with what
    comes from then on."""
    out = tmp_path / "got"

    def command(word):
        return [f"on-message = echo {word} $(cat) >> {out}"] if word else []

    daemon.start(section("a", server.url, *command("one")))
    session = server.session()
    for number, word in enumerate(("one", "two", None, "three")):
        daemon.write_config(section("a", server.url, *command(word)))
        assert daemon.reload().code == DONE
        session.send(str(number))
        session.ping()
        if word:
            eventually(lambda: lines_of(out)[-1:] == [f"{word} {number}"])
        else:
            assert not daemon.readers("a", "hook")
    assert lines_of(out) == ["one 0", "two 1", "three 3"]
    assert len(server.sessions) == 1, "not connected anew"


def gone(pid):
    try:
        return "Z" == open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_stop_waits_then_kills(daemon, server, tmp_path):
    """One that ends soon is waited for, and the last change is told; one that never ends is killed with
    all that it has started."""
    out, pids = tmp_path / "got", tmp_path / "pids"
    daemon.start(section("a", server.url, f"on-state = sleep 0.3; echo $WSPIPE_STATE >> {out}"))
    daemon.wait_open("a")
    daemon.stop()
    assert lines_of(out) == ["connecting", "open", "closing", "closed"]
    daemon.start(section("a", server.url, "on-message = " + script(tmp_path, f"""
        trap '' TERM INT HUP
        sleep 1000 &
        echo $$ $! > {pids}.new
        mv {pids}.new {pids}
        wait
        """)))
    server.session(1).send("x")
    eventually(pids.exists)
    daemon.stop()
    for pid in lines_of(pids)[0].split():
        eventually(lambda: gone(pid), what=f"{pid} is gone")
    assert "hooks have not ended in time: on-message killed" in daemon.log


def test_does_not_outlive_the_daemon(daemon, server, tmp_path):
    """A daemon that is killed takes the command with it, so that the next one's is not a second; what
    the command has started lives on (so `exec`: the shell does not wait for the script, but is it)."""
    pids = tmp_path / "pids"
    daemon.start(section("a", server.url, "on-message = exec " + script(tmp_path, f"""
        trap '' TERM INT HUP
        sleep 1000 &
        echo $$ $! > {pids}.new
        mv {pids}.new {pids}
        wait
        """)))
    server.session().send("x")
    eventually(pids.exists)
    command, started = (int(x) for x in pids.read_text().split())
    assert hook(daemon)["pid"] == command
    daemon.kill()
    try:
        eventually(lambda: gone(command), what="the command has ended")
        assert not gone(started)
    finally:
        os.kill(started, signal.SIGKILL)


def test_at_most_so_many_at_once(daemon, make_server, tmp_path):
    """Over all connections; the others wait, and have their turn in the order in which they came."""
    slots, more = 64, 6
    started, gate = tmp_path / "started", tmp_path / "gate"
    started.touch()
    os.mkfifo(gate)
    names = [f"c{i:02d}" for i in range(slots + more)]
    server = make_server(PyServer)
    daemon.start("".join(
        section(name, f"{server.url}{name}", "endpoints = status",
                f"on-message = echo $WSPIPE_NAME >> {started}; read -r go < {gate}") for name in names))
    daemon.wait_open(*names)
    sessions = {x.path: x for x in (server.session(i) for i in range(len(names)))}
    with open(gate, "r+b", buffering=0) as opener:
        for name in names[:slots]:
            sessions["/" + name].send("x")
        eventually(lambda: len(lines_of(started)) == slots, 30)
        for name in names[slots:]:
            sessions["/" + name].send("x")
            eventually(lambda name=name: hook(daemon, connection=name)["behind_messages"] == 1)
            assert hook(daemon, connection=name)["pid"] is None
        assert sorted(lines_of(started)) == names[:slots]
        assert daemon.log.count("others wait") == 1
        for count in range(1, more + 1):
            opener.write(b"\n")
            eventually(lambda count=count: lines_of(started)[slots:] == names[slots:slots + count])
        opener.write(b"\n" * slots)
        eventually(lambda: not any(hook(daemon, connection=x)["behind_messages"] for x in names), 30)
    assert sorted(lines_of(started)) == names


def test_close_tells_the_last_change(daemon, server, tmp_path):
    """One made with `open` goes when its last change of state was told."""
    out = tmp_path / "got"
    daemon.start("")
    result = daemon.client("open", "b", server.url, "--on-state",
                           f"sleep 0.2; echo $WSPIPE_STATE >> {out}")
    assert result.code == DONE, result
    server.session()
    daemon.wait_open("b")
    daemon.client("close", "b")
    eventually(lambda: "b" not in daemon.status_all())
    assert lines_of(out)[-1] == "closed"


def test_cat_url_has_hooks_too(daemon, server, tmp_path):
    """Every key is an option of `cat URL`, also where there is no directory."""
    out = tmp_path / "got"
    daemon.start("")
    process = daemon.spawn_client("cat", server.url, "--on-message", f"cat >> {out}")
    server.session().send("hello")
    eventually(lambda: out.read_text() == "hello")
    out, _ = process.communicate(timeout=scaled(10))
    assert out == b"hello\n" and process.returncode == DONE


@pytest.mark.parametrize("how", ("kill", "stop"))
def test_persist(daemon, server, tmp_path, how):
    """The place outlives the daemon: no message is left out, and only the one that was being worked on
    when it was killed may come twice."""
    out, gate = tmp_path / "got", tmp_path / "gate"
    (tmp_path / "hold").touch()
    os.mkfifo(gate)
    command = script(tmp_path, f"""
        read -r line
        echo "$line" >> {out}
        test "$line" != 10 || test ! -e {tmp_path}/hold || read x < {gate}
        """)
    daemon.start(section("a", server.url, "persist = yes", f"on-message = exec {command}", *FAST))
    session = server.session()
    session.send(*[f"{i}\n" for i in range(100)])
    session.ping()
    eventually(lambda: lines_of(out)[-1:] == ["10"])
    if how == "kill":
        left = hook(daemon)["pid"]
        daemon.kill()
        eventually(lambda: gone(left), what="it has ended with the daemon")
    else:
        daemon.stop()
    (tmp_path / "hold").unlink()
    daemon.start()
    eventually(lambda: lines_of(out)[-1:] == ["99"], 20)
    assert [int(x) for x in lines_of(out)] == list(range(11)) + list(range(10, 100))
    assert hook(daemon)["missed"] == 0


@pytest.mark.parametrize("order", ["resume", "reconnect", "open"])
def test_one_that_is_being_removed_stays_down(daemon, server, tmp_path, order):
    """While its hooks still run nobody can connect it again: it would be there without a section."""
    daemon.start(section("a", server.url, f"on-state = test $WSPIPE_STATE != closed || cat {tmp_path}/gate", *FAST))
    os.mkfifo(tmp_path / "gate")
    daemon.wait_open("a")
    daemon.write_config("")
    assert daemon.reload().code == 0
    daemon.wait_state("a", "closed")
    result = daemon.client(order, "a")
    assert result.code == NO_CONN and "is being removed" in result.err
    (tmp_path / "gate").write_text("x")
    eventually(lambda: "a" not in daemon.status_all())


@pytest.mark.parametrize("meanwhile", ["", "on-state = true"])
def test_a_key_that_was_away_begins_anew(daemon, server, tmp_path, meanwhile):
    """What was received while nobody had asked for a command is not handed to it, also when the daemon
    was not running as the key went and came."""
    out = tmp_path / "got"
    hooked = section("a", server.url, "persist = yes", f"on-message = cat >> {out}", *FAST)
    daemon.start(hooked)
    server.session(0).send("1\n")
    eventually(lambda: lines_of(out) == ["1"])
    daemon.stop()
    daemon.start(section("a", server.url, "persist = yes", meanwhile, *FAST))
    server.session(1).send("2\n")
    eventually(lambda: daemon.status("a")["kept"]["messages"] == 2)
    daemon.stop()
    daemon.start(hooked)
    server.session(2).send("3\n")
    eventually(lambda: lines_of(out)[-1:] == ["3"])
    assert lines_of(out) == ["1", "3"]


def test_nothing_runs_while_nothing_happens(daemon, server, tmp_path):
    """Idle hooks cost no wake-ups."""
    out = tmp_path / "got"
    daemon.start(section("a", server.url, "ping-interval = 0", f"on-message = cat >> {out}",
                         f"on-state = echo >> {out}.state"))
    server.session().send("x")
    eventually(out.exists)
    eventually(lambda: hook(daemon)["pid"] is None and hook(daemon, "on-state")["pid"] is None)

    def quiet():
        before = daemon.wakeups()
        subprocess.run(["sleep", "1"], check=True)
        return daemon.wakeups() == before
    eventually(quiet)
