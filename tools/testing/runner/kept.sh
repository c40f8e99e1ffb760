#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# kept.sh: which edits make guest_c (suites.sh) ask the C kernel again what it has passed. In place of a guest, a function that
# counts how often it is asked; checkout, image and programs are files made for it.

. "$(dirname "$0")/common.sh"
. "$RUNNER/suites.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
BUILD=$work/build ROOT=$work/root GUEST_ROOT=$work/root REPO=$work/checkout RUN=$work/build/runs/1
mkdir -p "$RUN/bin" "$ROOT" "$REPO"/{rust,patches,tools}
for file in "$RUN"/{c.image,bin/guest} "$ROOT/.made-from" "$REPO"/{README.md,rust/mask.rs,patches/1.patch,tools/test.rs}; do
	echo first >"$file"
done

asked=0 answer=0 meanwhile=:
guest() {
	asked=$((asked + 1))
	echo "test it ... $asked" >"$2"
	"$meanwhile"
	echo "$answer" >"$2.status"
}
# FRESH of the caller is not what is tried here.
unset FRESH
# expect asked|taken WHAT COMMAND...: COMMAND makes the edit that WHAT names; then the C kernel must be asked, or its last result
# be taken.
expect() {
	local before=$asked what=$2 was=taken
	"${@:3}"
	rm -f "$work"/log*
	guest_c "$work/log" "$command"
	[ "$asked" = "$before" ] || was=asked
	if [ "$was" != "$1" ] || { [ "$was" = taken ] && [ "$(cat "$work/log.from" "$work/log.status" "$work/log")" != $'1\n0\ntest it ... '"$asked" ]; }; then
		say "error: $what: the result was $was, with this in its log: $(cat "$work/log")"
		failed+=("$what")
	fi
}
# shellcheck disable=SC2317 # called by expect
edit() { echo "$RANDOM$RANDOM" >>"$1"; }
command='bin/guest --skip race::'
expect asked "for the first time" :
expect taken "for the second time" :
expect taken "an edit of the Rust kernel" edit "$REPO/rust/mask.rs"
expect taken "an edit of a patch" edit "$REPO/patches/1.patch"
expect asked "an edit of a page" edit "$REPO/README.md"
expect asked "an edit of a test" edit "$REPO/tools/test.rs"
expect asked "another program" edit "$RUN/bin/guest"
expect asked "another kernel" edit "$RUN/c.image"
expect asked "another root" edit "$ROOT/.made-from"
expect taken "nothing more" :
expect asked "another command" eval 'command+=" --skip contest::"'
expect asked "other processors" eval 'CPUS=2'
expect asked "FRESH=1" eval 'FRESH=1'
unset FRESH
answer=1
expect asked "a failure" edit "$REPO/tools/test.rs"
answer=0
expect asked "after a failure" :
# shellcheck disable=SC2317 # called by guest
meanwhile() {
	cp "$REPO/tools/test.rs" "$work/before"
	edit "$REPO/tools/test.rs"
}
meanwhile=meanwhile
expect asked "an edit meanwhile" edit "$REPO/tools/test.rs"
meanwhile=:
expect asked "that edit taken back" cp "$work/before" "$REPO/tools/test.rs"
expect taken "in the end" :
say "asked $asked times"
verdict "kept.sh"
