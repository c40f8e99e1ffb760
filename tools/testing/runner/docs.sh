#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# docs.sh [text]: builds the documentation, and fails on a warning about ours.
#   Documentation/bpf with Sphinx, as the kernel does; and, unless "text" is asked for, the rustdoc of the crate bpf_token
#   (private items too) and of the kernel crate.

. "$(dirname "$0")/common.sh"
need_root "make docs"
case ${1:-} in
'' | text) ;;
*) die "docs.sh takes no argument ('$1') but text." ;;
esac
if [ "${1:-}" = text ]; then
	"$RUNNER/toolchain.sh"
	"$RUNNER/tree.sh" rust
else
	# rustdoc reads the crates that this one uses as the compiler left them.
	"$RUNNER/kernel.sh" rust >/dev/null
fi
tree=$BUILD/linux-rust
texts=$tree/build-docs/Documentation/output/bpf
crates=$tree/build/Documentation/output/rust/rustdoc
lock docs

ours() { sed -n 's#^Adds: \(Documentation/.*\)#\1#p' "$REPO"/patches/*.patch; }

# What was read before is not read again, and its warnings not told.
text() {
	rm -rf "$tree/build-docs"
	TREE=$tree in_root make -C /linux -s O=build-docs SPHINXDIRS=bpf htmldocs
}

# Upstream's pages have warnings of their own.
text_warnings() {
	local file
	for file in $(ours) Documentation/bpf/index.rst; do
		[ -s "$texts/$(basename "$file" .rst).html" ] || die "Sphinx made no page of $file."
		! grep -F "/$file:" "$LOGS/docs-text.log" >&2 || die "Sphinx warns about $file."
	done
}

# crate OBJECT [OPTION...]: runs rustdoc as the compiler was run for that object.
crate() {
	local object=$1 command
	shift
	command=$(sed -n 's/^savedcmd_[^ ]* := //p' "$tree/build/$(dirname "$object")/.$(basename "$object").cmd" |
		sed -E 's/ ;.*//; s/(^| )rustc /\1rustdoc /; s/ --emit=[^ ]*//g; s/ --out-dir [^ ]*//; s/ --crate-type [^ ]*//')
	[[ $command == *rustdoc* ]] || die "no command of rustc is known for $object."
	TREE=$tree in_root sh -c "cd /linux/build && export RUSTC_BOOTSTRAP=1 && $command -Zunstable-options --output Documentation/output/rust/rustdoc $*"
}

rustdoc() {
	rm -rf "$crates"
	crate rust/kernel.o
	crate kernel/bpf/token/bpf_token.o --document-private-items -A rustdoc::private_intra_doc_links
}

rustdoc_warnings() {
	local file ours
	ours=$(cd "$REPO" && find rust/kernel -name '*.rs' -printf '|%p')
	! grep -E -B 4 -A 12 -- "--> \.\./(kernel/bpf/token/$ours):?" "$LOGS/docs-rustdoc.log" >&2 || die "rustdoc warns about a file of ours."
	# In the sources, links start at the root of the tree.
	grep -Erho 'href="srctree/[^"#]+' "$crates"/bpf_token "$crates"/kernel | sort -u | while IFS=/ read -r _ file; do
		[ -e "$tree/$file" ] || die "a link leads to $file, which the tree does not have."
	done
	grep -rlZ --include='*.html' 'href="srctree/' "$crates" | xargs -0 sed -i "s#href=\"srctree/#href=\"file://$tree/#g"
}

step "Documentation/bpf" "$LOGS/docs-text.log" text
text_warnings
if [ "${1:-}" != text ]; then
	step "rustdoc of kernel and bpf_token" "$LOGS/docs-rustdoc.log" rustdoc
	rustdoc_warnings
	echo "$crates/bpf_token/index.html"
fi
echo "$texts/token.html"
