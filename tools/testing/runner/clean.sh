#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Removes what was built: a directory that carries our stamp, and none that is in use.

. "$(dirname "$0")/common.sh"
[ $# = 0 ] || die "clean.sh takes no argument ('$1'); it removes BUILD=$BUILD."
[ -e "$BUILD" ] || exit 0
[ -e "$BUILD/.bpf-token-build" ] || die "BUILD=$BUILD lacks the stamp of this project (.bpf-token-build); it is left alone."
need_root "Removing the toolchain root"
for file in "$BUILD"/.lock-*; do
	[ -e "$file" ] || continue
	exec 9<"$file"
	flock --nonblock 9 || die "another run is using $BUILD (${file##*.lock-}); it is left alone."
done
# Nothing of the host is mounted in there (enter.sh mounts in a namespace of its own), and if it were, it would stay.
rm -rf --one-file-system "$BUILD"
