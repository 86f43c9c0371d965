"""Real servers that others wrote, each through FIFOs and a socket, as in the README."""

import hashlib
import json
import os

import pytest

import servers
from harness import FAST, MIB, eventually, scaled, section


def conversation(daemon, name="a"):
    """Lines through `in` and `out`, through `sock`, and by the client, against an echoing server."""
    daemon.wait_open(name)
    with daemon.open_out(name) as out:
        daemon.put(name, *[f"line {i} \u2603" for i in range(200)])
        assert out.lines(200) == [f"line {i} \u2603" for i in range(200)]
        with daemon.listener(name) as client:
            client.write("by sock\n")
            assert client.line() == "by sock" == out.line()
        assert daemon.client("send", name, "by client").code == 0
        assert out.line() == "by client"
    eventually(lambda: daemon.path(name, "last").read_text().rstrip("\n") == "by client")


def test_python_websockets(daemon, make_server):
    """python3-websockets with its defaults: compression offered, pings, limits."""
    server = make_server(servers.PyServer, echo=True, compression="deflate", ping_interval=0.5)
    daemon.start(section("a", server.url))
    conversation(daemon)
    daemon.stop()
    assert server.session().wait_closed()[0] in (1000, 1001)


@pytest.mark.parametrize("deflate", (False, True), ids=("plain", "deflate"))
def test_node_ws(daemon, make_server, deflate):
    """node's ws: a greeting right behind the handshake, text and binary, a megabyte, a restart."""
    server = make_server(servers.NodeEcho, deflate=deflate)
    daemon.start(section("a", server.url + "hello", *FAST) + section("b", server.url,
                 "framing = length"))
    with daemon.open_out("a") as out:
        assert out.line() == "hello from node"
    conversation(daemon)
    with daemon.listener("b") as client:
        data = os.urandom(MIB)
        record = (len(data) | 1 << 31).to_bytes(4, "big") + data
        client.write(record)
        assert client.exactly(len(record)) == record
    server.restart()
    with daemon.open_out("a") as out:
        assert out.line() == "hello from node"
    conversation(daemon)


def test_websocketd_cat(daemon, make_server):
    """websocketd running `cat`."""
    server = make_server(servers.Websocketd)
    daemon.start(section("a", server.url))
    conversation(daemon)


def test_websocketd_program_that_ends(daemon, make_server):
    """websocketd closes when its program ends; the connection is made again."""
    server = make_server(servers.Websocketd, "sh", "-c", "echo one; read -r x; echo \"$x\"")
    daemon.start(section("a", server.url, *FAST))
    with daemon.open_out("a") as out:
        assert out.line() == "one"
        daemon.put("a", "two")
        assert out.lines(2) == ["two", "one"]


@pytest.mark.parametrize("scheme", ("ws", "wss"))
def test_nginx(daemon, make_server, node_echo, pki, scheme):
    """nginx as a reverse proxy, plain and TLS, in front of node: the same conversation."""
    nginx = make_server(servers.Nginx, node_echo.port, pki)
    url = nginx.wss() if scheme == "wss" else nginx.ws()
    daemon.start(section("a", url, f"cacert = {pki.cert('ca')}", *FAST))
    conversation(daemon)
    nginx.restart()
    daemon.wait_open("a")
    conversation(daemon)


def test_nginx_backend_down(daemon, make_server, node_echo, pki):
    """The backend is gone: nginx answers 502, and when it is back we are, too."""
    nginx = make_server(servers.Nginx, node_echo.port, pki)
    daemon.start(section("a", nginx.ws(), *FAST))
    daemon.wait_open("a")
    node_echo.stop()
    eventually(lambda: daemon.status("a")["http_status"] == 502)
    node_echo.start()
    conversation(daemon)


def test_aria2_download(daemon, make_server, tmp_path):
    """"aria2's JSON-RPC (a real download started by a line written to a FIFO, its notifications read
    from another)." """
    (tmp_path / "www").mkdir()
    data = os.urandom(3 * MIB)
    (tmp_path / "www" / "file.bin").write_bytes(data)
    files = make_server(servers.FileServer, tmp_path / "www")
    aria2 = make_server(servers.Aria2)
    daemon.start(section("aria2", aria2.url))
    daemon.wait_open("aria2")
    request = {"jsonrpc": "2.0", "id": "from-a-shell", "method": "aria2.addUri",
               "params": [[files.url + "file.bin"]]}
    reader = daemon.spawn_shell("""
        while IFS= read -r line; do
            printf '%s\\n' "$line"
            case $line in *onDownloadComplete*|*onDownloadError*) exit;; esac
        done < aria2/out""")
    (tmp_path / "request").write_text(json.dumps(request) + "\n")
    assert daemon.shell(f"cat {tmp_path}/request > aria2/in").code == 0
    out, _ = reader.communicate(timeout=scaled(30))
    messages = [json.loads(line) for line in out.decode().splitlines()]
    reply = next(m for m in messages if m.get("id") == "from-a-shell")
    methods = [m["method"] for m in messages if "method" in m]
    assert methods == ["aria2.onDownloadStart", "aria2.onDownloadComplete"]
    assert messages[-1]["params"][0]["gid"] == reply["result"]
    got = (tmp_path / "downloads" / "file.bin").read_bytes()
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
