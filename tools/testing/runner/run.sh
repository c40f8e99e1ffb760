#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The main job: builds what is missing, boots the Rust kernel, and shows an unprivileged container load BPF by a token.

. "$(dirname "$0")/common.sh"
need_root "make run"
"$RUNNER/kernel.sh" rust >/dev/null
step "building the demonstration" "$LOGS/demo-build.log" "$RUNNER/cargo.sh" build --locked --release -p demo
say "  booting Linux $LINUX_VERSION with the BPF token in Rust ..."
CMD="exec $BUILD/target/release/demo" TIMEOUT=${TIMEOUT:-180} "$RUNNER/vm.sh" rust
