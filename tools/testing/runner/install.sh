#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# install.sh: builds bpftoken for the host that this runs on, and installs it with its man pages and completions below
# DESTDIR/PREFIX. Uses the host's own cargo and libraries: a binary of the toolchain root needs that root's C library.

. "$(dirname "$0")/common.sh"

root=${DESTDIR:-}${PREFIX:-/usr/local}
# libbpf is built by a make of its own, which would install into them.
unset DESTDIR PREFIX MAKEFLAGS MAKEOVERRIDES

least=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$REPO/tools/Cargo.toml")

command -v cargo >/dev/null ||
	die "make install builds for this host, and finds no cargo: Rust $least or later is in Debian 13, and from rustup elsewhere"
have=$(cargo --version | cut -d ' ' -f 2)
[ "$(printf '%s\n' "$least" "$have" | sort -V | head -n 1)" = "$least" ] ||
	die "make install needs Rust $least, and cargo here is $have: rustup has a later one"

lacking=()
for tool in cc make pkg-config; do
	command -v "$tool" >/dev/null || lacking+=("$tool")
done
for header in libelf.h zlib.h; do
	echo "#include <$header>" | cc -E - >/dev/null 2>&1 || lacking+=("$header")
done
[ ${#lacking[@]} = 0 ] ||
	die "make install lacks ${lacking[*]}; Debian has them in: gcc make pkg-config libelf-dev zlib1g-dev"

target=$BUILD/install
build() { cd "$REPO/tools" && cargo build --locked --release --target-dir "$target" -p bpftoken; }
step "building bpftoken for this host" "$LOGS/install.log" build

tool=$target/release/bpftoken
pages=$target/pages
rm -rf "$pages"
"$tool" generate "$pages"

install -D -m 755 "$tool" "$root/bin/bpftoken"
install -d "$root/share/man/man1"
install -m 644 "$pages"/*.1 "$root/share/man/man1/"
install -D -m 644 "$pages/bpftoken.bash" "$root/share/bash-completion/completions/bpftoken"
install -D -m 644 "$pages/_bpftoken" "$root/share/zsh/site-functions/_bpftoken"
install -D -m 644 "$pages/bpftoken.fish" "$root/share/fish/vendor_completions.d/bpftoken.fish"
"$root/bin/bpftoken" --version >/dev/null || die "$root/bin/bpftoken does not start here"
say "installed $root/bin/bpftoken, its man pages and completions"
