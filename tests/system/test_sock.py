"""`sock`: both ways at once, any number of clients, none of which disturbs another."""

import threading

from harness import MIB, eventually, scaled, section


def test_every_client_gets_every_message(daemon, echo):
    """"any number of clients; each gets every message that arrives while it is connected"; and `out`
    gets them too."""
    daemon.start(section("a", echo.url))
    daemon.wait_open("a")
    session = echo.session()
    session.send("too early")
    eventually(lambda: daemon.status("a")["received"]["messages"] == 1)
    clients = [daemon.sock("a") for _ in range(50)]
    eventually(lambda: len(daemon.readers("a", "sock")) == 50)
    session.send(*[f"{i}" for i in range(100)])
    for client in clients:
        assert client.lines(100) == [f"{i}" for i in range(100)]
    for i, client in enumerate(clients):
        client.write(f"from {i}\n")
    want = {f"from {i}" for i in range(50)}
    for client in clients:
        assert set(client.lines(50)) == want
        client.close()
    with daemon.open_out("a") as out:
        assert out.lines(101) == ["too early"] + [f"{i}" for i in range(100)]
    eventually(lambda: not daemon.readers("a", "sock"), what="gone clients are forgotten")


def test_reader_has_kind_pid_and_position(daemon, server):
    """`status --json` lists each reader with kind, pid and how far it is behind."""
    daemon.start(section("a", server.url))
    session = server.session()
    sleeper = daemon.spawn(["socat", "-u", f"UNIX-CONNECT:{daemon.path('a', 'sock')}", "STDOUT"])
    reader = eventually(lambda: daemon.readers("a", "sock"))[0]
    assert reader["pid"] == sleeper.pid
    assert {"kind", "name", "pid", "behind_messages", "missed"} <= set(reader)
    assert reader["missed"] == 0
    session.send("1", "2", "3")
    eventually(lambda: daemon.readers("a", "out")[0]["behind_messages"] == 3)
    eventually(lambda: daemon.readers("a", "sock")[0]["behind_messages"] == 0)


def test_shut_writing_side_goes_on_receiving(daemon, server):
    """"one that has shut down its writing side goes on receiving"; its unterminated tail was sent."""
    daemon.start(section("a", server.url))
    daemon.wait_open("a")
    session = server.session()
    with daemon.listener("a") as client:
        client.write("whole\ntail")
        client.shut_writing()
        assert session.recv_many(2) == ["whole", "tail"]
        session.send("reply 1")
        assert client.line() == "reply 1"
        daemon.status("a")
        session.send("reply 2")
        assert client.line() == "reply 2"


def test_socat_and_nc_style_half_close(daemon, echo):
    """A shell pipeline through socat sends its lines and sees the replies."""
    daemon.start(section("a", echo.url))
    daemon.wait_open("a")
    result = daemon.shell("(seq 20) | socat -t 2 - UNIX-CONNECT:a/sock | head -n 20")
    assert result.out.split() == [str(i) for i in range(1, 21)]


def test_slow_client_delays_nobody(daemon, server):
    """"No reader, however slow or absent, delays another reader, the sending side, or the answering
    of pings." """
    daemon.start(section("a", server.url))
    daemon.wait_open("a")
    session = server.session()
    with daemon.listener("a") as slow, daemon.listener("a") as fast:
        future = session.flood(2000, lambda i: f"{i} " + "s" * 4000)
        assert [int(x.split()[0]) for x in fast.lines(2000, 30)] == list(range(2000))
        assert future.result(scaled(20)) == 2000
        session.ping()
        fast.write("still sending\n")
        assert session.recv() == "still sending"
        assert [int(x.split()[0]) for x in slow.lines(2000, 30)] == list(range(2000))
    assert daemon.status("a")["dropped"]["messages"] == 0


def test_clients_come_and_go(daemon, echo):
    """"clients come and go": a steady client misses nothing while 300 others connect, write, leave
    with unread messages, or say nothing at all; no descriptor is left behind."""
    daemon.start(section("a", echo.url))
    daemon.wait_open("a")
    with daemon.listener("a") as steady:
        before = daemon.fds()

        def visit(worker):
            for i in range(100):
                with daemon.sock("a") as client:
                    if i % 3:
                        client.write(f"{worker} {i}\n")
                    if i % 3 == 2:
                        client.line()
        workers = [threading.Thread(target=visit, args=(w,)) for w in range(3)]
        for worker in workers:
            worker.start()
        got = [x.split() for x in steady.lines(3 * 66, 30)]
        for worker in workers:
            worker.join(scaled(20))
        for w in range(3):
            mine = sorted(int(i) for who, i in got if int(who) == w)
            assert mine == [i for i in range(100) if i % 3]
        eventually(lambda: daemon.fds() <= before, what="descriptors of gone clients are closed")


def test_partial_line_of_one_client_is_its_own(daemon, server):
    """Each client has its own stream: halves of two clients' lines are never joined."""
    daemon.start(section("a", server.url))
    daemon.wait_open("a")
    session = server.session()
    with daemon.sock("a") as one, daemon.sock("a") as two:
        one.write("one ")
        two.write("two ")
        daemon.status("a")
        two.write("ends\n")
        one.write("ends\n")
        assert sorted(session.recv_many(2)) == ["one ends", "two ends"]


def test_large_message_to_a_client_that_reads_late(daemon, echo):
    """A message larger than any socket buffer arrives whole, both ways."""
    daemon.start(section("a", echo.url))
    daemon.wait_open("a")
    big = "m" * (4 * MIB)
    with daemon.listener("a") as client:
        client.write(big + "\n", 20)
        assert echo.session().recv(20) == big
        eventually(lambda: daemon.status("a")["received"]["messages"] == 1)
        assert client.line(20) == big
