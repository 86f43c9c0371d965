"""kill -9 in the middle of traffic, over and over, and what every party has seen at the end.

In each round the server sends S:0, S:1, ... (S is the number of its session), `wspipe send` sends
c:0, c:1, ... one by one, and a FIFO writer f:0, f:1, ...; then the daemon is killed at a random moment
and started again.  Readers: `out` (one that keeps the FIFO open over the kill, and is sometimes
replaced), a cursor that follows, a cursor that is read once a round, `drain` read once a round, and the
file endpoint.  What the daemon had not read from
its socket is not its own: so each reader must see of each session a piece from 0 on, without gaps, in order,
and all of them the same pieces; what is repeated must have been seen before.

In every other round the writer of the FIFO waits in the middle of a line until the FIFO is empty: then all
that it has written is the daemon's, however little of that has been queued, and none of it may be lost without
being counted; nor may the line, of which the next daemon reads the rest."""

import asyncio
import collections
import fcntl
import os
import random
import re
import sys
import termios
import threading
import time

from harness import eventually, scaled

import websockets.exceptions


class Seen:
    """What one reader has got, line by line."""

    def __init__(self, name):
        self.name = name
        self.end = collections.Counter()  # by session: the next number that it has not seen
        self.last_session = 0
        self.messages = self.repeated = 0

    def take(self, line):
        session, number = (int(x) for x in line.split(":"))
        assert number <= self.end[session], \
            f"{self.name}: {line} after {session}:{self.end[session] - 1}: a gap"
        if number < self.end[session]:
            self.repeated += 1
            return
        assert session >= self.last_session, f"{self.name}: {line} after session {self.last_session}"
        self.last_session = session
        self.end[session] += 1
        self.messages += 1


class OutReader(threading.Thread):
    """Reads `out` as a shell would, one line at a time, whoever writes into it."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.seen, self.failure = path, Seen("out"), None
        self.over, self.again = threading.Event(), threading.Event()
        self.start()

    def run(self):
        try:
            while not self.over.is_set():
                self.read_one()
        except BaseException as failure:
            self.failure = failure

    def read_one(self):
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            time.sleep(0.01)
            return
        self.again.clear()
        rest = b""
        while not self.over.is_set() and not self.again.is_set():
            try:
                data = os.read(fd, 4096)
            except BlockingIOError:
                data = b""
            if not data:
                time.sleep(0.001)
                continue
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self.seen.take(line.decode())
        os.close(fd)


async def talk(session):
    number = 0
    try:
        while session.talks:
            await session.ws.send(f"{session.number}:{number}")
            number += 1
            await asyncio.sleep(random.choice((0, 0, 0, 0.001)))
    except websockets.exceptions.ConnectionClosed:
        pass


def bytes_in(pipe):
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def await_empty(pipe):
    """Without a pause: the kill shall find what was read last not queued yet."""
    deadline = time.monotonic() + scaled(60)
    while bytes_in(pipe):
        assert time.monotonic() < deadline, "the daemon does not read its FIFO"


class Rounds:
    def __init__(self, daemon, server, resend):
        self.daemon, self.server, self.resend = daemon, server, resend
        self.queued = []  # numbers of which `wspipe send` has said that they are queued
        self.next_sent = self.next_fifo = 0
        self.taken = []  # numbers that the daemon has read out of the FIFO for certain
        self.half_written = None  # the FIFO, in the middle of a line that goes on after the kill
        self.follows, self.once = Seen("cursor that follows"), Seen("cursor read at times")
        self.drained, self.filed = Seen("drain"), Seen("file")
        self.file_path = daemon.home / "messages"
        self.follow_path = daemon.home / "follow.txt"
        self.follow_at = 0
        self.lost = self.kills = 0
        self.sessions = 0
        daemon.start(f"[a]\nurl = {server.url}\npersist = yes\nreconnect-delay = 100ms\n"
                     "reconnect-max = 100ms\nendpoints = in out sock last status drain file\n"
                     f"file = {self.file_path}\nresend = {'yes' if resend else 'no'}\n")
        daemon.wait_open("a")
        for cursor in ("follows", "once"):
            assert daemon.client("cursor", "set", "a", cursor, "oldest").code == 0
        self.out = OutReader(daemon.path("a", "out"))

    def next_session(self):
        session = self.server.session(self.sessions)
        session.number, session.talks = self.sessions, True
        self.sessions += 1
        asyncio.run_coroutine_threadsafe(talk(session), self.server.loop)
        return session

    def send_until(self, end):
        fifo, first = self.daemon.open_in("a"), self.next_fifo
        while time.monotonic() < end:
            number, self.next_sent = self.next_sent, self.next_sent + 1
            if self.daemon.client("send", "a", f"c:{number}").code == 0:
                self.queued.append(number)
            for _ in range(5):
                os.write(fifo.fd, b"f:%d\n" % self.next_fifo)
                self.next_fifo += 1
        if self.kills % 2:
            fifo.close()
            return
        os.write(fifo.fd, b"f:")
        await_empty(fifo.fd)
        self.taken += range(first, self.next_fifo + 1)
        self.half_written = fifo

    def write_the_rest(self):
        """The daemon that read the first half is no more, its writer is."""
        if self.half_written:
            os.write(self.half_written.fd, b"%d\n" % self.next_fifo)
            self.next_fifo += 1
            self.half_written.close()
            self.half_written = None

    def take_followed(self):
        data = self.follow_path.read_bytes()
        whole = data.rfind(b"\n") + 1
        assert whole == len(data), "a line is not whole"
        for line in data[self.follow_at:whole].splitlines():
            self.follows.take(line.decode())
        self.follow_at = whole

    def follow(self):
        with open(self.follow_path, "ab") as out:
            return self.daemon.spawn_client("recv", "a", "--cursor", "follows", "--follow", stdout=out)

    def read_once(self):
        result = self.daemon.client("recv", "a", "--cursor", "once", timeout=60)
        assert result.code == 0, result
        for line in result.out.splitlines():
            self.once.take(line)

    def drain(self):
        result = self.daemon.shell("cat a/drain", timeout=60)
        assert result.code == 0, result
        for line in result.out.splitlines():
            self.drained.take(line)

    def turn(self):
        session = self.next_session()
        client = self.follow()
        time.sleep(random.uniform(0, 0.05))
        self.send_until(time.monotonic() + random.uniform(0, 0.4))
        if random.random() < 0.3:
            self.out.again.set()
        self.daemon.kill()
        self.kills += 1
        session.talks = False
        client.wait(scaled(20))
        self.take_followed()
        self.daemon.start()
        self.daemon.wait_open("a")
        self.write_the_rest()
        self.read_once()
        self.drain()
        assert not self.out.failure, self.out.failure

    def finish(self):
        """Nobody talks any more: all readers come to the end of what is kept."""
        self.server.session(self.sessions)
        self.read_once()
        self.drain()
        client = self.follow()
        eventually(lambda: all(r["behind_messages"] == 0 for r in self.daemon.readers("a")
                               if r["kind"] in ("out", "cursor", "drain", "file")), 60, "all have read all")
        eventually(lambda: self.daemon.status("a")["queue"]["messages"] == 0)
        client.kill()
        client.wait()
        self.take_followed()
        for line in self.file_path.read_text().splitlines():
            self.filed.take(line)
        self.out.over.set()
        self.out.join()
        assert not self.out.failure, self.out.failure
        self.lost = sum(int(n) for n in re.findall(
            r"(\d+) outgoing messages \(\d+ bytes\) were on their way", self.daemon.log))

    def judge(self):
        readers = (self.out.seen, self.follows, self.once, self.drained, self.filed)
        ends = [+seen.end for seen in readers]
        assert all(end == ends[0] for end in ends), ends
        arrived = []
        for number in range(self.sessions + 1):
            messages = self.server.session(number).messages
            while not messages.empty():
                arrived.append(messages.get())
        assert all(re.fullmatch(r"[cf]:\d+", x) for x in arrived), "a record is not whole"
        again = 0
        for kind in "cf":
            sent = [int(x[2:]) for x in arrived if x[0] == kind]
            once = list(dict.fromkeys(sent))
            again += len(sent) - len(once)
            assert once == sorted(once), f"{kind}: out of order"
        assert again == 0 or self.resend, "sent twice"
        there = set(arrived)
        missing = [n for n in self.queued if f"c:{n}" not in there]
        missing_taken = [n for n in self.taken if f"f:{n}" not in there]
        assert len(missing) + len(missing_taken) <= (0 if self.resend else self.lost), \
            f"{missing} by `send` and {missing_taken} by the FIFO are missing, {self.lost} were counted"
        repeated = ", ".join(f"{seen.name} {seen.repeated}" for seen in readers)
        return (f"{self.kills} kills; received {self.out.seen.messages}, each by all, no gap "
                f"(repeated: {repeated}); queued {len(self.queued)}, {len(missing)} not arrived, "
                f"{self.lost} counted as on their way; by the FIFO {self.next_fifo} written, "
                f"{sum(x[0] == 'f' for x in there)} arrived, of {len(self.taken)} that the daemon had taken "
                f"{len(missing_taken)} not; {again} twice")


def run(daemon, server, count, resend):
    rounds = Rounds(daemon, server, resend)
    for _ in range(count):
        rounds.turn()
    rounds.finish()
    return rounds.judge()
