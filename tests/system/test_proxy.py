"""Through proxies: real ones, and scripted ones that do things wrong."""

import pytest

import proxies
import servers
from harness import DONE, FAST, USAGE, eventually, free_port, section

ALL = [(proxies.Tinyproxy, "http"), (proxies.Squid, "http"), (proxies.Microsocks, "socks5h"),
       (proxies.Microsocks, "socks5"), (proxies.Dante, "socks5h"), (proxies.Dante, "socks5")]
WITH_LOGIN = ALL[:3] + ALL[4:5]
IDS = [f"{kind.__name__.lower()}-{scheme}" for kind, scheme in ALL]


def cause_of(daemon, name="a"):
    """The cause of the first failure."""
    return eventually(lambda: daemon.status(name)["cause"], what="a cause")


# --- real ones ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind, scheme", ALL, ids=IDS)
@pytest.mark.parametrize("login", (False, True), ids=("open", "password"))
@pytest.mark.parametrize("tls", (False, True), ids=("ws", "wss"))
def test_real(daemon, make_server, pki, kind, scheme, login, tls):
    """ws and wss through each proxy, with and without a password, messages both ways."""
    proxy = make_server(kind, **({"user": "ann", "password": "s3cret"} if login else {}))
    context = servers.server_tls(pki, "localhost") if tls else None
    server = make_server(servers.PyServer, echo=True, tls=context)
    daemon.start(section("a", server.url, f"proxy = {proxy.at(scheme)}", f"cacert = {pki.cert('ca')}",
                         *FAST))
    daemon.wait_open("a")
    with daemon.open_out("a") as out:
        daemon.put("a", "x" * 100000, "two")
        assert out.lines(2) == ["x" * 100000, "two"]
    status, text = daemon.status("a"), daemon.status_file("a")
    assert status["address"] == f"127.0.0.1:{proxy.port}" == text["address"]
    assert status["proxy"] == f"{scheme}://127.0.0.1:{proxy.port}" == text["proxy"]
    headers = server.session().headers
    assert "Proxy-Authorization" not in headers and "Authorization" not in headers
    assert "s3cret" not in daemon.log
    assert "s3cret" not in str(daemon.status("a"))


@pytest.mark.parametrize("kind, scheme", WITH_LOGIN, ids=IDS[:3] + IDS[4:5])
def test_real_wrong_password(daemon, make_server, server, kind, scheme):
    """It is told that it is the proxy's fault, and not hammered."""
    proxy = make_server(kind, user="ann", password="s3cret")
    bad = proxy.at(scheme).replace("s3cret", "wr0ng")
    daemon.start(section("a", server.url, f"proxy = {bad}", "reconnect-delay = 100ms",
                         "reconnect-max = 5s"))
    cause = cause_of(daemon)
    assert f"proxy 127.0.0.1:{proxy.port}" in str(cause) and "refuses our user" in str(cause)
    assert "proxy" in daemon.log and "wr0ng" not in daemon.log
    status = daemon.status("a")
    assert status["state"] == "waiting" and status["retry_in_ms"] > 3000
    assert not server.sessions


@pytest.mark.parametrize("kind, scheme", WITH_LOGIN, ids=IDS[:3] + IDS[4:5])
def test_real_no_password(daemon, make_server, server, kind, scheme):
    proxy = make_server(kind, user="ann", password="s3cret")
    daemon.start(section("a", server.url, f"proxy = {proxy.at(scheme, login=False)}"))
    cause = str(cause_of(daemon))
    assert "asks for: Basic" in cause or "without a password" in cause


@pytest.mark.parametrize("kind, words", ((proxies.Tinyproxy, "HTTP 403"),
                                         (proxies.Squid, "HTTP 403"),
                                         (proxies.Dante, "not allowed by its rules")))
def test_real_forbidden(daemon, make_server, server, kind, words):
    proxy = make_server(kind, allow=False)
    daemon.start(section("a", server.url, f"proxy = {proxy.at()}"))
    assert words in str(cause_of(daemon))


@pytest.mark.parametrize("kind, scheme", ALL, ids=IDS)
def test_real_server_down_and_back(daemon, make_server, kind, scheme):
    """The server is gone: the proxy says so, and when it is back we are, too."""
    proxy = make_server(kind)
    server = make_server(servers.PyServer, echo=True)
    daemon.start(section("a", server.url, f"proxy = {proxy.at(scheme)}", "reconnect-delay = 100ms",
                         "reconnect-max = 300ms"))
    daemon.wait_open("a")
    server.stop()
    eventually(lambda: f"proxy 127.0.0.1:{proxy.port}" in str(daemon.status("a")["cause"]))
    server.start()
    eventually(lambda: daemon.status("a")["state"] == "open", 20)
    proxy.stop()
    eventually(lambda: "cannot connect to the proxy 127.0.0.1" in str(daemon.status("a")["cause"]))
    proxy.start()
    eventually(lambda: daemon.status("a")["state"] == "open", 20)


def test_certificate_is_the_servers(daemon, make_server, pki):
    """The name that TLS verifies is that of the url, whoever carries it."""
    proxy = make_server(proxies.Tinyproxy)
    good = make_server(servers.PyServer, tls=servers.server_tls(pki, "localhost"))
    bad = make_server(servers.PyServer, tls=servers.server_tls(pki, "elsewhere"))
    common = (f"proxy = {proxy.at()}", f"cacert = {pki.cert('ca')}")
    daemon.start(section("a", good.url, *common) + section("b", bad.url, *common))
    daemon.wait_open("a")
    assert "certificate" in str(cause_of(daemon, "b"))


def test_no_proxy_in_status(daemon, server):
    """The address is the server's own, and no proxy is named."""
    daemon.start(section("a", server.url, "proxy = none"))
    daemon.wait_open("a")
    assert daemon.status("a")["address"] == f"127.0.0.1:{server.port}"
    assert daemon.status("a")["proxy"] is None and daemon.status_file("a")["proxy"] == ""


# --- scripted ones ------------------------------------------------------------------------------


def tunnel(c, answer="HTTP/1.1 200 OK\r\n\r\n", **kw):
    """Be an HTTP proxy and then the server."""
    c.read_head()
    c.expect_silence(0.1)  # nothing more before the answer
    connect, fields = c.head, c.fields
    c.send(answer.encode(), **kw)
    c.head = None
    c.good()
    return connect, fields


# --- the client's environment -------------------------------------------------------------------


def test_environment(daemon, make_server, peer):
    """`cat URL` passes on what its environment says, as curl reads it."""
    heads = []

    def script(c):
        heads.append(tunnel(c)[0])
        c.echo()
    p = peer(script)
    echo = make_server(servers.PyServer, echo=True)
    proxy = f"http://127.0.0.1:{p.port}"
    daemon.start("")

    def cat(*args, **env):
        before = len(heads)
        result = daemon.client("cat", echo.url, *args, input="hello\n", env=env)
        assert result.code == DONE and result.out == "hello\n", result
        return len(heads) > before
    assert cat(http_proxy=proxy)
    assert heads[-1] == f"CONNECT 127.0.0.1:{echo.port} HTTP/1.1"
    assert cat(all_proxy=f"127.0.0.1:{p.port}")
    assert cat("--proxy", "env", ws_proxy=proxy, http_proxy="http://127.0.0.1:1")
    assert cat("-x", proxy)
    assert not cat("--proxy", "none", http_proxy=proxy)
    assert not cat("--proxy", "env")


def test_environment_of_open(daemon, peer, server):
    """`open` makes it an option of the connection; the daemon's own environment does not count."""
    def script(c):
        tunnel(c)
        c.echo()
    p = peer(script)
    proxy = f"http://127.0.0.1:{p.port}"
    dead = f"http://127.0.0.1:{free_port()}"
    daemon.start(section("conf", server.url), env={"http_proxy": dead, "all_proxy": dead})
    daemon.wait_open("conf")
    assert daemon.client("open", "a", "ws://server.example/", env={"http_proxy": proxy}).code == 0
    daemon.wait_open("a")
    result = daemon.client("open", "b", "ws://server.example/", env={"http_proxy": "https://u:s3c@h"})
    assert result.code == USAGE and "https://***@h" in result.err and "s3c" not in result.err
