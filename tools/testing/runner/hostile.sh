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
ask_about_kvm

# In the guest, suite LOG COMMAND: its output goes to LOG, its status to LOG.status. The kernel's log has its name, for
# suites whose tests do not write theirs.
suite() {
	local status=0
	echo "<3>test ${1##*/}" >/dev/kmsg
	(eval "$2") >"$1" 2>&1 || status=$?
	echo "$status" >"$1.status"
}
# How the tool launches, and what root of a container gets of it, is no matter of the kernel's; the tests of that race
# against time limits, and this kernel is several times slower.
tool_suite="$bin/bpftoken-tests --skip hostile:: --skip launch:: --skip terminal::"
# All suites in one guest, as booting takes as long as the smaller of them.
suites() {
	local script name
	# What a guest that did not survive leaves of the suites that it did not come to.
	for name in guest bpftoken libbpf kunit upstream; do
		echo "it was not begun" | tee "$LOGS/hostile-$name.log" >"$LOGS/hostile-$name.log.status"
	done
	script="$(declare -f suite)
		suite $LOGS/hostile-guest.log $bin/guest
		suite $LOGS/hostile-bpftoken.log $(printf %q "$tool_suite")
		suite $LOGS/hostile-libbpf.log $(printf %q "$libbpf_suite")
		suite $LOGS/hostile-kunit.log $(printf %q "$kunit_suites")
		suite $LOGS/hostile-upstream.log $(printf %q "$upstream_suite")"
	DIR=$LOGS CPUS=2 MEMORY=3G TIMEOUT=${TIMEOUT:-1800} \
		guest debug "$LOGS/hostile-suites.log" "exec $bin/hostile watch bash -c $(printf %q "$script")"
}
# KASAN keeps the more freed objects the more memory there is, and to count objects in use goes through all of them.
faults() { MEMORY=768M TIMEOUT=${TIMEOUT:-1800} guest debug "$LOGS/hostile-faults.log" "exec $bin/hostile faults"; }
stress() {
	CPUS=4 MEMORY=3G TIMEOUT=${TIMEOUT:-$((STRESS + 840))} \
		guest debug "$LOGS/hostile-stress.log" "exec $bin/hostile stress --seconds $STRESS ${SEED:+--seed $SEED}"
}
scale() {
	MEMORY=4G ACCEL=tcg QEMU_OPTS='-icount shift=0,sleep=off' guest rust "$LOGS/hostile-scale.log" "exec $bin/hostile scale"
}
fuzz() {
	local status=0
	"$RUNNER/fuzz.sh" || status=$?
	echo "$status" >"$LOGS/hostile-fuzz.log.status"
}
guests() {
	suites &
	local suites=$!
	faults
	scale
	wait "$suites"
	stress
}

# program NAME LOG START: one that fails as a whole, and shows what it has to say from the line on that matches START.
program() {
	local ok=0 shown
	[ "$(cat "$2.status")" != 0 ] || ok=1
	shown=$(sed -n "/$3/,\$p" "$2")
	[ -n "$shown" ] || shown=$(tail -n 50 "$2")
	printf '%s\n' "$shown" | sed 's/^/  | /' >&2
	record "$1" "$ok" "$((1 - ok))" "$2"
}

rm -f "$LOGS"/hostile-*.log "$LOGS"/hostile-*.status
step "the suites, faults and stress in the debug kernel, and large numbers" "$LOGS/guests.log" guests
step "C against Rust" "$LOGS/hostile-fuzz.log" fuzz

libtest "our tests, debug kernel" "$LOGS/hostile-guest.log"
libtest "library and bpftoken, debug kernel" "$LOGS/hostile-bpftoken.log"
kunit "reasons told by the tree's libbpf, debug kernel" "$LOGS/hostile-libbpf.log"
kunit "KUnit, debug kernel" "$LOGS/hostile-kunit.log"
upstream "upstream's prog_tests/token.c, debug kernel" "$LOGS/hostile-upstream.log"
program "no complaint and no lost memory meanwhile" "$LOGS/hostile-suites.log" "^complaints and losses"
program "faults, debug kernel" "$LOGS/hostile-faults.log" "^operation "
program "stress, debug kernel" "$LOGS/hostile-stress.log" "^stress for "
program "scale, Rust kernel" "$LOGS/hostile-scale.log" "number .*first"
program "C against Rust" "$LOGS/hostile-fuzz.log" "distinct outcomes$"
total || exit 1
