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

ARGUMENTS=("$@")
# The architecture of kernel and guests, by its name in the kernel's Makefile.
ARCH=${ARCH:-x86_64}
LINUX_VERSION=7.3
# What the repository adds to the kernel. No test in a guest reads it.
KERNEL_SIDE=(Kbuild Kconfig rust include patches)
JOBS=${JOBS:-$(nproc)}

say() { printf '%s\n' "$*" >&2; }

die() {
	say "error: $*"
	exit 1
}

# Where each architecture has its guest's root, its programs and its kernels (in linux-rust and linux-c).
case $ARCH in
x86_64) GUEST_ROOT=$ROOT PROGRAMS=$BUILD/target/release OUT_OF=build ;;
arm64) GUEST_ROOT=$BUILD/root-arm64 PROGRAMS=$BUILD/target/aarch64-unknown-linux-gnu/release OUT_OF=build-arm64 ;;
*) die "ARCH=$ARCH: kernels and guests are x86_64 or arm64." ;;
esac
export ARCH

# x86_64_only WHAT: refuses what is not made for another architecture.
x86_64_only() {
	[ "$ARCH" = x86_64 ] || die "$1 is for x86_64, and ARCH=$ARCH; of the others, there are make kernel, vm, shell, run, test, integration and bench."
}

elapsed() { printf '%dm%02ds' $(($1 / 60)) $(($1 % 60)); }

# need_root WHAT: refuses early, and in one message, what would fail half way; and has the script start over, contained.
need_root() {
	[ "$(id -u)" = 0 ] ||
		die "$1 needs root (to chroot and to mount in a private mount namespace): run it as root, or in a privileged container."
	unshare --mount true 2>/dev/null ||
		die "$1 needs CAP_SYS_ADMIN (a private mount namespace): this environment does not give it even to root. In a container, run it privileged."
	contain
}

# contain: runs the script in a PID namespace of its own. When this process ends, for whatever reason, the kernel ends all
# that the script started, builds and emulators too, and their locks go with them and not before.
contain() {
	[ -z "${CONTAINED:-}" ] || return 0
	export CONTAINED=1
	local child status=0 signal
	setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child --mount-proc \
		"$0" "${ARGUMENTS[@]}" <&0 &
	child=$!
	for signal in INT TERM HUP; do
		# shellcheck disable=SC2064 # the process and the signal of now
		trap "kill -KILL $child; say 'stopped by SIG$signal; all that was started has ended.'; exit $((128 + $(kill -l $signal)))" $signal
	done
	wait "$child" || status=$?
	exit "$status"
}

# cause LOG: says what lies behind a failure that each tool tells in its own way.
cause() {
	# On a full disk, the log may lack the words.
	if [ "$(df --output=avail -k "$BUILD" | tail -n 1)" -lt 65536 ] || grep -qE 'No space left on device|Disk quota exceeded' "$1"; then
		say "error: the disk that holds $BUILD is full; a first run takes 8 GB, all of them together 15 GB. BUILD= names another place."
	elif grep -qiE 'hash sum mismatch|hashes of received file' "$1"; then
		say "error: what was downloaded is not what was tested: its hash is another one than tools/testing/runner/versions or the mirror's index has."
	elif grep -qE 'Temporary failure (resolving|in name)|Could not (resolve|connect)|Failed to fetch|Network is unreachable|Connection timed out|download of .* failed|failed to download' "$1"; then
		say "error: the network does not give what is needed: a Debian mirror, as this host's apt names it, and crates.io, as cargo's configuration does. What was downloaded before stays."
	elif grep -qE 'E0514|incompatible version of rustc|different compiler|PCH file|unknown file type' "$1"; then
		say "error: $BUILD holds objects of another toolchain; \"make clean\" removes them."
	fi
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
		cause "$log"
		say "error: $name failed (exit status $status) after $(elapsed $((SECONDS - start))); the whole log is in $log"
		told=1
		return "$status"
	fi
	say "  $name: done in $(elapsed $((SECONDS - start)))"
}

# check NAME COMMAND...: a step, after whose failure others go on; failed has the names of those that failed.
failed=()
check() {
	local name=$1 script=${0##*/}
	shift
	step "$name" "$LOGS/${script%.sh}-${name//[^a-z0-9]/-}.log" "$@" || failed+=("$name")
}

# verdict NAME: fails if a check did.
verdict() { [ ${#failed[@]} = 0 ] || die "$1 failed: $(printf '%s; ' "${failed[@]}" | sed 's/; $//')"; }

# stamp_build: makes BUILD, and marks it as ours, which is what clean.sh goes by. A directory of somebody else's is not used.
stamp_build() {
	[ ! -e "$BUILD/.bpf-token-build" ] || return 0
	if [ -d "$BUILD" ] && [ ! -e "$ROOT/.made-from" ] && [ -n "$(find "$BUILD" -mindepth 1 ! -path "$LOGS*" ! -name '.lock-*' -print -quit)" ]; then
		die "BUILD=$BUILD holds files that this project did not make; name an empty or a new directory."
	fi
	mkdir -p "$BUILD"
	echo 'The directory of a build of the BPF token in Rust; "make clean" removes it.' >"$BUILD/.bpf-token-build"
}

# lock NAME: one such build at a time in this BUILD directory; released when the script ends.
lock() {
	stamp_build
	exec 9>"$BUILD/.lock-$1"
	if ! flock --nonblock 9; then
		say "  waiting for another run that is using $BUILD ($1) ..."
		flock 9
	fi
}

unlock() { exec 9>&-; }

# in_root COMMAND...: runs COMMAND in the toolchain root.
in_root() { "$RUNNER/enter.sh" "$@"; }

# number NAME MOST: a variable that must be a decimal number.
number() {
	local value=${!1} most=$2 digits=${#2}
	if [[ ! $value =~ ^(0|[1-9][0-9]*)$ ]] || [ "${#value}" -gt "$digits" ] ||
		{ [ "${#value}" = "$digits" ] && [[ $value > $most ]]; }; then
		die "$1=$value is not a number of 0 to $most."
	fi
}

# ask_about_kvm: before guests run side by side, as each of them would ask (see vm.sh).
ask_about_kvm() { [ "$ARCH" != "$(uname -m)" ] || [ -e "$BUILD/accel" ] || IMAGE=${RUN:+$RUN/rust.image} CMD=true "$RUNNER/vm.sh" rust; }
