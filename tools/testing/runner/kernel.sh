#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# kernel.sh rust|c|off: builds that kernel; the last line of its output is the image's path.
#   rust   our tree, CONFIG_BPF_TOKEN_RUST=y
#   c      the untouched tree, the same configuration otherwise
#   off    our tree with the option off (only the objects that our patches touch; see lint.sh)

. "$(dirname "$0")/common.sh"
kernel=${1:-rust}
case $kernel in
rust | off) tree=$BUILD/linux-rust kind=rust ;;
c) tree=$BUILD/linux-c kind=c ;;
*) die "KERNEL=$kernel is not a kernel of this project; it is one of: rust, c." ;;
esac
out=$tree/build
[ "$kernel" != off ] || out=$tree/build-off
image=$out/arch/x86/boot/bzImage
log=$LOGS/kernel-$kernel.log
config=$RUNNER/../kernel.config

"$RUNNER/toolchain.sh"

# The image is what these inputs make, and nothing else; equal inputs need no second build.
inputs() {
	(
		cd "$REPO"
		echo "$kernel ${LINUX_SRC:-}"
		[ -z "${LINUX_SRC:-}" ] || echo "always $RANDOM$RANDOM"
		cat "$ROOT/.made-from" "$config"
		if [ "$kind" = rust ]; then
			for part in Kbuild Kconfig rust include Documentation patches; do
				find "$part" -type f -print0 2>/dev/null | sort -z | xargs -0r sha256sum
			done
		fi
	) | sha256sum | cut -c 1-32
}
want=$(inputs)
if [ "$(cat "$out/.image-of" 2>/dev/null)" = "$want" ] && [ -e "$image" ]; then
	echo "$image"
	exit 0
fi

"$RUNNER/tree.sh" "$kind"
lock "kernel-$kernel"

kmake() {
	in_root make -C "$tree" -s O="$(basename "$out")" LLVM=1 CC="ccache clang" HOSTCC=clang \
		KBUILD_BUILD_TIMESTAMP=1970-01-01 KBUILD_BUILD_USER=token KBUILD_BUILD_HOST=token -j"$JOBS" "$@"
}

configure() {
	kmake tinyconfig
	{
		sed '/^#.*SPDX/d' "$config"
		[ "$kernel" != rust ] || echo CONFIG_BPF_TOKEN_RUST=y
	} >"$out/fragment"
	(cd "$tree" && in_root scripts/kconfig/merge_config.sh -m -O "$out" "$out/.config" "$out/fragment")
	kmake olddefconfig
	# What the fragment asks for and the tree does not give would be found out much later, and elsewhere.
	local missing
	missing=$(grep -E '^CONFIG_[A-Z0-9_]+=' "$out/fragment" | grep -vxFf "$out/.config" || true)
	[ -z "$missing" ] || {
		echo "not in the resulting configuration (a dependency is missing):"
		echo "$missing"
		return 1
	}
	cp "$out/fragment" "$out/.fragment-used"
}

mkdir -p "$out"
rm -f "$out/.image-of"
fragment_now=$(cat "$config" "$tree/kernel/bpf/token/Kconfig" 2>/dev/null | sha256sum)
if [ ! -e "$out/.config" ] || [ "$(cat "$out/.configured-from" 2>/dev/null)" != "$fragment_now" ]; then
	step "configuring the $kernel kernel" "$LOGS/config-$kernel.log" configure
	echo "$fragment_now" >"$out/.configured-from"
fi
if [ "$kernel" = off ]; then
	step "compiling what the patches touch, option off" "$log" kmake "${OFF_TARGETS:?}"
	exit 0
fi
step "building the $kernel kernel (from nothing: about 9 minutes)" "$log" kmake bzImage
echo "$want" >"$out/.image-of"
echo "$image"
