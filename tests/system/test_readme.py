"""The recipes of README.md as they stand, with the server that demo.sh has for them; and what README.md and
tests/README.md name is there.  (The recipes of its section on requests: test_requests.py.)"""

import os
import re
import shutil
import subprocess

import pytest

from harness import ROOT, WSPIPE, ended, run, scaled, section
from proxies import Tinyproxy
from servers import Process

TEXT = (ROOT / "README.md").read_text()
RECIPES = TEXT.split("\n## Recipes\n")[1].split("\n## ")[0]


def recipes():
    """{title: [blocks of shell]}, a title being what stands in bold."""
    found = {}
    for part in re.split(r"^\*\*", RECIPES, flags=re.M)[1:]:
        found[part.split(".**")[0]] = re.findall(r"^```sh\n(.*?)^```$", part, re.S | re.M)
    return found


class DemoServer(Process):
    """The server of demo.sh, which ticks ten times as fast here."""

    def command(self):
        text = re.search(r"<<'PYTHON'\n(.*?)^PYTHON$", (ROOT / "demo.sh").read_text(), re.S | re.M)[1]
        assert "asyncio.sleep(1)" in text and "ping_timeout=2" in text
        script = self.home / "server.py"
        script.write_text(text.replace("asyncio.sleep(1)", "asyncio.sleep(0.1)")
                          .replace("ping_timeout=2", f"ping_timeout={scaled(20)}"))
        return ["/usr/bin/python3", script, str(self.port), self.home / "port"]

    def answers(self):
        return super().answers() and (self.home / "port").read_text().strip()

    @property
    def base(self):
        return f"ws://127.0.0.1:{self.port}"


@pytest.fixture
def shell(daemon, make_server, tmp_path):
    """What `./demo.sh --keep` leaves: shell(RECIPE) runs it and gives what it printed."""
    server = make_server(DemoServer)
    daemon.start(section("demo", server.base + "/echo") + section("clock", server.base + "/clock"))
    daemon.wait_open("demo", "clock")
    assert daemon.client("wait", "clock", "--for", "message").code == 0
    place = tmp_path / "place"
    place.mkdir()
    daemon.env.update(W=str(daemon.run_dir), WSPIPE_RUNTIME_DIR=str(daemon.run_dir), S=server.base)

    def shell(recipe):
        text = re.sub(r"\bsleep [1-9]\d*\b", f"sleep {scaled(2)}", recipe)
        result = run(["bash", "-ec", text], timeout=50, cwd=place, env=daemon.env)
        assert result.code == 0, (recipe, result)
        return result.out.splitlines()
    shell.place = place
    return shell


def ticks(lines):
    """The numbers of lines "tick N", which must follow each other."""
    numbers = [int(re.fullmatch(r"tick (\d+)", line)[1]) for line in lines]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    return numbers


def block(title, index=0):
    return recipes()[title][index]


def test_every_recipe_is_run_here():
    here = open(__file__, encoding="utf-8").read()
    for title, blocks in recipes().items():
        for index in range(len(blocks)):
            call = f'block("{title}", {index})' if index else f'block("{title}")'
            assert call in here, call


def test_pipeline(daemon, shell):
    """It goes on until Ctrl-C; each fifth tick comes back."""
    pipeline = subprocess.Popen(["bash", "-c", block("A shell pipeline")], cwd=shell.place,
                                env=daemon.env, start_new_session=True)
    try:
        with daemon.open_out("demo") as out:
            lines = out.lines(3)
        assert all(re.fullmatch(r"\d\d:\d\d:\d\d tick \d*[05]", line) for line in lines)
    finally:
        os.killpg(pipeline.pid, 9)
        ended(pipeline)


def test_command(shell):
    lines = shell(block("A command that sends and receives"))
    assert lines[:4] == ["1", "2", "3", "it has it"]
    assert all(re.fullmatch(r"20\S+Z tick \d+", line) for line in lines[4:]) and len(lines) == 6


def test_cron(daemon, shell):
    *batch, line = shell(block("Cron"))
    assert ticks(batch)[0] == 1
    more = run(["bash", "-ec", line.split("* * * * ")[1]], env=daemon.env)
    assert more.code == 0
    assert ticks(batch + (daemon.home / "home/ticks.txt").read_text().splitlines())


def test_cursor(shell):
    lines = shell(block("Cron", 1))
    assert len(ticks(lines[:2])) == 2 and lines[3].startswith("nightly")
    assert ticks((shell.place / "today.txt").read_text().splitlines())[0] == 1


def test_last(shell):
    first, second = shell(block("A program that reads a file"))
    assert int(first.split()[1]) < int(second.split()[1])


def test_log_file(shell):
    shell(block("A program that reads a log file"))
    assert ticks((shell.place / "ticks.log").read_text().splitlines()[:2]) == [1, 2]


def test_latest(daemon, shell):
    assert shell(block("One file for each symbol, sensor, room"))[-2:] == [
        f'{daemon.run_dir}/rooms/latest/attic:{{"room":"attic","t":24}}',
        f'{daemon.run_dir}/rooms/latest/hall:{{"room":"hall","t":19.7}}']


def test_hooks(shell):
    lines = shell(block("A command for each message, or each change of state"))
    assert [line.split()[1] for line in lines[:4]] == ["connecting", "open", "closing", "closed"]
    assert lines[4:6] == ["6", "6"]


def test_python(shell):
    assert shell(block("Python, or any language that can open a file")) == [
        "got: question 0", "got: question 1", "got: question 2"]


def test_expect(shell):
    assert shell(block("A server that wants to be greeted")) == ["state: open"]


def test_login(shell):
    assert shell(block("A server that wants to be greeted", 1)) == ["hello"]


def test_proxy(daemon, make_server, shell):
    proxy = make_server(Tinyproxy)
    daemon.env["PROXY"] = proxy.at()
    assert shell(block("Through a proxy")) == ["hello", "hello"]
    assert proxy.log_path.read_text().count("CONNECT 127.0.0.1") >= 2


def test_persist(daemon, shell):
    try:
        assert shell(block("What must not be lost")) == ["tick 1", "tick 2"]
    finally:  # nothing to stop where all went well
        run([WSPIPE, "--runtime-dir", shell.place / "run", "stop"], env=daemon.env)


def test_prometheus(daemon, shell):
    lines = shell(block("Prometheus"))
    assert {"clock", "demo"} == {re.search(r'name="(\w+)"', line)[1] for line in lines[:-1]}
    assert lines[-1].startswith("* * * * * wspipe stats")
    fields = lines[-1].replace("/var/lib/prometheus/node-exporter", str(shell.place))
    assert run(["bash", "-ec", fields.split("* * * * * ")[1]], env=daemon.env).code == 0
    assert "wspipe_" in (shell.place / "wspipe.prom").read_text()


def test_service(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = re.search(r"^```ini\n# /etc/systemd/system/(\S+)\n(.*?)^```$", RECIPES, re.S | re.M)
    (tmp_path / unit[1]).write_text(unit[2])
    (tmp_path / "wspiped.service").write_text("[Service]\nExecStart=/bin/true\n")
    result = run(["systemd-analyze", "verify", "--man=no", tmp_path / unit[1]],
                 env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "XDG_RUNTIME_DIR": str(tmp_path),
                      "PATH": "/usr/bin:/bin"})
    assert result.code == 0 and result.err == "", result


@pytest.mark.parametrize("name", ["README.md", "tests/README.md"])
def test_what_is_named_is_there(name):
    """Links, and files and folders of the tree in backquotes or commands."""
    text = (ROOT / name).read_text()
    below = (ROOT / name).parent
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (below / link).exists(), link
    for path in re.findall(r"(?<![\w/.$-])((?:tests|daemon|client|conf|systemd|debian|\.ci)/[\w./-]*[\w/])(?![\w./*-])", text):
        assert (ROOT / path).exists(), path
