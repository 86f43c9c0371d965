"""Time: what does not answer, what ends half, and when it is tried again."""

import collections
import email.utils
import os
import re
import signal
import socket
import threading
import time

import pytest

import netns
import peer as p
import servers
from cases import HELLO, SOON, Case, T, again, alive, up
from harness import FAST, eventually, free_port, scaled, section
from peer import CLOSE, CONTINUATION, PING, PONG, TEXT, close_frame


class Deaf:
    """A port whose SYNs are dropped: its queue is full."""

    def __init__(self, address="127.0.0.1", port=0):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.listener = socket.socket(family)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            self.listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self.listener.bind((address, port))
        self.listener.listen(0)
        self.port = self.listener.getsockname()[1]
        self.clients = []
        for _ in range(4):
            client = socket.socket(family)
            client.setblocking(False)
            client.connect_ex((address, self.port))
            self.clients.append(client)

    def close(self):
        for client in self.clients:
            client.close()
        self.listener.close()


def test_s01_port_that_does_not_answer(bench):
    """SYNs vanish: `connect-timeout` ends it, and it is tried again."""
    deaf = Deaf()
    case = bench.case(again, url=f"ws://127.0.0.1:{deaf.port}/", connect_timeout="400ms")
    case.expect_ended("timed out after 400 ms while connecting", SOON, was_open=False)
    deaf.close()


def test_s02_refused(bench):
    """Nobody listens: said at once, and tried again."""
    case = bench.case(again, url=f"ws://127.0.0.1:{free_port()}/", connect_timeout="1h")
    case.expect_ended("refused", SOON, was_open=False)


@pytest.fixture
def hosts(daemon, tmp_path):
    """Names of our own for the daemon."""
    hosts = netns.Hosts(tmp_path)
    problem = hosts.problem()
    if problem:
        pytest.skip(problem)
    daemon.inside = hosts.words
    return hosts


def test_s03_first_address_does_not_answer(daemon, hosts, peer):
    """The second is used soon, and the first attempt is given up."""
    port = free_port()
    try:
        deaf = Deaf("::1", port)
    except OSError:
        pytest.skip("there is no IPv6 here")
    server = peer(lambda c: c.good().stall(), port=port)
    hosts.write(both=("::1", "127.0.0.1"))
    daemon.start(section("a", f"ws://both.test:{port}/", "reconnect = never"))
    try:
        daemon.wait_open("a")
        assert daemon.status("a")["address"] == f"127.0.0.1:{port}"
        assert len(server.connections) == 1
    finally:
        deaf.close()


def test_s04_first_address_refuses(daemon, hosts, peer):
    """IPv6 leads nowhere, IPv4 is good: the latter is used at once."""
    server = peer(lambda c: c.good().stall())
    hosts.write(both=("::1", "127.0.0.1"))
    daemon.start(section("a", f"ws://both.test:{server.port}/", "reconnect = never"))
    daemon.wait_open("a")
    assert daemon.status("a")["address"] == f"127.0.0.1:{server.port}"
    assert len(server.connections) == 1


def test_r07_try_again_later_with_two_addresses(daemon, hosts, peer):
    """1013 from the first of two addresses.  Treated differently: the list wants the other address
    next.  The server asks for time, not for another address, and gets it; which address comes first is
    the resolver's to say (RFC 6724, RFC 8305), and clusters turn that to spread their load."""
    port = free_port()
    try:
        first = peer(lambda c: c.good().send(close_frame(1013)), lambda c: c.good().stall(), host="::1",
                     port=port)
    except OSError:
        pytest.skip("there is no IPv6 here")
    second = peer(lambda c: c.good().stall(), port=port)
    hosts.write(both=("::1", "127.0.0.1"))
    daemon.start(section("a", f"ws://both.test:{port}/"))
    status = daemon.wait_state("a", "waiting")
    assert status["close_code"] == 1013 and 25_000 < status["retry_in_ms"] <= 45_000
    assert daemon.client("reconnect", "a").code == 0
    daemon.wait_open("a")
    assert daemon.status("a")["address"] == f"[::1]:{port}"
    assert len(first.connections) == 2 and not second.connections


def test_s05_unknown_name(bench):
    """A name that does not exist; `connect-timeout` holds for a resolver that does not answer,
    too."""
    case = bench.case(again, url="ws://no-such-host.invalid/", connect_timeout="2s")
    case.expect_ended("no-such-host.invalid" if "timed" not in case.ended()[2] else "name", SOON,
                      was_open=False)


@pytest.mark.parametrize("read", (True, False), ids=("request read", "nothing read"))
def test_s06_never_answered(bench, read):
    """The request is never answered: `connect-timeout` covers that as well."""
    def script(c):
        if read:
            c.read_head()
            c.expect_eof()
        else:
            assert given_up.wait(scaled(10))
    given_up = threading.Event()
    case = bench.case(script, again, connect_timeout="400ms")
    case.expect_ended("timed out after 400 ms while waiting for the answer", SOON, was_open=False)
    given_up.set()
    case.expect_works_again(by_itself=True)


def test_s07_head_that_drips(bench):
    """The answer comes byte by byte, too slowly as a whole: the time is not begun anew by each."""
    def script(c):
        c.read_head()
        c.send(b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"y" * 2000, drip=1, every=0.02)
        c.expect_eof()
    case = bench.case(script, again, connect_timeout="600ms")
    case.expect_ended("timed out after 600 ms", SOON, was_open=False)
    case.expect_works_again(by_itself=True)


def test_s08_half_close(bench):
    """The server ends its direction alone: that is the end, and nothing more is sent."""
    def script(c):
        up(c)
        c.half_close()
        assert c.frames_to_end() == []
    case = bench.case(script, again)
    case.expect_ended("without a close frame", SOON, was_open=True)
    assert case.session() == ([], 1006)
    case.expect_works_again(by_itself=True)


def test_s09_half_close_behind_a_close(bench):
    """The server ends its direction behind its Close: ours still comes."""
    def script(c):
        up(c)
        c.send(close_frame(1001, "bye"))
        c.half_close()
        assert c.frames_to_end() == [(CLOSE, b"\x03\xe9")]
    case = bench.case(script, again)
    case.expect_ended("server closed: 1001", SOON, was_open=True)
    assert case.session() == ([], 1001)
    case.expect_works_again(by_itself=True)


def test_s10_server_reads_nothing(bench):
    """10 MiB wait while the server reads nothing: no busy loop; then all of it arrives."""
    count, go = 2500, threading.Event()

    def script(c):
        up(c)
        assert go.wait(scaled(20))
        for i in range(count):
            c.expect_frame(TEXT, f"{i:08}".ljust(4096, "x"))
        alive(c)
    case = bench.case(script, reconnect="never", queue="16M", peer_args={"receive_buffer": 4096})
    case.wait_state("open")
    for i in range(count):
        case.send(f"{i:08}".ljust(4096, "x"))
    eventually(lambda: case.status()["queue"]["messages"] > 100)
    cpu, wakeups = bench.daemon.cpu(), bench.daemon.wakeups()
    threading.Event().wait(0.7)  # an absence cannot be awaited
    assert bench.daemon.cpu() - cpu < scaled(0.2)
    assert bench.daemon.wakeups() - wakeups < 100
    go.set()
    case.expect_works_again(by_itself=True)


def test_s12_daemon_stands_still(bench):
    """The daemon is stopped for longer than `ping-timeout` (as on a suspended machine) while the
    server goes on answering: what has come meanwhile is read before the time is judged."""
    def script(c):
        up(c)
        c.frame(TEXT, "first")
        while True:
            opcode, data, _, _ = c.read_frame(30)
            if opcode == PING:
                c.frame(PONG, data)
                c.frame(TEXT, "pong sent")
            elif data == b"works!":
                return
    case = bench.case(script, ping_interval="100ms", ping_timeout="400ms")
    assert case.message() == T("first")
    for _ in range(3):
        assert case.message() == T("pong sent")
        os.kill(bench.daemon.pid, signal.SIGSTOP)
        threading.Event().wait(0.7)
        os.kill(bench.daemon.pid, signal.SIGCONT)
    case.message()
    assert len(case.peer.connections) == 1, case.log()
    case.send("works!")
    case.peer.wait_finished()


def test_s12_server_gone_meanwhile(bench):
    """... and if the server has gone, that is seen soon."""
    def script(c):
        up(c)
        c.expect_frame(PING)
        c.swallow()
    case = bench.case(script, again, ping_interval="100ms", ping_timeout="500ms")
    case.wait_state("open")
    os.kill(bench.daemon.pid, signal.SIGSTOP)
    threading.Event().wait(0.7)
    os.kill(bench.daemon.pid, signal.SIGCONT)
    case.expect_ended("ping timeout", SOON, was_open=True)
    case.expect_works_again(by_itself=True)


# --- trying again -------------------------------------------------------------------------------


def delays(case):
    return [float(m[2]) for m in map(Case.ENDED.fullmatch, case.log()) if m]


def test_s13_wall_clock_jumps(faulty, peer):
    """A date in Retry-After counts from the time of day at its receipt; what the time of day does then
    is nothing to who waits.  Of what is open: test_faults.py."""
    day = 24 * 3600

    def busy(c):
        c.read_head()
        date = email.utils.formatdate(time.time() + day + 600, usegmt=True)
        c.send(f"HTTP/1.1 503 Busy\r\nRetry-After: {date}\r\n\r\n".encode())
    server = peer(busy)
    faulty.page["wall_us"] = day * 1000000
    faulty.start(section("a", server.url))
    faulty.wait_state("a", "waiting")
    for jump in (day, 0, 2 * day):
        faulty.page["wall_us"] = jump * 1000000
        left = faulty.status("a")["retry_in_ms"]
        assert 400_000 < left <= 660_000, (jump, left)
    assert len(server.connections) == 1


@pytest.mark.parametrize("tls", (False, True), ids=("plain", "tls"))
def test_s15_short_and_interrupted(faulty, peer, pki, tls):
    """From the first byte on nothing is read or written as a whole, and much is interrupted.  Of files
    and clients: test_faults.py."""
    def script(c):
        c.good()
        assert c.expect_frame(TEXT) == b"first"
        assert listened.wait(scaled(20))
        c.frame(TEXT, "a", fin=0)
        c.frame(PING, "between")
        c.frame(CONTINUATION, "b" * 5000)
        assert c.expect_frame(PONG) == b"between"
        assert c.expect_frame(TEXT, timeout=30) == b"y" * 5000
        c.send(close_frame(1000, "enough"))
        c.expect_close(1000)
    listened = threading.Event()
    server = peer(script, tls=servers.server_tls(pki, "localhost") if tls else None)
    faulty.page["bytes_max"], faulty.page["interrupt"] = 7, 5
    faulty.start(section("a", server.url, f"cacert = {pki.cert('ca')}", "reconnect = never",
                         "on-open = first"))
    with faulty.listener("a") as client:
        listened.set()
        assert client.line(30) == "a" + "b" * 5000
        client.write("y" * 5000 + "\n")
        server.wait_finished(timeout=30)
    status = faulty.wait_state("a", "closed", "failed")
    assert (status["close_code"], status["close_reason"]) == (1000, "enough")
    assert faulty.page["cut"] > 1000
    faulty.page["bytes_max"] = faulty.page["interrupt"] = 0  # libevent tells itself of a signal by send()


def test_r01_first_delays_are_spread(bench):
    """100 connections that are refused wait from 0.1 s to `reconnect-delay`, spread evenly."""
    port = free_port()
    cases = [bench.case(again, url=f"ws://127.0.0.1:{port}/", reconnect_delay="20s")
             for _ in range(100)]
    for case in cases:
        case.ended()
    first = [delays(case)[0] for case in cases]
    assert all(0.1 <= x <= 20 for x in first) and len(set(first)) > 50
    assert 7 < sum(first) / len(first) < 13


def test_r02_reset_of_all_at_once(bench):
    """100 connections lose their server in the same moment: they do not come back in the same
    one."""
    go = threading.Event()

    def script(c):
        up(c)
        assert go.wait(scaled(20))
        c.rst()
    server = p.Peer(script, again, backlog=128)
    server.scripts = (script,) * 100 + (again,)
    try:
        cases = [bench.case(again, url=server.url, reconnect_delay="20s") for _ in range(100)]
        for case in cases:
            case.wait_state("open")
        go.set()
        bins = collections.Counter(int(case.ended()[1]) for case in cases)
        assert max(bins.values()) <= 20, bins
    finally:
        server.stop()


@pytest.mark.parametrize("how", ("end", "close"))
def test_r03_flapping_server(bench, how):
    """Accept, 101, gone, again and again: that it was open for a moment does not begin the delays
    anew."""
    def script(c):
        c.good()
        if how == "close":
            c.send(close_frame(1001))
            c.close_payload()
    cases = [bench.case(script, repeat=True) for _ in range(30)]
    eventually(lambda: all(len(delays(case)) >= 4 for case in cases), 20)
    for number in range(4):
        bound = 0.1 * 2 ** number
        assert all(0.1 <= delays(case)[number] <= bound for case in cases)
    assert sum(delays(case)[3] for case in cases) / len(cases) > 0.2


def test_r04_stable_for_a_while(faulty, peer):
    """Who was open for half a minute begins anew with short delays."""
    names = [f"c{i}" for i in range(8)]
    attempts, over = collections.Counter(), threading.Event()

    def script(c):
        c.read_head()
        path = c.head.split()[1]
        attempts[path] += 1
        if attempts[path] <= 4:
            c.rst()
            return
        c.good()
        assert over.wait(scaled(40))
        c.rst()
    server = peer(script)
    faulty.start("".join(section(name, f"{server.url}{name}", "reconnect-delay = 100ms",
                                 "reconnect-max = 60s", "ping-interval = 0") for name in names))
    faulty.wait_open(*names, timeout=30)
    faulty.pass_time(31)
    over.set()
    for name in names:
        again = rf"wspiped: {name}: warning: connection ended, trying again in ([0-9.]+) s"
        found = eventually(lambda: re.search(again, faulty.log), what=f"{name} has ended")
        assert float(found[1]) <= 0.1


def test_r05_closed_with_1000_again_and_again(bench):
    """1000 is no failure, but three times in a row right after the opening: not before a minute.
    The other codes: l03."""
    def script(c):
        up(c)
        c.send(close_frame(1000))
        c.close_payload()
    case = bench.case(script, repeat=True)
    case.ended(3)
    assert delays(case)[2] >= 60 and max(delays(case)[:2]) < 1


def test_r08_another_answer_of_the_resolver(daemon, hosts, peer):
    """Each attempt asks anew where the name leads."""
    port = free_port()
    old = peer(lambda c: c.good().stall(), host="127.0.0.2", port=port)
    new = peer(lambda c: c.good().stall(), host="127.0.0.3", port=port)
    hosts.write(moves=("127.0.0.2",))
    daemon.start(section("a", f"ws://moves.test:{port}/", *FAST))
    daemon.wait_open("a")
    assert daemon.status("a")["address"] == f"127.0.0.2:{port}"
    hosts.write(moves=("127.0.0.3",))
    old.connections[0].rst()
    new.wait_connections(1)
    daemon.wait_open("a")
    assert daemon.status("a")["address"] == f"127.0.0.3:{port}"
    assert len(old.connections) == 1


@pytest.mark.parametrize("code", (1000, 1001))
def test_r06_on_failure(bench, code):
    """With `reconnect = on-failure` a clean close is the end; reconnecting by hand works."""
    def script(c):
        up(c)
        c.send(close_frame(code))
        c.close_payload()
    def stay(c):
        up(c)
        c.stall()
    case = bench.case(script, stay, reconnect="on-failure")
    case.wait_state("closed")
    case.reconnect()
    case.wait_state("open")


def test_r14_reload_while_waiting(daemon, peer):
    """A reload during the wait for the next attempt makes one attempt of it, not two."""
    def refuse(c):
        c.read_head()
        c.send(b"HTTP/1.1 404 No\r\n\r\n")

    def good(c):
        while b"\r\n\r\n" not in c.buffer:  # the next reload may end this
            if not c._more(scaled(10) + time.monotonic(), "request head"):
                return
        c.good()
        c.swallow()
    server = peer(refuse, good)
    daemon.start(section("a", server.url, "reconnect-delay = 50s", "reconnect-max = 60s",
                         "close-timeout = 300ms"))
    daemon.wait_state("a", "waiting")
    for i in range(3):
        daemon.write_config(section("a", server.url, *FAST, f"header = X-Try: {i}",
                                    "close-timeout = 300ms"))
        assert daemon.reload().code == 0
    daemon.wait_open("a")
    server.wait_connections(2)
    with pytest.raises(AssertionError):
        server.wait_connections(6, timeout=0.5)
    assert server.connections[-1].field("x-try") == ["2"]


def test_r15_reconnect_instead_of_waiting(bench):
    """`wspipe reconnect` does not wait for what the server has asked for."""
    def busy(c):
        c.read_head()
        c.send(b"HTTP/1.1 503 Busy\r\nRetry-After: 3600\r\n\r\n")
    case = bench.case(busy, again)
    case.expect_ended("HTTP 503", (3600, 3960))
    case.expect_works_again()


def test_h55_one_at_a_time(bench):
    """Fifty connections to one address and port: never two in the opening handshake at once (RFC
    6455 4.1)."""
    lock = threading.Lock()
    counts = {"now": 0, "most": 0}

    def script(c):
        with lock:
            counts["now"] += 1
            counts["most"] = max(counts.values())
        c.read_head()
        c.wait(0.01)
        with lock:
            counts["now"] -= 1
        c.send(c.good_head())
        c.expect_frame(TEXT, HELLO)
        c.stall()
    server = p.Peer(script, backlog=64)
    try:
        cases = [bench.case(again, url=server.url) for _ in range(50)]
        for case in cases:
            case.wait_state("open")
    finally:
        server.stop()
    assert counts["most"] == 1
