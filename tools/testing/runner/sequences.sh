#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Sequences of steps (mount, token, restrict, pass, load, attach, remount, ...) on the C and on the Rust kernel. What runs in
# the Rust kernel guides which are made; the C kernel then runs the same ones. All must come out the same, or as the rules
# say. A sequence that does not is made smaller, and told.
#   SEED       repeats a run, as far as the kernel's paths repeat (by default another one each time)
#   SEQUENCES  how many at most, besides those of the corpus (2000)
#   TIME       how many seconds at most (120)
#   REPLAY     a file of sequences to run instead, such as the smallest of an earlier run
#   WITHOUT    a rule that is not to explain anything (D1, D2, D6, RESTRICT or REMOUNT): to see that the rest notices

. "$(dirname "$0")/common.sh"
. "$RUNNER/suites.sh"
x86_64_only "sequences.sh"
need_root "Comparing the kernels"
: "${SEED:=$(date +%s%N)}" "${SEQUENCES:=2000}" "${TIME:=120}" "${WITHOUT:=}" "${REPLAY:=}"
number SEED 18446744073709551615
number SEQUENCES 10000000
number TIME 86400
case $WITHOUT in
'' | D1 | D2 | D6 | RESTRICT | REMOUNT) ;;
*) die "WITHOUT=$WITHOUT: it is one of D1, D2, D6, RESTRICT, REMOUNT." ;;
esac
[ -z "$REPLAY" ] || [ -r "$REPLAY" ] || die "REPLAY=$REPLAY cannot be read; it is a file of sequences, as an earlier run wrote one."

ROUNDS=6
DIFFERENT=3
rules=(${WITHOUT:+--without "$WITHOUT"})
if [ -n "${RUN:-}" ]; then
	bin=$RUN/bin
else
	new_run sequences rust c cover
	build_programs fuzz
	ask_about_kvm
fi
out=$RUN/sequences
fuzz=$bin/fuzz
mkdir -p "$out"

# in_guest KERNEL COMMAND...
in_guest() {
	local kernel=$1
	shift
	IMAGE=$RUN/$kernel.image CPUS=1 CMD="exec $fuzz $*" DIR=$out "$RUNNER/vm.sh" "$kernel"
}
# see NAME: runs $out/NAME on both kernels, into $out/NAME.c and $out/NAME.rust.
see() {
	local name=$1 c status=0
	rm -f "$out/$name".{c,rust}
	in_guest c replay "$out/$name" "$out/$name.c" &
	c=$!
	in_guest rust replay "$out/$name" "$out/$name.rust" || status=$?
	wait "$c" || status=$?
	return "$status"
}
explore() {
	in_guest cover explore --seed "$SEED" --sequences "$SEQUENCES" --seconds "$TIME" ${UNGUIDED:+--unguided} \
		"$REPO/tools/testing/fuzz/corpus/sequences" "$out" &&
		in_guest c replay "$out/sequences" "$out/sequences.c" && cp "$out/rust" "$out/sequences.rust"
}
# contrast NAME TEXT: what it has to say goes to TEXT; the smallest sequence to $out/NAME.smallest.
contrast() {
	in_root "$fuzz" contrast "$out/$1" "$out/$1.c" "$out/$1.rust" --vmlinux "$BUILD/linux-c/build/vmlinux" \
		--smallest "$out/$1.smallest" "${rules[@]}" >"$2"
}
# shrink: of all that is smaller, takes the smallest that still differs, until nothing does.
shrink() {
	local round status
	cp "$out/sequences.smallest" "$out/smallest"
	for ((round = 1; round <= ROUNDS; round++)); do
		in_root "$fuzz" shrink "$out/smallest" "$out/smaller"
		[ -s "$out/smaller" ] || break
		step "looking for a smaller sequence, round $round" "$RUN/logs/sequences-smaller.log" see smaller
		status=0
		contrast smaller "$out/smaller.txt" || status=$?
		[ "$status" = "$DIFFERENT" ] || break
		cp "$out/smaller.smallest" "$out/smallest"
	done
	say "The smallest sequence that was found, with what each step comes to:"
	cat "$out/smallest"
	say "  this sequence again: ${WITHOUT:+WITHOUT=$WITHOUT }REPLAY=$out/smallest tools/testing/runner/sequences.sh"
	say "  the whole run:       $repeat"
}

repeat="${WITHOUT:+WITHOUT=$WITHOUT }SEED=$SEED SEQUENCES=$SEQUENCES TIME=$TIME tools/testing/runner/sequences.sh"
if [ -n "$REPLAY" ]; then
	repeat="${WITHOUT:+WITHOUT=$WITHOUT }REPLAY=$REPLAY tools/testing/runner/sequences.sh"
	[ "$REPLAY" -ef "$out/sequences" ] || cp "$REPLAY" "$out/sequences"
	step "running the sequences on the C and on the Rust kernel" "$RUN/logs/sequences-guests.log" see sequences ||
		die "a guest did not go through the sequences. To repeat it: $repeat"
else
	say "  to repeat this: $repeat"
	step "making sequences, guided by coverage, and running them on the C kernel, too" "$RUN/logs/sequences-guests.log" explore ||
		die "a guest did not go through the sequences. To repeat it: $repeat"
	grep ' addresses reached' "$RUN/logs/sequences-guests.log" | tail -n 1
fi
status=0
contrast sequences "$out/summary.txt" || status=$?
cat "$out/summary.txt"
case $status in
0) ;;
"$DIFFERENT")
	shrink
	die "the kernels differ, and no rule says so."
	;;
*) die "the comparison failed (exit status $status). To repeat it: $repeat" ;;
esac
