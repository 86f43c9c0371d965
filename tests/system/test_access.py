"""The `access` key: who else may use a connection, by ACL and by the peer's credentials."""

import os
import shutil
import socket
import stat
import subprocess

import pytest

from harness import USAGE, WSPIPE, eventually, scaled, section

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to act as another user")

NOBODY = 65534


@pytest.fixture
def shared(daemon):
    """A daemon whose directories others may search, as below /run/wspipe."""
    os.makedirs(daemon.run_dir, exist_ok=True)
    for path in (daemon.home, daemon.run_dir):
        os.chmod(path, 0o755)
    return daemon


def as_nobody(script, **kw):
    return subprocess.run(["bash", "-c", script], user=NOBODY, group=NOBODY, extra_groups=[],
                          capture_output=True, text=True, timeout=scaled(20), **kw)


def as_nobody_connected(path):
    """A socket that `nobody` has connected to PATH (in a child, so its credentials count)."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    script = ("import array, socket, sys\n"
              "s = socket.socket(socket.AF_UNIX)\n"
              "s.connect(sys.argv[1])\n"
              "o = socket.socket(fileno=0)\n"
              "o.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [s.fileno()]))])\n")
    child = subprocess.Popen(["/usr/bin/python3", "-c", script, path], stdin=theirs, user=NOBODY,
                             group=NOBODY, extra_groups=[], stderr=subprocess.PIPE)
    theirs.close()
    ours.settimeout(scaled(10))
    _, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4))
    ours.close()
    child.communicate(timeout=scaled(10))
    assert ancillary, "it could not connect"
    fd = int.from_bytes(ancillary[0][2][:4], "little")
    sock = socket.socket(fileno=fd)
    sock.settimeout(scaled(10))
    return sock


def test_nobody_else_without_it(shared, echo):
    """"everybody else but the owner is kept out (files are made 0600, directories 0700)"."""
    shared.start(section("a", echo.url))
    shared.wait_open("a")
    directory = shared.path("a")
    assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
    assert as_nobody(f"cat {directory}/status").returncode != 0
    assert as_nobody(f"echo x > {directory}/in").returncode != 0


def test_both_directions(shared, echo):
    """`user:NAME` may read and write, through FIFOs, files and the socket."""
    shared.start(section("a", echo.url, "access = user:nobody"))
    shared.wait_open("a")
    directory = shared.path("a")
    result = as_nobody(f"echo hello > {directory}/in && timeout {scaled(10)} head -n1 {directory}/out")
    assert result.stdout == "hello\n", result
    eventually(lambda: as_nobody(f"cat {directory}/last").stdout == "hello\n")
    with as_nobody_connected(f"{directory}/sock") as sock:
        sock.sendall(b"by socket\n")
        assert sock.recv(100) == b"by socket\n"


def test_read_only(shared, echo):
    """`:read` gives one direction: what such a client writes is not sent, and it is missed when it goes."""
    shared.start(section("a", echo.url, "access = user:nobody:read"))
    shared.wait_open("a")
    directory = shared.path("a")
    assert as_nobody(f"echo x > {directory}/in").returncode != 0
    with as_nobody_connected(f"{directory}/sock") as sock:
        sock.sendall(b"not allowed\n")
        shared.put("a", "from the owner")
        assert sock.recv(100) == b"from the owner\n"
        assert len(shared.readers("a", "sock")) == 1
    eventually(lambda: not shared.readers("a", "sock"), what="it is gone")
    assert shared.status("a")["sent"]["messages"] == 1


def test_write_only(shared, echo):
    """`:write` likewise."""
    shared.start(section("a", echo.url, "access = user:nobody:write"))
    shared.wait_open("a")
    directory = shared.path("a")
    assert as_nobody(f"cat {directory}/status").returncode != 0
    with shared.open_out("a") as out:
        assert as_nobody(f"echo written > {directory}/in").returncode == 0
        assert out.line() == "written"


def test_taken_away_by_a_reload(shared, echo):
    """A reload narrows it: who was let in by the old configuration is not by the new one."""
    shared.start(section("a", echo.url, "access = user:nobody"))
    shared.wait_open("a")
    directory = shared.path("a")
    assert as_nobody(f"cat {directory}/status").returncode == 0
    shared.write_config(section("a", echo.url))
    assert shared.reload().code == 0
    assert as_nobody(f"cat {directory}/status").returncode != 0
    assert as_nobody(f"echo x > {directory}/in").returncode != 0


def test_latest(shared, server):
    """Readers may list latest/ and read what is in it; writers may not, nor who was let in before."""
    shared.start(section("a", server.url, "access = user:nobody:read", "latest = /s"))
    path = shared.path("a", "latest")
    server.session().send('{"s":"A"}', '{"s":"B"}')
    eventually(lambda: sorted(os.listdir(path)) == ["A", "B"])
    assert as_nobody(f"cd {path} && cat *").stdout == '{"s":"A"}\n{"s":"B"}\n'
    assert as_nobody(f"echo x > {path}/A; rm -f {path}/B").returncode != 0
    assert as_nobody(f"touch {path}/C").returncode != 0
    for access in ("access = user:nobody:write", "access = user:root"):
        shared.write_config(section("a", server.url, access, "latest = /s"))
        assert shared.reload().code == 0
        eventually(lambda: sorted(os.listdir(path)) == ["A", "B"])
        assert as_nobody(f"ls {path}").returncode != 0
        assert as_nobody(f"cat {path}/A").returncode != 0


@pytest.mark.parametrize("key,value", [("file", "/tmp/never"), ("token-command", "touch %s"), ("login", "touch %s"),
                                       ("on-message", "touch %s"), ("on-state", "touch %s"),
                                       *[(key, "%s") for key in ("header-file", "token-file", "on-open-file",
                                                                 "cacert", "capath", "cert", "key")]])
def test_operators_do_not_become_the_daemon(shared, server, key, value):
    """Who may give orders on the control socket does not get the rights of the daemon's user by that."""
    program, mark = shared.home / "wspipe", shared.home / "mark"
    shutil.copy(WSPIPE, program)
    os.chmod(program, 0o755)
    shared.start("[daemon]\naccess = user:nobody\n")
    value = value.replace("%s", str(mark))
    command = f"{program} --runtime-dir {shared.run_dir} open --no-daemon b {server.url}"
    result = as_nobody(f"{command} --{key} '{value}'")
    assert result.returncode == USAGE and f"{key}: only root" in result.stderr, result
    result = as_nobody(command)
    assert result.returncode == 0, result
    server.session()
    assert not mark.exists() and not os.path.exists("/tmp/never")


def test_operators_do_not_reach_local_sockets(shared):
    """A server on a Unix socket would see the daemon's user: that is none of an operator's."""
    program, path = shared.home / "wspipe", shared.home / "private.sock"
    shutil.copy(WSPIPE, program)
    os.chmod(program, 0o755)
    shared.start("[daemon]\naccess = user:nobody\n")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.setblocking(False)
        result = as_nobody(f"{program} --runtime-dir {shared.run_dir} open --no-daemon b WS+unix:{path}:/")
        assert result.returncode == USAGE and "url: only root" in result.stderr, result
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_operators_for_one_direction(shared, server):
    """`:write` sends and gives orders, and reads nothing by the way of *cat* or *request*; `:read` the reverse."""
    program = shared.home / "wspipe"
    shutil.copy(WSPIPE, program)
    os.chmod(program, 0o755)

    def refused(*verbs):
        for verb in verbs:
            result = as_nobody(f"{program} --runtime-dir {shared.run_dir} {verb} </dev/null")
            assert result.returncode == USAGE and "you may not do that here" in result.stderr, (verb, result)
            assert result.stdout == "", verb

    config = section("a", server.url, "id = /id")
    shared.start("[daemon]\naccess = user:nobody:write\n" + config)
    shared.wait_open("a")
    server.session().send("secret")
    refused("recv a --last 1 --no-follow", "cat a -1 -n", "request a '{}'", "status a", "wait a")
    assert as_nobody(f"{program} --runtime-dir {shared.run_dir} send a x").returncode == 0
    assert server.session().recv() == "x"
    shared.write_config("[daemon]\naccess = user:nobody:read\n" + config)
    assert shared.reload().code == 0
    refused("send a x", "cat a -1 -n", "request a '{}'", "close a", "pause a", "reload", "stop")
    result = as_nobody(f"{program} --runtime-dir {shared.run_dir} recv a --last 1 --no-follow")
    assert result.stdout == "secret\n", result
