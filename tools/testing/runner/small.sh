# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A configuration that is compiled and not booted, for matrix.sh and bisect.sh to source after common.sh; for test.sh, what is
# asked of its objects.

# fragment ARCH OPTION...: kernel.config with them, but for what only takes time here. -OPTION is off.
fragment() {
	local option arch=$1 drop='^# SPDX|DEBUG_INFO|IKCONFIG'
	local files=("$RUNNER/../kernel.config")
	[ ! -e "$RUNNER/../$arch.config" ] || files+=("$RUNNER/../$arch.config")
	shift
	for option; do drop+="|CONFIG_${option#-}[= ]"; done
	grep -hvE "$drop" "${files[@]}"
	[[ " $* " == *" -BPF_TOKEN_RUST "* || " $* " == *" BPF_TOKEN_RUST "* ]] || echo CONFIG_BPF_TOKEN_RUST=y
	for option; do
		case $option in
		-*) echo "# CONFIG_${option#-} is not set" ;;
		*) echo "CONFIG_$option=y" ;;
		esac
	done
}

# touched_objects: those of the C files that patches/ touch.
touched_objects() {
	sed -n 's#^+++ b/\(kernel/[^\t]*\)\.c.*#\1.o#p' "$REPO"/patches/*.patch | grep -vx kernel/bpf/token.o | sort -u
}

# hardened DIRECTORY: whether the code of ours in this directory of a build for arm64 has what arm64.config asks the compilers for.
hardened() {
	local objects
	objects="kernel/bpf/token/bpf_token.o rust/kernel.o $(touched_objects | paste -sd ' ')"
	(cd "$1" && in_root bash -o pipefail -c "llvm-objdump -d --no-show-raw-insn $objects | gawk -f '$RUNNER/hardened.awk'")
}
