"""Much more than `keep` through the spool: memory and disk stay as they are, whatever the size of the
messages.

Environment:
    WSPIPE_SPOOL_GB   gigabytes (default: 0.3)
"""

import os
import subprocess

import pytest

from harness import BUILD, KIB, MEMORY_IS_REAL, MIB, VALGRIND, eventually, scaled, section

BYTES = int(float(os.environ.get("WSPIPE_SPOOL_GB", "0.05" if VALGRIND else "0.3")) * 1e9)
SIZES = (16, 200, 4 * KIB, 64 * KIB, MIB, 8 * MIB)


class Flooder:
    """The benchmark's server, which can fill a line."""

    def __init__(self):
        self.child = subprocess.Popen([BUILD / "tests" / "bench" / "bench-peer"], bufsize=0,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.url = f"ws://127.0.0.1:{self.answer()[0]}/"

    def answer(self):
        return [int(n) for n in self.child.stdout.readline().split()[1:]]

    def flood(self, size, count):
        """Seconds that it took."""
        self.child.stdin.write(b"flood %d %d ascii\n" % (size, count))
        begin, end = self.answer()
        return (end - begin) / 1e9

    def stop(self):
        self.child.kill()
        self.child.wait()
        self.child.stdin.close()
        self.child.stdout.close()


@pytest.fixture
def flooder():
    flooder = Flooder()
    yield flooder
    flooder.stop()


def private_memory(daemon):
    """KiB that are not pages of files: those are the kernel's to take back."""
    lines = open(f"/proc/{daemon.pid}/status").read().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def disk(daemon):
    return sum(p.stat().st_blocks * 512 for p in (daemon.state_dir / "a").iterdir())


@pytest.mark.timeout(0)
@pytest.mark.parametrize("persist", ("yes", "no"))
def test_much_through_a_small_spool(daemon, flooder, persist):
    """In ten parts; the figures of the first tenth are those of the last."""
    daemon.start(section("a", flooder.url, f"persist = {persist}", "keep = 64M",
                         "endpoints = out status", "max-message = 16M"))
    daemon.wait_open("a")
    figures = []
    for part in range(10):
        seconds = dict.fromkeys(SIZES, 0)
        for size in SIZES:
            count = max(BYTES // 10 // len(SIZES) // size, 1)
            before = daemon.status("a")["received"]["messages"]
            seconds[size] = flooder.flood(size, count) / (count * size) * 1e9
            eventually(lambda: daemon.status("a")["received"]["messages"] == before + count,
                       scaled(60))
        figures.append((private_memory(daemon), disk(daemon) if persist == "yes" else 0))
        print(f"{(part + 1) * 10} %: {figures[-1][0]} KiB, {figures[-1][1] // MIB} MiB on disk; seconds a GB: "
              + ", ".join(f"{size} B {seconds[size]:.2f}" for size in SIZES))
        kept = daemon.status("a")["kept"]["bytes"]
        assert kept <= 64 * MIB + 17 * MIB
        assert figures[-1][1] <= 64 * MIB + 34 * MIB, "blocks and one that is being filled"
        if MEMORY_IS_REAL:
            assert figures[-1][0] < (12 if persist == "yes" else 64 + 34 + 12) * KIB
    assert daemon.status("a")["dropped"]["messages"] > 0 and "jumps ahead" not in daemon.log
