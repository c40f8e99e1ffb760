#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What can be told in seconds, without a guest: unit tests, the policy compared with upstream's C, and lint of the files
# that differ from BASE.
#   BASE    a commit (the one that the checkout is at)
#   WHOLE   1: all questions about the policy, which takes most of a minute

. "$(dirname "$0")/common.sh"
need_root "make check"
case ${WHOLE:=} in
'') questions=() ;;
1) questions=(--include-ignored) ;;
*) die "WHOLE=$WHOLE: it is 1, or not set." ;;
esac
"$RUNNER/toolchain.sh"
"$RUNNER/tree.sh" c
cd "$REPO"
mapfile -t changed < <(git -c safe.directory="$REPO" diff --name-only --diff-filter=d "${BASE:-HEAD}" 2>/dev/null &&
	git -c safe.directory="$REPO" ls-files --others --exclude-standard)

# of PATTERN...: those that match, of the files that changed.
of() {
	local file pattern
	for file in "${changed[@]}"; do
		for pattern; do
			# shellcheck disable=SC2254 # a pattern it is
			case $file in $pattern) echo "$file" ;; esac
		done
	done
}
mapfile -t scripts < <(of 'tools/testing/runner/*.sh' .ci/run)
mapfile -t kernel < <(of 'rust/*.rs')
mapfile -t userspace < <(of 'tools/*.rs' 'tools/*.toml')

lint_kernel() {
	in_root rustfmt --check --edition 2021 --config-path "$BUILD/linux-rust/.rustfmt.toml" --config skip_children=true "${kernel[@]}"
}
lint_userspace() { cd tools && in_root cargo fmt --check; }

check "unit tests" "$RUNNER/cargo.sh" test --quiet --locked --release -p bpf-token -p bpftoken -p results -p coverage
check "policy against C" "$RUNNER/cargo.sh" test --quiet --locked --profile incremental -p parity -- "${questions[@]}"
[ ${#scripts[@]} = 0 ] || {
	check "shellcheck" in_root shellcheck -x -P "$RUNNER" "${scripts[@]}"
	check "kept results of the C kernel" "$RUNNER/kept.sh"
}
[ ${#kernel[@]} = 0 ] || check "rustfmt (kernel)" lint_kernel
[ ${#userspace[@]} = 0 ] || check "rustfmt" lint_userspace
verdict "make check"
say "make check: ${#changed[@]} changed files, clean"
