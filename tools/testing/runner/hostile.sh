#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The token under hostile conditions: all suites, faults and stress in the debug kernel; large numbers; C against Rust.
# Ends with the line "N passed, N failed"; exits with 0 only if all ran and passed.
#   SEED             of what is random; by default a new one, which is printed
#   STRINGS, CALLS   that fuzz.sh compares the two kernels by
#   SECONDS_OF_STRESS   (60)

. "$(dirname "$0")/common.sh"
. "$RUNNER/suites.sh"
need_root "make hostile"
[[ ${STRESS:=60} =~ ^[1-9][0-9]*$ ]] || die "STRESS=$STRESS is not a number of seconds; it is 1 or more."

for kernel in debug rust c; do
	"$RUNNER/kernel.sh" "$kernel" >/dev/null
done
build_suites

# debug LOG COMMAND: in the debug kernel; whatever of the command's memory nothing points at any more is a leak.
debug() {
	MEMORY=3G TIMEOUT=1800 guest debug "$1" "status=0; ($2) || status=\$?; $bin/hostile leaks && exit \$status"
}
one_lane() {
	debug "$LOGS/hostile-guest.log" "$bin/guest"
	debug "$LOGS/hostile-kunit.log" "$kunit_suites"
}
other_lane() {
	debug "$LOGS/hostile-upstream.log" "$upstream_suite"
	debug "$LOGS/hostile-bpftoken.log" "$bin/bpftoken-tests"
	debug "$LOGS/hostile-faults.log" "$bin/hostile faults"
}
