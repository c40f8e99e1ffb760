#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The same operations, made by chance, on the C and on the Rust kernel: they must come out the same, but for the rows of
# section 5 of the design. A difference that no rule explains is told by the smallest input that shows it.
#   SEED      repeats a run (by default another one each time)
#   STRINGS   how many mount option strings (200000)
#   CALLS     how many calls of bpf() (50000)
#   CASES     a file of cases to take instead, such as the smallest input of an earlier run
#   WITHOUT   a rule that is not to explain anything (D1, D2, D4 or D6): to see that the rest notices

. "$(dirname "$0")/common.sh"
. "$RUNNER/suites.sh"
need_root "Comparing the kernels"

: "${SEED:=$(date +%s%N)}" "${STRINGS:=200000}" "${CALLS:=50000}"
number SEED 18446744073709551615
number STRINGS 10000000
number CALLS 10000000
case ${WITHOUT:=} in
'' | D1 | D2 | D4 | D6) ;;
*) die "WITHOUT=$WITHOUT: it is one of D1, D2, D4, D6." ;;
esac
[ -z "${CASES:-}" ] || [ -r "$CASES" ] || die "CASES=$CASES cannot be read; it is a file that an earlier run wrote."

ROUNDS=6
DIFFERENT=3
rules=(${WITHOUT:+--without "$WITHOUT"})

# make hostile has a run already, with all that this needs.
if [ -n "${RUN:-}" ]; then
	bin=$RUN/bin here=$RUN/bin
else
	new_run fuzz rust c
	build_programs fuzz
	build_here fuzz
	ask_about_kvm
fi
out=$RUN/fuzz
fuzz=$bin/fuzz

# see NAME: goes through $out/NAME.jsonl on both kernels, into $out/NAME.c and $out/NAME.rust.
see() {
	local name=$1 c status=0
	rm -f "$out/$name".{c,rust}
	IMAGE=$RUN/c.image CPUS=1 CMD="exec $fuzz run $out/$name.jsonl $out/$name.c" DIR=$out "$RUNNER/vm.sh" c &
	c=$!
	IMAGE=$RUN/rust.image CPUS=1 CMD="exec $fuzz run $out/$name.jsonl $out/$name.rust" DIR=$out "$RUNNER/vm.sh" rust || status=$?
	wait "$c" || status=$?
	return "$status"
}

# compare NAME TEXT [OPTION...]: what it has to say goes to TEXT; the smallest input to $out/NAME.smallest.
compare() {
	local name=$1 text=$2
	shift 2
	in_root "$here/fuzz" compare "$out/$name.jsonl" "$out/$name.c" "$out/$name.rust" \
		--smallest "$out/$name.smallest" "${rules[@]}" "$@" >"$text"
}

mkdir -p "$out"
all=()
repeat="SEED=$SEED STRINGS=$STRINGS CALLS=$CALLS"
if [ -n "${CASES:-}" ]; then
	repeat="CASES=$CASES"
	[ "$CASES" -ef "$out/cases.jsonl" ] || cp "$CASES" "$out/cases.jsonl"
else
	# Of few cases, none may be there for a rule.
	[ -n "$WITHOUT" ] || [ "$STRINGS" -lt 10000 ] || [ "$CALLS" -lt 2000 ] || all=(--all-rules)
	in_root "$here/fuzz" generate --seed "$SEED" --strings "$STRINGS" --calls "$CALLS" \
		--vmlinux "$BUILD/linux-c/$OUT_OF/vmlinux" "$out/cases.jsonl"
fi
repeat="${WITHOUT:+WITHOUT=$WITHOUT }$repeat tools/testing/runner/fuzz.sh"
say "  to repeat this: $repeat"

TIMEOUT=${TIMEOUT:-1800} step "running the cases on the C and on the Rust kernel" "$RUN/logs/fuzz-guests.log" see cases ||
	die "a guest did not go through the cases. To repeat it: $repeat"
# shrink: of all that is smaller, takes the smallest that still differs, until nothing does.
shrink() {
	local round status
	cp "$out/cases.smallest" "$out/smallest.jsonl"
	tail -n +7 "$out/summary.txt" >"$out/smallest.txt"
	for ((round = 1; round <= ROUNDS; round++)); do
		in_root "$here/fuzz" reduce "$out/smallest.jsonl" "$out/smaller.jsonl"
		[ "$(wc -l <"$out/smaller.jsonl")" -gt 1 ] || break
		step "looking for a smaller input, round $round" "$RUN/logs/fuzz-smaller.log" see smaller
		status=0
		compare smaller "$out/smaller.txt" || status=$?
		[ "$status" = "$DIFFERENT" ] || break
		cp "$out/smaller.smallest" "$out/smallest.jsonl"
		tail -n +7 "$out/smaller.txt" >"$out/smallest.txt"
	done
	say "The smallest input that was found:"
	cat "$out/smallest.txt"
	say "  this input again: ${WITHOUT:+WITHOUT=$WITHOUT }CASES=$out/smallest.jsonl tools/testing/runner/fuzz.sh"
	say "  the whole run:    $repeat"
}

status=0
compare cases "$out/summary.txt" "${all[@]}" || status=$?
head -n 6 "$out/summary.txt"
case $status in
0) ;;
"$DIFFERENT")
	shrink
	die "the kernels differ, and no rule says so."
	;;
*) die "the comparison failed (exit status $status). To repeat it: $repeat" ;;
esac
