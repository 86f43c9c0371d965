"""Who may include whom (daemon/README.md), and that each source file has its place in that map.

Usage: layers.py SOURCE_ROOT.  Names each offence; exit 1 if any."""
import pathlib
import re
import sys

ROOMS = ["base", "codec", "net", "conn", "endpoint", "service", "control"]
CONFIG_READERS = re.compile(r"service/.*|control/(verbs|request)\.[ch]|main\.c")
OUTSIDE = [  # header, where alone it may be included
    (r"wslay/.*", r"net/.*"),
    (r"openssl/.*", r"net/.*"),
    (r"zlib\.h", r"codec/deflate\.c"),
    (r"systemd/.*", r"base/log\.c|service/systemd\.c"),
    (r"event2/.*|event\.h", r"(?!codec/|conn/).*"),
]
CLIENT_MAY = re.compile(r"base/.*|codec/.*|control/protocol\.h|[^/]*")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def room_of(path):
    """The rank of a file's room; main.c stands above all, None is no room of ours."""
    room = path.split("/")[0]
    return len(ROOMS) if path == "main.c" else ROOMS.index(room) if room in ROOMS else None


def includes_of(file):
    return INCLUDE.findall(file.read_text())


def check_daemon(daemon, offences):
    graph = {}
    for file in sorted(daemon.rglob("*.[ch]")):
        path = file.relative_to(daemon).as_posix()
        if room_of(path) is None:
            offences.append(f"daemon/{path} is in no room")
            continue
        graph[path] = []
        for kind, name in includes_of(file):
            if kind == "<":
                offences += [f"daemon/{path} includes <{name}>" for header, where in OUTSIDE
                             if re.fullmatch(header, name) and not re.fullmatch(where, path)]
            elif room_of(name) is None or not (daemon / name).is_file():
                offences.append(f'daemon/{path} includes "{name}", which is no "room/file.h"')
            elif room_of(name) > room_of(path):
                offences.append(f'daemon/{path} includes "{name}", which is to its right')
            elif name == "service/config.h" and not CONFIG_READERS.fullmatch(path):
                offences.append(f'daemon/{path} includes "{name}", which is not for it')
            else:
                graph[path].append(name)
    return graph


def find_rings(graph, offences):
    done = {}

    def visit(path, trail):
        if done.get(path) == "open":
            offences.append("ring: " + " -> ".join(trail[trail.index(path):] + [path]))
        elif path not in done:
            done[path] = "open"
            for name in graph.get(path, ()):
                visit(name, trail + [path])
            done[path] = "closed"

    for path in graph:
        visit(path, [])


def check_map(daemon, offences):
    """The table of rooms names each source file in the row of its room."""
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*)$", (daemon / "README.md").read_text(), re.M))
    for file in sorted(daemon.glob("*/*.c")):
        room = file.parent.name
        if not re.search(rf"\b{re.escape(file.stem)}\b", rows.get(room, "")):
            offences.append(f"daemon/README.md: the row of {room} does not name {file.stem}")


def check_client(client, offences):
    for file in sorted(client.rglob("*.[ch]")):
        for kind, name in includes_of(file):
            if kind == '"' and not CLIENT_MAY.fullmatch(name.removeprefix("client/")):
                offences.append(f'client/{file.name} includes "{name}"')
            elif kind == "<" and any(re.fullmatch(header, name) for header, _ in OUTSIDE):
                offences.append(f"client/{file.name} includes <{name}>")


def main():
    root, offences = pathlib.Path(sys.argv[1]), []
    find_rings(check_daemon(root / "daemon", offences), offences)
    check_map(root / "daemon", offences)
    check_client(root / "client", offences)
    print("\n".join(offences), end="\n" if offences else "")
    return 1 if offences else 0


sys.exit(main())
