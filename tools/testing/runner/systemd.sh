#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# systemd.sh: holds bpftoken's spelling of systemd's settings against a real systemd, that of Debian testing, as trixie's is
# older than 258, which has them first. systemd passes over what it does not know with a warning, and systemd-analyze
# tells it. Of all names of Linux 7.3, it must know all but those that bpftoken's own output says it does not.
# The other root takes a minute to make, and is kept.

. "$(dirname "$0")/common.sh"
need_root "systemd.sh"
"$RUNNER/toolchain.sh"
root=$BUILD/systemd-root

if [ ! -x "$root/usr/bin/systemd-analyze" ]; then
	lock systemd
	keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	mirror=$(awk '/trixie main/ { for (i = 1; i <= NF; i++) if ($i ~ /^http/) { print $i; exit } }' "$ROOT/etc/apt/sources.list")
	rm -rf --one-file-system "$root.new"
	step "making a root with the systemd of Debian testing" "$LOGS/systemd-root.log" \
		mmdebstrap --mode=root --variant=apt --format=directory --keyring="$keyring" --aptopt="$BUILD/apt.conf" \
		--dpkgopt=force-unsafe-io --include=systemd forky "$root.new" "deb [signed-by=$keyring] $mirror forky main"
	rm -rf --one-file-system "$root"
	mv "$root.new" "$root"
fi
step "building bpftoken" "$LOGS/bpftoken-build.log" "$RUNNER/cargo.sh" build --locked --release -p bpftoken
say "  $(chroot "$root" systemctl --version | head -n 1)"

# complaints: what systemd-analyze says of a unit with the lines of standard input.
complaints() {
	local unit=$root/run/bpf-token.service
	{ printf '[Service]\nExecStart=/bin/true\n' && cat; } >"$unit"
	# shellcheck disable=SC2016 # expanded in the mount namespace
	root=$root unshare --mount sh -c 'mount -t proc proc "$root/proc" && mount -t tmpfs tmpfs "$root/tmp" &&
		chroot "$root" systemd-analyze verify /run/bpf-token.service' 2>&1 | grep -i 'bpf' || true
}

# Every bit that has a name, by what the tool itself lists: it refuses one that systemd has no word for.
units=$(in_root "$BUILD/target/release/bpftoken" convert --format systemd \
	delegate_cmds=0x7fffffffff,delegate_maps=0xfffffffff,delegate_progs=0x1ffffffff,delegate_attachs=0x1fffffffffffffff 2>/dev/null)
count=$(grep -o 'BPF[A-Z][A-Za-z0-9]*' <<<"$units" | sort -u | wc -l)
[ "$count" -gt 150 ] || die "bpftoken wrote $count names only"
said=$(complaints <<<"$units" | sed -n 's/.*Unknown BPF delegate option, ignoring: //p' | sort)
told=$(sed -n 's/^# systemd [0-9]* does not know \([^,]*\),.*/\1/p' <<<"$units" | sort)
[ "$said" = "$told" ] || die "systemd does not know: ${said:-nothing}; bpftoken says that of: ${told:-nothing}"
# It does say so when there is something to say, and has nothing against any.
complaints <<<'BPFDelegateMaps=BPFMapTypeTeleport' | grep -q 'ignoring: BPFMapTypeTeleport' ||
	die "systemd-analyze does not complain of a name that there is not"
any=$(complaints <<<'BPFDelegateMaps=any')
[ -z "$any" ] || die "systemd says of any: $any"
say "systemd accepts bpftoken's spelling: $count names, but for ${told//$'\n'/, }, which bpftoken says itself"
