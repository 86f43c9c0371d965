"""Each way in which TLS can be right or wrong, one test each, numbered T01 to T20.

TLS has no time limit of its own: connect-timeout covers the whole attempt.  And nothing is given up for
good: what time does not mend is tried again slowly."""

import os
import re
import socket
import ssl
import struct
import subprocess
import threading

import pytest

import servers
from harness import FAST, Timeout, eventually, section
from peer import TEXT, Over, accept_of, close_frame, make_frame

SLOWLY = ("reconnect-delay = 100ms", "reconnect-max = 20s")
V = ssl.TLSVersion


def cause_of(daemon, name="a"):
    return eventually(lambda: daemon.status(name)["cause"], what="a cause")


def is_refused(daemon, port, *words, slow=True):
    """The attempt has failed: the cause names host and port and says the words, and those that time
    does not mend are tried again slowly."""
    cause = cause_of(daemon)
    status = daemon.status("a")
    assert f":{port}" in cause, cause
    for word in words:
        assert re.search(word, cause), (word, cause)
    if slow:  # else the next attempt may be under way
        assert status["state"] == "waiting" and status["cause_class"] == "tls", status
        assert status["retry_in_ms"] > 5000
    return cause


def alive(daemon, name="a"):
    """A message goes to the server and comes back."""
    daemon.wait_open(name)
    with daemon.listener(name) as client:
        client.write("alive\n")
        while client.line() != "alive":
            pass


def echoing(make_server, certificate, **how):
    return make_server(servers.PyServer, echo=True, tls=certificate.server(**how))


def strict(peer, certificate, **how):
    """A server that gets no request: it says by an alert why (asyncio's just hang up)."""
    def script(c):
        c.read_head()
        raise AssertionError("there was to be no request")
    return peer(script, tls=certificate.server(**how))


def trust(certs):
    return f"cacert = {certs.ca.cert}"


def refuses(daemon, make_server, certs, certificate, *words, host="127.0.0.1", lines=None, **how):
    """No request has come to a server that shows CERTIFICATE."""
    server = echoing(make_server, certificate, **how)
    lines = [trust(certs)] if lines is None else lines
    daemon.start(section("a", f"wss://{host}:{server.port}/", *lines, *SLOWLY))
    is_refused(daemon, server.port, f"certificate of {host}:{server.port}", *words)
    assert not server.sessions


# --- T01, T02: what we offer --------------------------------------------------------------------


def client_hello(data):
    """(server name or None, protocols offered) of the record with a ClientHello in it."""
    at = 5 + 4 + 2 + 32
    at += 1 + data[at]
    at += 2 + struct.unpack_from("!H", data, at)[0]
    at += 1 + data[at]
    end = at + 2 + struct.unpack_from("!H", data, at)[0]
    at, name, protocols = at + 2, None, []
    while at < end:
        kind, size = struct.unpack_from("!HH", data, at)
        body = data[at + 4:at + 4 + size]
        if kind == 0:
            name = body[5:].decode()
        if kind == 16:
            rest = body[2:]
            while rest:
                protocols.append(rest[1:1 + rest[0]])
                rest = rest[1 + rest[0]:]
        at += 4 + size
    return name, protocols


def read_hello(c):
    while len(c.buffer) < 5 or len(c.buffer) < 5 + struct.unpack_from("!H", c.buffer, 3)[0]:
        assert c.sock.gettimeout()
        c.buffer += receive(c)
    return c.buffer


def receive(c):
    for _ in range(600):
        if c.peer.over.is_set():
            raise Over
        try:
            return c.sock.recv(1 << 16)
        except socket.timeout:
            continue
    raise Timeout("nothing came")


@pytest.mark.parametrize("host, lines, name", (
    ("localhost", (), "localhost"), ("127.0.0.1", (), None),
    ("127.0.0.1", ("server-name = good.example",), "good.example")))
def test_t01_name_and_protocol_that_are_asked_for(daemon, peer, host, lines, name):
    """SNI is the host (none for an address), or server-name; ALPN offers exactly http/1.1."""
    hellos = []

    def script(c):
        hellos.append(client_hello(read_hello(c)))
    p = peer(script)
    daemon.start(section("a", f"wss://{host}:{p.port}/", *lines, *SLOWLY))
    p.wait_finished()
    assert hellos[0] == (name, [b"http/1.1"])


def test_t01_good_chain_right_name(daemon, make_server, certs):
    server = echoing(make_server, certs.good)
    daemon.start(section("a", f"wss://localhost:{server.port}/", trust(certs)))
    alive(daemon)
    assert daemon.status("a")["tls"].startswith("TLSv1.3 TLS_")


@pytest.mark.parametrize("alpn", (None, ["http/1.1"], ["h2", "http/1.1"]),
                         ids=("none", "http/1.1", "both"))
def test_t02_server_picks_nothing_or_what_is_offered(daemon, make_server, certs, alpn):
    server = echoing(make_server, certs.good, alpn=alpn)
    daemon.start(section("a", server.url, trust(certs)))
    alive(daemon)


def server_hello(*extensions, version=0x0303, cipher=0xc02f):
    """A record with a ServerHello of TLS 1.2; extensions: (kind, body)."""
    more = b"".join(struct.pack("!HH", k, len(b)) + b for k, b in ((0xff01, b"\0"), *extensions))
    body = (struct.pack("!H", version) + os.urandom(32) + b"\0" + struct.pack("!HB", cipher, 0)
            + struct.pack("!H", len(more)) + more)
    body = b"\x02" + struct.pack("!I", len(body))[1:] + body
    return b"\x16\x03\x03" + struct.pack("!H", len(body)) + body


def test_t02_server_picks_h2(daemon, peer):
    """A protocol that was not offered."""
    def script(c):
        read_hello(c)
        c.send(server_hello((16, b"\0\x03\x02h2")))
        c.stall()
    p = peer(script)
    daemon.start(section("a", f"wss://127.0.0.1:{p.port}/", *SLOWLY))
    is_refused(daemon, p.port, r"instead of http/1\.1 \(ALPN\)")


def test_t02_server_has_only_h2(daemon, peer, certs, make_server):
    """One that says so, as RFC 7301 3.2 wants it."""
    server = make_server(SServer, certs.good, "-alpn", "h2")
    daemon.start(section("a", server.url, trust(certs), *SLOWLY))
    is_refused(daemon, server.port, "no_application_protocol", "does not offer http/1.1")


# --- T03 to T07, T09: certificates --------------------------------------------------------------


def test_t03_expired(daemon, make_server, certs):
    refuses(daemon, make_server, certs, certs.issue(ip=["127.0.0.1"], days=(-9, -1)),
            r"it expired on \d{4}-\d\d-\d\d .* UTC", "clock")


def test_t03_not_yet_valid(daemon, make_server, certs):
    refuses(daemon, make_server, certs, certs.issue(ip=["127.0.0.1"], days=(1, 9)),
            r"it is not valid before \d{4}-\d\d-\d\d .* UTC", "clock")


@pytest.mark.parametrize("how, words", (
    ({"dns": ["other.example", "*.other.example"]}, r"it is for other\.example, \*\.other\.example"),
    ({"name": "localhost"}, "no name at all .*common name does not count"),
    ({"name": "localhost", "dns": ["other.example"]}, r"it is for other\.example"),
    ({"dns": ["l*calhost"]}, r"it is for l\*calhost"),
    ({"dns": ["a.example", "b.example"], "ip": ["192.0.2.1", "2001:db8::1"]},
     r"it is for a\.example, b\.example, 192\.0\.2\.1, \.\.\.")),
    ids=("other", "common-name", "common-name-and-other", "partial-wildcard", "many"))
def test_t04_wrong_name(daemon, make_server, certs, how, words):
    """Each says which names there are, and the next step."""
    refuses(daemon, make_server, certs, certs.issue(**how), "hostname mismatch: not for localhost",
            words, "server-name", host="localhost")


@pytest.mark.parametrize("name, fits", (("one.good.example", True), ("two.one.good.example", False),
                                        ("good.example", False)))
def test_t04_wildcard_stands_for_one_label(daemon, make_server, certs, name, fits):
    server = echoing(make_server, certs.issue(dns=["*.good.example"]))
    daemon.start(section("a", server.url, trust(certs), f"server-name = {name}", *SLOWLY))
    if fits:
        alive(daemon)
    else:
        is_refused(daemon, server.port, f"not for {name}, it is for \\*.good.example")


def test_t05_self_signed(daemon, make_server, certs):
    refuses(daemon, make_server, certs, certs.issue(by=None, ip=["127.0.0.1"]),
            "self-signed certificate ", "cacert = FILE")


def test_t05_unknown_authority(daemon, make_server, certs):
    other = certs.issue("Other CA", by=None, is_ca=True)
    refuses(daemon, make_server, certs, certs.issue(by=other, ip=["127.0.0.1"]),
            'its issuer "Other CA" is not known here', "cacert = FILE")
    refuses_with = certs.issue(by=other, ip=["127.0.0.1"], chain=(other,))
    server = echoing(make_server, refuses_with)
    daemon.write_config(section("a", server.url, trust(certs), *SLOWLY))
    daemon.reload()
    eventually(lambda: "self-signed certificate in chain" in daemon.status("a")["cause"])


def test_t05_missing_intermediate(daemon, make_server, certs):
    middle = certs.issue("Middle CA", is_ca=True)
    refuses(daemon, make_server, certs, certs.issue(by=middle, ip=["127.0.0.1"]),
            'its issuer "Middle CA" is not known', "may lack an intermediate certificate")


def test_t05_not_an_authority(daemon, make_server, certs):
    """Whoever has a certificate for a host cannot issue others."""
    middle = certs.issue("No CA", dns=["some.example"])
    refuses(daemon, make_server, certs, certs.issue(by=middle, ip=["127.0.0.1"], chain=(middle,)),
            "depth 1", "may not be used to issue certificates")


def test_t05_not_for_servers(daemon, make_server, certs):
    refuses(daemon, make_server, certs, certs.issue(ip=["127.0.0.1"], purpose="client"),
            "may not be used by a server")


@pytest.mark.parametrize("kind", ("self-signed", "unknown authority", "intermediate", "capath"))
def test_t06_same_with_the_authority_configured(daemon, make_server, certs, tmp_path, kind):
    other = certs.issue("Other CA", by=None, is_ca=True)
    middle = certs.issue("Middle CA", by=other, is_ca=True)
    own = certs.issue(by=None, ip=["127.0.0.1"])
    show, believe = {"self-signed": (own, own),
                     "unknown authority": (certs.issue(by=other, ip=["127.0.0.1"]), other),
                     "intermediate": (certs.issue(by=middle, ip=["127.0.0.1"], chain=(middle,)),
                                      other),
                     "capath": (certs.issue(by=other, ip=["127.0.0.1"]), other)}[kind]
    line = f"cacert = {believe.cert}"
    if kind == "capath":
        hashed = tmp_path / "hashed"
        hashed.mkdir()
        (hashed / "other.pem").write_bytes(open(believe.cert, "rb").read())
        subprocess.run(["openssl", "rehash", str(hashed)], check=True)
        line = f"capath = {hashed}"
    server = echoing(make_server, show)
    daemon.start(section("a", server.url, line))
    alive(daemon)


def test_t07_address_in_the_certificate(daemon, make_server, certs):
    server = echoing(make_server, certs.issue(ip=["127.0.0.1"]))
    daemon.start(section("a", server.url, trust(certs)))
    alive(daemon)


@pytest.mark.parametrize("how, words", (
    ({"dns": ["127.0.0.1"]}, r"it is for 127\.0\.0\.1"),
    ({"ip": ["127.0.0.2"], "dns": ["localhost"]}, r"it is for localhost, 127\.0\.0\.2"),
    ({"name": "127.0.0.1"}, "no name at all")), ids=("as-a-name", "other", "common-name"))
def test_t07_wrong_address(daemon, make_server, certs, how, words):
    refuses(daemon, make_server, certs, certs.issue(**how),
            r"address mismatch: not for 127\.0\.0\.1", words, "server-name")


# --- T08: versions ------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("version", (V.TLSv1, V.TLSv1_1), ids=str)
def test_t08_versions_that_are_too_old(daemon, peer, certs, version):
    server = strict(peer, certs.good, maximum=version)
    daemon.start(section("a", server.url, trust(certs), *SLOWLY))
    is_refused(daemon, server.port, "no version .*allowed here", "tls-min")


@pytest.mark.parametrize("version", (V.TLSv1_2, V.TLSv1_3), ids=str)
def test_t08_versions_that_are_good(daemon, make_server, certs, version):
    server = echoing(make_server, certs.good, minimum=version, maximum=version)
    daemon.start(section("a", server.url, trust(certs)))
    alive(daemon)
    assert daemon.status("a")["tls"].startswith(version.name.replace("_", ".") + " ")


def test_t08_tls_min(daemon, make_server, peer, certs):
    old = strict(peer, certs.good, maximum=V.TLSv1_2)
    new = echoing(make_server, certs.good, minimum=V.TLSv1_3)
    daemon.start(section("a", old.url, trust(certs), "tls-min = 1.3", *SLOWLY)
                 + section("b", new.url, trust(certs), "tls-min = 1.3"))
    alive(daemon, "b")
    is_refused(daemon, old.port, "no version .*allowed here", "tls-min")


# --- T09: weak ones -----------------------------------------------------------------------------


def test_t09_short_key(daemon, make_server, certs):
    refuses(daemon, make_server, certs, certs.issue(ip=["127.0.0.1"], bits=1024),
            "its key is too weak: RSA, 1024 bits", "needs a new certificate")


@pytest.mark.filterwarnings("ignore:SHA1")
def test_t09_weak_digest(daemon, make_server, certs):
    refuses(daemon, make_server, certs, certs.issue(ip=["127.0.0.1"], digest="sha1"),
            "its signature is too weak: ecdsa-with-SHA1", "needs a new certificate")


# --- T10 to T12: the handshake ------------------------------------------------------------------


@pytest.mark.parametrize("said", (b"", server_hello()), ids=("ClientHello", "ServerHello"))
def test_t10_silence(daemon, peer, said):
    """After the ClientHello, after the ServerHello: connect-timeout ends it."""
    def script(c):
        read_hello(c)
        c.send(said)
        c.stall()
    p = peer(script)
    daemon.start(section("a", f"wss://127.0.0.1:{p.port}/", "connect-timeout = 1s", *FAST))
    cause = cause_of(daemon)
    assert "timed out" in cause and f"in the TLS handshake with 127.0.0.1:{p.port}" in cause
    p.wait_connections(2)


@pytest.mark.parametrize("said", (b"", server_hello(), server_hello()[:20]),
                         ids=("ClientHello", "ServerHello", "half of it"))
@pytest.mark.parametrize("end", ("fin", "rst"))
def test_t10_cut_off(daemon, peer, said, end):
    """The server hangs up in the handshake: that may go away."""
    def script(c):
        read_hello(c)
        c.send(said)
        if end == "rst":
            c.rst()
    p = peer(script)
    daemon.start(section("a", f"wss://127.0.0.1:{p.port}/", *FAST))
    is_refused(daemon, p.port, "in the TLS handshake", slow=False)
    p.wait_connections(2)


def test_t11_plain_http_on_the_tls_port(daemon, peer):
    def script(c):
        read_hello(c)
        c.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        c.stall()
    p = peer(script)
    daemon.start(section("a", f"wss://127.0.0.1:{p.port}/", *SLOWLY))
    is_refused(daemon, p.port, "not TLS", "use ws://")


def test_t11_plain_server_on_the_tls_port(daemon, server):
    """The same with a real one, which just waits for the end of our request."""
    daemon.start(section("a", f"wss://127.0.0.1:{server.port}/", "connect-timeout = 2s", *SLOWLY))
    cause = cause_of(daemon)
    assert "TLS" in cause and f"127.0.0.1:{server.port}" in cause


@pytest.mark.parametrize("said", (b"\x15\x03\x03\x00\x02\x02\x46", b"\x15\x03\x01\x00\x02\x02\x0a"))
def test_t11_tls_on_the_plain_port(daemon, peer, said):
    """A server of TLS that is asked in plain text, and says so by an alert."""
    def script(c):
        c.read_head()
        c.send(said)
    p = peer(script)
    daemon.start(section("a", p.url, *FAST))
    assert "speaks TLS on this port (use wss://)" in cause_of(daemon)


def test_t11_tls_server_on_the_plain_port(daemon, make_server, certs, echo, pki):
    """The same with real ones: one that hangs up, and nginx, which says 400."""
    server = echoing(make_server, certs.good)
    nginx = make_server(servers.Nginx, echo.port, pki)
    daemon.start(section("a", f"ws://127.0.0.1:{server.port}/")
                 + section("b", nginx.ws().replace(str(nginx.port), str(nginx.tls_port))))
    for name in "ab":
        assert "wss://" in cause_of(daemon, name)
    assert daemon.status("b")["http_status"] == 400


@pytest.mark.parametrize("number, words", (
    (40, "handshake_failure .no cipher in common"), (112, "unrecognized_name .see server-name"),
    (116, "certificate_required .*cert and key"), (70, "protocol_version .*tls-min"),
    (48, "unknown_ca .see cert and key"), (120, "no_application_protocol .*http/1.1"),
    (80, "internal_error"), (255, "number 255")))
def test_t12_alerts(daemon, peer, number, words):
    """By their names, with the next step where there is one."""
    def script(c):
        read_hello(c)
        c.send(bytes([0x15, 3, 3, 0, 2, 2, number]))
        c.stall()
    p = peer(script)
    daemon.start(section("a", f"wss://127.0.0.1:{p.port}/", *SLOWLY))
    is_refused(daemon, p.port, "refused TLS: alert " + words)


def test_t12_no_cipher_in_common(daemon, peer, certs):
    server = strict(peer, certs.good, maximum=V.TLSv1_2, ciphers="AES128-SHA")
    daemon.start(section("a", server.url, trust(certs), *SLOWLY))
    is_refused(daemon, server.port, "handshake_failure .no cipher in common")


@pytest.mark.parametrize("version", (V.TLSv1_2, V.TLSv1_3), ids=str)
def test_t12_client_certificate_wanted(daemon, peer, certs, version):
    """In TLS 1.3 the handshake is over for us before the server says so."""
    server = strict(peer, certs.good, maximum=version, client_ca=certs.ca.cert)
    daemon.start(section("a", server.url, trust(certs), *SLOWLY))
    is_refused(daemon, server.port, "it wants a client certificate, see cert and key")


@pytest.mark.parametrize("version", (V.TLSv1_2, V.TLSv1_3), ids=str)
def test_t12_client_certificate_refused(daemon, peer, certs, version):
    server = strict(peer, certs.good, maximum=version, client_ca=certs.ca.cert)
    ours = certs.issue("us", by=None)
    daemon.start(section("a", server.url, trust(certs), f"cert = {ours.cert}", f"key = {ours.key}",
                         *SLOWLY))
    is_refused(daemon, server.port, "refused TLS: alert unknown_ca .it refuses our certificate")


# --- T13: our own certificate -------------------------------------------------------------------


class SServer(servers.Process):
    """openssl s_server, which is no WebSocket server: what it sends is written into .stdin, what it
    receives stands in its log.  "K" alone there is a command: a KeyUpdate."""

    def __init__(self, certificate, *more, home):
        super().__init__(home)
        self.certificate, self.more = certificate, more

    def command(self):
        return ["openssl", "s_server", "-accept", f"127.0.0.1:{self.port}", "-cert",
                self.certificate.cert, "-key", self.certificate.key, *self.more]

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.PIPE, stdout=log,
                                            stderr=log, bufsize=0)
        eventually(lambda: "ACCEPT" in self.log, 15, "s_server is there")
        return self

    def stop(self):
        super().stop()
        if self.stdin:
            self.stdin.close()

    @property
    def stdin(self):
        return self.process.stdin if self.process else None

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    @property
    def url(self):
        return f"wss://127.0.0.1:{self.port}/"


def client_lines(certificate, key=None):
    return f"cert = {certificate.cert}", f"key = {key or certificate.key}"


FRONTS = ("python", "nginx", "haproxy", "stunnel")


def front(kind, make_server, certs, backend, pki):
    """(URL of a server that demands a client's certificate, its authority's file)."""
    if kind == "nginx":
        nginx = make_server(servers.Nginx, backend.port, pki)
        return nginx.wss(port=nginx.client_port), pki.cert("ca")
    if kind == "haproxy":
        server = make_server(servers.Haproxy, backend.port, certs.good, certs.ca.cert)
    elif kind == "stunnel":
        server = make_server(servers.Stunnel, backend.port, certs.good, client_ca=certs.ca.cert)
    else:
        server = echoing(make_server, certs.good, client_ca=certs.ca.cert)
    return server.url, certs.ca.cert


@pytest.mark.parametrize("kind", FRONTS)
def test_t13_client_certificate(daemon, make_server, certs, echo, pki, kind):
    """It is sent to a server that asks; without it that server wants none of us, and says why."""
    url, ca = front(kind, make_server, certs, echo, pki)
    ours = (f"cert = {pki.cert('client')}", f"key = {pki.key('client')}") if kind == "nginx" else \
        client_lines(certs.issue("us"))
    daemon.start(section("a", url, f"cacert = {ca}", *ours)
                 + section("b", url, f"cacert = {ca}", *SLOWLY))
    alive(daemon)
    if kind == "haproxy":
        assert echo.session().headers["X-Client"] == "us"
    # In TLS 1.3 a server may hang up before its alert was read; then another attempt hears of it.
    told = eventually(lambda: re.search(r"b: warning: .*, trying again in ([0-9.]+) s: .*"
                                        r"wants a client certificate, see cert and key", daemon.log),
                      30, "b is told what is wanted")
    if kind != "python":  # asyncio says nothing, it hangs up; that could be anything
        assert float(told[1]) > 5


def test_t13_stunnel_without_certificates(daemon, make_server, certs, echo):
    server = make_server(servers.Stunnel, echo.port, certs.good)
    daemon.start(section("a", server.url, trust(certs)))
    alive(daemon)


def test_t13_key_in_the_same_file(daemon, make_server, certs, tmp_path):
    server = echoing(make_server, certs.good, client_ca=certs.ca.cert)
    ours, both = certs.issue("us"), tmp_path / "both.pem"
    both.write_text(open(ours.cert).read() + open(ours.key).read())
    daemon.start(section("a", server.url, trust(certs), f"cert = {both}"))
    alive(daemon)


@pytest.mark.parametrize("fault", ("other key", "other kind of key", "encrypted", "no key", "no file"))
def test_t13_wrong_key(daemon, make_server, certs, tmp_path, fault):
    """The attempt fails before a connection is used, and names the files."""
    server = echoing(make_server, certs.good)
    ours, other = certs.issue("us"), certs.issue("other")
    key, words = {
        "other key": (other.key, f"does not belong to cert = {ours.cert}"),
        "other kind of key": (certs.issue("rsa", bits=2048).key, "does not belong to cert"),
        "encrypted": (ours.lock(tmp_path / "locked.key", "secret"), "is encrypted"),
        "no key": (ours.cert, "no private key in it"),
        "no file": (tmp_path / "missing.key", "No such file"),
    }[fault]
    daemon.start(section("a", server.url, trust(certs), *client_lines(ours, key), *SLOWLY))
    cause = cause_of(daemon)
    assert f"key = {key}" in cause and words in cause, cause
    assert not server.sessions


# --- T14, T15: the end --------------------------------------------------------------------------


def test_t14_end_of_the_stream_without_end_of_tls(daemon, peer, certs):
    """While it is open, that is a loss: 1006, "truncated"."""
    def script(c):
        c.good()
        c.frame(TEXT, b"hello")
    p = peer(script, tls=certs.good.server())
    daemon.start(section("a", p.url, trust(certs), "reconnect = on-failure", *SLOWLY))
    eventually(lambda: daemon.status("a")["received"]["messages"] == 1)
    status = daemon.wait_state("a", "waiting")
    assert status["close_code"] == 1006 and "truncated" in status["cause"]


def test_t14_after_the_close_it_is_clean(daemon, peer, certs):
    """Behind a whole Close handshake nobody misses the end of TLS."""
    def script(c):
        c.good()
        c.send(close_frame(1000, "done"))
        c.expect_close(1000)
    p = peer(script, tls=certs.good.server())
    daemon.start(section("a", p.url, trust(certs), "reconnect = on-failure"))
    status = daemon.wait_state("a", "closed", "failed")
    assert status["close_code"] == 1000 and "truncated" not in str(status["cause"])


def test_t15_end_of_tls_without_close(daemon, peer, certs):
    """close_notify, but no Close: 1006."""
    def script(c):
        c.good()
        c.sock.settimeout(5)
        try:
            c.sock.unwrap()
        except OSError:
            pass
    p = peer(script, tls=certs.good.server())
    daemon.start(section("a", p.url, trust(certs), *SLOWLY))
    status = eventually(lambda: (s := daemon.status("a"))["close_code"] and s)
    assert status["close_code"] == 1006 and "without a close frame" in status["cause"]
    assert "truncated" not in status["cause"]


# --- T16 to T19: records ------------------------------------------------------------------------


@pytest.mark.parametrize("command", (b"K\n", b"k\n"), ids=("both-ways", "one-way"))
def test_t16_tickets_and_key_update_in_mid_stream(daemon, make_server, certs, command):
    """Tickets (two, behind the handshake) and KeyUpdate are no data, and nothing stops at them."""
    server = make_server(SServer, certs.good, "-tls1_3")
    daemon.start(section("a", server.url, trust(certs)))
    key = eventually(lambda: re.search(r"Sec-WebSocket-Key: (\S+)", server.log))[1]
    server.stdin.write(f"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       f"Sec-WebSocket-Accept: {accept_of(key)}\r\n\r\n".encode())
    daemon.wait_open("a")
    with daemon.listener("a") as client:
        for i in range(3):
            server.stdin.write(make_frame(TEXT, f"message {i}".encode()))
            assert client.line() == f"message {i}"
            server.stdin.write(command)
            client.write(f"answer {i}\n")
            eventually(lambda: daemon.status("a")["sent"]["messages"] == i + 1)
    server.stdin.write(make_frame(TEXT, b"last"))
    eventually(lambda: daemon.status("a")["received"]["messages"] == 4)
    assert daemon.status("a")["state"] == "open" and server.log.count("SSL_do_handshake -> 1") == 3


@pytest.mark.parametrize("version", (V.TLSv1_2, V.TLSv1_3), ids=str)
def test_t17_records_of_one_byte(daemon, peer, certs, version):
    """A frame's head is split over records; 10 000 of one byte each, and then the socket is silent."""
    data = b"".join(make_frame(TEXT, f"{i:04}".encode()) for i in range(10000 // 6))

    def script(c):
        c.good()
        for i in range(len(data)):
            c.send(data[i:i + 1])
        c.stall()
    p = peer(script, tls=certs.good.server(maximum=version))
    daemon.start(section("a", p.url, trust(certs)))
    with daemon.open_out("a") as out:
        lines = out.lines(10000 // 6, 40)
    assert lines == [f"{i:04}" for i in range(10000 // 6)]


def test_t18_many_frames_in_one_record(daemon, peer, certs):
    """One record of 16 KiB with 1000 frames: no event of the socket tells of the second one."""
    frames = b"".join(make_frame(TEXT, f"{i:014}".encode()) for i in range(1000))

    def script(c):
        c.good()
        assert len(frames) <= 16384
        assert c.sock.send(frames) == len(frames)
        c.stall()
    p = peer(script, tls=certs.good.server())
    daemon.start(section("a", p.url, trust(certs)))
    with daemon.open_out("a") as out:
        assert out.lines(1000, 20) == [f"{i:014}" for i in range(1000)]


class Spoiler:
    """Between two TCP ends; spoil() turns one bit of the next bytes that the server sends."""

    def __init__(self, port):
        self.to = port
        self.spoiling = threading.Event()
        self.over = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(0.1)
        self.port = self.listener.getsockname()[1]
        self.threads = []
        self._thread(self._accept)

    def _thread(self, target, *args):
        self.threads.append(threading.Thread(target=target, args=args, daemon=True))
        self.threads[-1].start()

    def _accept(self):
        while not self.over.is_set():
            try:
                client, _ = self.listener.accept()
            except socket.timeout:
                continue
            server = socket.create_connection(("127.0.0.1", self.to))
            self._thread(self._copy, client, server, False)
            self._thread(self._copy, server, client, True)

    def _copy(self, source, target, is_server):
        source.settimeout(0.1)
        while not self.over.is_set():
            try:
                data = source.recv(65536)
                if not data:
                    break
                if is_server and self.spoiling.is_set():
                    data = data[:-1] + bytes([data[-1] ^ 1])
                target.sendall(data)
            except socket.timeout:
                continue
            except OSError:
                break
        for sock in (source, target):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join(5)
        self.listener.close()


@pytest.mark.parametrize("version", (V.TLSv1_2, V.TLSv1_3), ids=str)
def test_t19_corrupted_record(daemon, make_server, certs, version):
    """A byte changed on the way: nothing of it is delivered, 1006."""
    server = echoing(make_server, certs.good, maximum=version)
    spoiler = Spoiler(server.port)
    try:
        daemon.start(section("a", f"wss://127.0.0.1:{spoiler.port}/", trust(certs), *SLOWLY))
        alive(daemon)
        spoiler.spoiling.set()
        server.session().send("spoiled")
        status = eventually(lambda: (s := daemon.status("a"))["close_code"] and s)
    finally:
        spoiler.stop()
    assert status["close_code"] == 1006 and "TLS broke" in status["cause"], status["cause"]
    assert status["received"]["messages"] == 1


# --- T20 ----------------------------------------------------------------------------------------


def test_t20_no_variable_turns_verification_off(daemon, make_server, certs):
    """Whatever other programs take for that."""
    server = echoing(make_server, certs.issue(by=None, ip=["127.0.0.1"]))
    daemon.start(section("a", server.url, *SLOWLY), env={
        "NODE_TLS_REJECT_UNAUTHORIZED": "0", "PYTHONHTTPSVERIFY": "0", "GIT_SSL_NO_VERIFY": "1",
        "CURL_INSECURE": "1", "SSL_NO_VERIFY": "1", "SSL_VERIFY": "0", "INSECURE": "yes",
        "WSPIPE_INSECURE": "1", "OPENSSL_ALLOW_PROXY_CERTS": "1"})
    is_refused(daemon, server.port, "self-signed")
    assert not server.sessions
