"""latest/: one file for each value of a member, with the newest message that has it."""

import json
import os
import resource
import stat
import time

from harness import DONE, MIB, eventually, section


def names(daemon, connection="a"):
    return sorted(os.listdir(daemon.path(connection, "latest")))


def content(daemon, name, connection="a"):
    return daemon.path(connection, "latest").joinpath(name).read_text()


def reader(daemon, connection="a"):
    return daemon.readers(connection, "latest")[0]


def trade(symbol, price):
    return json.dumps({"data": {"s": symbol, "p": price}})


def test_newest_of_each_value(daemon, server):
    """Each file has the newest message with its value, as a record; what is no JSON, or has no such
    member, changes nothing."""
    daemon.start(section("a", server.url, "latest = /data/s"))
    session = server.session()
    eventually(lambda: names(daemon) == [])
    session.send(trade("BTC", 1), trade("ETH", 2), "no JSON", '{"data":{}}', '{"data":"s"}',
                 '{"data":{"s":{"deep":1}}}', '{"data":{"s":["x"]}}', '{"data":{"s":"cut"}} rest',
                 '{"data":{"s":"one","s":"two"}}', trade("BTC", 3))
    eventually(lambda: content(daemon, "BTC") == trade("BTC", 3) + "\n")
    assert content(daemon, "ETH") == trade("ETH", 2) + "\n"
    assert names(daemon) == ["BTC", "ETH"]
    path = daemon.path("a", "latest")
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((path / "BTC").stat().st_mode) == 0o600
    assert reader(daemon)["values"] == 2 and reader(daemon)["missed"] == 0


def test_names_are_safe(daemon, server):
    """No value can lead out of the directory, hide itself, or take the name of another."""
    daemon.start(section("a", server.url, "latest = /v", "framing = nul"))
    values = {
        "../../in": "%2E.%2F..%2Fin", ".": "%2E", "..": "%2E.", "": "%", "a b": "a%20b",
        "-rf": "%2Drf", "%41": "%2541", "A": "A", "Ü\n\0": "%C3%9C%0A%00", "x.y_z-": "x.y_z-",
    }
    session = server.session()
    session.send(*[json.dumps({"v": v}) for v in values])
    session.send('{"v":1.50}', '{"v":true}', '{"v":null}', '{"v":-3e+2}', b'{"v":"binary"}')
    more = ["1.50", "true", "null", "%2D3e%2B2", "binary"]
    eventually(lambda: names(daemon) == sorted([*values.values(), *more]))
    for value, name in values.items():
        assert json.loads(content(daemon, name).rstrip("\0"))["v"] == value
    session.send(*[json.dumps({"v": "x" * n}) for n in (200, 201, 5000, 100000)],
                 json.dumps({"v": "x" * 4999 + "y"}))
    eventually(lambda: len([n for n in names(daemon) if n.startswith("xxx")]) == 5)
    assert max(map(len, names(daemon))) <= 200
    assert sorted(os.listdir(daemon.path("a"))) == ["in", "last", "latest", "out", "sock", "status"]


def test_bounded(daemon, server):
    """For one more than latest-max the one goes that was not changed for the longest time; told once,
    counted."""
    daemon.start(section("a", server.url, "latest = /s", "latest-max = 3"))
    session = server.session()
    session.send(*[json.dumps({"s": s}) for s in "ABCAD"])
    eventually(lambda: names(daemon) == ["A", "C", "D"])
    session.send(*[json.dumps({"s": str(i)}) for i in range(1000)])
    eventually(lambda: names(daemon) == ["997", "998", "999"])
    assert reader(daemon)["values"] == 3 and reader(daemon)["removed"] == 1001
    assert daemon.log.count("latest-max") == 1


def test_fast_feed(daemon, server):
    """Whoever reads while it is replaced sees whole messages, and none that is older than one before."""
    daemon.start(section("a", server.url, "latest = /s", "endpoints = status"))
    session = server.session()
    session.send(json.dumps({"s": "A", "n": -1}))
    path = daemon.path("a", "latest") / "A"
    eventually(path.exists)
    flood = session.flood(20000, lambda i: json.dumps({"s": "AB"[i % 2], "n": i}))
    seen = -1
    while not flood.done():
        number = json.loads(path.read_text())["n"]
        assert number >= seen
        seen = number
    eventually(lambda: json.loads(path.read_text())["n"] == 19998)
    eventually(lambda: json.loads((path.parent / "B").read_text())["n"] == 19999)
    assert reader(daemon)["missed"] == 0 and reader(daemon)["behind_messages"] == 0


def test_stale_files_go(daemon, server):
    """What an earlier daemon has left is removed at the start, but for what is kept (persist) and
    so is right; the whole directory goes with the key, and with the connection."""
    config = section("a", server.url, "latest = /s") + \
        section("b", server.url + "b", "latest = /s", "persist = yes")
    daemon.start(config)
    daemon.wait_open("a", "b")
    for session in (server.session(0), server.session(1)):
        session.send('{"s":"old"}', '{"s":"new"}')
    eventually(lambda: names(daemon, "a") == names(daemon, "b") == ["new", "old"])
    daemon.kill()
    for name in "ab":
        (daemon.path(name, "latest") / "stray").write_text("?")
        (daemon.path(name, "latest") / ".new.new").write_text("?")
    daemon.start()
    eventually(lambda: names(daemon, "a") == [])
    eventually(lambda: names(daemon, "b") == ["new", "old"])
    assert content(daemon, "old", "b") == '{"s":"old"}\n'
    # another member; then none
    daemon.write_config(section("a", server.url) + section("b", server.url + "b", "latest = /t",
                                                           "persist = yes"))
    assert daemon.reload().code == DONE
    eventually(lambda: names(daemon, "b") == [] and not daemon.path("a", "latest").exists())
    daemon.write_config(section("a", server.url))
    assert daemon.reload().code == DONE
    eventually(lambda: not daemon.path("b").exists())


def test_reload_begins_with_what_is_kept(daemon, server):
    """The key is new: the messages that are kept have their files at once."""
    daemon.start(section("a", server.url))
    session = server.session()
    session.send('{"s":"A","n":1}', '{"s":"A","n":2}', '{"s":"B"}')
    session.ping()
    daemon.write_config(section("a", server.url, "latest = /s"))
    assert daemon.reload().code == DONE
    eventually(lambda: names(daemon) == ["A", "B"] and '"n":2' in content(daemon, "A"))
    assert len(server.sessions) == 1


def test_replies_only_when_asked_for(daemon, server):
    """Events, and replies with replies = all."""
    daemon.start(section("a", server.url, "id = /id", "latest = /s")
                 + section("b", server.url + "b", "id = /id", "replies = all", "latest = /s"))
    daemon.wait_open("a", "b")
    sessions = {s.path: s for s in (server.session(0), server.session(1))}
    for name, path in (("a", "/"), ("b", "/b")):
        with daemon.sock(name) as client:
            client.write('{"id":1}\n')
            sessions[path].send(sessions[path].recv().replace("}", ',"s":"reply"}'),
                                '{"s":"event"}')
            client.lines(2)
    eventually(lambda: names(daemon, "b") == ["event", "reply"])
    eventually(lambda: names(daemon, "a") == ["event"])


def test_full_disk(daemon, server):
    """Here a limit on the size of files: told once, made good when there is room."""
    daemon.start(section("a", server.url, "latest = /s", "endpoints = status"))
    daemon.wait_open("a")
    session = server.session()
    soft, hard = resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (10 * 1024 * 1024, hard))
    big = json.dumps({"s": "big", "x": "x" * 11 * MIB})
    session.send('{"s":"small"}', big, '{"s":"after"}')
    eventually(lambda: "latest: files cannot be replaced" in daemon.log)
    time.sleep(1.5)
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (soft, hard))
    eventually(lambda: names(daemon) == ["after", "big", "small"])
    assert content(daemon, "big") == big + "\n"
    eventually(lambda: "latest: is up to date again" in daemon.log)
    assert daemon.log.count("cannot be replaced") == 1


def test_a_link_is_not_followed(daemon, server, tmp_path):
    """What does not belong into latest/ is removed: never what a symbolic link leads to."""
    kept = tmp_path / "mine"
    kept.mkdir()
    (kept / "precious").touch()
    os.makedirs(daemon.path("a"), mode=0o700)
    os.chmod(daemon.run_dir, 0o700)
    daemon.path("a", "latest").symlink_to(kept)
    daemon.start(section("a", server.url, "latest = /s"))
    eventually(lambda: "a symbolic link, or something of another user, stands there" in daemon.log)
    assert os.listdir(kept) == ["precious"]
    daemon.path("a", "latest").unlink()
    assert daemon.reload().code == DONE
    server.session().send('{"s":"x"}')
    eventually(lambda: names(daemon) == ["x"])
    assert os.listdir(kept) == ["precious"]
