"""Fixtures: a short private directory, the daemon, and the servers."""

import collections
import pathlib
import re
import tempfile

import pytest

import cases
import faults
import harness
import netns
import peer as peer_module
import servers


def pytest_configure(config):
    config.addinivalue_line("markers", "timeout(seconds): limit of a test (pytest-timeout)")
    if not config.option.collectonly:
        netns.isolate()


def pytest_collection_modifyitems(items):
    for item in items:
        mark = item.get_closest_marker("timeout")
        seconds = mark.args[0] if mark else 60
        item.own_markers = [m for m in item.own_markers if m.name != "timeout"]
        item.add_marker(pytest.mark.timeout(harness.scaled(seconds)))


def pytest_sessionstart(session):
    if session.config.option.collectonly:
        return
    for program in (harness.WSPIPED, harness.WSPIPE):
        if not program.exists():
            pytest.exit(f"{program} is not there: build first, or set WSPIPE_BUILD", 2)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        item.has_failed = True
        for daemon in getattr(item, "daemons", []):
            report.sections.append(("daemon's log (end)", daemon.log[-5000:]))


CASE = re.compile(r"test_([a-z])(\d\d)_")


def pytest_terminal_summary(terminalreporter):
    """How many of the numbered cases ran, by letter, and with how many inputs."""
    numbers, inputs = collections.defaultdict(set), collections.Counter()
    for outcome in ("passed", "failed", "xfailed", "xpassed"):
        for report in terminalreporter.getreports(outcome):
            match = CASE.search(report.nodeid)
            if match:
                numbers[match[1].upper()].add(match[2])
                inputs[match[1].upper()] += 1
    if numbers:
        each = ", ".join(f"{k} {len(numbers[k])} ({inputs[k]})" for k in sorted(numbers))
        terminalreporter.write_line(f"cases (and their inputs): {each}; in all "
                                    f"{sum(map(len, numbers.values()))} ({sum(inputs.values())})")


@pytest.fixture
def tmp_path(request):
    """Like pytest's own, but short: the path of a Unix socket has 107 bytes."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="wsp-"))
    yield path
    if not getattr(request.node, "has_failed", False):
        harness.remove_tree(path)


@pytest.fixture
def daemon(request, tmp_path):
    daemon = harness.Daemon(tmp_path)
    request.node.daemons = [daemon]
    yield daemon
    daemon.cleanup()


@pytest.fixture
def faulty(request, tmp_path):
    """A daemon whose luck runs out on command, and whose clocks can be moved (faults.py)."""
    problem = faults.why_not()
    if problem:
        pytest.skip(problem)
    daemon = faults.FaultyDaemon(tmp_path)
    request.node.daemons = [daemon]
    yield daemon
    for kind in faults.KINDS:
        daemon.page.over(kind)
    # Else the write of libevent's signal handler is cut, too, and SIGTERM is lost.
    daemon.page["bytes_max"] = daemon.page["interrupt"] = 0
    daemon.cleanup()


@pytest.fixture
def user_instance(tmp_path):
    instance = harness.UserInstance(tmp_path)
    yield instance
    instance.cleanup()


@pytest.fixture
def make_server(tmp_path):
    """make_server(KIND, ...): a server that ends with the test; KIND is a class of servers.py."""
    made = []

    def make(kind, *args, **kw):
        server = kind(*args, home=tmp_path, **kw)
        made.append(server)
        server.start()
        return server
    yield make
    for server in reversed(made):
        server.stop()


@pytest.fixture
def server(make_server):
    """A python3-websockets server that echoes nothing and remembers everything."""
    return make_server(servers.PyServer)


@pytest.fixture
def echo(make_server):
    """A python3-websockets server that echoes."""
    return make_server(servers.PyServer, echo=True)


@pytest.fixture
def node_echo(make_server):
    """node's ws as an echo server: fast, and it answers what came before a Close."""
    return make_server(servers.NodeEcho)


@pytest.fixture
def peer():
    """peer(script, ...): a scripted server; one script for each connection in turn, the last one
    for all further.  What a script asserts is asserted when the test ends."""
    made = []

    def make(*scripts, **kw):
        one = peer_module.Peer(*scripts, **kw)
        made.append(one)
        return one
    yield make
    for one in made:
        one.stop()
    for one in made:
        one.check()


@pytest.fixture(scope="module")
def module_bench():
    path = pathlib.Path(tempfile.mkdtemp(prefix="wsp-"))
    bench = cases.Bench(path)
    yield bench
    bench.daemon.cleanup()
    harness.remove_tree(path)


@pytest.fixture
def bench(request, module_bench):
    """One daemon for all cases of a file (cases.py).  What a script asserts is asserted when the test
    ends, and that the daemon lives."""
    request.node.daemons = [module_bench.daemon]
    yield module_bench
    module_bench.end_of_test()


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    """A certificate authority of our own, see servers.Pki."""
    return servers.Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def certs(tmp_path_factory):
    """Certificates that are wrong in all ways, see certs.py."""
    import certs as module  # skips where python3-cryptography is missing
    return module.Certs(tmp_path_factory.mktemp("certs"))
