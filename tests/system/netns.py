"""Networks of our own.  isolate(): one for all the tests of this process.  Net: three namespaces, the
daemon's (near), a router's, and the servers' (far):

    near  10.99.1.2 --- 10.99.1.1  router  10.99.2.1 --- 10.99.2.2  far

Hosts: names of our own.  All of them need root, and ip(8); nothing outside of them is touched."""

import contextlib
import ctypes
import itertools
import os
import shutil
import subprocess

NEAR, FAR = "10.99.1.2", "10.99.2.2"
CLONE_NEWNET = 0x40000000
counter = itertools.count()


def problem():
    """Why there can be none here; None: there can."""
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    for program in ("ip", "nsenter"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    try:
        Net().stop()
    except subprocess.CalledProcessError as failure:
        return f"network namespaces cannot be made here: {failure.stderr.decode().strip()}"
    return None


def isolate():
    """This process and all that it starts from now on get a network that nobody else is in, with a
    loopback interface only: ports are free or not by what the tests do and by nothing else (a daemon
    that tries a port again which another run of the tests has given up does not come here), and
    netlink is silent.  False where that cannot be had.  To be called before there are threads."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) < 0:
        return False
    run("ip", "link", "set", "lo", "up")
    return True


def run(*words):
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, capture_output=True)


class Net:
    def __init__(self):
        tag = f"wsp{os.getpid()}-{next(counter)}"
        self.near, self.router, self.far = f"{tag}n", f"{tag}r", f"{tag}f"
        self.made = []
        try:
            self._make()
        except subprocess.CalledProcessError:
            self.stop()
            raise

    def _make(self):
        for name in (self.near, self.router, self.far):
            run("ip", "netns", "add", name)
            self.made.append(name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        for name, inner, outer, address, gateway in (
                (self.near, "near0", "near1", NEAR, "10.99.1.1"),
                (self.far, "far0", "far1", FAR, "10.99.2.1")):
            run("ip", "link", "add", inner, "netns", name, "type", "veth", "peer", "name", outer,
                "netns", self.router)
            run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", inner)
            run("ip", "-n", self.router, "addr", "add", f"{gateway}/24", "dev", outer)
            run("ip", "-n", name, "link", "set", inner, "up")
            run("ip", "-n", self.router, "link", "set", outer, "up")
            run("ip", "-n", name, "route", "add", "default", "via", gateway)
        self.forward(True)

    def stop(self):
        for name in self.made:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def enter(self, name):
        """Words ahead of a command that is to run in there."""
        return ["nsenter", f"--net=/run/netns/{name}"]

    def forward(self, on):
        """Off: the router drops everything, without a word to anybody."""
        run(*self.enter(self.router), "sysctl", "-qw", f"net.ipv4.ip_forward={int(on)}")

    def near_link(self, up):
        run("ip", "-n", self.near, "link", "set", "near0", "up" if up else "down")
        if up:
            run("ip", "-n", self.near, "route", "replace", "default", "via", "10.99.1.1")

    @contextlib.contextmanager
    def inside(self, name):
        """Sockets that this thread makes meanwhile are in there, also for ever after."""
        libc = ctypes.CDLL(None, use_errno=True)
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{name}", os.O_RDONLY)
        try:
            if libc.setns(there, CLONE_NEWNET) < 0:
                raise OSError(ctypes.get_errno(), "setns")
            yield
        finally:
            if libc.setns(own, CLONE_NEWNET) < 0:
                os._exit(70)  # the tests may not go on in another network
            os.close(own)
            os.close(there)


class Hosts:
    """Names of our own for one daemon: its /etc/hosts is this file, which may change while it runs."""

    def __init__(self, directory, **names):
        self.path = directory / "hosts"
        self.words = ["unshare", "--mount", "sh", "-c",
                      f'mount --bind "{self.path}" /etc/hosts && exec "$@"', "sh"]
        self.write(**names)

    def problem(self):
        """Why there can be none here, or None."""
        if os.geteuid() != 0:
            return "only root can have another /etc/hosts"
        done = subprocess.run([*self.words, "true"], capture_output=True, check=False)
        return done.stderr.decode().strip() or "no mount namespace" if done.returncode else None

    def write(self, **names):
        """NAME=(ADDRESS, ...); the names are below `.test`."""
        self.path.write_text("".join(f"{address} {name}.test\n" for name in names
                                     for address in names[name]))
