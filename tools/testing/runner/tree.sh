#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# tree.sh c|rust: puts the kernel tree where it is built. c is the untouched tree; rust is the same with our files
# added and patches/ applied. A file that has not changed keeps its time stamp, so that make builds what changed.

. "$(dirname "$0")/common.sh"
kind=$1
tree=$BUILD/linux-$kind
tarball=$BUILD/linux-source-$LINUX_VERSION.tar.xz

# Where each part of the repository stands in a kernel tree (design: Layout).
layout() {
	cat <<-'EOF'
		Kbuild kernel/bpf/token/Kbuild
		Kconfig kernel/bpf/token/Kconfig
		rust/bpf_token/ kernel/bpf/token/
		rust/kernel/ rust/kernel/
		rust/helpers/ rust/helpers/
		include/ include/
		Documentation/ Documentation/
	EOF
}

check_version() {
	local found
	found=$(awk '$1 == "VERSION" { v = $3 } $1 == "PATCHLEVEL" { p = $3 } END { print v "." p }' "$1/Makefile" 2>/dev/null) || true
	[ "$found" = "$LINUX_VERSION" ] ||
		die "LINUX_SRC=$LINUX_SRC is Linux ${found:-of no version that its Makefile tells}; the patches are for $LINUX_VERSION, and applying them to another version would build something that nobody tested."
}

# The tested version of the source: "PACKAGE VERSION SHA256 SHA1".
tested=$(grep "^linux-source-$LINUX_VERSION " "$RUNNER/versions")

# From the mirror, whatever sublevel it has; else the tested one, by its hash, from SNAPSHOT, the address of an archive of
# all that Debian had.
download() {
	local into=$BUILD/download.new version sha256 sha1
	read -r _ version sha256 sha1 <<<"$tested"
	rm -rf "$into"
	mkdir -p "$into"
	if ! in_root sh -c "cd '$into' && apt-get -q update && apt-get -q download linux-source-$LINUX_VERSION"; then
		[ -n "${SNAPSHOT:-}" ] || {
			echo "error: the mirror does not give linux-source-$LINUX_VERSION. SNAPSHOT= takes the address of an archive of all that Debian had, which has $version; LINUX_SRC= a Linux $LINUX_VERSION of your own."
			return 1
		}
		echo "the mirror does not give linux-source-$LINUX_VERSION: taking $version from $SNAPSHOT"
		in_root /usr/lib/apt/apt-helper download-file "$SNAPSHOT/file/$sha1" "$into/linux-source-tested.deb" "SHA256:$sha256"
	fi
	in_root sh -c "cd '$into' && dpkg-deb -x linux-source-*.deb . && dpkg-deb -f linux-source-*.deb Version" | tail -n 1 >"$tarball.version"
	mv "$into/usr/src/linux-source-$LINUX_VERSION.tar.xz" "$tarball"
	rm -rf "$into"
}

unpack() {
	rm -rf "$tree.new"
	mkdir -p "$tree.new"
	case $origin in
	directory) tar -C "$LINUX_SRC" -c --exclude-vcs . | tar -x -C "$tree.new" && in_root make -s -C "$tree.new" LLVM=1 mrproper ;;
	*) in_root tar -C "$tree.new" -x --auto-compress --strip-components=1 -f "$source" ;;
	esac
}

origin=tarball source=$tarball identity=linux-source-$LINUX_VERSION
if [ -n "${LINUX_SRC:-}" ]; then
	LINUX_SRC=$(realpath "$LINUX_SRC")
	source=$LINUX_SRC identity=$LINUX_SRC
	if [ -d "$LINUX_SRC" ]; then
		origin=directory
		check_version "$LINUX_SRC"
	elif [ ! -r "$LINUX_SRC" ]; then
		die "LINUX_SRC=$LINUX_SRC is neither a kernel tree nor a tarball of one."
	fi
	export SHARE
	SHARE=$(dirname "$LINUX_SRC")
fi

lock "tree-$kind"
if [ "$(cat "$tree/.unpacked-from" 2>/dev/null)" != "$identity" ]; then
	if [ "$origin" = tarball ] && [ -z "${LINUX_SRC:-}" ] && [ ! -e "$tarball" ]; then
		step "downloading linux-source-$LINUX_VERSION" "$LOGS/download.log" download
		found=$(cat "$tarball.version")
		[ "$found" = "$(cut -d ' ' -f 2 <<<"$tested")" ] ||
			say "  warning: this is linux-source-$LINUX_VERSION $found, and what was tested is $(cut -d ' ' -f 2 <<<"$tested")"
	fi
	step "unpacking Linux $LINUX_VERSION ($kind)" "$LOGS/unpack-$kind.log" unpack
	if [ -n "${LINUX_SRC:-}" ]; then check_version "$tree.new"; fi
	echo "$identity" >"$tree.new/.unpacked-from"
	rm -rf "$tree"
	mv "$tree.new" "$tree"
fi
[ "$kind" = rust ] || exit 0

# What the tree must hold: our files, and the patched form of upstream's. Upstream's own form of every file that was
# ever replaced is kept in .upstream, so that a patch that goes away takes its change along.
stage=$tree/.stage
upstream=$tree/.upstream
rm -rf "$stage"
mkdir -p "$stage" "$upstream"

keep_upstream() {
	local file=$1
	[ -e "$upstream/$file" ] || [ ! -e "$tree/$file" ] || {
		mkdir -p "$(dirname "$upstream/$file")"
		cp -p "$tree/$file" "$upstream/$file"
	}
}

patched=$(cat "$REPO"/patches/*.patch 2>/dev/null | sed -n 's#^+++ b/\([^\t]*\).*#\1#p' | sort -u)
for file in $patched; do
	[ -e "$tree/$file" ] || die "patches/ change $file, which Linux $LINUX_VERSION does not have."
	keep_upstream "$file"
	mkdir -p "$(dirname "$stage/$file")"
	cp -p "$upstream/$file" "$stage/$file"
done
for patch in "$REPO"/patches/*.patch; do
	# One of the series that only adds files changes none.
	grep -q '^+++ ' "$patch" || continue
	in_root patch -d "$stage" -p1 --quiet --no-backup-if-mismatch -F0 <"$patch" >"$LOGS/patch.log" 2>&1 || {
		cat "$LOGS/patch.log" >&2
		die "$(basename "$patch") does not apply to this tree."
	}
done

while read -r from to; do
	[ -e "$REPO/$from" ] || continue
	mkdir -p "$stage/$(dirname "$to")"
	if [ -d "$REPO/$from" ]; then
		cp -rT "$REPO/$from" "$stage/$to"
	else
		cp "$REPO/$from" "$stage/$to"
	fi
done < <(layout)

touch "$tree/.ours"
(cd "$stage" && find . -type f -printf '%P\n' | sort) >"$tree/.ours.new"
while read -r file; do
	if [ -e "$tree/$file" ] && [ ! -e "$upstream/$file" ]; then
		rm "$tree/.ours.new"
		die "$file of this repository would replace a file of upstream; change that file by a patch."
	fi
done < <(comm -13 "$tree/.ours" "$tree/.ours.new")
while read -r file; do
	if [ -e "$upstream/$file" ]; then cp "$upstream/$file" "$tree/$file"; else rm -f "$tree/$file"; fi
done < <(comm -23 "$tree/.ours" "$tree/.ours.new")
while read -r file; do
	cmp -s "$stage/$file" "$tree/$file" && continue
	mkdir -p "$(dirname "$tree/$file")"
	cp "$stage/$file" "$tree/$file"
done <"$tree/.ours.new"
mv "$tree/.ours.new" "$tree/.ours"
rm -rf "$stage"
