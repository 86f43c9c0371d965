"""A service manager that keeps descriptors: what systemd does with FDSTORE=1 (sd_pid_notify_with_fds), and how
it hands them to the next daemon (LISTEN_FDS, LISTEN_FDNAMES, LISTEN_PID)."""

import array
import os
import socket
import subprocess
import sys
import threading

from harness import eventually

# Descriptors are to be 3, 4, ... and LISTEN_PID the process's own: so this stands in between.
LAUNCH = """
import fcntl, os, sys
given = [int(x) for x in sys.argv[1].split(",") if x]
fds = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10000) for fd in given]
for fd in given:
    os.close(fd)
for i, fd in enumerate(fds):
    os.dup2(fd, 3 + i)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


class FdStore:
    """A NOTIFY_SOCKET with a store; start() and restart() are what systemctl does."""

    def __init__(self, daemon, limit=4096):
        self.daemon, self.limit = daemon, limit
        self.path = str(daemon.home / "manager")
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path)
        self.lock = threading.Lock()
        self.stored = []  # (name, descriptor) in order
        self.lines = []
        self.thread = threading.Thread(target=self._receive, daemon=True)
        self.thread.start()

    def _receive(self):
        while True:
            data, ancillary, _, _ = self.sock.recvmsg(65536, socket.CMSG_SPACE(4 * 64))
            fds = array.array("i")
            for level, kind, part in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds.frombytes(part[:len(part) // 4 * 4])
            if data == b"over":
                return
            with self.lock:
                self._take(data.decode(), list(fds))

    def _take(self, text, fds):
        lines = text.splitlines()
        self.lines += lines
        name = next((x[7:] for x in lines if x.startswith("FDNAME=")), "stored")
        if "FDSTOREREMOVE=1" in lines:
            for stored in [s for s in self.stored if s[0] == name]:
                self.stored.remove(stored)
                os.close(stored[1])
        if "FDSTORE=1" in lines:
            assert "FDPOLL=0" in lines
            for fd in fds:
                if len(self.stored) < self.limit:
                    self.stored.append((name, fd))
                else:
                    os.close(fd)
        else:
            for fd in fds:
                os.close(fd)

    def names(self):
        with self.lock:
            return sorted({name for name, _ in self.stored})

    def wait_names(self, *names):
        eventually(lambda: set(names) <= set(self.names()), what=f"{names} are stored")

    def sync(self):
        """All that was sent before has been taken."""
        mark = f"MARK={os.urandom(8).hex()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(mark.encode(), self.path)
        eventually(lambda: mark in self.lines, what="the manager has read everything")

    def start(self, config=None, wait=True, **env):
        daemon = self.daemon
        assert daemon.process is None
        if config is not None:
            daemon.write_config(config)
        with self.lock:
            stored = list(self.stored)
        env = {**daemon.env, "NOTIFY_SOCKET": self.path, **env}
        if stored:
            env["LISTEN_FDS"] = str(len(stored))
            env["LISTEN_FDNAMES"] = ":".join(name for name, _ in stored)
        fds = [fd for _, fd in stored]
        with open(daemon.log_path, "ab") as log:
            daemon.process = subprocess.Popen(
                [sys.executable, "-S", "-c", LAUNCH, ",".join(map(str, fds)), *daemon.command()],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, pass_fds=fds)
        return daemon.wait_ready() if wait else True

    def kill_and_start(self, **kw):
        self.daemon.kill()
        self.sync()
        return self.start(**kw)

    def restart(self, **kw):
        self.daemon.stop()
        self.sync()
        return self.start(**kw)

    def stop(self):
        """As `systemctl stop`: what is stored goes."""
        self.daemon.stop()
        self.sync()
        with self.lock:
            self.drop()

    def drop(self):
        for _, fd in self.stored:
            os.close(fd)
        self.stored = []

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"over", self.path)
        self.thread.join(5)
        self.drop()
        self.sock.close()
