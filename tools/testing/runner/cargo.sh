#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# cargo.sh ARGUMENT...: runs the toolchain root's cargo in our workspace, one at a time.

. "$(dirname "$0")/common.sh"
"$RUNNER/toolchain.sh"
lock cargo
cd "$REPO/tools"
in_root cargo "$@"
