"""One member of a JSON text is replaced, or put in, and nothing else changes: thousands of generated
texts through codec/member.c, each judged by Python's json.

	splice.py PROGRAM [COUNT [SEED]]

Prints how many were tried; exits with 1 at the first that is wrong."""

import json
import random
import struct
import subprocess
import sys

NUMBERS = ["0", "-0", "7", "-12", "1.10", "1e3", "1E+2", "2.5e-7", "18446744073709551615",
           "12345678901234567890.5", "0.1", "-0.0"]
CHARACTERS = ["a", "b", "id", "\u00e9", "\u2603", "\U0001f600", "/", " ", "~", "x" * 9, "{", "]", ",",
              ":"]
ESCAPES = ["\\n", "\\\"", "\\\\", "\\/", "\\u0041", "\\ud83d\\ude00", "\\u00e9", "\\t", "\\u0000"]
KEYS = ["id", "a", "b", "requestId", "d", "", "a/b", "m~n", "\u00e9", "0", "1"]
WRONG = ["01", "1.", "+1", "nul", "'a'", "\"\\x\"", "\"a", "{", "]", "1 2", "NaN", "{\"a\"}", "[1,]",
         "{\"a\":1,}", "\"\t\"", "--1", "1e", "tru"]


class Texts:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def blank(self):
        return self.r.choice(["", "", "", " ", "\n", "\t ", "\r\n"])

    def string(self, text=None):
        if text is None:
            parts = [self.r.choice(CHARACTERS + ESCAPES) for _ in range(self.r.randrange(6))]
            return '"' + "".join(parts) + '"'
        out = ""
        for c in text:
            out += "\\u%04x" % ord(c) if self.r.random() < 0.15 else c
        return f'"{out}"'

    def value(self, depth):
        kind = 0.9 if depth == 0 and self.r.random() < 0.9 else self.r.random()
        if depth > 4 or kind < 0.3:
            return self.r.choice(NUMBERS)
        if kind < 0.5:
            return self.string()
        if kind < 0.55:
            return self.r.choice(["true", "false", "null"])
        n, b = self.r.randrange(9 if depth < 2 else 4), self.blank
        if kind < 0.7:
            return "[" + ",".join(b() + self.value(depth + 1) + b() for _ in range(n)) + b() + "]" \
                if n else "[" + b() + "]"
        keys = [self.r.choice(KEYS) for _ in range(n)]
        if self.r.random() < 0.8:
            keys = list(dict.fromkeys(keys))
        return "{" + b() + ",".join(b() + self.string(k) + b() + ":" + b() + self.value(depth + 1) + b()
                                    for k in keys) + "}"

    def text(self):
        text = self.blank() + self.value(0) + self.blank()
        chance = self.r.random()
        if chance < 0.05:
            at = self.r.randrange(len(text) + 1)
            return text[:at] + self.r.choice(WRONG) + text[at:]
        if chance < 0.08:
            return text[:self.r.randrange(len(text) + 1)]
        if chance < 0.1:
            depth = self.r.randrange(120, 137)
            return "[" * depth + text + "]" * depth
        return text

    def pointer(self):
        steps = [self.r.choice(KEYS) for _ in range(self.r.choice([1, 1, 1, 2, 2, 3]))]
        return "".join("/" + s.replace("~", "~0").replace("/", "~1") for s in steps), steps


class Object(list):
    """Pairs, as they stand."""


def refuse(_):
    raise ValueError("no JSON")


def load(text):
    return json.loads(text, object_pairs_hook=Object, parse_int=lambda s: ("n", s),
                      parse_float=lambda s: ("n", s), parse_constant=refuse)


def depth_of(text):
    """Of a text that is JSON."""
    depth = deepest = 0
    quoted = escaped = False
    for c in text:
        if quoted:
            quoted, escaped = escaped or c != '"', not escaped and c == "\\"
        elif c == '"':
            quoted = True
        elif c in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif c in "]}":
            depth -= 1
    return deepest


def children(node, step):
    if isinstance(node, Object):
        return [i for i, (key, _) in enumerate(node) if key == step]
    if isinstance(node, list) and step.isascii() and step.isdigit() and str(int(step)) == step:
        return [int(step)] if int(step) < len(node) else []
    return []


def child(node, at):
    return node[at][1] if isinstance(node, Object) else node[at]


def judge(text, steps):
    """(outcome, parent, place in it)"""
    try:
        node = load(text)
    except (ValueError, RecursionError):
        return "invalid", None, None
    if depth_of(text) > 128:
        return "invalid", None, None
    root = node
    for i, step in enumerate(steps):
        places = children(node, step)
        if len(places) > 1:
            return "twice", None, None
        if not places:
            last = i == len(steps) - 1
            return ("insert", root, node) if last and isinstance(node, Object) else \
                   ("none", None, None)
        parent, node = node, child(node, places[0])
    return "found", root, (parent, places[0])


def check(case, outcome, offset, length, result):
    pointer, steps, fresh, text = case
    want, root, place = judge(text, steps)
    got = {-1: "invalid", 0: "none", 1: "found", 2: "twice", 3: "insert"}[outcome]
    assert got == want, f"{got}, not {want}"
    raw = text.encode()
    new = ("n", fresh) if fresh[0] != '"' else fresh[1:-1]
    if got == "found":
        parent, at = place
        assert result == raw[:offset] + fresh.encode() + raw[offset + length:], "other bytes changed"
        assert load(raw[offset:offset + length].decode()) == child(parent, at), "not that value"
        parent[at] = (parent[at][0], new) if isinstance(parent, Object) else new
        assert load(result.decode()) == root, "the result is another value"
    elif got == "insert":
        more = len(result) - len(raw)
        assert result[:offset] + result[offset + more:] == raw, "other bytes changed"
        place.insert(0, (steps[-1], new))
        assert load(result.decode()) == root, "the result is another value"


def main():
    program, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20000
    texts = Texts(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    cases, data = [], bytearray()
    for _ in range(count):
        pointer, steps = texts.pointer()
        case = (pointer, steps, texts.r.choice(["1", "2147483647", '"17"']), texts.text())
        cases.append(case)
        parts = [case[0].encode(), case[2].encode(), case[3].encode()]
        data += struct.pack("=III", *map(len, parts)) + b"".join(parts)
    out = subprocess.run([program], input=bytes(data), stdout=subprocess.PIPE, check=True).stdout
    at, kinds = 0, {}
    for case in cases:
        outcome, offset, length, size = struct.unpack_from("=iiii", out, at)
        at += 16
        try:
            check(case, outcome, offset, length, out[at:at + size])
        except AssertionError as problem:
            sys.exit(f"{problem}: {case!r} -> {outcome} {out[at:at + size]!r}")
        at += size
        kinds[outcome] = kinds.get(outcome, 0) + 1
    assert at == len(out) and len(kinds) == 5, kinds
    print(f"{count} texts agree with Python: {kinds[1]} replaced, {kinds[3]} inserted, "
          f"{kinds[2]} twice, {kinds[0]} not there, {kinds[-1]} not JSON")


main()
