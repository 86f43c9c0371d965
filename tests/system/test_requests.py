"""Requests: many programs share one connection, and each gets its own answers."""

import asyncio
import collections
import hashlib
import json
import os
import random
import re
import threading

import pytest
import websockets.exceptions

import servers
from harness import (DONE, FAST, MIB, PEER, ROOT, TIMED_OUT, USAGE, eventually, run, scaled,
                     section)

ERROR_REPLY = 6


class RpcServer(servers.PyServer):
    """Answers in random order and with delays, sends events in between, repeats some replies and
    invents others.  The result names the request's params, so that everybody can tell his own."""

    def __init__(self, *args, seed=1, wild=True, **kw):
        super().__init__(*args, **kw)
        self.random = random.Random(seed)
        self.wild = wild
        self.ids = []       # as they came
        self.events = 0
        self.invented = 0
        self.tasks = set()

    async def answer(self, session, request):
        try:
            await self.really_answer(session, request)
        except websockets.exceptions.ConnectionClosed:
            pass

    async def really_answer(self, session, request):
        if self.wild:
            await asyncio.sleep(self.random.random() * 0.02)
        if request.get("method") == "silence":
            return
        reply = {"jsonrpc": "2.0", "id": request["id"], "result": request.get("params")}
        if request.get("method") == "sum":
            reply["result"] = sum(request["params"])
        if request.get("method") == "fail":
            reply = {"id": request["id"], "error": {"code": -1, "message": "no"}}
        await session.ws.send(json.dumps(reply))
        if not self.wild:
            return
        if self.random.random() < 0.1:
            await session.ws.send(json.dumps(reply))
        if self.random.random() < 0.1:
            self.invented += 1
            await session.ws.send(json.dumps({"id": 10 ** 9 + self.invented, "result": "invented"}))
        if self.random.random() < 0.2:
            self.events += 1
            await session.ws.send(json.dumps({"method": "event", "params": self.events}))

    async def _handler(self, ws):
        session = servers.Session(self, ws)
        with self.arrived:
            self.sessions.append(session)
            self.arrived.notify_all()
        try:
            async for message in ws:
                session.count += 1
                session.messages.put(message)
                try:
                    request = json.loads(message)
                except ValueError:
                    continue
                if not isinstance(request, dict) or "id" not in request:
                    continue
                self.ids.append(request["id"])
                task = asyncio.ensure_future(self.answer(session, request))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
        except websockets.exceptions.ConnectionClosed:
            pass
        finally:
            session.closed.set()


@pytest.fixture
def rpc(make_server):
    return make_server(RpcServer, wild=False)


@pytest.fixture
def wild(make_server):
    return make_server(RpcServer)


def ask(client, number, **members):
    client.write(json.dumps({"id": number, "method": "m", **members}) + "\n")


# --- wspipe request -----------------------------------------------------------------------------


def test_request_prints_its_reply_alone(daemon, rpc):
    """"send, print the reply to this message alone"; the id is put back byte for byte."""
    daemon.start(section("a", rpc.url, "id = /id"))
    daemon.wait_open("a")
    for literal in ("1", '"1"', "1.0", '"\\u0031"', "12345678901234567890", "-7", '"x-1"'):
        result = daemon.client("request", "a", '{"id": %s, "params":1.10}' % literal)
        assert result.code == DONE, result
        assert result.out == '{"jsonrpc": "2.0", "id": %s, "result": 1.1}\n' % literal
    assert rpc.ids == [1, "2", 3, "4", 5, 6, "7"], "one counter, and the asker's type"
    status = daemon.status("a")["requests"]
    assert (status["open"], status["answered"], status["timed_out"]) == (0, 7, 0)


def test_request_without_id_gets_one(daemon, rpc):
    """"A `request` without an id gets one inserted", and every other byte stays."""
    daemon.start(section("a", rpc.url, "id = /id"))
    daemon.wait_open("a")
    assert json.loads(daemon.client("request", "a", '{ "params" : [1e3] }').out)["result"] == [1000]
    assert rpc.session().recv() == '{"id":1, "params" : [1e3] }'
    assert daemon.client("request", "a", "{}").code == DONE
    assert rpc.session().recv() == '{"id":2}'
    for nothing, why in (("[1]", "no place"), ("hello", "no JSON"), ('{"id":1,"id":2}', "twice"),
                         ('{"id":null}', "neither")):
        result = daemon.client("request", "a", nothing)
        assert result.code == USAGE and why in result.err and not result.out, result
    assert daemon.client("request", "a", "[1]", "{}").code == USAGE
    assert daemon.status("a")["rejected"]["messages"] == 5


def test_request_exit_status(daemon, rpc):
    """6 for an error reply, 124 for none in time, 1 when the connection is lost, 2 without `id`."""
    daemon.start(section("a", rpc.url, "id = /id", *FAST) + section("b", rpc.url))
    daemon.wait_open("a", "b")
    result = daemon.client("request", "a", '{"method":"fail"}')
    assert result.code == ERROR_REPLY and json.loads(result.out)["error"]["message"] == "no"
    result = daemon.client("request", "a", '{"method":"silence"}', "--timeout", "0.2")
    assert result.code == TIMED_OUT and "0.200 s" in result.err and not result.out, result
    assert daemon.client("request", "b", "{}").code == USAGE
    waiting = daemon.spawn_client("request", "a", '{"method":"silence"}')
    eventually(lambda: daemon.status("a")["requests"]["open"] == 1)
    rpc.sessions[0].abort(), rpc.sessions[1].abort()
    out, err = waiting.communicate(timeout=scaled(5))
    assert waiting.returncode == PEER and not out and b"server" in err, err
    assert daemon.status("a")["requests"]["timed_out"] == 1


def test_request_url_needs_no_configuration(daemon, rpc):
    daemon.start("")
    result = daemon.client("request", rpc.url, '{"params":"x"}', "--field", "/result")
    assert (result.code, result.out) == (DONE, "x\n")
    assert rpc.session().wait_closed()[0] == 1000
    assert daemon.client("request", "ws://127.0.0.1:1/", "{}").code == PEER


def test_request_many(daemon, wild):
    """From arguments and from lines, in the order of arrival or of asking; one member of each."""
    daemon.start(section("a", wild.url, "preset = json-rpc"))
    daemon.wait_open("a")
    lines = [json.dumps({"method": "m", "params": i}) for i in range(500)]
    result = daemon.client("request", "a", "--ordered", "--field", "/result",
                           input="\n".join(lines) + "\n")
    assert result.code == DONE, result
    assert result.out.split() == [str(i) for i in range(500)]
    result = daemon.client("request", "a", *lines[:100])
    got = [json.loads(line)["result"] for line in result.out.splitlines()]
    assert sorted(got) == list(range(100)) and got != list(range(100))
    result = daemon.client("request", "a", "--field", "/nothing", lines[0])
    assert result.code == PEER and "no /nothing" in result.err


def test_raw_id(daemon, rpc):
    """--raw-id: no rewriting, and still its own reply."""
    daemon.start(section("a", rpc.url, "id = /id"))
    daemon.wait_open("a")
    for literal in ("77", '"abc"'):
        result = daemon.client("request", "a", "--raw-id", '{"id":%s,"params":5}' % literal)
        assert json.loads(result.out)["id"] == json.loads(literal)
        assert rpc.session().recv() == '{"id":%s,"params":5}' % literal
    assert json.loads(daemon.client("request", "a", '{"id":1}').out)["id"] == 1
    assert rpc.ids[-1] == 78, "ids go on rising"


# --- sock ---------------------------------------------------------------------------------------


def test_sock_clients_with_the_same_ids(daemon, rpc):
    """Two clients use the same ids; each gets its own reply, others see events only."""
    daemon.start(section("a", rpc.url, "id = /id"))
    daemon.wait_open("a")
    with daemon.listener("a") as one, daemon.listener("a") as two, daemon.open_out("a") as out:
        ask(one, 1, params="one")
        ask(two, 1, params="two")
        assert json.loads(one.line())["result"] == "one"
        assert json.loads(two.line())["result"] == "two"
        rpc.session().send('{"method":"tick"}', '{"id":99,"result":"unknown"}')
        for reader in (one, two, out):
            assert reader.lines(2) == ['{"method":"tick"}', '{"id":99,"result":"unknown"}']
            assert reader.silent()
    requests = daemon.status("a")["requests"]
    assert (requests["answered"], requests["unknown"]) == (2, 1)


def test_replies_all(daemon, rpc):
    """`replies = all`: out and files get replies too; the asker gets his once, others none."""
    daemon.start(section("a", rpc.url, "id = /id", "replies = all"))
    daemon.wait_open("a")
    with daemon.listener("a") as one, daemon.listener("a") as two, daemon.open_out("a") as out:
        ask(one, "x", params=1)
        assert json.loads(one.line())["id"] == json.loads(out.line())["id"] == "x"
        assert one.silent() and two.silent()


def test_in_is_answered_by_out(daemon, rpc):
    """A FIFO's writer cannot be answered: his reply is an event, with his id in it."""
    daemon.start(section("a", rpc.url, "id = /id"))
    daemon.wait_open("a")
    with daemon.open_out("a") as out:
        daemon.put("a", '{"id":"mine","params":3}')
        assert json.loads(out.line()) == {"jsonrpc": "2.0", "id": "mine", "result": 3}
    assert rpc.ids == ["1"]


def test_r11_late_and_repeated_replies_are_dropped(daemon, server):
    daemon.start(section("a", server.url, "id = /id", "request-timeout = 0.2s"))
    daemon.wait_open("a")
    session = server.session()
    with daemon.listener("a") as client, daemon.listener("a") as other:
        ask(client, 5)
        assert json.loads(session.recv())["id"] == 1
        eventually(lambda: daemon.status("a")["requests"]["timed_out"] == 1)
        session.send('{"id":1,"result":"late"}')
        ask(client, 5)
        session.recv()
        session.send('{"id":2.0,"result":"good"}', '{"id":2,"result":"again"}', '{"event":1}')
        assert client.lines(2) == ['{"id":5,"result":"good"}', '{"event":1}']
        assert other.line() == '{"event":1}'
    requests = daemon.status("a")["requests"]
    assert (requests["late"], requests["repeated"], requests["open"]) == (1, 1, 0)


def test_client_that_leaves_is_forgotten(daemon, server):
    daemon.start(section("a", server.url, "id = /id"))
    daemon.wait_open("a")
    with daemon.listener("a") as other:
        with daemon.sock("a") as client:
            ask(client, 1)
            server.session().recv()
        eventually(lambda: daemon.status("a")["requests"]["open"] == 0)
        server.session().send('{"id":1,"result":0}', "event")
        assert other.line() == "event"


def test_client_that_does_not_read_its_replies(daemon, rpc):
    """Private replies are bounded: the client is closed, with a line in the log; others go on."""
    daemon.start(section("a", rpc.url, "id = /id"))
    daemon.wait_open("a")
    big = "x" * (MIB // 2)
    with daemon.listener("a") as client, daemon.listener("a") as other:
        try:
            for i in range(30):
                ask(client, i, params=big)
        except BrokenPipeError:
            pass
        eventually(lambda: "does not read its replies" in daemon.log, 20)
        ask(other, 1, params="fine")
        assert json.loads(other.line())["result"] == "fine"
    assert len(daemon.readers("a", "sock")) <= 1


def test_ids_rise_behind_those_of_on_open(daemon, rpc):
    """on-open may use ids: ours begin behind them (Home Assistant wants them to rise)."""
    daemon.start(section("a", rpc.url, "id = /id", 'on-open = {"id":41,"method":"m"}'))
    daemon.wait_open("a")
    assert daemon.client("request", "a", "{}").code == DONE
    assert rpc.ids == [41, 42]


def test_order_of_replies_and_events(daemon, server):
    """A reply stands where it was received, between two events."""
    daemon.start(section("a", server.url, "id = /id"))
    daemon.wait_open("a")
    with daemon.listener("a") as client:
        for i in range(1, 201):
            ask(client, i)
        session = server.session()
        session.recv_many(200)
        messages = []
        for i in range(1, 201):
            messages += [f'{{"event":{i}}}', f'{{"id":{i}}}']
        session.send(*messages)
        assert client.lines(400) == messages


# --- the whole thing ----------------------------------------------------------------------------

EACH = int(os.environ.get("WSPIPE_REQUESTS", 1000))
PROGRAM = """
import json, socket, sys
path, who, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sock = socket.socket(socket.AF_UNIX)
sock.connect(path)
lines = sock.makefile("rw")
for i in range(1, count + 1):
    lines.write(json.dumps({"id": i, "method": "m", "params": [who, i]}) + "\\n")
lines.flush()
expected = {json.dumps({"jsonrpc": "2.0", "id": i, "result": [who, i]}) + "\\n"
            for i in range(1, count + 1)}
for line in lines:
    if '"event"' in line or '"invented"' in line:
        continue
    assert line in expected, (who, line)
    expected.remove(line)
    if not expected:
        print("done", who)
        break
else:
    print("lost", who, len(expected))
    sys.exit(1)
"""


def reply_to(who, i):
    return json.dumps({"jsonrpc": "2.0", "id": i, "result": [who, i]})


def start_64(daemon, tmp_path):
    """Half of them programs on `sock`, half `wspipe request` with lines on its standard input."""
    children = []
    for who in range(32):
        children.append(daemon.spawn(["/usr/bin/python3", "-c", PROGRAM,
                                      str(daemon.path("a", "sock")), str(who), str(EACH)]))
    for who in range(32, 64):
        requests = tmp_path / f"requests-{who}"
        requests.write_text("".join(json.dumps({"id": i, "method": "m", "params": [who, i]})
                                    + "\n" for i in range(EACH)))
        with open(requests, "rb") as stdin:
            children.append(daemon.spawn_client("request", "a", stdin=stdin))
    return children


@pytest.mark.timeout(200)
def test_64_programs(daemon, wild, tmp_path):
    """64 programs, 1,000 requests each, half by sock and half by `wspipe request`: random order,
    delays, events, repeated and invented replies.  Each gets exactly its own; nothing twice."""
    daemon.start(section("a", wild.url, "preset = json-rpc"))
    daemon.wait_open("a")
    with daemon.listener("a") as watcher:
        children = start_64(daemon, tmp_path)
        seen = []
        stop = threading.Event()

        def watch():
            while not stop.is_set() or not watcher.silent(0.2):
                try:
                    seen.append(json.loads(watcher.line(0.5)))
                except AssertionError:
                    pass
        thread = threading.Thread(target=watch)
        thread.start()
        outs = [child.communicate(timeout=scaled(150)) for child in children]
        stop.set()
        thread.join()
    for who, (child, (out, err)) in enumerate(zip(children, outs)):
        assert child.returncode == 0, (who, err[-500:])
        if who < 32:
            assert out == b"done %d\n" % who
        else:
            assert sorted(out.decode().splitlines()) == sorted(reply_to(who, i) for i in range(EACH))
    assert len(wild.ids) == 64 * EACH and wild.ids == sorted(set(wild.ids)), "ids rise"
    kinds = collections.Counter("event" if "method" in m else m["result"] for m in seen)
    assert kinds == {"event": wild.events, "invented": wild.invented}
    requests = daemon.status("a")["requests"]
    assert (requests["open"], requests["answered"]) == (0, 64 * EACH)
    assert requests["repeated"] > 0 and requests["unknown"] == wild.invented


@pytest.mark.timeout(200)
def test_64_programs_lose_the_server(daemon, make_server, tmp_path):
    """The server goes away in the middle: what was asked fails at once with its cause, what had not
    been sent is answered by the next one; nobody hangs, nobody gets another's answer."""
    rpc = make_server(RpcServer)
    daemon.start(section("a", rpc.url, "preset = json-rpc", *FAST))
    daemon.wait_open("a")
    children = start_64(daemon, tmp_path)
    eventually(lambda: daemon.status("a")["requests"]["answered"] > 3 * EACH, 60)
    rpc.stop()
    failed = eventually(lambda: daemon.status("a")["requests"]["failed"], 30)
    rpc.start()
    outs = [child.communicate(timeout=scaled(150)) for child in children]
    missing = 0
    for who, (child, (out, err)) in enumerate(zip(children, outs)):
        if who < 32:
            word, me, *left = out.split()
            assert (word, child.returncode) in ((b"done", 0), (b"lost", 1)), (who, out, err[-500:])
            assert int(me) == who
            continue
        got = out.decode().splitlines()
        assert len(set(got)) == len(got) and set(got) <= {reply_to(who, i) for i in range(EACH)}
        missing += EACH - len(got)
        assert child.returncode == (DONE if len(got) == EACH else PEER), (who, err[-500:])
        assert len(got) == EACH or b"wspipe: a: " in err
    assert 0 < missing <= failed
    assert daemon.status("a")["requests"]["open"] == 0


def test_sock_client_reads_the_end_when_its_answer_cannot_come(daemon, server):
    """... behind all that was received before; who has asked nothing stays connected."""
    daemon.start(section("a", server.url, "id = /id", *FAST))
    daemon.wait_open("a")
    with daemon.listener("a") as asks, daemon.listener("a") as listens:
        ask(asks, 1)
        server.session().recv()
        server.session().send("before")
        eventually(lambda: daemon.status("a")["received"]["messages"] == 1)
        server.session(0).abort()
        assert asks.rest() == b"before\n"
        assert "will not be answered" in daemon.log
        server.session(1).send("after")
        assert listens.lines(2) == ["before", "after"]


def test_json_framing_tells_of_the_loss_itself(daemon, server):
    daemon.start(section("a", server.url, "id = /id", "framing = json", *FAST))
    daemon.wait_open("a")
    with daemon.listener("a") as client:
        client.write('{"type":"text","data":"{\\"id\\":1}"}\n')
        server.session().recv()
        server.session(0).abort()
        server.session(1).send("after")
        kinds = [json.loads(line)["type"] for line in client.lines(3)]
        assert kinds == ["close", "open", "text"]


@pytest.mark.timeout(60)
def test_r09_server_killed_in_the_middle(daemon, make_server):
    """Every open request ends with 1 and the cause; none hangs."""
    rpc = make_server(RpcServer, wild=False)
    daemon.start(section("a", rpc.url, "id = /id", *FAST))
    daemon.wait_open("a")
    children = [daemon.spawn_client("request", "a", '{"method":"silence"}') for _ in range(24)]
    eventually(lambda: daemon.status("a")["requests"]["open"] == 24)
    rpc.stop()
    for child in children:
        out, err = child.communicate(timeout=scaled(10))
        assert child.returncode == PEER and not out and err.startswith(b"wspipe: a: "), err
    assert daemon.status("a")["requests"]["failed"] == 24
    later = daemon.spawn_client("request", "a", '{"params":"later"}', "--field", "/result")
    rpc.start()
    out, err = later.communicate(timeout=scaled(10))
    assert out == b"later\n", "what had not been sent waits for the next open"


ARIA2 = """
set -eu
uri=$1; file=$2
wspipe cursor set aria2 "$file" newest
gid=$(wspipe request aria2 --field /result \\
    '{"jsonrpc":"2.0","method":"aria2.addUri","params":[["'$uri'"],{"out":"'$file'"}]}')
wspipe recv aria2 --cursor "$file" --follow --timeout 30 |
    grep -m1 'onDownloadComplete.*"'$gid'"' >/dev/null
wspipe request aria2 --field /result/status \\
    '{"jsonrpc":"2.0","method":"aria2.tellStatus","params":["'$gid'"]}'
"""


@pytest.mark.timeout(60)
def test_aria2_by_four_scripts(daemon, make_server, tmp_path):
    """Real downloads: four shell scripts at once start one each through the same connection, wait
    for aria2's notification, and ask how it went."""
    (tmp_path / "www").mkdir()
    data = os.urandom(2 * MIB)
    (tmp_path / "www" / "file.bin").write_bytes(data)
    files = make_server(servers.FileServer, tmp_path / "www")
    aria2 = make_server(servers.Aria2)
    daemon.start(section("aria2", aria2.url, "preset = aria2"))
    daemon.wait_open("aria2")
    daemon.env["WSPIPE_RUNTIME_DIR"] = str(daemon.run_dir)
    scripts = [daemon.spawn(["bash", "-c", ARIA2, "aria2", files.url + "file.bin", f"{i}.bin"])
               for i in range(4)]
    for i, script in enumerate(scripts):
        out, err = script.communicate(timeout=scaled(40))
        assert (script.returncode, out) == (0, b"complete\n"), err
        got = (tmp_path / "downloads" / f"{i}.bin").read_bytes()
        assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
    result = daemon.client("request", "aria2", '{"method":"aria2.tellStatus","params":["none"]}')
    assert result.code == ERROR_REPLY and "error" in json.loads(result.out)


def test_readme(daemon, rpc, tmp_path):
    """Each recipe of README.md's section on requests, as it stands."""
    text = (ROOT / "README.md").read_text()
    recipes = re.findall(r"^```sh\n(.*?)^```$", text.split("\n## Requests\n")[1].split("\n## ")[0],
                         re.S | re.M)
    assert len(recipes) == 5
    daemon.start(section("rpc", rpc.url, "preset = json-rpc"))
    daemon.wait_open("rpc")
    daemon.env["WSPIPE_RUNTIME_DIR"] = daemon.env["W"] = str(daemon.run_dir)
    outs = []
    for recipe in recipes:
        result = run(["bash", "-c", recipe], cwd=tmp_path, env=daemon.env)
        assert result.code == 0, (recipe, result)
        outs.append(result.out.strip())
    assert outs[:2] == ["3", "3"]
    assert [json.loads(out)["id"] for out in outs[2:]] == ["bash", "perl", "C"]
    assert all(json.loads(out)["result"] == 3 for out in outs[2:])
