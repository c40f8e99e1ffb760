#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# kernel.sh rust|c|debug|cover: builds that kernel; the last line of its output is the path of its image.
#   COPY   a file to copy the image to, for a run that later builds must not change
#   rust   our tree, CONFIG_BPF_TOKEN_RUST=y
#   c      the untouched tree, the same configuration otherwise
#   debug  our tree, with what debug.config adds to the configuration
#   cover  as rust, with KCOV in what our patches touch and in what they add
#   lint   for lint.sh: our tree, with clippy in place of the compiler: the kernel crate and ours, and no image

. "$(dirname "$0")/common.sh"
kernel=${1:-rust}
need_root "make kernel"
configs=("$RUNNER/../kernel.config" "$RUNNER/../$ARCH.config")
# Upstream's warnings are upstream's, and to look for them takes a fifth of the time; lint looks for ours.
kind=rust build=$OUT_OF-$kernel options=(KCFLAGS=-w) targets=(vmlinux) without='^# SPDX' with=CONFIG_BPF_TOKEN_RUST=y

case $kernel in
rust) build=$OUT_OF ;;
c) kind=c build=$OUT_OF with='' ;;
debug) configs+=("$RUNNER/../debug.config") ;;
cover)
	# In whichever directory make is: it expands the variable with the flags of each object.
	# shellcheck disable=SC2016 # make's variables
	options+=('KCOV_INSTRUMENT=$(if $(filter kernel/bpf/syscall.o kernel/bpf/inode.o kernel/bpf/token/bpf_token.o,$@),y)')
	;;
lint) options=(CLIPPY=1) targets=(prepare kernel/bpf/token/ kernel/bpf/inode.o kernel/bpf/syscall.o) ;;
*) die "KERNEL=$kernel is not a kernel of this project; it is one of: rust, c, debug, cover." ;;
esac
case $kernel in
debug | cover) x86_64_only "KERNEL=$kernel" ;;
esac
# No decompressor: what is packed here would be unpacked by an emulated processor.
[ "$ARCH" = x86_64 ] || targets=("${targets[@]/vmlinux/Image}")
# The last word on an option counts.
fragment() {
	(cat "${configs[@]}" && echo "$with") | grep -vE "$without" | tac |
		awk 'match($0, /CONFIG_[A-Z0-9_]+/) && !seen[substr($0, RSTART, RLENGTH)]++'
}
tree=$BUILD/linux-$kind
out=$tree/$build
# Where the objects stand as they are made.
from=$build
[ "$kernel" != cover ] || from=$OUT_OF
# What a guest boots: Image, or, by PVH, vmlinux without its symbols.
image=$out/vmlinux.boot

"$RUNNER/toolchain.sh"

# The image is what these inputs make, and nothing else; equal inputs need no second build. The content of a tree of
# the user's own is not among them, so with one, make decides.
inputs() {
	(
		cd "$REPO"
		echo "$kernel $ARCH ${LINUX_SRC:+$LINUX_SRC $RANDOM$RANDOM}"
		cat "$ROOT/.made-from" "${configs[@]}" "$0"
		if [ "$kind" = rust ]; then
			find "${KERNEL_SIDE[@]}" -type f ! -name cover-letter -print0 | sort -z | xargs -0 sha256sum
		fi
	) | sha256sum | cut -c 1-32
}
want=$(inputs)
is_current() { [ -e "$image" ] && [ "$(cat "$out/.image-of" 2>/dev/null)" = "$want" ]; }
# give: the last line; with COPY, of an image that no later build replaces.
give() {
	if [ -n "${COPY:-}" ]; then
		cp --reflink=auto "$image" "$COPY"
		# It is rather the image of another build, or of files that were edited meanwhile: once more, then.
		[ -n "${LINUX_SRC:-}" ] || { [ "$(inputs)" = "$want" ] && is_current; } || exec "$0" "$kernel"
		image=$COPY
	fi
	echo "$image"
	exit 0
}
if is_current; then give; fi

# From here to the stamp, the tree is ours: another checkout may share this BUILD.
lock "kernel-$kind"
"$RUNNER/tree.sh" "$kind"

# What is borrowed of another directory stands where that did: the tools among it are built again otherwise, and with them
# all that they go through.
kmake() {
	TREE=$tree OUT=$out AS=$from in_root make -C /linux -s O="$from" ARCH="$ARCH" LLVM=1 CC=clang HOSTCC=clang \
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

# The other kernel's objects are this one's too, but for what the patches touch: compiler, flags, configuration and paths
# (see TREE in enter.sh) are the same. make goes by time stamps, so what differs has to be newer than the objects.
borrow() {
	local file
	rm -rf "$out.new"
	cp -a --reflink=auto "$other/$from" "$out.new"
	rm -f "$out.new"/{.image-of,.configured,vmlinux.boot}
	# Of one tree, what is newer than the objects is so already.
	[ "$other" = "$tree" ] || while read -r file; do
		[ ! -e "$tree/$file" ] || touch "$tree/$file"
	done <"$BUILD/linux-rust/.ours"
	mv "$out.new" "$out"
}
case $kernel in
c | cover) other=$BUILD/linux-rust ;;
rust) other=$BUILD/linux-c ;;
*) other='' ;;
esac
if [ -n "$other" ] && [ ! -e "$out" ] && [ -e "$other/$from/.image-of" ] &&
	cmp -s "$other/.unpacked-from" "$tree/.unpacked-from"; then
	(
		# Ours is locked already.
		[ "$other" = "$tree" ] || flock 7
		step "copying the objects of the other kernel ($kernel)" "$LOGS/copy-$kernel.log" borrow
	) 7>>"$BUILD/.lock-kernel-${other##*linux-}"
fi

mkdir -p "$out"
rm -f "$out/.image-of"
configured=$( (fragment && cat "$REPO/Kconfig") | sha256sum)
if [ ! -e "$out/.config" ] || [ "$(cat "$out/.configured" 2>/dev/null)" != "$configured" ]; then
	step "configuring the kernel ($kernel)" "$LOGS/config-$kernel.log" configure
	echo "$configured" >"$out/.configured"
fi
if [ "$kernel" = lint ]; then
	# A warning is told only when a file is compiled.
	rm -f "$out"/kernel/bpf/{token/*,inode,syscall}.o "$out"/rust/kernel.o
fi
step "building the kernel ($kernel)" "$LOGS/kernel-$kernel.log" kmake "${targets[@]}"
if [ "$kernel" != lint ]; then
	case $ARCH in
	x86_64) in_root llvm-objcopy --strip-all "$out/vmlinux" "$image.new" ;;
	arm64) cp "$out/arch/arm64/boot/Image" "$image.new" ;;
	esac
	mv "$image.new" "$image"
	# What was edited meanwhile is in the image, or is not: then it has no stamp.
	[ "$(inputs)" != "$want" ] || echo "$want" >"$out/.image-of"
	give
fi
