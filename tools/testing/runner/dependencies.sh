#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# dependencies.sh: the crates that userspace is built from: all are under licences that ours go with, those of the library
# under permissive ones, and none is there in two versions.
#
# It asks cargo, and not cargo-deny, which trixie does not have and which takes longer to build than everything here. What
# it cannot tell are advisories: their database is in no package registry.

. "$(dirname "$0")/common.sh"

permissive='MIT|Apache-2.0|Apache-2.0 WITH LLVM-exception|BSD-2-Clause|BSD-3-Clause|0BSD|ISC|Zlib|Unlicense|Unicode-3.0'
bad=0

# crates PACKAGE...: each crate and its licence.
crates() {
	"$RUNNER/cargo.sh" tree --locked --target all --edges "${edges:-normal,build}" --prefix none --format '{p}|{l}' "$@" |
		sed 's/ (\*)$//' | sort -u
}

# licences PACKAGE... -- ALLOWED: complains of each crate of which no licence, or not all that must be kept, is allowed.
licences() {
	local allowed=${!#} crate licence part
	local packages=("${@:1:$#-2}")
	crates "${packages[@]}" >"$LOGS/licences"
	[ "$(wc -l <"$LOGS/licences")" -ge 10 ] || die "cargo tree tells of $(wc -l <"$LOGS/licences") crates only"
	while IFS='|' read -r crate licence; do
		[ -n "$crate" ] || continue
		# One of several: it is enough that one is allowed. Several at once: each must be.
		local ok=1
		while read -r part; do
			local one=0 choice
			while read -r choice; do
				[[ $choice =~ ^($allowed)$ ]] && one=1
			done < <(sed 's/[()]//g; s#/# OR #g; s/ OR /\n/g' <<<"$part")
			[ "$one" = 1 ] || ok=0
		done <<<"${licence// AND /$'\n'}"
		[ "$ok" = 1 ] && continue
		say "$crate: licence \"$licence\" is not among $allowed"
		bad=1
	done <"$LOGS/licences"
}

licences --workspace -- "$permissive|GPL-2.0-only"
# Of what unit tests alone, and other people's loaders in our tests, are built from, the versions are their own affair; and of
# macros, which are in no program: clap's and prost's are between two versions of syn.
twice=$(edges=normal,build,no-proc-macro crates --workspace --exclude clients --prune clients | cut -d ' ' -f 1,2 | sort -u | cut -d ' ' -f 1 | uniq -d)
licences --package bpf-token --all-features -- "$permissive"

if [ -n "$twice" ]; then
	say "in two versions: ${twice//$'\n'/, }"
	bad=1
fi
exit "$bad"
