#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# All tests that need no special kernel. Ends with the line "N passed, N failed"; exits with 0 only if all that
# tools/testing/expected/ lists ran, and passed.
#   TEST     only tests whose name contains this, in one guest
#   KERNEL   with TEST: the kernel, rust or c (rust)
#   EXPECT   update: writes the lists of expected tests anew, from what ran

. "$(dirname "$0")/common.sh"
. "$RUNNER/suites.sh"
. "$RUNNER/small.sh"
need_root "make test"
case ${EXPECT:=} in
'' | update) ;;
*) die "EXPECT=$EXPECT: it is update, or not set." ;;
esac
"$RUNNER/toolchain.sh"

if [ -n "${TEST:-}" ]; then
	: "${KERNEL:=rust}"
	new_run test "$KERNEL"
	build_programs bpftoken bpftoken-tests clients guest results
	# Some of our tests race on two processors.
	export CPUS=${CPUS:-2}
	step "running the tests with $TEST in their names" "$LOGS/guests.log" \
		guest "$KERNEL" "$RESULTS/tests.log" "$bin/guest $(printf %q "$TEST"); $bin/bpftoken-tests $(printf %q "$TEST")"
	grep -E '^test .* \.\.\. ' "$RESULTS/tests.log" || die "no test has $TEST in its name; the output is in $RESULTS/tests.log"
	sed -n '/^failures:/,/^test result/p' "$RESULTS/tests.log" >&2
	exit "$(awk '/^test result: FAILED/ { bad = 1 } END { print bad + 0 }' "$RESULTS/tests.log")"
fi

# The tests build while the kernels wait for one thing after the other.
mkdir -p "$LOGS"
"$RUNNER/cargo.sh" build --locked --release -p bpftoken -p bpftoken-tests -p clients -p guest -p results -p coverage \
	>"$LOGS/tests-early.log" 2>&1 &
new_run test rust c
build_suites coverage
ask_about_kvm
map_blocks

# What needs no guest: of the library and the tool, and all comparisons of the policy with upstream's C.
unit_tests() {
	local status=0
	"$RUNNER/cargo.sh" test --locked --release -p bpf-token -p bpftoken -p results -p coverage || status=$?
	"$RUNNER/cargo.sh" test --locked --release -p parity -- --include-ignored || status=$?
	echo "$status" >"$RESULTS/unit.log.status"
}

hardening() {
	local status=0
	(
		lock kernel-rust
		hardened "$BUILD/linux-rust/$OUT_OF"
	) || status=$?
	echo "$status" >"$RESULTS/hardening.log.status"
}

# The longest of them: container managers and compilers of BPF run in it.
tool_guest() { CPUS=2 TIMEOUT=${TIMEOUT:-1800} guest "$1" "$RESULTS/bpftoken-$1.log" "$bin/bpftoken-tests"; }
# Two lanes of guests, of about the same length. Some of our tests race on two processors.
one_lane() {
	CPUS=2 guest rust "$RESULTS/guest-rust.log" "$bin/guest"
	CPUS=2 guest c "$RESULTS/guest-c.log" "$bin/guest --skip defects::"
	[ "$ARCH" != x86_64 ] || guest rust "$RESULTS/upstream-rust.log" "$upstream_suite"
	guest rust "$RESULTS/kunit-rust.log" "$kunit_suites"
	tool_guest c
}
other_lane() {
	tool_guest rust
	[ "$ARCH" != x86_64 ] || guest rust "$RESULTS/libbpf-rust.log" "$libbpf_suite"
	# What the tests say of each defect would be in the middle of their lines.
	guest c "$RESULTS/defects-c.log" "$bin/guest --expect-defects 2>said; status=\$?; cat said >&2; exit \$status"
}
guests() {
	other_lane &
	local other=$!
	one_lane
	wait "$other"
}
step "testing the library, the tool and the policy" "$RESULTS/unit.log" unit_tests
[ "$ARCH" != arm64 ] || step "looking at the code of our objects" "$RESULTS/hardening.log" hardening
step "running the tests in guests, two at a time" "$RESULTS/guests.log" guests

rust_logs=("$RESULTS"/{guest,kunit,bpftoken,upstream,libbpf}-rust.log)
[ -z "${blocks:-}" ] || judge_blocks "${rust_logs[@]}"

suites=(
	"libtest:guest-rust:our tests, Rust kernel:$RESULTS/guest-rust.log"
	"libtest:guest-c:our tests, C kernel:$RESULTS/guest-c.log"
	"libtest:defects-c:the defects of C, seen on the C kernel:$RESULTS/defects-c.log"
	"ktap:kunit-rust:KUnit, Rust kernel:$RESULTS/kunit-rust.log"
	"libtest:unit:library and tools, without a guest:$RESULTS/unit.log"
	"libtest:bpftoken-rust:library and bpftoken, Rust kernel:$RESULTS/bpftoken-rust.log"
	"libtest:bpftoken-c:library and bpftoken, C kernel:$RESULTS/bpftoken-c.log"
)
[ "$ARCH" != x86_64 ] || suites+=(
	"test_progs:upstream-rust:upstream's prog_tests/token.c, Rust kernel:$RESULTS/upstream-rust.log"
	"ktap:libbpf-rust:reasons told by the tree's libbpf, Rust kernel:$RESULTS/libbpf-rust.log"
)
[ "$ARCH" != arm64 ] || suites+=(
	"program:hardening:signed and shadowed return addresses, checked calls, landing pads:$RESULTS/hardening.log"
)
[ -z "${blocks:-}" ] || suites+=("program:coverage:blocks that ran, or need not:$RESULTS/coverage.log")
total "${suites[@]}" || exit 1
