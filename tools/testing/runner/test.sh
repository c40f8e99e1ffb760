#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The tests of the kernel, the library and bpftoken. Ends with the line "N passed, N failed"; exits with 0 only if all that
# tools/testing/expected/ lists ran, and passed.
#   KERNEL   rust or c: only the suites of this kernel
#   TEST     only tests whose name contains this, in one guest, on KERNEL (rust)
#   EXPECT   update: writes the lists of expected tests anew, from what ran

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
new_run test "${kernels[@]}"
build_suites coverage
ask_about_kvm
[ "$KERNEL" = c ] || map_blocks

# What needs no guest: of the library and the tool, and all comparisons of the policy with upstream's C.
unit() {
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
# Some of our tests race on two processors.
rules_rust() { CPUS=2 guest rust "$RESULTS/guest-rust.log" "$bin/guest"; }
rules_c() { CPUS=2 guest c "$RESULTS/guest-c.log" "$bin/guest --skip defects::"; }
# What the tests say of each defect would be in the middle of their lines.
defects() { guest c "$RESULTS/defects-c.log" "$bin/guest --expect-defects 2>said; status=\$?; cat said >&2; exit \$status"; }
upstream() { guest rust "$RESULTS/upstream-rust.log" "$upstream_suite"; }
libbpf() { guest rust "$RESULTS/libbpf-rust.log" "$libbpf_suite"; }
kunit() { guest rust "$RESULTS/kunit-rust.log" "$kunit_suites"; }

# suite JOB KERNEL SPECIFICATION: a job, and what total says of its log.
jobs=() suites=()
suite() {
	[ -z "$KERNEL" ] || [ "$2" = "$KERNEL" ] || return 0
	jobs+=("$1")
	suites+=("$3")
}
# The longest first.
suite "tool rust" rust "libtest:bpftoken-rust:library and bpftoken, Rust kernel:$RESULTS/bpftoken-rust.log"
suite "tool c" c "libtest:bpftoken-c:library and bpftoken, C kernel:$RESULTS/bpftoken-c.log"
suite rules_rust rust "libtest:guest-rust:our tests, Rust kernel:$RESULTS/guest-rust.log"
suite rules_c c "libtest:guest-c:our tests, C kernel:$RESULTS/guest-c.log"
suite upstream rust "test_progs:upstream-rust:upstream's prog_tests/token.c, Rust kernel:$RESULTS/upstream-rust.log"
suite libbpf rust "ktap:libbpf-rust:reasons told by the tree's libbpf, Rust kernel:$RESULTS/libbpf-rust.log"
[ "$ARCH" != arm64 ] ||
	suite hardening rust "program:hardening:signed and shadowed return addresses, checked calls, landing pads:$RESULTS/hardening.log"
suite kunit rust "ktap:kunit-rust:KUnit, Rust kernel:$RESULTS/kunit-rust.log"
suite defects c "libtest:defects-c:the defects of C, seen on the C kernel:$RESULTS/defects-c.log"
step "testing the library, the tool and the policy" "$RESULTS/unit.log" unit
suites+=("libtest:unit:library and tools, without a guest:$RESULTS/unit.log")
step "running the tests in guests, two at a time" "$RESULTS/guests.log" two_at_a_time "${jobs[@]}"

if [ -n "${blocks:-}" ]; then
	judge_blocks "$RESULTS"/{guest,kunit,bpftoken,upstream,libbpf}-rust.log
	suites+=("program:coverage:blocks that ran, or need not:$RESULTS/coverage.log")
fi
total "${suites[@]}" || exit 1
