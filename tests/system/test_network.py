"""Networks that come, go and lose everything, in network namespaces of our own; and servers that fall
silent at each step."""

import os
import re
import time

import pytest

import netns
from harness import ASAN, BUILD, FAST, VALGRIND, Stream, eventually, section
from peer import PING, PONG, TEXT, make_frame

NO_NET = netns.problem()
needs_net = pytest.mark.skipif(NO_NET is not None, reason=str(NO_NET))
takes_long = pytest.mark.skipif(not os.environ.get("WSPIPE_LONG"),
                                reason="takes half a minute: only with WSPIPE_LONG=1")
SOON = ("ping-interval = 1s", "ping-timeout = 1s", *FAST)


@pytest.fixture
def net():
    net = netns.Net()
    yield net
    net.stop()


@pytest.fixture
def far_peer(net, peer):
    """peer(), but it listens in the far namespace."""
    def make(*scripts, **kw):
        with net.inside(net.far):
            return peer(*scripts, host=netns.FAR, **kw)
    return make


def start(daemon, net, config):
    daemon.inside = net.enter(net.near)
    assert daemon.start(config)


def echo(c):
    c.good()
    c.echo()


def wait_long(daemon, name):
    """Until the next attempt is far away: only then it can be said why it comes early."""
    def far_away():
        status = daemon.status(name)
        if status["state"] == "waiting" and status["retry_in_ms"] > 300_000:
            return status
        if status["state"] == "waiting":
            daemon.client("reconnect", name)
        return None
    return eventually(far_away, 30, f"{name} waits for long")


NEVER = ("reconnect-delay = 10h", "reconnect-max = 10h")


# --- what was not reachable ---------------------------------------------------------------------


@needs_net
def test_link_comes_up(daemon, net, far_peer):
    """Without the link there is no way to the server; with it the conn does not sit its wait out."""
    p = far_peer(echo)
    net.near_link(False)
    start(daemon, net, section("a", p.url, *NEVER))
    assert wait_long(daemon, "a")["cause_class"] == "connect"
    before = daemon.log.count("trying again in ")
    net.near_link(True)
    daemon.wait_open("a", timeout=20)
    assert "the network has changed: trying again in" in daemon.log
    assert daemon.log.count("warning: cannot connect") <= before + 1


@needs_net
def test_r13_default_route_added(daemon, net, far_peer):
    """Without a route the server cannot be reached; the next attempt comes with the route."""
    p = far_peer(echo)
    netns.run("ip", "-n", net.near, "route", "del", "default")
    start(daemon, net, section("a", p.url, *NEVER))
    assert "unreachable" in wait_long(daemon, "a")["cause"]
    netns.run("ip", "-n", net.near, "route", "add", "default", "via", "10.99.1.1")
    daemon.wait_open("a", timeout=20)
    assert "the network has changed: trying again in" in daemon.log


@needs_net
def test_r13_address_removed(daemon, net, far_peer):
    """Our address goes, and comes back.  Treated differently: the list wants the connection dropped at
    once.  An address often comes back soon (a lease renewed, a roaming laptop), and TCP outlives that
    with nothing lost; when it does not, pings find out as with any other dead path."""
    p = far_peer(echo)
    start(daemon, net, section("a", p.url))
    daemon.wait_open("a")
    since = daemon.status("a")["since"]
    netns.run("ip", "-n", net.near, "addr", "del", f"{netns.NEAR}/24", "dev", "near0")
    daemon.put("a", "while it is away")
    netns.run("ip", "-n", net.near, "addr", "add", f"{netns.NEAR}/24", "dev", "near0")
    netns.run("ip", "-n", net.near, "route", "replace", "default", "via", "10.99.1.1")
    eventually(lambda: daemon.path("a", "last").read_text() == "while it is away\n", 20)
    assert daemon.status("a")["since"] == since


@needs_net
def test_who_is_not_hurried(daemon, net, far_peer):
    """A new address is news for who has timed out, not for who was refused by the server."""
    def unauthorized(c):
        c.read_head()
        c.send(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
    denied, deaf = far_peer(unauthorized), far_peer(lambda c: c.stall())
    start(daemon, net, section("denied", denied.url, *NEVER) +
          section("deaf", deaf.url, "connect-timeout = 200ms", *NEVER))
    wait_long(daemon, "denied")
    wait_long(daemon, "deaf")
    attempts, tries = len(denied.connections), len(deaf.connections)
    netns.run("ip", "-n", net.near, "addr", "add", "10.99.1.77/24", "dev", "near0")
    deaf.wait_connections(tries + 1)
    assert len(denied.connections) == attempts
    assert "denied: the network has changed" not in daemon.log


@needs_net
def test_flapping_link(daemon, net, far_peer):
    """A link that goes up and down all the time does not make it hammer."""
    p = far_peer(lambda c: c.rst())
    start(daemon, net, section("a", p.url, *NEVER))
    wait_long(daemon, "a")
    before, began = len(p.connections), time.monotonic()
    failures = daemon.log.count("warning: cannot connect")
    for i in range(60):
        net.near_link(i % 2 == 1)
        time.sleep(0.1)  # the pace of the weather
    took = time.monotonic() - began
    made = daemon.log.count("warning: cannot connect") - failures
    assert 1 <= made <= took / 5 + 1, (made, took)
    assert len(p.connections) - before <= made + 1


# --- a machine that sleeps ----------------------------------------------------------------------


@pytest.mark.skipif(ASAN or VALGRIND, reason="cannot be loaded into an instrumented daemon")
def test_resume(daemon, peer, tmp_path):
    """After a suspend what is open has to give a sign of life, and what waits for the network goes on."""
    sleeper, doze = tmp_path / "sleeper", tmp_path / "sleeper.wake"
    sleeper.write_bytes(bytes(8))
    os.mkfifo(doze)

    def lives(c):
        c.good()
        c.frame(PONG, c.expect_frame(PING, timeout=60))
        c.echo()

    def is_dead(c):
        c.good()
        c.expect_frame(PING, timeout=60)
        c.stall()
    alive, dead = peer(lives), peer(is_dead, lambda c: c.good().echo())
    hung = peer(lambda c: c.stall())
    hours = ("ping-interval = 1h", "ping-timeout = 1s")
    assert daemon.start(section("alive", alive.url, *hours) + section("dead", dead.url, *hours, *FAST) +
                        section("waits", hung.url, "connect-timeout = 200ms", *NEVER),
                        env={"LD_PRELOAD": f"{BUILD}/tests/libsleeper.so", "SLEEPER": str(sleeper)})
    daemon.wait_open("alive", "dead")
    wait_long(daemon, "waits")
    tries = len(hung.connections)

    with Stream(os.open(doze, os.O_WRONLY)) as wake:
        wake.write(b"8 bytes.")  # somebody has set the clock: nothing happens
        daemon.client("status")
        assert "slept" not in daemon.log
        sleeper.write_bytes((600).to_bytes(8, "little"))
        wake.write(b"8 bytes.")
    eventually(lambda: "the machine has slept for 600 s" in daemon.log)
    hung.wait_connections(tries + 1)
    dead.wait_connections(2)
    assert "dead: warning: connection ended" in daemon.log and "ping timeout" in daemon.log
    daemon.wait_open("alive", "dead")
    assert daemon.status("alive")["reconnects"] == 0
    daemon.put("alive", "still here")
    with daemon.open_out("alive") as out:
        assert out.line() == "still here"


# --- dead peers ---------------------------------------------------------------------------------


@needs_net
@pytest.mark.parametrize("in_flight", (False, True), ids=("idle", "data in flight"))
def test_dropped_path(daemon, net, far_peer, in_flight):
    """The router drops everything: the ping finds it, with unacknowledged data as well; when the path is
    back, so is the connection, and what was written meanwhile."""
    p = far_peer(echo)
    start(daemon, net, section("a", p.url, "connect-timeout = 2s", *SOON))
    daemon.wait_open("a")
    net.forward(False)
    if in_flight:
        daemon.put("a", "into the void")
    status = daemon.wait_state("a", "waiting", "connecting", timeout=20)
    assert "ping timeout" in daemon.log, status
    daemon.put("a", "after all")
    net.forward(True)
    with daemon.open_out("a") as out:
        assert out.line(40) in ("into the void", "after all")
    daemon.wait_open("a")


@needs_net
@takes_long
@pytest.mark.timeout(150)
def test_dropped_path_without_pings(daemon, net, far_peer):
    """Without pings the kernel finds it (TCP_USER_TIMEOUT), as soon as there is anything to send."""
    p = far_peer(echo)
    start(daemon, net, section("a", p.url, "ping-interval = 0", "connect-timeout = 2s", *FAST))
    daemon.wait_open("a")
    net.forward(False)
    daemon.put("a", "into the void")
    daemon.wait_state("a", "waiting", "connecting", timeout=90)
    assert "connection ended" in daemon.log


# --- servers that fall silent -------------------------------------------------------------------


def never_accepts(c):
    c.stall()


def half_tls(c):
    c.send(b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03")
    c.stall()


def drips_tls(c):
    while True:
        c.send(b"\x16\x03\x03\x3f\xff\x02" + bytes(100), drip=1, every=0.05)
        c.send(bytes(10000), drip=1, every=0.05)


def half_head(c):
    c.read_head()
    c.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: web")
    c.stall()


def drips_head(c):
    c.read_head()
    c.send(b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"y" * 15000, drip=1, every=0.02)


def after_upgrade(c):
    c.good()
    c.stall()


def half_frame_header(c):
    c.good()
    c.send(b"\x81\x7e\x10")
    c.stall()


def half_frame(c):
    c.good()
    c.send(make_frame(TEXT, "x" * 1000)[:500])
    c.stall()


def half_message(c):
    c.good()
    c.send(make_frame(TEXT, "x" * 1000, fin=0))
    c.stall()


def half_close(c):
    c.good()
    c.send(b"\x88\x02\x03")
    c.stall()


@pytest.mark.parametrize("scheme,silent,words", (
    ("ws", never_accepts, "waiting for the answer to the handshake"),
    ("wss", never_accepts, "in the TLS handshake"),
    ("wss", half_tls, "in the TLS handshake"),
    ("wss", drips_tls, "in the TLS handshake"),
    ("ws", half_head, "waiting for the answer to the handshake"),
    ("ws", drips_head, "waiting for the answer to the handshake"),
    ("ws", after_upgrade, "ping timeout"),
    ("ws", half_frame_header, "ping timeout"),
    ("ws", half_frame, "ping timeout"),
    ("ws", half_message, "ping timeout"),
    ("ws", half_close, "ping timeout"),
), ids=lambda x: getattr(x, "__name__", None))
def test_silent_at_each_step(daemon, peer, scheme, silent, words):
    """Left within connect-timeout, or ping-interval and ping-timeout; and then tried again."""
    p = peer(silent)
    daemon.start(section("a", p.url.replace("ws:", f"{scheme}:"), "connect-timeout = 1s",
                         "ping-interval = 300ms", "ping-timeout = 700ms", *FAST))
    p.wait_connections(2, timeout=20)
    assert words in daemon.log, daemon.log
    assert re.search(r"tim(ed out|eout)", daemon.log)


def test_proxy_that_falls_silent(daemon, peer):
    p = peer(lambda c: c.stall())
    daemon.start(section("a", "ws://example.invalid/", f"proxy = http://127.0.0.1:{p.port}",
                         "connect-timeout = 500ms", *FAST))
    p.wait_connections(2, timeout=20)
    assert "asking the proxy" in daemon.log


@takes_long
@pytest.mark.timeout(150)
def test_stops_reading_for_ever(daemon, peer):
    """A server that reads no more, while we have more to say than the kernels hold: the ping is stuck as well,
    and TCP_USER_TIMEOUT ends it."""
    p = peer(after_upgrade, receive_buffer=4096)
    daemon.start(section("a", p.url, "queue = 8M", *SOON))
    daemon.wait_open("a")
    with daemon.open_in("a") as writer:
        writer.write_until_blocked((b"x" * 65535 + b"\n") * 400)
        p.wait_connections(2, timeout=100)
    assert "connection ended" in daemon.log
