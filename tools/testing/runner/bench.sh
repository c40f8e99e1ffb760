#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Counts guest instructions on the C and on the Rust kernel, and compares them: a table here; results.json and plot.svg
# in the directory of the run.
#   BOOTS   of each kernel (5); the least of them counts
#   CHECK   1: fail if an operation costs more than its goal

. "$(dirname "$0")/common.sh"
. "$RUNNER/suites.sh"
need_root "make bench"
[[ ${BOOTS:=5} =~ ^[1-9][0-9]*$ ]] || die "BOOTS=$BOOTS is not a number of boots; it is 1 or more."
case ${CHECK:=0} in
0 | 1) ;;
*) die "CHECK=$CHECK: it is one of 0, 1." ;;
esac
new_run bench rust c
build_programs bench
build_here bench
out=$RUN/bench
bench=$bin/bench
mkdir -p "$out/wall"
for kernel in c rust; do
	in_root llvm-nm --print-size "$BUILD/linux-$kernel/$OUT_OF/vmlinux" >"$out/$kernel.nm"
done

# measure DIRECTORY KERNEL NUMBER: one boot; its output is whole only if the program ended well.
measure() {
	IMAGE=$RUN/$2.image CMD="exec $bench" CPUS=1 "$RUNNER/vm.sh" "$2" >"$1/$2.$3.json.new" &&
		mv "$1/$2.$3.json.new" "$1/$2.$3.json"
}

# With one CPU and -icount, a nanosecond of the guest's clock is one instruction; idle time passes at once.
count() { ACCEL=tcg QEMU_OPTS='-icount shift=0,sleep=off' measure "$out" "$@"; }
wall() { ACCEL=kvm measure "$out/wall" "$@"; }

# Both kernels side by side: what the host does meanwhile changes no count.
count_both() {
	local c status=0
	count c "$1" &
	c=$!
	count rust "$1" || status=$?
	wait "$c" && return "$status"
}
ask_about_kvm

for ((boot = 1; boot <= BOOTS; boot++)); do
	step "counting on both kernels, boot $boot of $BOOTS" "$RESULTS/bench.log" count_both "$boot"
done

# On a real clock where there is KVM: in pairs, so that what slows the machine slows both.
has_kvm() {
	[ "${ACCEL:-kvm}" = kvm ] && [ "$ARCH" = "$(uname -m)" ] || return 1
	[ "$(head -n 1 "$BUILD/accel")" = kvm ]
}
if has_kvm; then
	for ((boot = 1; boot <= BOOTS; boot++)); do
		for kernel in c rust; do
			step "timing on the $kernel kernel, boot $boot of $BOOTS" "$RESULTS/bench-$kernel.log" wall "$kernel" "$boot"
		done
	done
	in_root "$here/bench" report --wall "$out/wall"
	echo
fi

check=()
[ "$CHECK" = 0 ] || check=(--check)
in_root "$here/bench" report "${check[@]}" "$out"
say "  $out holds results.json, plot.svg and what each boot said"
