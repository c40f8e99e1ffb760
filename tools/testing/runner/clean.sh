#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Removes what was built. Only a directory that looks like ours is removed.

. "$(dirname "$0")/common.sh"
[ $# = 0 ] || die "clean.sh takes no argument ('$1'); it removes BUILD=$BUILD."
[ -e "$BUILD" ] || exit 0
[ -e "$ROOT/.made-from" ] || [ -d "$LOGS" ] || die "BUILD=$BUILD holds nothing that this project made; it is left alone."
need_root "Removing the toolchain root"
# Nothing of the host is mounted in there (enter.sh mounts in a namespace of its own), and if it were, it would stay.
rm -rf --one-file-system "$BUILD"
