#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The same sequences of steps on the C and on the Rust kernel: they must come out the same, but for the rows of section 5 of
# the design, and as the rules say of what goes beyond C. One that does not is made smaller, and told.
#   GUIDED    1: steps of all kinds (mount, token, restrict, pass, load, attach, remount, ...), of which what runs in the Rust
#             kernel guides which are made; otherwise mount options and calls of bpf(), made from nothing
#   SEED      repeats a run, with GUIDED as far as the kernel's paths repeat (by default another one each time)
#   STRINGS   how many mount option strings (200000)
#   CALLS     how many calls of bpf() (50000)
#   SEQUENCES, TIME   with GUIDED: how many at most, besides those of the corpus (2000), and how many seconds (120)
#   UNGUIDED  1: with GUIDED, what runs is counted, but guides nothing: to see what guidance wins
#   CORPUS    with GUIDED: a file of sequences to begin with, in place of that of the repository
#   REPLAY    a file of sequences to run instead, such as the smallest of an earlier run
#   WITHOUT   a rule that is not to explain anything (D1, D2, D4, D6, RESTRICT, COOKIE or REMOUNT): to see that the rest
#             notices

. "$(dirname "$0")/common.sh"
. "$RUNNER/suites.sh"
need_root "Comparing the kernels"
: "${SEED:=$(date +%s%N)}" "${STRINGS:=200000}" "${CALLS:=50000}" "${SEQUENCES:=2000}" "${TIME:=120}"
: "${GUIDED:=}" "${WITHOUT:=}" "${REPLAY:=}"
number SEED 18446744073709551615
number STRINGS 10000000
number CALLS 10000000
number SEQUENCES 10000000
number TIME 86400
case $WITHOUT in
'' | D1 | D2 | D4 | D6 | RESTRICT | COOKIE | REMOUNT) ;;
*) die "WITHOUT=$WITHOUT: it is one of D1, D2, D4, D6, RESTRICT, COOKIE, REMOUNT." ;;
esac
[ -z "$GUIDED" ] || x86_64_only "GUIDED=1"
[ -z "$REPLAY" ] || [ -r "$REPLAY" ] || die "REPLAY=$REPLAY cannot be read; it is a file of sequences, as an earlier run wrote one."

ROUNDS=6
DIFFERENT=3
rules=(${WITHOUT:+--without "$WITHOUT"})
vmlinux=$BUILD/linux-c/$OUT_OF/vmlinux

# make hostile has a run already, with all that this needs.
if [ -n "${RUN:-}" ]; then
	bin=$RUN/bin here=$RUN/bin
else
	new_run fuzz rust c ${GUIDED:+cover}
	build_programs fuzz
	build_here fuzz
	ask_about_kvm
fi
name=fuzz${GUIDED:+-guided}
out=$RUN/$name
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
	local c status=0
	rm -f "$out/$1".{c,rust}
	in_guest c replay "$out/$1" "$out/$1.c" &
	c=$!
	in_guest rust replay "$out/$1" "$out/$1.rust" || status=$?
	wait "$c" || status=$?
	return "$status"
}
explore() {
	in_guest cover explore --seed "$SEED" --sequences "$SEQUENCES" --seconds "$TIME" ${UNGUIDED:+--unguided} \
		"${CORPUS:-$REPO/tools/testing/fuzz/corpus/sequences}" "$out" &&
		in_guest c replay "$out/sequences" "$out/sequences.c" && cp "$out/rust" "$out/sequences.rust"
}
# compare NAME TEXT [OPTION...]: what it has to say goes to TEXT; the smallest sequence to $out/NAME.smallest.
compare() {
	local name=$1 text=$2
	shift 2
	in_root "$here/fuzz" compare "$out/$name" "$out/$name.c" "$out/$name.rust" --vmlinux "$vmlinux" \
		--smallest "$out/$name.smallest" "${rules[@]}" "$@" >"$text"
}
# shrink: of all that is smaller, takes the smallest that still differs, until nothing does.
shrink() {
	local round status
	cp "$out/sequences.smallest" "$out/smallest"
	for ((round = 1; round <= ROUNDS; round++)); do
		in_root "$here/fuzz" shrink "$out/smallest" "$out/smaller"
		[ -s "$out/smaller" ] || break
		step "looking for a smaller sequence, round $round" "$RUN/logs/$name-smaller.log" see smaller
		status=0
		compare smaller "$out/smaller.txt" || status=$?
		[ "$status" = "$DIFFERENT" ] || break
		cp "$out/smaller.smallest" "$out/smallest"
	done
	say "The smallest sequence that was found, with what each step comes to:"
	cat "$out/smallest"
	say "  this sequence again: ${WITHOUT:+WITHOUT=$WITHOUT }REPLAY=$out/smallest tools/testing/runner/fuzz.sh"
	say "  the whole run:       $repeat"
}

all=()
repeat=${WITHOUT:+WITHOUT=$WITHOUT }
if [ -n "$REPLAY" ]; then
	repeat+="REPLAY=$REPLAY tools/testing/runner/fuzz.sh"
	[ "$REPLAY" -ef "$out/sequences" ] || cp "$REPLAY" "$out/sequences"
	run=(see sequences)
elif [ -n "$GUIDED" ]; then
	repeat+="GUIDED=1 SEED=$SEED SEQUENCES=$SEQUENCES TIME=$TIME tools/testing/runner/fuzz.sh"
	run=(explore)
else
	repeat+="SEED=$SEED STRINGS=$STRINGS CALLS=$CALLS tools/testing/runner/fuzz.sh"
	run=(see sequences)
	# Of few, none may be there for a rule.
	[ -n "$WITHOUT" ] || [ "$STRINGS" -lt 10000 ] || [ "$CALLS" -lt 2000 ] || all=(--all-rules)
	in_root "$here/fuzz" generate --seed "$SEED" --strings "$STRINGS" --calls "$CALLS" --vmlinux "$vmlinux" "$out/sequences"
fi
say "  to repeat this: $repeat"
TIMEOUT=${TIMEOUT:-1800} step "running sequences on the C and on the Rust kernel" "$RUN/logs/$name-guests.log" "${run[@]}" ||
	die "a guest did not go through the sequences. To repeat it: $repeat"
grep ' addresses reached' "$RUN/logs/$name-guests.log" | tail -n 1 || true
status=0
compare sequences "$out/summary.txt" "${all[@]}" || status=$?
cut -c 1-300 "$out/summary.txt"
case $status in
0) ;;
"$DIFFERENT")
	shrink
	die "the kernels differ, and no rule says so."
	;;
*) die "the comparison failed (exit status $status). To repeat it: $repeat" ;;
esac
