"""Too fast, too slow, too much: memory stays within the configuration, and losses are told."""

import re
import threading
import time

import pytest

import servers
from harness import FAST, KIB, MEMORY_IS_REAL, MIB, eventually, free_port, scaled, section

SIZE = 16 * KIB


def numbered(i):
    return f"{i} ".ljust(SIZE, ".")


def number(line):
    return int(line.split(" ", 1)[0])


class Rss:
    """The most that the daemon takes while it is watched."""

    def __init__(self, daemon):
        self.daemon, self.before, self.most = daemon, daemon.rss(), 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self):
        while not self.over.is_set():
            try:
                self.most = max(self.most, self.daemon.rss())
            except OSError:
                return
            self.over.wait(0.02)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(5)

    def grew_less_than(self, limit):
        if MEMORY_IS_REAL:
            grown = self.most - self.before
            assert grown < limit, f"{grown / MIB:.1f} MiB, limit {limit / MIB:.1f}"
        return True


def got_and_missed(stream, last):
    """Read until number LAST; (numbers, how many are missing), in order and none twice."""
    got = [number(stream.line())]
    while got[-1] != last:
        got.append(number(stream.line()))
    assert all(a < b for a, b in zip(got, got[1:])), "order or doubles"
    return got, last + 1 - len(got)


def flood_at_the_pace_of(reader, session, count, step):
    """Messages 0.. to COUNT; READER, who is never more than STEP behind, gets them all."""
    for first in range(0, count, step):
        session.send(*[numbered(i) for i in range(first, min(first + step, count))])
        for i in range(first, min(first + step, count)):
            assert number(reader.line()) == i


def test_m03_flood_while_nobody_reads(daemon, make_server):
    """"RSS bounded near keep, losses counted when overflow=drop": nobody reads `out`, 64 MiB come, 4 MiB
    are kept; another reader gets all, pings are answered, and who comes late is told exactly how many
    he missed."""
    server = make_server(servers.PyServer, ping_interval=0.5, ping_timeout=scaled(5))
    count = 4096
    daemon.start(section("a", server.url, "keep = 4M"))
    daemon.wait_open("a")
    session = server.session()
    with Rss(daemon) as rss, daemon.listener("a") as eager:
        flood_at_the_pace_of(eager, session, count, 100)
        session.ping()
        status = daemon.status("a")
        assert status["kept"]["bytes"] <= 4 * MIB
        assert status["received"]["messages"] == count
    rss.grew_less_than(16 * MIB)
    with daemon.open_out("a") as out:
        got, missing = got_and_missed(out, count - 1)
    assert 0 < missing < count and len(got) * SIZE > 2 * MIB, "keep is used"
    reader = daemon.readers("a", "out")[0]
    assert reader["missed"] == missing
    dropped = daemon.status("a")["dropped"]
    assert dropped["messages"] == missing and dropped["bytes"] == missing * SIZE
    assert re.search("missed|dropped|lost", daemon.log), "and logged"
    assert len(server.sessions) == 1


def test_m03_slow_sock_client_is_told(daemon, server):
    """A sock client that falls more than `keep` behind jumps ahead and is counted; the others are
    not concerned."""
    count = 2000
    daemon.start(section("a", server.url, "keep = 1M", "endpoints = sock status"))
    daemon.wait_open("a")
    session = server.session()
    with daemon.listener("a") as slow, daemon.listener("a") as fast:
        flood_at_the_pace_of(fast, session, count, 20)
        _, missing = got_and_missed(slow, count - 1)
        assert missing > 0
        missed = sorted(r["missed"] for r in daemon.readers("a", "sock"))
        assert missed == [0, missing]
        assert daemon.status("a")["dropped"]["messages"] == missing


def test_m03_overflow_block_loses_nothing(daemon, server):
    """"`block` (stop reading the WebSocket until it catches up)": the server is held back, memory is
    bounded, and the slow reader gets everything."""
    count = 4096
    daemon.start(section("a", server.url, "keep = 2M", "overflow = block", "endpoints = sock status",
                         "ping-interval = 0"))
    daemon.wait_open("a")
    session = server.session()
    with daemon.listener("a") as slow, Rss(daemon) as rss:
        future = session.flood(count, numbered)
        last = -1

        def stands_still():
            nonlocal last
            before, last = last, daemon.status("a")["received"]["messages"]
            time.sleep(0.3)
            return before == last and last > 0
        eventually(stands_still, 15, "reading has stopped")
        assert last < count and not future.done(), "the server was not held back"
        assert [number(x) for x in slow.lines(count, 40)] == list(range(count))
        assert future.result(scaled(20)) == count
    rss.grew_less_than(16 * MIB)
    status = daemon.status("a")
    assert status["dropped"]["messages"] == 0 and status["state"] == "open"


def test_m04_server_stops_reading(daemon, server):
    """"a server that stops reading": writers block at `queue`, memory is bounded, other connections and
    this one's receiving go on; when it reads again everything arrives, in order."""
    daemon.start(section("a", server.url, "ping-interval = 0", "queue = 1M")
                 + section("b", server.url + "b"))
    daemon.wait_open("a", "b")
    a = next(s for s in server.sessions if s.path == "/")
    b = next(s for s in server.sessions if s.path == "/b")
    a.stop_reading()
    count = 8192
    data = b"".join(numbered(i).encode() + b"\n" for i in range(count))
    with Rss(daemon) as rss, daemon.open_in("a") as writer, daemon.listener("a") as client:
        written = writer.write_until_blocked(data)
        assert written < len(data) // 2, "the writer was not held back"
        assert daemon.status("a")["queue"]["bytes"] <= 1 * MIB + 2 * SIZE
        a.send("still receiving")
        assert client.line() == "still receiving"
        daemon.put("b", "not concerned")
        assert b.recv() == "not concerned"
        lines = b"by sock\n" * 500000
        assert client.write_until_blocked(lines) < len(lines), "sock clients block too"
        client.close()
        a.go_on_reading()
        writer.write(data[written:], 40)
        got = []
        while not got or got[-1] != count - 1:
            message = a.recv(20)
            if len(message) == SIZE:  # else it is the sock client's
                got.append(number(message))
    rss.grew_less_than(12 * MIB)
    assert got == list(range(count))


def test_send_waits_for_room(daemon, server):
    """`wspipe send` "returns when all is queued": it waits while the queue is full, and loses nothing."""
    daemon.start(section("a", server.url, "ping-interval = 0", "queue = 64K"))
    daemon.wait_open("a")
    session = server.session()
    session.stop_reading()
    count = 4096
    source = daemon.home / "lines"
    source.write_text("".join(numbered(i) + "\n" for i in range(count)))
    with open(source, "rb") as lines:
        process = daemon.spawn_client("send", "a", stdin=lines)
    eventually(lambda: daemon.status("a")["queue"]["bytes"] > 32 * KIB, 15)
    assert process.poll() is None
    session.go_on_reading()
    assert [number(session.recv(20)) for _ in range(count)] == list(range(count))
    assert process.wait(scaled(10)) == 0


def test_queue_ttl(daemon):
    """"`queue-ttl`: a message that waited longer than this is dropped, counted and logged." """
    port = free_port()
    daemon.start(section("a", f"ws://127.0.0.1:{port}/", "queue-ttl = 500ms", "reconnect-delay = 1h",
                         "reconnect-max = 1h"))
    daemon.wait_state("a", "waiting")
    daemon.put("a", "stale 1", "stale 2", "stale 3")
    eventually(lambda: daemon.status("a")["dropped"]["messages"] == 3, what="they are counted")
    assert daemon.status("a")["queue"]["messages"] == 0
    assert re.search(r"\b3 .*messages", daemon.log), "and logged"
    server = servers.PyServer(port=port).start()
    try:
        daemon.client("reconnect", "a")
        daemon.put("a", "fresh")
        assert server.session().recv() == "fresh"
        assert server.session().got_nothing()
    finally:
        server.stop()


def test_keep_bounds_what_waits(daemon, server):
    """`keep` is what a late reader finds: the newest messages of so many bytes."""
    daemon.start(section("a", server.url, "keep = 256K"))
    daemon.wait_open("a")
    server.session().send(*[numbered(i) for i in range(200)])
    eventually(lambda: daemon.status("a")["received"]["messages"] == 200)
    assert 0 < daemon.status("a")["kept"]["bytes"] <= 256 * KIB
    with daemon.open_out("a") as out:
        got, missing = got_and_missed(out, 199)
        # The first record may have been in the pipe before.
        assert got[-1] == 199 and 4 <= len(got) <= 17
        assert got[1:] == list(range(got[1], 200))


def test_memory_is_shared_by_all(daemon, server):
    """`memory`: "upper bound for all connections' kept messages together"."""
    names = [f"c{i}" for i in range(8)]
    daemon.start("[daemon]\nmemory = 8M\n" + "".join(section(n, server.url, "keep = 64M")
                                                    for n in names))
    daemon.wait_open(*names)
    with Rss(daemon) as rss:
        futures = [s.flood(512, numbered) for s in server.sessions]  # 8 MiB each
        assert [f.result(scaled(40)) for f in futures] == [512] * 8
        eventually(lambda: all(c["received"]["messages"] == 512
                               for c in daemon.status_all().values()))
        assert sum(c["kept"]["bytes"] for c in daemon.status_all().values()) <= 8 * MIB
    rss.grew_less_than(24 * MIB)


def test_m05_one_flood_does_not_starve_the_others(daemon, server, make_server):
    """A connection under flood and a quiet one: the quiet one's messages pass all the while."""
    flooder = make_server(servers.PyServer)
    daemon.start(section("loud", flooder.url, "keep = 1M") + section("a", server.url))
    daemon.wait_open("loud", "a")
    quiet = server.session()
    with daemon.listener("a") as client:
        future = flooder.session().flood(20000, numbered)
        for i in range(20):
            client.write(f"{i}\n")
            assert quiet.recv(5) == f"{i}"
            quiet.send(f"{i}")
            assert client.line(5) == f"{i}"
        assert not future.done(), "there was no flood"
        flooder.session().abort()
        future.result(scaled(40))


@pytest.mark.parametrize("end", ("server", "daemon"))
def test_nothing_queued_is_sent_twice(daemon, end):
    """"A message accepted for sending is sent once, in order, or reported", across lost connections."""
    server = servers.PyServer().start()
    try:
        daemon.start(section("a", server.url, *FAST))
        daemon.wait_open("a")
        got, each = [], 2000
        for cut in range(5):
            session = server.session(cut)
            daemon.wait_open("a")
            daemon.put("a", *[f"{i}" for i in range(cut * each, (cut + 1) * each)])
            got += [int(x) for x in session.recv_many(500, 20)]
            if end == "server":
                session.abort()
            else:
                assert daemon.client("reconnect", "a").code == 0
            session.wait_closed()
            while not session.messages.empty():
                got.append(int(session.messages.get()))
        session = server.session(5)
        daemon.wait_open("a")
        daemon.put("a", f"{5 * each}")
        while got[-1] != 5 * each:
            got.append(int(session.recv(20)))
        assert all(a < b for a, b in zip(got, got[1:])), "order or doubles"
        if end == "daemon":
            assert got == list(range(5 * each + 1)), "a proper close loses nothing"
    finally:
        server.stop()
