#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Makes the toolchain root: a Debian trixie in a directory of its own, with everything that building, booting and
# testing need. Nothing of the host's own toolchain is used.

. "$(dirname "$0")/common.sh"

SUITE=trixie
STAMP=$ROOT/.made-from
LIST=$RUNNER/packages

want=$(sed '/^[[:space:]]*#/d' "$LIST" "$0" "$RUNNER/udevd" | sha256sum | cut -c 1-16)
have() { [ "$(cat "$STAMP" 2>/dev/null)" = "$want" ]; }
have && exit 0

need_root "Making the toolchain root"
lock toolchain
have && exit 0
case $BUILD/ in
/var/tmp/* | /var/log/* | /var/cache/* | /var/lib/apt/* | /run/* | /dev/* | /proc/* | /sys/*)
	die "BUILD=$BUILD: a guest has an empty directory of its own in that place; name one elsewhere, such as below a home directory."
	;;
esac
[ "$(uname -m)" = x86_64 ] ||
	die "this host is $(uname -m): kernel and guests are x86-64, and so must the host be."
. /etc/os-release
{ command -v apt-get >/dev/null && [ "${ID:-}" = debian ]; } ||
	die "making the toolchain root needs Debian 12 or 13, and this is ${PRETTY_NAME:-another system}: run it in a privileged container of Debian, such as \"podman run --privileged -it -v $REPO:$REPO -w $REPO debian:13\", after \"apt-get update && apt-get install make\"."
free=$(df --output=avail -k "$BUILD" | tail -n 1)
[ "$free" -ge $((8 << 20)) ] || [ -e "$ROOT" ] ||
	die "the disk that is to hold BUILD=$BUILD has $((free >> 10)) MB left; a first run takes 8 GB, all of them together 15 GB."

if ! command -v mmdebstrap >/dev/null; then
	install_mmdebstrap() {
		apt-get update -q
		DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends mmdebstrap
	}
	step "installing mmdebstrap" "$LOGS/mmdebstrap.log" install_mmdebstrap
fi

# The mirror is the one that the host's own apt uses for Debian's main archive, with its Acquire settings.
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
	--dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
	--include="$(sed '/^#/d' "$LIST" | paste -sd,)" "$SUITE" "$new" \
	"deb [signed-by=$keyring] $mirror $SUITE main" "deb [signed-by=$keyring] $mirror $SUITE-backports main"
# What virtme-ng's init calls in a guest.
install -m 755 "$RUNNER/udevd" "$new/usr/local/bin/udevd"
ln -s /usr/bin/busybox "$new/usr/local/bin/poweroff"
# What the objects in BUILD come of, and what lint.sh compares with the versions that were tested.
# shellcheck disable=SC2016 # dpkg-query expands these
awk '!/^#/ && $1 !~ /^linux-source/ { print $1 }' "$RUNNER/versions" |
	xargs chroot "$new" dpkg-query -W -f '${Package} ${Version}\n' >"$new/.versions"
echo "$want" >"$new/.made-from"

# enter.sh holds this lock, shared, as long as a command runs in the root.
exec 8>"$BUILD/.lock-root"
flock --nonblock 8 || { say "  waiting for what still runs in the old toolchain root ..." && flock 8; }
# make and cargo do not notice everything that another compiler makes differently.
if [ -e "$ROOT/.versions" ] && ! cmp -s "$new/.versions" "$ROOT/.versions"; then
	say "  the toolchain has changed: what the old one built is removed"
	rm -rf "$BUILD"/{target,selftests} "$BUILD"/linux-*/build*
fi
old=$ROOT.old
rm -rf --one-file-system "$old"
[ ! -e "$ROOT" ] || mv "$ROOT" "$old"
mv "$new" "$ROOT"
rm -rf --one-file-system "$old"
