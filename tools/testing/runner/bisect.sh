#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# bisect.sh: applies the series with "git am", patch by patch, and after each compiles what the patches touch: without
# Rust, with Rust and the option off, and with the option on once a patch has brought it. Fails on an error or a warning.

. "$(dirname "$0")/common.sh"
. "$RUNNER/small.sh"
need_root "make bisect"
series=$BUILD/series.check
tree=$BUILD/linux-bisect

"$RUNNER/series.sh" check >/dev/null
lock bisect

# An untouched tree by hard links: git replaces a file that it changes, and what is built stands in directories of its own.
untouched() {
	local out
	mkdir -p "$tree.new"
	find "$BUILD/linux-c" -mindepth 1 -maxdepth 1 ! -name 'build*' -exec cp -al -t "$tree.new" {} +
	# What was compiled for another run is newer than what git puts back.
	for out in "$tree"/build-*; do
		[ ! -d "$out" ] || mv "$out" "$tree.new"
	done
	rm -rf "$tree"
	mv "$tree.new" "$tree"
	cd "$tree"
	git init -q -b bisect .
	sed -n 's#^--- a/\([^\t]*\).*#\1#p' "$series"/*.patch | sort -u | while read -r file; do
		[ ! -e "$BUILD/linux-c/$file" ] || { cp --remove-destination "$BUILD/linux-c/$file" "$file" && echo "$file"; }
	done | git add -f --pathspec-from-file=-
	git commit -q -m "Linux $LINUX_VERSION"
}
export GIT_AUTHOR_NAME=bisect GIT_AUTHOR_EMAIL=bisect@localhost GIT_COMMITTER_NAME=bisect GIT_COMMITTER_EMAIL=bisect@localhost
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1

# compile NAME OPTION...
compile() {
	local out=build-$1 targets=(prepare) objects
	shift
	kmake() { TREE=$tree in_root make -C /linux -s O="$out" LLVM=1 -j"$JOBS" "$@"; }
	mkdir -p "$tree/$out"
	fragment x86_64 "$@" >"$tree/$out/.fragment.new"
	if ! cmp -s "$tree/$out/.fragment.new" "$tree/$out/.fragment" || [ "$tree/kernel/bpf/Kconfig" -nt "$tree/$out/.config" ]; then
		kmake KCONFIG_ALLCONFIG="$tree/$out/.fragment.new" allnoconfig
		mv "$tree/$out/.fragment.new" "$tree/$out/.fragment"
	fi
	read -r -d '' -a objects < <(touched_objects && printf '\0')
	if grep -qx CONFIG_BPF_TOKEN_RUST=y "$tree/$out/.config"; then
		targets+=(kernel/bpf/token/)
	else
		targets+=(kernel/bpf/token.o)
	fi
	kmake "${targets[@]}" "${objects[@]}"
	# Of what was wanted, nothing was dropped for want of another option.
	[ "$out" = build-no-rust ] || grep -qx CONFIG_RUST=y "$tree/$out/.config"
	[ "$out" != build-on ] || grep -qx CONFIG_BPF_TOKEN_RUST=y "$tree/$out/.config"
}

# after PATCH NAME OPTION...
after() {
	local patch=$1 log=$LOGS/bisect-$1-$2.log
	shift
	step "$patch ($1)" "$log" compile "$@"
	! grep -E -A 8 '(^|: )warning:' "$log" >&2 || die "$patch brings a warning ($1)."
}

step "linking an untouched tree" "$LOGS/bisect-tree.log" untouched
count=0
patches=("$series"/*.patch)
# The first is the cover letter.
for patch in "${patches[@]:1}"; do
	name=$(basename "$patch" .patch)
	git -C "$tree" am -q "$patch" || die "git am does not take $name."
	after "$name" no-rust -RUST -BPF_TOKEN_RUST
	after "$name" off -BPF_TOKEN_RUST
	[ ! -e "$tree/kernel/bpf/token/Kconfig" ] || after "$name" on
	count=$((count + 1))
done
say "make bisect: $count patches, each of which compiles"
