#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# matrix.sh [ci|NAME...]: compiles, in each configuration of ../matrix, the kernel crate, ours, and the C files that patches/
# touch. Fails on an error, a warning, a function of ours with a large stack, and, with the option off, on .text that is
# not upstream's.
#   ci     those that are marked for it
#   NAME   these only

. "$(dirname "$0")/common.sh"
. "$RUNNER/small.sh"
need_root "make matrix"
LIST=$RUNNER/../matrix
# What CONFIG_FRAME_WARN is where stacks are smallest. KUnit's tests have a thread of their own, and are left out.
STACK=1024
read -r -a selected <<<"$*"

"$RUNNER/toolchain.sh"
"$RUNNER/tree.sh" c
"$RUNNER/tree.sh" rust
lock matrix
touched=$(touched_objects)

# compile TREE ARCH OPTION...
compile() {
	local tree=$BUILD/linux-$1 arch=$2 out option objects=$touched targets=(prepare)
	shift 2
	out=build-matrix-$arch
	kmake() { TREE=$tree in_root make -C /linux -s O="$out" ARCH="$arch" LLVM=1 -j"$JOBS" "$@"; }
	mkdir -p "$tree/$out"
	fragment "$arch" "$@" >"$tree/$out/.fragment"
	kmake KCONFIG_ALLCONFIG="$tree/$out/.fragment" allnoconfig
	for option; do
		case $option in
		-*) ! grep -qx "CONFIG_${option#-}=y" "$tree/$out/.config" || { echo "$option is on all the same." && return 1; } ;;
		*) grep -qx "CONFIG_$option=y" "$tree/$out/.config" || [ "$tree" = "$BUILD/linux-c" ] || { echo "$option is off: a dependency is missing." && return 1; } ;;
		esac
	done
	# A warning is told only when a file is compiled.
	rm -rf "$tree/$out/kernel/bpf" "$tree/$out"/rust/{kernel.o,helpers/*.o,helpers/*.bc}
	if grep -qx CONFIG_BPF_TOKEN_RUST=y "$tree/$out/.config"; then
		targets+=(kernel/bpf/token/)
	elif grep -qx CONFIG_BPF_SYSCALL=y "$tree/$out/.config"; then
		objects+=" kernel/bpf/token.o"
	else
		objects=kernel/bpf/
	fi
	# shellcheck disable=SC2086 # a list
	kmake "${targets[@]}" $objects
}

# text OBJECT: its instructions, and what they refer to, by names in place of addresses.
text() {
	in_root llvm-objdump -dr --no-leading-addr --no-show-raw-insn "$1" |
		sed -E '1,2d; s/0x[0-9a-f]+ <//; s/^[[:space:]]*[0-9a-f]{16}://; s/^[0-9a-f]{16} //'
}

# stacks ARCH: "BYTES FUNCTION" of the crate, the largest first: what is pushed, and what the stack pointer is moved by.
stacks() {
	local object=$BUILD/linux-rust/build-matrix-$1/kernel/bpf/token/bpf_token.o
	[ -e "$object" ] || return 0
	in_root sh -c "llvm-objdump -d --demangle --no-show-raw-insn '$object' | gawk -f '$RUNNER/stacks.awk'" | grep -v '::tests::' | sort -rn
}

judge() {
	local name=$1 arch=$2 object out=build-matrix-$2 log=$LOGS/matrix-$1.log
	! grep -E -A 8 '(^|: )warning:' "$log" >&2 || return 1
	stacks "$arch" >"$LOGS/matrix-$name.stacks"
	if [ -e "$BUILD/linux-rust/$out/kernel/bpf/token/bpf_token.o" ]; then
		[ -s "$LOGS/matrix-$name.stacks" ] || die "no stack sizes are known for $arch."
		say "    largest stack: $(head -n 1 "$LOGS/matrix-$name.stacks")"
		[ "$(head -n 1 "$LOGS/matrix-$name.stacks" | cut -d ' ' -f 1)" -le "$STACK" ] ||
			{ say "error: more than $STACK bytes of stack ($name)" && return 1; }
	fi
	if [ "$arch" = arm64 ]; then
		hardened "$BUILD/linux-rust/$out" >"$LOGS/matrix-$name.hardened" ||
			{ cat "$LOGS/matrix-$name.hardened" >&2 && say "error: code that is not hardened as $arch.config says ($name)" && return 1; }
		say "    hardened: $(tail -n 1 "$LOGS/matrix-$name.hardened")"
	fi
	case $name in off*) ;; *) return 0 ;; esac
	for object in $touched kernel/bpf/token.o; do
		text "$BUILD/linux-c/$out/$object" >"$LOGS/matrix-text.c"
		text "$BUILD/linux-rust/$out/$object" >"$LOGS/matrix-text.rust"
		{ [ -s "$LOGS/matrix-text.c" ] && cmp "$LOGS/matrix-text.c" "$LOGS/matrix-text.rust" >&2; } ||
			{ say "error: with the option off, .text of $object is not upstream's" && return 1; }
	done
	say "    .text of $(wc -w <<<"$touched kernel/bpf/token.o") objects is upstream's"
}

while read -r name arch options; do
	case $name in '' | '#'*) continue ;; esac
	case " ${selected[*]} " in
	'  ') ;;
	' ci ') [[ $name == *'*' ]] || continue ;;
	*" ${name%\*} "*) ;;
	*) continue ;;
	esac
	name=${name%\*}
	read -r -a options <<<"$options"
	if [[ $name == off* ]]; then
		step "upstream ($name)" "$LOGS/matrix-upstream.log" compile c "$arch" "${options[@]}" || { failed+=("$name") && continue; }
	fi
	{ step "$name (${options[*]})" "$LOGS/matrix-$name.log" compile rust "$arch" "${options[@]}" && judge "$name" "$arch"; } ||
		failed+=("$name")
	compiled=1
done <"$LIST"

[ -n "${compiled:-}" ] || die "no configuration is called ${selected[*]}; $(cut -d ' ' -f 1 "$LIST" | grep -v '#' | tr -d '*' | paste -sd ' ') are."
verdict "make matrix"
say "make matrix: clean"
