#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Runs a command in the toolchain root. BUILD, the checkout and SHARE (if set) stand there at their own paths.
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
	for dir in "$BUILD" "$REPO" ${SHARE:+"$SHARE"}; do
		mkdir -p "$ROOT$dir"
		mount --rbind "$dir" "$ROOT$dir"
	done
	# Names and certificates are the host's, so that registries are reached as the host reaches them.
	for file in /etc/resolv.conf /etc/ssl/certs/ca-certificates.crt; do
		[ -e "$file" ] || continue
		[ -e "$ROOT$file" ] || touch "$ROOT$file"
		mount --bind "$(realpath "$file")" "$ROOT$file"
	done
}

if [ -z "${IN_MOUNT_NAMESPACE:-}" ]; then
	mkdir -p "$BUILD"/{cargo,ccache,target}
	registries=${CARGO_HOME:-$HOME/.cargo}/config.toml
	if [ -r "$registries" ]; then cp "$registries" "$BUILD/cargo/config.toml"; fi
	# Shared: the root is not replaced under a command (see toolchain.sh).
	exec 8>"$BUILD/.lock-root"
	flock --shared 8
	IN_MOUNT_NAMESPACE=1 exec unshare --mount --propagation private "$0" "$@"
fi

mounts
keep=()
while IFS= read -r name; do
	keep+=("$name=${!name}")
done < <(compgen -e | grep -iE '^(https?_proxy|no_proxy|all_proxy|CARGO_(REGISTR|NET_|HTTP_).*|TERM|COLUMNS|SEED|GUEST_.*)$')

# shellcheck disable=SC2016 # expanded inside the root
exec chroot "$ROOT" env -i "${keep[@]}" \
	PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 WORKDIR="$PWD" BUILD="$BUILD" \
	CARGO_HOME="$BUILD/cargo" CARGO_TARGET_DIR="$BUILD/target" CARGO_TERM_COLOR=never \
	CCACHE_DIR="$BUILD/ccache" CCACHE_BASEDIR="$BUILD" CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=6G \
	bash -c 'cd "$WORKDIR" 2>/dev/null || cd /; exec "$@"' bash "$@"
