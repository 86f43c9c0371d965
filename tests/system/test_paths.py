"""How a connection gets to its server: redirects, one handshake at a time to each host, and what the
answers of a real nginx come to."""

import email.utils
import re
import threading
import time

import pytest

import servers
from harness import eventually, section

SECRETS = ("header = X-Key: s3cret", "header = Authorization: Bearer s3cret", "cookie = c=s3cret",
           "user-agent = mine/1")


# --- redirects ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ("/moved", "/relative"))
@pytest.mark.parametrize("scheme", ("ws", "wss"))
def test_redirect_is_followed(daemon, make_server, echo, pki, path, scheme):
    """nginx answers 301 or 307, and what stands behind it is a python3-websockets server.  /moved leads from
    wss to ws, which is never followed."""
    nginx = make_server(servers.Nginx, echo.port, pki)
    url = nginx.ws(path) if scheme == "ws" else nginx.wss(path)
    daemon.start(section("a", url, "max-redirects = 3", f"cacert = {pki.cert('ca')}", *SECRETS))
    if path == "/moved" and scheme == "wss":
        status = daemon.wait_state("a", "waiting")
        assert status["cause"] == (f"HTTP 301 redirects to {nginx.ws('/ws')} "
                                   "(from wss to ws, which is not followed)")
        assert not echo.sessions
        return
    status = daemon.wait_state("a", "open")
    assert status["url"] == url
    assert status["redirected_to"] == (nginx.ws() if scheme == "ws" else nginx.wss())
    headers = echo.session().headers
    assert headers["X-Key"] == "s3cret" and headers["Cookie"] == "c=s3cret"  # the same origin
    with daemon.listener("a") as sock:
        sock.write("over there\n")
        assert sock.line() == "over there"


def test_another_origin_gets_no_credentials(daemon, make_server, echo, pki, tmp_path):
    nginx = make_server(servers.Nginx, echo.port, pki)
    (tmp_path / "headers").write_text("X-From-File: s3cret\n")
    url = nginx.ws("/elsewhere").replace("ws://", "ws://ann:s3cret@")
    daemon.start(section("a", url, "max-redirects = 1", f"header-file = {tmp_path}/headers",
                         "subprotocol = chat", *SECRETS))
    status = daemon.wait_state("a", "open")
    session = echo.session()
    assert "s3cret" not in "".join(f"{k}: {v}" for k, v in session.headers.raw_items()
                                   if k not in ("Host",)), session.headers
    assert session.path == "/there?key=s3cret"  # that is what the server said
    assert session.headers["User-Agent"] == "mine/1"
    assert status["redirected_to"] == f"ws://127.0.0.1:{echo.port}/there..."
    session.abort()
    echo.session(1)
    daemon.wait_open("a")
    assert "s3cret" not in daemon.log + daemon.client("status", "a").out
    assert daemon.log.count("redirected (HTTP 302) to") == 2  # begins at its url again


def test_redirects_off_and_too_many(daemon, make_server, echo, pki):
    nginx = make_server(servers.Nginx, echo.port, pki)
    daemon.start(section("off", nginx.ws("/elsewhere")) +
                 section("loop", nginx.ws("/loop"), "max-redirects = 4"))
    off, loop = daemon.wait_state("off", "waiting"), daemon.wait_state("loop", "waiting")
    assert off["cause"] == (f"HTTP 302 redirects to ws://127.0.0.1:{echo.port}/there... "
                            "(max-redirects is 0)")
    assert loop["cause"] == f"HTTP 302 redirects to {nginx.ws('/loop')} (max-redirects is 4)"
    assert loop["http_status"] == 302 and loop["redirected_to"] is None
    assert daemon.log.count("redirected (HTTP 302) to") == 4
    assert off["retry_in_ms"] > 30000 and loop["retry_in_ms"] > 30000
    assert not echo.sessions


@pytest.mark.parametrize("location,words", (
    ("", "without saying where"),
    ("Location: \r\n", "Location that is empty"),
    ("Location: /a\r\nLocation: /b\r\n", "without saying where"),
    ("Location: gopher://x/s3cret\r\n", "does not begin with ws://"),
    ("Location: ws+unix:/s3cret\r\n", "names a Unix socket"),
    ("Location: http://x:99999/s3cret\r\n", "port outside"),
    ("Location: http://[::1/s3cret\r\n", "without its closing"),
))
def test_bad_locations(daemon, peer, location, words):
    def script(c):
        c.read_head()
        c.send(f"HTTP/1.1 302 Found\r\n{location}Content-Length: 0\r\n\r\n".encode())
    daemon.start(section("a", peer(script).url, "max-redirects = 5"))
    status = daemon.wait_state("a", "waiting")
    assert status["cause_class"] == "http" and words in status["cause"], status
    assert "s3cret" not in daemon.log


def test_connect_to_is_for_the_configured_host_only(daemon, peer, echo):
    def script(c):
        c.read_head()
        assert c.field("host") == ["example.invalid"]
        c.send(f"HTTP/1.1 301 Moved\r\nLocation: ws://127.0.0.1:{echo.port}/x\r\n\r\n".encode())
    p = peer(script)
    daemon.start(section("a", "ws://example.invalid/", f"connect-to = 127.0.0.1:{p.port}",
                         "max-redirects = 1"))
    daemon.wait_open("a")
    assert echo.session().path == "/x"


def test_redirects_share_one_connect_timeout(daemon, peer):
    """A server that sends us round and round, slowly, and then says nothing."""
    def again(c):
        c.read_head()
        c.wait(0.3)
        c.send(b"HTTP/1.1 302 Found\r\nLocation: again\r\n\r\n")
    p = peer(again)
    daemon.start(section("a", p.url, "max-redirects = 20", "connect-timeout = 2s"))
    status = daemon.wait_state("a", "waiting")
    assert status["cause_class"] == "timeout", status
    assert len(p.connections) < 12


# --- one at a time ------------------------------------------------------------------------------


class Doorman:
    """Scripts that count how many connections are in the middle of their handshake."""

    def __init__(self):
        self.lock = threading.Lock()
        self.inside = self.most = 0

    def __call__(self, c):
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        c.read_head()
        c.wait(0.01)
        with self.lock:
            self.inside -= 1
        c.good()
        c.echo()


def test_one_handshake_at_a_time(daemon, peer):
    """RFC 6455 4.1: 50 connections to one host come up one by one, each as soon as the one before is
    open."""
    doorman = Doorman()
    p = peer(doorman)
    names = [f"c{i}" for i in range(50)]
    daemon.start("".join(section(n, f"{p.url}{n}", "endpoints = status") for n in names))
    daemon.wait_open(*names, timeout=20)
    assert doorman.most == 1
    assert len(p.connections) == 50


def test_a_host_that_hangs(daemon, peer, echo):
    """The others wait for their turn, which comes after connect-timeout at the latest; other hosts do not
    wait at all."""
    hung = peer(lambda c: c.stall(), lambda c: c.good().echo())
    daemon.start(section("a", hung.url, "connect-timeout = 5s", "reconnect = never"))
    hung.wait_connections(1)
    daemon.write_config(section("a", hung.url, "connect-timeout = 5s", "reconnect = never") +
                        section("b", hung.url, "connect-timeout = 5s") + section("other", echo.url))
    assert daemon.reload().code == 0
    daemon.wait_open("other")
    status = daemon.status("b")
    assert status["state"] == "connecting"
    assert status["step"] == f"waiting for its turn at 127.0.0.1:{hung.port}"
    assert daemon.status("a")["step"] == "waiting for the answer to the handshake"
    daemon.wait_open("b", timeout=20)
    assert daemon.status("a")["state"] == "failed"
    assert "timed out after 5000 ms" in daemon.status("a")["cause"]
    assert daemon.status("b")["step"] is None


def test_orders_to_those_who_wait(daemon, peer, echo):
    """Close, reconnect, another url and removal, while another one is connecting to the same host."""
    hung = peer(lambda c: c.stall())
    conf = {n: section(n, hung.url, "connect-timeout = 1h") for n in "abcde"}
    daemon.start("".join(conf.values()))
    hung.wait_connections(1)
    holder = eventually(lambda: [n for n in "abcde" if "turn" not in
                                 str(daemon.status(n)["step"])], 5, "one has its turn")[0]
    first, second, third, fourth = [n for n in "abcde" if n != holder]
    assert daemon.client("close", first).code == 0
    assert daemon.status(first)["state"] == "closed"
    assert daemon.client("reconnect", second).code == 0
    assert "turn" in daemon.status(second)["step"]
    conf[third] = section(third, echo.url)
    del conf[fourth]
    daemon.write_config("".join(conf.values()))
    assert daemon.reload().code == 0
    daemon.wait_open(third)
    eventually(lambda: fourth not in daemon.status_all(), 5, "it is gone")
    assert len(hung.connections) == 1
    assert daemon.client("close", holder).code == 0
    hung.wait_connections(2)
    assert "turn" not in daemon.status(second)["step"]
    daemon.stop()


def test_redirected_to_a_host_that_is_busy(daemon, peer):
    """The turn is that of the host which is connected to now."""
    hung = peer(lambda c: c.stall(), lambda c: c.good().echo())

    def script(c):
        c.read_head()
        c.send(f"HTTP/1.1 302 Found\r\nLocation: {hung.url}\r\n\r\n".encode())
    door = peer(script)
    daemon.start(section("a", hung.url, "connect-timeout = 1h"))
    hung.wait_connections(1)
    daemon.write_config(section("a", hung.url, "connect-timeout = 1h") +
                        section("b", door.url, "max-redirects = 1", "connect-timeout = 20s"))
    assert daemon.reload().code == 0
    eventually(lambda: daemon.status("b")["step"] == f"waiting for its turn at 127.0.0.1:{hung.port}", 5)
    assert daemon.status("b")["redirected_to"] == hung.url
    assert daemon.client("close", "a").code == 0
    daemon.wait_open("b")


# --- answers ------------------------------------------------------------------------------------


def announced_delay(daemon, name):
    return eventually(lambda: [float(x) for x in re.findall(
        rf"{name}: .*trying again in ([0-9.]+) s", daemon.log)], 10, f"{name} says when")[0]


def test_answers_of_nginx(daemon, make_server, echo, pki):
    """The status is told, and decides when the next attempt is made."""
    date = email.utils.formatdate(time.time() + 600, usegmt=True)
    past = email.utils.formatdate(time.time() - 600, usegmt=True)
    after = ("7", date, "0", "999999", past, "soon")
    bounds = {0: (7, 7.8), 1: (500, 660), 2: (1, 1.2), 3: (3600, 3960.1), 4: (1, 1.2)}
    slow, floor = (60, 66.1), (5, 7.6)
    nginx = make_server(servers.Nginx, echo.port, pki, retry_after=after)
    expected = {f"s{n}": (n, f"/answer/{n}", slow) for n in (400, 401, 403, 404, 410, 426, 451)}
    expected.update({f"s{n}": (n, f"/answer/{n}", floor) for n in (429, 503)})
    for status in (429, 503):
        expected.update({f"s{status}-{i}": (status, f"/answer/{status}/{i}", bounds.get(i, floor))
                         for i in range(len(after))})
    daemon.start("".join(section(name, nginx.ws(path), "endpoints = status", "reconnect-delay = 1s",
                                 "reconnect-max = 60s")
                         for name, (_, path, _) in expected.items()))
    for name, (status, _, (least, most)) in expected.items():
        delay = announced_delay(daemon, name)
        told = daemon.status(name)
        assert told["http_status"] == status and f"HTTP {status}" in told["cause"], told
        assert least <= delay <= most, (name, delay)
    assert not echo.sessions
