"""The option table, conf/wspipe.conf and wspipe.conf(5) say the same: the same keys, in the same
section, with the same defaults.

	/usr/bin/python3 tests/options.py BUILD_OR_WSPIPED

Asks the daemon (`wspiped --keys`: name, section, default, tab-separated) and reads the two files.
Exits with 1 and one line for each difference."""

import os
import re
import subprocess
import sys

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


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: options.py BUILD_OR_WSPIPED")
    table = read_table(find_daemon(sys.argv[1]))
    faults = [] if table else ["the table is empty"]
    faults += compare(table, read_conf(faults), CONF)
    faults += compare(table, read_page(faults), PAGE)
    for fault in faults:
        print(fault)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
