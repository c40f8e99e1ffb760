#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# series.sh [check]: writes patches/ and the new files as a series that "git am" takes on an untouched tree, and compares
# what it makes of that tree with what tree.sh does.
#   OUT     where (BUILD/series)
#   check   to look whether it can be written, whoever runs it: for lint

. "$(dirname "$0")/common.sh"
need_root "make series"
command -v git >/dev/null || die "make series needs git; install the package git."
case ${1:-} in
'') OUT=${OUT:-$BUILD/series} ;;
check) OUT=$BUILD/series.check ;;
*) die "series.sh takes no argument ('$1') but check." ;;
esac
# A patch here is a message, "---", a line "Adds: FILE" for each new file, and hunks of files that upstream has.
PATCHES=$REPO/patches
SECTION='BPF \[TOKEN\] (In Rust)'

ident=$(git -C "$REPO" -c safe.directory="$REPO" -c user.useConfigOnly=true var GIT_COMMITTER_IDENT 2>/dev/null) || {
	[ "${1:-}" = check ] ||
		die "git does not know who signs the series off; tell it with \"git config --global user.name NAME\" and \"git config --global user.email ADDRESS\"."
	ident='Nobody <nobody@localhost> 0 +0000'
}
person=${ident% * *}
# Of the user's settings of git, none but the name changes what is written.
export GIT_AUTHOR_NAME=${person% <*} GIT_COMMITTER_NAME=${person% <*}
GIT_AUTHOR_EMAIL=${person##*<}
export GIT_AUTHOR_EMAIL=${GIT_AUTHOR_EMAIL%>}
export GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1

"$RUNNER/toolchain.sh"
"$RUNNER/tree.sh" c
"$RUNNER/tree.sh" rust
lock series
tree=$BUILD/linux-rust base=$BUILD/linux-c
work=$BUILD/series.work

message() { sed -n '/^---$/q; s/^Subject: \[PATCH\] //; p' "$1"; }
adds() { sed -n '1,/^---$/d; /^--- a\//q; s/^Adds: //p' "$1"; }
changes() { sed -n 's#^+++ b/\([^\t]*\).*#\1#p' "$1"; }

# What can be wrong in patches/ is told at once, and by name.
check_patches() {
	local patch file
	for patch in "$PATCHES"/*.patch; do
		head -n 1 "$patch" | grep -q '^Subject: \[PATCH\] .' || die "$(basename "$patch") does not begin with a line \"Subject: [PATCH] ...\"."
		grep -q '^---$' "$patch" || die "$(basename "$patch") lacks the line \"---\" between its message and the rest."
		while read -r file; do
			[ -e "$tree/$file" ] || die "$(basename "$patch") adds $file, which this repository does not have."
			[ ! -e "$base/$file" ] || die "$(basename "$patch") adds $file, which Linux $LINUX_VERSION has; change it by hunks."
			echo "$file"
		done < <(adds "$patch")
	done >"$work/adds"
	sort "$work/adds" >"$work/added"
	file=$(uniq -d "$work/added" | head -n 1)
	[ -z "$file" ] || die "$file is added by more than one of patches/."
	while read -r file; do
		[ -e "$base/$file" ] || echo "$file"
	done <"$tree/.ours" >"$work/new"
	file=$(comm -23 "$work/new" "$work/added" | paste -sd ' ')
	[ -z "$file" ] ||
		die "no patch of the series adds $file: name each in a line \"Adds: FILE\" after the \"---\" of one of patches/."
}

# begin NAME: a repository of what the patches touch, as upstream has it. No patch looks at anything else.
begin() {
	local repository=$work/$1 file
	git init -q -b series "$repository"
	for file in $(cat "$PATCHES"/*.patch | changes /dev/stdin | sort -u); do
		[ -e "$base/$file" ] || die "patches/ change $file, which Linux $LINUX_VERSION does not have."
		mkdir -p "$repository/$(dirname "$file")"
		cp "$base/$file" "$repository/$file"
	done
	git -C "$repository" add -A
	git -C "$repository" commit -q -m "Linux $LINUX_VERSION"
	git -C "$repository" tag upstream
}

write() {
	local patch file
	begin write
	cd "$work/write"
	for patch in "$PATCHES"/*.patch; do
		[ -z "$(changes "$patch")" ] || in_root patch -d "$PWD" -p1 --quiet --no-backup-if-mismatch -F0 <"$patch"
		while read -r file; do
			mkdir -p "$(dirname "$file")"
			cp "$tree/$file" "$file"
		done < <(adds "$patch")
		# Who sends the series answers for it.
		git diff --quiet MAINTAINERS || sed -i "s|^$SECTION\$|&\nM:\t$person|" MAINTAINERS
		git add -A
		git commit -q -s -m "$(message "$patch")"
	done
	git config branch.series.description "$(cat "$PATCHES/cover-letter")"
	rm -rf "$OUT"
	git format-patch -q -o "$OUT" --cover-letter --cover-from-description=subject upstream
}

# The end of the series is the tree that "make kernel" builds, file by file; but that MAINTAINERS names no person there.
compare() {
	local file
	begin am
	cd "$work/am"
	git am -q --empty=drop "$OUT"/*.patch
	diff <(git ls-files) "$tree/.ours" || die "the series makes other files than tree.sh."
	while read -r file; do
		[ "$file" = MAINTAINERS ] || cmp "$file" "$tree/$file" || die "the series and tree.sh differ in $file."
	done <"$tree/.ours"
	diff <(grep -vxF "M:	$person" MAINTAINERS) <(grep -vxF "M:	$person" "$tree/MAINTAINERS") ||
		die "the series and tree.sh differ in MAINTAINERS."
}

# What is left out here is explained in the cover letter.
checkpatch() {
	local files=("$OUT"/*.patch)
	cd "$base"
	in_root scripts/checkpatch.pl --strict --terse --show-types \
		--ignore FILE_PATH_CHANGES,OPEN_ENDED_LINE,PARENTHESIS_ALIGNMENT "${files[@]:1}"
}

rm -rf "$work"
mkdir -p "$work"
check_patches
step "writing the series" "$LOGS/series.log" write
step "applying it to an untouched tree, and comparing" "$LOGS/series-am.log" compare
step "checkpatch --strict of the series" "$LOGS/series-checkpatch.log" checkpatch
rm -rf "$work"
say "make series: $(find "$OUT" -name '*.patch' | wc -l) files; \"git am --empty=drop\" takes them, or \"git send-email\""
echo "$OUT"
