"""A scripted server that may do anything wrong: bytes, pace and order are the test's.

    def script(c):              # c: Connection, in a thread of its own
        c.good()                # read the head, answer 101
        c.frame(TEXT, b"hello")
        c.expect_close(1000)
    p = peer(script)            # fixture; p.url

A script's failed expectation fails the test (Peer.check(), called by the fixture).  Standard
library only."""

import base64
import fcntl
import hashlib
import os
import socket
import ssl
import struct
import threading
import time
import traceback

from harness import Timeout, scaled

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
UNREAD = 0x5411  # SIOCOUTQ
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_of(key):
    return base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()


def make_frame(opcode, payload=b"", fin=1, rsv=0, mask=None, form=None):
    """The bytes of a frame.  form: 7, 16 or 64 forces that form of the length."""
    if isinstance(payload, str):
        payload = payload.encode()
    size = len(payload)
    form = form or (7 if size < 126 else 16 if size < 65536 else 64)
    masked = 0x80 if mask is not None else 0
    head = bytes([fin << 7 | rsv << 4 | opcode])
    if form == 7:
        head += bytes([masked | size])
    elif form == 16:
        head += bytes([masked | 126]) + struct.pack("!H", size)
    else:
        head += bytes([masked | 127]) + struct.pack("!Q", size)
    if mask is not None:
        head += mask
        payload = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
    return head + payload


def close_frame(code=None, reason=""):
    return make_frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason.encode())


class Over(Exception):
    """The peer is being stopped: the script ends here."""


class Connection:
    def __init__(self, sock, peer):
        self.sock, self.peer = sock, peer
        self.buffer = b""
        self.head = None      # request line
        self.fields = []      # (name in lower case, value)
        self.refused = None   # what the TLS handshake came to
        sock.settimeout(0.1)  # so that a stopped peer's scripts end
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def secure(self, context):
        """The TLS handshake; false if the client did not want it to succeed.  Its last words are
        read, or the kernel would answer them with a reset."""
        self.sock.settimeout(scaled(10))
        try:
            self.sock = context.wrap_socket(self.sock, server_side=True,
                                            do_handshake_on_connect=False)
            self.sock.do_handshake()
        except (OSError, ValueError) as problem:
            self.refused = problem
            self._read_to_the_end()
            return False
        self.sock.settimeout(0.1)
        return True

    def _read_to_the_end(self):
        self.sock = socket.socket(fileno=self.sock.detach())
        self.sock.settimeout(scaled(2))
        try:
            self.sock.shutdown(socket.SHUT_WR)
            while self.sock.recv(1 << 16):
                pass
        except OSError:
            pass

    # --- bytes

    def _more(self, deadline, what):
        while True:
            if self.peer.over.is_set():
                raise Over
            try:
                data = self.sock.recv(1 << 18)
            except socket.timeout:
                if time.monotonic() > deadline:
                    raise Timeout(f"{what}: nothing came; so far {self.buffer[-100:]!r}") from None
                continue
            except ssl.SSLError:  # OpenSSL's own way to say that TCP has ended without close_notify
                data = b""
            if data:
                self.buffer += data
            elif self.peer.over.is_set():
                raise Over
            return len(data)

    def _take(self, size, deadline, what):
        while len(self.buffer) < size:
            if not self._more(deadline, what):
                raise AssertionError(f"{what}: end of stream after {self.buffer[-100:]!r}")
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def send(self, data, drip=None, every=0.0):
        """All at once, or DRIP bytes every EVERY seconds; on a Unix socket each piece waits until the
        one before was read.  A peer that left early is no fault here: the expectations that follow
        judge it."""
        pieces = [data] if not drip else [data[i:i + drip] for i in range(0, len(data), drip)]
        self.send_pieces(pieces, every)

    def send_pieces(self, pieces, every=0.0):
        for i, piece in enumerate(pieces):
            if i and every:
                self.wait(every)
            if i and self.sock.family == socket.AF_UNIX:
                self._wait_read()
            while piece:
                if self.peer.over.is_set():
                    raise Over
                try:
                    piece = piece[self.sock.send(piece):]
                except socket.timeout:
                    continue
                except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
                    return

    def _wait_read(self):
        """Until the other end has read all that was sent.  No event tells it."""
        deadline = time.monotonic() + scaled(5)
        spins = 0
        while struct.unpack("i", fcntl.ioctl(self.sock, UNREAD, b"\0" * 4))[0]:
            if self.peer.over.is_set():
                raise Over
            if time.monotonic() > deadline:
                raise Timeout("what was sent is not read")
            spins += 1
            if spins > 100:
                time.sleep(0.0005)
            else:
                os.sched_yield()

    def wait(self, seconds):
        """Let time pass (a pace of sending, not a way to await something)."""
        if self.peer.over.wait(seconds):
            raise Over

    def start_tls(self, context):
        self.sock.settimeout(scaled(10))
        self.sock = context.wrap_socket(self.sock, server_side=True)
        self.sock.settimeout(0.1)

    # --- the opening handshake

    def read_head(self, timeout=10):
        deadline = time.monotonic() + scaled(timeout)
        while b"\r\n\r\n" not in self.buffer:
            if not self._more(deadline, "request head"):
                raise AssertionError(f"end of stream in the head: {self.buffer!r}")
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        self.head = lines[0]
        self.fields = [(n.lower(), v.strip()) for n, v in (x.split(":", 1) for x in lines[1:])]
        return self.fields

    def field(self, name):
        """All values of a field of the request."""
        return [v for n, v in self.fields if n == name.lower()]

    def key(self):
        return self.field("sec-websocket-key")[0]

    def good_head(self, *more, accept=None):
        return "\r\n".join(["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket",
                            "Connection: Upgrade",
                            f"Sec-WebSocket-Accept: {accept or accept_of(self.key())}", *more,
                            "", ""]).encode()

    def good(self, *more):
        """Read the request, accept it."""
        if self.head is None:
            self.read_head()
        self.send(self.good_head(*more))
        return self

    # --- frames

    def frame(self, opcode, payload=b"", drip=None, **kw):
        self.send(make_frame(opcode, payload, **kw), drip)

    def read_frame(self, timeout=10):
        """(opcode, payload, fin, rsv), after what every client must do was checked."""
        deadline = time.monotonic() + scaled(timeout)
        first, second = self._take(2, deadline, "frame")
        assert second & 0x80, "a client's frame must be masked (RFC 6455 5.1)"
        size = second & 0x7f
        if size == 126:
            size = struct.unpack("!H", self._take(2, deadline, "frame"))[0]
            assert size > 125, "length not in its shortest form"
        elif size == 127:
            size = struct.unpack("!Q", self._take(8, deadline, "frame"))[0]
            assert size > 65535, "length not in its shortest form"
        mask = self._take(4, deadline, "frame")
        data = self._take(size, deadline, "frame")
        whole = (mask * (size // 4 + 1))[:size]
        data = (int.from_bytes(data, "big") ^ int.from_bytes(whole, "big")).to_bytes(size, "big")
        return first & 0x0f, data, first >> 7, first >> 4 & 7

    def expect_frame(self, opcode, payload=None, timeout=10):
        """The next frame but the client's own pings (answered) and pongs; its payload."""
        while True:
            got, data, fin, rsv = self.read_frame(timeout)
            if got == PING and opcode != PING:
                self.frame(PONG, data)
                continue
            if got == PONG and opcode != PONG:
                continue
            break
        assert got == opcode, f"want opcode {opcode}, got {got} with {data[:100]!r}"
        assert rsv == 0 and fin == 1, f"rsv {rsv}, fin {fin}"
        if payload is not None:
            want = payload.encode() if isinstance(payload, str) else payload
            assert data == want, f"want {want[:100]!r}, got {data[:100]!r}"
        return data

    def expect_close(self, code, timeout=10):
        """A Close with CODE (None: without one); its reason."""
        data = self.expect_frame(CLOSE, timeout=timeout)
        got = struct.unpack("!H", data[:2])[0] if data else None
        assert got == code, f"want Close {code}, got {got} {data[2:]!r}"
        return data[2:].decode()

    def frames_until(self, opcode, payload, timeout=10):
        """All that comes before a certain frame."""
        frames = []
        while True:
            got, data, _, _ = self.read_frame(timeout)
            if (got, data) == (opcode, payload):
                return frames
            frames.append((got, data))

    def close_payload(self, timeout=10):
        """The payload of the Close that comes, whatever comes before."""
        while True:
            opcode, data, _, _ = self.read_frame(timeout)
            if opcode == CLOSE:
                return data

    def swallow(self):
        """Everything that still comes, until the end of the stream."""
        deadline = time.monotonic() + scaled(60)
        try:
            while self._more(deadline, "end of stream"):
                self.buffer = b""
        except ConnectionResetError:
            pass

    def expect_eof(self, timeout=10):
        """The client ends the TCP connection (FIN or RST); no byte comes before."""
        deadline = time.monotonic() + scaled(timeout)
        try:
            got = len(self.buffer) or self._more(deadline, "end of stream")
        except ConnectionResetError:
            return
        assert not got, f"want the end of stream, got {self.buffer[:100]!r}"

    def frames_to_end(self, timeout=10):
        """All frames up to the end of the stream: [(opcode, payload)]."""
        deadline = time.monotonic() + scaled(timeout)
        frames = []
        while True:
            try:
                if not self.buffer and not self._more(deadline, "end of stream"):
                    return frames
            except ConnectionResetError:
                return frames
            opcode, data, fin, rsv = self.read_frame(timeout)
            assert fin == 1 and rsv == 0
            frames.append((opcode, data))

    def expect_silence(self, seconds=0.3):
        assert not self.buffer, f"{self.buffer[:100]!r}"
        try:
            got = self._more(time.monotonic() + seconds, "silence")
        except Timeout:
            return
        raise AssertionError(f"{got} bytes: {self.buffer[:100]!r}" if got else "end of stream")

    def echo(self):
        """Echo whole messages until the client closes; the Close is answered."""
        while True:
            opcode, data, _, _ = self.read_frame(timeout=60)
            if opcode == PING:
                self.frame(PONG, data)
            elif opcode == CLOSE:
                self.frame(CLOSE, data)
                return
            elif opcode != PONG:
                self.frame(opcode, data)

    # --- ends

    def half_close(self):
        socket.socket.shutdown(self.sock, socket.SHUT_WR)  # of TCP, under TLS if there is any

    def rst(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def stall(self):
        """Neither read nor write any more, until the test ends."""
        self.peer.over.wait()
        raise Over

    def close(self):
        self.sock.close()


class Peer:
    """Listens; the n-th connection is served by the n-th script, further ones by the last.  With
    TLS (an SSLContext) a script begins behind the handshake; it does not begin where that fails."""

    def __init__(self, *scripts, backlog=16, receive_buffer=None, tls=None, path=None,
                 host="127.0.0.1", port=0):
        """path: listen on this Unix socket instead of a port."""
        self.scripts = scripts
        self.tls = tls
        self.is_near = path is not None or host.startswith("127.")  # not in another namespace
        self.over = threading.Event()
        self.failures = []
        self.connections = []
        self.finished = []
        self.changed = threading.Condition()
        self.threads = []
        self.listener = socket.socket(socket.AF_UNIX if path else
                                      socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.listener.bind(path or (host, port))
        self.listener.listen(backlog)
        self.listener.settimeout(0.1)
        self.port = None if path else self.listener.getsockname()[1]
        self.url = f"{'wss' if tls else 'ws'}://{host}:{self.port}/"
        if path:
            self.url = f"ws+unix:{path}:/"
        self._thread(self._accept)

    def _thread(self, target, *args):
        thread = threading.Thread(target=target, args=args, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _accept(self):
        while not self.over.is_set():
            try:
                sock, _ = self.listener.accept()
            except socket.timeout:
                continue
            if self.over.is_set():
                sock.close()
                return
            connection = Connection(sock, self)
            with self.changed:
                number = len(self.connections)
                self.connections.append(connection)
                self.changed.notify_all()
            self._thread(self._serve, connection,
                         self.scripts[min(number, len(self.scripts) - 1)], number)

    def _serve(self, connection, script, number):
        try:
            if self.tls is None or connection.secure(self.tls):
                script(connection)
        except Over:
            pass
        except BaseException:
            if not self.over.is_set():
                self.failures.append(f"connection {number}:\n{traceback.format_exc()}")
        finally:
            connection.close()
            with self.changed:
                self.finished.append(number)
                self.changed.notify_all()

    def wait_connections(self, count, timeout=10):
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.connections) >= count, scaled(timeout)):
                raise Timeout(f"{len(self.connections)} connections came, want {count}")
        return self.connections[count - 1]

    def wait_finished(self, count=1, timeout=15):
        """Until so many scripts have run to their end; then their failures are raised."""
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.finished) >= count, scaled(timeout)):
                raise Timeout(f"{len(self.finished)} scripts are done, want {count}")
        self.check()

    def stop(self):
        self.over.set()
        with self.changed:
            sockets = [c.sock for c in self.connections]
        for sock in sockets:  # wakes whoever waits there
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        if self.is_near:  # else it sees within 0.1 s that it is over
            with socket.socket(self.listener.family) as waker:
                waker.connect(self.listener.getsockname())
        for thread in self.threads:
            thread.join(5)
        self.listener.close()

    def check(self):
        failures, self.failures = self.failures, []
        assert not failures, "\n".join(failures)


def random_mask():
    return os.urandom(4)
