"""`preset`: each protocol as its own documents show it, against a server that says those lines."""

import re

import pytest

import servers
from harness import DONE, section

ERROR_REPLY = 6

# preset, what is asked, what the server must get, what it says then, what the asker prints, status
CASES = [
    ("json-rpc", '{"jsonrpc":"2.0","method":"subtract","params":[42,23],"id":"q"}',
     '{"jsonrpc":"2.0","method":"subtract","params":[42,23],"id":"1"}',
     ['{"jsonrpc":"2.0","method":"update","params":[1]}',
      '{"jsonrpc":"2.0","method":"ask","id":"1"}',
      '{"jsonrpc":"2.0","result":19,"id":"1"}'],
     ['{"jsonrpc":"2.0","result":19,"id":"q"}'], DONE),
    ("json-rpc", '{"jsonrpc":"2.0","method":"foobar","id":"q"}',
     '{"jsonrpc":"2.0","method":"foobar","id":"1"}',
     ['{"jsonrpc":"2.0","error":{"code":-32601,"message":"Method not found"},"id":"1"}'],
     ['{"jsonrpc":"2.0","error":{"code":-32601,"message":"Method not found"},"id":"q"}'],
     ERROR_REPLY),
    ("cdp", '{"id":7,"method":"Target.setDiscoverTargets","params":{"discover":true}}',
     '{"id":1,"method":"Target.setDiscoverTargets","params":{"discover":true}}',
     ['{"method":"Target.targetCreated","params":{}}', '{"id":1.000000,"result":{}}'],
     ['{"id":7,"result":{}}'], DONE),
    ("obs", '{"op":6,"d":{"requestType":"GetVersion","requestId":"f819"}}',
     '{"op":6,"d":{"requestType":"GetVersion","requestId":"1"}}',
     ['{"op":5,"d":{"eventType":"StudioModeStateChanged","eventIntent":1}}',
      '{"op":7,"d":{"requestType":"GetVersion","requestId":"1","requestStatus":'
      '{"result":true,"code":100}}}'],
     ['{"op":7,"d":{"requestType":"GetVersion","requestId":"f819","requestStatus":'
      '{"result":true,"code":100}}}'], DONE),
    ("obs", '{"op":6,"d":{"requestType":"Nothing"}}',
     '{"op":6,"d":{"requestId":"1","requestType":"Nothing"}}',
     ['{"op":7,"d":{"requestId":"1","requestStatus":{"result":false,"code":204}}}'],
     ['{"op":7,"d":{"requestId":"1","requestStatus":{"result":false,"code":204}}}'], ERROR_REPLY),
    ("home-assistant", '{"id":18,"type":"subscribe_events"}', '{"id":1,"type":"subscribe_events"}',
     ['{"id":1,"type":"event","event":{}}',
      '{"id":1,"type":"result","success":true,"result":null}'],
     ['{"id":18,"type":"result","success":true,"result":null}'], DONE),
    ("home-assistant", '{"id":18,"type":"x"}', '{"id":1,"type":"x"}',
     ['{"id":1,"type":"result","success":false,"error":{"code":"unknown_command"}}'],
     ['{"id":18,"type":"result","success":false,"error":{"code":"unknown_command"}}'],
     ERROR_REPLY),
    ("janus", '{"janus":"message","transaction":"sBJNyUhH6Vc6","body":{}}',
     '{"janus":"message","transaction":"1","body":{}}',
     ['{"janus":"ack","transaction":"1"}',
      '{"janus":"event","sender":1815153248,"transaction":"1","plugindata":{}}'],
     ['{"janus":"event","sender":1815153248,"transaction":"sBJNyUhH6Vc6","plugindata":{}}'], DONE),
    ("aria2", '{"jsonrpc":"2.0","id":"qwer","method":"aria2.addUri","params":[]}',
     '{"jsonrpc":"2.0","id":"1","method":"aria2.addUri","params":[]}',
     ['{"jsonrpc":"2.0","method":"aria2.onDownloadStart","params":[{"gid":"2089b05ecca3d829"}]}',
      '{"id":"1","jsonrpc":"2.0","result":"2089b05ecca3d829"}'],
     ['{"id":"qwer","jsonrpc":"2.0","result":"2089b05ecca3d829"}'], DONE),
    ("graphql-ws", '{"id":"op","type":"subscribe","payload":{"query":"subscription{a}"}}',
     '{"id":"1","type":"subscribe","payload":{"query":"subscription{a}"}}',
     ['{"id":"1","type":"next","payload":{"data":{"a":1}}}', '{"type":"ping"}',
      '{"id":"1","type":"next","payload":{"data":{"a":2}}}', '{"id":"1","type":"complete"}'],
     ['{"id":"op","type":"next","payload":{"data":{"a":1}}}',
      '{"id":"op","type":"next","payload":{"data":{"a":2}}}', '{"id":"op","type":"complete"}'], DONE),
    ("phoenix", '["1","5","room:lobby","phx_join",{}]', '["1","1","room:lobby","phx_join",{}]',
     ['[null,null,"room:lobby","new_msg",{}]', '["1","1","room:lobby","push",{}]',
      '["1","1","room:lobby","phx_reply",{"response":{},"status":"ok"}]'],
     ['["1","5","room:lobby","phx_reply",{"response":{},"status":"ok"}]'], DONE),
    ("wamp", '[48,7814135,{},"com.myapp.ping"]', '[48,1,{},"com.myapp.ping"]',
     ['[36,1,4429313566,{}]', '[68,1,9823526,{}]', '[50,1,{"progress":true},[1]]', '[50,1,{},[2]]'],
     ['[50,7814135,{"progress":true},[1]]', '[50,7814135,{},[2]]'], DONE),
    ("wamp", '[48,7814135,{},"com.myapp.ping"]', '[48,1,{},"com.myapp.ping"]',
     ['[8,48,1,{},"wamp.error.no_such_procedure"]'],
     ['[8,48,7814135,{},"wamp.error.no_such_procedure"]'], ERROR_REPLY),
]


@pytest.mark.parametrize("preset,asked,wire,said,printed,status", CASES,
                         ids=[f"{case[0]}-{i}" for i, case in enumerate(CASES)])
def test_preset(daemon, make_server, preset, asked, wire, said, printed, status):
    names = ["obswebsocket.json", "janus-protocol", "graphql-transport-ws", "wamp.2.json"]
    server = make_server(servers.PyServer, subprotocols=names)
    daemon.start(section("a", server.url, f"preset = {preset}"))
    daemon.wait_open("a")
    with daemon.open_out("a") as out:
        child = daemon.spawn_client("request", "a", asked)
        session = server.session()
        assert session.recv() == wire
        session.send(*said, "the end")
        text, _ = child.communicate(timeout=20)
        assert text.decode().splitlines() == printed
        assert child.returncode == status
        events = out.lines(len(said) + 1 - len(printed) - (preset == "janus"))
        assert events[-1] == "the end" and set(events[:-1]) < set(said) | {""}
    want = {"obs": names[0], "janus": names[1], "graphql-ws": names[2], "wamp": names[3]}
    assert session.subprotocol == want.get(preset)


@pytest.mark.parametrize("preset,message", (
    ("wamp", '[1,"realm1",{"roles":{}}]'), ("wamp", "[70,1,{}]"), ("wamp", "[6,{},\"x\"]"),
    ("json-rpc", '{"jsonrpc":"2.0","id":4,"result":"ours"}'), ("json-rpc", '[{"id":1,"method":"m"}]'),
    ("obs", '{"op":1,"d":{"rpcVersion":1}}')))
def test_what_is_no_request_stays(daemon, server, preset, message):
    """HELLO of WAMP, the answer to a server's own request, a batch: not touched, nothing awaited."""
    daemon.start(section("a", server.url, f"preset = {preset}"))
    daemon.wait_open("a")
    daemon.put("a", message)
    assert server.session().recv() == message
    assert daemon.status("a")["requests"]["open"] == 0


def test_explicit_keys_override(daemon, server):
    daemon.start(section("a", server.url, "id = /nr", "preset = cdp", "id-type = auto"))
    daemon.wait_open("a")
    daemon.put("a", '{"nr":"x","method":"m"}')
    assert server.session().recv() == '{"nr":"1","method":"m"}'


def test_presets_are_listed(daemon):
    """`wspipe presets`: a configuration could be made of what it prints."""
    text = daemon.client("presets").out
    names = re.findall(r"^preset = (.+)$", text, re.M)
    assert names == ["json-rpc", "cdp", "obs", "home-assistant", "janus", "aria2", "graphql-ws",
                     "phoenix", "wamp"]
    for part in text.split("\n\n"):
        lines = [line.strip() for line in part.splitlines() if line.startswith("  ")]
        assert lines
        assert daemon.check(section("a", "ws://127.0.0.1/", *lines)).code == 0, part


def test_bad_rules_are_told(daemon):
    result = daemon.check(section("a", "ws://127.0.0.1/", "id = id", "interim = x=1",
                                  "preset = nothing"))
    assert result.code == 2
    assert [line.split(": ")[0].rsplit(":", 1)[1] for line in result.err.splitlines()] == \
        ["3", "4", "5"], result
    result = daemon.check(section("a", "ws://127.0.0.1/", "reply-id = /id"))
    assert result.code == 2 and "need id, or preset" in result.err
