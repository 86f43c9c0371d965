"""No secret in the log, in `status`, in the process list, in a file of the runtime directory; nor, when
it came from a file, in the daemon's memory once it has been used."""

import base64
import os
import pathlib
import stat

import pytest

import servers
from harness import DONE, FAST, MEMORY_IS_REAL, VALGRIND, eventually, section

runs_commands = pytest.mark.skipif(VALGRIND, reason="valgrind 3.19 has no pidfd_open(2)")
reads_memory = pytest.mark.skipif(not MEMORY_IS_REAL,
                                  reason="an instrumented daemon keeps what was freed")

TOKEN = "s3cret-0f-the-t0ken-file"


def forms(secret):
    """As it stands, and as Basic authentication has it (whatever stands ahead of it)."""
    found = [secret.encode()]
    for ahead in range(3):
        text = base64.b64encode(b"x" * ahead + secret.encode()).decode()
        found.append(text[4:len(text) // 4 * 4 - 4].encode())
    return found


def memory_has(pid, secret):
    """Where in the memory of a process it stands, as a core would show it."""
    places = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            where, perms = line.split()[:2]
            if not perms.startswith("rw"):
                continue
            start, end = (int(x, 16) for x in where.split("-"))
            for at in range(start, end, 16 << 20):
                try:
                    mem.seek(at)
                    data = mem.read(min((16 << 20) + 64, end - at))
                except (OSError, ValueError, OverflowError):
                    break  # never touched, or not to be read
                for form in forms(secret):
                    if form in data:
                        around = data[max(0, data.index(form) - 60):data.index(form) + 60]
                        places.append((line.strip(), around))
    return places


def shown_by(daemon, *names):
    places = {"log": daemon.log.encode(), "ls": daemon.client("ls").out_bytes,
              "ls json": daemon.client("ls", "--json").out_bytes}
    for name in names:
        places[f"status {name}"] = daemon.client("status", name).out_bytes
        places[f"status --json {name}"] = daemon.client("status", "--json", name).out_bytes
    for part in ("cmdline", "environ"):
        places[part] = pathlib.Path(f"/proc/{daemon.pid}/{part}").read_bytes()
    for directory, _, files in os.walk(daemon.run_dir):
        for file in files:
            path = pathlib.Path(directory, file)
            if stat.S_ISREG(path.lstat().st_mode):
                places[str(path)] = path.read_bytes()
    return places


def assert_shown_nowhere(daemon, secret, *names):
    places = shown_by(daemon, *names)
    assert len(places) > 6
    for form in forms(secret):
        assert not [place for place, data in places.items() if form in data], form


def token_keys(path):
    return (f"token-file = {path}", "header = X-Api-Key: @token@", "user = ann:@token@",
            "cookie = session=@token@", 'on-open = {"auth":"@token@"}', *FAST)


@reads_memory
@pytest.mark.parametrize("how", ["ws", "wss", "both"])
def test_token_is_forgotten(daemon, make_server, tmp_path, how):
    """When the connection is open, no byte of it is left; and so after another connect."""
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    more = []
    options = {}
    if how == "wss":
        pki = servers.Pki(tmp_path)
        options["tls"] = servers.server_tls(pki, "localhost")
        more = [f"cacert = {pki.cert('ca')}"]
    if how == "both":
        options["compression"] = "deflate"
        more = ["compress = both"]
    server = make_server(servers.PyServer, **options)
    daemon.start("[daemon]\nlog-level = debug\n" +
                 section("a", server.url + "?key=@token@", *token_keys(path), *more))
    for number in (0, 1):
        session = server.session(number)
        assert session.headers["X-Api-Key"] == TOKEN and TOKEN in session.path
        assert base64.b64encode(f"ann:{TOKEN}".encode()).decode() in session.headers["Authorization"]
        assert session.recv() == f'{{"auth":"{TOKEN}"}}'
        daemon.wait_open("a")
        session.ping()
        eventually(lambda: not memory_has(daemon.pid, TOKEN), 3,
                   lambda: str(memory_has(daemon.pid, TOKEN)))
        assert_shown_nowhere(daemon, TOKEN, "a")
        if number == 0:
            assert daemon.client("reconnect", "a").code == DONE


@reads_memory
def test_memory_is_really_searched(daemon, server):
    """What is in force is in memory, and would be found."""
    daemon.start(section("a", server.url, f"header = X-Api-Key: {TOKEN}"))
    daemon.wait_open("a")
    assert memory_has(daemon.pid, TOKEN)
    assert_shown_nowhere(daemon, TOKEN, "a")


@reads_memory
def test_configuration_that_has_gone(daemon, server):
    """After a reload nothing is left of the values that were in force before."""
    daemon.start(section("a", server.url.replace("//", f"//ann:{TOKEN}@"), f"header = X-A: {TOKEN}",
                         f"cookie = {TOKEN}", f"on-open = {TOKEN}", *FAST))
    assert server.session().recv() == TOKEN
    daemon.write_config(section("a", server.url, *FAST))
    assert daemon.reload().code == DONE
    server.session(1)
    daemon.wait_open("a")
    eventually(lambda: not memory_has(daemon.pid, TOKEN), 3,
               lambda: str(memory_has(daemon.pid, TOKEN)))


@reads_memory
def test_options_of_the_client(daemon, server):
    """`wspipe open -u`: nothing is left when it is closed again."""
    daemon.start("")
    padding = "x" * 2000  # what comes later into the same memory does not reach behind it
    assert daemon.client("open", "a", server.url, "-H", f"X-P: {padding}", "-u", f"ann:{TOKEN}",
                         "-H", f"X-A: {TOKEN}",
                         "--on-open", f"hello {TOKEN}").code == DONE
    assert server.session().recv() == f"hello {TOKEN}"
    assert_shown_nowhere(daemon, TOKEN, "a")
    assert daemon.client("close", "a").code == DONE
    eventually(lambda: not memory_has(daemon.pid, TOKEN), 3,
               lambda: str(memory_has(daemon.pid, TOKEN)))


@reads_memory
@runs_commands
def test_what_login_says(daemon, make_server, tmp_path):
    (tmp_path / "password").write_text(TOKEN)
    server = make_server(servers.PyServer, greeting=["who?"])
    daemon.start("[daemon]\nlog-level = debug\n" +
                 section("a", server.url, "login = read -r who; printf 'I am %s\\n' \"$(cat "
                         f"{tmp_path}/password)\"; read -r ok"))
    session = server.session()
    assert session.recv() == f"I am {TOKEN}"
    eventually(lambda: not memory_has(daemon.pid, TOKEN), 3,  # before other bytes overwrite it
               lambda: str(memory_has(daemon.pid, TOKEN)))
    session.send("ok")
    daemon.wait_open("a")
    eventually(lambda: not memory_has(daemon.pid, TOKEN), 3,
               lambda: str(memory_has(daemon.pid, TOKEN)))
    assert_shown_nowhere(daemon, TOKEN, "a")


@reads_memory
def test_proxy_password(daemon, peer):
    """Sent to the proxy, then forgotten but for what is in force; and shown nowhere."""
    def script(c):
        c.read_head()
        c.send(b"HTTP/1.1 403 No\r\n\r\n")
        c.expect_eof()
    proxy = peer(script)
    daemon.start("[daemon]\nlog-level = debug\n" +
                 section("a", "ws://127.0.0.1:1/", f"proxy = http://ann:{TOKEN}@127.0.0.1:{proxy.port}",
                         "reconnect = never"))
    daemon.wait_state("a", "failed")
    assert_shown_nowhere(daemon, TOKEN, "a")
    daemon.write_config("")
    assert daemon.reload().code == DONE
    eventually(lambda: not memory_has(daemon.pid, TOKEN), 3,
               lambda: str(memory_has(daemon.pid, TOKEN)))


@pytest.mark.parametrize("args", [
    ("-u", f"ann:{TOKEN}"), (f"--user=ann:{TOKEN}",), ("-H", f"Authorization: {TOKEN}"),
    ("-b", f"id={TOKEN}"), ("--on-open", TOKEN), ("url",)])
def test_process_list(daemon, server, args):
    """`wspipe cat URL` lives long: its arguments are covered; and they count all the same."""
    daemon.start("")
    url = server.url
    if args == ("url",):
        url, args = url.replace("//", f"//ann:{TOKEN}@"), ()
    client = daemon.spawn_client("cat", url, *args)
    session = server.session()
    line = pathlib.Path(f"/proc/{client.pid}/cmdline").read_bytes()
    assert TOKEN.encode() not in line and b"cat" in line and str(server.port).encode() in line
    if "--on-open" in args:
        assert session.recv() == TOKEN
    else:
        text = str(dict(session.headers.raw_items()))
        assert TOKEN in text or base64.b64encode(f"ann:{TOKEN}".encode()).decode() in text
    client.stdin.close()
    assert client.wait(10) == DONE


def test_greetings_are_not_compressed(daemon, peer):
    """Their length would tell of them, and the compressor would keep them; messages are."""
    text = "say it again, " * 40 + "end"

    def script(c):
        c.good("Sec-WebSocket-Extensions: permessage-deflate")
        assert c.read_frame() == (1, text.encode(), 1, 0)
        c.frame(1, "go on")
        opcode, data, fin, rsv = c.read_frame()
        assert (opcode, data, fin, rsv) == (1, text.encode(), 1, 0)
        opcode, data, fin, rsv = c.read_frame()
        assert (opcode, rsv) == (1, 4) and len(data) < 100
    server = peer(script)
    daemon.start(section("a", f"ws://127.0.0.1:{server.port}/", "compress = both", "expect = go on",
                         f"on-open = {text}", f"on-open = {text}", "reconnect = never"))
    daemon.put("a", text)
    server.wait_finished()


@pytest.mark.parametrize("what", ["basic", "path", "utf-8", "tag"])
def test_refusal_repeats_it(daemon, peer, tmp_path, what):
    """Servers tell in the body of a refusal what they were asked; the cause shows a piece of that."""
    secret = {"utf-8": "p\u00e4sswort-sehr-geheim", "tag": "pa<sswort-sehr>-geheim"}.get(what, TOKEN)
    path = tmp_path / "token"
    path.write_text(secret)

    def script(c):
        c.read_head()
        said = {"basic": c.field("authorization")[0], "path": c.head}.get(what, f"{secret}!")
        body = f"cannot {said}".encode()
        c.send(b"HTTP/1.1 404 No\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        c.expect_eof()
    url = peer(script).url + ("v1/@token@/ws" if what == "path" else "")
    daemon.start(section("a", url, f"token-file = {path}", "user = ann:@token@", "reconnect = never"))
    daemon.wait_state("a", "failed")
    told = daemon.status("a")["cause"]
    assert "cannot" in told and "****" in told and "geheim" not in told
    assert_shown_nowhere(daemon, secret, "a")
