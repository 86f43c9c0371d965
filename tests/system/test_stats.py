"""`wspipe stats` and `wspipe top`."""

import os
import pty
import re
import signal
import time

from harness import DONE, NO_DAEMON, ended, eventually, scaled, section

SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\]|\\.)*",?)+)\})? (-?[0-9.]+)$')


def parse(text):
    """{(name, labels): value}, after a look at the form: HELP and TYPE ahead of each family, once."""
    samples, types, family = {}, {}, None
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split()[2]
            assert family not in types, f"{family} twice"
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name == family and kind == ("counter" if name.endswith("_total") else "gauge")
            types[name] = kind
        else:
            match = SAMPLE.match(line)
            assert match and match[1] == family, line
            key = (match[1], match[2] or "")
            assert key not in samples, line
            samples[key] = float(match[3])
    return samples


def test_stats(daemon, server):
    daemon.start(section("a", server.url) + section("idle", "ws://127.0.0.1:1/"))
    daemon.wait_open("a")
    server.session().send("one", "three")
    daemon.put("a", "seven77")
    server.session().recv()
    eventually(lambda: daemon.status("a")["received"]["messages"] == 2)
    head, *rows = daemon.client("stats").out.splitlines()
    assert head.split()[:4] == ["NAME", "STATE", "RECEIVED", "BYTES"]
    a, idle = sorted(row.split() for row in rows)
    assert a[:6] == ["a", "open", "2", "8", "1", "7"] and idle[0] == "idle"


def test_stats_for_prometheus(daemon, server):
    daemon.start(section("a", server.url) + section("idle", "ws://127.0.0.1:1/"))
    daemon.wait_open("a")
    with daemon.listener("a"):
        server.session().send("one", "three")
        daemon.put("a", "seven77")
        server.session().recv()
        eventually(lambda: daemon.status("a")["received"]["messages"] == 2)
        result = daemon.client("stats", "--prometheus")
    assert result.code == DONE and not result.err
    samples = parse(result.out)
    a = 'name="a"'
    assert samples["wspipe_received_messages_total", a] == 2
    assert samples["wspipe_received_bytes_total", a] == 8
    assert samples["wspipe_sent_bytes_total", a] == 7
    assert samples["wspipe_dropped_messages_total", 'name="idle"'] == 0
    assert samples["wspipe_connections", ""] == 2
    assert samples["wspipe_connection_state", a + ',state="open"'] == 1
    assert sum(v for (name, labels), v in samples.items()
               if name == "wspipe_connection_state" and a in labels) == 1
    assert abs(samples["wspipe_start_time_seconds", ""] - time.time()) < 3600
    behind = {labels for name, labels in samples if name == "wspipe_reader_behind_messages"}
    assert len([labels for labels in behind if 'kind="sock"' in labels and a in labels]) == 1
    assert len([labels for labels in behind if 'kind="out"' in labels]) == 2


def test_two_sockets_of_one_process_are_one_sample(daemon, server):
    """Two samples with the same labels would have Prometheus refuse the whole text."""
    daemon.start(section("a", server.url))
    daemon.wait_open("a")
    with daemon.listener("a"), daemon.listener("a"):
        assert len(daemon.readers("a", "sock")) == 2
        samples = parse(daemon.client("stats", "--prometheus").out)
        assert len([1 for name, labels in samples
                    if name == "wspipe_reader_missed_messages_total" and 'kind="sock"' in labels]) == 1


def test_top_into_a_pipe(daemon, server):
    """Two tables, the second with rates of what came between."""
    daemon.start(section("a", server.url) + section("b-with-a-longer-name", server.url))
    daemon.wait_open("a", "b-with-a-longer-name")
    child = daemon.spawn_client("top", "-n", "2", "--interval", "1")
    first = b""
    while first.count(b"\n") < 6:
        first += os.read(child.stdout.fileno(), 1000)
    server.sessions[0].send(*["x" * 1024] * 500)
    out, err = child.communicate(timeout=scaled(10))
    assert child.returncode == DONE and not err
    head, _, names, *rows = first.decode().splitlines()[:5]
    assert "2 connections" in head and names.split()[:3] == ["NAME", "STATE", "IN/s"]
    assert [row.split()[2:6] for row in rows] == [["0"] * 4] * 2
    rates = sorted(row.split()[2:4] for row in out.decode().splitlines() if " open " in row)
    assert rates[0] == ["0", "0"] and rates[1][0] != "0" and rates[1][1][-1] in "KM"
    assert b"\033" not in first + out


def test_top_on_a_terminal(daemon, server):
    """Drawn in place, left by q or Ctrl-C with the terminal as it was."""
    daemon.start(section("a", server.url))
    daemon.wait_open("a")
    for how in ("q", "signal"):
        ours, theirs = pty.openpty()
        child = daemon.spawn(daemon.client_command("top", "--interval", "60"), stdin=theirs, stdout=theirs,
                             stderr=theirs)
        os.close(theirs)
        seen = b""
        while b"RTT ms" not in seen or seen.count(b"\n") < 4:
            seen += os.read(ours, 1000)
        assert seen.startswith(b"\033[?1049h") and b" open " in seen
        if how == "q":
            os.write(ours, b"q")
        else:
            child.send_signal(signal.SIGINT)
        assert ended(child, 10) == DONE
        assert os.read(ours, 1000).endswith(b"\033[?1049l")
        os.close(ours)


def test_top_says_that_the_daemon_has_gone(daemon, server):
    daemon.start(section("a", server.url))
    child = daemon.spawn_client("top", "--interval", "0.1")
    os.read(child.stdout.fileno(), 1000)
    daemon.stop()
    assert ended(child, 10) == NO_DAEMON
    assert b"does not answer any more" in child.stderr.read()
