#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The main job: builds what is missing, boots the Rust kernel, and shows an unprivileged container load BPF by a token.

. "$(dirname "$0")/common.sh"
. "$RUNNER/suites.sh"
need_root "make run"
"$RUNNER/toolchain.sh"
# The kernel's build waits for one thing after the other at its begin, and the processor for it: this fills the gap.
mkdir -p "$LOGS"
nice -n 19 "$RUNNER/cargo.sh" build --locked --release -p demo -p bpftoken >"$LOGS/demo-early.log" 2>&1 &
new_run run rust
build_programs demo bpftoken
say "  booting Linux $LINUX_VERSION with the BPF token in Rust ..."
# The output is kept for picture.sh; the status is the guest's.
IMAGE=$RUN/rust.image CONSOLES=$RESULTS CMD="exec $bin/demo" TIMEOUT=${TIMEOUT:-180} "$RUNNER/vm.sh" rust | tee "$RESULTS/run.log"
