"""Run by tests/systemd/run inside of a booted Debian: wspiped.service as it was installed, under load.

The last line is "N passed, N failed"."""

import os
import pathlib
import random
import subprocess
import sys
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

from harness import FAST, SockClient, Stream, eventually, section  # noqa: E402
from loads import Collector, Flood, Writer, check_sent, numbers  # noqa: E402
from servers import PyServer  # noqa: E402

ROUNDS = int(os.environ.get("WSPIPE_ROUNDS", "8"))
RUN = pathlib.Path("/run/wspipe")
UNIT = "wspiped.service"


def run(*args, check=True):
    result = subprocess.run(args, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert not check or result.returncode == 0, f"{args}: {result}"
    return result.stdout.strip()


def systemctl(*args, **kw):
    return run("systemctl", *args, **kw)


def shown(what):
    return systemctl("show", "-P", what, UNIT)


def wspipe(*args, **kw):
    return run("wspipe", *args, **kw)


def wait_open(name="a"):
    eventually(lambda: "state=open" in (RUN / name / "status").read_text().replace("'", ""), 30, "it is open")


def restart():
    systemctl("restart", UNIT)


def kill():
    before = shown("MainPID")
    systemctl("kill", "-s", "KILL", "--kill-who=main", UNIT)
    eventually(lambda: shown("MainPID") not in ("0", before) and shown("ActiveState") == "active", 60,
               "systemd has started it again")


def configure(server, *more):
    drop_in = pathlib.Path("/etc/systemd/system/wspiped.service.d/test.conf")
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    drop_in.write_text("[Unit]\nStartLimitIntervalSec=0\n")
    systemctl("daemon-reload")
    pathlib.Path("/etc/wspipe").mkdir(exist_ok=True)
    pathlib.Path("/etc/wspipe/wspipe.conf").write_text("".join(
        section(name, server.url, *FAST, "keep = 1G", "endpoints = in out drain sock last status", *lines)
        for name, lines in (("a", ("persist = yes", "resend = yes")), ("b", ())) + more))


def readers(name):
    import json
    text = wspipe("status", name, "--json")
    found = json.loads(text)
    found = found.get("connections", [found])[0] if isinstance(found, dict) else found[0]
    return found["readers"]


# --- the checks, in this order ------------------------------------------------------------------


def check_start(state):
    """It starts, is ready, and has handed its descriptors to systemd."""
    configure(state.server)
    systemctl("start", UNIT)
    assert shown("ActiveState") == "active" and shown("StatusText")
    wait_open("a")
    wait_open("b")
    with SockClient(str(RUN / "a/sock")):
        eventually(lambda: int(shown("NFileDescriptorStore")) >= 10)
        before = int(shown("NFileDescriptorStore"))
    eventually(lambda: int(shown("NFileDescriptorStore")) == before - 3, what="a client that goes is removed")


def load(state, how):
    client, out = SockClient(str(RUN / "a/sock")), Stream(os.open(RUN / "a/out", os.O_RDONLY | os.O_NONBLOCK))
    pipe, second = Stream(os.open(RUN / "a/in", os.O_WRONLY)), SockClient(str(RUN / "a/sock"))
    lively = SockClient(str(RUN / "b/sock"))
    eventually(lambda: sum(r["kind"] == "sock" for r in readers("a")) == 2)
    wspipe("cursor", "set", "a", "all", "newest")
    readings = [Collector(client), Collector(out)]
    first_session = len(state.server.sessions)
    flood, word = Flood(state.server), how.__name__
    writers = [Writer(pipe, f"{word}-in"), Writer(second, f"{word}-sock")]
    for _ in range(ROUNDS):
        time.sleep(random.uniform(0.05, 0.5))
        how()
        wait_open("a")
    for writer in writers:
        writer.stop()
    flood.stop()
    pipe.write(f"{word} is over\n")
    over = f"{word} is over"
    eventually(lambda: any(over in list(s.messages.queue) for s in state.server.sessions), 60)
    eventually(lambda: all(r["behind_messages"] == 0 for r in readers("a") if r["kind"] == "out"), 60)
    kept = wspipe("recv", "a", "--cursor", "all").splitlines()
    assert len(kept) > 100
    # What stood in the spool before the two came is not theirs; `out` has had it.
    for name, reading in zip(("sock", "out"), readings):
        eventually(lambda reading=reading: reading.lines()[-1:] == kept[-1:], 60, f"{name} has it all")
        reading.stop()
        lines = reading.lines()
        assert numbers(lines) == list(dict.fromkeys(numbers(lines))), f"{name}: repeated"
        assert lines[-len(kept):] == kept, f"{name}: not what was kept"
    messages = [m for s in state.server.sessions for m in list(s.messages.queue)]
    for writer in writers:
        check_sent(messages, writer.word, writer.count, once=False)
    lively.write("still there\n")
    eventually(lambda: any("still there" in list(s.messages.queue) for s in state.server.sessions))
    assert len(state.server.sessions) > first_session
    for stream in (client, out, pipe, second, lively):
        stream.close()


def check_restart_under_load(state):
    """systemctl restart, again and again: readers, clients and writers do not notice."""
    load(state, restart)


def check_kill_under_load(state):
    """SIGKILL and systemd's own restart, the same."""
    load(state, kill)


def check_connect_while_it_restarts(state):
    """Whoever connects or opens while no daemon runs waits, and is served."""
    for i in range(5):
        busy = subprocess.Popen(["systemctl", "restart", UNIT])
        with SockClient(str(RUN / "a/sock")) as client, open(RUN / "a/in", "w") as pipe:
            client.write(f"connected {i}\n")
            pipe.write(f"opened {i}\n")
            pipe.flush()
            assert busy.wait(60) == 0
            eventually(lambda i=i: {f"connected {i}", f"opened {i}"} <= {
                m for s in state.server.sessions for m in list(s.messages.queue)}, 30)
            assert wspipe("status", "a")


def check_reload(state):
    """systemctl reload with another section: clients of the others stay."""
    pid = shown("MainPID")
    with SockClient(str(RUN / "a/sock")) as client:
        configure(state.server, ("c", ()))
        systemctl("reload", UNIT)
        wait_open("c")
        assert shown("MainPID") == pid
        client.write("after the reload\n")
        eventually(lambda: any("after the reload" in list(s.messages.queue) for s in state.server.sessions))


def check_stop(state):
    """systemctl stop: clients and readers see the end, and systemd keeps nothing."""
    client, out = SockClient(str(RUN / "b/sock")), Stream(os.open(RUN / "b/out", os.O_RDONLY | os.O_NONBLOCK))
    eventually(lambda: any(r["kind"] == "sock" for r in readers("b")))
    systemctl("stop", UNIT)
    client.rest()
    out.rest()
    assert shown("NFileDescriptorStore") == "0" and shown("Result") == "success"
    assert not RUN.exists()
    client.close()
    out.close()


def check_start_again(state):
    """And it starts afresh."""
    systemctl("start", UNIT)
    wait_open("a")
    with SockClient(str(RUN / "a/sock")) as client:
        client.write("afresh\n")
        eventually(lambda: any("afresh" in list(s.messages.queue) for s in state.server.sessions))
    assert "SYS" not in run("journalctl", "-b", "-k", "--no-pager", check=False).split("type=1326")[0]
    systemctl("stop", UNIT)


class State:
    pass


def main():
    state, passed, failed = State(), 0, 0
    state.server = PyServer()
    state.server.start()
    for name, check in list(globals().items()):
        if not name.startswith("check_") or name == "check_sent":
            continue
        try:
            check(state)
            passed += 1
            print(f"ok      {name[6:]}: {check.__doc__.splitlines()[0]}", flush=True)
        except Exception:
            failed += 1
            print(f"not ok  {name[6:]}\n{traceback.format_exc()[-3000:]}", flush=True)
    print(f"{passed} passed, {failed} failed", flush=True)
    os._exit(0 if failed == 0 else 1)


main()
