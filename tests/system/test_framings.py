"""The five framings: "Every framing is exact: what goes in one end comes out of the other, and nothing
is split, merged, cut or replaced." """

import base64
import json

import pytest

from harness import KIB, MIB, eventually, section

FRAMINGS = ("line", "nul", "length", "json", "raw")
EVERY_BYTE = bytes(range(256))


# --- the records of wspipe.conf(5), written down a second time --------------------------


def data_url(message):
    kind = "text/plain" if isinstance(message, str) else "application/octet-stream"
    return f"data:{kind};base64,".encode() + base64.b64encode(to_bytes(message))


def to_bytes(message):
    return message.encode() if isinstance(message, str) else bytes(message)


def is_json(text):
    try:
        json.loads(text)
        return True
    except ValueError:
        return False


def encode(framing, message, type_="text"):
    """The record of MESSAGE (str: text, bytes: binary) on a connection of type TYPE_."""
    raw = to_bytes(message)
    own_kind = isinstance(message, str) == (type_ == "text")
    if framing == "line":
        if not own_kind or raw.startswith(b"data:"):
            return data_url(message) + b"\n"
        if b"\n" not in raw:
            return raw + b"\n"
        if isinstance(message, str) and is_json(message):
            return raw.replace(b"\n", b" ") + b"\n"
        return data_url(message) + b"\n"
    if framing == "nul":
        if not own_kind or b"\0" in raw or raw.startswith(b"data:"):
            return data_url(message) + b"\0"
        return raw + b"\0"
    if framing == "length":
        flag = 0 if isinstance(message, str) else 1 << 31
        return (len(raw) | flag).to_bytes(4, "big") + raw
    if framing == "json":
        if isinstance(message, str):
            return json.dumps({"type": "text", "data": message}).encode() + b"\n"
        data = base64.b64encode(raw).decode()
        return json.dumps({"type": "binary", "data": data}).encode() + b"\n"
    return raw


def read_message(stream, framing, want, type_="text", timeout=20):
    """Read the next record, which should be WANT's; a message for comparison with it."""
    if framing == "raw":
        raw = stream.exactly(len(to_bytes(want)), timeout)
        return raw if isinstance(want, bytes) else raw.decode()
    if framing == "json":
        while True:
            record = json.loads(stream.record(timeout))
            if record["type"] in ("open", "close"):
                continue
            assert record["time"], "json records have a time"
            if record["type"] == "text":
                return record["data"]
            assert record["type"] == "binary"
            return base64.b64decode(record["data"], validate=True)
    if framing == "length":
        head = int.from_bytes(stream.exactly(4, timeout), "big")
        raw = stream.exactly(head & 0x7fffffff, timeout)
        return raw if head >> 31 else raw.decode()
    # line and nul: the record itself must be as written in the contract.
    end = b"\n" if framing == "line" else b"\0"
    record = stream.record(timeout, end) + end
    assert record == encode(framing, want, type_), (record[:300], to_bytes(want)[:300])
    return want


def messages(framing, type_):
    """Texts and binaries of awkward sizes and contents, as far as the framing carries them."""
    texts = ["", "x", "plain", " leading and trailing ", "a\rb", "ends with CR\r", "\r", "tab\t",
             "a\nb", "\n", "two\n\n", "a\r\nb", "nul \0 inside", "\0", "data:", "data:,hello",
             "data:text/plain;base64,aGVsbG8=", "Data: no scheme", "snow \u2603 \U0001F600",
             "\ufeffbom", '"quoted"', "back\\slash \\n", "\u0001\u001f\u007f\u2028", "!", "#;=",
             '{"a": "b\\nc"}', "}{"]
    texts += ["t" * n for n in (4095, 4096, 4097, 65535, 65536, 65537)]
    texts += ["n" * 4000 + "\n" + "m" * 96, "\u00e9" * 2048 + "\n", "data:" + "d" * 65531]
    binaries = [b"", b"\0", b"\n", EVERY_BYTE, b"plain", b"data:x", b"\xff\xfe", b"a\nb"]
    binaries += [(EVERY_BYTE * 257)[:n] for n in (4095, 4096, 4097, 65535, 65536, 65537)]
    if framing != "raw":
        return texts + binaries
    # Boundaries and kind are given up: only the connection's own kind, and nothing empty.
    return [m for m in (texts if type_ == "text" else binaries) if m]


def shown(message):
    return (type(message).__name__, len(message), message[:60], message[-20:])


def same(got, want):
    assert type(got) is type(want) and got == want, (shown(got), shown(want))


@pytest.mark.parametrize("type_", ("text", "binary"))
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("way", ("fifo", "sock"))
def test_from_the_server(daemon, server, framing, type_, way):
    """Received messages come out of `out` and `sock` as the framing's records, byte for byte."""
    daemon.start(section("a", server.url, f"framing = {framing}", f"type = {type_}"))
    daemon.wait_open("a")
    session = server.session()
    with daemon.open_out("a") if way == "fifo" else daemon.listener("a") as stream:
        for message in messages(framing, type_):
            session.send(message)
            same(read_message(stream, framing, message, type_), message)
        assert stream.silent()


@pytest.mark.parametrize("type_", ("text", "binary"))
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("way", ("fifo", "sock"))
def test_to_the_server(daemon, server, framing, type_, way):
    """Records written to `in` and `sock` become exactly the messages that they stand for."""
    daemon.start(section("a", server.url, f"framing = {framing}", f"type = {type_}"))
    daemon.wait_open("a")
    session = server.session()
    with daemon.open_in("a") if way == "fifo" else daemon.sock("a") as stream:
        for message in messages(framing, type_):
            stream.write(encode(framing, message, type_))
            if framing == "line" and type_ == "text" and isinstance(message, str) \
                    and "\n" in message and is_json(message):
                message = message.replace("\n", " ")
            got = session.recv()
            while framing == "raw" and len(got) < len(message):
                got += session.recv()
            same(got, message)
        assert session.got_nothing()
    assert daemon.status("a")["rejected"]["messages"] == 0


@pytest.mark.timeout(90)
@pytest.mark.parametrize("framing", FRAMINGS)
def test_sixteen_mebibytes(daemon, echo, framing):
    """16 MiB (the default `max-message`) there and back, through sock in and FIFO out, although it is
    more than `queue`."""
    daemon.start(section("a", echo.url, f"framing = {framing}"))
    daemon.wait_open("a")
    text = ("0123456789abcde\n" * MIB)[:16 * MIB]
    binary = (EVERY_BYTE * (64 * KIB))[:16 * MIB]
    with daemon.sock("a") as sock, daemon.open_out("a") as out:
        for message in (text,) if framing == "raw" else (text, binary):
            sock.write(encode(framing, message), 40)
            same(read_message(out, framing, message, timeout=40), message)


@pytest.mark.parametrize("framing", ("line", "nul", "json"))
def test_many_small_records_in_odd_pieces(daemon, server, framing):
    """Records cut at any byte by their writer are joined; many in one write are separated."""
    daemon.start(section("a", server.url, f"framing = {framing}"))
    daemon.wait_open("a")
    session = server.session()
    want = [f"message \u2603 {i}" for i in range(400)]
    stream = b"".join(encode(framing, m) for m in want)
    with daemon.sock("a") as sock:
        for at in range(0, 2000, 7):
            sock.write(stream[at:at + 7])
        sock.write(stream[at + 7:])
        assert session.recv_many(400) == want


def test_json_text_on_one_line(daemon, server):
    """"JSON text: raw newlines outside strings become spaces (the same JSON value)." """
    daemon.start(section("a", server.url))
    daemon.wait_open("a")
    session = server.session()
    pretty = json.dumps({"a": [1, 2.50, "x\ny \\ \" \u2603", None], "big": 12345678901234567890},
                        indent=2)
    with daemon.open_out("a") as out:
        session.send(pretty, pretty.replace("\n", "\r\n"), "[1,\n2] trailing", "[1,\n2")
        assert out.record().decode() == pretty.replace("\n", " ")
        line = out.record()
        assert json.loads(line) == json.loads(pretty)
        for broken in ("[1,\n2] trailing", "[1,\n2"):
            assert out.record() == data_url(broken)


def test_line_type_binary_sends_binary(daemon, server):
    """"with `type = binary` it is text that is written so": plain lines are binary messages."""
    daemon.start(section("a", server.url, "type = binary"))
    daemon.wait_open("a")
    session = server.session()
    daemon.put("a", b"\xff raw \x00 bytes", data_url("a text"), data_url(b"\n"))
    assert session.recv_many(3) == [b"\xff raw \x00 bytes", "a text", b"\n"]
    with daemon.open_out("a") as out:
        session.send(b"bin \xfe", "text")
        assert out.record() == b"bin \xfe"
        assert out.record() == data_url("text")


REFUSED = {
    "line": [b"\xff\xfe\n", b"ok \xc3\n", b"\xed\xa0\x80\n", b"data:text/plain;base64,!!!!\n",
             b"data:text/plain;base64,//4=\n"],
    "nul": [b"\xff\xfe\0", b"\xf4\x90\x80\x80\0", b"data:text/plain;base64,//4=\0"],
    "length": [(2).to_bytes(4, "big") + b"\xff\xfe"],
    "json": [b"not json\n", b'{"type":"text"}\n', b'{"type":"nothing","data":""}\n',
             b'{"type":"binary","data":"!"}\n', b"[]\n", b'{"type":"text","data":5}\n'],
}


@pytest.mark.parametrize("framing", REFUSED)
@pytest.mark.parametrize("way", ("fifo", "sock"))
def test_refused_counted_and_harmless(daemon, echo, framing, way):
    """"What cannot be represented is refused with a reason, counted in `rejected`, and never sent
    half"; "An outgoing text record must be UTF-8"; the connection is unharmed."""
    daemon.start(section("a", echo.url, f"framing = {framing}"))
    daemon.wait_open("a")
    session = echo.session()
    with daemon.open_in("a") if way == "fifo" else daemon.sock("a") as stream:
        for number, record in enumerate(REFUSED[framing], 1):
            stream.write(record)
            eventually(lambda: daemon.status("a")["rejected"]["messages"] == number,
                       what=f"{record!r} is counted")
            stream.write(encode(framing, f"alive {number}"))
            assert session.recv() == f"alive {number}"
    assert daemon.status("a")["state"] == "open" and len(echo.sessions) == 1


def test_record_too_long_is_refused(daemon, server):
    """A record beyond `max-message` is refused and counted, wherever it ends; the next one is sent."""
    daemon.start(section("a", server.url, "max-message = 64K"))
    daemon.wait_open("a")
    session = server.session()
    daemon.put("a", "y" * (64 * KIB), "z" * (64 * KIB + 1), "z" * MIB, "after")
    assert session.recv() == "y" * (64 * KIB)
    assert session.recv() == "after"
    assert daemon.status("a")["rejected"]["messages"] == 2


def test_length_that_lies(daemon, server):
    """A length beyond `max-message` ends that client's stream alone."""
    daemon.start(section("a", server.url, "framing = length", "max-message = 64K"))
    daemon.wait_open("a")
    with daemon.sock("a") as liar, daemon.listener("a") as other:
        liar.write(b"\x7f\xff\xff\xff" + b"x" * 1000)
        assert liar.rest() == b""
        other.write(encode("length", "fine"))
        assert server.session().recv() == "fine"
    assert daemon.status("a")["rejected"]["messages"] == 1


def test_json_tells_of_open_and_close(daemon, server):
    """`json` also has `{"type":"open"...}` and `{"type":"close","code":...}`, in their place."""
    daemon.start(section("a", server.url, "framing = json", "reconnect-delay = 100ms"))
    daemon.wait_open("a")
    with daemon.listener("a") as stream:
        session = server.session()
        session.send("before")
        session.close(4002, 'say "bye"')
        assert json.loads(stream.line())["data"] == "before"
        close = json.loads(stream.line())
        assert (close["type"], close["code"]) == ("close", 4002)
        assert json.loads(stream.line())["type"] == "open"
        server.session(1).send("after")
        assert json.loads(stream.line())["data"] == "after"
