"""wspipe.conf(5): every fault is told with file and line, and a reload touches only what changed."""

import pathlib
import signal
import threading

import pytest

from harness import DONE, FAST, USAGE, eventually, run, section
from peer import TEXT

URL = "ws://127.0.0.1:9/"


def refused(daemon, text, line, *words):
    """TEXT is refused with --check and at start, both with exit 2 and FILE:LINE."""
    want = f"{daemon.config}:{line}:"

    def judge(code, told):
        assert code == USAGE, (code, told)
        faults = [x for x in told.splitlines() if want in x]
        assert len(faults) == 1, f"want one line with {want}, got:\n{told}"
        fault = faults[0].split(want, 1)[1]
        assert len(fault.strip()) > 5, f"no message: {faults[0]!r}"
        for word in words:
            assert word.lower() in fault.lower(), f"want {word!r} in {faults[0]!r}"
    checked = daemon.check(text)
    judge(checked.code, checked.out + checked.err)
    started = run(daemon.command(), env=daemon.env)
    judge(started.code, started.out + started.err)
    assert not daemon.path("a").exists(), "nothing is started"


def bad(key, *values):
    return [(key, value) for value in values]


BAD_VALUES = [
    *bad("url", "", "http:/x", "ftp://h/", "ws://", "ws://h:0/", "ws://h:65536/", "ws://h:x/",
         "ws://h/a b", "ws://h/\x07", "ws+unix:", "//h/", "ws://[::1/", "nonsense"),
    *bad("header", "no colon", "bad name: x", "X: a\rb", "X: a\x01b", ": empty",
         "Sec-WebSocket-Key: abc", "Connection: close", "Upgrade: x", "Content-Length: 5",
         "Sec-WebSocket-Version: 8", "Transfer-Encoding: chunked"),
    *bad("origin", "a\rb", "a\x1fb"),
    *bad("user-agent", "a\rb", "a\x7fb"),
    *bad("cookie", "a\rb", "a\x01b"),
    *bad("subprotocol", "semi;colon", "(x)", "a\rb"),
    *bad("user", "no-password-given"),
    *bad("tls-min", "1.9", "ssl3", "x"),
    *bad("insecure", "maybe", "2"),
    *bad("pin", "sha256//***", "md5//AAAA"),
    *bad("proxy", "gopher://x:1", "http://"),
    *bad("connect-to", "host-without-port", "h:99999"),
    *bad("address-family", "ipx", "4"),
    *bad("compress", "perhaps"),
    *bad("max-message", "-1", "1X", "16 bananas", "", "99999999999999999999"),
    *bad("max-redirects", "many", "-1"),
    *bad("latest", "no-pointer", "/bad~2escape"),
    *bad("latest-max", "x", "0", "1000001"),
    *bad("connect-timeout", "soon", "-1s", "5 parsecs"),
    *bad("close-timeout", "never", "-1"),
    *bad("ping-interval", "often", "-1", "1x"),
    *bad("ping-timeout", "x", "-5s"),
    *bad("reconnect", "sometimes", "yes"),
    *bad("reconnect-delay", "x", "-1"),
    *bad("reconnect-max", "x", "-1"),
    *bad("framing", "lines", "base64"),
    *bad("type", "json", "txt"),
    *bad("endpoints", "in out nonsense", "stdout"),
    *bad("batch", "sometimes"),
    *bad("access", "everybody", "user:", "group:root:execute"),
    *bad("keep", "x", "-1", "1T1"),
    *bad("keep-age", "x", "-1"),
    *bad("persist", "perhaps"),
    *bad("overflow", "explode", "yes"),
    *bad("queue", "x", "-1"),
    *bad("queue-ttl", "x", "-1"),
    *bad("resend", "perhaps"),
    *bad("id", "no-pointer"),
    *bad("id-type", "float"),
    *bad("preset", "no-such-preset"),
    *bad("request-timeout", "x"),
    *bad("file-max", "x"),
    *bad("file-keep", "x"),
]


@pytest.mark.parametrize("key,value", BAD_VALUES,
                         ids=lambda x: repr(x)[1:-1][:24] if x is not None else "")
def test_bad_value(daemon, key, value):
    """"An unknown key, a bad value ... is an error that names file and line", exit 2, and the key."""
    url = "" if key == "url" else f"url = {URL}\n"
    line = 3 if key == "url" else 4
    refused(daemon, f"# a comment\n[a]\n{url}{key} = {value}\n", line, key)


@pytest.mark.parametrize("key,value", [*bad("log-level", "loud"), *bad("memory", "much", "-1"),
                                       *bad("url", URL), *bad("no-such", "1")])
def test_bad_daemon_value(daemon, key, value):
    """The same in [daemon], where keys of connections are unknown."""
    refused(daemon, f"[daemon]\n{key} = {value}\n\n[a]\nurl = {URL}\n", 2, key)


@pytest.mark.parametrize("text,line,word", [
    (f"[a]\nurl = {URL}\nno-such-key = 1\n", 3, "no-such-key"),
    (f"[a]\nurl = {URL}\n\n[b]\nurl = {URL}\n[a]\nurl = {URL}\n", 6, "a"),
    (f"[a/b]\nurl = {URL}\n", 1, "a/b"),
    (f"[..]\nurl = {URL}\n", 1, ".."),
    (f"[.hidden]\nurl = {URL}\n", 1, ".hidden"),
    (f"[]\nurl = {URL}\n", 1, ""),
    (f"[{'n' * 65}]\nurl = {URL}\n", 1, "nnn"),
    (f"[with space]\nurl = {URL}\n", 1, "with space"),
    (f"[caf\u00e9]\nurl = {URL}\n", 1, ""),
    (f"[control]\nurl = {URL}\n", 1, "control"),
    (f"url = {URL}\n", 1, ""),
    (f"[a\nurl = {URL}\n", 1, ""),
    (f"[a]\nurl = {URL}\nnonsense\n", 3, ""),
    (f"[a]\nurl = {URL}\n= value\n", 3, ""),
    (f"[a]\nurl = {URL}#part\n", 2, "fragment"),
    ("\n[a]\nframing = line\n", 2, "url"),
    (f"[a]\nurl = {URL}\nheader = Fine: x\nheader = Evil: x\ry\n", 4, "header"),
    (f"[a]\nurl = {URL}\norigin = a\0b\n", 3, ""),
])
def test_bad_file(daemon, text, line, word):
    """Unknown key, duplicate section, bad and reserved names, no section, URL with a fragment, no
    url, header with CR, a NUL byte: FILE:LINE and exit 2."""
    refused(daemon, text, line, word)


def test_every_fault_is_told(daemon):
    """`--check` "prints every fault", not only the first, and exits 2."""
    result = daemon.check(f"[a]\nurl = {URL}\nqueue = x\n[b]\nurl = nonsense\nkeep = y\n[c/d]\n")
    told = result.out + result.err
    assert result.code == USAGE
    for line in (3, 5, 6, 7):
        assert f"{daemon.config}:{line}:" in told


def test_good_file(daemon, server):
    """Sizes take K, M, G; times ms, s, min, h and bare seconds; yes and no; # and ; comments; lists;
    blanks and CR LF do not matter. --check finds no fault and exits 0."""
    text = "\r\n".join([
        "; a comment", "# another", "[daemon]", "log-level = debug", "  memory = 2G", "",
        "[ a-1.B_c ]".replace(" ", ""), f"url={server.url}", "keep = 512K", "queue=  2M  ",
        "connect-timeout = 1500ms", "close-timeout = 2", "ping-interval = 1min",
        "ping-timeout = 30s", "reconnect-max = 1h", "batch = no", "framing = nul",
        "header = X-One: a # b ; c", "header = X-Two: =", "subprotocol =x", "",
    ])
    result = daemon.check(text)
    assert result.code == DONE and str(daemon.config) not in result.out + result.err, result
    server.options["subprotocols"] = ["x"]
    server.restart()
    daemon.start()
    daemon.wait_open("a-1.B_c")
    assert server.session().headers["X-One"] == "a # b ; c"
    assert server.session().headers["X-Two"] == "="


def test_usage_errors(daemon):
    """Unknown options and a missing --config file: one clear line, exit 2."""
    for args in (["--no-such-option"], ["stray-argument"], ["--log-level", "loud"], ["--config"]):
        daemon.write_config("")
        result = run(daemon.command(*args), env=daemon.env)
        assert result.code == USAGE and result.err, (args, result)
    daemon.config = daemon.home / "not-there.conf"
    for args in ([], ["--check"]):
        result = run(daemon.command(*args), env=daemon.env)
        assert result.code == USAGE and "not-there.conf" in result.out + result.err, result


def test_help_and_version(daemon):
    """`--help` and `--version` exit 0, without any configuration, on standard output."""
    from harness import WSPIPED
    for option, word in (("--help", "--runtime-dir"), ("--version", "0.1.0")):
        result = run([WSPIPED, option], env=daemon.env)
        assert (result.code, result.err) == (0, "") and word in result.out, result
        assert len(result.out.splitlines()) <= 40


def test_include(daemon, server):
    """`include` in [daemon] takes further files, by glob, in name order; their faults name them."""
    parts = daemon.home / "parts"
    parts.mkdir()
    (parts / "10.conf").write_text(section("ten", server.url))
    (parts / "20.conf").write_text(section("twenty", server.url))
    (parts / "ignored.txt").write_text("nonsense")
    main = f"[daemon]\ninclude = {parts}/*.conf\n" + section("main", server.url)
    daemon.start(main)
    daemon.wait_open("ten", "twenty", "main")
    (parts / "20.conf").write_text(section("ten", server.url))
    result = daemon.check()
    assert result.code == USAGE and f"{parts}/20.conf:1:" in result.out + result.err


def test_default_places_and_name_order(user_instance, server):
    """"`$XDG_CONFIG_HOME/wspipe/wspipe.conf`, then `conf.d/*.conf` in name order"; the runtime
    directory is $XDG_RUNTIME_DIR/wspipe; the client finds the user's instance."""
    user = user_instance
    (user.config_dir / "wspipe.conf").write_text(section("main", server.url))
    for name, text in (("20-b.conf", "[same]\nurl = nonsense\n"), ("10-a.conf", section(
            "same", server.url)), ("ignored.txt", "nonsense")):
        (user.config_dir / "conf.d" / name).write_text(text)
    user.own()
    result = user.run("wspiped", "--check")
    assert result.code == USAGE
    assert f"{user.config_dir}/conf.d/20-b.conf:1:" in result.out + result.err, result
    (user.config_dir / "conf.d" / "20-b.conf").write_text(section("other", server.url))
    user.own()
    assert user.run("wspiped", "--check").code == 0
    import subprocess
    process = user.spawn("wspiped", stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: user.run("wspipe", "wait", "main", "--for", "open").code == 0, 10)
        listed = user.run("wspipe", "ls").out
        assert all(name in listed for name in ("main", "same", "other")), listed
        assert (user.run_dir / "main" / "in").exists()
    finally:
        process.terminate()
        assert process.wait(20) == 0


def test_missing_default_file_is_an_empty_one(user_instance):
    """"A missing default configuration file is an empty one." """
    result = user_instance.run("wspiped", "--check")
    assert result.code == 0, result


# --- reload -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ("verb", "SIGHUP"))
def test_reload_touches_only_what_changed(daemon, make_server, how):
    """"A reload touches only connections whose section changed": the others keep their connection,
    their clients and their files; new ones come, old ones go."""
    import servers
    one, two = make_server(servers.PyServer), make_server(servers.PyServer)
    daemon.start(section("same", one.url, "queue = 2M") + section("moved", one.url + "old")
                 + section("gone", one.url + "gone"))
    daemon.wait_open("same", "moved", "gone")
    same = next(s for s in one.sessions if s.path == "/")
    gone = next(s for s in one.sessions if s.path == "/gone")
    count = len(one.sessions)
    inode = daemon.path("same", "in").stat().st_ino
    with daemon.listener("same") as client, daemon.open_in("same") as writer:
        daemon.write_config("# moved around\n" + section("moved", two.url + "new")
                            + section("fresh", two.url + "fresh")
                            + section("same", one.url, "", "# the same", "queue  =  2M"))
        if how == "verb":
            result = daemon.reload()
            assert result.code == 0, result
        else:
            daemon.signal(signal.SIGHUP)
        eventually(lambda: {s.path for s in two.sessions} == {"/new", "/fresh"})
        assert gone.wait_closed()[0] in (1000, 1001)
        eventually(lambda: set(daemon.status_all()) == {"same", "moved", "fresh"})
        writer.write("unharmed\n")
        assert same.recv() == "unharmed"
        same.send("still connected")
        assert client.line() == "still connected"
        assert len(one.sessions) == count, "a connection was made anew"
        assert daemon.path("same", "in").stat().st_ino == inode
        assert daemon.status("same")["reconnects"] == 0


def test_reload_keeps_what_is_queued(daemon, server):
    """A section that changes keeps its messages: those waiting to be sent go to the new url."""
    from harness import free_port
    daemon.start(section("a", f"ws://127.0.0.1:{free_port()}/", *FAST))
    daemon.wait_state("a", "waiting", "connecting")
    daemon.put("a", "one", "two")
    eventually(lambda: daemon.status("a")["queue"]["messages"] == 2)
    daemon.write_config(section("a", server.url, *FAST))
    assert daemon.reload().code == 0
    assert server.session().recv_many(2) == ["one", "two"]


@pytest.mark.parametrize("how", ("verb", "SIGHUP"))
def test_reload_with_an_error_changes_nothing(daemon, server, how):
    """"At a reload with an error the running configuration stays whole"; exit 2 with FILE:LINE."""
    daemon.start(section("a", server.url) + section("b", server.url))
    daemon.wait_open("a", "b")
    daemon.write_config(section("a", server.url + "changed") + section("c", server.url)
                        + "[d]\nurl = nonsense\n")
    if how == "verb":
        result = daemon.reload()
        assert result.code == USAGE and f"{daemon.config}:6:" in result.err, result
    else:
        daemon.signal(signal.SIGHUP)
        eventually(lambda: f"{daemon.config}:6:" in daemon.log)
    assert set(daemon.status_all()) == {"a", "b"}
    daemon.wait_open("a", "b", timeout=1)
    assert daemon.status("a")["url"] == server.url
    assert len(server.sessions) == 2
    assert not daemon.path("c").exists()
    daemon.write_config(section("a", server.url) + section("b", server.url))
    assert daemon.reload().code == 0
    assert len(server.sessions) == 2


def test_check_verb(daemon, server):
    """`wspipe check` judges the files and touches nothing."""
    daemon.start(section("a", server.url))
    daemon.wait_open("a")
    assert daemon.client("check").code == 0
    daemon.write_config(section("a", server.url) + "[b]\nurl = nonsense\n")
    result = daemon.client("check")
    assert result.code == USAGE and f"{daemon.config}:4:" in result.out + result.err, result
    assert set(daemon.status_all()) == {"a"} and len(server.sessions) == 1


def test_secrets_are_not_shown(daemon, server):
    """"No secret appears in the log, `status`, the process list or a file of the runtime directory":
    passwords, Authorization headers and cookies, in good and in bad configurations."""
    url = server.url.replace("ws://", "ws://ann:s3cret-url@")
    daemon.start("[daemon]\nlog-level = debug\n" + section(
        "a", url, "header = Authorization: Bearer s3cret-header", "cookie = id=s3cret-cookie")
        + section("b", server.url, "user = ann:s3cret-user"))
    daemon.wait_open("a", "b")
    server.session(0).abort()
    server.session(2)
    daemon.wait_open("a")
    told = daemon.log + daemon.client("status", "--json").out + daemon.client("status").out
    told += daemon.client("ls").out + daemon.proc("cmdline")
    for name in "ab":
        told += daemon.path(name, "status").read_text()
    daemon.write_config(section("a", url + " x") + section("b", server.url,
                        "header = Authorization Bearer s3cret-header"))
    told += daemon.reload().err
    assert "s3cret" not in told


@pytest.mark.parametrize("how", ["one", "behind expect"])
def test_reload_while_a_long_greeting_leaves(daemon, peer, how):
    """The configuration that it stands in goes; it arrives whole."""
    size = 8 << 20  # more than the sockets take
    reloaded = threading.Event()

    def script(c):
        c.good()
        if how != "one":
            c.frame(TEXT, "go on")
        assert reloaded.wait(30)
        got = b""
        while len(got) < size:
            got += c.read_frame()[1]
        assert got == b"y" * size
        c.frame(TEXT, "whole")
        c.swallow()
    expect = "" if how == "one" else "expect = go on\n"
    text = section("a", peer(script, receive_buffer=4096).url, "on-open = " + "y" * size)
    daemon.start(text + expect)
    daemon.wait_open("a")
    daemon.write_config(text.replace("y", "z") + expect + "keep = 1M\n")
    assert daemon.reload().code == DONE
    reloaded.set()
    eventually(lambda: (daemon.path("a", "last")).read_text() == "whole\n", 30)


def test_a_file_that_is_none(daemon):
    """/dev/null is a device: the message says so, not "Invalid argument"."""
    daemon.config = pathlib.Path("/dev/null")
    result = daemon.check()
    assert result.code == USAGE and result.err == "/dev/null: it is not a regular file\n"
