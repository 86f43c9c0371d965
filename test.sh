#!/usr/bin/env bash
# Build wspipe and run all its tests: ./test.sh [--asan] [--valgrind] [--systemd] [--unit]
#
#   --asan      build with AddressSanitizer and UBSan (in build-asan/), and run everything so
#   --valgrind  the daemon of the system tests runs under valgrind (slow)
#   --systemd   check the unit files as well (systemd-analyze), and boot a Debian with the service in
#               it (tests/systemd/run says what that needs)
#   --unit      only the unit tests and lints, without the system tests
#
# Needs Debian 12 and root (or sudo without a password) to install what is missing; elsewhere it says
# what is missing and goes on.  With CI=true, a compiler warning is an error.  The last line is
# "N passed, N failed"; the exit status is 0 only if none failed.
set -u
cd "$(dirname "$0")" || exit 1
export LC_ALL=C.UTF-8 TERM=dumb NO_COLOR=1

build=build options=() system=yes units=no
for option; do
	case $option in
	--asan)
		build="build-asan"
		options=("-Db_sanitize=address,undefined" "-Db_lto=false")
		;;
	--valgrind) export VALGRIND=1 ;;
	--systemd) units=yes ;;
	--unit) system=no ;;
	-h | --help)
		sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"
		exit 0
		;;
	*)
		echo "test.sh: unknown option $option (--help tells what there is)" >&2
		exit 2
		;;
	esac
done

passed=0 failed=0 skipped=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

count() { # PASSED FAILED SKIPPED
	passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

summary() {
	local more=
	[ $skipped = 0 ] || more=", $skipped skipped"
	echo "$passed passed, $failed failed$more"
	[ $failed = 0 ] && [ $passed != 0 ]
	exit
}

heading() { printf '\n== %s\n' "$*"; }

# --- what is needed, and the build ---------------------------------------------------------------

.ci/install test || true
[ -z "${VALGRIND-}" ] || .ci/install valgrind || true
[ $units = no ] || .ci/install systemd || true

heading "build ($build/)"
[ -f $build/build.ninja ] || meson setup $build "${options[@]}" >"$scratch/log" 2>&1 || {
	cat "$scratch/log"
	count 0 1 0
	summary
}
werror=false
[ "${CI-}" != true ] || werror=true
meson configure $build -Dwerror=$werror >/dev/null
if ! ninja -C $build >"$scratch/log" 2>&1; then
	grep -vE '^\[[0-9]+/[0-9]+\]' "$scratch/log"
	count 0 1 0
	summary
fi
grep -E 'warning:' "$scratch/log" || echo "done, no warnings"

# --- unit tests and lints ------------------------------------------------------------------------

heading "unit tests and lints"
unit_results() { # the log of `meson test`: one JSON object a line
	/usr/bin/python3 - "$1" <<'PYTHON'
import json, sys
count = {"passed": 0, "failed": 0, "skipped": 0}
for line in open(sys.argv[1], encoding="utf-8"):
    result = json.loads(line)["result"]
    count["passed" if result in ("OK", "EXPECTEDFAIL") else "skipped" if result == "SKIP" else "failed"] += 1
print(*count.values())
PYTHON
}
rm -f $build/meson-logs/testlog.json
timeout 600 meson test -C $build --no-rebuild --print-errorlogs </dev/null 2>&1 |
	grep -vE '^(ninja:|Full log written|$)|^(Expected Fail|Unexpected Pass|Skipped|Timeout): +0'
read -r p f s < <(unit_results $build/meson-logs/testlog.json) || { p=0 f=1 s=0; }
count "$p" "$f" "$s"

# --- unit files ----------------------------------------------------------------------------------

# A misspelt directive is only a warning there: any word on standard error is a failure.
verify_units() { # DIRECTORY: an installed tree
	local kind unit said
	for kind in system user; do
		unit=$1/usr/lib/systemd/$kind/wspiped.service
		sed -i "s|^ExecStart=/usr|ExecStart=$1/usr|" "$unit"
		said=$(XDG_RUNTIME_DIR=$scratch systemd-analyze verify --$kind --man=no "$unit" 2>&1) || said="$said (failed)"
		[ -z "$said" ] || { printf '%s\n' "$said" && return 1; }
	done
}
if [ $units = yes ]; then
	heading "unit files"
	if ! command -v systemd-analyze >/dev/null; then
		echo "systemd-analyze is not here"
		count 0 0 1
	elif meson setup --prefix=/usr --sysconfdir=/etc -Dman=disabled "$scratch/units" >/dev/null &&
		DESTDIR=$scratch/root meson install -C "$scratch/units" --quiet >/dev/null &&
		verify_units "$scratch/root"; then
		echo "fine"
		count 1 0 0
	else
		count 0 1 0
	fi
	heading "the service under systemd, in a container"
	tests/systemd/run "$build" </dev/null 2>&1 | tee "$scratch/log"
	if [[ $(tail -n 1 "$scratch/log") =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed(,\ ([0-9]+)\ skipped)?$ ]]; then
		count "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}" "${BASH_REMATCH[4]:-0}"
	else
		count 0 1 0
	fi
fi

# --- system tests --------------------------------------------------------------------------------

system_results() { # pytest's report; a run that died in the middle has none
	/usr/bin/python3 - "$1" <<'PYTHON'
import sys, xml.etree.ElementTree as tree
suites = list(tree.parse(sys.argv[1]).getroot().iter("testsuite"))
total, bad, skipped = (sum(int(s.get(k, 0)) for s in suites for k in keys.split())
                       for keys in ("tests", "failures errors", "skipped"))
print(max(total - bad - skipped, 0), bad, skipped)
PYTHON
}
# Most tests wait most of the time, so there is one process more than there are processors, up to four; the
# tests of a file stay together and in order (some share a daemon).  Each process has a network of its own;
# where that cannot be had, one could get connections that are meant for another: then there is one.
abreast=()
if [ -z "${VALGRIND-}" ] && [ "$(id -u)" = 0 ] && unshare --net true 2>/dev/null &&
	/usr/bin/python3 -c 'import xdist' 2>/dev/null; then
	processors=$(nproc)
	abreast=(-n $((processors < 3 ? processors + 1 : 4)) --dist loadfile)
fi
run_system_tests() { # ARGUMENT...: to pytest; sets p, f and s
	WSPIPE_BUILD=$PWD/$build timeout -k 20 $limit /usr/bin/python3 -m pytest tests/system -q -ra \
		--tb=short --color=no -o cache_dir="$scratch/cache" --junitxml="$scratch/report.xml" "${abreast[@]}" "$@" </dev/null
	status=$?
	read -r p f s < <(system_results "$scratch/report.xml" 2>/dev/null) && return
	echo "pytest gave no report (exit status $status)"
	p=0 f=1 s=0
}
# What real processes on a busy machine do in time is not all in our hand: what fails is tried once more,
# by itself, and said to have been.
second_try() { # PASSED FAILED SKIPPED of the first
	heading "$2 failed and are tried once more"
	abreast=()
	run_system_tests --last-failed --last-failed-no-failures none
	echo "at the second try $p passed and $f failed"
	p=$(($1 + p)) s=$(($3 + s))
}
if [ $system = yes ]; then
	heading "system tests"
	limit=600
	[ ${#abreast[@]} -gt 0 ] || limit=1200
	[ $build = build ] || limit=3000
	[ -z "${VALGRIND-}" ] || limit=10800
	run_system_tests
	[ "$f" = 0 ] || [ "$f" -gt 5 ] || second_try "$p" "$f" "$s"
	count "$p" "$f" "$s"
fi

echo
summary
