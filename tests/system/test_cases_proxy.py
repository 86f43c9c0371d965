"""What proxies do right and wrong, by scripts: numbered P01 to P21.  Real ones are in test_proxy.py.

A proxy has no time limit of its own: connect-timeout covers the whole attempt.  And nothing is given up
for good: what time does not mend is tried again slowly."""

import base64
import socket
import struct
import time

import pytest

from harness import DONE, FAST, USAGE, eventually, free_port, scaled, section
from peer import TEXT
from test_proxy import cause_of, tunnel

LOGIN = "bob:pr%40xy@"
SLOWLY = ("reconnect-delay = 100ms", "reconnect-max = 20s")


def through(p, url="ws://server.example/", *lines, scheme="http", login="", pace=SLOWLY):
    return section("a", url, f"proxy = {scheme}://{login}127.0.0.1:{p.port}", *lines, *pace)


def fails(daemon, p, *words, slow):
    """The cause names the proxy and says the words; tried again soon or slowly; one attempt asked once."""
    cause = cause_of(daemon)
    status = daemon.status("a")
    assert f"proxy 127.0.0.1:{p.port}" in cause and status["cause_class"] == "proxy", status
    for word in words:
        assert word in cause, (word, cause)
    if slow:
        assert status["state"] == "waiting" and status["retry_in_ms"] > 5000, status
        assert len(p.connections) == 1
    else:
        p.wait_connections(2)


def answering(peer, answer, **kw):
    def script(c):
        c.read_head()
        c.send(answer if isinstance(answer, bytes) else answer.encode(), **kw)
    return peer(script)


# --- HTTP CONNECT -------------------------------------------------------------------------------


@pytest.mark.parametrize("url, target", (
    ("ws://server.example/", "server.example:80"), ("ws://server.example:81/x", "server.example:81"),
    ("ws://SERVER.example", "server.example:80")))
def test_p01_connect(daemon, peer, url, target):
    """CONNECT host:port with the port, also for ws; the request is sent only behind the 200."""
    seen = []

    def script(c):
        seen.append(tunnel(c))  # expects silence before its answer
        c.echo()
    p = peer(script)
    daemon.start(through(p, url))
    daemon.wait_open("a")
    assert seen[0] == (f"CONNECT {target} HTTP/1.1", [("host", target)])


def test_p01_connect_for_wss(daemon, peer):
    """The port is 443, and TLS begins only behind the 200."""
    hellos = []

    def script(c):
        c.read_head()
        assert c.head == "CONNECT server.example:443 HTTP/1.1"
        c.expect_silence(0.1)
        c.send(b"HTTP/1.1 200 OK\r\n\r\n")
        hellos.append(take(c, 3))
        c.stall()
    p = peer(script)
    daemon.start(through(p, "wss://server.example/"))
    eventually(lambda: hellos)
    assert hellos[0][:2] == b"\x16\x03"


@pytest.mark.parametrize("answer", (
    "HTTP/1.1 200 Connection established\r\n\r\n",
    "HTTP/1.1 200 OK\r\nVia: 1.1 tests\r\nX-Cache: MISS\r\nDate: now\r\n\r\n",
    "HTTP/1.0 200 Connection established\r\nProxy-agent: tests\r\n\r\n", "HTTP/1.1 200 \r\n\r\n"))
@pytest.mark.parametrize("drip", (None, 1), ids=("at once", "dripped"))
def test_p02_ways_to_say_yes(daemon, peer, answer, drip):
    def script(c):
        tunnel(c, answer, drip=drip)
        c.echo()
    p = peer(script)
    daemon.start(through(p))
    daemon.wait_open("a")


@pytest.mark.parametrize("answer", (
    "HTTP/1.1 201 Created\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 299 Other\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"))
def test_p03_any_2xx_without_a_body(daemon, peer, answer):
    """Any 2xx is a tunnel, and begins at once: a length in it means nothing (RFC 9110 9.3.6)."""
    def script(c):
        tunnel(c, answer)
        c.frame(TEXT, b"hello")
        c.echo()
    p = peer(script)
    daemon.start(through(p))
    with daemon.open_out("a") as out:
        assert out.line() == "hello"


@pytest.mark.parametrize("more", ("m", "HTTP/1.1 101 Switching Protocols\r\n\r\n"))
def test_p04_bytes_behind_the_answer(daemon, peer, more):
    """Nobody behind the proxy speaks first."""
    p = answering(peer, "HTTP/1.1 200 OK\r\n\r\n" + more)
    daemon.start(through(p))
    fails(daemon, p, "bytes behind its answer", slow=True)


def test_p05_407_without_credentials(daemon, peer):
    """It says what it asks for, and goes slowly."""
    p = answering(peer, 'HTTP/1.1 407 Who\r\nProxy-Authenticate: Digest realm="x", qop=auth\r\n'
                        'Proxy-Authenticate: Basic realm="x"\r\n\r\n')
    daemon.start(through(p))
    fails(daemon, p, "HTTP 407", "it asks for: Digest, Basic", slow=True)


def test_p05_407_with_credentials(daemon, peer):
    """They were sent at once, so there is nothing more to try."""
    p = answering(peer, 'HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic realm="x"\r\n\r\n')
    daemon.start(through(p, login=LOGIN))
    fails(daemon, p, "refuses our user and password", slow=True)
    assert "pr@xy" not in daemon.log and "pr%40xy" not in daemon.log


def test_p06_what_the_proxy_sees(daemon, peer):
    """Nothing but the server's name and the proxy's own password, which only it sees."""
    seen = []

    def script(c):
        seen.append(tunnel(c))
        seen.append((c.head, c.fields))
        c.echo()
    p = peer(script)
    daemon.start(through(p, "ws://ann:s3cret@server.example/path?q", "cookie = id=42",
                         "header = X-Mine: 1", login=LOGIN))
    daemon.wait_open("a")
    (connect, fields), (get, server_fields) = seen
    assert connect == "CONNECT server.example:80 HTTP/1.1"
    assert fields == [("host", "server.example:80"), ("proxy-authorization",
                      "Basic " + base64.b64encode(b"bob:pr@xy").decode())]
    assert get == "GET /path?q HTTP/1.1"
    names = dict(server_fields)
    assert names["host"] == "server.example" and names["cookie"] == "id=42"
    assert names["authorization"] == "Basic " + base64.b64encode(b"ann:s3cret").decode()
    assert names["x-mine"] == "1" and "proxy-authorization" not in names


@pytest.mark.parametrize("status, slow", (("403 Forbidden", True), ("404 Not Found", True),
                                          ("502 Bad Gateway", False), ("500 Error", False),
                                          ("504 Gateway Timeout", False)))
def test_p07_refusals(daemon, peer, status, slow):
    """Each is told as the proxy's; what time does not mend is tried slowly."""
    p = answering(peer, f"HTTP/1.1 {status}\r\nContent-Length: 4\r\n\r\nbody")
    daemon.start(through(p, pace=SLOWLY if slow else FAST))
    fails(daemon, p, f"answered HTTP {status}", slow=slow)


def test_p07_retry_after(daemon, peer):
    """The proxy's wish counts as the server's would."""
    p = answering(peer, "HTTP/1.1 503 Busy\r\nRetry-After: 30\r\n\r\n")
    daemon.start(through(p, pace=FAST))
    assert "answered HTTP 503" in cause_of(daemon)
    assert daemon.status("a")["retry_in_ms"] > 20000


@pytest.mark.parametrize("status", ("101 Switching Protocols", "302 Found", "301 Moved", "304 Not"))
def test_p08_answers_that_make_no_sense(daemon, peer, status):
    p = answering(peer, f"HTTP/1.1 {status}\r\nLocation: http://x/\r\n\r\n")
    daemon.start(through(p))
    fails(daemon, p, f"answered HTTP {status}", slow=True)


# --- silence and the end, in all stages ---------------------------------------------------------


HTTP_STAGES = ("", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nVia: x\r\n")


@pytest.mark.parametrize("said", HTTP_STAGES)
def test_p09_silence(daemon, peer, said):
    """connect-timeout covers the proxy, and the cause names it."""
    def script(c):
        c.read_head()
        c.send(said.encode())
        c.stall()
    p = peer(script)
    daemon.start(through(p, "ws://server.example/", "connect-timeout = 1s", pace=FAST))
    assert f"while asking the proxy 127.0.0.1:{p.port}" in cause_of(daemon)
    p.wait_connections(2)


def test_p09_drips_for_ever(daemon, peer):
    def script(c):
        c.read_head()
        c.send(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 2000, drip=1, every=0.02)
    p = peer(script)
    daemon.start(through(p, "ws://server.example/", "connect-timeout = 1s", pace=FAST))
    assert f"while asking the proxy 127.0.0.1:{p.port}" in cause_of(daemon)


def test_p09_head_that_is_too_large(daemon, peer):
    p = answering(peer, "HTTP/1.1 200 OK\r\nX: " + "a" * 17000)
    daemon.start(through(p))
    fails(daemon, p, "larger than 16 KiB", slow=True)


@pytest.mark.parametrize("said", HTTP_STAGES)
@pytest.mark.parametrize("end", ("eof", "rst"))
def test_p09_hangs_up(daemon, peer, said, end):
    """Time may mend that."""
    def script(c):
        c.read_head()
        c.send(said.encode())
        if end == "rst":
            c.rst()
    p = peer(script)
    daemon.start(through(p, pace=FAST))
    fails(daemon, p, slow=False)


def test_p09_nobody_listens(daemon):
    port = free_port()
    daemon.start(section("a", "ws://server.example/", f"proxy = http://127.0.0.1:{port}", *FAST))
    assert f"cannot connect to the proxy 127.0.0.1:{port}" in cause_of(daemon)


@pytest.mark.parametrize("scheme", ("http", "socks5h", "socks5"))
def test_p10_ipv6_target(daemon, peer, scheme):
    """In brackets for HTTP, 16 bytes for SOCKS."""
    seen = []

    def script(c):
        if scheme == "http":
            seen.append(tunnel(c)[0])
        else:
            greet(c)
            seen.append(take_request(c))
            c.send(REPLY)
            c.good()
        c.echo()
    p = peer(script)
    daemon.start(through(p, "ws://[::1]:443/", scheme=scheme))
    daemon.wait_open("a")
    assert seen[0] == ("CONNECT [::1]:443 HTTP/1.1" if scheme == "http" else
                       (4, socket.inet_pton(socket.AF_INET6, "::1"), 443))


def test_p11_proxy_that_does_not_resolve(daemon):
    """That is the proxy's name, not the server's."""
    daemon.start(section("a", "ws://127.0.0.1:1/", "proxy = http://no-such-host.invalid:1", *FAST))
    cause = cause_of(daemon)
    assert "cannot resolve the proxy's name no-such-host.invalid" in cause
    assert daemon.status("a")["cause_class"] == "proxy"


# --- SOCKS 5 ------------------------------------------------------------------------------------


REPLY = b"\5\0\0\1" + bytes(6)


def take(c, size):
    return c._take(size, time.monotonic() + scaled(10), "SOCKS")


def take_greeting(c):
    version, count = take(c, 2)
    assert version == 5
    return list(take(c, count))


def greet(c, **kw):
    methods = take_greeting(c)
    c.send(b"\5\0", **kw)
    return methods


def take_login(c):
    assert take(c, 1) == b"\1"
    return tuple(take(c, take(c, 1)[0]) for _ in range(2))


def take_request(c):
    """(kind, address or name, port)"""
    version, command, reserved, kind = take(c, 4)
    assert (version, command, reserved) == (5, 1, 0)
    size = {1: 4, 4: 16}.get(kind) or take(c, 1)[0]
    host = take(c, size)
    return kind, host, struct.unpack("!H", take(c, 2))[0]


@pytest.mark.parametrize("bound", (b"\1" + bytes(4), b"\3\0", b"\3\1x", b"\3\xff" + b"x" * 255,
                                   b"\4" + bytes(16)),
                         ids=("ipv4", "name-0", "name-1", "name-255", "ipv6"))
def test_p12_replies_of_all_lengths(daemon, peer, bound):
    """Exactly the reply is read: what stands behind it is the server's."""
    def first(c):
        assert greet(c) == [0]
        take_request(c)
        c.send(b"\5\0\0" + bound + b"\0\0" + b"HTTP/1.1 403 Behind\r\n\r\n")
        c.read_head()

    def second(c):
        greet(c)
        take_request(c)
        c.send(b"\5\0\0" + bound + b"\0\0")
        c.good()
        c.echo()
    p = peer(first, second)
    daemon.start(through(p, scheme="socks5h"))
    status = eventually(lambda: (s := daemon.status("a"))["http_status"] and s)
    assert status["http_status"] == 403 and "HTTP 403 Behind" in status["cause"]
    daemon.client("reconnect", "a")
    daemon.wait_open("a")


@pytest.mark.parametrize("version", (1, 5))
def test_p13_password(daemon, peer, version):
    """RFC 1929; some answer to it with SOCKS's own version."""
    logins = []

    def script(c):
        assert take_greeting(c) == [0, 2]
        c.send(b"\5\2")
        logins.append(take_login(c))
        c.send(bytes([version, 0]))
        take_request(c)
        c.send(REPLY)
        c.good()
        c.echo()
    p = peer(script)
    daemon.start(through(p, scheme="socks5h", login=LOGIN))
    daemon.wait_open("a")
    assert logins == [(b"bob", b"pr@xy")]


@pytest.mark.parametrize("status", (1, 255))
def test_p13_password_refused(daemon, peer, status):
    def script(c):
        take_greeting(c)
        c.send(b"\5\2")
        take_login(c)
        c.send(bytes([1, status]))
    p = peer(script)
    daemon.start(through(p, scheme="socks5h", login=LOGIN))
    fails(daemon, p, f"refuses our user and password (status {status})", slow=True)


@pytest.mark.parametrize("login, method, words", (
    ("", 0xff, "lets nobody in without a password"), (LOGIN, 0xff, "takes neither a password nor none"),
    ("", 2, "chose method 2, which was not offered"), (LOGIN, 1, "chose method 1")))
def test_p14_methods(daemon, peer, login, method, words):
    def script(c):
        take_greeting(c)
        c.send(bytes([5, method]))
    p = peer(script)
    daemon.start(through(p, scheme="socks5h", login=login))
    fails(daemon, p, words, slow=True)


@pytest.mark.parametrize("said, words", (
    (b"\4\0", "speaks SOCKS 4 only"), (b"\0\x5b" + bytes(6), "speaks SOCKS 4 only"),
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is an HTTP proxy, not for SOCKS (http://)"),
    (b"\x15\3\3\0\2\2\x46", "does not answer like a SOCKS proxy")))
def test_p15_other_versions(daemon, peer, said, words):
    """With a hint."""
    def script(c):
        take_greeting(c)
        c.send(said)
        c.stall()
    p = peer(script)
    daemon.start(through(p, scheme="socks5h"))
    fails(daemon, p, words, slow=True)


@pytest.mark.parametrize("scheme", ("http",))
@pytest.mark.parametrize("said, words", ((b"\5\xff", "perhaps one for SOCKS"),
                                         (b"\x15\3\3\0\2\2\x46", "speaks TLS")))
def test_p15_no_http_proxy(daemon, peer, scheme, said, words):
    """The other way round."""
    p = answering(peer, said)
    daemon.start(through(p, scheme=scheme))
    fails(daemon, p, words, slow=True)


@pytest.mark.parametrize("reply, words, slow", (
    (1, "general failure", False), (2, "not allowed by its rules", True),
    (3, "network unreachable", False), (4, "host unreachable", False),
    (5, "connection refused by the server", False), (6, "TTL expired", False),
    (7, "command not supported", True), (8, "address type not supported", True),
    (9, "unknown reply (reply 9)", False), (255, "unknown reply (reply 255)", False)))
def test_p16_replies(daemon, peer, reply, words, slow):
    def script(c):
        greet(c)
        take_request(c)
        c.send(bytes([5, reply, 0, 1]) + bytes(6))
    p = peer(script)
    daemon.start(through(p, scheme="socks5h", pace=SLOWLY if slow else FAST))
    fails(daemon, p, f"cannot reach server.example:80: {words}", slow=slow)


@pytest.mark.parametrize("login", ("", LOGIN), ids=("open", "password"))
def test_p17_single_bytes(daemon, peer, login):
    """Each step of the proxy's comes byte by byte."""
    def script(c):
        take_greeting(c)
        if login:
            c.send(b"\5\2", drip=1, every=0.02)
            take_login(c)
            c.send(b"\1\0", drip=1, every=0.02)
        else:
            c.send(b"\5\0", drip=1, every=0.02)
        take_request(c)
        c.send(b"\5\0\0\3\4name\0\0", drip=1, every=0.02)
        c.good()
        c.echo()
    p = peer(script)
    daemon.start(through(p, scheme="socks5h", login=login))
    daemon.wait_open("a")


def socks_until(stage, method=b"\5\2"):
    """A script that goes as far as STAGE."""
    def script(c):
        take_greeting(c)
        if stage == "half a method":
            c.send(b"\5")
        if stage in ("nothing", "half a method"):
            return
        c.send(method)
        take_login(c)
        if stage == "method":
            return
        c.send(b"\1\0")
        take_request(c)
        if stage == "half a reply":
            c.send(b"\5\0\0\1\0")
    return script


STAGES = ("nothing", "half a method", "method", "login", "half a reply")


@pytest.mark.parametrize("stage", STAGES)
def test_p17_silence(daemon, peer, stage):
    def script(c):
        socks_until(stage)(c)
        c.stall()
    p = peer(script)
    daemon.start(through(p, "ws://server.example/", "connect-timeout = 1s", scheme="socks5h",
                         login=LOGIN, pace=FAST))
    assert f"while asking the proxy 127.0.0.1:{p.port}" in cause_of(daemon)
    p.wait_connections(2)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("end", ("eof", "rst"))
def test_p17_hangs_up(daemon, peer, stage, end):
    def script(c):
        socks_until(stage)(c)
        if end == "rst":
            c.rst()
    p = peer(script)
    daemon.start(through(p, scheme="socks5h", login=LOGIN, pace=FAST))
    fails(daemon, p, slow=False)


@pytest.mark.parametrize("scheme", ("socks5", "socks5h"))
def test_p18_name_or_address(daemon, peer, scheme):
    """socks5h sends the name, socks5 an address of it that was found here."""
    seen = []

    def script(c):
        greet(c)
        seen.append(take_request(c))
        c.send(REPLY)
        c.good()
        c.echo()
    p = peer(script)
    daemon.start(through(p, "ws://localhost:99/", "address-family = ipv4", scheme=scheme))
    daemon.wait_open("a")
    assert seen[0] == ((3, b"localhost", 99) if scheme == "socks5h" else (1, b"\x7f\0\0\1", 99))


@pytest.mark.parametrize("value, fault", (
    (f"socks5://{'u' * 256}:p@h:1", "1 to 255 bytes"), (f"socks5://u:{'p' * 256}@h:1", "1 to 255 bytes"),
    ("socks5://ann:@h:1", "1 to 255 bytes"), (f"socks5h://{'h' * 256}:1", "proxy"),
    ("https://ann:s3cret@h:1", "proxy 'https://***@h:1' is not one of"),
    ("env", "for the command line")))
def test_p19_faults(daemon, value, fault):
    """What has no room in SOCKS, and other bad values, told without their passwords."""
    result = daemon.check(section("a", "ws://h/", f"proxy = {value}"))
    assert result.code == USAGE and fault in result.err + result.out
    assert "s3cret" not in result.err + result.out and "ppp" not in result.err + result.out


def test_p19_servers_name_that_is_too_long(daemon):
    result = daemon.check(section("a", f"ws://{'h' * 256}/", "proxy = socks5h://h:1"))
    assert result.code == USAGE and ":2:" in result.err + result.out


def test_p19_faults_of_combinations(daemon):
    assert "proxy cannot be used" in daemon.check(
        section("a", "ws+unix:/x:/", "proxy = http://h:1")).err
    assert daemon.check(section("a", "ws+unix:/x:/", "proxy = none")).code == DONE


# --- the client's environment -------------------------------------------------------------------


@pytest.fixture
def asks_proxy(daemon, peer):
    """asks_proxy(URL, VARIABLE=...): was the proxy asked?  Any "P" in the values stands for it; its
    answer is no, and where it is not asked nobody listens."""
    p = answering(peer, "HTTP/1.1 403 No\r\n\r\n")
    daemon.start("")

    def ask(url, **env):
        before = len(p.connections)
        proxy = f"http://127.0.0.1:{p.port}"
        env = {k: proxy if v == "P" else v for k, v in env.items()}
        result = daemon.client("cat", url, input="", env=env, timeout=30)
        asked = len(p.connections) > before
        assert result.code == 1 and ("HTTP 403" in result.err) == asked, result
        return asked
    return ask


@pytest.mark.parametrize("host, exceptions, direct", (
    ("localhost", "localhost", True), ("localhost", "other,localhost", True), ("localhost", "*", True),
    ("localhost", "LOCALHOST", True), ("localhost", ".localhost", True),
    ("sub.localhost", "localhost", True), ("sub.localhost", ".localhost", True),
    ("127.0.0.1", "127.0.0.1", True), ("127.0.0.1", "127.0.0.0/8", True),
    ("[::1]", "::1", True), ("[::1]", "::/64", True),
    ("notlocalhost", "localhost", False), ("localhost", "sub.localhost", False),
    ("127.0.0.1", "127.0.0.2", False), ("127.0.0.1", "10.0.0.0/8", False),
    ("localhost", "", False), ("localhost", "local", False)))
def test_p20_no_proxy(asks_proxy, host, exceptions, direct):
    """Exact, a suffix at the border of a label, "*", networks; notexample.com is not example.com."""
    url = f"ws://{host}:{free_port()}/"
    assert asks_proxy(url, http_proxy="P", no_proxy=exceptions) != direct


@pytest.mark.parametrize("scheme, variables, asked", (
    ("ws", {"http_proxy": "P"}, True), ("ws", {"HTTP_PROXY": "P"}, False),
    ("ws", {"https_proxy": "P", "HTTPS_PROXY": "P"}, False), ("ws", {"ALL_PROXY": "P"}, True),
    ("ws", {"WS_PROXY": "P"}, True), ("wss", {"HTTPS_PROXY": "P"}, True),
    ("wss", {"https_proxy": "P"}, True), ("wss", {"WSS_PROXY": "P"}, True),
    ("wss", {"http_proxy": "P", "HTTP_PROXY": "P"}, False)),
    ids=lambda x: "-".join(x) if isinstance(x, dict) else str(x))
def test_p21_variables(asks_proxy, scheme, variables, asked):
    """HTTP_PROXY in capitals may come from a header of a CGI program's client, and does not count."""
    assert asks_proxy(f"{scheme}://127.0.0.1:{free_port()}/", **variables) == asked
