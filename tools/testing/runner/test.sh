#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# All tests that need no special kernel. Ends with the line "N passed, N failed"; exits with 0 only if all ran and passed.

. "$(dirname "$0")/common.sh"
need_root "make test"
passed=0 failed=0

# record NAME PASSED FAILED LOG: a suite that tells no counts did not end, and that is a failure.
record() {
	local name=$1 ok=$2 bad=$3 log=$4
	if [ -z "$bad" ]; then
		bad=1
		say "  $name: did not end; the end of its output:"
		tail -n 40 "$log" | sed 's/^/  | /' >&2
	fi
	say "$(printf '  %-46s %4d passed, %d failed   %s' "$name" "${ok:-0}" "$bad" "$log")"
	passed=$((passed + ${ok:-0})) failed=$((failed + bad))
}

# libtest NAME LOG: a suite of libtest-mimic; its failures are shown.
libtest() {
	local log=$2 ok='' bad=''
	read -r ok bad < <(sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed;.*/\1 \2/p' "$log") || true
	[ "$(cat "$log.status")" = 0 ] || [ "${bad:-0}" != 0 ] || bad=''
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

# guest KERNEL LOG COMMAND: boots; the status goes to LOG.status.
guest() {
	local status=0
	CMD=$3 TIMEOUT=${TIMEOUT:-900} "$RUNNER/vm.sh" "$1" >"$2" 2>&1 || status=$?
	echo "$status" >"$2.status"
}

"$RUNNER/kernel.sh" rust >/dev/null
"$RUNNER/kernel.sh" c >/dev/null
step "building our tests" "$LOGS/tests-build.log" \
	"$RUNNER/cargo.sh" build --locked --release -p guest -p bpftoken -p bpftoken-tests
step "building upstream's test_progs" "$LOGS/selftests.log" \
	in_root "$RUNNER/selftests.sh" "$BUILD/linux-rust" "$BUILD/selftests"
test_progs=$(tail -n 1 "$LOGS/selftests.log")
bin=$BUILD/target/release
# Asks the question about KVM once, before guests run side by side.
CMD=true "$RUNNER/vm.sh" rust

# shellcheck disable=SC2016 # expanded in the guest
kunit_suites='for suite in /sys/kernel/debug/kunit/bpf_token_*; do echo 1 >$suite/run; cat $suite/results; done'
token_suite="mount -t bpf bpf /sys/fs/bpf; echo 0 >/proc/sys/kernel/unprivileged_bpf_disabled; cd $test_progs && ./test_progs -t token"

one_side() {
	guest rust "$LOGS/test-guest-rust.log" "$bin/guest"
	guest rust "$LOGS/test-kunit.log" "$kunit_suites"
}
other_side() {
	guest rust "$LOGS/test-upstream.log" "$token_suite"
	guest c "$LOGS/test-defects-c.log" "$bin/guest --expect-defects"
	guest c "$LOGS/test-guest-c.log" "$bin/guest --skip defects:: --skip kernel_log"
	guest rust "$LOGS/test-bpftoken-rust.log" "$bin/bpftoken-tests"
	guest c "$LOGS/test-bpftoken-c.log" "$bin/bpftoken-tests"
}
both() {
	other_side &
	local other=$!
	one_side
	wait "$other"
}
rm -f "$LOGS"/test-*.log "$LOGS"/test-*.status
step "running the tests in guests, two at a time" "$LOGS/guests.log" both

libtest "our tests, Rust kernel" "$LOGS/test-guest-rust.log"
libtest "our tests, C kernel" "$LOGS/test-guest-c.log"
libtest "the defects of C, seen on the C kernel" "$LOGS/test-defects-c.log"
kunit "KUnit, Rust kernel" "$LOGS/test-kunit.log"
upstream "upstream's prog_tests/token.c, Rust kernel" "$LOGS/test-upstream.log"
libtest "library and bpftoken, Rust kernel" "$LOGS/test-bpftoken-rust.log"
libtest "library and bpftoken, C kernel" "$LOGS/test-bpftoken-c.log"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ] || exit 1
