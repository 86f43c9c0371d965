"""wspipe(1): every command, its exit status, and what it prints where."""

import json
import os
import re
import signal
import socket
import subprocess

import pytest

import servers
from harness import (DONE, FAST, NO_CONN, NO_DAEMON, NOT_OPEN, PEER, TIMED_OUT, USAGE, WSPIPE, ended,
                     eventually, find_connections, free_port, run, scaled, section)

STATUS_KEYS = set("name url state since cause close_code close_reason http_status subprotocol "
                  "compression tls address rtt_ms reconnects received sent dropped rejected queue "
                  "kept readers requests".split())
COUNTS = {"received": {"messages", "bytes"}, "sent": {"messages", "bytes"},
          "dropped": {"messages", "bytes"}, "rejected": {"messages"},
          "queue": {"messages", "bytes"}, "kept": {"messages", "bytes"},
          "requests": {"open", "answered", "timed_out"}}
COMMANDS = ("ls", "status", "open", "close", "reconnect", "pause", "resume", "send", "recv", "cat",
            "exec", "wait", "reload", "stop", "check")


@pytest.fixture
def ticker(daemon, server):
    """(daemon, session): a connection `a` to a server that only listens and remembers."""
    daemon.start(section("a", server.url, *FAST))
    daemon.wait_open("a")
    return daemon, server.session()


# --- usage --------------------------------------------------------------------------------------


def test_help_fits_a_screen(daemon):
    """"`--help` and `--version` in both": at most 40 lines on standard output, exit 0; every command
    is named."""
    result = run([WSPIPE, "--help"], env=daemon.env)
    assert (result.code, result.err) == (DONE, "")
    assert 5 < len(result.out.splitlines()) <= 40
    for command in COMMANDS:
        assert re.search(rf"\b{command}\b", result.out), command
    result = run([WSPIPE, "--version"], env=daemon.env)
    assert result.code == DONE and "0.1.0" in result.out


@pytest.mark.parametrize("args", [
    (), ("no-such-command",), ("status", "--no-such-option"), ("send",), ("recv",), ("close",),
    ("open", "a"), ("open",), ("reconnect",), ("cat",), ("wait",), ("exec", "a"), ("exec",),
    ("recv", "a", "-n", "many"), ("recv", "a", "--timeout", "soon"), ("recv", "a", "--framing", "x"),
    ("wait", "a", "--for", "godot"), ("wait", "a", "--for"), ("status", "a", "b"),
    ("open", "a/b", "ws://127.0.0.1:9/"), ("open", "control", "ws://127.0.0.1:9/"),
    ("open", "b", "ws://127.0.0.1:9/#fragment"), ("open", "b", "nonsense"),
    ("open", "b", "ws://127.0.0.1:9/", "--header", "X: a\rb"),
    ("open", "b", "ws://127.0.0.1:9/", "--queue", "lots"),
    ("open", "b", "ws://127.0.0.1:9/", "--no-such-key", "1"),
    ("cat", "ws://127.0.0.1:9/#fragment"), ("cat", "ftp://x/"),
], ids=lambda a: " ".join(a).replace("\r", "CR")[:40] or "nothing")
def test_usage_errors(ticker, args):
    """"Bad input: ... one clear line each, exit code 2, nothing started, nothing lost." """
    daemon, session = ticker
    result = daemon.client(*args)
    assert result.code == USAGE, result
    assert result.err.strip() and not result.out, result
    assert set(daemon.status_all()) == {"a"}
    daemon.put("a", "unharmed")
    assert session.recv() == "unharmed"


def test_no_daemon(daemon):
    """"3 no daemon answers": every command that needs one says so and starts none."""
    for args in (["ls"], ["status"], ["status", "a"], ["close", "a"], ["send", "a", "x"],
                 ["recv", "a", "-n", "1"], ["reload"], ["stop"], ["wait", "a"], ["cat", "a"],
                 ["reconnect", "a"], ["exec", "a", "--", "true"], ["pause", "a"], ["resume", "a"],
                 ["cat", "--no-daemon", "ws://127.0.0.1:9/"],
                 ["open", "--no-daemon", "a", "ws://127.0.0.1:9/"]):
        result = daemon.client(*args)
        assert result.code == NO_DAEMON and result.err and not result.out, (args, result)
    assert not daemon.run_dir.exists() or "control" not in os.listdir(daemon.run_dir)


def test_no_such_connection(ticker):
    """"4 no such connection", with its name on standard error."""
    daemon, _ = ticker
    for args in (["status", "nix"], ["close", "nix"], ["reconnect", "nix"], ["pause", "nix"],
                 ["resume", "nix"], ["send", "nix", "x"], ["recv", "nix", "-n", "1"], ["cat", "nix"],
                 ["exec", "nix", "--", "true"], ["wait", "nix"]):
        result = daemon.client(*args, timeout=10)
        assert result.code == NO_CONN and "nix" in result.err and not result.out, (args, result)


def test_runtime_dir_from_the_environment(ticker):
    """`$WSPIPE_RUNTIME_DIR` finds the daemon; --runtime-dir goes first."""
    daemon, _ = ticker
    env = {**daemon.env, "WSPIPE_RUNTIME_DIR": str(daemon.run_dir)}
    assert run([WSPIPE, "status", "a"], env=env).code == DONE
    assert run([WSPIPE, "--runtime-dir", "/nowhere", "status", "a"], env=env).code == NO_DAEMON


# --- ls, status ---------------------------------------------------------------------------------


def test_ls_and_status(daemon, server):
    """`ls` is a table of the connections; `--json` parses; both tell name and state."""
    daemon.start(section("alpha", server.url) + section("beta", server.url, "reconnect = never"))
    daemon.wait_open("alpha", "beta")
    result = daemon.client("ls")
    assert result.code == DONE and not result.err
    rows = {line.split()[0]: line for line in result.out.splitlines() if line.strip()}
    assert "open" in rows["alpha"] and "open" in rows["beta"]
    listed = find_connections(json.loads(daemon.client("ls", "--json").out))
    assert {n: c["state"] for n, c in listed.items()} == {"alpha": "open", "beta": "open"}
    everything = daemon.client("status")
    assert everything.code == DONE and "alpha" in everything.out and "beta" in everything.out
    one = daemon.client("status", "alpha")
    assert "alpha" in one.out and "beta" not in one.out and server.url in one.out


def test_status_json_has_every_key(ticker):
    """"`status --json` has at least: name url state since cause ..." with true counts."""
    daemon, session = ticker
    daemon.put("a", "12345", "678")
    assert session.recv_many(2) == ["12345", "678"]
    session.send("hello", b"\0\1")
    eventually(lambda: daemon.status("a")["received"]["messages"] == 2)
    status = daemon.status("a")
    assert not STATUS_KEYS - set(status)
    for key, members in COUNTS.items():
        assert members <= set(status[key]), key
    assert status["received"]["bytes"] == 7
    assert status["sent"] == {**status["sent"], "messages": 2, "bytes": 8}
    assert status["http_status"] == 101
    assert (status["name"], status["state"], status["reconnects"]) == ("a", "open", 0)
    assert str(session.server.port) in status["address"]
    assert status["rejected"]["messages"] == status["dropped"]["messages"] == 0
    assert status["queue"] == {**status["queue"], "messages": 0, "bytes": 0}
    assert {r["kind"] for r in status["readers"]} >= {"out"}


def test_rtt_is_measured(daemon, server):
    """`rtt_ms` is known once a ping has come back."""
    daemon.start(section("a", server.url, "ping-interval = 100ms"))
    eventually(lambda: isinstance(daemon.status("a")["rtt_ms"], (int, float))
               and 0 < daemon.status("a")["rtt_ms"] < scaled(1000))


# --- open, close, reconnect, pause, resume ------------------------------------------------------


def test_open_and_close(ticker, server):
    """`open` makes "a connection that lives until `close`"; close says Close 1000 and removes it."""
    daemon, _ = ticker
    result = daemon.client("open", "b", server.url + "x", "--framing", "nul", "-H", "X-Key: value",
                           "--header", "X-Other: more", "--subprotocol", "p", "--queue=2M")
    assert result.code == DONE, result
    daemon.wait_open("b")
    session = server.session(1)
    assert session.path == "/x" and session.headers["X-Key"] == "value"
    assert session.headers["X-Other"] == "more"
    assert session.headers["Sec-WebSocket-Protocol"] == "p"
    with daemon.open_in("b") as stream:
        stream.write(b"one\ntwo\0")
    assert session.recv() == "one\ntwo"
    again = daemon.client("open", "b", server.url)
    assert again.code != DONE and "b" in again.err, "the name is taken"
    assert daemon.client("close", "b").code == DONE
    assert session.wait_closed()[0] == 1000
    assert daemon.client("status", "b").code == NO_CONN
    assert not daemon.path("b").exists()


def test_opened_connection_survives_a_reload(ticker, server):
    """A reload does not touch what `open` made."""
    daemon, _ = ticker
    assert daemon.client("open", "b", server.url).code == DONE
    daemon.wait_open("b")
    assert daemon.reload().code == DONE
    assert set(daemon.status_all()) == {"a", "b"} and len(server.sessions) == 2


def test_close_stops_a_configured_connection(ticker, server):
    """`close` of a configured one stops it: it stays `closed` until asked; `reconnect` opens it."""
    daemon, session = ticker
    assert daemon.client("close", "a").code == DONE
    assert session.wait_closed()[0] == 1000
    status = daemon.wait_state("a", "closed")
    assert status["close_code"] == 1000
    assert daemon.path("a", "in").exists()
    assert daemon.client("reconnect", "a").code == DONE
    daemon.wait_open("a")
    daemon.put("a", "again")
    assert server.session(1).recv() == "again"


def test_not_open_and_does_not_wait(ticker):
    """"5 not open, and the command does not wait": cat and exec on a stopped connection."""
    daemon, _ = ticker
    assert daemon.client("close", "a").code == DONE
    daemon.wait_state("a", "closed")
    for args in (("cat", "a"), ("exec", "a", "--", "true")):
        result = daemon.client(*args)
        assert result.code == NOT_OPEN and "a" in result.err, (args, result)


def test_reconnect(ticker, server):
    """`reconnect` closes properly and connects at once; what is written meanwhile goes to the new one."""
    daemon, session = ticker
    assert daemon.client("reconnect", "a").code == DONE
    assert session.wait_closed()[0] in (1000, 1001)
    daemon.put("a", "to the new one")
    assert server.session(1).recv() == "to the new one"
    daemon.wait_open("a")
    assert daemon.status("a")["reconnects"] == 1


def test_reconnect_does_not_wait_for_the_backoff(daemon):
    """`reconnect` of a waiting connection tries at once."""
    port = free_port()
    daemon.start(section("a", f"ws://127.0.0.1:{port}/", "reconnect-delay = 1h",
                         "reconnect-max = 1h"))
    daemon.wait_state("a", "waiting")
    server = servers.PyServer(port=port).start()
    try:
        assert daemon.client("reconnect", "a").code == DONE
        daemon.wait_open("a")
    finally:
        server.stop()


def test_pause_and_resume(ticker, server):
    """While paused nothing is sent and nothing is lost: resume sends what was written meanwhile."""
    daemon, session = ticker
    assert daemon.client("pause", "a").code == DONE
    daemon.put("a", "one", "two")
    eventually(lambda: daemon.status("a")["queue"]["messages"] == 2)
    assert session.got_nothing()
    assert daemon.client("resume", "a").code == DONE
    eventually(lambda: server.session().messages.qsize() == 2)
    assert server.session().recv_many(2) == ["one", "two"]
    with daemon.listener("a") as client:
        server.session().send("and back")
        assert client.line() == "and back"


# --- send, recv, wait ---------------------------------------------------------------------------


def test_send(ticker):
    """`send NAME [MESSAGE...] or lines from standard input`; nothing on standard output."""
    daemon, session = ticker
    for result in (daemon.client("send", "a", "one", "two words", ""),
                   daemon.client("send", "a", input="three\nfour\nunterminated"),
                   daemon.client("send", "a", "line\nfeed")):
        assert (result.code, result.out, result.err) == (DONE, "", ""), result
    assert session.recv_many(7) == ["one", "two words", "", "three", "four", "unterminated",
                                    "line\nfeed"]


def test_send_many(ticker):
    """100,000 lines from a pipe, in order, through a queue of 1 MiB."""
    daemon, session = ticker
    process = daemon.spawn(["bash", "-c", 'seq 100000 | "$@"', "-",
                            *daemon.client_command("send", "a")])
    assert [int(session.recv(30)) for _ in range(100000)] == list(range(1, 100001))
    assert ended(process) == DONE


def test_send_refuses(ticker):
    """A message that cannot be sent (text that is not UTF-8) is told, and the exit status is not 0."""
    daemon, session = ticker
    result = daemon.client("send", "a", input=b"good\n\xff\xfe\n")
    assert result.code in (PEER, USAGE) and "UTF-8" in result.err, result
    assert session.recv() == "good"
    assert daemon.status("a")["rejected"]["messages"] == 1


def test_recv(ticker):
    """`recv -n COUNT` prints so many messages, one a line, and exits; -C is the same."""
    daemon, session = ticker
    for option in ("-n", "-C"):
        process = daemon.spawn_client("recv", "a", option, "3", stdin=subprocess.DEVNULL)
        eventually(lambda: len(daemon.status("a")["readers"]) > 1)
        session.send("one", "two\nlines", "three", "four")
        out, err = process.communicate(timeout=scaled(10))
        assert (process.returncode, err) == (DONE, b"")
        assert out == b"one\ndata:text/plain;base64,dHdvCmxpbmVz\nthree\n"
        eventually(lambda: len(daemon.status("a")["readers"]) == 1)


def test_recv_framings(ticker):
    """`recv --framing F` and `--json`: the framing is the reader's choice."""
    daemon, session = ticker
    want = {"nul": b"a\nb\0", "length": b"\0\0\0\3a\nb", "raw": b"a\nb"}
    for framing, record in want.items():
        process = daemon.spawn_client("recv", "a", "-n", "1", "--framing", framing)
        eventually(lambda: len(daemon.status("a")["readers"]) > 1)
        session.send("a\nb")
        assert process.communicate(timeout=scaled(10))[0] == record
        eventually(lambda: len(daemon.status("a")["readers"]) == 1)
    process = daemon.spawn_client("recv", "a", "-n", "1", "--json")
    eventually(lambda: len(daemon.status("a")["readers"]) > 1)
    session.send("a\nb")
    record = json.loads(process.communicate(timeout=scaled(10))[0])
    assert (record["type"], record["data"]) == ("text", "a\nb")


def test_recv_timeout(ticker):
    """"124 timed out", with what did arrive printed; fractions of a second are taken."""
    daemon, session = ticker
    result = daemon.client("recv", "a", "-n", "1", "--timeout", "0.2")
    assert (result.code, result.out) == (TIMED_OUT, ""), result
    process = daemon.spawn_client("recv", "a", "-n", "2", "-m", str(scaled(1.5)))
    eventually(lambda: len(daemon.status("a")["readers"]) > 1)
    session.send("only one")
    out, _ = process.communicate(timeout=scaled(15))
    assert (process.returncode, out) == (TIMED_OUT, b"only one\n")


def test_recv_into_a_closed_pipe(ticker):
    """"141 by signal as usual": `recv --follow | head -n1` ends both."""
    daemon, session = ticker
    script = '"$@" | head -n 1; echo "${PIPESTATUS[0]}"'
    process = daemon.spawn(["bash", "-c", script, "-", *daemon.client_command("recv", "a", "--follow")],
                           stdin=subprocess.DEVNULL)
    eventually(lambda: len(daemon.status("a")["readers"]) > 1)
    session.send("first")
    future = session.flood(20000, lambda i: "further " * 20)
    out, _ = process.communicate(timeout=scaled(15))
    assert out.split() == [b"first", b"141"]
    assert future.result(scaled(20)) == 20000


def test_interrupted_by_the_user(ticker):
    """"130 by signal as usual": Ctrl-C ends a waiting command as any other program."""
    daemon, _ = ticker
    process = daemon.spawn_client("recv", "a", "--follow", stdin=subprocess.DEVNULL)
    eventually(lambda: len(daemon.status("a")["readers"]) > 1)
    process.send_signal(signal.SIGINT)
    assert ended(process) in (130, -signal.SIGINT)
    eventually(lambda: len(daemon.status("a")["readers"]) == 1)


def test_wait(daemon):
    """`wait --for open|closed|message`: returns when it is so; 124 at the time limit."""
    port = free_port()
    daemon.start(section("a", f"ws://127.0.0.1:{port}/", *FAST))
    result = daemon.client("wait", "a", "--for", "open", "--timeout", "0.3")
    assert result.code == TIMED_OUT, result
    process = daemon.spawn_client("wait", "a", "--for", "open")
    server = servers.PyServer(port=port).start()
    try:
        assert ended(process) == DONE
        assert daemon.client("wait", "a").code == DONE, "open is what one waits for"
        assert daemon.client("wait", "a", "--for", "message", "--timeout", "0.2").code == TIMED_OUT
        process = daemon.spawn_client("wait", "a", "--for", "message")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        server.session().send("here")
        assert ended(process) == DONE
        process = daemon.spawn_client("wait", "a", "--for", "closed")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        assert daemon.client("close", "a").code == DONE
        assert ended(process) == DONE
    finally:
        server.stop()


# --- cat, exec ----------------------------------------------------------------------------------


def test_cat_url_to_an_echo_server(ticker, node_echo):
    """"`seq 1000 | wspipe cat URL` against an echo server prints all 1000 and exits 0": end of input
    sends the close frame, and all that still arrives is printed."""
    daemon, _ = ticker
    for _ in range(3):
        result = daemon.shell('seq 1000 | "$@"; exit "${PIPESTATUS[1]}"'.replace(
            '"$@"', " ".join(daemon.client_command("cat", node_echo.url))))
        assert result.code == DONE and not result.err, result
        assert result.out.split() == [str(i) for i in range(1, 1001)]
    eventually(lambda: set(daemon.status_all()) == {"a"}, what="cat's connection is gone")


def test_cat_url_sends_close_1000(ticker, server):
    """The close frame is a clean one, and the last unterminated line went out before it."""
    daemon, _ = ticker
    result = daemon.client("cat", server.url, input="one\ntwo")
    assert result.code == DONE, result
    session = server.session(1)
    assert session.recv_many(2) == ["one", "two"]
    assert session.wait_closed()[0] == 1000


def test_cat_name(ticker, server):
    """`cat NAME` joins a connection that goes on afterwards."""
    daemon, session = ticker
    process = daemon.spawn_client("cat", "a", "-C", "1")
    process.stdin.write(b"through cat\n")
    assert session.recv() == "through cat"
    session.send("reply")
    out = process.stdout.read()  # its input stays open: the end of it would ask for a close
    process.communicate(timeout=scaled(10))
    assert (process.returncode, out) == (DONE, b"reply\n")
    daemon.wait_open("a", timeout=1)
    assert len(server.sessions) == 1 and not session.closed.is_set()


def test_cat_name_end_of_input(ticker, server):
    """"End of input: send the close frame", for a name too; then as its `reconnect` says."""
    daemon, session = ticker
    result = daemon.client("cat", "a", input="last\n")
    assert result.code == DONE and not result.out, result
    assert session.recv() == "last"
    assert session.wait_closed()[0] == 1000
    daemon.put("a", "next")
    assert server.session(1).recv() == "next"


def test_cat_quiet_time(ticker, server):
    """`-q SECONDS`: wait that long after the end of input before the close frame."""
    daemon, _ = ticker
    process = daemon.spawn_client("cat", server.url, "-q", str(scaled(2)))
    process.stdin.write(b"question\n")
    process.stdin.close()
    session = server.session(1)
    assert session.recv() == "question"
    assert not session.closed.wait(0.5)
    session.send("slow answer")
    assert process.stdout.readline() == b"slow answer\n"
    assert ended(process) == DONE
    assert session.wait_closed()[0] == 1000


def test_cat_never_closes(ticker, server):
    """`-n` never close: after the end of input it prints until the server closes."""
    daemon, _ = ticker
    process = daemon.spawn_client("cat", "-n", server.url)
    process.stdin.write(b"question\n")
    process.stdin.close()
    session = server.session(1)
    assert session.recv() == "question"
    assert not session.closed.wait(0.5)
    session.send("late answer")
    assert process.stdout.readline() == b"late answer\n"
    session.close(1000, "done")
    assert ended(process) == DONE


@pytest.mark.parametrize("options,count", ((["-1"], 1), (["-C", "3"], 3)))
def test_cat_counts(ticker, server, options, count):
    """`-1 or -C COUNT: exit after so many messages`, with standard input still open."""
    daemon, _ = ticker
    process = daemon.spawn_client("cat", server.url, *options)
    server.session(1).send("1", "2", "3", "4")
    out = process.stdout.read()
    assert ended(process) == DONE
    assert out.split() == [b"1", b"2", b"3"][:count]


@pytest.mark.parametrize("code", (4001, 1011, 1008))
def test_cat_abnormal_close(ticker, server, code):
    """"`cat` ends with 1 after an abnormal close and prints the close code and reason." """
    daemon, _ = ticker
    process = daemon.spawn_client("cat", server.url)
    session = server.session(1)
    session.send("last words")
    session.close(code, "no more tea")
    out, err = process.communicate(timeout=scaled(10))
    assert process.returncode == PEER
    assert out == b"last words\n", "standard output carries messages alone"
    assert str(code).encode() in err and b"no more tea" in err


def test_cat_lost_connection(ticker, server):
    """A connection that ends without a Close is an abnormal end as well (1006)."""
    daemon, _ = ticker
    process = daemon.spawn_client("cat", server.url)
    server.session(1).abort()
    _, err = process.communicate(timeout=scaled(10))
    assert process.returncode == PEER and err.strip()


def test_cat_clean_close_by_the_server(ticker, server):
    """A server's Close 1000 ends cat with 0."""
    daemon, _ = ticker
    process = daemon.spawn_client("cat", server.url)
    server.session(1).send("bye")
    server.session(1).close(1000)
    out, _ = process.communicate(timeout=scaled(10))
    assert (process.returncode, out) == (DONE, b"bye\n")


def test_cat_url_that_refuses(ticker):
    """Nobody listens: exit 1 and the cause on standard error, no endless retry."""
    daemon, _ = ticker
    result = daemon.client("cat", f"ws://127.0.0.1:{free_port()}/", input="x\n")
    assert result.code == PEER and "refused" in result.err.lower() and not result.out, result


def test_cat_options(ticker, server):
    """"Every key is also a long option of `wspipe open` and of `wspipe cat URL`." """
    daemon, _ = ticker
    result = daemon.client("cat", server.url, "-H", "X-A: 1", "--user-agent", "me/2", "--origin",
                           "https://o.example", "-u", "ann:pw", "-b", "id=7", "--type", "binary",
                           "--framing", "nul", input=b"\xff\n\0")
    assert result.code == DONE, result
    session = server.session(1)
    assert session.recv() == b"\xff\n"
    assert session.headers["X-A"] == "1" and session.headers["User-Agent"] == "me/2"
    assert session.headers["Origin"] == "https://o.example"
    assert session.headers["Authorization"] == "Basic YW5uOnB3"
    assert session.headers["Cookie"] == "id=7"


def test_cat_when_the_daemon_dies(ticker, server):
    """A daemon that is killed ends cat with an error, not with silence."""
    daemon, _ = ticker
    process = daemon.spawn_client("cat", server.url)
    server.session(1)
    daemon.kill()
    _, err = process.communicate(timeout=scaled(10))
    assert process.returncode in (PEER, NO_DAEMON) and err.strip()


@pytest.mark.parametrize("target", ("name", "url"))
def test_exec(ticker, server, target):
    """`exec NAME|URL -- COMMAND...`: the connection is the command's standard input and output."""
    daemon, session = ticker
    where = "a" if target == "name" else server.url
    process = daemon.spawn_client("exec", where, "--", "sh", "-c",
                                  'echo hello; read -r reply; echo "got $reply" >&2; exit 0',
                                  stdin=subprocess.DEVNULL)
    if target == "url":
        session = server.session(1)
    assert session.recv() == "hello"
    session.send("the reply")
    out, err = process.communicate(timeout=scaled(10))
    assert process.returncode == DONE and b"got the reply" in err and not out
    if target == "url":
        assert session.wait_closed()[0] == 1000
    else:
        daemon.wait_open("a", timeout=1)


def test_exec_is_a_fresh_process(ticker):
    """No descriptor but its standard ones, no signal blocked or ignored."""
    daemon, session = ticker
    process = daemon.spawn_client("exec", "a", "--", "sh", "-c",
                                  "ls /proc/self/fd | wc -l; grep -E '^Sig(Blk|Ign)' /proc/self/status",
                                  stdin=subprocess.DEVNULL)
    assert session.recv() == "4", "0, 1, 2, and the directory"
    assert [int(session.recv().split()[1], 16) for _ in range(2)] == [0, 0]
    assert process.wait(scaled(10)) == DONE


def test_exec_command_not_found(ticker):
    """A command that cannot be run is told, and the status is not 0."""
    daemon, _ = ticker
    result = daemon.client("exec", "a", "--", "/no/such/program")
    assert result.code != 0 and "/no/such/program" in result.err, result
    daemon.wait_open("a", timeout=1)


# --- the user's own instance --------------------------------------------------------------------


def test_cat_url_starts_a_user_instance(user_instance, node_echo):
    """"`cat URL` ... start a user instance of the daemon when none answers (as ssh starts a master),
    which ends by itself when nothing is left to hold." """
    user = user_instance
    assert user.daemon_pid() is None
    result = user.run("wspipe", "cat", node_echo.url, input="".join(f"{i}\n" for i in range(1000)))
    assert result.code == DONE, result
    assert result.out.split() == [str(i) for i in range(1000)]
    eventually(lambda: user.daemon_pid() is None, 20, "the instance ends by itself")


def test_open_starts_a_user_instance(user_instance, server):
    """The same with `open`; the instance lives as long as the connection."""
    user = user_instance
    result = user.run("wspipe", "open", "b", server.url)
    assert result.code == DONE, result
    session = server.session()
    pid = user.daemon_pid()
    assert pid and os.getpgid(pid) != os.getpgid(0), "Ctrl-C in the shell must not end it"
    assert user.run("wspipe", "send", "b", "hello").code == DONE
    assert session.recv() == "hello"
    assert user.daemon_pid() == pid
    assert user.run("wspipe", "close", "b").code == DONE
    eventually(lambda: user.daemon_pid() is None, 20, "the instance ends by itself")


def test_no_daemon_option(user_instance, server):
    """"`--no-daemon` makes them fail instead." """
    for args in (("cat", "--no-daemon", server.url), ("open", "--no-daemon", "b", server.url)):
        result = user_instance.run("wspipe", *args)
        assert result.code == NO_DAEMON, result
    assert user_instance.daemon_pid() is None and not server.sessions


def test_ten_at_once_share_one_instance(user_instance, node_echo):
    """Clients that start at the same moment find one daemon, and each its own connection."""
    user = user_instance
    children = [user.spawn("wspipe", "cat", node_echo.url, stdin=subprocess.PIPE,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(10)]
    for i, child in enumerate(children):
        out, err = child.communicate(f"I am {i}\n".encode(), scaled(20))
        assert (child.returncode, out) == (DONE, f"I am {i}\n".encode()), err
    eventually(lambda: user.daemon_pid() is None, 20, "the instance ends by itself")


# --- stop, and the control socket's own robustness ----------------------------------------------


def test_stop(ticker):
    """`stop` closes properly and ends the daemon with 0."""
    daemon, session = ticker
    assert daemon.client("stop").code == DONE
    assert daemon.wait_exit() == 0
    assert session.wait_closed()[0] in (1000, 1001)
    assert daemon.client("status").code == NO_DAEMON


def test_nonsense_on_the_control_socket(ticker):
    """"Nothing from ... a local program ... can crash the daemon or make it spin." """
    daemon, session = ticker
    nonsense = [b"", b"\n", b"\0" * 1000, b"{", b"{}\n", b"[]\n", b'{"verb":1}\n', b"GET / HTTP/1.1\r\n\r\n",
                b'{"version":999,"verb":"status"}\n', b'{"version":1,"verb":"no-such"}\n',
                b'{"version":1,"verb":"recv"}\n', b"[" * 100000 + b"\n", b"x" * (3 << 20)]
    for data in nonsense:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(scaled(5))
            sock.connect(str(daemon.run_dir / "control"))
            try:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65536):
                    pass
            except (BrokenPipeError, ConnectionResetError):
                pass
    idle = []
    for _ in range(50):  # connected, silent
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(daemon.run_dir / "control"))
        idle.append(sock)
    daemon.put("a", "alive")
    assert session.recv() == "alive"
    for sock in idle:
        sock.close()
    daemon.wait_open("a", timeout=2)
