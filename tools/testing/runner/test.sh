#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# All tests that need no special kernel. Ends with the line "N passed, N failed"; exits with 0 only if all ran and passed.

. "$(dirname "$0")/common.sh"
need_root "make test"
passed=0 failed=0

# record NAME PASSED FAILED LOG: a suite that tells no counts did not end, and that is a failure.
record() {
	local name=$1 ok=${2:-0} bad=${3:-} log=$4
	if [ -z "$bad" ]; then
		bad=1
		say "  $name: did not end; the end of its output:"
		tail -n 25 "$log" | sed 's/^/  | /' >&2
	fi
	say "$(printf '  %-44s %4d passed, %d failed   %s' "$name" "$ok" "$bad" "$log")"
	passed=$((passed + ok)) failed=$((failed + bad))
}

# libtest NAME LOG STATUS: reads the summary of libtest-mimic, and shows the failures.
libtest() {
	local name=$1 log=$2 status=$3 counts
	counts=$(sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed;.*/\1 \2/p' "$log" | tail -n 1)
	read -r ok bad <<<"$counts" || true
	if [ "$status" != 0 ] && [ "${bad:-0}" = 0 ]; then bad=; fi
	[ "${bad:-0}" = 0 ] || sed -n '/^failures:/,$p' "$log" >&2
	record "$name" "${ok:-0}" "$bad" "$log"
}

# guest KERNEL LOG COMMAND: sets STATUS.
guest() {
	local log=$2 start=$SECONDS
	say "  booting the $1 kernel: ${3##*/} ..."
	STATUS=0
	CMD=$3 CPUS=${CPUS:-2} TIMEOUT=${TIMEOUT:-600} "$RUNNER/vm.sh" "$1" >"$log" 2>&1 || STATUS=$?
	say "  booting the $1 kernel: ${3##*/}: done in $(elapsed $((SECONDS - start)))"
}

"$RUNNER/kernel.sh" rust >/dev/null
"$RUNNER/kernel.sh" c >/dev/null
step "building the guest tests" "$LOGS/guest-build.log" "$RUNNER/cargo.sh" build --locked --release -p guest
step "building upstream's test_progs" "$LOGS/selftests.log" \
	in_root "$RUNNER/selftests.sh" "$BUILD/linux-rust" "$BUILD/selftests"
test_progs=$(tail -n 1 "$LOGS/selftests.log")
tests=$BUILD/target/release/guest

guest rust "$LOGS/test-guest-rust.log" "$tests"
libtest "our tests, Rust kernel" "$LOGS/test-guest-rust.log" "$STATUS"

guest c "$LOGS/test-defects-c.log" "$tests --expect-defects"
libtest "defects, seen on the C kernel" "$LOGS/test-defects-c.log" "$STATUS"

log=$LOGS/test-upstream.log
guest rust "$log" "mount -t bpf bpf /sys/fs/bpf; echo 0 >/proc/sys/kernel/unprivileged_bpf_disabled; cd $test_progs; ./test_progs -t token"
read -r ok bad <<<"$(sed -n 's#^Summary: [0-9]*/\([0-9]*\) PASSED, [0-9]* SKIPPED, \([0-9]*\) FAILED.*#\1 \2#p' "$log" | tail -n 1)" || true
if [ "$STATUS" != 0 ] && [ "${bad:-0}" = 0 ]; then bad=; fi
[ "${bad:-0}" = 0 ] || grep -E ':FAIL|FAIL:' "$log" >&2 || true
record "upstream's prog_tests/token.c, Rust kernel" "${ok:-0}" "${bad:-}" "$log"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
