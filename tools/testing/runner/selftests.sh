#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# selftests.sh TREE BUILT OUT [SYSROOT]: builds upstream's test_progs with prog_tests/token.c, unmodified, for the kernel
# that was built in TREE/BUILT; and in OUT, tools/testing/libbpf/reasons with the libbpf that comes of it. With SYSROOT,
# the root of an arm64 guest, all is for arm64. Runs inside the toolchain root. The last line is the directory to run
# ./test_progs -t token in.
#
# Nothing is written to TREE: OUT/tree looks like it from below tools/testing/selftests/bpf, which is a copy with this
# one test and the BPF programs it includes, and everything else in it are links.

set -euo pipefail

if [ $# -lt 3 ] || [ $# -gt 4 ] || [ ! -e "$1/$2/vmlinux" ]; then
	echo "usage: selftests.sh TREE BUILT OUT [SYSROOT], with a kernel built in TREE/BUILT" >&2
	exit 2
fi
tree=$(realpath "$1")
built=$tree/$2
mkdir -p "$3"
out=$(realpath "$3")
sysroot=${4:-}
bpf=tools/testing/selftests/bpf

# mirror DIR EXCEPT: makes DIR of the copy, with a link to each entry of the tree's DIR but EXCEPT.
mirror() {
	mkdir -p "$out/tree/$1"
	find "$tree/$1" -mindepth 1 -maxdepth 1 ! -name "$2" -exec ln -sfn -t "$out/tree/$1" {} +
}
mirror . tools
mirror tools testing
mirror tools/testing selftests
mirror tools/testing/selftests bpf

progs=()
while read -r skeleton; do
	progs+=("--include=/progs/$skeleton.c")
done < <(sed -n 's/^#include "\(.*\)\.skel\.h"$/\1/p' "$tree/$bpf/prog_tests/token.c")
rsync --archive --include='/prog_tests/token.c' "${progs[@]}" \
	--exclude='/prog_tests/*.c' --exclude='/progs/*.c' --exclude='/test_kmods/*' \
	"$tree/$bpf/" "$out/tree/$bpf/"

# The BTF alone, so that a new vmlinux with the same types rebuilds nothing.
llvm-objcopy --dump-section=.BTF="$out/vmlinux.btf.new" "$built/vmlinux" /dev/null
if cmp -s "$out/vmlinux.btf.new" "$out/vmlinux.btf"; then
	rm "$out/vmlinux.btf.new"
else
	mv "$out/vmlinux.btf.new" "$out/vmlinux.btf"
fi

target=$(uname -m)-linux-gnu cc=cc options=()
# wrap NAME COMMAND...: makes a program that the Makefiles find as the target's NAME.
wrap() {
	printf '#!/bin/sh\nexec %s "$@"\n' "${*:2}" >"$out/cross/$target-$1"
	chmod +x "$out/cross/$target-$1"
}
if [ -n "$sysroot" ]; then
	target=aarch64-linux-gnu
	cross="--target=$target --sysroot=$sysroot"
	mkdir -p "$out/cross"
	# shellcheck disable=SC2086 # two options
	wrap gcc clang $cross -fuse-ld=lld -Qunused-arguments
	wrap pkg-config env PKG_CONFIG_SYSROOT_DIR="$sysroot" PKG_CONFIG_LIBDIR="$sysroot/usr/lib/$target/pkgconfig" pkg-config
	wrap ld ld.lld
	for tool in ar objcopy strip; do
		wrap "$tool" "llvm-$tool"
	done
	PATH=$out/cross:$PATH
	cc=$target-gcc
	# Of the libraries, the target has neither LLVM nor OpenSSL; token.c needs none, nor what other tests run.
	options=(ARCH=arm64 CROSS_COMPILE="$target-" CLANG_CROSS_FLAGS="$cross" CLANG_TARGET_ARCH="$cross"
		SKIP_LLVM=1 SKIP_CRYPTO=1 TRUNNER_EXTRA_FILES=)
fi

make -s -C "$out/tree/$bpf" -j"${JOBS:-$(nproc)}" test_progs VMLINUX_BTF="$out/vmlinux.btf" \
	"${options[@]}" \
	TEST_KMODS= LSKELS= LSKELS_EXTRA= LINKED_SKELS= LSKELS_SIGNED= LINKED_BPF_SRCS= \
	LIBARENA_SKEL= LIBARENA_ASAN_SKEL= BPF_STRICT_BUILD=0 >&2

# With BPF_STRICT_BUILD=0, a test that does not compile is left out and nothing fails.
llvm-nm "$out/tree/$bpf/test_progs" | grep -E ' T (serial_)?test_token$' >/dev/null || {
	echo "selftests.sh: test_progs was built without prog_tests/token.c; see the compiler's errors above" >&2
	exit 1
}

# What BPF programs and users of libbpf include: its headers, and the bpf.h of the tree.
tools=$out/tree/$bpf/tools
testing=$(cd "$(dirname "$0")/.." && pwd)
"$cc" -O2 -Wall -Werror -I "$tools/include" -I "$tree/tools/include/uapi" -o "$out/reasons" \
	"$testing/libbpf/reasons.c" "$tools/build/libbpf/libbpf.a" -lelf -lz
for object in packets exec; do
	clang -target bpf -mcpu=v3 -O2 -g -I "$tools/include" -I "$tree/tools/include/uapi" \
		-I "$sysroot/usr/include/$target" -c "$testing/demo/bpf/$object.bpf.c" -o "$out/$object.bpf.o"
done
echo "$out/tree/$bpf"
