"""The opening handshake (RFC 6455 4): the request that is sent, and every answer that a server, a
proxy or something else altogether may give."""

import base64
import email.utils
import hashlib
import time

import pytest

import peer as p
from cases import (DEFLATE, HELLO, SLOW, SOON, Row, T, accepted, again, alive, refused, rows,
                   run_row,
                   up)
from harness import KIB, MEMORY_IS_REAL, MIB, eventually, scaled
from peer import BINARY, TEXT, make_frame

BOTH = ("once", "drip")


def head(status="HTTP/1.1 101 Switching Protocols", upgrade=("websocket",), connection=("Upgrade",),
         accept=("{}",), more=(), end="\r\n"):
    """A function that gives the answer for a connection; {} in ACCEPT is the right one."""
    def answer(c):
        right = p.accept_of(c.key())
        lines = [status, *(f"Upgrade: {x}" for x in upgrade),
                 *(f"Connection: {x}" for x in connection),
                 *(f"Sec-WebSocket-Accept:{' ' if x == '{}' else ''}{x.format(right)}"
                   for x in accept),
                 *more, "", ""]
        return end.join(lines).encode("latin-1")
    return answer


def status(line, *fields, body=b""):
    """An answer with nothing of WebSocket in it, whole."""
    if not line.startswith("204"):
        fields += (f"Content-Length: {len(body)}",)
    return "\r\n".join([f"HTTP/1.1 {line}", *fields, "", ""]).encode("latin-1") + body


def each(table):
    """Decorator: for each row of {name: answer}, in one go and byte by byte."""
    def decorate(test):
        test = pytest.mark.parametrize("how", BOTH)(test)
        return pytest.mark.parametrize("answer", table.values(), ids=table)(test)
    return decorate


def refuse_configuration(bench, **options):
    """The connection is not even made."""
    url = options.pop("url", "ws://127.0.0.1:1/")
    answer = bench.ask("open", name="never", url=url,
                       options={k.replace("_", "-"): [v] for k, v in options.items()})
    assert not answer["ok"] and answer["exit"] == 2, answer
    assert bench.ask("status", name="never")["exit"] == 4
    return answer["message"]


# --- the request --------------------------------------------------------------------------------


def requested(bench, look, **options):
    """LOOK at the request of a connection that is then taken."""
    def script(c):
        c.read_head()
        look(c)
        c.send(c.good_head())
        c.expect_frame(TEXT, HELLO)
    case = bench.case(script, **options)
    case.peer.wait_finished()
    return case


def test_h01_request(bench):
    """One request: GET, HTTP/1.1, each field once, a key of 16 bytes, and nothing behind it."""
    def look(c):
        assert c.head == "GET / HTTP/1.1"
        one = {n: c.field(n) for n in ("host", "upgrade", "connection", "sec-websocket-version",
                                       "sec-websocket-key")}
        assert all(len(v) == 1 for v in one.values()), one
        assert one["upgrade"] == ["websocket"] and one["connection"] == ["Upgrade"]
        assert one["sec-websocket-version"] == ["13"]
        assert len(c.key()) == 24 and len(base64.b64decode(c.key(), validate=True)) == 16
        c.expect_silence(0.5)
    requested(bench, look)


def test_h02_keys_differ(bench):
    """A thousand attempts, a thousand keys."""
    keys = []

    def script(c):
        c.read_head()
        keys.append(c.key())
        c.expect_eof()
    cases = [bench.case(script, repeat=True) for _ in range(4)]
    for i in range(1, 251):
        for case in cases:
            case.peer.wait_connections(i)
            eventually(lambda: case.peer.connections[i - 1].head)
            case.reconnect()
    assert len(set(keys)) == len(keys) >= 1000


@pytest.mark.parametrize("url, host", (
    ("ws://h:80/", "h"), ("ws://h/", "h"), ("ws://h:443/", "h:443"), ("ws://h:8080/", "h:8080"),
    ("wss://h:443/", "h"), ("wss://h/", "h"), ("wss://h:80/", "h:80"), ("wss://h:8443/", "h:8443")))
def test_h03_port_in_host(bench, url, host):
    """Host has the port, but for the scheme's own."""
    def script(c):
        if url.startswith("wss"):
            c.start_tls(bench.tls())
        c.read_head()
        assert c.field("host") == [host]
    case = bench.case(script, url=url, connect_to="127.0.0.1:{port}", insecure="yes")
    case.peer.wait_finished()


@pytest.mark.parametrize("url, host", (("ws://[::1]:9000/", "[::1]:9000"), ("ws://[::1]/", "[::1]"),
                                       ("ws://[fe80::1%25lo]:9000/", "[fe80::1]:9000")))
def test_h04_ipv6_in_host(bench, url, host):
    """An IPv6 address stands in brackets, its zone stays at home."""
    def look(c):
        assert c.field("host") == [host]
    requested(bench, look, url=url, connect_to="127.0.0.1:{port}")


@pytest.mark.parametrize("path, target",
                         (("", "/"), ("?a=b", "/?a=b"), ("/x/y?z=%20", "/x/y?z=%20")))
def test_h05_target(bench, path, target):
    """An empty path is /; the query goes along."""
    def look(c):
        assert c.head == f"GET {target} HTTP/1.1"
    requested(bench, look, url="ws://127.0.0.1:{port}" + path)


def test_h05_fragment(bench):
    """A fragment has no meaning here: refused with the configuration."""
    assert "fragment" in refuse_configuration(bench, url="ws://127.0.0.1:1/x#y")


@pytest.mark.parametrize("bad", ("\r", "\n", "\0", "\r\nEvil: yes"),
                         ids=("CR", "LF", "NUL", "CRLF"))
@pytest.mark.parametrize("key", ("url", "header", "subprotocol", "user", "origin", "cookie",
                                 "user-agent"))
def test_h06_control_characters(bench, key, bad):
    """What would forge lines of the request is refused with the configuration."""
    value = {"url": "ws://127.0.0.1:1/a%sb", "header": "X: a%sb", "user": "a:b%sc"}.get(key, "a%sb")
    refuse_configuration(bench, **{key: value % bad})


@pytest.mark.parametrize("name",
                         ("Sec-WebSocket-Key", "Connection", "Content-Length", "Host", "Upgrade",
                                  "sec-websocket-anything", "Transfer-Encoding", "TE", "Expect",
                                  "Proxy-Authorization"))
def test_h07_our_own_fields(bench, name):
    """The handshake's own fields, and those that change what the request is, cannot be given."""
    assert "handshake" in refuse_configuration(bench, header=f"{name}: x")


def test_h08_userinfo(bench):
    """userinfo of the url becomes Basic auth; the password is nowhere else."""
    def look(c):
        assert c.field("authorization") == ["Basic " + base64.b64encode(b"ann:p@ss").decode()]
        assert c.field("host") == [f"127.0.0.1:{c.peer.port}"] and not c.field("referer")
        assert "p%40ss" not in c.head and "p@ss" not in c.head
    case = requested(bench, look, url="ws://ann:p%40ss@127.0.0.1:{port}/")
    shown = bench.daemon.log + str(case.status())
    assert "p%40ss" not in shown and "p@ss" not in shown


# --- 101 ----------------------------------------------------------------------------------------

@each({"Switching Protocols": head(), "empty reason": head("HTTP/1.1 101 "),
       "no reason": head("HTTP/1.1 101"), "Whatever": head("HTTP/1.1 101 Whatever")})
def test_h09_status_line(bench, answer, how):
    """101 with any reason, or none."""
    accepted(bench, answer, how)


def test_h10_head_in_drips(bench):
    """The head byte by byte with pauses between, in the time that there is."""
    def script(c):
        c.read_head()
        c.send(c.good_head(), drip=1, every=0.002)
        c.expect_frame(TEXT, HELLO)
        alive(c)
    case = bench.case(script, reconnect="never")
    case.expect_works_again(by_itself=True)


@rows(Row("one", make_frame(TEXT, "at once"), T("at once")),
      Row("two", make_frame(TEXT, "at") + make_frame(BINARY, b"once"), T("at"),
          ("binary", b"once")),
      how=("head",))
def test_h11_frames_behind_the_head(bench, row, how):
    """Frames in the head's segment are delivered, once."""
    run_row(bench, row, how)


@pytest.mark.parametrize("cut", (1, 2, 3, 10, 129))
def test_h12_half_a_frame_behind_the_head(bench, cut):
    """... also when the rest of the frame comes later."""
    frame = make_frame(TEXT, "x" * 126)

    def script(c):
        c.read_head()
        c.send_pieces([c.good_head() + frame[:cut], frame[cut:]])
        c.expect_frame(TEXT, HELLO)
        alive(c)
    case = bench.case(script, unix=True, reconnect="never")
    assert case.record() == ("open",)
    assert case.record() == T("x" * 126)
    case.expect_works_again(by_itself=True)


def shouting(c):
    return (f"HTTP/1.1 101 X\r\nuPGRADE: WebSocket\r\nCONNECTION: UPGRADE\r\n"
            f"SEC-WEBSOCKET-ACCEPT: {p.accept_of(c.key())}\r\n\r\n").encode()


@each({"lower": lambda c: head(upgrade=("WEBSOCKET",))(c).replace(b"Upgrade:", b"upgrade:"),
       "mixed": shouting})
def test_h13_case(bench, answer, how):
    """Names of fields, `websocket` and `upgrade` compare without regard to case."""
    accepted(bench, answer, how)


@each({"list": head(connection=("keep-alive, Upgrade",)),
       "two fields": head(connection=("keep-alive", "upgrade")),
       "blanks": head(connection=("\tupgrade \t",)),
       "empty members": head(connection=(",,Upgrade,",))})
def test_h14_connection(bench, answer, how):
    """Connection is a list, perhaps in several fields."""
    accepted(bench, answer, how)


@each({"missing": head(connection=()), "close": head(connection=("close",)),
       "upgraded": head(connection=("upgraded",)), "empty": head(connection=("",))})
def test_h15_connection_without_upgrade(bench, answer, how):
    """A Connection that does not say Upgrade."""
    refused(bench, answer, how, "connection")


@each({"missing": head(upgrade=()), "websockets": head(upgrade=("websockets",)),
       "list": head(upgrade=("websocket, h2c",)), "two": head(upgrade=("websocket", "websocket")),
       "empty": head(upgrade=("",))})
def test_h16_upgrade_is_something_else(bench, answer, how):
    """An Upgrade that is not websocket, exactly once."""
    refused(bench, answer, how, "upgrade")


OTHER = p.accept_of("AAAAAAAAAAAAAAAAAAAAAA==")


@each({"missing": head(accept=()), "of another key": head(accept=(OTHER,)),
       "empty": head(accept=("",)),
       "last character": lambda c: head(accept=(p.accept_of(c.key())[:-2] + "-=",))(c),
       "case": lambda c: head(accept=(p.accept_of(c.key()).lower(),))(c),
       "without padding": lambda c: head(accept=(p.accept_of(c.key())[:-1],))(c),
       "twice": head(accept=("{}", "{}")), "twice, different": head(accept=("{}", OTHER))})
def test_h17_accept_key_is_wrong(bench, answer, how):
    """Sec-WebSocket-Accept must fit our key to the letter, once."""
    refused(bench, answer, how, "accept")


@each({"spaces": head(accept=("   {}   ",)), "tabs": head(accept=("\t{}\t \t",)),
       "none": head(accept=("{}" + "",))})
def test_h18_blanks_around_the_accept_key(bench, answer, how):
    """Blanks around a value are no part of it."""
    accepted(bench, answer, how)


def of_decoded_key(c):
    digest = hashlib.sha1(base64.b64decode(c.key()) + p.GUID.encode()).digest()
    return head(accept=(base64.b64encode(digest).decode(),))(c)


def without_guid(c):
    digest = hashlib.sha1(c.key().encode()).digest()
    return head(accept=(base64.b64encode(digest).decode(),))(c)


@each({"decoded key": of_decoded_key, "without GUID": without_guid,
       "the key itself": lambda c: head(accept=(c.key(),))(c)})
def test_h19_accept_key_computed_wrongly(bench, answer, how):
    """A server that has the algorithm nearly right."""
    refused(bench, answer, how, "accept")


@pytest.mark.parametrize("chosen", ("a", "b", None))
def test_h20_subprotocol(bench, chosen):
    """Of those offered the server may pick one, or none (RFC 6455 4.2.2; so wspipe.conf(5))."""
    def check(status):
        assert status["subprotocol"] == chosen
    more = (f"Sec-WebSocket-Protocol: {chosen}",) if chosen else ()
    accepted(bench, head(more=more), check=check, subprotocol="a b")


@each({"case": head(more=("Sec-WebSocket-Protocol: B",)),
       "other": head(more=("Sec-WebSocket-Protocol: c",)),
       "list": head(more=("Sec-WebSocket-Protocol: a, b",)),
       "empty": head(more=("Sec-WebSocket-Protocol:",)),
       "two": head(more=("Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b"))})
def test_h20_subprotocol_is_wrong(bench, answer, how):
    """Anything else than exactly one of them."""
    refused(bench, answer, how, "protocol", subprotocol="a b")


@each({"one": head(more=("Sec-WebSocket-Protocol: a",))})
def test_h21_subprotocol_not_asked_for(bench, answer, how):
    """A subprotocol though none was offered."""
    refused(bench, answer, how, "subprotocol")


@each({"deflate": head(more=(DEFLATE,)),
       "other": head(more=("Sec-WebSocket-Extensions: foo; bar=1",))})
def test_h22_extension_not_asked_for(bench, answer, how):
    """An extension though none was offered."""
    refused(bench, answer, how, "extension", compress="no")


@each({"empty": head(more=("Sec-WebSocket-Extensions:",)),
       "commas": head(more=("Sec-WebSocket-Extensions: , ,",))})
def test_h22_empty_extensions(bench, answer, how):
    """An empty list names no extension: fine."""
    accepted(bench, answer, how, compress="no")


@each({x: head(x) for x in ("HTTP/1.0 101 X", "HTTP/2 101 X", "HTTP/2.0 101 X", "HTTP/1.1 1010 X",
                            "HTTP/1.1 10 X", "HTTP/1.1  101 X", "http/1.1 101 X", "HTTP/1.1\t101 X",
                            "XHTTP/1.1 101 X", "HTTP/1.1 101\tX", "HTTP/1.1101 X",
                            " HTTP/1.1 101 X",
                            "HTTP/1.1 101X", "HTTP/1.1 -101 X", "HTTP/1.1 601 X")})
def test_h23_status_line_is_malformed(bench, answer, how):
    """A status line that is nearly one."""
    refused(bench, answer, how, "in the opening handshake")


@pytest.mark.parametrize("how", BOTH)
@pytest.mark.parametrize("greeting, word", (
    (b"SSH-2.0-OpenSSH_9\r\n", "ssh"), (b"220 smtp\r\n", "mail"),
                                            (b"\x15\x03\x01\x00\x02\x02\x46", "tls"),
    (b"\0" * 100, "binary"), (b"<html>", "html"), (b"RFB 003.008\n", "vnc"),
    (b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\x04\0\0\xff\xff\0\x05\0\0\x40\0", "http/2"),
    (b"ICY 200 OK\r\n", "icy"), (b"\r\n\r\n", "not an http")),
    ids=("ssh", "smtp", "TLS alert", "zeros", "html", "vnc", "h2", "icy", "blank lines"))
def test_h24_something_else_answers(bench, greeting, word, how):
    """Another protocol's greeting: the cause names the suspicion.  Byte by byte the first one
    decides, and some have no time to be recognised."""
    if how == "drip" and word not in ("tls", "binary", "html"):
        word = "binary" if word == "http/2" else "not an http"
    refused(bench, greeting, how, word)


@each({"100": lambda c: b"HTTP/1.1 100 Continue\r\n\r\n" + c.good_head(),
       "102, 103": lambda c: b"HTTP/1.1 102 P\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
       + c.good_head(),
       "eight": lambda c: b"HTTP/1.1 103 X\r\n\r\n" * 8 + c.good_head()})
def test_h25_interim_answers(bench, answer, how):
    """Other answers 1xx before the one that counts are passed over."""
    accepted(bench, answer, how)


@each({"nine": lambda c: b"HTTP/1.1 103 X\r\n\r\n" * 9 + c.good_head()})
def test_h25_too_many_interim_answers(bench, answer, how):
    """... but not for ever.  It goes slowly, as all that is no proper answer."""
    refused(bench, answer, how, "1xx")


@each({"LF throughout": head(end="\n"),
       "one LF": lambda c: c.good_head("X: y").replace(b"X: y\r\n", b"X: y\n"),
       "CR in a value": head(more=("X: a\rb",)), "CR alone": lambda c: c.good_head("X: y").replace(
           b"X: y\r\n", b"X: y\r"),
       "LF in the status line": lambda c: c.good_head().replace(b"\r\n", b"\n", 1)})
def test_h26_bare_cr_and_lf(bench, answer, how):
    """Lines end with CRLF; what one parser takes for two lines and the next for one is refused."""
    refused(bench, answer, how, "in the opening handshake")


@each({"folded": head(more=("X: a", " b")), "folded by a tab": head(more=("X: a", "\tb")),
       "before the first field": lambda c: c.good_head().replace(b"\r\n", b"\r\n X: y\r\n", 1)})
def test_h27_folded_lines(bench, answer, how):
    """Folded lines."""
    refused(bench, answer, how, "folded")


@each({"Upgrade": lambda c: c.good_head().replace(b"Upgrade:", b"Upgrade :"),
       "tab": head(more=("X\t: y",))})
def test_h28_blank_before_the_colon(bench, answer, how):
    """A blank between a name and its colon, which some parsers forgive."""
    refused(bench, answer, how, "blank before a colon")


@each({"no colon": head(more=("nonsense",)), "no name": head(more=(": x",)),
       "no token": head(more=("(x): y",)),
       "8 bits in a name": head(more=("\xe4: y",))})
def test_h28_field_names(bench, answer, how):
    """Names that are none."""
    refused(bench, answer, how, "the head has a")


@each({f"{c!r}": head(more=(f"X: a{c}b",)) for c in "\0\1\x08\x0b\x1b\x7f"})
def test_h29_control_characters(bench, answer, how):
    """Control characters in a value."""
    refused(bench, answer, how, "control")


@each({"80 to ff": head(more=("X: " + "".join(map(chr, range(0x80, 0x100))),)),
       "tab": head(more=("X: a\tb",))})
def test_h29_eight_bits(bench, answer, how):
    """Bytes 0x80 to 0xff and tabs in a field that we do not know."""
    accepted(bench, answer, how)


@pytest.mark.parametrize("name, data", (
    ("16 KiB + 1", b"HTTP/1.1 101 X\r\nX: " + b"y" * (16 * KIB + 1)),
    ("a field of 1 MiB", b"HTTP/1.1 101 X\r\nX: " + b"y" * MIB),
    ("endless fields", b"HTTP/1.1 101 X\r\n" + b"X: a\r\n" * 100000),
    ("endless status line", b"HTTP/1.1 101 " + b"X" * MIB)))
def test_h30_endless_head(bench, name, data):
    """A head that does not end is refused at 16 KiB (or 100 fields), and costs no more.  It goes
    slowly, as all that is no proper answer."""
    before = bench.daemon.rss()
    refused(bench, data, cause="the head")
    if MEMORY_IS_REAL:
        assert bench.daemon.rss() - before < MIB


def padded(size):
    """A good head of so many bytes."""
    def answer(c):
        return c.good_head("X: " + "y" * (size - len(c.good_head("X: "))))
    return answer


@each({"16 KiB - 1": padded(16 * KIB - 1), "16 KiB": padded(16 * KIB)})
def test_h30_longest_head(bench, answer, how):
    """A head of just 16 KiB will do."""
    accepted(bench, answer, how)


@each({"101": head(more=("X: y",) * 98)})
def test_h31_too_many_fields(bench, answer, how):
    """101 fields."""
    refused(bench, answer, how, "100 fields")


@each({"100": head(more=("X: y",) * 97)})
def test_h31_many_fields(bench, answer, how):
    """100 fields."""
    accepted(bench, answer, how)


@pytest.mark.parametrize("how", ("once", "head", "drip"))
@pytest.mark.parametrize("field", ("Content-Length: 5", "Transfer-Encoding: chunked"))
def test_h32_no_body_behind_101(bench, field, how):
    """A 101 has no body, whatever it says: frames follow at once (Content-Length; see also h33)."""
    run_row(bench, Row(field, make_frame(TEXT, "intact") * 2, T("intact"), T("intact")), how, field)


def test_h33_chunked(bench):
    """... and Transfer-Encoding, both together."""
    row = Row("both", make_frame(TEXT, "5\r\nhello\r\n"), T("5\r\nhello\r\n"))
    run_row(bench, row, "head", "Transfer-Encoding: chunked", "Content-Length: 7")


@each({x: head(more=(x,))
       for x in ("Sec-WebSocket-Version: 8", "Set-Cookie: a=b", "Date: now", "Server: x",
                                    "Sec-WebSocket-Key: x", "X:", "Location: /elsewhere")})
def test_h34_fields_without_meaning_here(bench, answer, how):
    """Fields that mean nothing in a 101."""
    accepted(bench, answer, how)


# --- other statuses -----------------------------------------------------------------------------


@each({"html": status("200 OK", "Content-Type: text/html", body=b"<html>"),
       "with Upgrade": head("HTTP/1.1 200 OK"), "204": status("204 No Content")})
def test_h35_without_upgrading(bench, answer, how):
    """200: somebody answered who does not know WebSocket."""
    code = 204 if answer == status("204 No Content") else 200
    refused(bench, answer, how, f"HTTP {code}", http_status=code)


@pytest.mark.parametrize("code", (301, 302, 303, 307, 308))
def test_h36_redirect_not_followed(bench, code):
    """Without `max-redirects` a redirect fails, and shows where to (in clean characters)."""
    refused(bench, status(f"{code} Moved", "Location: ws://elsewhere/x"), cause="ws://elsewhere/x",
            http_status=code)
    told = refused(bench, status(f"{code} Moved", "Location: ws://elsewhere/\xfe\x9bx"),
                   http_status=code)
    assert told.isprintable() and "\ufffd" not in told


def redirected(bench, *scripts, **options):
    case = bench.case(*scripts, **{"max_redirects": "3", **options})
    return case


def moved(location, code=302, look=None):
    def script(c):
        c.read_head()
        if look:
            look(c)
        c.send(status(f"{code} Moved",
                      *([f"Location: {location(c) if callable(location) else location}"]
                                         if location is not None else [])))
    return script


def test_h37_redirect_within_the_origin(bench):
    """To another path of the same origin: followed with the credentials, and a new key."""
    keys = []

    def first(c):
        assert c.field("authorization")
        keys.append(c.key())

    def second(c):
        c.read_head()
        assert c.head == "GET /there?x=y HTTP/1.1"
        assert c.field("authorization") and c.field("cookie") == ["k=v"]
        keys.append(c.key())
        c.send(c.good_head())
        c.expect_frame(TEXT, HELLO)
        alive(c)
    case = redirected(bench, moved("/there?x=y", look=first), second, user="ann:pw", cookie="k=v",
                      reconnect="never")
    case.expect_works_again(by_itself=True)
    assert len(set(keys)) == 2


@pytest.mark.parametrize("auth", ({"user": "ann:pw"}, {"header": "Authorization: Bearer x"}, {}),
                         ids=("user", "header", "userinfo"))
@pytest.mark.parametrize("code", (301, 302, 303, 307, 308))
def test_h38_redirect_to_another_origin(bench, code, auth):
    """To another port: followed, but without any credentials."""
    def second(c):
        c.read_head()
        assert c.head == "GET /there HTTP/1.1"
        assert not c.field("authorization") and not c.field("cookie")
        c.send(c.good_head())
        c.expect_frame(TEXT, HELLO)
        alive(c)
    other = p.Peer(second)
    try:
        userinfo = "" if auth else "ann:pw@"
        case = redirected(bench, moved(f"http://127.0.0.1:{other.port}/there", code), cookie="k=v",
                          **auth,
                          reconnect="never", url=f"ws://{userinfo}127.0.0.1:{{port}}/")
        assert case.message() == T("works?")
        case.send("works!")
        other.wait_finished()
    finally:
        other.stop()


@pytest.mark.parametrize("scheme", ("ws", "http"))
def test_h39_redirect_from_tls_to_plain(bench, scheme):
    """Never from wss to ws."""
    def script(c):
        c.start_tls(bench.tls())
        moved(f"{scheme}://127.0.0.1:{c.peer.port}/there")(c)
    case = redirected(bench, script, url="wss://127.0.0.1:{port}/", insecure="yes")
    case.expect_ended(retry=SLOW)
    assert len(case.peer.connections) == 1


@pytest.mark.parametrize("location", ("/", "/other"))
def test_h40_too_many_redirects(bench, location):
    """Three are allowed: the fourth answer ends the attempt."""
    case = redirected(bench, moved(lambda c: f"{location}{len(c.peer.connections)}"), repeat=True)
    case.expect_ended(retry=SLOW)
    assert len(case.peer.connections) == 4


LONG = "/" + "x" * 10 * KIB


@pytest.mark.parametrize("location", (None, "ftp://x/", "", LONG, "/a#b", "ws://", "http://[x/"),
                         ids=("none", "ftp", "empty", "10 KiB", "fragment", "no host", "bad host"))
def test_h41_redirect_to_nowhere(bench, location):
    """A Location that cannot be followed, or (a long one, one with a fragment) that leads here
    again."""
    case = redirected(bench, moved(location), repeat=True)
    case.expect_ended(retry=SLOW)
    leads_here = location in ("/a#b", LONG) and len(case.peer.connections) > 1
    assert len(case.peer.connections) == (4 if leads_here else 1)


@pytest.mark.parametrize("user", (None, "ann:pw"), ids=("without credentials", "with credentials"))
@pytest.mark.parametrize("challenge",
                         ("Basic realm=\"x\"", "Digest realm=\"x\", nonce=\"y\"", "Bearer"))
def test_h42_unauthorized(bench, challenge, user):
    """401: the cause names the scheme; no second request follows soon, with whatever
    credentials."""
    told = refused(bench, status("401 No", f"WWW-Authenticate: {challenge}"), user=user,
                   http_status=401)
    assert challenge.split()[0] in told and "pw" not in told


@pytest.mark.parametrize("code", (400, 403, 404, 405, 406, 410, 426, 451))
def test_h43_rejected(bench, code):
    """What time does not mend goes slowly; of 426 the version that the server wants is shown."""
    told = refused(bench, status(f"{code} No", "Sec-WebSocket-Version: 8"), http_status=code)
    assert (code == 426) == ("Sec-WebSocket-Version: 8" in told)


@pytest.mark.parametrize("code", (403, 404, 410))
def test_h43_rejected_after_a_success(bench, code):
    """... also when it was connected before."""
    def good(c):
        up(c)
        c.rst()

    def bad(c):
        c.read_head()
        c.send(status(f"{code} No"))
    case = bench.case(good, bad, again)
    case.expect_ended(f"HTTP {code}", SLOW, number=2)
    case.expect_works_again()


@pytest.mark.parametrize("code", (408, 425, 500, 501, 502, 504, 599))
def test_h44_tried_again(bench, code):
    """What time does mend is tried again soon."""
    refused(bench, status(f"{code} Later"), cause=f"HTTP {code}", retry=SOON)


def in_seconds(seconds):
    return lambda: email.utils.formatdate(time.time() + seconds, usegmt=True)


@pytest.mark.parametrize("value, low, high", (
    ("3", 3, 3.3), (in_seconds(4), 2.9, 4.4), ("99999999999", 3600, 3960), ("4000", 3600, 3960),
    (in_seconds(-100), 1, 1.1), ("0", 1, 1.1), ("-1", 5, 7.5), ("abc", 5, 7.5), ("", 5, 7.5)),
    ids=("3", "date", "far too much", "too much", "past", "0", "-1", "abc", "empty"))
@pytest.mark.parametrize("code", (503, 429))
def test_h45_retry_after(bench, code, value, low, high):
    """Retry-After in seconds or as a date is respected, from 1 s to 1 h, and up to a tenth more;
    what makes no sense counts as absent: not before 5 s."""
    text = value() if callable(value) else value
    refused(bench, status(f"{code} Later", f"Retry-After: {text}"), retry=(low, high),
            http_status=code)


@pytest.mark.parametrize("code", (503, 429))
def test_h46_without_retry_after(bench, code):
    """Not before 5 s."""
    refused(bench, status(f"{code} Later"), retry=(5, 7.5), http_status=code)


def test_h47_body_of_an_error(bench):
    """Of an answer that is an error the cause shows how its body begins (in clean characters)."""
    body = b"<p>no \x1b[31msuch\r\nchannel</p>"
    told = refused(bench, status("404 Not Found", "Content-Type: text/plain",
                                 body=body), http_status=404)
    assert told.endswith(": no [31msuch channel"), told
    assert told.isprintable()


def test_h47_endless_body(bench):
    """... but one that does not end is not read for ever, nor kept."""
    sent = []

    def script(c):
        c.read_head()
        c.send(b"HTTP/1.1 500 Oh\r\nContent-Type: text/html\r\n\r\n")
        for i in range(100000):
            c.sock.settimeout(scaled(5))
            try:
                c.sock.sendall(b"x" * 1000)
            except OSError:
                break
            sent.append(i)
    before = bench.daemon.rss()
    case = bench.case(script, again)
    case.expect_ended("HTTP 500", SOON)
    case.expect_works_again(by_itself=True)
    assert len(sent) < 100000
    if MEMORY_IS_REAL:
        assert bench.daemon.rss() - before < MIB


# --- ends and silence ---------------------------------------------------------------------------

CUTS = {"before any byte": 0, "in the version": 10, "after the status line": 34, "in a field": 50,
        "before the last CRLF": -2, "before the last LF": -1}


@pytest.mark.parametrize("end", ("eof", "half close"))
@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_h48_end_in_the_head(bench, cut, end):
    """The stream ends before the head does: tried again soon."""
    def script(c):
        c.read_head()
        data = c.good_head()
        c.send(data[:cut] if cut >= 0 else data[:len(data) + cut])
        if end == "half close":
            c.half_close()
            c.expect_eof()
    case = bench.case(script, again)
    case.expect_ended("in the opening handshake", SOON, was_open=False)
    case.expect_works_again(by_itself=True)


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_h49_reset_in_the_head(bench, cut):
    """... or is reset."""
    def script(c):
        c.read_head()
        data = c.good_head()
        c.send(data[:cut] if cut >= 0 else data[:len(data) + cut])
        c.rst()
    case = bench.case(script, again)
    case.expect_ended("in the opening handshake", SOON, was_open=False)
    case.expect_works_again(by_itself=True)


def test_h48_end_before_the_request_is_read(bench):
    """The server accepts and closes at once, without reading."""
    case = bench.case(lambda c: None, again)
    case.expect_ended("in the opening handshake", SOON, was_open=False)
    case.expect_works_again(by_itself=True)


def test_h50_end_behind_the_head(bench):
    """101 and the end: it was open, ended with 1006, and is tried again."""
    def script(c):
        c.good()
    case = bench.case(script, again)
    case.expect_ended("without a close frame", SOON, was_open=True)
    assert case.session() == ([], 1006)
    case.expect_works_again(by_itself=True)


def test_h51_answer_before_the_request(bench):
    """A 101 that does not wait for the request cannot know our key."""
    def script(c):
        c.send(c.good_head(accept=OTHER) + make_frame(TEXT, "must not be seen"))
        c.read_head()
        c.expect_eof()
    case = bench.case(script, again)
    case.expect_ended("accept", SLOW, was_open=False)
    case.expect_works_again()


def test_h52_request_is_not_read(bench):
    """The server reads nothing of a long request: `connect-timeout` bounds that too."""
    case = bench.case(lambda c: c.wait(scaled(5)), again, connect_timeout="500ms",
                      header=[f"X-{i}: {'y' * 1000}" for i in range(14)],
                      peer_args={"receive_buffer": 2048})
    case.expect_ended("timed out", SOON, was_open=False)


@rows(Row("again", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", code=1002))
def test_h53_second_head(bench, row, how):
    """A second 101 behind the first is a frame, and a bad one."""
    run_row(bench, row, how)


@each({"empty first": head(more=("Sec-WebSocket-Extensions:", DEFLATE)),
       "empty last": head(more=(DEFLATE, "Sec-WebSocket-Extensions: "))})
def test_h54_extensions_in_two_fields(bench, answer, how):
    """One field of the list is empty, the other is not."""
    def check(status):
        assert status["compression"] == "permessage-deflate"
    accepted(bench, answer, how, check=check)
