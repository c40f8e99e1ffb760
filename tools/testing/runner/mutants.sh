#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# mutants.sh [MODULE...]: changes the policy in one place after another, and runs the tests of the host on each change. One that
# no test notices is an error, unless tools/testing/parity/equivalent says why none could. Takes an hour or two for all;
# MODULE is one of those that tools/testing/parity/src/lib.rs takes from rust/bpf_token, such as request.
#   SKIP   tests that are left out, to be faster; what is not noticed then must be tried with all

. "$(dirname "$0")/common.sh"
need_root "Testing mutants"
"$RUNNER/toolchain.sh"
"$RUNNER/tree.sh" c
lock mutants
dir=$BUILD/mutants tree=$BUILD/mutants/tree parity=$REPO/tools/testing/parity
mapfile -t modules < <(sed -n 's|^#\[path = ".*/rust/bpf_token/\(.*\)\.rs"\]|\1|p' "$parity/src/lib.rs")
[ ${#modules[@]} -gt 10 ] || die "$parity/src/lib.rs takes ${#modules[@]} modules from rust/bpf_token"

# A package of its own, with all files in it: what cargo-mutants may change must not be what the kernel is built from.
copy() {
	rm -rf "$tree"
	mkdir -p "$tree"
	cp -r "$parity/." "$tree"
	sed 's|^members = .*|members = [".", "macros"]|; /^bpf-token = /d; /libbpf-sys\]/,$d' "$REPO/tools/Cargo.toml" >>"$tree/Cargo.toml"
	cat >>"$tree/Cargo.toml" <<-'END'

		[profile.mutants]
		inherits = "release"
		opt-level = 1
		incremental = true
	END
	cp "$REPO/tools/Cargo.lock" "$tree"
	local module
	for module in "${modules[@]}"; do
		cp "$REPO/rust/bpf_token/$module.rs" "$tree/src"
	done
	cp "$REPO"/rust/kernel/{capability,nospec}.rs "$tree/src"
	# Tests are no policy, and without tests there is nothing to mutate.
	sed -i '/^#\[path = ".*\/rust\//d; /^#!\[cfg(test)\]/d; s/^mod tests;/#[cfg(test)]\n&/' "$tree/src/lib.rs"
	sed -i 's/^#\[kunit_tests(/#[cfg(test)]\n&/' "$tree"/src/*.rs
}

install() {
	[ -x "$BUILD/cargo/bin/cargo-mutants" ] ||
		in_root cargo install --locked --version 25.3.1 --target-dir "$dir/tool" cargo-mutants
}

mutate() {
	cd "$tree"
	local status=0 module name files=() skip=()
	for name in ${SKIP:-}; do
		skip+=(--skip "$name")
	done
	for module in "${@:-${modules[@]}}"; do
		files+=(--file "src/$module.rs")
	done
	in_root cargo mutants --in-place --no-shuffle --output "$dir" --timeout 300 --profile mutants "${files[@]}" \
		-- --lib -- "${skip[@]}" || status=$?
	# 2: some were missed, which is judged by the list; 3: some ran into the time limit, which is noticed.
	[ "$status" = 0 ] || [ "$status" = 2 ] || [ "$status" = 3 ]
}

step "building cargo-mutants" "$LOGS/mutants-tool.log" install
copy
step "testing mutants" "$LOGS/mutants.log" mutate "$@"
sed 's/^src\///; s/^\([^:]*\):[0-9]*:[0-9]*:/\1:/' "$dir/mutants.out/missed.txt" | sort >"$dir/missed"
say "  caught: $(wc -l <"$dir/mutants.out/caught.txt"), by the time limit: $(wc -l <"$dir/mutants.out/timeout.txt"), do not compile:" \
	"$(wc -l <"$dir/mutants.out/unviable.txt"), not noticed: $(wc -l <"$dir/missed")"
if grep -vxFf <(grep -v '^#' "$parity/equivalent" | grep .) "$dir/missed"; then
	die "no test notices the changes above, and $parity/equivalent does not say why; what the tests said is in $dir/mutants.out"
fi
