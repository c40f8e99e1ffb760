#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Makes the toolchain root: a Debian trixie in a directory of its own, with everything that building, booting and
# testing need. Nothing of the host's own toolchain is used.

. "$(dirname "$0")/common.sh"

SUITE=trixie
STAMP=$ROOT/.made-from
LIST=$RUNNER/packages

want=$(sed '/^#/d' "$LIST" | cat - "$0" "$RUNNER/udevd" | sha256sum | cut -c 1-16)
have() { [ "$(cat "$STAMP" 2>/dev/null)" = "$want" ]; }
have && exit 0

lock toolchain
have && exit 0
need_root "Making the toolchain root"
command -v apt-get >/dev/null ||
	die "making the toolchain root needs apt (Debian 12 or 13); this system is $(. /etc/os-release 2>/dev/null && echo "${PRETTY_NAME:-unknown}")."

if ! command -v mmdebstrap >/dev/null; then
	install_mmdebstrap() {
		apt-get update -q
		DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends mmdebstrap
	}
	step "installing mmdebstrap" "$LOGS/mmdebstrap.log" install_mmdebstrap
fi

# The mirror is the one that the host's own apt uses for Debian's main archive, with its Acquire settings.
. /etc/os-release
# shellcheck disable=SC2016 # apt expands these
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
	awk -v suite="${VERSION_CODENAME:-}" '$3 == "main" && ($2 == suite || $2 == "stable") { print $1; exit }')
[ -n "$mirror" ] ||
	die "apt on this system has no source for ${VERSION_CODENAME:-Debian} main, so there is no mirror to make the toolchain root from; add one to /etc/apt/sources.list."
mirror=${mirror%/}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || die "there is no $keyring to check Debian's archive with; install the package debian-archive-keyring."

new=$ROOT.new
rm -rf --one-file-system "$new"
mkdir -p "$BUILD"
apt_options=$BUILD/apt.conf
apt-config dump |
	grep -E '^Acquire::(Check-Valid-Until|Check-Date|Max-FutureTime|Retries|ForceIPv[46]|(http|https|ftp)(::.*)?) ' >"$apt_options" || true
printf 'Acquire::Languages "none";\nAPT::Install-Recommends "false";\n' >>"$apt_options"

step "making the toolchain root (Debian $SUITE, about one minute)" "$LOGS/toolchain.log" \
	mmdebstrap --mode=root --variant=apt --format=directory --keyring="$keyring" --aptopt="$apt_options" \
	--include="$(sed '/^#/d' "$LIST" | paste -sd,)" "$SUITE" "$new" \
	"deb [signed-by=$keyring] $mirror $SUITE main" "deb [signed-by=$keyring] $mirror $SUITE-backports main"
# What virtme-ng's init calls in a guest.
install -m 755 "$RUNNER/udevd" "$new/usr/local/bin/udevd"
ln -s /usr/bin/busybox "$new/usr/local/bin/poweroff"
echo "$want" >"$new/.made-from"

# enter.sh holds this lock, shared, as long as a command runs in the root.
exec 8>"$BUILD/.lock-root"
flock --nonblock 8 || { say "  waiting for what still runs in the old toolchain root ..." && flock 8; }
old=$ROOT.old
rm -rf --one-file-system "$old"
[ ! -e "$ROOT" ] || mv "$ROOT" "$old"
mv "$new" "$ROOT"
rm -rf --one-file-system "$old"
