"""Connecting, staying connected, and connecting again."""

import base64
import os
import signal

import pytest

import servers
from harness import FAST, eventually, free_port, scaled, section


# --- the request --------------------------------------------------------------------------------


def test_what_the_server_sees(daemon, make_server):
    """`header`, `origin`, `user-agent`, `cookie`, `subprotocol` reach the server; what it picked is in
    `status`."""
    server = make_server(servers.PyServer, subprotocols=["v2.example", "v1.example"])
    daemon.start(section("a", server.url + "some/path?q=1", "header = X-One: first: value",
                         "header = X-Two:second", "origin = https://app.example",
                         "user-agent = tests/1.0", "cookie = id=42; theme=dark",
                         "subprotocol = v1.example"))
    daemon.wait_open("a")
    session = server.session()
    assert session.path == "/some/path?q=1"
    headers = session.headers
    assert headers["X-One"] == "first: value" and headers["X-Two"] == "second"
    assert headers["Origin"] == "https://app.example"
    assert headers["User-Agent"] == "tests/1.0"
    assert headers["Cookie"] == "id=42; theme=dark"
    assert headers["Host"] == f"127.0.0.1:{server.port}"
    assert session.subprotocol == "v1.example" == daemon.status("a")["subprotocol"]


def test_defaults_that_the_server_sees(daemon, server):
    """`user-agent` is wspipe/VERSION; nothing else is sent unasked."""
    daemon.start(section("a", server.url))
    daemon.wait_open("a")
    headers = server.session().headers
    assert headers["User-Agent"] == "wspipe/0.1.0"
    for name in ("Origin", "Cookie", "Authorization", "Sec-WebSocket-Protocol"):
        assert name not in headers


def test_subprotocols_in_order_of_preference(daemon, peer):
    """The list goes out in its order; the server may pick one or none."""
    def none(c):
        c.good()
        assert [x.strip() for v in c.field("sec-websocket-protocol") for x in v.split(",")] == \
            ["c", "a", "b"]
        c.echo()

    def second(c):
        c.good("Sec-WebSocket-Protocol: a")
        c.echo()
    p = peer(none, second)
    daemon.start(section("a", p.url, "subprotocol = c", "subprotocol = a", "subprotocol = b"))
    daemon.wait_open("a")
    assert not daemon.status("a")["subprotocol"]
    daemon.client("reconnect", "a")
    p.wait_connections(2)
    eventually(lambda: daemon.status("a")["subprotocol"] == "a")


def test_subprotocol_not_asked_for(daemon, peer):
    """"picking another fails the handshake." """
    def script(c):
        c.good("Sec-WebSocket-Protocol: other")
        c.expect_eof()
    p = peer(script)
    daemon.start(section("a", p.url, "subprotocol = mine"))
    p.wait_finished()
    status = daemon.wait_state("a", "waiting", "failed")
    assert "protocol" in str(status["cause"]).lower()


def test_basic_auth(daemon, server):
    """"userinfo becomes Basic auth", percent-decoded; so does `user`."""
    url = server.url.replace("ws://", "ws://ann:p%40ss@")
    daemon.start(section("a", url) + section("b", server.url + "b", "user = bob:with:colon"))
    daemon.wait_open("a", "b")
    got = {s.path: s.headers["Authorization"] for s in server.sessions}
    assert got == {"/": "Basic " + base64.b64encode(b"ann:p@ss").decode(),
                   "/b": "Basic " + base64.b64encode(b"bob:with:colon").decode()}
    assert "ann" not in server.session().headers["Host"]


def test_unix_socket_url(daemon, make_server, tmp_path):
    """`ws+unix:/path/to.sock:/request/path`."""
    server = make_server(servers.PyServer, unix=str(tmp_path / "server.sock"), echo=True)
    daemon.start(section("a", f"ws+unix:{tmp_path}/server.sock:/request/path?x=1"))
    daemon.wait_open("a")
    assert server.session().path == "/request/path?x=1"
    with daemon.listener("a") as client:
        client.write("hello\n")
        assert client.line() == "hello"


def test_host_names_and_address_families(daemon, server):
    """A name is resolved; where ::1 does not answer and 127.0.0.1 does, the latter is found."""
    daemon.start(section("a", f"ws://localhost:{server.port}/"))
    daemon.wait_open("a")
    assert server.session().headers["Host"] == f"localhost:{server.port}"
    assert "127.0.0.1" in daemon.status("a")["address"]


def test_name_that_does_not_exist(daemon):
    """A name that cannot be resolved is the cause that is shown, and retried."""
    daemon.start(section("a", "ws://no-such-host.invalid/"))
    status = daemon.wait_state("a", "waiting", timeout=30)
    assert "no-such-host.invalid" in str(status["cause"])


# --- on-open, queues, reconnects ----------------------------------------------------------------


def test_reconnects_and_loses_nothing_that_was_queued(daemon, echo):
    """The server's restart is survived; "a message accepted for sending is sent once, in order"."""
    daemon.start(section("a", echo.url, *FAST))
    daemon.wait_open("a")
    daemon.put("a", "before")
    assert echo.session().recv() == "before"
    echo.stop(politely=True)
    daemon.wait_state("a", "waiting", "connecting")
    daemon.put("a", *[f"queued {i}" for i in range(500)])
    eventually(lambda: daemon.status("a")["queue"]["messages"] == 500)
    echo.start()
    with daemon.listener("a") as client:
        daemon.put("a", "after")
        session = echo.session(1)
        want = [f"queued {i}" for i in range(500)] + ["after"]
        assert session.recv_many(501) == want
        while client.line() != "after":
            pass
    assert session.got_nothing()
    assert daemon.status("a")["reconnects"] == 1


def test_queue_before_the_first_connection(daemon):
    """What is written before the server exists waits for it."""
    port = free_port()
    daemon.start(section("a", f"ws://127.0.0.1:{port}/", *FAST))
    daemon.put("a", "early 1", "early 2")
    server = servers.PyServer(port=port).start()
    try:
        assert server.session().recv_many(2) == ["early 1", "early 2"]
    finally:
        server.stop()


def test_r10_on_open_comes_first_at_each_open(daemon):
    """`on-open`: "list of messages sent first at each open, before anything queued"."""
    port = free_port()
    daemon.start(section("a", f"ws://127.0.0.1:{port}/", 'on-open = {"op":"hello"}',
                         "on-open = second = with ; odd # bytes", *FAST))
    hello = ['{"op":"hello"}', "second = with ; odd # bytes"]
    daemon.put("a", "queued 1", "queued 2")
    server = servers.PyServer(port=port).start()
    try:
        assert server.session().recv_many(4) == hello + ["queued 1", "queued 2"]
        server.stop()
        daemon.wait_state("a", "waiting")
        daemon.put("a", "queued 3")
        server = servers.PyServer(port=port).start()
        assert server.session().recv_many(3) == hello + ["queued 3"]
        for number in (1, 2):
            server.session().abort()
            assert server.session(number).recv_many(2) == hello
    finally:
        server.stop()


def test_reconnect_never(daemon, server):
    """`reconnect = never`: one connection, then it stays down."""
    daemon.start(section("a", server.url, "reconnect = never", *FAST))
    daemon.wait_open("a")
    server.session().abort()
    status = daemon.wait_state("a", "closed", "failed")
    assert status["close_code"] == 1006
    with pytest.raises(AssertionError):
        server.session(1, timeout=0.7)


def test_reconnect_on_failure(daemon, server):
    """`on-failure (not after a clean 1000/1001 close)`."""
    daemon.start(section("a", server.url, "reconnect = on-failure", *FAST))
    daemon.wait_open("a")
    server.session(0).abort()
    server.session(1).close(4000)
    server.session(2).close(1000, "enough")
    status = daemon.wait_state("a", "closed")
    assert (status["close_code"], status["close_reason"]) == (1000, "enough")
    with pytest.raises(AssertionError):
        server.session(3, timeout=0.7)


@pytest.mark.parametrize("code", (1000, 1001, 1008, 1011, 1012, 1013, 1014, 3000, 4000, 4999))
def test_close_codes_and_reasons(daemon, server, code):
    """`close_code`, `close_reason` and `cause` tell how it ended, in `status` and the status file."""
    daemon.start(section("a", server.url, "reconnect = never"))
    daemon.wait_open("a")
    server.session().close(code, "the r\u00e9ason")
    status = daemon.wait_state("a", "closed", "failed")
    assert (status["close_code"], status["close_reason"]) == (code, "the r\u00e9ason")
    assert server.session().wait_closed()[0] == code, "the code is echoed"
    assert daemon.status_file("a")["close_code"] == str(code)
    assert str(code) in daemon.client("status", "a").out


def test_ping_keeps_alive_and_answers(daemon, make_server):
    """Our pings are sent at `ping-interval`, the server's are answered."""
    server = make_server(servers.PyServer, ping_interval=0.2, ping_timeout=scaled(2))
    daemon.start(section("a", server.url, "ping-interval = 100ms", "ping-timeout = 5s"))
    daemon.wait_open("a")
    for _ in range(20):
        server.session().ping()
    eventually(lambda: daemon.status("a")["rtt_ms"])
    assert len(server.sessions) == 1 and daemon.status("a")["state"] == "open"


def test_s11_dead_peer_is_found(daemon, node_echo):
    """A server that is stopped (SIGSTOP) is found dead by `ping-timeout`, idle or with data in
    flight, and connected again when it is back."""
    daemon.start(section("a", node_echo.url, "ping-interval = 200ms", "ping-timeout = 500ms",
                         "connect-timeout = 1s", *FAST))
    daemon.wait_open("a")
    pid = node_echo.process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        daemon.put("a", "into the void")
        status = daemon.wait_state("a", "waiting", "connecting")
        assert "tim" in str(status["cause"]).lower() or "ping" in str(status["cause"]).lower()
    finally:
        os.kill(pid, signal.SIGCONT)
    daemon.wait_open("a")
    with daemon.listener("a") as client:
        client.write("back\n")
        while client.line() != "back":
            pass


# --- TLS ----------------------------------------------------------------------------------------


def test_wss_with_our_authority(daemon, make_server, echo, pki):
    """`wss` through nginx with `cacert`: verified, TLS 1.2 or newer, and shown in `status`."""
    nginx = make_server(servers.Nginx, echo.port, pki)
    daemon.start(section("a", nginx.wss(), f"cacert = {pki.cert('ca')}"))
    daemon.wait_open("a")
    assert "TLSv1." in str(daemon.status("a")["tls"])
    with daemon.listener("a") as client:
        client.write("secret\n")
        assert client.line() == "secret"
        big = "tls" * 700000
        client.write(big + "\n")
        assert client.line(20) == big


def test_insecure(daemon, make_server, pki):
    """"`insecure` logs a warning at each connect", and connects."""
    server = make_server(servers.PyServer, tls=servers.server_tls(pki, "expired"))
    daemon.start(section("a", server.url, "insecure = yes", *FAST))
    daemon.wait_open("a")
    warnings = sum("insecure" in x or "not verified" in x for x in daemon.log.splitlines())
    assert warnings >= 1
    server.session().abort()
    server.session(1)
    eventually(lambda: sum("insecure" in x or "not verified" in x
                           for x in daemon.log.splitlines()) > warnings)


# --- answers that are not 101 -------------------------------------------------------------------


@pytest.mark.parametrize("path,code,word", (("/auth", 401, "bearer"), ("/down", 503, ""),
                                            ("/moved", 301, "/ws")))
def test_http_answers(daemon, make_server, echo, pki, path, code, word):
    """301, 401 and 503 from nginx: `http_status`, a cause that says it, no connection; redirects are
    not followed by default."""
    nginx = make_server(servers.Nginx, echo.port, pki)
    daemon.start(section("a", nginx.ws(path), *FAST))
    status = daemon.wait_state("a", "waiting", "failed")
    assert status["http_status"] == code
    assert str(code) in str(status["cause"]) and word in str(status["cause"]).lower()
    assert not echo.sessions


def test_401_goes_slowly_and_503_is_tried_again(daemon, peer):
    """"what time cannot mend (401...) goes slowly"; `Retry-After` is respected, then it connects."""
    def unauthorized(c):
        c.read_head()
        c.send(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")

    def busy(c):
        c.read_head()
        c.send(b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")

    def good(c):
        c.good()
        c.echo()
    slow, back = peer(unauthorized), peer(busy, good)
    daemon.start(section("slow", slow.url, "reconnect-delay = 100ms", "reconnect-max = 5s")
                 + section("back", back.url, *FAST))
    daemon.wait_open("back")
    assert daemon.status("back")["http_status"] == 101
    assert daemon.status("slow")["http_status"] == 401
    assert len(slow.connections) == 1, "401 was tried again within about a second"
    assert daemon.client("reconnect", "slow").code == 0
    slow.wait_connections(2)


def test_basic_auth_at_nginx(daemon, make_server, echo, pki):
    """A real Basic auth: right password open, wrong one 401."""
    nginx = make_server(servers.Nginx, echo.port, pki)
    daemon.start(section("right", nginx.ws("/basic"), "user = ann:s3cret")
                 + section("wrong", nginx.ws("/basic"), "user = ann:nonsense"))
    daemon.wait_open("right")
    assert daemon.wait_state("wrong", "waiting", "failed")["http_status"] == 401
