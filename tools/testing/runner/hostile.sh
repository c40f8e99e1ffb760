#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The token under hostile conditions: all suites, faults and stress in the debug kernel; large numbers, and C against
# Rust, in the others. Ends with the line "N passed, N failed"; exits with 0 only if all ran and passed.
#   STRESS   how many seconds of it (60)
#   SEED, STRINGS (40000), CALLS (10000), SEQUENCES (600), TIME (60)   as fuzz.sh has them

. "$(dirname "$0")/common.sh"
. "$RUNNER/suites.sh"
x86_64_only "make hostile"
need_root "make hostile"
[[ ${STRESS:=60} =~ ^[1-9][0-9]*$ ]] || die "STRESS=$STRESS is not a number of seconds; it is 1 or more."

new_run hostile rust c debug cover
build_suites fuzz hostile
ask_about_kvm

# How the tool launches, and what root of a container gets of it, is no matter of the kernel's; the tests of that race
# against time limits, and this kernel is several times slower.
tool_suite="$bin/bpftoken-tests --skip integration:: --skip handshake:: --skip hostile:: --skip launch:: --skip terminal:: --skip examples::"
suites() {
	UNDER="$bin/hostile watch" CPUS=2 MEMORY=3G TIMEOUT=${TIMEOUT:-2700} one_guest debug "$RESULTS/suites.log" \
		guest="$bin/guest" bpftoken="$tool_suite" libbpf="$libbpf_suite" kunit="$kunit_suites" upstream="$upstream_suite"
}
# KASAN keeps the more freed objects the more memory there is, and to count objects in use goes through all of them.
faults() { MEMORY=768M TIMEOUT=${TIMEOUT:-1800} guest debug "$RESULTS/faults.log" "exec $bin/hostile faults"; }
stress() {
	CPUS=4 MEMORY=3G TIMEOUT=${TIMEOUT:-$((STRESS + 840))} \
		guest debug "$RESULTS/stress.log" "exec $bin/hostile stress --seconds $STRESS ${SEED:+--seed $SEED}"
}
scale() {
	MEMORY=4G ACCEL=tcg QEMU_OPTS='-icount shift=0,sleep=off' guest rust "$RESULTS/scale.log" "exec $bin/hostile scale"
}
fuzz() {
	local status=0
	RUN=$RUN STRINGS=${STRINGS:-40000} CALLS=${CALLS:-10000} "$RUNNER/fuzz.sh" || status=$?
	echo "$status" >"$RESULTS/fuzz.log.status"
}
sequences() {
	local status=0
	RUN=$RUN GUIDED=1 SEQUENCES=${SEQUENCES:-600} TIME=${TIME:-60} "$RUNNER/fuzz.sh" || status=$?
	echo "$status" >"$RESULTS/sequences.log.status"
}
guests() {
	suites &
	local in_background=$!
	faults
	scale
	wait "$in_background"
	stress
}

# show LOG START: what a program has to say, from the line on that matches START.
show() {
	local shown
	shown=$(sed -n "/$2/,\$p" "$1")
	[ -n "$shown" ] || shown=$(tail -n 50 "$1")
	printf '%s\n' "$shown" | sed 's/^/  | /' >&2
}

step "the suites, faults and stress in the debug kernel, and large numbers" "$RESULTS/guests.log" guests
step "C against Rust" "$RESULTS/fuzz.log" fuzz
step "sequences of steps, C against Rust" "$RESULTS/sequences.log" sequences

show "$RESULTS/suites.log" "^complaints and losses"
show "$RESULTS/faults.log" "^operation "
show "$RESULTS/stress.log" "^stress for "
show "$RESULTS/scale.log" "number .*first"
show "$RESULTS/fuzz.log" "distinct outcomes$"
show "$RESULTS/sequences.log" "addresses reached"
# The debug kernel runs what the Rust kernel does.
total "libtest:guest-debug:our tests, debug kernel:$RESULTS/guest.log" \
	"libtest:bpftoken-debug:library and bpftoken, debug kernel:$RESULTS/bpftoken.log" \
	"ktap:libbpf-rust:reasons told by the tree's libbpf, debug kernel:$RESULTS/libbpf.log" \
	"ktap:kunit-rust:KUnit, debug kernel:$RESULTS/kunit.log" \
	"test_progs:upstream-rust:upstream's prog_tests/token.c, debug kernel:$RESULTS/upstream.log" \
	"program:complaints:no complaint and no lost memory meanwhile:$RESULTS/suites.log" \
	"program:faults:faults, debug kernel:$RESULTS/faults.log" \
	"program:stress:stress, debug kernel:$RESULTS/stress.log" \
	"program:scale:scale, Rust kernel:$RESULTS/scale.log" \
	"program:fuzz:C against Rust:$RESULTS/fuzz.log" \
	"program:sequences:sequences, C against Rust:$RESULTS/sequences.log" || exit 1
