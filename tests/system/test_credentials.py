"""Tokens, header files and greetings from files and commands: read again at each connect, shown
nowhere."""

import base64
import os
import pathlib

import pytest

import servers
from harness import DONE, FAST, USAGE, VALGRIND, eventually, section

runs_commands = pytest.mark.skipif(VALGRIND, reason="valgrind 3.19 has no pidfd_open(2)")

SECRETS = ("s3cret-one", "s3cret-two", "s3cret-head")


def assert_nothing_shown(daemon, name="a"):
    places = [daemon.log, str(daemon.status(name)), daemon.client("ls").out,
              daemon.path(name, "status").read_text()]
    places += [pathlib.Path(f"/proc/{daemon.pid}/{part}").read_bytes().decode("latin-1")
               for part in ("cmdline", "environ")]
    for secret in SECRETS:
        assert not [place for place in places if secret in place], secret


def test_files_again_at_each_connect(daemon, make_server, tmp_path):
    """"@token@" in headers, url and `on-open`; another token and other files after a reconnect."""
    server = make_server(servers.PyServer)
    token, headers, greetings = (tmp_path / n for n in ("token", "headers", "greetings"))

    def write(word):
        token.write_text(word + "\n")
        headers.write_text(f"X-Secret: s3cret-head\nX-Word: {word[-3:]}\n\nX-Token: @token@\n")
        greetings.write_text(f'{{"from":"file","token":"@token@"}}\n\nlast {word[-3:]}\n')

    def check(word):
        session = server.session()
        assert session.path == f"/feed?token={word}"
        got = session.headers
        assert got["Authorization"] == f"Bearer {word}" and got["X-Token"] == word
        assert got["X-Secret"] == "s3cret-head" and got["X-Word"] == word[-3:]
        assert got["Cookie"] == f"id={word}"
        assert session.recv_many(4) == ["first", f'{{"token":"{word}"}}',
                                        f'{{"from":"file","token":"{word}"}}', f"last {word[-3:]}"]
    write("s3cret-one")
    daemon.start(section("a", server.url + "feed?token=@token@", f"token-file = {token}",
                         "header = Authorization: Bearer @token@", "cookie = id=@token@",
                         f"header-file = {headers}", "on-open = first",
                         'on-open = {"token":"@token@"}', f"on-open-file = {greetings}", *FAST))
    daemon.wait_open("a")
    check("s3cret-one")
    assert daemon.status("a")["url"].endswith("/feed?token=@token@")
    assert_nothing_shown(daemon)
    write("s3cret-two")
    server.session().abort()
    server.session(1)
    check("s3cret-two")
    daemon.put("a", "and on")
    assert server.session().recv() == "and on"
    assert_nothing_shown(daemon)


def test_failures(daemon, server, tmp_path):
    """The attempt fails and names the file and the line; when it is mended, all goes on."""
    token, headers = tmp_path / "token", tmp_path / "headers"
    daemon.start(section("a", server.url, f"token-file = {token}", f"header-file = {headers}",
                         "user = ann:@token@", *FAST))

    def cause(text):
        eventually(lambda: text in str(daemon.status("a")["cause"]), what=text)
        assert daemon.status("a")["cause_class"] == "local"
        assert not server.sessions
    cause(f"token-file {token} No such file or directory")
    token.write_text("s3cret-one\ns3cret-two\n")
    cause(f"token-file {token} gave a token with a line break")
    token.write_text("s3cret-one")
    cause(f"header-file {headers} No such file or directory")
    headers.write_text("A: b\ns3cret-head\n")
    cause(f"header-file {headers} line 2 is not of the form")
    assert_nothing_shown(daemon)
    headers.write_text("A: b\n")
    daemon.wait_open("a")
    expected = base64.b64encode(b"ann:s3cret-one").decode()
    assert server.session().headers["Authorization"] == f"Basic {expected}"
    assert_nothing_shown(daemon)


def test_credentials_directory(daemon, server, tmp_path):
    """Relative names: $CREDENTIALS_DIRECTORY goes first, then beside the configuration."""
    directory = tmp_path / "credentials"
    directory.mkdir()
    (directory / "both").write_text("credential")
    (tmp_path / "both").write_text("beside")
    (tmp_path / "headers").write_text("X-Token: @token@")
    daemon.start(section("a", server.url, "token-file = both", "header-file = headers"),
                 env={"CREDENTIALS_DIRECTORY": str(directory)})
    daemon.wait_open("a")
    assert server.session().headers["X-Token"] == "credential"
    daemon.stop()
    daemon.process = None
    daemon.start()
    daemon.wait_open("a")
    assert server.session().headers["X-Token"] == "beside"


@runs_commands
def test_command(daemon, make_server, tmp_path):
    """The first line of its output, asked for at each connect."""
    server = make_server(servers.PyServer)
    count = tmp_path / "count"
    command = f"echo >> {count}; echo s3cret-$(wc -l < {count}); echo more"
    daemon.start(section("a", server.url, "header = X-Token: @token@", f"token-command = {command}",
                         *FAST))
    daemon.wait_open("a")
    assert server.session(0).headers["X-Token"] == "s3cret-1"
    server.session(0).abort()
    assert server.session(1).headers["X-Token"] == "s3cret-2"
    assert_nothing_shown(daemon)


@runs_commands
def test_command_that_hangs(daemon, make_server, tmp_path):
    """connect-timeout ends it, with all it has started, and nobody else has to wait."""
    server = make_server(servers.PyServer, echo=True)
    pid = tmp_path / "pid"
    daemon.start(section("a", server.url, f"token-command = sleep 1000 & echo $! > {pid}; wait",
                         "connect-timeout = 1s", "reconnect-delay = 1min") +
                 section("b", server.url))
    eventually(lambda: pid.read_text().strip())
    daemon.wait_open("b")
    with daemon.listener("b") as client:
        client.write("hello\n")
        assert client.line() == "hello"
    eventually(lambda: "while waiting for token-command" in str(daemon.status("a")["cause"]))

    def gone():
        try:
            return pathlib.Path(f"/proc/{int(pid.read_text())}/stat").read_text().split()[2] == "Z"
        except FileNotFoundError:
            return True
    eventually(gone)
    children = pathlib.Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text()
    assert not children.strip()


@runs_commands
def test_command_that_fails(daemon, server):
    daemon.start(section("a", server.url, "token-command = echo s3cret-one; echo oh >&2; exit 3",
                         *FAST))
    eventually(lambda: "token-command ended with status 3" in str(daemon.status("a")["cause"]))
    assert not server.sessions
    assert "a: token-command: oh\n" in daemon.log
    assert_nothing_shown(daemon)


@runs_commands
def test_command_complains_a_lot(daemon, server, tmp_path):
    """Of one run 100 lines are logged; and it knows nothing of what the service manager told the daemon."""
    env = tmp_path / "env"
    command = f"env > {env}; seq 1 1000 >&2; echo s3cret-one"
    daemon.start(section("a", server.url, "header = X-Token: @token@", f"token-command = {command}"),
                 env={"LISTEN_FDS": "7", "JOURNAL_STREAM": "1:1", "WATCHDOG_PID": "1"})
    daemon.wait_open("a")
    assert "a: token-command: 100\n" in daemon.log and "a: token-command: 101\n" not in daemon.log
    assert "a: token-command: 900 more lines\n" in daemon.log
    assert not any(x in env.read_text() for x in ("LISTEN_", "JOURNAL_STREAM", "WATCHDOG_"))
    assert_nothing_shown(daemon)


def test_client(daemon, make_server, tmp_path):
    """Relative names are relative to the working directory."""
    server = make_server(servers.PyServer, echo=True)
    (tmp_path / "token").write_text("s3cret-one\n")
    daemon.start("")
    result = daemon.client("cat", server.url, "--token-file", os.path.relpath(tmp_path / "token"),
                           "-H", "X-Token: @token@", input="hello\n")
    assert result.code == DONE and result.out == "hello\n", result
    assert server.session().headers["X-Token"] == "s3cret-one"
    result = daemon.client("cat", server.url, "--token-file", "/none", input="")
    assert "token-file /none No such file or directory" in result.err and result.code


def test_faults(daemon):
    result = daemon.check(section("a", "ws://h/", "token-file = x", "token-command = s3cret-one"))
    assert result.code == USAGE and "cannot be used together" in result.err + result.out
    assert "s3cret" not in result.err + result.out
