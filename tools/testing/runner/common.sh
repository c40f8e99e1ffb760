# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034 # used by those that source this
# What every script of the runner shares: where things are, how a long step is shown, how a failure is told.

set -Eeuo pipefail
# No script ends without a word; one of ours that failed has said it itself.
told=
trap 'status=$?; [ -n "$told" ] || [[ $BASH_COMMAND == *RUNNER/* ]] || say "error: ${0##*/}, line $LINENO: exit status $status"; exit "$status"' ERR

RUNNER=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$RUNNER/../../.." && pwd)
BUILD=$(realpath -m "${BUILD:-${XDG_CACHE_HOME:-$HOME/.cache}/bpf-token}")
ROOT=$BUILD/root
LOGS=$BUILD/logs
export BUILD

LINUX_VERSION=7.3
JOBS=${JOBS:-$(nproc)}

say() { printf '%s\n' "$*" >&2; }

die() {
	say "error: $*"
	exit 1
}

elapsed() { printf '%dm%02ds' $(($1 / 60)) $(($1 % 60)); }

# need_root WHAT: refuses early, and in one message, what would fail half way.
need_root() {
	[ "$(id -u)" = 0 ] ||
		die "$1 needs root (to chroot and to mount in a private mount namespace): run it as root, or in a privileged container."
	unshare --mount true 2>/dev/null ||
		die "$1 needs CAP_SYS_ADMIN (a private mount namespace): this environment does not give it even to root. In a container, run it privileged."
}

# step NAME LOG COMMAND...: runs COMMAND with its output in LOG, shows that it lives and how long it took.
step() {
	local name=$1 log=$2 start=$SECONDS pid status=0
	shift 2
	mkdir -p "$(dirname "$log")"
	"$@" >"$log" 2>&1 </dev/null 9>&- &
	pid=$!
	if [ -t 2 ]; then
		while kill -0 "$pid" 2>/dev/null; do
			printf '\r  %s ... %s ' "$name" "$(elapsed $((SECONDS - start)))" >&2
			sleep 0.5
		done
		printf '\r\033[K' >&2
	else
		say "  $name ..."
		local next=$((SECONDS + 60))
		while kill -0 "$pid" 2>/dev/null; do
			if [ "$SECONDS" -ge "$next" ]; then
				say "  $name ... $(elapsed $((SECONDS - start))): $(tail -n 1 "$log" | cut -c 1-80)"
				next=$((SECONDS + 60))
			fi
			sleep 0.2
		done
	fi
	wait "$pid" || status=$?
	if [ "$status" -ne 0 ]; then
		tail -n 25 "$log" | sed 's/^/  | /' >&2
		say "error: $name failed (exit status $status) after $(elapsed $((SECONDS - start))); the whole log is in $log"
		told=1
		return "$status"
	fi
	say "  $name: done in $(elapsed $((SECONDS - start)))"
}

# lock NAME: one such build at a time in this BUILD directory; released when the script ends.
lock() {
	mkdir -p "$BUILD"
	exec 9>"$BUILD/.lock-$1"
	if ! flock --nonblock 9; then
		say "  waiting for another run that is using $BUILD ($1) ..."
		flock 9
	fi
}

# in_root COMMAND...: runs COMMAND in the toolchain root.
in_root() { "$RUNNER/enter.sh" "$@"; }

# ask_about_kvm: before guests run side by side, as each of them would ask (see vm.sh).
ask_about_kvm() { [ -e "$BUILD/accel" ] || CMD=true "$RUNNER/vm.sh" rust; }
