#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The tests of the kernel, the library and bpftoken. Ends with the line "N passed, N failed"; exits with 0 only if all that
# tools/testing/expected/ lists ran, and passed.
#   KERNEL   rust or c: only the suites of this kernel
#   TEST     only tests whose name contains this, in one guest, on KERNEL (rust)
#   EXPECT   update: writes the lists of expected tests anew, from what ran
#   FRESH    1: asks the C kernel again what it has passed before, with the same image, programs and checkout

. "$(dirname "$0")/common.sh"
. "$RUNNER/suites.sh"
. "$RUNNER/small.sh"
need_root "make test"
check_expect
[ -n "${TEST:-}" ] || choose_kernels "make test"
"$RUNNER/toolchain.sh"

if [ -n "${TEST:-}" ]; then
	: "${KERNEL:=rust}"
	new_run test "$KERNEL"
	build_programs bpftoken bpftoken-tests clients guest results
	# Tests that contend need a second processor; with one, the others are slower.
	! grep -qF -- "$TEST" "$RUNNER"/../expected/contests-* || export CPUS=${CPUS:-2}
	step "running the tests with $TEST in their names" "$LOGS/guests.log" \
		guest "$KERNEL" "$RESULTS/tests.log" "$bin/guest $(printf %q "$TEST"); $bin/bpftoken-tests $(printf %q "$TEST")"
	grep -E '^test .* \.\.\. ' "$RESULTS/tests.log" || die "no test has $TEST in its name; the output is in $RESULTS/tests.log"
	sed -n '/^failures:/,/^test result/p' "$RESULTS/tests.log" >&2
	exit "$(awk '/^test result: FAILED/ { bad = 1 } END { print bad + 0 }' "$RESULTS/tests.log")"
fi

# What needs no guest: of the library and the tool, and the comparison of the policy with upstream's C.
unit() {
	local status=0
	# What is skipped takes most of a minute; WHOLE=1 make check asks it.
	"$RUNNER/cargo.sh" test --locked --profile incremental -p parity -- --skip programs_of_all_types_attach_types_and_lengths || status=$?
	"$RUNNER/cargo.sh" test --locked --release -p bpf-token -p bpftoken -p results -p coverage || status=$?
	echo "$status" >"$RESULTS/unit.log.status"
}
# It and the tests build while the kernels wait for one thing after the other, and do not make them wait.
beside_the_kernels() {
	renice -n 19 "$BASHPID" >/dev/null
	"$RUNNER/cargo.sh" build --locked --release -p bpftoken -p bpftoken-tests -p clients -p guest -p results -p coverage \
		>"$LOGS/tests-early.log" 2>&1 || true
	unit >"$RESULTS/unit.log" 2>&1
}
# The comparison cuts upstream's C out of this tree.
"$RUNNER/tree.sh" c
new_run test
mkdir -p "$LOGS"
beside_the_kernels &
beside=$!
take_kernels "${kernels[@]}"
build_suites coverage
ask_about_kvm
[ "$KERNEL" = c ] || map_blocks

hardening() {
	local status=0
	(
		lock kernel-rust
		hardened "$BUILD/linux-rust/$OUT_OF"
	) || status=$?
	echo "$status" >"$RESULTS/hardening.log.status"
}
# What the tests say of each defect would be in the middle of their lines.
defects() { guest_c "$RESULTS/defects-c.log" "$bin/guest --expect-defects 2>said; status=\$?; cat said >&2; exit \$status"; }

# add JOB KERNEL SPECIFICATION...: a job, and what total says of its logs.
jobs=() suites=()
add() {
	[ -z "$KERNEL" ] || [ "$2" = "$KERNEL" ] || return 0
	jobs+=("$1")
	suites+=("${@:3}")
}
# The longest first.
for kernel in rust c; do
	add "tool $kernel" $kernel "libtest:bpftoken-$kernel:library and bpftoken, ${kernel^} kernel:$RESULTS/bpftoken-$kernel.log"
	small=()
	[ $kernel = c ] || small=("test_progs:upstream-rust:upstream's prog_tests/token.c, Rust kernel:$RESULTS/upstream-rust.log"
		"ktap:libbpf-rust:reasons told by the tree's libbpf, Rust kernel:$RESULTS/libbpf-rust.log"
		"ktap:kunit-rust:KUnit, Rust kernel:$RESULTS/kunit-rust.log")
	add "rules $kernel" $kernel "libtest:guest-$kernel:our tests, ${kernel^} kernel:$RESULTS/guest-$kernel.log" "${small[@]}"
	add "contests $kernel" $kernel "libtest:contests-$kernel:contests on two processors, ${kernel^} kernel:$RESULTS/contests-$kernel.log"
done
[ "$ARCH" != arm64 ] ||
	add hardening rust "program:hardening:signed and shadowed return addresses, checked calls, landing pads:$RESULTS/hardening.log"
add defects c "libtest:defects-c:the defects of C, seen on the C kernel:$RESULTS/defects-c.log"
suites+=("libtest:unit:library, tools and policy, without a guest:$RESULTS/unit.log")
step "running the tests in guests, two at a time" "$RESULTS/guests.log" two_at_a_time "${jobs[@]}"
step "testing the library, the tool and the policy" "$LOGS/unit-wait.log" tail --pid="$beside" -f /dev/null

if [ -n "${blocks:-}" ]; then
	judge_blocks "$RESULTS"/{suites,bpftoken,contests}-rust.log
	suites+=("program:coverage:blocks that ran, or need not:$RESULTS/coverage.log")
fi
total "${suites[@]}" || exit 1
