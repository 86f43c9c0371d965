"""What a case of the conformance suite is made of: one daemon for a whole file (Bench), and for
each case a scripted server (peer.py) and a connection of its own (Case), opened on the control
socket without files in the runtime directory, read and written through one stream with the framing
`json`, so that kinds, bytes and order of all that is delivered are seen, opens and closes too.

    HOW: the ways in which the bytes of a case are sent
        once      behind the 101, in one go
        drip      byte by byte (over a Unix socket, each byte when the one before was read)
        head      in one segment with the 101
        deflate   with permessage-deflate agreed on
        tls       over TLS, byte by byte, each in a record of its own
"""

import base64
import json
import re
import socket
import time

import pytest

import peer as p
import servers
from harness import SANITIZER_REPORTS, Daemon, Stream, Timeout, eventually, scaled
from peer import CLOSE, PONG, TEXT, Connection, Peer

HOW = ("once", "drip", "head", "deflate", "tls")
PLAIN_HOW = ("once", "drip", "head", "tls")  # for cases about reserved bits
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"
HELLO = "hello, I am open"  # sent first at each open

# So that the way of trying again is known from the delay: `soon` is 0.1 s, `slow` a minute or more.
OPTIONS = {
    "reconnect": "always", "reconnect-delay": "100ms", "reconnect-max": "60s",
           "connect-timeout": "10s",
    "close-timeout": "500ms", "ping-interval": "0", "max-message": "1M", "on-open": HELLO,
}
SOON, SLOW = (0.1, 0.1), (60, 66)


def T(text):
    return "text", text.encode() if isinstance(text, str) else text


def B(data):
    return "binary", data


class Row:
    """A case's input and what must come of it.  code: of the Close that the server gets (None: all
    is well).  delivered: the messages that a reader gets.  pongs: payloads that the server gets."""

    def __init__(self, name, data, *delivered, code=None, pongs=None, cause="", retry=None,
                 slow_drip=False, **options):
        self.name, self.data, self.delivered = name, data, list(delivered)
        self.code, self.pongs, self.cause = code, pongs, cause
        # 1009: time may mend it, but not soon
        self.retry = retry or ((30, 33) if code == 1009 else SLOW)
        self.options = {k.replace("_", "-"): v for k, v in options.items()}


def rows(*table, how=HOW):
    """Decorator: the test is run for each row and each way of sending."""
    def decorate(test):
        test = pytest.mark.parametrize("how", how)(test)
        return pytest.mark.parametrize("row", table, ids=[r.name for r in table])(test)
    return decorate


def pieces(data):
    """Byte by byte; of what is long, the ends."""
    if len(data) <= 4096:
        return [data[i:i + 1] for i in range(len(data))]
    middle = data[200:-200]
    return (pieces(data[:200]) + [middle[i:i + 4093] for i in range(0, len(middle), 4093)]
            + pieces(data[-200:]))


class Control:
    """One connection to the control socket."""

    def __init__(self, daemon, verb, **members):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(scaled(20))
        self.sock.connect(str(daemon.run_dir / "control"))
        request = {"version": 1, "verb": verb, **members}
        self.sock.sendall(json.dumps(request).encode() + b"\n")
        data, fds, _, _ = socket.recv_fds(self.sock, 65536, 1)
        self.stream = Stream(fds[0]) if fds else None
        while not data.endswith(b"\n"):
            more = self.sock.recv(65536)
            if not more:
                break
            data += more
        self.answer = json.loads(data.split(b"\n", 1)[0])

    def close(self):
        if self.stream:
            self.stream.close()
        self.sock.close()


class Bench:
    def __init__(self, home):
        self.home = home
        self.daemon = Daemon(home)
        self.daemon.start("")
        self.count = 0
        self.cases = []
        self.tls_context = None

    def tls(self):
        """What a server needs to speak TLS."""
        if not self.tls_context:
            (self.home / "pki").mkdir()
            self.tls_context = servers.server_tls(servers.Pki(self.home / "pki"), "localhost")
        return self.tls_context

    def ask(self, verb, **members):
        control = Control(self.daemon, verb, **members)
        control.close()
        return control.answer

    def case(self, *scripts, how="once", unix=False, peer_args=None, framing="json", repeat=False,
             **options):
        """See Case.  repeat: the last script serves all further connections; else there is none."""
        self.count += 1
        unix = unix or how == "drip"
        if how == "tls":
            options = {"url": "wss://127.0.0.1:{port}/", "insecure": "yes", **options}
            scripts = [self._over_tls(script) for script in scripts]
        if not repeat:
            scripts = [*scripts, Connection.stall]
        case = Case(self, f"c{self.count}", scripts, unix, peer_args or {}, options, framing)
        self.cases.append(case)
        return case

    def _over_tls(self, script):
        def run(c):
            c.start_tls(self.tls())
            script(c)
        return run

    def end_of_test(self):
        """All that a test has opened ends; what its scripts found is raised, and whether the daemon
        is broken."""
        cases, self.cases = self.cases, []
        for case in cases:
            case.close()
        self.verify()
        for case in cases:
            case.peer.check()

    def lines(self, name):
        """What the daemon has logged about a connection."""
        start = f"wspiped: {name}: "
        return [x[len(start):] for x in self.daemon.log.splitlines() if x.startswith(start)]

    def verify(self):
        """After each case: the daemon lives.  Else the next case gets a new one."""
        if self.daemon.alive and not any(r in self.daemon.log for r in SANITIZER_REPORTS):
            return
        log = self.daemon.log[-5000:]
        if self.daemon.alive:
            self.daemon.kill()
        self.daemon.process = None
        self.daemon.log_path.unlink()
        self.daemon.start("")
        raise AssertionError(f"the daemon is broken:\n{log}")


class Case:
    """A server with its scripts, and a connection to it.  options: keys of the configuration with _
    instead of -; None takes one of the usual ones away; a list is a key that is repeated."""

    def __init__(self, bench, name, scripts, unix, peer_args, options, framing):
        self.bench, self.daemon, self.name = bench, bench.daemon, name
        if unix:
            peer_args = {**peer_args, "path": f"{bench.home}/{name}"}
        self.framing = framing
        self.controls = []
        self.peer = Peer(*scripts, **peer_args)
        try:
            self._open(options)
        except BaseException:
            self.close()
            raise

    def _open(self, options):
        url = self.peer.url if not options.get("url") else options["url"].replace(
            "{port}", str(self.peer.port))
        keys = dict(OPTIONS)
        for key, value in options.items():
            if key != "url":
                keys[key.replace("_", "-")] = value
        keys = {k: v if isinstance(v, list) else [str(v).replace("{port}", str(self.peer.port))]
                for k, v in keys.items() if v is not None}
        self._hold("open", name=self.name, url=url, own=True, options=keys)
        self.stream = self._hold("cat", name=self.name, framing=self.framing, finish=False,
                                 **{"from": "oldest"}).stream

    def _hold(self, verb, **members):
        control = Control(self.daemon, verb, **members)
        self.controls.append(control)
        assert control.answer["ok"], control.answer
        return control

    def close(self):
        self.peer.over.set()  # what a script that still runs sees of this is no failure
        for control in reversed(self.controls):
            control.close()
        self.peer.stop()

    # --- what is delivered and sent

    def record(self, timeout=10):
        """The next record: ("text", bytes), ("binary", bytes), ("open",) or ("close", code); the
        last two only with the framing `json`, the other is `length`."""
        if self.framing == "length":
            size = int.from_bytes(self.stream.exactly(4, timeout), "big")
            kind = "binary" if size >> 31 else "text"
            return kind, self.stream.exactly(size & (1 << 31) - 1, timeout)
        record = json.loads(self.stream.record(timeout))
        if record["type"] == "text":
            return T(record["data"])
        if record["type"] == "binary":
            return B(base64.b64decode(record["data"]))
        if record["type"] == "close":
            return "close", record.get("code")
        return (record["type"],)

    def client(self, framing="line"):
        """One more reader and writer, from now on."""
        return self._hold("cat", name=self.name, framing=framing, finish=False).stream

    def message(self, timeout=10):
        while True:
            record = self.record(timeout)
            if record[0] in ("text", "binary"):
                return record

    def session(self, timeout=10):
        """One session from its beginning to its end: (messages, close code)."""
        messages = []
        assert self.record(timeout) == ("open",)
        while True:
            record = self.record(timeout)
            if record[0] == "close":
                return messages, record[1]
            messages.append(record)

    def silent(self, seconds=0.05):
        return self.stream.silent(seconds)

    def send(self, text, timeout=10):
        self.stream.write(json.dumps({"type": "text", "data": text}) + "\n", timeout)

    # --- what is told

    def status(self):
        return self.bench.ask("status", name=self.name)["connections"][0]

    def wait_state(self, *states, timeout=10):
        def reached():
            status = self.status()
            assert status["state"] in states, status
            return status
        return eventually(reached, timeout, f"{self.name} is {' or '.join(states)}")

    def log(self):
        return self.bench.lines(self.name)

    ENDED = re.compile(r"warning: (cannot connect|connection ended), "
                       r"trying again in ([0-9.]+) s: (.*)")

    def ended(self, number=1, timeout=10):
        """How the NUMBERth attempt or connection ended: (was open, seconds until the next,
        cause)."""
        deadline = time.monotonic() + scaled(timeout)
        while True:
            found = [m for m in map(self.ENDED.fullmatch, self.log()) if m]
            if len(found) >= number:
                match = found[number - 1]
                return match[1] == "connection ended", float(match[2]), match[3]
            if time.monotonic() > deadline:
                raise Timeout(f"{self.name} has not ended {number} times: {self.log()}")
            time.sleep(0.003)

    def reconnect(self):
        assert self.bench.ask("reconnect", name=self.name)["ok"]

    # --- the usual ways through

    def expect_ended(self, cause="", retry=None, number=1, was_open=None):
        was, delay, told = self.ended(number)
        assert cause.lower() in told.lower(), told
        assert was_open is None or was == was_open, told
        if retry:
            assert retry[0] <= delay <= retry[1] + 0.1, f"again in {delay} s, want {retry}"
        return told

    def expect_works_again(self, by_itself=False):
        """The next connection works: see again()."""
        if not by_itself:
            self.reconnect()
        while self.message() != T("works?"):
            pass
        self.send("works!")
        self.peer.wait_finished(len(self.peer.connections))


def up(c):
    """A script's beginning: it is open, and has said so."""
    c.good()
    c.expect_frame(TEXT, HELLO)


def alive(c):
    """A script's end: the connection works both ways, and is closed by the server."""
    c.frame(TEXT, "works?")
    c.expect_frame(TEXT, "works!")
    c.send(p.close_frame(1000))
    c.expect_close(1000)


def again(c):
    """A script: all is well."""
    up(c)
    alive(c)


def send_as(c, how, data, *fields):
    """The 101 and DATA."""
    if how == "deflate":
        fields = (DEFLATE, *fields)
    if c.head is None:
        c.read_head()
    if how == "head":
        c.send(c.good_head(*fields) + data)
        return
    c.send(c.good_head(*fields))
    if how in ("drip", "tls"):
        c.send_pieces(pieces(data))
    else:
        c.send(data)


def run_row(bench, row, how, *fields):
    """A row of frames, from the handshake to the next connection, which works."""
    seen = []

    def script(c):
        send_as(c, how, row.data, *fields)
        if row.code is None:
            c.frame(TEXT, "works?")
            before = c.frames_until(TEXT, b"works!")
            assert [f for f in before if f[0] != PONG] == [(TEXT, HELLO.encode())]
            assert [d for o, d in before if o == PONG] == (row.pongs or [])
            c.send(p.close_frame(1000))
            c.expect_close(1000)
        else:
            seen.extend(f for f in c.frames_to_end() if f != (TEXT, HELLO.encode()))

    options = {"reconnect": "never" if row.code is None else "always", **row.options}
    case = bench.case(script, again, how=how, **options)
    if row.code is None:
        run_good(case, row)
    else:
        case.peer.wait_finished()
        run_failing(case, row, seen)


def run_good(case, row):
    """The messages in order and whole, and the connection goes on."""
    assert case.record() == ("open",)
    for want in [*row.delivered, T("works?")]:
        got = case.record()
        assert got == want, f"want {str(want)[:200]}, got {str(got)[:200]}"
    case.send("works!")
    assert case.record() == ("close", 1000)
    assert len(case.peer.connections) == 1


def run_failing(case, row, seen):
    """One Close with the code and nothing behind it; what came before is delivered, nothing else;
    the cause is told; and the next connection works."""
    closes = [f for f in seen if f[0] == CLOSE]
    assert len(closes) == 1 and seen[-1] == closes[0], seen
    assert int.from_bytes(closes[0][1][:2], "big") == row.code, seen
    closes[0][1][2:].decode()
    assert [d for o, d in seen if o == PONG] == (row.pongs or []), seen
    messages, code = case.session()
    assert messages == row.delivered
    assert code == 1006, "no Close was received"
    told = case.expect_ended(row.cause, row.retry, was_open=True)
    assert f"(closed with {row.code})" in told
    status = case.status()
    assert status["state"] == "waiting" and status["cause"] == told
    assert status["close_code"] == 1006
    assert status["received"]["messages"] == len(row.delivered)
    case.expect_works_again()


def refused(bench, answer, how="once", cause="", retry=SLOW, http_status=None, prepare=None,
            **options):
    """An answer to the handshake that is none: no frame is sent, nothing is delivered, the cause is
    told, and the next attempt works.  answer: bytes, or a function of the connection."""
    def script(c):
        c.read_head()
        if prepare:
            prepare(c)
        data = answer(c) if callable(answer) else answer
        data += p.make_frame(TEXT, "must not be seen")
        c.send_pieces(pieces(data) if how == "drip" else [data])
        c.expect_eof()

    case = bench.case(script, again, unix=how == "drip", **options)
    case.peer.wait_finished()
    told = case.expect_ended(cause, retry, was_open=False)
    if retry != SOON:
        status = case.status()
        assert status["state"] == "waiting" and status["cause"] == told
        assert status["received"]["messages"] == 0
        assert status["http_status"] == http_status
    case.expect_works_again(by_itself=retry == SOON)
    return told


def accepted(bench, answer, how="once", check=None, **options):
    """An answer that must do: messages go both ways."""
    def script(c):
        c.read_head()
        data = answer(c) if callable(answer) else answer
        c.send_pieces(pieces(data) if how == "drip" else [data])
        c.expect_frame(TEXT, HELLO)
        alive(c)

    case = bench.case(script, unix=how == "drip", reconnect="never", **options)
    assert case.record() == ("open",)
    assert case.record() == T("works?")
    if check:
        check(case.status())
    case.send("works!")
    case.peer.wait_finished()
