# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034 # used by those that source this, after common.sh
# The test suites: how each is built, run in a guest, and counted.

bin=$BUILD/target/release
passed=0 failed=0

build_suites() {
	step "building our tests" "$LOGS/tests-build.log" \
		"$RUNNER/cargo.sh" build --locked --release -p bpftoken -p bpftoken-tests -p fuzz -p guest -p hostile
	step "building upstream's test_progs" "$LOGS/selftests.log" \
		in_root "$RUNNER/selftests.sh" "$BUILD/linux-rust" "$BUILD/selftests"
	test_progs=$(tail -n 1 "$LOGS/selftests.log")
	# shellcheck disable=SC2016 # expanded in the guest
	kunit_suites='for suite in /sys/kernel/debug/kunit/bpf_token_*; do echo 1 >$suite/run; cat $suite/results; done'
	libbpf_suite="$RUNNER/../libbpf/reasons.sh $bin/bpftoken $BUILD/selftests"
	upstream_suite="mount -t bpf bpf /sys/fs/bpf; echo 0 >/proc/sys/kernel/unprivileged_bpf_disabled; cd $test_progs && ./test_progs -t token"
}

# guest KERNEL LOG COMMAND: boots; the status goes to LOG.status. Has one processor if CPUS does not say otherwise: two
# such guests fit a machine of two, where the processors of larger guests would spend their time waiting for each other.
guest() {
	local status=0
	CMD=$3 CPUS=${CPUS:-1} TIMEOUT=${TIMEOUT:-900} "$RUNNER/vm.sh" "$1" >"$2" 2>&1 || status=$?
	echo "$status" >"$2.status"
}

# record NAME PASSED FAILED LOG: a suite that tells no counts did not end, and that is a failure. So is one that ended
# with an error, although no test of it failed.
record() {
	local name=$1 ok=$2 bad=$3 log=$4
	[ "$(cat "$log.status")" = 0 ] || [ "${bad:-0}" != 0 ] || bad=''
	if [ -z "$bad" ]; then
		bad=1
		say "  $name: did not end well; the end of its output:"
		# The last line may not be whole.
		tail -n 40 "$log" | awk '{ print "  | " $0 }' >&2
	fi
	say "$(printf '  %-46s %4d passed, %d failed   %s' "$name" "${ok:-0}" "$bad" "$log")"
	passed=$((passed + ${ok:-0})) failed=$((failed + bad))
}

# libtest NAME LOG: suites of libtest or libtest-mimic; their failures are shown.
libtest() {
	local log=$2 ok='' bad=''
	read -r ok bad < <(awk '/^test result: / { ok += $4; bad += $6; n++ } END { if (n) print ok, bad }' "$log") || true
	[ "${bad:-0}" = 0 ] || sed -n '/^failures:/,$p' "$log" >&2
	record "$1" "$ok" "$bad" "$log"
}

# upstream NAME LOG: upstream's test_progs.
upstream() {
	local log=$2 ok='' bad=''
	read -r ok bad < <(sed -n 's#^Summary: [0-9]*/\([0-9]*\) PASSED, [0-9]* SKIPPED, \([0-9]*\)[/0-9]* FAILED.*#\1 \2#p' "$log") || true
	# 13 is what prog_tests/token.c has: fewer means that some were left out.
	[ "$((${ok:-0} + ${bad:-0}))" -ge 13 ] || bad=''
	[ "${bad:-0}" = 0 ] || grep -E 'FAIL' "$log" >&2 || true
	record "$1" "$ok" "$bad" "$log"
}

# kunit NAME LOG: the results of KUnit suites, as debugfs shows them.
kunit() {
	local log=$2 ok='' bad=''
	read -r ok bad < <(awk -F'[: ]' '/^# Totals:/ { ok += $5; bad += $7; n++ } END { if (n) print ok, bad }' "$log") || true
	[ "${bad:-0}" = 0 ] || grep -B 10 'not ok' "$log" >&2 || true
	record "$1" "$ok" "$bad" "$log"
}

# total: the last line, and the exit status.
total() {
	echo "$passed passed, $failed failed"
	[ "$failed" = 0 ]
}
