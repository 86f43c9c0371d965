"""Faults made on command: the page that tests/faults/faults.so shares with a daemon, and the steps of a
daemon's life in which calls are made to fail.  test_faults.py goes through some of these calls,
tests/faults/run through every one."""

import json
import mmap
import os
import re
import struct

from harness import (ASAN, BUILD, VALGRIND, WSPIPED, Daemon, Timeout, eventually, run, section)

LIBRARY = BUILD / "tests" / "faults" / "faults.so"
KINDS = ("memory", "descriptors", "space")
FOREVER = (1 << 63) - 1


class Page:
    """struct page of faults.c."""

    FIELDS = {f"{kind}.{field}": 5 * i + j for i, kind in enumerate(KINDS)
              for j, field in enumerate(("armed", "first", "until", "calls", "failed"))}
    FIELDS.update({name: 15 + i for i, name in enumerate(
        ("bytes_max", "interrupt", "cut", "wall_us", "boot_ms", "trace"))})

    def __init__(self, path):
        self.path = path
        with open(path, "wb") as file:
            file.write(bytes(4096))
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 4096)

    def __getitem__(self, field):
        return struct.unpack_from("<q", self.map, 8 * self.FIELDS[field])[0]

    def __setitem__(self, field, value):
        struct.pack_into("<q", self.map, 8 * self.FIELDS[field], value)

    def fail(self, kind, first=1, count=FOREVER):
        """From the FIRST call from now on, COUNT of them fail."""
        self[f"{kind}.armed"] = 0
        self[f"{kind}.calls"] = self[f"{kind}.failed"] = 0
        self[f"{kind}.first"], self[f"{kind}.until"] = first, min(first + count, FOREVER)
        self[f"{kind}.armed"] = 1

    def count(self, kind):
        self.fail(kind, FOREVER)

    def over(self, kind):
        """No more of it; how many calls failed."""
        self[f"{kind}.armed"] = 0
        return self[f"{kind}.failed"]

    def where(self):
        """The traces of the calls that failed, and an empty file for more."""
        trace = f"{self.path}.trace"
        if not os.path.exists(trace):
            return ""
        with open(trace) as file:
            text = file.read()
        os.truncate(trace, 0)
        return re.sub(r"^.*/wspiped\(\+(0x[0-9a-f]+)\).*$", lambda m: f"    wspiped {place(m[1])}",
                      text, flags=re.M)


def place(address):
    """Function and line of an ADDRESS in the daemon."""
    return run(["addr2line", "-sfpe", WSPIPED, address]).out.strip()


def environment(page):
    env = {"LD_PRELOAD": str(LIBRARY), "WSPIPE_FAULTS": str(page.path)}
    if ASAN:
        env["ASAN_OPTIONS"] = ("quarantine_size_mb=4:detect_leaks=1:verify_asan_link_order=0:"
                               "allocator_may_return_null=1")
    return env


def why_not():
    """Why there can be no such daemon here, or None."""
    if VALGRIND:
        return "valgrind has a malloc of its own"
    if not LIBRARY.exists():
        return f"{LIBRARY} was not built"
    return None


class FaultyDaemon(Daemon):
    """A daemon with the library in it."""

    def __init__(self, home):
        super().__init__(home)
        self.page = Page(self.home / "faults")

    def start(self, config=None, args=(), env=None, wait=True):
        return super().start(config, args, {**environment(self.page), **(env or {})}, wait)

    def pass_time(self, seconds):
        """All its timers, and the clock by which it judges what is due, are so much later from now on."""
        self.page["boot_ms"] += int(seconds * 1000)
        self.client("status")  # the clock is looked at with the next wait


# --- steps --------------------------------------------------------------------------------------

LARGE = "L" * 300_000


class Life:
    """A daemon with four connections, and what can be asked of it.  `a` (ws) and `s` (wss) are those
    with which things are done; nothing is ever done with `by`, which stands by."""

    def __init__(self, daemon, echo, secure, ca):
        self.daemon, self.echo, self.secure, self.ca = daemon, echo, secure, ca
        self.serial = 0
        self.by = None

    def config(self, more=""):
        fast = ("reconnect-delay = 50ms", "reconnect-max = 100ms", "connect-timeout = 5s")
        busy = (*fast, "compress = both", "persist = yes", "id = /id", "queue-ttl = 1h",
                "endpoints = in out sock last status drain file", "resend = yes",
                "on-open = {\"hello\":1}", "keep = 256K")
        return (section("a", self.echo.url, *busy, f"file = {self.daemon.home}/a.log",
                        "file-max = 64K", "header = X-Token: @token@",
                        "token-command = echo secret") +
                section("s", self.secure.url, *busy, f"file = {self.daemon.home}/s.log",
                        f"cacert = {self.ca}", "batch = no") +
                section("by", self.echo.url, *fast, "ping-interval = 1s") + more)

    def start(self):
        assert self.daemon.start(self.config()), "it ended"
        self.daemon.wait_open("a", "s", "by")
        self.by = self.known_of_by()

    def known_of_by(self):
        status = self.daemon.status("by")
        return status["since"], status["state"], status["reconnects"], status["address"]

    def client(self, *args, timeout=8, **kw):
        return self.daemon.client(*args, timeout=timeout, **kw)

    def word(self):
        self.serial += 1
        return f"word {self.serial}."

    # Each does one thing and awaits its end, or the time in which that would have come: a step whose
    # call failed may fail.

    def connect(self):
        self.client("reconnect", "a")
        self.client("wait", "a", "--for", "open", "--timeout", "2")

    def connect_tls(self):
        self.client("reconnect", "s")
        self.client("wait", "s", "--for", "open", "--timeout", "2")

    def send(self):
        word = self.word()
        with self.daemon.sock("a") as sock:
            self.client("send", "a", input=word + LARGE + "\n")
            self.daemon.put("a", word)
            sock.write(word + " by sock\n")
            self.expect(sock, word + " by sock", 1)

    def receive(self):
        word = self.word()
        with self.daemon.sock("s") as sock, self.daemon.open_out("s") as out:
            sock.write(word + LARGE + "\n" + word + "\n")
            self.expect(out, word, 1)
        self.client("recv", "s", "--cursor", "c", "--no-follow", "--timeout", "1")
        self.client("cursor", "ls", "s")

    def request(self):
        word = self.word()
        with self.daemon.sock("a") as sock:
            sock.write('{"id":"x","v":"%s"}\n' % word)
            self.expect(sock, word, 1)
        self.client("request", "a", '{"v":"%s"}' % word, "--timeout", "1")

    def reload(self):
        self.serial += 1
        extra = section("extra", self.echo.url) if self.serial % 2 else ""
        self.daemon.write_config(self.config(extra).replace(
            "keep = 256K", f"keep = {256 + self.serial % 2}K"))
        self.client("reload")
        self.client("wait", "extra", "--for", "open", "--timeout", "1")

    def remake(self):
        """A reload for which endpoints are made anew."""
        self.serial += 1
        self.daemon.write_config(self.config().replace(
            "batch = no", "batch = " + ("yes", "no")[self.serial % 2]))
        self.client("reload")

    def drain(self):
        with self.daemon.open_out("a", "drain") as drain:
            try:
                drain.rest(1)
            except Timeout:
                pass

    def dynamic(self):
        self.client("open", "d", self.echo.url)
        self.client("wait", "d", "--for", "open", "--timeout", "1")
        self.client("send", "d", "--confirm", "x")
        self.client("close", "d")

    def talk(self):
        self.client("cat", "-C", "1", "s", input="x\n")
        for verb in ("ls", "status", "check", "presets"):
            self.client(verb)
        self.client("status", "a", "--json")

    def expect(self, stream, what, timeout):
        """Read until WHAT has come, as long as anything does."""
        try:
            while what not in stream.line(timeout):
                pass
        except (Timeout, OSError):
            pass

    STEPS = ("connect", "connect_tls", "send", "receive", "request", "reload", "remake", "drain",
             "dynamic", "talk")

    # --- judging

    def calls(self, kind, step):
        """So many calls does a step make."""
        getattr(self, step)()  # what is made once only
        self.daemon.page.count(kind)
        getattr(self, step)()
        self.daemon.page.over(kind)
        return self.daemon.page[f"{kind}.calls"]

    def step(self, kind, step, first, count=1):
        """One step in which calls fail, and then the judgment: False if no call was left to fail."""
        logged = len(self.daemon.log)
        problem = None
        self.daemon.page.fail(kind, first, count)
        try:
            getattr(self, step)()
        except (AssertionError, OSError) as failure:
            problem = failure
        failed = self.daemon.page.over(kind)
        log = self.daemon.log[logged:]
        try:
            self.judge()
        except AssertionError as failure:
            raise AssertionError(f"{kind}, {step}, call {first}: {failure}; step: {problem}; "
                                 f"log: {log[-2000:]}") from None
        assert "[warn]" not in log, f"{kind}, {step}, call {first}: not by our log: {log[-2000:]}"
        lines = len(log.splitlines())
        assert lines < 60, f"{kind}, {step}, call {first}: {lines} lines of log: {log[-3000:]}"
        return failed > 0

    def judge(self):
        """All is as it should be, or comes to be so without help but a reload."""
        daemon = self.daemon
        assert daemon.alive, f"the daemon has ended: {daemon.process.poll()}"
        status = self.client("status")
        assert status.code == 0, status
        assert self.known_of_by() == self.by, f"by was touched: {self.known_of_by()}, {self.by}"
        self.round_trip("by")
        if "extra" in daemon.status_all() or "batch = yes" in daemon.config.read_text() or \
                not {"a", "s"} <= set(daemon.status_all()):
            self.daemon.write_config(self.config())
            assert self.client("reload").code == 0
        self.client("close", "d")
        for name in ("a", "s"):
            self.hasten(name)
            daemon.wait_open(name, timeout=5)
            if not daemon.path(name, "status").exists():
                assert f"{name}: error: cannot make" in daemon.log, f"{name} without endpoints"
                assert self.client("reload").code == 0
            eventually(lambda: daemon.status_file(name)["state"] == "open", 5,
                       f"{name}/status is of now")
            self.round_trip(name)
            self.await_persist(name)

    def await_persist(self, name):
        """Making a file is tried once a second, when something comes."""
        def persists():
            if daemon.status(name).get("persist") == "ok":
                return True
            self.round_trip(name)
            return False
        daemon = self.daemon
        eventually(persists, 5, f"{name} persists")

    def hasten(self, name):
        """What OpenSSL takes for a fault of the server's is retried slowly; that is said."""
        status = self.daemon.wait_state(name, "waiting", "connecting", "open")
        if status["state"] == "waiting" and status["retry_in_ms"] > 500:
            assert status["cause"] in self.daemon.log, status
            self.client("reconnect", name)

    def round_trip(self, name):
        word = self.word()
        with self.daemon.sock(name) as sock:
            try:
                sock.write(word + "\n")  # from here on it is a reader, if it was not accepted at once
                self.await_line(sock, word)
                self.daemon.put(name, word + " by in")
                self.await_line(sock, word + " by in")
            except (Timeout, OSError) as problem:
                raise AssertionError(f"{name}: no echo: {problem}; {self.daemon.status(name)}") from None

    @staticmethod
    def await_line(stream, line):
        while stream.line(5) != line:
            pass


def start_with(daemon, life, kind, first):
    """Start it with the FIRST call failing.  It runs, or has said why not.  How many calls have failed."""
    logged = len(daemon.log)
    daemon.page.fail(kind, first, 1)
    up = daemon.start(life.config())
    if up:
        eventually(lambda: daemon.status_all() is not None)
        failed = daemon.page.over(kind)
        eventually(lambda: all(c["state"] == "open" for c in daemon.status_all().values()), 5,
                   "what there is, is open")
        daemon.stop()
        return failed
    failed = daemon.page.over(kind)
    code, log = daemon.wait_exit(), daemon.log[logged:]
    assert 0 < code < 100 and log.strip(), f"{kind}, start, call {first}: exit {code}, log {log!r}"
    return failed


def stop_with(daemon, life, kind, first):
    """Stop it with the FIRST call failing: it ends, in time, with success."""
    life.start()
    daemon.page.fail(kind, first, 1)
    daemon.stop()
    return daemon.page.over(kind)
