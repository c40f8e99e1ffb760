#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# All tests that need no special kernel. Ends with the line "N passed, N failed"; exits with 0 only if all ran and passed.

. "$(dirname "$0")/common.sh"
. "$RUNNER/suites.sh"
need_root "make test"

"$RUNNER/kernel.sh" rust >/dev/null
"$RUNNER/kernel.sh" c >/dev/null
build_suites
ask_about_kvm

# Of the library and the tool, what needs no guest.
unit_tests() {
	local status=0
	"$RUNNER/cargo.sh" test --locked --release -p bpf-token -p bpftoken || status=$?
	echo "$status" >"$LOGS/test-unit.log.status"
}

# Two lanes of guests, of about the same length. Some of our tests race on two processors.
one_lane() {
	CPUS=2 guest rust "$LOGS/test-guest-rust.log" "$bin/guest"
	CPUS=2 guest c "$LOGS/test-guest-c.log" "$bin/guest --skip defects::"
	guest rust "$LOGS/test-upstream.log" "$upstream_suite"
	guest rust "$LOGS/test-kunit.log" "$kunit_suites"
}
other_lane() {
	CPUS=2 guest rust "$LOGS/test-bpftoken-rust.log" "$bin/bpftoken-tests"
	CPUS=2 guest c "$LOGS/test-bpftoken-c.log" "$bin/bpftoken-tests"
	guest rust "$LOGS/test-libbpf.log" "$libbpf_suite"
	guest c "$LOGS/test-defects-c.log" "$bin/guest --expect-defects"
}
guests() {
	other_lane &
	local other=$!
	one_lane
	wait "$other"
}
rm -f "$LOGS"/test-*.log "$LOGS"/test-*.status
step "testing the library and the tool" "$LOGS/test-unit.log" unit_tests
step "running the tests in guests, two at a time" "$LOGS/guests.log" guests

libtest "our tests, Rust kernel" "$LOGS/test-guest-rust.log"
libtest "our tests, C kernel" "$LOGS/test-guest-c.log"
libtest "the defects of C, seen on the C kernel" "$LOGS/test-defects-c.log"
kunit "KUnit, Rust kernel" "$LOGS/test-kunit.log"
upstream "upstream's prog_tests/token.c, Rust kernel" "$LOGS/test-upstream.log"
kunit "reasons told by the tree's libbpf, Rust kernel" "$LOGS/test-libbpf.log"
libtest "library and bpftoken, without a guest" "$LOGS/test-unit.log"
libtest "library and bpftoken, Rust kernel" "$LOGS/test-bpftoken-rust.log"
libtest "library and bpftoken, C kernel" "$LOGS/test-bpftoken-c.log"
total || exit 1
