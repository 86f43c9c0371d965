"""`expect`: what must be received before the next line of `on-open`, and before it is open."""

import json

import pytest

import servers
from harness import DONE, FAST, TIMED_OUT, USAGE, VALGRIND, eventually, section
from peer import TEXT


def start(daemon, server, *lines):
    daemon.start(section("a", server.url, *lines))
    return server.session()


def is_connecting(daemon):
    return (daemon.status("a")["state"] == "connecting" and
            daemon.client("wait", "a", "--timeout", "100ms").code == TIMED_OUT)


def test_behind_each_line(daemon, server):
    """As many as lines: each is awaited behind its line; then what is queued."""
    session = start(daemon, server, 'on-open = {"op":"auth"}', "expect = /op=ok",
                    'on-open = {"op":"sub"}', "expect = subscribed to")
    daemon.put("a", "queued")
    assert session.recv() == '{"op":"auth"}'
    session.send('{"op":"other","ok":1}', '{"op":"okay"}', "op=ok", '["ok"]')
    assert session.got_nothing() and is_connecting(daemon)
    session.send('{"op":"ok"}')
    assert session.recv() == '{"op":"sub"}'
    assert session.got_nothing() and is_connecting(daemon)
    session.send("you are subscribed to all")
    assert session.recv() == "queued"
    daemon.wait_open("a")


def test_server_speaks_first(daemon, make_server):
    """One more than lines (Home Assistant, obs-websocket): the first one is awaited ahead of all; what
    stands right behind the answer to the upgrade is not missed."""
    server = make_server(servers.PyServer, greeting=['{"type":"auth_required","ha_version":"1"}'])
    session = start(daemon, server, "expect = /type=auth_required", "expect = /type=auth_ok",
                    'on-open = {"type":"auth","access_token":"abc"}')
    assert session.recv() == '{"type":"auth","access_token":"abc"}'
    assert is_connecting(daemon)
    session.send('{"type":"auth_ok","ha_version":"1"}')
    daemon.wait_open("a")


def test_number_and_nothing(daemon, server):
    """A literal that is JSON is compared as JSON; "-" awaits nothing; fewer than lines: the others go
    when it is open."""
    session = start(daemon, server, "on-open = one", "expect = -", "on-open = two",
                    "expect = /d/n=2", "on-open = three", "on-open = four")
    assert session.recv_many(2) == ["one", "two"]
    session.send('{"d":{"n":"2"}}')
    assert session.got_nothing() and is_connecting(daemon)
    session.send('{"d":{"n":2.0}}', '{"d":{"n":2}}')
    assert session.recv_many(2) == ["three", "four"]
    daemon.wait_open("a")


def test_one_message_meets_one(daemon, server):
    session = start(daemon, server, "expect = x", "expect = x")
    session.send("x")
    session.ping()
    assert is_connecting(daemon)
    session.send("x")
    daemon.wait_open("a")


def test_messages_go_to_the_readers(daemon, server):
    """All of them, as they come, behind the mark of their session; and if it fails, its end."""
    daemon.start(section("a", server.url, "on-open = hi", "expect = go", "framing = json", *FAST))
    server.session()
    with daemon.listener("a") as reader:
        server.session().close(4000)  # nothing came: no session to tell of
        session = server.session(1)
        assert session.recv() == "hi"
        session.send("wait", "for it")
        got = [json.loads(line) for line in reader.lines(3)]
        assert [o.get("data", o["type"]) for o in got] == ["open", "wait", "for it"], got
        assert is_connecting(daemon)
        session.close(4001, "too slow")
        got = json.loads(reader.line())
        assert got["type"] == "close" and got["code"] == 4001
        server.session(2).send("go")
        got = [json.loads(line) for line in reader.lines(2)]
        assert [o.get("data", o["type"]) for o in got] == ["open", "go"]
    daemon.wait_open("a")


def test_it_does_not_come(daemon, server):
    """connect-timeout, with a cause that names it; the server gets a Close; then another attempt."""
    daemon.start(section("a", server.url, "on-open = hi", "expect = /type=welcome",
                         "connect-timeout = 700ms", *FAST))
    session = server.session()
    eventually(lambda: "while waiting for expect number 1 (/type=welcome)"
               in str(daemon.status("a")["cause"]))
    assert daemon.status("a")["cause_class"] == "timeout"
    assert session.wait_closed()[0] == 1000
    server.session(1)


@pytest.mark.skipif(VALGRIND, reason="valgrind 3.19 has no pidfd_open(2)")
def test_behind_login_and_file(daemon, make_server, tmp_path):
    """login, then on-open and on-open-file, each with its expect; @token@ in them."""
    (tmp_path / "token").write_text("t0ken")
    (tmp_path / "more").write_text("more @token@\n")
    server = make_server(servers.PyServer, greeting=["nonce"])
    session = start(daemon, server, "login = read -r nonce; echo $nonce back; read -r ok",
                    f"token-file = {tmp_path}/token", "on-open = auth @token@", "expect = yes",
                    f"on-open-file = {tmp_path}/more", "expect = fine")
    assert session.recv() == "nonce back"
    session.send("ok")
    assert session.recv() == "auth t0ken"
    session.send("yes")
    assert session.recv() == "more t0ken"
    assert is_connecting(daemon)
    session.send("fine")
    daemon.wait_open("a")


def test_met_by_what_login_left(daemon, make_server):
    """What the command has not read counts."""
    server = make_server(servers.PyServer, greeting=["one", "two"])
    daemon.start(section("a", server.url, "login = read -r one; sleep 0.3", "expect = two"))
    daemon.wait_open("a")


def test_reload_and_close(daemon, server):
    """An attempt in the middle of it can be stopped, and begun anew with other options."""
    daemon.start(section("a", server.url, "expect = never", *FAST))
    server.session()
    daemon.write_config(section("a", server.url, "expect = hello", *FAST))
    assert daemon.reload().code == DONE
    server.session(1).send("hello")
    daemon.wait_open("a")
    assert daemon.client("close", "a").code == DONE


@pytest.mark.parametrize("value", ["/a/~2=x", "/=~"])
def test_bad_values(daemon, value):
    daemon.write_config(section("a", "ws://127.0.0.1:1/", f"expect = {value}"))
    result = daemon.check()
    if value == "/=~":  # the member with an empty name, as a string
        assert result.code == DONE, result
    else:
        assert result.code == USAGE and "expect" in result.err, result


@pytest.mark.parametrize("how", ["close", "stop", "reload", "reconnect"])
def test_given_up(daemon, peer, how):
    """For the server it is open long since: it gets a Close.  For the readers what they got was a
    session, and it has an end."""
    def script(c):
        c.good()
        c.frame(TEXT, "early")
        c.expect_close(1001 if how == "stop" else 1000)
    url = peer(script, lambda c: c.stall()).url
    daemon.start(section("a", url, "expect = never", "framing = json", *FAST))
    with daemon.open_out("a") as out:
        assert [json.loads(x)["type"] for x in out.lines(2)] == ["open", "text"]
        if how == "stop":
            daemon.stop()
            return
        if how == "reload":
            daemon.write_config(section("a", url, "expect = other", "framing = json", *FAST))
        assert daemon.client(how, *([] if how == "reload" else ["a"])).code == DONE
        end = json.loads(out.line())
        assert (end["type"], end["code"]) == ("close", 1006)
