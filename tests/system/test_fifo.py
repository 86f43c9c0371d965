"""`in` and `out`: lines in, lines out, whatever writers and readers do."""

import filecmp
import subprocess
import threading
import time

import pytest

from harness import FAST, MIB, SCALE, ended, eventually, scaled, section


@pytest.mark.timeout(120)
def test_hundred_thousand_lines_in_order(daemon, node_echo, tmp_path):
    """"`seq 100000 > NAME/in` against an echo server: the same 100,000 lines from `out`, in order,
    while `sock` clients come and go and the server is restarted between messages." """
    daemon.start(section("a", node_echo.url, *FAST))
    daemon.wait_open("a")
    over = threading.Event()
    failures = []

    def come_and_go():
        while not over.is_set():
            try:
                with daemon.sock("a") as client:
                    int(client.line())
            except (AssertionError, OSError, ValueError) as problem:
                if not over.is_set():
                    failures.append(problem)
                return

    visitor = threading.Thread(target=come_and_go)
    visitor.start()
    try:
        for part, (first, last) in enumerate(((1, 50000), (50001, 100000))):
            reader = daemon.spawn_shell(f"head -n 50000 < a/out > {tmp_path}/part{part}")
            writer = daemon.spawn_shell(f"seq {first} {last} > a/in")
            assert ended(writer, 60) == 0
            assert ended(reader, 60) == 0
            if part == 0:
                node_echo.restart()
    finally:
        over.set()
        daemon.client("send", "a", "0")  # wakes the visitor
        visitor.join(scaled(20))
    assert not failures
    subprocess.run(f"seq 100000 > {tmp_path}/want; cat {tmp_path}/part0 {tmp_path}/part1 > "
                   f"{tmp_path}/got", shell=True, check=True)
    assert filecmp.cmp(tmp_path / "want", tmp_path / "got", shallow=False)


@pytest.mark.timeout(120)
def test_eight_writers_open_write_close(daemon, server):
    """"8 writers x 10,000 open/write/close on `in`: none lost, CPU bounded." """
    daemon.start(section("a", server.url))
    daemon.wait_open("a")
    session, cpu = server.session(), daemon.cpu()
    writers = [daemon.spawn_shell(f"for ((i = 0; i < 10000; i++)); do echo {w} $i > a/in; done")
               for w in range(8)]
    got = [session.recv(60).split() for _ in range(80000)]
    assert [ended(w, 60) for w in writers] == [0] * 8
    for w in range(8):
        assert [int(n) for who, n in got if int(who) == w] == list(range(10000))
    assert daemon.cpu() - cpu < 8 * SCALE
    assert session.got_nothing()


def test_hundred_heads(daemon, server):
    """"100 x `head -n1 out`: no line lost, none twice": nobody takes a line he has not read."""
    daemon.start(section("a", server.url))
    server.session().send(*[f"line {i}" for i in range(150)])
    result = daemon.shell("for ((i = 0; i < 100; i++)); do head -n1 < a/out; done", timeout=40)
    assert result.out.splitlines() == [f"line {i}" for i in range(100)]
    with daemon.open_out("a") as out:
        assert out.lines(50) == [f"line {i}" for i in range(100, 150)]


def test_read_loop(daemon, server):
    """`while read -r line < out`: an open for each line works as well as one for all."""
    daemon.start(section("a", server.url))
    server.session().send(*[f"  line\\ {i} " for i in range(40)])
    result = daemon.shell("for i in {1..20}; do IFS= read -r l < a/out; echo \"$l\"; done; "
                          "exec 3< a/out; for i in {1..20}; do IFS= read -r l <&3; echo \"$l\"; done")
    assert result.out.splitlines() == [f"  line\\ {i} " for i in range(40)]


def test_batch_fills_the_pipe(daemon, server):
    """"`batch = yes` trades that for speed": many records in one read, all there, in order."""
    daemon.start(section("a", server.url, "batch = yes") + section("b", server.url))
    for index in (0, 1):
        server.session(index).send(*[f"{i}" for i in range(5000)])
    eventually(lambda: all(daemon.status(n)["received"]["messages"] == 5000 for n in "ab"))
    with daemon.open_out("a") as fast, daemon.open_out("b") as exact:
        def many_at_once():
            chunk = fast.chunk()
            fast.buffer.extend(chunk)
            return chunk.count(b"\n") > 10
        eventually(many_at_once, what="one read yields many records")
        exact.buffer.extend(exact.chunk())
        assert exact.buffer == b"0\n"
        assert fast.lines(5000) == exact.lines(5000) == [f"{i}" for i in range(5000)]


def test_reader_killed_in_the_middle_of_a_line(daemon, server):
    """"a reader that is killed in mid-line": the next reader gets that line whole."""
    daemon.start(section("a", server.url))
    big = "x" * MIB
    server.session().send(big, "next")
    reader = daemon.spawn_shell(
        "exec 3< a/out; head -c 100000 <&3 > /dev/null; echo ready; exec sleep 1000")
    assert reader.stdout.readline() == b"ready\n"
    reader.kill()
    reader.wait()
    daemon.status("a")  # the daemon has come round to what happened
    with daemon.open_out("a") as out:
        assert out.line() == big
        assert out.line() == "next"


def test_line_without_end_delays_nobody(daemon, echo):
    """"a writer that never ends its line": others send and receive as if it were not there."""
    daemon.start(section("a", echo.url) + section("b", echo.url))
    daemon.wait_open("a", "b")
    with daemon.open_in("a") as slow, daemon.listener("a") as client, daemon.open_out("a") as out:
        slow.write("never ending")
        client.write("from sock\n")
        assert client.line() == "from sock" == out.line()
        daemon.put("b", "other")
        with daemon.open_out("b") as other:
            assert other.line() == "other"
        slow.write(" story\n")
        assert client.line() == "never ending story" == out.line()


def test_unterminated_last_record(daemon, server):
    """"An unterminated last record is sent when its last writer closes." """
    daemon.start(section("a", server.url))
    daemon.wait_open("a")
    session = server.session()
    assert daemon.shell("printf 'one\\ntail' > a/in").code == 0
    assert session.recv_many(2) == ["one", "tail"]
    with daemon.open_in("a") as first, daemon.open_in("a") as second:
        first.write("half")
        first.close()
        assert session.got_nothing(), "sent though a writer is still there"
        second.write(" whole")
        second.close()
        assert session.recv() == "half whole"


def test_opening_and_closing_without_writing_sends_nothing(daemon, server):
    """Nothing written is no message; an empty line is one."""
    daemon.start(section("a", server.url))
    daemon.wait_open("a")
    assert daemon.shell("for i in {1..50}; do : > a/in; done; echo > a/in; echo end > a/in").code == 0
    assert server.session().recv_many(2) == ["", "end"]


def test_kept_while_nobody_reads(daemon, server):
    """"What arrives while nobody reads is kept and given to the next reader." """
    daemon.start(section("a", server.url))
    server.session().send(*[f"{i}" for i in range(3000)])
    eventually(lambda: daemon.status("a")["received"]["messages"] == 3000)
    with daemon.open_out("a") as out:
        assert out.lines(1000) == [f"{i}" for i in range(1000)]
    with daemon.open_out("a") as out:
        assert out.lines(2000) == [f"{i}" for i in range(1000, 3000)]


def test_sleeping_reader_loses_nothing(daemon, make_server):
    """"a reader asleep for longer than the server's ping timeout loses neither connection nor
    lines." """
    import servers
    server = make_server(servers.PyServer, ping_interval=0.3 * SCALE, ping_timeout=0.3 * SCALE)
    daemon.start(section("a", server.url))
    session = server.session()
    with daemon.open_out("a") as out:
        future = session.flood(4000, lambda i: f"{i} " + "y" * 1000)
        assert out.line().startswith("0 ")
        assert future.result(scaled(20)) == 4000, "the sender was held back"
        for _ in range(4):  # longer than a ping and its timeout
            time.sleep(0.3 * SCALE)
            session.ping()
        assert [int(x.split()[0]) for x in out.lines(3999)] == list(range(1, 4000))
    assert len(server.sessions) == 1


def test_full_or_left_pipes_do_not_spin(daemon, server):
    """A reader that does not read, and writers that have gone, cost no time (no busy loop on POLLERR
    or POLLHUP)."""
    daemon.start(section("a", server.url))
    daemon.wait_open("a")
    server.session().send(*["z" * 3000] * 100)
    daemon.put("a", "gone")
    with daemon.open_out("a") as out:
        out.line()
        cpu = daemon.cpu()
        time.sleep(1)
        assert daemon.cpu() - cpu < 0.2
    cpu = daemon.cpu()
    time.sleep(1)
    assert daemon.cpu() - cpu < 0.2
