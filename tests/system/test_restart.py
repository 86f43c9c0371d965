"""A restart that local programs do not see: FIFOs, sockets and what is under way in the manager's store."""

import os
import random
import re
import time

import pytest

import servers
from fdstore import FdStore
from harness import FAST, eventually, free_port, scaled, section
from loads import Collector, Flood, Writer, check_sent, numbers

ROUNDS = int(os.environ.get("WSPIPE_ROUNDS", "12"))
SEED = int(os.environ.get("WSPIPE_SEED", "0")) or random.randrange(1 << 30)
ALL = "endpoints = in out drain sock last status"


@pytest.fixture
def manager(daemon):
    manager = FdStore(daemon)
    yield manager
    manager.close()


HOW = {"restart": FdStore.restart, "kill": FdStore.kill_and_start}
both = pytest.mark.parametrize("how", sorted(HOW))
persistence = pytest.mark.parametrize("persist", ("yes", "no"))


def config(server, *lines, persist="yes"):
    return section("a", server.url, *FAST, f"persist = {persist}", *lines)


# --- one thing each -----------------------------------------------------------------------------


@both
@persistence
def test_a_client_keeps_its_connection(manager, daemon, server, how, persist):
    """A sock client goes on in both directions, and is still a reader by its process."""
    manager.start(config(server, persist=persist))
    first = server.session()
    with daemon.listener("a") as client:
        first.send("one")
        assert client.line() == "one"
        HOW[how](manager)
        second = server.session(1)
        daemon.wait_open("a")
        second.send("two")
        assert client.line() == "two"
        client.write("back\n")
        assert second.recv() == "back"
        assert [r["pid"] for r in daemon.readers("a", "sock")] == [os.getpid()]


@both
def test_half_a_line_is_kept(manager, daemon, server, how):
    """The first half of a record was read by one daemon, the second by the next: by `sock` and `in`."""
    manager.start(config(server, persist="no"))
    server.session()
    with daemon.listener("a") as client, daemon.open_in("a") as pipe:
        client.write("sock, first half, ")
        pipe.write("in, first half, ")
        daemon.wait_open("a")
        assert server.session().got_nothing()  # it was read, and is no message yet
        HOW[how](manager)
        session = server.session(1)
        client.write("second half\n")
        pipe.write("second half\n")
        assert sorted(session.recv_many(2)) == ["in, first half, second half",
                                                "sock, first half, second half"]


@both
def test_what_was_written_meanwhile_arrives(manager, daemon, server, how):
    """No daemon runs: writers write, connect, and go away again, as if one did."""
    manager.start(config(server, persist="no"))
    server.session()
    with daemon.listener("a") as client, daemon.open_in("a") as pipe:
        daemon.wait_open("a")
        if how == "kill":
            daemon.kill()
        else:
            daemon.stop()
        manager.sync()
        pipe.write("by in\n")
        client.write("by sock\n")
        client.close()  # all is read yet that it has written
        with daemon.sock("a") as late:  # waits in the backlog
            late.write("by a late one\n")
            manager.start()
            session = server.session(1)
            assert sorted(session.recv_many(3)) == ["by a late one", "by in", "by sock"]
            daemon.wait_open("a")
            session.send("to the late one")
            assert late.line() == "to the late one"


@both
def test_what_the_queue_refused_is_kept(manager, daemon, server, how):
    """Read from a client, and refused by a queue that is full: it is not lost (nor is what waits in the
    queue, with persist)."""
    manager.start(section("a", f"ws://127.0.0.1:{free_port()}/", *FAST, "persist = yes", "queue = 4K"))
    with daemon.listener("a") as client, daemon.open_in("a") as pipe:
        lines = [f"{i} " + "x" * 300 for i in range(100)]
        client.write("".join(f"sock {x}\n" for x in lines))
        pipe.write("".join(f"in {x}\n" for x in lines))
        eventually(lambda: daemon.status("a")["queue"]["messages"] > 5)
        HOW[how](manager)
        HOW[how](manager)
        daemon.write_config(config(server, "queue = 4K"))
        assert daemon.reload().code == 0
        got = server.session().recv_many(200, 20)
        for word in ("in", "sock"):
            assert [x for x in got if x.startswith(word)] == [f"{word} {x}" for x in lines]


@both
@persistence
def test_out_keeps_its_reader(manager, daemon, server, how, persist):
    """The reader of `out` sees no end of file, and the record that stood in the pipe comes once."""
    manager.start(config(server, persist=persist))
    first = server.session()
    with daemon.open_out("a") as out:
        first.send("one", "two", "three")
        eventually(lambda: daemon.status("a")["received"]["messages"] == 3)
        assert out.line() == "one"
        eventually(lambda: not out.silent(0.01), what="the second one stands in the pipe")
        HOW[how](manager)
        daemon.wait_open("a")
        server.session(1).send("four")
        wanted = ["two", "three", "four"] if persist == "yes" else ["two", "four"]
        assert out.lines(len(wanted)) == wanted
        assert out.silent()


@both
@pytest.mark.parametrize("taken", (0, 1, 7))
def test_drain_goes_on(manager, daemon, server, how, taken):
    """Who drains gets the rest of it from the next daemon, and then the end of file; who has opened `drain`
    behind him gets his own."""
    manager.start(config(server, ALL))
    server.session().send(*[f"{i} " + "x" * (5000 if i % 10 == 3 else 30) for i in range(50)])
    eventually(lambda: daemon.status("a")["received"]["messages"] == 50)
    with daemon.open_out("a", "drain") as first, daemon.open_out("a", "drain") as second:
        got = first.lines(taken)
        eventually(lambda: not first.silent(0.01), what="the next one stands in the pipe")
        HOW[how](manager)
        got += first.rest().decode().splitlines()
        assert numbers(got) == list(range(50))
        assert second.rest() == b""
    assert daemon.shell("cat a/drain").out == ""


@both
def test_drain_readers_that_leave_meanwhile(manager, daemon, server, how):
    """One has gone in the middle of a record while no daemon ran: it is whole for the next."""
    manager.start(config(server, ALL))
    server.session().send(*[f"{i} " + "x" * 3000 for i in range(20)])
    eventually(lambda: daemon.status("a")["received"]["messages"] == 20)
    with daemon.open_out("a", "drain") as reader:
        got = reader.lines(3)
        eventually(lambda: not reader.silent(0.01), what="the next one stands in the pipe")
        daemon.kill() if how == "kill" else daemon.stop()
        manager.sync()
        os.read(reader.fd, 100)
    manager.start()
    got += daemon.shell("cat a/drain").out.splitlines()
    assert numbers(got) == list(range(20))


@both
@pytest.mark.parametrize("size", (100_000, 3_000_000))
def test_a_long_record_half_written(manager, daemon, server, how, size):
    """A record of which a client has got a part is ended, though nothing was kept (persist = no)."""
    manager.start(config(server, persist="no"))
    first = server.session()
    with daemon.listener("a") as client, daemon.open_out("a") as out:
        first.send("x" * size)
        eventually(lambda: daemon.status("a")["received"]["messages"] == 1)
        head = client.chunk(), out.chunk()
        HOW[how](manager)
        daemon.wait_open("a")
        server.session(1).send("next")
        for reader, seen in zip((client, out), head):
            reader.buffer[:0] = seen
            assert reader.line() == "x" * size
            assert reader.line() == "next"


def test_what_a_client_missed_is_told(manager, daemon, server):
    """Without persist, what had not been written to it at the end is counted, and in the log."""
    manager.start(config(server, persist="no"))
    with daemon.listener("a") as client:
        server.session().send(*[f"{i:05d}" + "x" * 1000 for i in range(5000)])
        eventually(lambda: daemon.status("a")["received"]["messages"] == 5000)
        behind = daemon.readers("a", "sock")[0]["behind_messages"]
        assert behind > 0
        manager.restart()
        server.session(1)
        daemon.wait_open("a")
        assert daemon.readers("a", "sock")[0]["missed"] == behind
        assert re.search(rf"misses {behind} messages", daemon.log)
        server.session(1).send("end")
        lines = client.lines(5000 - behind + 1)
        assert [int(x[:5]) for x in lines[:-1]] == list(range(5000 - behind))
        assert lines[-1] == "end"


def test_a_client_that_goes_is_forgotten(manager, daemon, server):
    """Its descriptors leave the store, and it sees the end though the manager had copies."""
    manager.start(config(server))
    client = daemon.listener("a")
    manager.wait_names("a/sock.0", "a/in", "a/out")
    client.shut_writing()
    client.close()
    eventually(lambda: "a/sock.0" not in manager.names())
    with daemon.listener("a") as client:
        manager.wait_names("a/sock.1")
        daemon.write_config("")
        assert daemon.reload().code == 0
        assert client.rest() == b""
        eventually(lambda: all(not n.startswith("a/") for n in manager.names()))


def test_what_is_not_wanted_any_more_is_closed(manager, daemon, server):
    """A connection, an endpoint or terms that have gone from the configuration meanwhile."""
    manager.start(config(server) + section("b", server.url, *FAST))
    with daemon.listener("a") as a, daemon.listener("b") as b:
        manager.wait_names("a/sock.0", "b/sock.0")
        daemon.stop()
        manager.sync()
        manager.start(config(server, "framing = nul"))
        assert a.rest() == b"" and b.rest() == b""
        assert "is of no use" in daemon.log
        eventually(lambda: not any(n.startswith("b/") for n in manager.names()))
        with daemon.listener("a") as c:
            c.write("works\0")
            assert server.session().recv() == "works"


def test_foreign_descriptors(manager, daemon, server, tmp_path):
    """What comes under our names need not be ours: it is closed, and the daemon works."""
    manager.start(config(server, ALL))
    server.session()
    daemon.stop()
    manager.sync()
    with manager.lock:
        names = [name for name, _ in manager.stored]
        manager.drop()
        for name in names + ["a/sock.7", "a/sock.x", "a/sock.18446744073709551615", "nonsense", "a/",
                             "a/drain.3", "a/drain.x"]:
            manager.stored.append((name, os.open("/dev/null", os.O_RDWR)))
            (tmp_path / "file").write_bytes(os.urandom(20000))
            manager.stored.append((name, os.open(tmp_path / "file", os.O_RDWR)))
            manager.stored.append((name, os.pipe()[0]))
    manager.start()
    session = server.session(1)
    daemon.wait_open("a")
    daemon.put("a", "works")
    assert session.recv() == "works"
    with daemon.listener("a") as client:
        session.send("too")
        assert client.line() == "too"
    eventually(lambda: "nonsense" not in manager.names())


def test_stop_ends_it_for_all(manager, daemon, server):
    """`systemctl stop` is not a restart: clients and readers see the end."""
    manager.start(config(server))
    with daemon.listener("a") as client, daemon.open_out("a") as out:
        manager.wait_names("a/sock.0", "a/out")
        manager.stop()
        assert client.rest() == b"" and out.rest() == b""


def test_control_waits(manager, daemon, server):
    """A client of the control socket that connects while no daemon runs is answered by the next."""
    manager.start(config(server))
    manager.wait_names(*[n for n in manager.names() if n.startswith("control@")])
    daemon.wait_open("a")
    daemon.stop()
    manager.sync()
    asking = daemon.spawn_client("wait", "a", "--for", "open", "--timeout", "20")
    manager.start()
    assert asking.wait(scaled(20)) == 0


def test_a_store_that_is_too_small(daemon, server):
    """What the manager has not taken is lost with the daemon, and nothing else is."""
    manager = FdStore(daemon, limit=4)
    try:
        manager.start(config(server))
        with daemon.listener("a") as client:
            manager.restart()
            daemon.wait_open("a")
            assert client.rest() == b""
            with daemon.listener("a") as again:
                server.session(1).send("fine")
                assert again.line() == "fine"
    finally:
        manager.close()


@both
def test_what_comes_back_twice(manager, daemon, server, how):
    """The same files twice are those files; more than there were, and nobody knows what belongs together."""
    manager.start(config(server, ALL))
    with daemon.listener("a") as client, daemon.listener("a") as mixed:
        manager.wait_names("a/sock.0", "a/sock.1")
        daemon.kill() if how == "kill" else daemon.stop()
        manager.sync()
        with manager.lock:
            manager.stored += [(name, os.dup(fd)) for name, fd in manager.stored]
            manager.stored += [("a/sock.1", fd) for _ in range(3) for fd in os.pipe()]
        manager.start()
        assert mixed.rest() == b""
        session = server.session(1)
        daemon.wait_open("a")
        session.send("to one")
        assert client.line() == "to one"
        client.write("by one\n")
        assert session.recv() == "by one"
        assert daemon.log.count("more has come back as 'a/sock.1'") == 1


def test_a_manager_that_cannot_be_told(daemon, server):
    """It is said once, and all ends as it does without a manager: what is in the FIFO is still sent."""
    daemon.start(config(server, persist="no"),
                 env={"NOTIFY_SOCKET": str(daemon.home / "nobody")})
    session = server.session()
    with daemon.listener("a") as client, daemon.open_in("a") as pipe:
        daemon.wait_open("a")
        assert daemon.log.count("cannot be given descriptors") == 1
        pipe.write("".join(f"{i}\n" for i in range(1000)))
        daemon.stop()
        assert client.rest() == b""
    assert session.recv_many(1000) == [str(i) for i in range(1000)]


@both
def test_after_a_record_too_long(manager, daemon, server, how):
    """Its writer has gone in the middle of it: what another writes for the next daemon is no part of it."""
    manager.start(config(server, "max-message = 1K", persist="no"))
    server.session()
    daemon.wait_open("a")
    with daemon.open_in("a") as pipe:
        pipe.write("x" * 100000)
    eventually(lambda: "in: a record is longer" in daemon.log)
    for _ in range(3):
        daemon.status("a")  # it has been through its loop, and seen the end
    daemon.kill() if how == "kill" else daemon.stop()
    manager.sync()
    daemon.put("a", "whole")
    manager.start()
    assert server.session(1).recv() == "whole"


# --- without a manager --------------------------------------------------------------------------


@pytest.mark.parametrize("how", ("kill", "stop"))
def test_without_a_manager_the_fifos_stay(daemon, server, how):
    """The same inodes, so that programs that sleep in open() wake up."""
    daemon.start(section("a", server.url, *FAST, ALL))
    server.session()
    inodes = [daemon.path("a", n).stat().st_ino for n in ("in", "out", "drain")]
    getattr(daemon, how)()
    writer = daemon.spawn_shell("echo hello > a/in")
    reader = daemon.spawn_shell("head -n1 a/out")
    drainer = daemon.spawn_shell("cat a/drain; echo end")
    daemon.start()
    assert [daemon.path("a", n).stat().st_ino for n in ("in", "out")] == inodes[:2]
    assert server.session(1).recv() == "hello"
    server.session(1).send("hi")
    assert reader.stdout.readline() == b"hi\n"
    assert writer.wait(scaled(10)) == 0
    assert drainer.stdout.read().endswith(b"end\n")


@pytest.mark.parametrize("how", ("kill", "stop"))
def test_persist_keeps_what_was_read(daemon, server, how):
    """Half a line was read from `in`; with persist it is in the state directory."""
    daemon.start(config(server))
    server.session()
    with daemon.open_in("a") as pipe:
        pipe.write("first half, ")
        assert server.session().got_nothing()
        getattr(daemon, how)()
        daemon.start()
        session = server.session(1)
        pipe.write("second half\n")
        assert session.recv() == "first half, second half"


# --- all at once, many times --------------------------------------------------------------------


@pytest.mark.timeout(240)
@both
def test_all_at_once(manager, daemon, make_server, how):
    """Rounds under load in both directions.  What the daemon has kept (persist) every reader has got, each
    record once and whole; what local programs have written the server has got."""
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    server = make_server(servers.PyServer)
    manager.start(config(server, "resend = yes" if how == "kill" else "resend = no", "keep = 1G"))
    server.session()
    client, out = daemon.listener("a"), daemon.open_out("a")
    pipe, second = daemon.open_in("a"), daemon.listener("a")
    readers = [Collector(client), Collector(out)]
    flood = Flood(server)
    writers = [Writer(pipe, "in"), Writer(second, "sock")]
    for _ in range(ROUNDS):
        time.sleep(rng.uniform(0.02, 0.3))
        HOW[how](manager)
        daemon.wait_open("a", timeout=20)
    for one in writers:
        one.stop()
    flood.stop()
    daemon.put("a", "last")
    eventually(lambda: any("last" in list(s.messages.queue) for s in server.sessions), 30)
    eventually(lambda: all(r["behind_messages"] == 0 for r in daemon.readers("a")
                           if r["kind"] == "out"), 30)
    assert daemon.client("cursor", "set", "a", "all", "oldest").code == 0
    kept = daemon.client("recv", "a", "--cursor", "all", timeout=60).out.splitlines()
    assert len(kept) > 100
    for reader in readers:
        eventually(lambda reader=reader: len(reader.lines()) >= len(kept), 30)
        reader.stop()
    for name, reader in zip(("sock", "out"), readers):
        assert reader.data.endswith(b"\n")
        assert numbers(reader.lines()) == numbers(kept), name
        assert reader.lines() == kept, name
    messages = [m for s in server.sessions for m in list(s.messages.queue)]
    for writer in writers:
        check_sent(messages, writer.word, writer.count, once=how == "restart")
    for stream in (client, out, pipe, second):
        stream.close()
