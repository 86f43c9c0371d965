"""What the system tests stand on: the real daemon and the real client as processes, and the Unix
ends (FIFOs, sockets, files) opened as any program would, but never without a time limit.

Environment:
    WSPIPE_BUILD   build directory (default: build/ in the repository)
    VALGRIND=1     the daemon runs under valgrind, all limits are ten times as long
    WSPIPE_SCALE   factor for all limits, on machines that are slow
"""

import errno
import itertools
import json
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("WSPIPE_BUILD", ROOT / "build")).resolve()
WSPIPED = BUILD / "daemon" / "wspiped"
WSPIPE = BUILD / "client" / "wspipe"

VALGRIND = os.environ.get("VALGRIND", "") not in ("", "0")


def _has_asan(path):
    try:
        return b"__asan_init" in path.read_bytes()
    except OSError:
        return False


ASAN = _has_asan(WSPIPED)
SCALE = float(os.environ.get("WSPIPE_SCALE", "10" if VALGRIND else "3" if ASAN else "1"))
# Memory of an instrumented daemon says nothing about the daemon.
MEMORY_IS_REAL = not VALGRIND and not ASAN

SANITIZER_REPORTS = ("ERROR: AddressSanitizer", "runtime error:", "LeakSanitizer",
                     "ERROR: ThreadSanitizer", "Assertion `")

DONE, PEER, USAGE, NO_DAEMON, NO_CONN, NOT_OPEN, TIMED_OUT = 0, 1, 2, 3, 4, 5, 124

KIB, MIB = 1024, 1024 * 1024


class Timeout(AssertionError):
    """What was awaited did not come."""


def scaled(seconds):
    return seconds * SCALE


def eventually(fn, timeout=10, what=""):
    """Call FN until its result is true; return that.  Failed assertions and files that are not
    there (yet) count as 'not yet'."""
    deadline = time.monotonic() + scaled(timeout)
    last = None
    while True:
        try:
            last = fn()
            if last:
                return last
        except (AssertionError, OSError, KeyError, ValueError) as problem:
            last = problem
        if time.monotonic() > deadline:
            raise Timeout(f"not within {scaled(timeout):g} s: {what or fn}: last was {last!r}")
        time.sleep(0.02)


# --- streams ------------------------------------------------------------------------------------


class Stream:
    """A descriptor read and written with time limits.  Reads never take more than is needed to see
    one more chunk; what a chunk had beyond the record stays for the next call."""

    def __init__(self, fd, owner=None):
        self.fd = fd
        self.owner = owner  # a socket object that owns fd
        self.buffer = bytearray()
        os.set_blocking(fd, False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.fd < 0:
            return
        if self.owner is not None:
            self.owner.close()
        else:
            os.close(self.fd)
        self.fd = -1

    def _wait(self, events, deadline, what):
        left = deadline - time.monotonic()
        poll = select.poll()
        poll.register(self.fd, events)
        if left <= 0 or not poll.poll(left * 1000):
            raise Timeout(f"{what}: nothing within the limit; {len(self.buffer)} bytes so far: "
                          f"{bytes(self.buffer[-200:])!r}")

    def chunk(self, timeout=10, size=1 << 18, what="read"):
        """Some bytes, b"" at the end of file."""
        deadline = time.monotonic() + scaled(timeout)
        while True:
            try:
                return os.read(self.fd, size)
            except BlockingIOError:
                self._wait(select.POLLIN, deadline, what)
            except ConnectionResetError:
                return b""

    def record(self, timeout=10, end=b"\n"):
        """One record without its delimiter."""
        deadline = time.monotonic() + scaled(timeout)
        seen = 0
        while True:
            at = self.buffer.find(end, seen)
            if at >= 0:
                record = bytes(self.buffer[:at])
                del self.buffer[:at + len(end)]
                return record
            seen = max(0, len(self.buffer) - len(end) + 1)
            left = (deadline - time.monotonic()) / SCALE
            more = self.chunk(max(left, 0.001), what="record")
            if not more:
                raise Timeout(f"end of file after {bytes(self.buffer[-200:])!r}")
            self.buffer += more

    def line(self, timeout=10):
        return self.record(timeout).decode()

    def lines(self, count, timeout=10):
        deadline = time.monotonic() + scaled(timeout)
        lines = []
        while len(lines) < count:
            left = max((deadline - time.monotonic()) / SCALE, 0.001)
            try:
                lines.append(self.line(left))
            except Timeout as problem:
                raise Timeout(f"{len(lines)} of {count} lines, last {lines[-1:]}: {problem}") from None
        return lines

    def exactly(self, size, timeout=10):
        deadline = time.monotonic() + scaled(timeout)
        while len(self.buffer) < size:
            left = max((deadline - time.monotonic()) / SCALE, 0.001)
            more = self.chunk(left, what=f"{size} bytes")
            if not more:
                raise Timeout(f"end of file after {len(self.buffer)} of {size} bytes")
            self.buffer += more
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    def rest(self, timeout=10):
        """Everything up to the end of file."""
        deadline = time.monotonic() + scaled(timeout)
        while True:
            more = self.chunk(max((deadline - time.monotonic()) / SCALE, 0.001), what="rest")
            if not more:
                data, self.buffer = bytes(self.buffer), bytearray()
                return data
            self.buffer += more

    def silent(self, seconds=0.3):
        """True if nothing at all comes for so long (an absence: no event can be awaited)."""
        if self.buffer:
            return False
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return not poll.poll(seconds * 1000)

    def write(self, data, timeout=10):
        """All of DATA."""
        if isinstance(data, str):
            data = data.encode()
        deadline = time.monotonic() + scaled(timeout)
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.fd, view):]
            except BlockingIOError:
                self._wait(select.POLLOUT, deadline, f"write, {len(view)} bytes left")

    def write_until_blocked(self, data, quiet=0.7):
        """Write DATA until the other side has taken nothing for QUIET seconds; bytes written."""
        view = memoryview(data)
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        while view:
            try:
                view = view[os.write(self.fd, view[:65536]):]
            except BlockingIOError:
                if not poll.poll(scaled(quiet) * 1000):
                    break
        return len(data) - len(view)


class SockClient(Stream):
    """A client of NAME/sock."""

    def __init__(self, path):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(scaled(5))
        # sun_path holds 107 bytes: go through a descriptor of the directory.
        directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
        try:
            sock.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
        except BaseException:
            sock.close()
            raise
        finally:
            os.close(directory)
        super().__init__(sock.fileno(), sock)

    def shut_writing(self):
        self.owner.shutdown(socket.SHUT_WR)


# --- processes ----------------------------------------------------------------------------------


class Result:
    def __init__(self, code, out, err):
        self.code, self.out_bytes, self.err_bytes = code, out, err
        self.out, self.err = out.decode(errors="replace"), err.decode(errors="replace")

    def __repr__(self):
        return f"exit {self.code}, stdout {self.out[-500:]!r}, stderr {self.err[-1500:]!r}"


def ended(process, timeout=10):
    """Exit status of PROCESS (a Popen), killed if it does not end by itself."""
    try:
        return process.wait(scaled(timeout))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise Timeout(f"{process.args[0]} does not end") from None


def run(args, input=None, timeout=20, **kw):
    """Run a program to its end; Result."""
    if isinstance(input, str):
        input = input.encode()
    if input is None:
        kw.setdefault("stdin", subprocess.DEVNULL)
    else:
        kw["stdin"] = subprocess.PIPE
    process = subprocess.Popen([str(a) for a in args], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, **kw)
    try:
        out, err = process.communicate(input, scaled(timeout))
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise Timeout(f"{args} hangs; {Result(None, out, err)}") from None
    return Result(process.returncode, out, err)


def private_environment(home):
    """An environment in which nothing of the user's own can be found."""
    env = {k: v for k, v in os.environ.items() if k in ("LANG", "LC_ALL", "TERM", "TZ")}
    env.update({
        "PATH": f"{WSPIPED.parent}:{WSPIPE.parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": f"{home}/home",
        "TMPDIR": f"{home}/tmp",
        "XDG_CONFIG_HOME": f"{home}/home/.config",
        "XDG_STATE_HOME": f"{home}/home/.local/state",
        "XDG_RUNTIME_DIR": f"{home}/xdg",
        "ASAN_OPTIONS": "quarantine_size_mb=4:detect_leaks=1:abort_on_error=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    })
    for name in ("home", "tmp", "xdg"):
        os.makedirs(f"{home}/{name}", mode=0o700, exist_ok=True)
    return env



class Daemon:
    """One wspiped with everything it has below one directory."""

    def __init__(self, home):
        self.home = pathlib.Path(home)
        self.run_dir = self.home / "run"
        self.state_dir = self.home / "state"
        self.config = self.home / "wspipe.conf"
        self.log_path = self.home / "daemon.log"
        self.env = private_environment(home)
        self.process = None
        self.children = []
        self.inside = ()  # words ahead of its command line: nsenter, for instance

    # --- life

    def write_config(self, text):
        self.config.write_text(text)

    def command(self, *args):
        head = list(self.inside)
        if VALGRIND:
            head += ["valgrind", "--error-exitcode=99", "--leak-check=full",
                    "--errors-for-leak-kinds=definite", "-q", "--track-fds=no"]
        return head + [str(WSPIPED), "--config", str(self.config), "--runtime-dir",
                       str(self.run_dir), "--state-dir", str(self.state_dir)] + list(args)

    def start(self, config=None, args=(), env=None, wait=True):
        """Start it; wait until it answers.  False if it ended instead."""
        assert self.process is None, "it runs already"
        if config is not None:
            self.write_config(config)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(*args), stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env={**self.env, **(env or {})})
        return self.wait_ready() if wait else True

    def wait_ready(self):
        def answers():
            if self.process.poll() is not None:
                return "ended"
            return "up" if self.client("status").code == 0 else None
        return eventually(answers, 15, "the daemon answers") == "up"

    def check(self, config=None):
        """`wspiped --check`."""
        if config is not None:
            self.write_config(config)
        return run([WSPIPED, "--config", self.config, "--runtime-dir", self.run_dir, "--state-dir",
                    self.state_dir, "--check"], env=self.env)

    def reload(self):
        return self.client("reload")

    def signal(self, number):
        self.process.send_signal(number)

    def wait_exit(self, timeout=15):
        code = ended(self.process, timeout)
        self.process = None
        return code

    def stop(self, expect=0):
        self.signal(signal.SIGTERM)
        code = self.wait_exit()
        assert code == expect, f"exit {code} after SIGTERM\n{self.log[-3000:]}"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def cleanup(self):
        """Fixture teardown: everything that still runs ends, then the log is judged."""
        for child in self.children:
            if child.poll() is None:
                child.kill()
                child.wait()
            for pipe in (child.stdin, child.stdout, child.stderr):
                if pipe:
                    pipe.close()
        problem = None
        if self.process is not None:
            code = self.process.poll()
            if code is not None:
                problem = f"the daemon ended by itself with {code}"
            else:
                try:
                    self.stop()
                except AssertionError as failure:
                    problem = str(failure)
                    if self.process is not None:
                        self.kill()
        for report in SANITIZER_REPORTS:
            if report in self.log:
                problem = f"{report} in the daemon's log"
        assert problem is None, f"{problem}\n{self.log[-6000:]}"

    @property
    def pid(self):
        return self.process.pid

    @property
    def alive(self):
        return self.process is not None and self.process.poll() is None

    @property
    def log(self):
        try:
            return self.log_path.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    # --- the client

    def client_command(self, *args):
        return [str(WSPIPE), "--runtime-dir", str(self.run_dir)] + [str(a) for a in args]

    def client(self, *args, input=None, timeout=20, env=None):
        return run(self.client_command(*args), input, timeout, env={**self.env, **(env or {})})

    def spawn_client(self, *args, stdin=subprocess.PIPE, stdout=subprocess.PIPE):
        return self.spawn(self.client_command(*args), stdin=stdin, stdout=stdout)

    def spawn(self, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
              stderr=subprocess.PIPE, **kw):
        child = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr,
                                 env=self.env, bufsize=0, **kw)
        self.children.append(child)
        return child

    def shell(self, script, timeout=20, **kw):
        """Run SCRIPT with the runtime directory as its working directory."""
        return run(["bash", "-c", script], timeout=timeout, cwd=self.run_dir, env=self.env, **kw)

    def spawn_shell(self, script, **kw):
        return self.spawn(["bash", "-c", script], cwd=self.run_dir, **kw)

    def status(self, name):
        """The JSON object of one connection."""
        result = self.client("status", name, "--json")
        assert result.code == 0, result
        return find_connections(json.loads(result.out))[name]

    def status_all(self):
        result = self.client("status", "--json")
        assert result.code == 0, result
        return find_connections(json.loads(result.out))

    def wait_state(self, name, *states, timeout=10):
        def reached():
            status = self.status(name)
            assert status["state"] in states, status
            return status
        return eventually(reached, timeout, f"{name} is {' or '.join(states)}")

    def wait_open(self, *names, timeout=10):
        for name in names:
            self.wait_state(name, "open", timeout=timeout)

    # --- the files

    def path(self, name, what=""):
        return self.run_dir / name / what if what else self.run_dir / name

    def open_in(self, name, timeout=5):
        """`in` for writing: an open that would block (nobody reads) is a failure after a while."""
        path = self.path(name, "in")
        deadline = time.monotonic() + scaled(timeout)
        while True:
            try:
                return Stream(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            except OSError as problem:
                if problem.errno not in (errno.ENXIO, errno.ENOENT) or time.monotonic() > deadline:
                    raise Timeout(f"{path}: {problem}") from None
                time.sleep(0.02)

    def open_out(self, name, what="out", timeout=5):
        eventually(lambda: self.path(name, what).exists(), timeout, f"{name}/{what} exists")
        return Stream(os.open(self.path(name, what), os.O_RDONLY | os.O_NONBLOCK))

    def put(self, name, *lines, timeout=10):
        """Lines through `in`, as `echo` would."""
        with self.open_in(name) as stream:
            stream.write(b"".join((x.encode() if isinstance(x, str) else x) + b"\n" for x in lines),
                         timeout)

    def sock(self, name):
        eventually(lambda: self.path(name, "sock").exists(), 5, f"{name}/sock exists")
        return SockClient(str(self.path(name, "sock")))

    def listener(self, name):
        """A sock client of which the daemon is known to have taken notice."""
        before = len(self.readers(name, "sock"))
        client = self.sock(name)
        eventually(lambda: len(self.readers(name, "sock")) > before, 5, "the client is a reader")
        return client

    def readers(self, name, kind=None):
        readers = self.status(name)["readers"]
        return [r for r in readers if kind is None or r["kind"] == kind]

    def status_file(self, name):
        """NAME/status as a dict, as a shell sees it after sourcing it."""
        text = self.path(name, "status").read_text()
        keys = re.findall(r"^([A-Za-z_][A-Za-z0-9_]*)=", text, re.M)
        script = "set -eu; . ./status; " + " ".join(f'printf "%s\\0" "${k}";' for k in keys)
        result = run(["sh", "-c", script], cwd=self.path(name), env=self.env)
        assert result.code == 0 and not result.err, (result, text)
        return dict(zip(keys, result.out.split("\0")))

    # --- what the kernel knows

    def proc(self, file):
        return pathlib.Path(f"/proc/{self.pid}/{file}").read_text()

    def rss(self):
        """Resident bytes, without pages of files."""
        return int(re.search(r"^RssAnon:\s+(\d+) kB", self.proc("status"), re.M)[1]) * KIB

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu(self):
        """Seconds of user and system time so far."""
        fields = self.proc("stat").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wakeups(self):
        """Times that any of its threads has waited and woken."""
        return sum(int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", p.read_text(), re.M)[1])
                   for p in pathlib.Path(f"/proc/{self.pid}/task").glob("*/status"))


class UserInstance:
    """wspipe and wspiped as installed for an ordinary user, who has only HOME and XDG_*: nothing is
    given on the command line.  When the tests run as root, the user is `nobody`."""

    def __init__(self, home):
        self.home = pathlib.Path(home)
        self.env = private_environment(home)
        self.config_dir = self.home / "home/.config/wspipe"
        self.run_dir = self.home / "xdg/wspipe"
        bin_dir = self.home / "bin"
        for directory in (bin_dir, self.config_dir / "conf.d"):
            directory.mkdir(parents=True)
        for program in (WSPIPED, WSPIPE):
            shutil.copy(program, bin_dir)
        self.env["PATH"] = f"{bin_dir}:/usr/bin:/bin"
        self.env["ASAN_OPTIONS"] += f":log_path={self.home}/tmp/asan"
        self.as_user = {}
        if os.getuid() == 0:
            self.as_user = {"user": 65534, "group": 65534, "extra_groups": []}
        self.own()

    def own(self):
        """Give everything to the user (after files were written)."""
        if os.getuid() != 0:
            return
        os.chmod(self.home, 0o711)
        for name in ("home", "xdg", "tmp"):
            for directory, _, files in os.walk(self.home / name):
                for path in [directory] + [os.path.join(directory, f) for f in files]:
                    os.chown(path, 65534, 65534)

    def run(self, *args, **kw):
        return run([self.home / "bin" / args[0], *args[1:]], env=self.env, cwd=self.home / "tmp",
                   **self.as_user, **kw)

    def spawn(self, *args, **kw):
        return subprocess.Popen([str(self.home / "bin" / args[0]), *args[1:]], env=self.env,
                                cwd=self.home / "tmp", **self.as_user, **kw)

    def daemon_pid(self):
        """The daemon that answers at `control`, None if there is none."""
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(str(self.run_dir / "control"))
            except OSError:
                return None
            cred = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            return int.from_bytes(cred[:4], "little")

    def cleanup(self):
        pid = self.daemon_pid()
        if pid:
            os.kill(pid, signal.SIGTERM)
            try:
                eventually(lambda: not os.path.exists(f"/proc/{pid}") or self._is_zombie(pid), 15)
            except Timeout:
                os.kill(pid, signal.SIGKILL)
                raise
        reports = [p.read_text() for p in (self.home / "tmp").glob("asan.*")]
        assert not reports, reports

    @staticmethod
    def _is_zombie(pid):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"


def find_connections(data):
    """{name: object}, whether DATA is one connection, a list of them, or an object with a list."""
    if isinstance(data, dict) and "name" in data and "state" in data:
        return {data["name"]: data}
    if isinstance(data, dict):
        for value in data.values():
            if isinstance(value, list) and all(isinstance(v, dict) and "name" in v for v in value):
                return {v["name"]: v for v in value}
        raise ValueError(f"no connections in {str(data)[:300]}")
    return {v["name"]: v for v in data}


def section(name, url, *lines):
    return "\n".join([f"[{name}]", f"url = {url}", *lines]) + "\n"


FAST = ("reconnect-delay = 100ms", "reconnect-max = 200ms")


# Below the ports that the kernel gives to whoever does not care (from 32768), so that no listener and
# no connection takes one by chance; each is given once, and runs at the same time begin elsewhere.
_ports = itertools.count(os.getpid() % 12000)


def free_port():
    """A port where nobody listens, for whoever will, or for nobody."""
    for _ in range(1000):
        port = 20000 + next(_ports) % 12000
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise Timeout("no port is free")


def remove_tree(path):
    shutil.rmtree(path, ignore_errors=True)
