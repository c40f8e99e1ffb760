#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest-root.sh: makes the guest's root for ARCH=arm64, in BUILD/root-arm64: unpacked packages of Debian, none of whose
# programs run on this host. It is also what programs for it are compiled against.

. "$(dirname "$0")/common.sh"
LIST=$RUNNER/packages.$ARCH
STAMP=$GUEST_ROOT/.made-from

want=$(sed '/^[[:space:]]*#/d' "$LIST" "$0" "$ROOT/.made-from" | sha256sum | cut -c 1-16)
have() { [ "$(cat "$STAMP" 2>/dev/null)" = "$want" ]; }
have && exit 0
need_root "Making the guest's root"
lock "root-$ARCH"
have && exit 0

mapfile -t sources < <(grep . "$ROOT/etc/apt/sources.list")
new=$GUEST_ROOT.new
rm -rf --one-file-system "$new"
step "making the guest's root ($ARCH, about one minute)" "$LOGS/root-$ARCH.log" \
	mmdebstrap --mode=root --variant=extract --architectures="$ARCH" --format=directory \
	--keyring=/usr/share/keyrings/debian-archive-keyring.gpg --aptopt="$BUILD/apt.conf" \
	--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
	--include="$(sed '/^#/d' "$LIST" | paste -sd,)" trixie "$new" "${sources[@]}"
# What the packages would have done when they were configured, as far as a guest needs it.
mkdir -p "$new/usr/local/bin" "$new/mnt" "$new/opt"
install -D -m 644 "$new/usr/share/base-passwd/passwd.master" "$new/etc/passwd"
install -D -m 644 "$new/usr/share/base-passwd/group.master" "$new/etc/group"
install -m 640 /dev/null "$new/etc/shadow"
echo '127.0.0.1 localhost' >"$new/etc/hosts"
ln -s mawk "$new/usr/bin/awk"
install -m 755 "$RUNNER/udevd" "$new/usr/local/bin/udevd"
ln -s /usr/bin/busybox "$new/usr/local/bin/poweroff"
rm -rf --one-file-system "$GUEST_ROOT"
echo "$want" >"$new/.made-from"
mv "$new" "$GUEST_ROOT"

# Where rustc and clang look for another architecture's libraries and headers.
ln -sfn "$GUEST_ROOT/usr/lib/rustlib/aarch64-unknown-linux-gnu" "$ROOT/usr/lib/rustlib/aarch64-unknown-linux-gnu"
ln -sfn "$GUEST_ROOT/usr/include/aarch64-linux-gnu" "$ROOT/usr/include/aarch64-linux-gnu"
