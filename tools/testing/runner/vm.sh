#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# vm.sh [rust|c|debug]: boots that kernel under QEMU and runs CMD in it as root; without CMD, an interactive shell.
# The guest's root is the toolchain root, read-only with a layer in memory over it: what a guest writes is gone with
# it, but for DIR, which it shares with the host.
#   CMD           the command; its output and exit status are passed on
#   IMAGE         of a kernel that was built before, in place of building it
#   CONSOLES      where the consoles of guests that failed are kept
#   DIR           a directory shared with the guest at its own path
#   CPUS, MEMORY  of the guest (2, 2G)
#   TIMEOUT       seconds after which a guest with a CMD is taken for hanging (900)
#   ACCEL         kvm or tcg; by default KVM if a trial boot with it worked
#   QEMU_OPTS, KERNEL_ARGS   passed on

. "$(dirname "$0")/common.sh"
kernel=${1:-rust}
need_root "Booting a guest"
mkdir -p "${CONSOLES:=$LOGS}" "$BUILD/run"
image=${IMAGE:-}
if [ -z "$image" ]; then
	image=$("$RUNNER/kernel.sh" "$kernel" | tail -n 1)
	step "building bpftoken" "$LOGS/bpftoken-build.log" "$RUNNER/cargo.sh" build --locked --release -p bpftoken
fi
[ "$ARCH" = x86_64 ] || "$RUNNER/guest-root.sh"
console=$(mktemp "$CONSOLES/console-$kernel.XXXXXX.log")
if [ -n "${DIR:-}" ]; then
	[ -d "$DIR" ] || die "DIR=$DIR is not a directory; it is shared with the guest, so it must exist."
	DIR=$(realpath "$DIR")
	export SHARE=$DIR
fi

# boot ACCEL SECONDS SCRIPT: SCRIPT is empty for a shell.
boot() {
	local accel=$1 seconds=$2 script=$3 options=()
	[ "$accel" = kvm ] || options+=(--disable-kvm)
	# A root that is not the host's has no such directory: what is shared is told apart from where it is in the guest.
	[ -z "${DIR:-}" ] || options+=(--rwdir "${DIR#/}=$DIR")
	[ -z "$script" ] || options+=(--exec "exec bash $script")
	# virtme-ng keeps the one serial console for itself, so the kernel's messages go to a virtio console.
	local klog="-chardev file,id=klog,path=$console -device virtio-serial-pci -device virtconsole,chardev=klog"
	# The guest reads ahead, and keeps what it has read: nothing changes in its root but by its own hand.
	local arguments="console=hvc0 rootflags=version=9p2000.L,trans=virtio,access=any,cache=loose"
	# On a busy host, a processor of the guest may wait long for one of the host: that is no stall of the kernel.
	arguments+=" rcupdate.rcu_cpu_stall_timeout=180"
	if [ "$ARCH" = arm64 ]; then
		# The processor with all that QEMU knows (BTI, PAC), signing quickly; virtme-ng's is of 2012.
		options+=(--arch arm64 --root "$GUEST_ROOT")
		QEMU_OPTS="-cpu max,pauth-impdef=on ${QEMU_OPTS:-}"
		arguments+=" root=/dev/root"
	fi
	case $kernel in
	# The console has errors only, and debug.config says why. With five-level page tables, KASAN's early shadow makes
	# the kernel panic under emulation.
	debug) arguments+=" loglevel=4 no5lvl" ;;
	*) arguments+=" ignore_loglevel" ;;
	esac
	local status=0 pidfile
	pidfile=$(mktemp "$BUILD/run/XXXXXX.pid")
	# In the root, the guest sees / as its own; BUILD and the checkout are part of it, read-only.
	cd /
	in_root timeout --foreground --kill-after=5 "$seconds" vng --run "$image" --skip-modules --force-9p \
		--cpus "${CPUS:-2}" --memory "${MEMORY:-2G}" --overlay-rwdir /root \
		--append "$arguments ${KERNEL_ARGS:-}" \
		--qemu-opts="$klog -pidfile $pidfile ${QEMU_OPTS:-}" "${options[@]}" || status=$?
	# The time limit ends virtme-ng only. An emulator that hangs goes on, and holds our output open.
	case $status in
	124 | 137) kill -KILL "$(cat "$pidfile")" 2>/dev/null || true ;;
	esac
	rm -f "$pidfile"
	return "$status"
}

# KVM is what boots a guest, not what has a device node: ask by booting, once for this host.
choose_accel() {
	case ${ACCEL:-} in
	kvm | tcg) echo "$ACCEL" && return ;;
	'') [ "$ARCH" = "$(uname -m)" ] || { echo tcg && return; } ;;
	*) die "ACCEL=$ACCEL: it is one of kvm, tcg." ;;
	esac
	local host answer=$BUILD/accel
	host="$(uname -n -r) $(cat /proc/sys/kernel/random/boot_id)"
	if [ "$(tail -n 1 "$answer" 2>/dev/null)" != "$host" ]; then
		local accel=tcg
		if [ -w /dev/kvm ]; then
			say "  trying KVM ..."
			local trial=$LOGS/kvm-trial.sh
			echo 'echo kvm-works' >"$trial"
			if DIR='' QEMU_OPTS='' boot kvm 30 "$trial" </dev/null 2>"$LOGS/kvm.log" | grep -q kvm-works; then accel=kvm; fi
		fi
		[ "$accel" = kvm ] || say "  KVM does not run a guest here: using emulation"
		printf '%s\n%s\n' "$accel" "$host" >"$answer"
	fi
	head -n 1 "$answer"
}

# Consoles of guests that did what they were asked are of no further use.
find "$LOGS" -name 'console-*.log' -mtime +1 -delete
accel=$(choose_accel)

if [ -z "${CMD:-}" ]; then
	[ -t 0 ] || die "an interactive guest needs a terminal; to run a command, give CMD='...'."
	boot "$accel" 0 ""
	exit
fi

script=$(mktemp "$BUILD/run/XXXXXX.sh")
trap 'rm -f "$script"' EXIT
{
	printf 'cd %q\n' "${DIR:-/root}"
	printf '%s\n' "$CMD"
} >"$script"
# QEMU opens its standard output anew, which only a pipe survives.
run() { boot "$accel" "${TIMEOUT:-900}" "$script" </dev/null 2> >(cat >&2) | cat; }
status=0
run || status=$?
# QEMU 10.0 may abort before the kernel runs ("iotlb_to_section: Assertion ... failed"). A console without a line tells that no
# command has run, but of the debug kernel, whose console has errors only.
if [ "$status" = 255 ] && [ "$kernel" != debug ] && [ ! -s "$console" ]; then
	say "  the emulator ended before the kernel said anything: booting once more"
	status=0
	run || status=$?
fi
case $status in
124 | 137) what="did not end within ${TIMEOUT:-900} s (TIMEOUT=) and was stopped" ;;
255) what="ended without an exit status (a panic, or the emulator failed)" ;;
*)
	rm -f "$console"
	exit "$status"
	;;
esac
say "error: the guest $what. The end of its console ($console):"
tail -n 40 "$console" 2>/dev/null | sed 's/^/  | /' >&2
# seen FIRST_OR_LAST PATTERN: that line of the console of those that match.
seen() { grep -aE "$2" "$console" 2>/dev/null | "$1" -n 1; }
complaint=$(seen head 'BUG:|WARNING:|UBSAN:|ODEBUG:|Oops|panicked') || true
[ -z "$complaint" ] || say "  The first complaint: $complaint"
last=$(seen tail '^test ') || true
[ -z "$last" ] || say "  The last test that it names: ${last#test }"
exit "$status"
