"""Requests and replies (wspipe.conf(5), `id`): whose reply it is, in whatever form and order it
comes. What programs see of it: test_requests.py."""

import json
import re
import threading

import pytest

from cases import up
from harness import eventually, scaled
from peer import TEXT, make_frame

ID = re.compile(r'"id" *: *("[^"]*"|[0-9.e+-]+)')


def request(c):
    """The next request: (its id as it is written, the whole text)."""
    text = c.expect_frame(TEXT).decode()
    return ID.search(text)[1], text


def ask(client, text):
    client.write(text + "\n")


def counts(case):
    return case.status()["requests"]


def serve(bench, script, **options):
    """A connection with SCRIPT behind the opening."""
    def run(c):
        up(c)
        script(c)
        c.stall()
    case = bench.case(run, reconnect="never", **{"id": "/id", **options})
    case.wait_state("open")
    return case


@pytest.mark.parametrize("written", ("1", '"1"', "1.0", '"\\u0031"', '"a\\"b"', "1e0", "-1",
                                     "18446744073709551615"))
def test_c01_same_id(bench, written):
    """Two clients use the same id: each gets its own reply, with its id as it was written."""
    def script(c):
        ids = [request(c)[0] for _ in range(2)]
        assert len(set(ids)) == 2
        assert all(x.startswith('"') == written.startswith('"') for x in ids), "the type stays"
        for i, x in enumerate(ids):
            c.frame(TEXT, f'{{"id":{x},"result":{i}}}')
    case = serve(bench, script)
    clients = [case.client(), case.client()]
    for i, client in enumerate(clients):
        ask(client, f'{{"id":{written},"params":{i}}}')
        eventually(lambda: counts(case)["open"] > i or counts(case)["answered"])
    for i, client in enumerate(clients):
        assert client.line() == f'{{"id":{written},"result":{i}}}'
        assert client.silent(0.02)


def test_c02_reverse_order(bench):
    """Replies in the reverse order of the requests."""
    count = 100

    def script(c):
        ids = [request(c)[0] for _ in range(count)]
        for x in reversed(ids):
            c.frame(TEXT, f'{{"id":{x}}}')
    case = serve(bench, script)
    client = case.client()
    for i in range(count):
        ask(client, f'{{"id":"r{i}"}}')
    assert client.lines(count) == [f'{{"id":"r{i}"}}' for i in reversed(range(count))]


@pytest.mark.parametrize("form", ("{}", "{}.0", '"{}"', "{}e0", " {} "))
def test_c03_id_in_another_form(bench, form):
    """A server that gives the id back as another form of the same number, or as a string of it."""
    def script(c):
        x, _ = request(c)
        c.frame(TEXT, f'{{"id":{form.format(x)},"result":0}}')
    case = serve(bench, script)
    client = case.client()
    ask(client, '{"id":7}')
    assert json.loads(client.line()) == {"id": 7, "result": 0}
    assert counts(case)["answered"] == 1


def test_c04_unknown_id(bench):
    """An id that nobody has asked with: an event, counted."""
    def script(c):
        request(c)
        c.frame(TEXT, '{"id":4711,"result":0}')
    case = serve(bench, script)
    clients = [case.client(), case.client()]
    ask(clients[0], '{"id":7}')
    for client in clients:
        assert client.line() == '{"id":4711,"result":0}'
    assert counts(case)["unknown"] == 1 and counts(case)["open"] == 1


def test_c05_id_twice(bench):
    """A request with two ids is refused; a reply with two is an event."""
    def script(c):
        x, text = request(c)
        assert text.startswith('{"id":') and "good" in text
        c.frame(TEXT, f'{{"id":{x},"id":{x}}}')
        c.frame(TEXT, f'{{"id":{x}}}')
    case = serve(bench, script)
    client = case.client()
    ask(client, '{"id":7,"id":8}')
    ask(client, '{"id":7,"good":1}')
    lines = client.lines(2)
    assert lines[1] == '{"id":7}' and lines[0].count('"id"') == 2
    assert case.status()["rejected"]["messages"] == 1


ODD = ('{"a":1e3,"b":1.10,"c":18446744073709551615,"d":-0.0, "id" : %s ,"e":"\\u00e4\\/\\n",'
       '"f":{"id":5},'
       '"z":null,"g":[ {"id" : 6} ],"":"","a":2}')


def test_c06_every_other_byte_stays(bench):
    """Numbers, escapes, order, blanks, other members called id: as they were, in both
    directions."""
    def script(c):
        x, text = request(c)
        assert text == ODD % x
        c.frame(TEXT, ODD % x)
    case = serve(bench, script)
    client = case.client()
    ask(client, ODD % '"mine"')
    assert client.line() == ODD % '"mine"'


def test_c07_ids_rise(bench):
    """50 clients at once: ids rise in the order on the wire, and each gets what is his."""
    clients, each = 50, 40
    ids = []

    def script(c):
        for _ in range(clients * each):
            x, text = request(c)
            ids.append(int(x))
            c.frame(TEXT, text)
    case = serve(bench, script)
    streams = [case.client() for _ in range(clients)]
    lines = ["".join(f'{{"id":{i},"who":{n}}}\n' for i in range(each)) for n in range(clients)]
    threads = [threading.Thread(target=stream.write, args=(text,), daemon=True)
               for stream, text in zip(streams, lines)]
    for thread in threads:
        thread.start()
    for n, stream in enumerate(streams):
        assert stream.lines(each, 20) == [f'{{"id":{i},"who":{n}}}' for i in range(each)]
    assert ids == sorted(set(ids)) and len(ids) == clients * each


def test_c08_events_with_the_requests_id(bench):
    """Home Assistant: events carry the id of the subscription; they are events, before and behind
    the result."""
    def script(c):
        x, _ = request(c)
        c.frame(TEXT, f'{{"id":{x},"type":"event","n":1}}')
        c.frame(TEXT, f'{{"id":{x},"type":"result","success":true}}')
        c.frame(TEXT, f'{{"id":{x},"type":"event","n":2}}')
    case = serve(bench, script, id=None, preset="home-assistant")
    one, two = case.client(), case.client()
    ask(one, '{"id":5,"type":"subscribe_events"}')
    assert [json.loads(x)["type"] for x in one.lines(3)] == ["event", "result", "event"]
    assert [json.loads(x).get("n") for x in two.lines(2)] == [1, 2]
    assert counts(case)["answered"] == 1


def test_c09_acknowledged_first(bench):
    """Janus: an acknowledgement is not the reply."""
    def script(c):
        text = c.expect_frame(TEXT).decode()
        x = json.loads(text)["transaction"]
        c.frame(TEXT, json.dumps({"janus": "ack", "transaction": x}))
        c.frame(TEXT, json.dumps({"janus": "event", "transaction": x}))
        c.frame(TEXT, json.dumps({"janus": "event", "sender": 1}))
    case = serve(bench, script, id=None, preset="janus", subprotocol=None)
    client = case.client()
    ask(client, '{"janus":"message","transaction":"t1"}')
    lines = [json.loads(x) for x in client.lines(2)]
    if lines[0]["janus"] == "ack":
        lines = lines[1:] + [json.loads(client.line())]
    assert lines == [{"janus": "event", "transaction": "t1"}, {"janus": "event", "sender": 1}]
    assert counts(case)["answered"] == 1


def test_c10_error_has_the_id_elsewhere(bench):
    """WAMP: the id of an ERROR is its third member, that of a RESULT its second."""
    def script(c):
        first = json.loads(c.expect_frame(TEXT))
        second = json.loads(c.expect_frame(TEXT))
        c.frame(TEXT, json.dumps([8, 48, second[1], {}, "wamp.error"]))
        c.frame(TEXT, json.dumps([36, first[1], 0, {}]))
        c.frame(TEXT, json.dumps([50, first[1], {}]))
    case = serve(bench, script, id=None, preset="wamp", subprotocol=None)
    one, two = case.client(), case.client()
    ask(one, '[48,1,{},"first"]')
    eventually(lambda: counts(case)["open"] == 1)
    ask(two, '[48,1,{},"second"]')
    got = [[json.loads(x) for x in client.lines(2)] for client in (one, two)]
    assert got[0][0][0] == 36 and got[0][1] == [50, 1, {}]
    assert [8, 48, 1, {}, "wamp.error"] in got[1]
    assert counts(case)["answered"] == 2


def test_c11_asker_leaves(bench):
    """The asker goes before its reply: that goes to nobody, and is counted."""
    go = threading.Event()

    def script(c):
        x, _ = request(c)
        assert go.wait(scaled(10))
        c.frame(TEXT, f'{{"id":{x}}}')
        c.frame(TEXT, "event")
    case = serve(bench, script)
    other = case.client()
    client = case.client()
    ask(client, '{"id":1}')
    eventually(lambda: counts(case)["open"] == 1)
    case.controls.pop().close()
    eventually(lambda: counts(case)["open"] == 0)
    go.set()
    assert other.line() == "event"
    assert counts(case)["late"] == 1


def test_c12_many_outstanding(bench):
    """10,000 requests are open at once, and answered from the last to the first."""
    count = 10000

    def script(c):
        ids = [request(c)[0] for _ in range(count)]
        c.send(b"".join(make_frame(TEXT, f'{{"id":{x}}}') for x in reversed(ids)))
    case = serve(bench, script)
    client = case.client()
    writer = threading.Thread(target=client.write, daemon=True,
                              args=("".join(f'{{"id":{i}}}\n' for i in range(count)), 30))
    writer.start()
    assert client.lines(count, 30) == [f'{{"id":{i}}}' for i in reversed(range(count))]
    assert counts(case)["answered"] == count and counts(case)["open"] == 0


@pytest.mark.parametrize("depth", (200, 30000))
def test_c13_deeply_nested(bench, depth):
    """JSON that is nested too deeply to be looked into is sent as what it is, no request, and
    received as what it is, no reply: no stack is used up by it.  (So is all that is not JSON.)"""
    deep = '{"b":' + "[" * depth + "]" * depth + ',"id":1}'

    def script(c):
        c.expect_frame(TEXT, deep)
        x, _ = request(c)
        c.frame(TEXT, '{"a":' * depth + "1" + "}" * depth)
        c.frame(TEXT, "[" * depth)
        c.frame(TEXT, f'{{"id":{x}}}')
    case = serve(bench, script)
    client = case.client()
    ask(client, deep)
    ask(client, '{"id":2}')
    assert client.line() == '{"a":' * depth + "1" + "}" * depth
    assert client.line() == "[" * depth
    assert client.line() == '{"id":2}'
    assert counts(case)["answered"] == 1


def test_c14_ids_begin_anew(bench):
    """Behind 2^31 - 1 ids go on from 1, past those that are open."""
    last = 2 ** 31 - 1
    seen = []

    def script(c):
        seen.extend(int(request(c)[0]) for _ in range(5))
        for i in reversed(seen):
            c.frame(TEXT, f'{{"id":{i},"result":{i}}}')
    case = serve(bench, script)
    client = case.client()
    ask(client, '{"id":50}')
    eventually(lambda: counts(case)["open"] == 1)
    raw = bench.daemon.spawn_client("request", case.name, "--raw-id", f'{{"id":{last - 2}}}')
    eventually(lambda: counts(case)["open"] == 2)
    for i in range(3):
        ask(client, f'{{"id":{60 + i}}}')
    answers = {x["id"]: x["result"] for x in map(json.loads, client.lines(4))}
    assert seen == [1, last - 2, last - 1, last, 2]
    assert answers == {50: 1, 60: last - 1, 61: last, 62: 2}
    answer = json.loads(raw.communicate(timeout=scaled(10))[0])
    assert answer == {"id": last - 2, "result": last - 2}


def test_r12_reply_of_the_session_before(bench):
    """A reply to an id of the connection that was lost is not taken for one of this."""
    ids = []

    def first(c):
        up(c)
        ids.append(request(c)[0])
        c.rst()

    def second(c):
        up(c)
        c.frame(TEXT, "again")
        ids.append(request(c)[0])
        c.frame(TEXT, f'{{"id":{ids[0]},"result":"old"}}')
        c.frame(TEXT, f'{{"id":{ids[1]},"result":"new"}}')
        c.stall()
    case = bench.case(first, second, id="/id")
    case.wait_state("open")
    client = case.client()
    ask(client, '{"id":"mine"}')
    while client.line() != "again":
        pass
    ask(client, '{"id":"mine"}')
    lines = [client.line()]
    while "new" not in lines[-1]:
        lines.append(client.line())
    assert lines[-1] == '{"id":"mine","result":"new"}'
    assert '{"id":"mine","result":"old"}' not in lines
    assert ids[0] != ids[1]
