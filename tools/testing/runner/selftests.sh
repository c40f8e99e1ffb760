#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# selftests.sh TREE OUT: builds upstream's test_progs with prog_tests/token.c, unmodified, for the kernel that was built
# in TREE/build; and in OUT, tools/testing/libbpf/reasons with the libbpf that comes of it. Runs inside the toolchain
# root. The last line is the directory to run ./test_progs -t token in.
#
# Nothing is written to TREE: OUT/tree looks like it from below tools/testing/selftests/bpf, which is a copy with this
# one test and the BPF programs it includes, and everything else in it are links.

set -euo pipefail

if [ $# -ne 2 ] || [ ! -e "$1/build/vmlinux" ]; then
	echo "usage: selftests.sh TREE OUT, with a kernel built in TREE/build" >&2
	exit 2
fi
tree=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
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
llvm-objcopy --dump-section=.BTF="$out/vmlinux.btf.new" "$tree/build/vmlinux" /dev/null
if cmp -s "$out/vmlinux.btf.new" "$out/vmlinux.btf"; then
	rm "$out/vmlinux.btf.new"
else
	mv "$out/vmlinux.btf.new" "$out/vmlinux.btf"
fi

make -s -C "$out/tree/$bpf" -j"${JOBS:-$(nproc)}" test_progs VMLINUX_BTF="$out/vmlinux.btf" \
	TEST_KMODS= LSKELS= LSKELS_EXTRA= LINKED_SKELS= LSKELS_SIGNED= LINKED_BPF_SRCS= \
	LIBARENA_SKEL= LIBARENA_ASAN_SKEL= BPF_STRICT_BUILD=0 >&2

# With BPF_STRICT_BUILD=0, a test that does not compile is left out and nothing fails.
"$out/tree/$bpf/test_progs" --list -t token | grep -qx token || {
	echo "selftests.sh: test_progs was built without prog_tests/token.c; see the compiler's errors above" >&2
	exit 1
}

# What BPF programs and users of libbpf include: its headers, and the bpf.h of the tree.
built=$out/tree/$bpf/tools
testing=$(cd "$(dirname "$0")/.." && pwd)
cc -O2 -Wall -Werror -I "$built/include" -I "$tree/tools/include/uapi" -o "$out/reasons" \
	"$testing/libbpf/reasons.c" "$built/build/libbpf/libbpf.a" -lelf -lz
for object in packets exec; do
	clang -target bpf -mcpu=v3 -O2 -g -I "$built/include" -I "$tree/tools/include/uapi" \
		-I "/usr/include/$(uname -m)-linux-gnu" -c "$testing/demo/bpf/$object.bpf.c" -o "$out/$object.bpf.o"
done
echo "$out/tree/$bpf"
