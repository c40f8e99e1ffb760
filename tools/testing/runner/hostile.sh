#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The token under hostile conditions: all suites, faults and stress in the debug kernel; large numbers, and C against
# Rust, in the others. Ends with the line "N passed, N failed"; exits with 0 only if all ran and passed.
#   STRESS   how many seconds of it (60)
#   SEED, STRINGS, CALLS   as fuzz.sh has them

. "$(dirname "$0")/common.sh"
. "$RUNNER/suites.sh"
need_root "make hostile"
[[ ${STRESS:=60} =~ ^[1-9][0-9]*$ ]] || die "STRESS=$STRESS is not a number of seconds; it is 1 or more."

for kernel in rust c debug; do
	"$RUNNER/kernel.sh" "$kernel" >/dev/null
done
build_suites

# debug LOG COMMAND: in the debug kernel; memory that was lost meanwhile is a failure too, but what the boot lost is not.
debug() {
	MEMORY=3G TIMEOUT=${TIMEOUT:-1800} guest debug "$1" "$bin/hostile leaks || true; status=0; ($2) || status=\$?; $bin/hostile leaks && exit \$status"
}
one_lane() {
	CPUS=2 debug "$LOGS/hostile-guest.log" "$bin/guest"
	debug "$LOGS/hostile-bpftoken.log" "$bin/bpftoken-tests"
	debug "$LOGS/hostile-kunit.log" "$kunit_suites"
	debug "$LOGS/hostile-upstream.log" "$upstream_suite"
	scale
}
other_lane() { debug "$LOGS/hostile-faults.log" "$bin/hostile faults"; }
guests() {
	other_lane &
	local other=$!
	one_lane
	wait "$other"
}
stress() { CPUS=4 debug "$LOGS/hostile-stress.log" "$bin/hostile stress --seconds $STRESS ${SEED:+--seed $SEED}"; }
scale() {
	MEMORY=4G ACCEL=tcg QEMU_OPTS='-icount shift=0,sleep=off' guest rust "$LOGS/hostile-scale.log" "$bin/hostile scale"
}
fuzz() {
	local status=0
	"$RUNNER/fuzz.sh" || status=$?
	echo "$status" >"$LOGS/hostile-fuzz.log.status"
}

# program NAME LOG LINES: one that prints a table and fails as a whole; the last LINES of it are shown.
program() {
	local ok=0
	[ "$(cat "$2.status")" != 0 ] || ok=1
	tail -n "$3" "$2" | sed 's/^/  | /' >&2
	record "$1" "$ok" "$((1 - ok))" "$2"
}

rm -f "$LOGS"/hostile-*.log "$LOGS"/hostile-*.status
step "the suites and faults in the debug kernel, and large numbers, two guests at a time" "$LOGS/guests.log" guests
step "stress in the debug kernel" "$LOGS/guests.log" stress
step "C against Rust" "$LOGS/hostile-fuzz.log" fuzz

libtest "our tests, debug kernel" "$LOGS/hostile-guest.log"
kunit "KUnit, debug kernel" "$LOGS/hostile-kunit.log"
upstream "upstream's prog_tests/token.c, debug kernel" "$LOGS/hostile-upstream.log"
libtest "library and bpftoken, debug kernel" "$LOGS/hostile-bpftoken.log"
program "faults, debug kernel" "$LOGS/hostile-faults.log" 45
program "stress, debug kernel" "$LOGS/hostile-stress.log" 27
program "scale, Rust kernel" "$LOGS/hostile-scale.log" 11
program "C against Rust" "$LOGS/hostile-fuzz.log" 20
total || exit 1
