"""Programs under load in threads: one that reads lines, a server that floods, one that writes lines."""

import asyncio
import os
import re
import select
import threading
import time

import websockets.exceptions

from harness import scaled


class Collector:
    """Reads lines in a thread until it is told to stop."""

    def __init__(self, stream):
        self.stream, self.data, self.over = stream, bytearray(), False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        poll = select.poll()
        poll.register(self.stream.fd, select.POLLIN)
        while not self.over:
            if not poll.poll(200):
                continue
            data = os.read(self.stream.fd, 1 << 16)
            if not data:
                return
            self.data += data

    def lines(self):
        return self.data.decode().splitlines()

    def stop(self):
        self.over = True
        self.thread.join(10)


class Flood:
    """Each session that comes gets numbered messages of odd lengths, until it goes."""

    def __init__(self, server):
        self.server, self.next, self.over = server, 0, False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def make(self):
        number, self.next = self.next, self.next + 1
        return f"{number} " + "y" * (number * 37 % 211 if number % 500 else 20000)

    def _run(self):
        seen = 0
        while not self.over:
            with self.server.arrived:
                self.server.arrived.wait_for(lambda: len(self.server.sessions) > seen, 0.2)
            if len(self.server.sessions) > seen:
                seen = len(self.server.sessions)
                asyncio.run_coroutine_threadsafe(self._send(self.server.sessions[-1].ws),
                                                 self.server.loop)

    async def _send(self, ws):
        try:
            while not self.over:
                for _ in range(20):
                    await ws.send(self.make())
                await asyncio.sleep(0.004)
        except websockets.exceptions.ConnectionClosed:
            pass

    def stop(self):
        self.over = True
        self.thread.join(10)


class Writer:
    """Writes numbered lines as fast as they are taken, as a shell that holds `in` open."""

    def __init__(self, stream, word):
        self.stream, self.word, self.count, self.over = stream, word, 0, False
        os.set_blocking(stream.fd, True)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.over:
            text = "".join(f"{self.word} {self.count + i} {'z' * ((self.count + i) % 97)}.\n"
                           for i in range(20)).encode()
            view = memoryview(text)
            while view:
                view = view[os.write(self.stream.fd, view):]
            self.count += 20
            time.sleep(0.001)

    def stop(self):
        self.over = True
        self.thread.join(scaled(20))
        assert not self.thread.is_alive()


def numbers(lines):
    return [int(x.split()[0]) for x in lines]


def check_sent(messages, word, count, once):
    """Every line that was written has come, whole; and in order, if only once each."""
    seen = []
    for message in messages:
        if not message.startswith(word + " "):
            continue
        match = re.fullmatch(rf"{word} (\d+) (z*)\.", message)
        assert match and len(match[2]) == int(match[1]) % 97, message
        seen.append(int(match[1]))
    assert set(seen) == set(range(count)), f"{count - len(set(seen))} of {count} are missing"
    if once:
        assert seen == list(range(count))
