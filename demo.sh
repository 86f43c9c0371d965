#!/usr/bin/env bash
# Build wspipe and show what it does: ./demo.sh [--keep] [URL]
#
# Installs what it needs (Debian), builds, and starts the daemon with a small configuration in a
# temporary directory.  Connects to URL (ws:// or wss://) or, without one, to a server that it starts
# itself; then plain shell commands follow, each printed before it runs and its result checked.
#
#   --keep   leave the daemon (and the server) running, and say how to go on
set -u
cd "$(dirname "$0")" || exit 1

keep=no url=
for argument; do
	case $argument in
	--keep) keep=yes ;;
	ws://* | wss://* | ws+unix:*) url=$argument ;;
	-h | --help)
		sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"
		exit 0
		;;
	*)
		echo "demo.sh: neither an option nor a ws:// or wss:// URL: $argument" >&2
		exit 2
		;;
	esac
done

T=$(mktemp -d /tmp/wspipe-demo.XXXXXX)
export T W=$T/run WSPIPE_RUNTIME_DIR=$T/run PATH=$PWD/build/client:$PWD/build/daemon:$PATH
daemon_pid='' server_pid='' port=0 checks=0
exec 3>&1 # what a step prints is looked at; what people see goes here

# --- saying, doing, looking ----------------------------------------------------------------------

say() { printf '\n# %s\n' "$*"; }

fail() {
	printf '\nThis is not what it should be: %s\n' "$*"
	for log in "$T"/*.log; do
		[ -s "$log" ] && printf '\n%s ends so:\n' "${log##*/}" && tail -n 12 "$log"
	done
	keep=no
	exit 1
}

# Print a command, run it in a shell of its own for at most 30 s, show and keep what it says.
seen='' status=0
show() {
	printf '$ %s\n' "$1"
	seen=$(
		timeout -k 2 30 bash -c "$1" 2>&1 </dev/null 3>&- | while IFS= read -r line; do
			printf '%s\n' "$line" >&3
			printf '%s\n' "$line"
		done
		exit "${PIPESTATUS[0]}"
	)
	status=$?
}

# ... and it must have ended with 0 and said exactly this.
expect() {
	[ $status = 0 ] || fail "the command ended with $status"
	[ "$seen" = "$1" ] || fail "expected this: $1"
	checks=$((checks + 1))
}

# ... or said something like this.
expect_like() {
	[ $status = 0 ] || fail "the command ended with $status"
	[[ $seen =~ $1 ]] || fail "expected something like: $1"
	checks=$((checks + 1))
}

# Wait until the process has ended.
gone() {
	for _ in {1..100}; do
		kill -0 "$1" 2>/dev/null || return 0
		sleep 0.1
	done
	kill -KILL "$1"
	return 1
}

finish() {
	local pid
	[ $keep = no ] || return
	for pid in $daemon_pid $server_pid; do
		kill "$pid" 2>/dev/null && gone "$pid"
	done
	rm -rf "$T"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --- the server ----------------------------------------------------------------------------------

# /echo sends back what it gets, /clock says something each second, /rpc can add (JSON-RPC), and /gate lets in
# who knows the word.  Whoever does not answer a ping within two seconds is thrown out.
write_server() {
	cat >"$T/server.py" <<'PYTHON'
import asyncio, json, signal, sys
import websockets

def add(text):
    asked = json.loads(text)
    answer = {"jsonrpc": "2.0", "id": asked.get("id")}
    if asked.get("method") == "sum":
        return json.dumps({**answer, "result": sum(asked["params"])})
    return json.dumps({**answer, "error": {"code": -32601, "message": "no such method"}})

async def serve(ws):
    path = ws.path if hasattr(ws, "path") else ws.request.path
    try:
        if path == "/clock":
            for number in range(1, 1000000):
                await ws.send(f"tick {number}")
                await asyncio.sleep(1)
        if path == "/gate":
            await ws.send("who is there?")
            if await ws.recv() != "friend, the word is mellon":
                return await ws.close(1008, "not with me")
            await ws.send("welcome")
        async for message in ws:
            await ws.send(add(message) if path == "/rpc" else message)
    except websockets.ConnectionClosed as closed:
        print(f"{path} has ended: {closed}", flush=True)

async def main(port, tell):
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with websockets.serve(serve, "127.0.0.1", port, ping_interval=1, ping_timeout=2) as server:
        with open(tell, "w") as file:
            print(server.sockets[0].getsockname()[1], file=file)
        await stop.wait()

asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
PYTHON
}

start_server() {
	rm -f "$T/port"
	setsid /usr/bin/python3 "$T/server.py" "$port" "$T/port" >>"$T/server.log" 2>&1 3>&- </dev/null &
	server_pid=$!
	for _ in {1..100}; do
		[ -s "$T/port" ] && break
		kill -0 $server_pid 2>/dev/null || break
		sleep 0.1
	done
	[ -s "$T/port" ] || fail "the server does not start"
	port=$(<"$T/port")
}

# --- what is shown -------------------------------------------------------------------------------

build() {
	.ci/install demo || echo "(going on with what is there)"
	echo "Building in build/"
	{ [ -f build/build.ninja ] || meson setup build; } >"$T/build.log" 2>&1 &&
		ninja -C build daemon/wspiped client/wspipe >>"$T/build.log" 2>&1 ||
		fail "it does not build"
	rm "$T/build.log"
}

write_config() {
	if [ -n "$url" ]; then
		printf '[demo]\nurl = %s\n' "$url"
	else
		cat <<-END
			[demo]
			url = ws://127.0.0.1:$port/echo
			reconnect-delay = 200ms
			reconnect-max = 1s

			[clock]
			url = ws://127.0.0.1:$port/clock
			reconnect-delay = 200ms
			reconnect-max = 1s

			[rpc]
			url = ws://127.0.0.1:$port/rpc
			preset = json-rpc
			reconnect-delay = 200ms
			reconnect-max = 1s

			[diary]
			url = ws://127.0.0.1:$port/echo
			persist = yes
			reconnect-delay = 200ms
			reconnect-max = 1s
		END
	fi >"$T/wspipe.conf"
}

run_daemon() {
	echo '$ wspiped --config $T/wspipe.conf --runtime-dir $W --state-dir $T/state &'
	setsid wspiped --config "$T/wspipe.conf" --runtime-dir "$W" --state-dir "$T/state" \
		>>"$T/wspiped.log" 2>&1 3>&- </dev/null &
	daemon_pid=$!
}

start_daemon() {
	say "A configuration, and the daemon with it.  T is a temporary directory."
	show 'cat $T/wspipe.conf'
	show 'wspiped --config $T/wspipe.conf --check && echo no faults'
	expect 'no faults'
	echo '$ W=$T/run'
	run_daemon
	for _ in {1..100}; do
		[ -S "$W/control" ] && break
		kill -0 $daemon_pid 2>/dev/null || fail "the daemon has ended"
		sleep 0.05
	done
	echo '$ export WSPIPE_RUNTIME_DIR=$W'
	show 'wspipe wait demo --for open --timeout 20 && ls -F $W $W/demo'
	expect_like 'control=.*demo/.*in[|].*out[|].*sock=.*status'
}

socket_command() {
	if command -v socat >/dev/null; then
		echo 'socat -t 1 - UNIX-CONNECT:$W/demo/sock'
	elif nc -h 2>&1 | grep -q -e '-U'; then
		echo 'nc -U -q 1 $W/demo/sock'
	else
		echo '/usr/bin/python3 -c "
import os, socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(os.environ[\"W\"] + \"/demo/sock\")
s.sendall(sys.stdin.buffer.read()); print(s.recv(4096).decode(), end=\"\")"'
	fi
}

show_files() {
	say "A line written to in is a message; a message received is a line in out."
	show 'echo hello > $W/demo/in'
	show 'read -r line < $W/demo/out; echo "$line"'
	expect hello
	show 'seq 3 > $W/demo/in; head -n 3 $W/demo/out'
	expect $'1\n2\n3'

	say "The socket is both ways at once, for any number of programs.  out is another reader: it gets all, too."
	show "echo by socket | $(socket_command)"
	expect 'by socket'
	show 'head -n 1 $W/demo/out'
	expect 'by socket'

	say "last always holds the newest message, and status is made for the shell."
	show 'cat $W/demo/last'
	expect 'by socket'
	show '. $W/demo/status; echo "$name is $state since $since"'
	expect_like '^demo is open since 2'
}

show_client() {
	say "The client: what there is, send and receive, both at once."
	show 'wspipe ls'
	expect_like 'clock +open .*demo +open '
	show 'wspipe status demo'
	expect_like 'open'
	show 'wspipe send demo one two'
	expect ''
	show 'wspipe recv clock -n 2'
	expect_like $'^tick [0-9]+\ntick [0-9]+$'
	show 'printf "to be\nor not\n" | wspipe cat -n -C 2 demo'
	expect $'to be\nor not'
	say "Nobody has read out meanwhile.  It has kept everything for its next reader."
	show 'head -n 4 $W/demo/out'
	expect $'one\ntwo\nto be\nor not'
}

show_sleeper() {
	say "The server throws out whoever does not answer a ping within 2 s.  A reader that sleeps for 4 s ..."
	show "wspipe open sleepy ws://127.0.0.1:$port/clock && wspipe wait sleepy"
	[ $status = 0 ] || fail "the command ended with $status"
	show 'exec < $W/sleepy/out; head -n 1; sleep 4; head -n 5'
	expect $'tick 1\ntick 2\ntick 3\ntick 4\ntick 5\ntick 6'
	say "... has lost neither a line nor the connection."
	show '. $W/sleepy/status; echo "$state, connected again: $reconnects times"'
	expect 'open, connected again: 0 times'
	show 'wspipe close sleepy'
	[ $status = 0 ] || fail "the command ended with $status"
}

show_restart() {
	say "The server goes away.  Lines can be written all the same."
	printf '$ kill %s   # the server\n' "$server_pid"
	kill "$server_pid"
	gone "$server_pid" || fail "the server does not end"
	server_pid=''
	show 'until . $W/demo/status; [ "$state" != open ]; do sleep 0.1; done; echo "$state: $cause"'
	expect_like '^(waiting|connecting): .'
	show 'printf "written while\nthe server was down\n" > $W/demo/in'
	expect ''
	say "It comes back, and the lines arrive."
	start_server
	printf '$ python3 server.py &   # %s\n' "$server_pid"
	show 'head -n 2 $W/demo/out'
	expect $'written while\nthe server was down'
	show '. $W/demo/status; echo "$state, connected again: $reconnects time"'
	expect 'open, connected again: 1 time'
}

show_requests() {
	say "Programs that share a connection each get their own answers: four ask at the same time, all with id 1."
	show 'for n in 1 2 3 4; do wspipe request rpc "{\"id\":1,\"method\":\"sum\",\"params\":[$n,100]}" \
    --field /result --timeout 10 > $T/answer.$n & done; wait; cat $T/answer.*'
	expect $'101\n102\n103\n104'
	show 'wspipe request rpc "{\"method\":\"divide\"}" --field /result --timeout 10; echo "status $?"'
	expect_like 'no such method.*status 6$'
}

show_batches() {
	say "drain is a FIFO that ends: what has come since the last time, for a cron job.  And a command for each message."
	show "wspipe open ticks ws://127.0.0.1:$port/clock --endpoints 'drain status' \\
    --on-message 'read -r text; echo \"\$WSPIPE_NAME says \$text\" >> \$T/hooks'"
	[ $status = 0 ] || fail "the command ended with $status"
	show 'until [ -s $T/hooks ]; do sleep 0.1; done; head -n 1 $T/hooks'
	expect 'ticks says tick 1'
	show 'cat $W/ticks/drain'
	expect_like '^tick 1'
	show 'wspipe wait ticks --for message; cat $W/ticks/drain'
	expect_like '^tick [0-9]+'
	show 'wspipe close ticks'
	[ $status = 0 ] || fail "the command ended with $status"
}

show_gate() {
	say "A server that wants to be spoken to before anything else: expect, or a command of yours (login)."
	show "wspipe open gate ws://127.0.0.1:$port/gate --expect 'who is there' \\
    --on-open 'friend, the word is mellon' --expect welcome && wspipe wait gate --timeout 10 && echo open"
	expect open
}

show_crash() {
	say "What persist = yes keeps outlives the daemon, also when it is killed."
	show 'seq 3 > $W/diary/in; head -n 1 $W/diary/out'
	expect 1
	show 'wspipe recv diary --last 3 -n 3'
	expect $'1\n2\n3'
	printf '$ kill -9 %s   # the daemon\n' "$daemon_pid"
	kill -KILL "$daemon_pid"
	wait "$daemon_pid" 2>/dev/null
	run_daemon
	show 'head -n 2 $W/diary/out'
	expect $'2\n3'
}

# A server of somebody else's: what it says to us, nobody knows.
show_foreign() {
	say "A line written to in is a message; a message received is a line in out (5 at most, for 3 s each)."
	show 'echo "hello from wspipe" > $W/demo/in'
	expect ''
	show 'for n in 1 2 3 4 5; do timeout 3 head -n 1 $W/demo/out || break; done'
	say "last always holds the newest message, and status is made for the shell."
	show 'cat $W/demo/last'
	show '. $W/demo/status; echo "$name is $state since $since, at $address $tls"'
	expect_like '^demo is [a-z]+ since 2'
	say "The client."
	show 'wspipe ls'
	expect_like 'demo'
	show 'wspipe status demo'
	expect_like 'demo'
}

say_goodbye() {
	if [ $keep = yes ]; then
		say "All $checks checks passed.  Everything goes on running.  In another shell:"
		printf 'export W=%s WSPIPE_RUNTIME_DIR=%s S=%s \\\n    PATH=%s:$PATH\n' "$W" "$W" \
			"${url:-ws://127.0.0.1:$port}" "$PWD/build/client:$PWD/build/daemon"
		printf 'cat $W/demo/out\necho hello > $W/demo/in\nwspipe --help\n\n'
		printf '# and to end it:\nwspipe stop; kill %s; rm -r %s\n' "$server_pid" "$T" |
			sed 's/kill ; //'
		return
	fi
	say "The end: every connection is closed properly."
	show 'wspipe stop'
	[ $status = 0 ] || fail "the command ended with $status"
	gone "$daemon_pid" || fail "the daemon does not end"
	daemon_pid=''
	say "All $checks checks passed, and nothing is left running."
}

build
if [ -z "$url" ]; then
	write_server
	start_server
fi
write_config
start_daemon
if [ -n "$url" ]; then
	show_foreign
else
	show_files
	show_client
	show_requests
	show_batches
	show_gate
	show_sleeper
	show_restart
	show_crash
fi
say_goodbye
