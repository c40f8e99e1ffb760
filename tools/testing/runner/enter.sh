#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Runs a command in the toolchain root. BUILD, the checkout and SHARE (if set) stand there at their own paths.
# TREE, if set, is /linux there: what is built of one kernel tree is then built of any, as both stood at one path.
# OUT, if set, stands there as the directory AS.
# All mounts are in a private mount namespace and are gone with the command.

. "$(dirname "$0")/common.sh"
[ $# -gt 0 ] || die "usage: enter.sh COMMAND [ARGUMENT...]"
need_root "Entering the toolchain root"
[ -d "$ROOT" ] || die "there is no toolchain root in $ROOT yet; run $RUNNER/toolchain.sh first."

mounts() {
	for fs in proc sys dev; do
		mount --rbind "/$fs" "$ROOT/$fs"
	done
	mount -t tmpfs tmpfs "$ROOT/tmp"
	local root roots=("$ROOT")
	# A guest root of its own comes first, to be seen with its mounts from within the toolchain root.
	[ "$GUEST_ROOT" = "$ROOT" ] || [ ! -d "$GUEST_ROOT" ] || roots=("$GUEST_ROOT" "$ROOT")
	for root in "${roots[@]}"; do
		for dir in "$BUILD" "$REPO" ${SHARE:+"$SHARE"}; do
			mkdir -p "$root$dir"
			mount --rbind "$dir" "$root$dir"
		done
	done
	if [ -n "${TREE:-}" ]; then
		mkdir -p "$ROOT/linux"
		mount --bind "$TREE" "$ROOT/linux"
		[ -z "${OUT:-}" ] || [ "$OUT" = "$TREE/$AS" ] || mount --bind "$OUT" "$ROOT/linux/$AS"
	fi
	# Names and certificates are the host's, so that registries are reached as the host reaches them.
	for file in /etc/resolv.conf /etc/ssl/certs/ca-certificates.crt; do
		[ -e "$file" ] || continue
		[ -e "$ROOT$file" ] || touch "$ROOT$file"
		mount --bind "$(realpath "$file")" "$ROOT$file"
	done
}

if [ -z "${IN_MOUNT_NAMESPACE:-}" ]; then
	stamp_build
	mkdir -p "$BUILD"/{cargo,target}
	# Of the user's cargo configuration, what tells how to reach registries: wrappers, linkers and flags are the host's.
	for config in "${CARGO_HOME:-$HOME/.cargo}"/config{,.toml}; do
		[ -r "$config" ] || continue
		awk '/^[ \t]*\[/ { table = 1; keep = /^[ \t]*\[+ *(registr(y|ies)|source|net|http)[].]/ }
			table ? keep : /^[ \t]*(registr(y|ies)|source|net|http)\./' "$config" >"$BUILD/cargo/config.toml"
	done
	# Shared: the root is not replaced under a command (see toolchain.sh).
	exec 8>"$BUILD/.lock-root"
	flock --shared 8
	IN_MOUNT_NAMESPACE=1 exec unshare --mount --propagation private "$0" "$@"
fi

mounts
# Where a guest looks for programs.
[ ! -d "$GUEST_ROOT/usr/local" ] || ln -sfn "$PROGRAMS/bpftoken" "$GUEST_ROOT/usr/local/bin/bpftoken"
keep=()
while IFS= read -r name; do
	keep+=("$name=${!name}")
done < <(compgen -e | grep -iE '^(https?_proxy|no_proxy|all_proxy|CARGO_(REGISTR|NET_|HTTP_).*|TERM|COLUMNS|SEED|GUEST_.*)$')

# shellcheck disable=SC2016 # expanded inside the root
exec chroot "$ROOT" env -i "${keep[@]}" \
	PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 WORKDIR="$PWD" BUILD="$BUILD" \
	CARGO_HOME="$BUILD/cargo" CARGO_TARGET_DIR="$BUILD/target" CARGO_TERM_COLOR=never \
	bash -c 'cd "$WORKDIR" 2>/dev/null || cd /; exec "$@"' bash "$@"
