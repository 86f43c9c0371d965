"""Pins, and sessions that are resumed."""

import re
import ssl
import subprocess

import pytest

import servers
from harness import DONE, USAGE, FAST, eventually, section
from test_cases_tls import SLOWLY, V, alive, cause_of, echoing, is_refused, strict, trust

# As wspipe.conf(5) has it.
HOW_TO_GET_ONE = """openssl s_client -connect $host:$port -servername $host </dev/null 2>/dev/null |
	openssl x509 -pubkey -noout | openssl pkey -pubin -outform der |
	openssl dgst -sha256 -binary | base64"""


# --- pins ---------------------------------------------------------------------------------------


def test_pin(daemon, make_server, certs):
    """What the manual's command prints is what the server is believed for."""
    server = echoing(make_server, certs.good)
    shown = subprocess.run(["sh", "-c", HOW_TO_GET_ONE], check=True, stdout=subprocess.PIPE, text=True,
                           env={"host": "localhost", "port": str(server.port),
                                "PATH": "/usr/bin:/bin"}, timeout=30).stdout.strip()
    assert certs.good.pin == "sha256//" + shown
    daemon.start(section("a", server.url, trust(certs), f"pin = {certs.good.pin}"))
    alive(daemon)


@pytest.mark.parametrize("insecure", (False, True), ids=("verified", "insecure"))
@pytest.mark.parametrize("version", (V.TLSv1_2, V.TLSv1_3), ids=str)
def test_pin_that_does_not_match(daemon, peer, certs, version, insecure):
    """Nothing is sent; the cause says which pin the server has, and that one makes it work."""
    other = certs.issue()
    p = strict(peer, certs.good, maximum=version)
    lines = ["insecure = yes"] if insecure else [trust(certs)]
    daemon.start(section("a", p.url, *lines, f"pin = {other.pin}", *SLOWLY))
    cause = is_refused(daemon, p.port, "the public key of 127.0.0.1:.* which is not in pin")
    assert re.search(r"sha256//[A-Za-z0-9+/]{43}=", cause)[0] == certs.good.pin
    assert "alert" in str(p.connections[0].refused)  # ours: no handshake, so no request
    assert len(p.connections) == 1


def test_pin_is_changed_to_what_was_shown(daemon, make_server, certs):
    server, other = echoing(make_server, certs.good), certs.issue()
    daemon.start(section("a", server.url, trust(certs), f"pin = {other.pin}", *SLOWLY))
    shown = re.search(r"sha256//\S+=", cause_of(daemon))[0]
    daemon.write_config(section("a", server.url, trust(certs), f"pin = {other.pin};{shown}", *SLOWLY))
    assert daemon.reload().code == DONE
    alive(daemon)


@pytest.mark.parametrize("lines", (
    ["pin = {other}", "pin = {good}"], ["pin = {other};{good}"], ["pin = {good}, {other}"]))
def test_one_of_several_pins(daemon, make_server, certs, lines):
    server, other = echoing(make_server, certs.good), certs.issue()
    lines = [line.format(good=certs.good.pin, other=other.pin) for line in lines]
    daemon.start(section("a", server.url, trust(certs), *lines))
    alive(daemon)


def test_pin_alone_with_insecure(daemon, make_server, certs):
    """A device whose certificate is good for nothing: its key is what counts."""
    device = certs.issue("device", by=None, days=(-9, -1))
    server = echoing(make_server, device)
    daemon.start(section("a", server.url, "insecure = yes", f"pin = {device.pin}"))
    alive(daemon)


def test_pin_does_not_stand_for_the_rest(daemon, make_server, certs):
    """The right key in a certificate for somebody else, or of an unknown authority."""
    for certificate, words in ((certs.issue(dns=["other.example"]), "address mismatch"),
                               (certs.issue(by=None, ip=["127.0.0.1"]), "self-signed")):
        server = echoing(make_server, certificate)
        config = section("a", server.url, trust(certs), f"pin = {certificate.pin}", *SLOWLY)
        if daemon.alive:
            daemon.write_config(config)
            daemon.reload()
        else:
            daemon.start(config)
        eventually(lambda: words in daemon.status("a")["cause"])
        assert not server.sessions


@pytest.mark.parametrize("url, value, fault", (
    ("wss://h/", "sha256//short=", "which is not sha256// and the 44 characters"),
    ("wss://h/", "sha1//AAECAwQFBgcICQoLDA0ODxAREhM=", "which is not sha256//"),
    ("wss://h/", "/etc/key.pem", "which is not sha256//"),
    ("wss://h/", "sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=", "which is not sha256//"),
    ("ws://h/", "sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "pin needs a wss: url")))
def test_pin_faults(daemon, url, value, fault):
    result = daemon.check(section("a", url, "max-message = 1M", f"pin = {value}"))
    assert result.code == USAGE and re.search(f"wspipe.conf:4: .*{fault}", result.err + result.out)


# --- sessions -----------------------------------------------------------------------------------


def reused(session):
    return session.ws.transport.get_extra_info("ssl_object").session_reused


def ended_and_back(daemon, server, how="abort"):
    """The newest connection is ended by the server; the one after it."""
    number = len(server.sessions)
    getattr(server.session(), how)()
    session = server.session(number)
    alive(daemon)
    return session


@pytest.mark.parametrize("how", ("abort", "close"))
@pytest.mark.parametrize("version", (V.TLSv1_2, V.TLSv1_3), ids=str)
def test_reconnect_resumes(daemon, make_server, certs, version, how):
    """However the connection before has ended; and status says so."""
    server = echoing(make_server, certs.good, maximum=version)
    daemon.start(section("a", server.url, trust(certs), f"pin = {certs.good.pin}", *FAST))
    alive(daemon)
    assert not reused(server.session())
    assert not daemon.status("a")["tls"].endswith(" resumed")
    for _ in range(3 if how == "abort" else 1):  # a server that closes again and again is not hurried
        assert reused(ended_and_back(daemon, server, how))
        assert daemon.status("a")["tls"].endswith(" resumed")
        assert daemon.status_file("a")["tls"].endswith(" resumed")
    assert " resumed" in daemon.log


def test_reconnect_to_nginx_resumes(daemon, make_server, echo, pki):
    """nginx's own word for it reaches the server behind it."""
    nginx = make_server(servers.Nginx, echo.port, pki)
    daemon.start(section("a", nginx.wss(), f"cacert = {pki.cert('ca')}", *FAST))
    alive(daemon)
    assert echo.session().headers["X-Session-Reused"] == "."
    assert ended_and_back(daemon, echo, "close").headers["X-Session-Reused"] == "r"
    assert daemon.status("a")["tls"].endswith(" resumed")


@pytest.mark.parametrize("version", (V.TLSv1_2, V.TLSv1_3), ids=str)
def test_a_changed_name_does_not_resume(daemon, make_server, certs, version):
    """A session says nothing of the name: with another one it begins anew, and is verified."""
    both = certs.issue(dns=["one.example", "two.example"])
    server = echoing(make_server, both, maximum=version)

    def config(name):
        return section("a", server.url, trust(certs), f"server-name = {name}", *SLOWLY)

    def change(name):
        number = len(server.sessions)
        daemon.write_config(config(name))
        assert daemon.reload().code == DONE
        return number
    daemon.start(config("one.example"))
    alive(daemon)
    number = change("two.example")
    assert not reused(server.session(number))
    alive(daemon)
    change("three.example")
    eventually(lambda: "hostname mismatch: not for three.example" in str(daemon.status("a")["cause"]))
    assert len(server.sessions) == number + 1
    number = change("two.example")
    assert reused(server.session(number))


@pytest.mark.parametrize("version", (V.TLSv1_2, V.TLSv1_3), ids=str)
def test_insecure_sessions_are_of_no_use_to_others(daemon, make_server, certs, version):
    """What was not verified stays so: the next one is refused."""
    server = echoing(make_server, certs.issue(by=None, ip=["127.0.0.1"]), maximum=version)
    daemon.start(section("a", server.url, "insecure = yes", *FAST))
    alive(daemon)
    assert reused(ended_and_back(daemon, server))
    number = len(server.sessions)
    daemon.write_config(section("a", server.url, *SLOWLY))
    daemon.reload()
    eventually(lambda: "self-signed" in str(daemon.status("a")["cause"]))
    assert len(server.sessions) == number


def test_authority_that_is_taken_away(daemon, make_server, certs, tmp_path):
    """The file has changed: nothing that was believed because of it is resumed."""
    file = tmp_path / "ca.pem"
    file.write_bytes(open(certs.ca.cert, "rb").read())
    other = certs.issue("Other CA", by=None, is_ca=True)
    server = echoing(make_server, certs.good)
    daemon.start(section("a", server.url, f"cacert = {file}", *FAST))
    alive(daemon)
    file.unlink()
    file.write_bytes(open(other.cert, "rb").read())
    server.session().abort()
    eventually(lambda: "is not known here" in str(daemon.status("a")["cause"]))
    assert len(server.sessions) == 1


def test_server_that_has_forgotten(daemon, make_server, certs):
    """Restarted, with new keys for its tickets: a session that it does not know costs nothing."""
    server = echoing(make_server, certs.good)
    daemon.start(section("a", server.url, trust(certs), *FAST))
    alive(daemon)
    server.tls = certs.good.server()
    server.restart(politely=False)
    number = len(server.sessions)
    eventually(lambda: daemon.status("a")["state"] == "open" and len(server.sessions) >= number)
    alive(daemon)
    assert not reused(server.session()) and isinstance(server.tls, ssl.SSLContext)
