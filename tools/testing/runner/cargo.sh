#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# cargo.sh ARGUMENT...: runs the toolchain root's cargo in our workspace, one at a time.
#   COPY   a directory to copy the programs to that were built, for a run that later builds must not change

. "$(dirname "$0")/common.sh"
need_root "Running cargo in the toolchain root"
"$RUNNER/toolchain.sh"
lock cargo
cd "$REPO/tools"
in_root cargo "$@"
if [ -n "${COPY:-}" ]; then
	mkdir -p "$COPY"
	find "$BUILD/target/release" -maxdepth 1 -type f -executable -exec cp --reflink=auto -t "$COPY" {} +
fi
