#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# cargo.sh ARGUMENT...: runs the toolchain root's cargo in our workspace, one at a time.
#   COPY   a directory to copy the programs to that were built, for a run that later builds must not change

. "$(dirname "$0")/common.sh"
need_root "Running cargo in the toolchain root"
"$RUNNER/toolchain.sh"
[ "$ARCH" = x86_64 ] || "$RUNNER/guest-root.sh"
lock cargo
cd "$REPO/tools"
target=() environment=()
if [ "$ARCH" = arm64 ] && [ "$1" = build ]; then
	target=(--target aarch64-unknown-linux-gnu)
	environment=(
		CC_aarch64_unknown_linux_gnu=clang
		CFLAGS_aarch64_unknown_linux_gnu="--target=aarch64-linux-gnu --sysroot=$GUEST_ROOT"
		AR_aarch64_unknown_linux_gnu=llvm-ar
		CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=clang
		CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="$(printf -- '-Clink-arg=%s ' --target=aarch64-linux-gnu --sysroot="$GUEST_ROOT" -fuse-ld=lld)"
		PKG_CONFIG_ALLOW_CROSS=1 PKG_CONFIG_SYSROOT_DIR="$GUEST_ROOT"
		PKG_CONFIG_LIBDIR="$GUEST_ROOT/usr/lib/aarch64-linux-gnu/pkgconfig:$GUEST_ROOT/usr/share/pkgconfig"
		GOARCH=arm64
	)
fi
if [ "$1" = test ]; then
	in_root cargo test --no-run "${@:2}"
	# What runs then makes none of the programs: others may build meanwhile.
	unlock
fi
in_root env "${environment[@]}" cargo "$@" "${target[@]}"
if [ -n "${COPY:-}" ]; then
	mkdir -p "$COPY"
	find "$PROGRAMS" -maxdepth 1 -type f -executable -exec cp --reflink=auto -t "$COPY" {} +
fi
