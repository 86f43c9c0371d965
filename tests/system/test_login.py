"""`login`: a command has the connection to itself before it is open."""

import base64
import hashlib
import json
import os
import pathlib
import shutil
import stat
import textwrap

import pytest

import servers
from harness import DONE, FAST, ROOT, TIMED_OUT, VALGRIND, eventually, section
from peer import TEXT, close_frame

pytestmark = pytest.mark.skipif(VALGRIND, reason="valgrind 3.19 has no pidfd_open(2)")

SECRET = "correct-horse-battery"


def script(path, text):
    path.write_text("#!/bin/bash\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def is_gone(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


def cause(daemon, text, name="a"):
    eventually(lambda: text in str(daemon.status(name)["cause"]), what=text)
    return daemon.status(name)


def test_challenge_and_response(daemon, make_server, tmp_path):
    """The example of the manual: sha256 of challenge and password.  Then on-open, then the queue; what
    the script has not read is for the readers."""
    (tmp_path / "password").write_text(SECRET)
    login = script(tmp_path / "login", f"""
        set -eu
        read -r hello
        challenge=${{hello#challenge }}
        answer=$(printf '%s%s' "$challenge" "$(cat {tmp_path}/password)" | sha256sum)
        printf 'answer %s\\n' "${{answer%% *}}"
        read -r verdict
        [ "$verdict" = welcome ] || exit 77
    """)
    server = make_server(servers.PyServer, greeting=["challenge 4711"])
    daemon.start(section("a", server.url, f"login = {login}", "on-open = subscribe", *FAST))
    session = server.session()
    daemon.put("a", "queued early")
    want = hashlib.sha256(("4711" + SECRET).encode()).hexdigest()
    assert session.recv() == f"answer {want}"
    assert session.got_nothing(), "neither on-open nor the queue before the login is done"
    assert daemon.status("a")["state"] == "connecting"
    assert daemon.client("wait", "a", "--timeout", "200ms").code == TIMED_OUT
    with daemon.open_out("a") as out:
        session.send("welcome", "first for all", "second")
        daemon.wait_open("a")
        assert session.recv_many(2) == ["subscribe", "queued early"]
        assert out.lines(2) == ["first for all", "second"]
        session.send("third")
        assert out.line() == "third"
    places = daemon.log + json.dumps(daemon.status("a"))
    assert SECRET not in places and "welcome" not in places
    # and again at the next connect
    session.abort()
    assert server.session(1).recv() == f"answer {want}"
    server.session(1).send("welcome")
    daemon.wait_open("a")


def test_exit_status(daemon, make_server, tmp_path):
    """Others than 0 fail the attempt: 77 as a refusal, which is retried slowly; the rest soon."""
    server = make_server(servers.PyServer)
    flag = tmp_path / "status"
    flag.write_text("exit 3")
    daemon.start(section("a", server.url, f'login = . {flag}', "on-open = never", *FAST))
    status = cause(daemon, "login ended with status 3")
    assert status["cause_class"] == "login"
    session = server.session()
    assert session.wait_closed()[0] == 1000
    assert session.got_nothing(0.1)
    server.session(2)  # soon again, and again
    flag.write_text("kill -9 $$")
    cause(daemon, "login was ended by signal 9")
    flag.write_text("exit 77")
    cause(daemon, "login ended with status 77")
    daemon.signal(15)
    daemon.wait_exit()
    daemon.process = None
    flag.write_text("exit 77")
    daemon.start(section("a", server.url, f'login = . {flag}', "reconnect-delay = 100ms",
                         "reconnect-max = 40s"))
    cause(daemon, "login ended with status 77")
    assert daemon.status("a")["retry_in_ms"] > 30000
    flag.write_text("exit 0")
    assert daemon.client("reconnect", "a").code == DONE
    daemon.wait_open("a")


def test_timeout_kills_all(daemon, server, tmp_path):
    """connect-timeout covers it; the command and what it has started are killed."""
    pids = tmp_path / "pids"
    login = script(tmp_path / "login", f"sleep 1000 & echo $$ $! >{pids}.new\n"
                                       f"mv {pids}.new {pids}\nread -r never\n")
    daemon.start(section("a", server.url, f"login = {login}", "connect-timeout = 1500ms",
                         "reconnect = never"))
    daemon.wait_state("a", "failed")
    status = daemon.status("a")
    assert "while waiting for the command of login to end" in status["cause"]
    assert status["cause_class"] == "timeout"
    for pid in pids.read_text().split():
        eventually(lambda pid=pid: is_gone(pid), what=f"{pid} has ended")


@pytest.mark.parametrize("how", ["server", "pause", "close", "reload", "stop"])
def test_attempt_ends_first(daemon, server, tmp_path, how):
    """The server goes, or somebody here wants something else: no command stays."""
    pids = tmp_path / "pids"
    login = script(tmp_path / "login", f"echo $$ >{pids}.new; mv {pids}.new {pids}; read -r go\n")
    daemon.start(section("a", server.url, f"login = {login}", *FAST))
    eventually(pids.exists)
    pid = pids.read_text().strip()
    pids.unlink()
    if how == "server":
        server.session().close(4003, "no")
        eventually(pids.exists, what="another attempt")
        assert daemon.status("a")["close_code"] == 4003
    elif how == "pause":
        assert daemon.client("pause", "a").code == DONE
        daemon.wait_state("a", "closed")
    elif how == "close":
        assert daemon.client("close", "a").code == DONE
    elif how == "reload":
        daemon.write_config(section("a", server.url, "login = true", *FAST))
        assert daemon.reload().code == DONE
        daemon.wait_open("a")
    else:
        assert daemon.stop() in (0, None)
    eventually(lambda: is_gone(pid), what=f"{pid} has ended")


def test_what_was_not_read_goes_to_all(daemon, make_server, tmp_path):
    """Many messages while it runs, far more than a pipe holds: each is the command's or the readers',
    in order, and none is lost or given twice."""
    count = 3000
    server = make_server(servers.PyServer)
    read, go = tmp_path / "read", tmp_path / "go"
    os.mkfifo(go)
    login = script(tmp_path / "login", f"""
        : >{tmp_path}/runs; read -r _ <{go}
        for i in 1 2 3 4 5 6 7 8 9 10; do read -r line; echo "${{line:0:5}}" >>{read}; done
    """)
    daemon.start(section("a", server.url, f"login = {login}"))
    session = server.session()
    eventually((tmp_path / "runs").exists)
    done = session.flood(count, lambda i: f"{i:05d}" + "x" * 1000)
    session.ping()
    with daemon.open_out("a") as out:
        go.write_text("\n")
        lines = [line[:5] for line in out.lines(count - 10, timeout=30)]
    assert done.result(30) == count
    assert read.read_text().split() + lines == [f"{i:05d}" for i in range(count)]


def test_reads_more_than_is_kept(daemon, server, tmp_path):
    """What the command has read makes room for more."""
    login = script(tmp_path / "login", "sed -u -n '30{s/x//g;p;q}'\n")
    daemon.start(section("a", server.url, f"login = {login}"))
    session = server.session()
    done = session.flood(31, lambda i: f"{i:05d}" + "x" * 100000)
    assert session.recv(40) == "00029"
    daemon.wait_open("a")
    assert done.result(30) == 31
    with daemon.open_out("a") as out:
        assert out.line()[:5] == "00030"


def test_bound_of_what_is_not_read(daemon, make_server, tmp_path):
    """Who reads nothing gets no more than a bounded part of it into our memory."""
    server = make_server(servers.PyServer)
    go = tmp_path / "go"
    os.mkfifo(go)
    login = script(tmp_path / "login", f": >{tmp_path}/runs; read -r _ <{go}\n")
    daemon.start(section("a", server.url, f"login = {login}"))
    eventually((tmp_path / "runs").exists)
    session = server.session()
    count = 400
    done = session.flood(count, lambda i: f"{i:05d}" + "x" * 100000)
    with daemon.open_out("a") as out:
        # 40 MB: neither the sockets nor the daemon take it
        eventually(lambda: daemon.status("a")["received"]["messages"] >= 3)
        assert not done.done()
        assert daemon.status("a")["received"]["messages"] < 200
        go.write_text("\n")
        got = []
        while not got or got[-1] != f"{count - 1:05d}":
            got.append(out.line(40)[:5])
        assert got == [f"{i:05d}" for i in range(count)]
    assert done.result(30) == count


def test_large_and_many_from_the_command(daemon, make_server, tmp_path):
    """What it writes is sent in order, all of it, also what it wrote just before it ended and what
    has no end of line."""
    login = script(tmp_path / "login", """
        head -c 3000000 /dev/zero | tr '\\0' A; echo
        for i in $(seq 500); do echo "n $i"; done
        printf last
    """)
    server = make_server(servers.PyServer)
    daemon.start(section("a", server.url, f"login = {login}", "on-open = behind"))
    session = server.session()
    assert session.recv(30) == "A" * 3000000
    assert session.recv_many(502, 30) == [f"n {i}" for i in range(1, 501)] + ["last", "behind"]
    daemon.wait_open("a")


def test_background_process_does_not_hold_it_up(daemon, server, tmp_path):
    """The end of the shell is the end, though something has its output still open."""
    login = script(tmp_path / "login", f"sleep 300 & echo $! >{tmp_path}/pid\necho hello\nexit 0\n")
    daemon.start(section("a", server.url, f"login = {login}"))
    daemon.wait_open("a")
    assert server.session().recv() == "hello"
    os.kill(int((tmp_path / "pid").read_text()), 9)


def test_refused_record(daemon, make_server, tmp_path):
    """A message that cannot be sent fails the attempt rather than wait for an answer to it."""
    server = make_server(servers.PyServer)
    login = script(tmp_path / "login", "printf '\\377\\n'; read -r never\n")
    daemon.start(section("a", server.url, f"login = {login}", *FAST))
    status = cause(daemon, "login wrote a message that is not UTF-8")
    assert status["cause_class"] == "login"


def test_environment_and_framing(daemon, make_server, tmp_path):
    """WSPIPE_NAME and WSPIPE_URL, no password and no token; the framing of the connection."""
    server = make_server(servers.PyServer)
    (tmp_path / "token").write_text(SECRET)
    login = script(tmp_path / "login", f"env >{tmp_path}/env; printf 'two\\nlines\\0'\n"
                                       "IFS= read -r -d '' reply; echo grumble $reply >&2\n")
    daemon.start(section("a", server.url.replace("//", "//ann:" + SECRET + "@"),
                         f"login = {login}", f"token-file = {tmp_path}/token",
                         "header = X-Token: @token@", "framing = nul"),
                 env={"LISTEN_FDS": "7", "JOURNAL_STREAM": "1:1", "WSPIPE_TYPE": "stale"})
    assert server.session().recv() == "two\nlines"
    server.session().send("well\ndone")
    daemon.wait_open("a")
    env = (tmp_path / "env").read_text()
    assert "WSPIPE_NAME=a\n" in env and f"WSPIPE_URL={server.url}\n" in env
    assert "WSPIPE_HOOK=login\n" in env and "WSPIPE_STATE=connecting\n" in env
    assert "WSPIPE_HTTP_STATUS=101\n" in env and "WSPIPE_CLOSE_CODE=\n" in env
    assert not any(x in env for x in ("LISTEN_", "JOURNAL_STREAM", "WSPIPE_TYPE"))
    assert SECRET not in env
    eventually(lambda: "a: login: grumble well done\n" in daemon.log)


def test_by_the_client(daemon, make_server, tmp_path):
    """`wspipe open --login`, and `wspipe cat URL --login`."""
    server = make_server(servers.PyServer)
    login = script(tmp_path / "login", "echo let me in; read -r ok\n")
    daemon.start("")
    assert daemon.client("open", "b", server.url, "--login", str(login)).code == DONE
    assert server.session().recv() == "let me in"
    server.session().send("ok")
    daemon.wait_open("b")
    assert daemon.client("close", "b").code == DONE
    assert server.session().wait_closed()


def test_not_open_while_it_runs(daemon, server, tmp_path):
    """`status` says connecting; `send --confirm` and the like wait as for any other attempt."""
    go = tmp_path / "go"
    os.mkfifo(go)
    daemon.start(section("a", server.url, f"login = read -r _ <{go}"))
    server.session()
    assert daemon.status("a")["state"] == "connecting"
    assert daemon.status_file("a")["state"] == "connecting"
    go.write_text("\n")
    daemon.wait_open("a")


def test_example_of_the_manual(daemon, make_server, tmp_path):
    """The script for obs-websocket in wspipe.conf(5), as it stands there."""
    for program in ("jq", "openssl"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    page = (ROOT / "conf" / "wspipe.conf.5.scd").read_text()
    text = page[page.index("\t#!/bin/bash"):]
    text = textwrap.dedent(text[:text.index("\t```")])
    (tmp_path / "obs.password").write_text(SECRET + "\n")
    login = tmp_path / "obs-login"
    login.write_text(text.replace("/etc/wspipe", str(tmp_path)))
    login.chmod(0o700)

    def sha(one, two):
        return base64.b64encode(hashlib.sha256((one + two).encode()).digest()).decode()
    hello = {"op": 0, "d": {"rpcVersion": 1, "authentication": {"salt": "S+/=", "challenge": "C"}}}
    server = make_server(servers.PyServer, greeting=[json.dumps(hello)])
    daemon.start(section("a", server.url, f"login = {login}", *FAST))
    got = json.loads(server.session().recv())
    assert got["op"] == 1 and got["d"]["authentication"] == sha(sha(SECRET, "S+/="), "C")
    server.session().close(4009, "Authentication failed.")
    server.session(1).recv()
    server.session(1).send('{"op":2,"d":{"negotiatedRpcVersion":1}}')
    daemon.wait_open("a")


def test_not_on_another_origin(daemon, server, peer):
    """Where another server has sent us nobody is told what a login knows."""
    def script(c):
        c.read_head()
        c.send(f"HTTP/1.1 302 Found\r\nLocation: {server.url}\r\n\r\n".encode())
        c.expect_eof()
    daemon.start(section("a", peer(script).url, f"login = echo {SECRET}", "max-redirects = 1",
                         "reconnect = never"))
    daemon.wait_state("a", "failed")
    assert "another origin, which login is not run for" in daemon.status("a")["cause"]
    assert not server.sessions


def test_little_memory(daemon, make_server, tmp_path):
    """What the command has not read, and there is no memory for, is lost as everywhere else: counted,
    and told to the readers."""
    server = make_server(servers.PyServer)
    go = tmp_path / "go"
    os.mkfifo(go)
    login = script(tmp_path / "login", f": >{tmp_path}/runs; read -r _ <{go}\n")
    daemon.start("[daemon]\nmemory = 1M\n" + section("a", server.url, f"login = {login}"))
    eventually((tmp_path / "runs").exists)
    count = 1200
    server.session().flood(count, lambda i: f"{i:05d}" + "x" * 2000)
    with daemon.open_out("a") as out:
        eventually(lambda: daemon.status("a")["received"]["messages"] > 400)
        go.write_text("\n")
        got = []
        while not got or got[-1] != f"{count - 1:05d}":
            got.append(out.line(40)[:5])
        assert got == sorted(set(got))
        lost = count - len(got)
        assert lost > 0 and daemon.status("a")["dropped"]["messages"] == lost
        assert [x["missed"] for x in daemon.readers("a", "out")] == [lost]


def test_done_after_the_close(daemon, peer, tmp_path):
    """All is well for the command, but the server has said Close meanwhile: it never was open."""
    go = tmp_path / "go"
    os.mkfifo(go)

    def run(c):
        c.good()
        c.expect_frame(TEXT, b"hi")
        c.send(close_frame(4003, "no"))
        c.expect_close(4003)
        go.write_text("\n")
        c.swallow()
    login = script(tmp_path / "login", f"echo hi; read -r _ <{go}\n")
    daemon.start(section("a", peer(run).url, f"login = {login}", "reconnect = never"))
    daemon.wait_state("a", "failed")
    assert daemon.status("a")["close_code"] == 4003
    assert "open:" not in daemon.log
