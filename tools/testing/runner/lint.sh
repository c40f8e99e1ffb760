#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# All that a machine can find wrong without running anything. Every check runs; the last line says which failed.

. "$(dirname "$0")/common.sh"
need_root "make lint"
"$RUNNER/toolchain.sh"
"$RUNNER/tree.sh" rust
"$RUNNER/tree.sh" c
tree=$BUILD/linux-rust

shell_scripts() {
	cd "$REPO"
	in_root shellcheck -x -P "$RUNNER" .ci/run tools/testing/runner/*.sh tools/testing/runner/udevd
}

# The kernel's own settings, for the crate and for what we add to the kernel crate.
kernel_rustfmt() {
	cd "$REPO"
	local files
	mapfile -t files < <(find rust -name '*.rs')
	in_root rustfmt --check --edition 2021 --config-path "$tree/.rustfmt.toml" --config skip_children=true "${files[@]}"
}

# clippy in place of the compiler tells the compiler's warnings too; those of upstream's own files are upstream's.
clippy() {
	"$RUNNER/kernel.sh" lint
	local ours
	ours=$(cd "$REPO" && find rust/kernel -name '*.rs' -printf '|%p')
	! grep -E -B 8 -A 12 -- "--> \.\./(kernel/bpf/token/$ours):?" "$LOGS/kernel-lint.log" && no_warning "$LOGS/kernel-lint.log"
}

# no_warning LOG: of the C files that were compiled, which are those that the patches touch, and ours.
no_warning() { ! grep -E -A 6 '^\.\./[^ :]+\.[ch]:[0-9]+:[0-9]+: warning:' "$1"; }

userspace() { cd "$REPO/tools" && in_root cargo fmt --check && "$RUNNER/cargo.sh" clippy --locked --all-targets -- -D warnings; }

# Another version is no fault of the change that is linted; but then nobody has tested it.
versions() {
	local found
	found=$(cat "$ROOT/.versions" && echo "linux-source-$LINUX_VERSION $(cat "$BUILD/linux-source-$LINUX_VERSION.tar.xz.version" 2>/dev/null || echo of your own)")
	diff <(awk '!/^#/ { print $1, $2 }' "$RUNNER/versions" | sort) <(sort <<<"$found") ||
		say "  warning: the toolchain is not the one that was tested ($RUNNER/versions); see $LOGS/lint-versions.log"
}

check "versions" versions
grep warning: "$LOGS/lint-versions.log" >&2 || true
check "shellcheck" shell_scripts
check "kept results of the C kernel" "$RUNNER/kept.sh"
check "rustfmt (kernel)" kernel_rustfmt
check "series and checkpatch" "$RUNNER/series.sh" check
check "documentation" "$RUNNER/docs.sh" text
check "clippy and warnings (kernel)" clippy
check "rustfmt and clippy (userspace)" userspace
check "crates (cargo-deny)" "$RUNNER/dependencies.sh"
check "the library as others get it" "$RUNNER/library.sh"

verdict "make lint"
say "make lint: clean"
