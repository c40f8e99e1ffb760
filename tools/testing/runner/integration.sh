#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What bpftoken launches and answers for, with real container managers and loaders: LXD's and Incus' spelling, crun, runc,
# podman, containerd, bpftrace, bcc, aya, cilium/ebpf. On both kernels, side by side. Ends as make test does.
#   KERNEL   rust or c: only on this kernel
#   EXPECT, FRESH   as test.sh has them

. "$(dirname "$0")/common.sh"
. "$RUNNER/suites.sh"
need_root "make integration"
check_expect
choose_kernels "make integration"
"$RUNNER/toolchain.sh"
new_run integration "${kernels[@]}"
build_programs bpftoken bpftoken-tests clients results
build_here results
ask_about_kvm

integration() { CPUS=2 TIMEOUT=${TIMEOUT:-1800} guest_on "$1" "$RESULTS/integration-$1.log" "$RUNNER/into-memory.sh; $bin/bpftoken-tests integration::"; }
suites=()
for kernel in "${kernels[@]}"; do
	suites+=("libtest:integration-$kernel:managers and loaders, ${kernel^} kernel:$RESULTS/integration-$kernel.log")
done
step "running managers and loaders in guests" "$RESULTS/guests.log" two_at_a_time "${kernels[@]/#/integration }"
total "${suites[@]}" || exit 1
