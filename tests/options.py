"""The option table, conf/wspipe.conf and wspipe.conf(5) say the same: the same keys, in the same
section, with the same defaults.  The page's overview has all of them, each key stands in an example there, and the
examples are good configurations.

	/usr/bin/python3 tests/options.py BUILD_OR_WSPIPED

Asks the daemon (`wspiped --keys`: name, section, default, tab-separated) and reads the two files.
Exits with 1 and one line for each difference."""

import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CONF = "conf/wspipe.conf"
PAGE = "conf/wspipe.conf.5.scd"
NONE = ("", "-", "none", "(null)")


def default_of(text):
    """None when there is none; the version is not written into files that outlive it."""
    text = text.strip()
    return None if text in NONE else re.sub(r"^wspipe/[0-9][^ ]*$", "wspipe/VERSION", text)


def find_daemon(path):
    if os.path.isdir(path):
        for place in ("daemon/wspiped", "wspiped"):
            if os.path.isfile(os.path.join(path, place)):
                return os.path.join(path, place)
        sys.exit(f"{path}: no wspiped in it")
    return path


def read_table(daemon):
    """{(section, key): default}; the section is "daemon" or "connection" here and below."""
    run = subprocess.run([daemon, "--keys"], stdout=subprocess.PIPE, text=True, check=False)
    if run.returncode:
        sys.exit(f"{daemon} --keys: ended with {run.returncode}")
    keys = {}
    for line in run.stdout.splitlines():
        name, section, default = (line.split("\t") + ["", ""])[:3]
        section = "daemon" if section.strip("[]") == "daemon" else "connection"
        keys[section, name] = default_of(default)
    return keys


def read_file(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        return list(enumerate(file.read().splitlines(), 1))


def put(keys, faults, place, key, default):
    if key in keys:
        faults.append(f"{place}: {key[1]} stands there twice")
    keys[key] = default


def read_conf(faults):
    """Keys are "#key = default"; comments have a blank behind the "#"."""
    keys, section = {}, "connection"
    for number, line in read_file(CONF):
        place = f"{CONF}:{number}"
        if not line or line == "#" or line.startswith("# "):
            continue
        head = re.fullmatch(r"#\[(.+)\]", line)
        key = re.fullmatch(r"#([a-z-]+) =(?: (.+))?", line)
        if head:
            section = "daemon" if head[1] == "daemon" else "connection"
        elif key:
            put(keys, faults, place, (section, key[1]), default_of(key[2] or ""))
        else:
            faults.append(f"{place}: neither a comment nor a key that is commented out")
    return keys


def read_page(faults):
    r"""Keys are "*key* = _value_ (default: *text*)" at the beginning of a line."""
    keys, section = {}, "connection"
    for number, line in read_file(PAGE):
        if line.startswith("# "):
            section = "daemon" if "[daemon]" in line.replace("\\", "") else "connection"
        key = re.match(r"\*([a-z-]+)\* = ", line)
        if not key:
            continue
        text = re.search(r"\(default: \*(.+)\*\)$", line)
        put(keys, faults, f"{PAGE}:{number}", (section, key[1]),
            default_of(text[1].replace("\\", "")) if text else None)
    return keys


def compare(table, keys, where):
    for key in sorted(table.keys() | keys.keys()):
        name = f"[daemon] {key[1]}" if key[0] == "daemon" else key[1]
        if key not in keys:
            yield f"{where}: {name} is missing"
        elif key not in table:
            yield f"{where}: {name} is not in the table"
        elif keys[key] != table[key]:
            yield f"{where}: {name} has default {keys[key]}, the table {table[key]}"


def page_blocks():
    """(line number, lines) of each literal block, without what indents it."""
    block = None
    for number, line in read_file(PAGE):
        if line.strip() == "```":
            if block:
                yield block
            block = None if block else (number, [])
        elif block:
            block[1].append(line.strip())


def check_overview(table):
    """The rows of the table below "# OVERVIEW" name each key once."""
    text = "\n".join(line for _, line in read_file(PAGE))
    rows = re.findall(r"^\|  (.*)\n:  (.*)$", text.split("# OVERVIEW\n")[1].split("\n# ")[0], re.M)
    named = [("daemon" if "[daemon]" in head else "connection", key)
             for head, keys in rows for key in re.findall(r"_([a-z-]+)_", keys)]
    for key in sorted(table.keys() ^ set(named)) + sorted({k for k in named if named.count(k) > 1}):
        yield f"{PAGE}: OVERVIEW: {key[1]} is missing there, not in the table, or there twice"


# What a good example may lack on the machine where it is looked at.
ELSEWHERE = re.compile(r"names a (user|group) that does not exist|No such file or directory")


def check_examples(daemon, table):
    """A block is a configuration, if all of it is: keys that are there, sections, nothing else."""
    shown = set()
    for number, lines in page_blocks():
        lines = [line for line in lines if line]
        if not all(re.fullmatch(r"\[[\w.-]+\]|[a-z-]+ = .+", line) for line in lines):
            continue
        section = "connection"
        if len(lines) > 1 and all(line.startswith("url = ") for line in lines):
            lines = [text for n, line in enumerate(lines) for text in (f"[example-{n}]", line)]
        if not lines[0].startswith("["):
            lines.insert(0, "[example]")
        for line in lines:
            if line.startswith("["):
                section = "daemon" if line == "[daemon]" else "connection"
            else:
                shown.add((section, line.split(" = ")[0]))
        if section == "connection" and not any(line.startswith("url = ") for line in lines):
            lines.insert(1, "url = wss://stream.example.com/")
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write("\n".join(lines) + "\n")
            file.flush()
            run = subprocess.run([daemon, "--check", "--config", file.name], text=True, check=False,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for fault in run.stderr.splitlines() if run.returncode else ():
            if not ELSEWHERE.search(fault):
                yield f"{PAGE}:{number}: {fault.replace(file.name, 'the example')}"
    for key in sorted(table.keys() - shown):
        yield f"{PAGE}: no example has {key[1]}"


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: options.py BUILD_OR_WSPIPED")
    daemon = find_daemon(sys.argv[1])
    table = read_table(daemon)
    faults = [] if table else ["the table is empty"]
    faults += compare(table, read_conf(faults), CONF)
    faults += compare(table, read_page(faults), PAGE)
    faults += check_overview(table)
    faults += check_examples(daemon, table)
    for fault in faults:
        print(fault)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
