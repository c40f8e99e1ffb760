#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest-mutants.sh [NAME...]: breaks the kernel in one place after another, as tools/testing/mutants lists them, and runs in a guest
# the tests that should notice. Where none of them does, all tests of the kernel run; where these do not either, that is an
# error. Half a minute for each, and some more where a guest does not end by itself. The results are in BUILD/guest-mutants;
# without a NAME, this goes on with those that were not noticed, or have none.
#   AGAIN=1   those too that have a result

. "$(dirname "$0")/common.sh"
. "$RUNNER/suites.sh"
x86_64_only "guest-mutants.sh"
need_root "Testing mutants"
list=$RUNNER/../mutants

# record NAME: what the list has of it.
record() { awk -v name="= $1" '/^= / { found = $0 == name } found && !/^= / && NF' "$list"; }
mapfile -t names < <(sed -n 's/^= //p' "$list")
for name; do
	[ -n "$(record "$name")" ] || die "$name is none of the mutants in tools/testing/mutants."
done
lock guest-mutants
table=$BUILD/guest-mutants
[ -z "${AGAIN:-}" ] || [ $# != 0 ] || rm -f "$table"
touch "$table"
if [ $# != 0 ]; then
	names=("$@")
else
	mapfile -t names < <(printf '%s\n' "${names[@]}" | grep -vxFf <(awk '$3 > 0 { print $1 }' "$table"))
	[ ${#names[@]} != 0 ] || die "each mutant has its result in $table; AGAIN=1 tries them again."
fi

"$RUNNER/toolchain.sh"
new_run mutants rust
build_programs guest
ask_about_kvm

# The kernel is built of a copy, so that nothing of this repository is ever broken.
copy=$RUN/copy
mkdir -p "$copy/tools"
cp -r "$REPO"/{Kbuild,Kconfig,rust,include,patches,Documentation} "$copy"
cp -r "$REPO/tools/testing" "$copy/tools"

# break_lines RECORD FILE: FILE of this repository, with the lines of the record replaced; of a patch, what it adds.
break_lines() {
	awk -v patch="${2##*.patch}" '
		FNR == NR { if (sub(/^- /, "")) old[++olds] = $0; else if (sub(/^\+ /, "")) new[++news] = $0; next }
		{ line[FNR] = $0; text = $0; if (patch == "") text = sub(/^\+/, "", text) ? text : "\001" }
		{ indent = match(text, /[^ \t]/) ? RSTART - 1 : 0; trimmed[FNR] = substr(text, indent + 1); count = FNR }
		END {
			for (i = 1; i <= count; i++) {
				for (j = 1; j <= olds && trimmed[i + j - 1] == old[j]; j++);
				if (j > olds) { hits++; at = i }
			}
			if (hits != 1 || !olds) { print "the lines are there " hits + 0 " times" >"/dev/stderr"; exit 1 }
			for (i = 1; i <= count; i++) {
				if (i != at) { print line[i]; continue }
				before = substr(line[i], 1, length(line[i]) - length(trimmed[i]))
				for (j = 1; j <= news; j++) print before new[j]
				i += olds - 1
			}
		}' <(echo "$1") "$REPO/$2"
}

# try LOG COMMAND: boots the broken kernel.
try() { CPUS=2 TIMEOUT=300 guest rust "$1" "$2"; }
# noticed LOG RUNS: the tests that failed in so many runs of the suite; what a guest has said that did not come to their end.
noticed() {
	awk -v runs="$2" '/^failures:$/ { in_list = 1; next } /^test result/ { in_list = 0; results++ }
		in_list && /^    [A-Za-z0-9_:]+$/ && !seen[$1]++ { print $1 }
		match($0, /(Killed|BUG|WARNING|Oops|Kernel panic|refcount_t|general protection fault)[^\n]*/) && !death { death = substr($0, RSTART, 60) }
		END { if (results < runs) print "(the guest ended: " (death ? death : "nothing said") ")" }' "$1"
}
mutant() {
	local name=$1 text file filters found log=$RESULTS/$1.log
	text=$(record "$name")
	file=$(head -n 1 <<<"$text") filters=$(sed -n 's/^? //p' <<<"$text")
	if ! break_lines "$text" "$file" >"$RUN/broken" 2>"$log"; then
		die "$name: $(cat "$log") ($file)"
	fi
	cp "$RUN/broken" "$copy/$file"
	if ! COPY=$RUN/rust.image "$copy/tools/testing/runner/kernel.sh" rust >"$log.build" 2>&1; then
		say "  $name does not build; what the compiler says is in $log.build"
		cp "$REPO/$file" "$copy/$file"
		return 1
	fi
	cp "$REPO/$file" "$copy/$file"
	try "$log" "for part in $filters; do $bin/guest \$part; done; true"
	found=$(noticed "$log" "$(wc -w <<<"$filters")")
	if [ -z "$found" ]; then
		try "$log.all" "$bin/guest; true"
		found=$(noticed "$log.all" 1 | sed 's/$/ (not listed)/')
	fi
	sed -i "/^$name |/d" "$table"
	echo "$name | $(grep -c . <<<"$found") | $(head -n 1 <<<"$found")" >>"$table"
	say "  $(tail -n 1 "$table")"
	[ -n "$found" ]
}

# What a test does on the kernel as it is shows nothing of a mutant.
as_it_is() {
	try "$RESULTS/as-it-is.log" "for part in $*; do $bin/guest \$part; done; true"
	[ -z "$(noticed "$RESULTS/as-it-is.log" $#)" ] || { noticed "$RESULTS/as-it-is.log" $# && return 1; }
	! grep '^running 0 tests' "$RESULTS/as-it-is.log"
}
mapfile -t parts < <(for name in "${names[@]}"; do record "$name" | sed -n 's/^? //p'; done | tr ' ' '\n' | sort -u)
step "running their tests on the kernel as it is" "$RESULTS/as-it-is" as_it_is "${parts[@]}"

missed=()
for name in "${names[@]}"; do
	mutant "$name" || missed+=("$name")
done
"$RUNNER/kernel.sh" rust >/dev/null
say "  ${#names[@]} mutants, of which $((${#names[@]} - ${#missed[@]})) were noticed; the table is $table"
[ ${#missed[@]} = 0 ] || die "not noticed, or not built: ${missed[*]}"
