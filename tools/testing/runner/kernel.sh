#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# kernel.sh rust|c|debug: builds that kernel; the last line of its output is the path of its image.
#   rust   our tree, CONFIG_BPF_TOKEN_RUST=y
#   c      the untouched tree, the same configuration otherwise
#   debug  our tree, with what debug.config adds to the configuration
# For lint.sh, kernel.sh off|lint compiles a part and makes no image:
#   off    our tree without the option and without Rust: the C files that our patches touch
#   lint   our tree, with clippy in place of the compiler: the kernel crate and ours

. "$(dirname "$0")/common.sh"
kernel=${1:-rust}
configs=("$RUNNER/../kernel.config")
kind=rust build=build-$kernel options=() targets=(bzImage) without='^# SPDX' with=CONFIG_BPF_TOKEN_RUST=y

case $kernel in
rust) build=build ;;
c) kind=c build=build with='' ;;
debug) configs+=("$RUNNER/../debug.config") ;;
off) targets=(kernel/bpf/inode.o kernel/bpf/syscall.o kernel/bpf/token.o) without+='|RUST' with='' ;;
lint) options=(CLIPPY=1) targets=(prepare kernel/bpf/token/) ;;
*) die "KERNEL=$kernel is not a kernel of this project; it is one of: rust, c, debug." ;;
esac
# The last word on an option counts.
fragment() {
	(cat "${configs[@]}" && echo "$with") | grep -vE "$without" | tac |
		awk 'match($0, /CONFIG_[A-Z0-9_]+/) && !seen[substr($0, RSTART, RLENGTH)]++'
}
tree=$BUILD/linux-$kind
out=$tree/$build
image=$out/arch/x86/boot/bzImage

"$RUNNER/toolchain.sh"

# The image is what these inputs make, and nothing else; equal inputs need no second build. The content of a tree of
# the user's own is not among them, so with one, make decides.
inputs() {
	(
		cd "$REPO"
		echo "$kernel ${LINUX_SRC:+$LINUX_SRC $RANDOM$RANDOM}"
		cat "$ROOT/.made-from" "${configs[@]}" "$0"
		if [ "$kind" = rust ]; then
			find Kbuild Kconfig rust include Documentation patches -type f -print0 | sort -z | xargs -0 sha256sum
		fi
	) | sha256sum | cut -c 1-32
}
want=$(inputs)
if [ -e "$image" ] && [ "$(cat "$out/.image-of" 2>/dev/null)" = "$want" ]; then
	echo "$image"
	exit 0
fi

# From here to the stamp, the tree is ours: another checkout may share this BUILD.
lock "kernel-$kind"
"$RUNNER/tree.sh" "$kind"

kmake() {
	in_root make -C "$tree" -s O="$build" LLVM=1 CC="ccache clang" HOSTCC=clang \
		KBUILD_BUILD_TIMESTAMP=1970-01-01 KBUILD_BUILD_USER=token KBUILD_BUILD_HOST=token -j"$JOBS" \
		"${options[@]}" "$@"
}

configure() {
	fragment >"$out/.fragment"
	kmake KCONFIG_ALLCONFIG="$out/.fragment" allnoconfig
	# What the fragment asks for and the tree does not give would be found out much later, and elsewhere.
	local missing
	missing=$(grep -E '^CONFIG_[A-Z0-9_]+=' "$out/.fragment" | grep -vxFf "$out/.config" || true)
	[ -z "$missing" ] || {
		echo "${configs[*]##*/} asks for what the configuration does not have in the end (a dependency is missing):"
		echo "$missing"
		return 1
	}
}

mkdir -p "$out"
rm -f "$out/.image-of"
configured=$( (fragment && cat "$REPO/Kconfig") | sha256sum)
if [ ! -e "$out/.config" ] || [ "$(cat "$out/.configured" 2>/dev/null)" != "$configured" ]; then
	step "configuring the kernel ($kernel)" "$LOGS/config-$kernel.log" configure
	echo "$configured" >"$out/.configured"
fi
if [ "$kernel" = lint ]; then
	# A warning is told only when a file is compiled.
	rm -f "$out"/kernel/bpf/token/*.o "$out"/rust/kernel.o
fi
step "building the kernel ($kernel; from nothing, about 15 minutes)" "$LOGS/kernel-$kernel.log" kmake "${targets[@]}"
if [ "${targets[*]}" = bzImage ]; then
	# What was edited meanwhile is in the image, or is not: then it has no stamp.
	[ "$(inputs)" != "$want" ] || echo "$want" >"$out/.image-of"
	echo "$image"
fi
