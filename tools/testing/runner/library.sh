#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# library.sh: the library as others get it: packaged, out of our workspace, and with each set of its features without a
# warning of the compiler, clippy or rustdoc.
#
# No registry has a version of it yet, so there is nothing to compare its interface with.

. "$(dirname "$0")/common.sh"
need_root "Checking the library"

# What it is built from is fetched once; after that it takes no network.
"$RUNNER/cargo.sh" fetch --quiet --locked
"$RUNNER/cargo.sh" package --offline --locked --allow-dirty --no-verify --quiet -p bpf-token
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$REPO/tools/Cargo.toml")
package=$BUILD/package
rm -rf "$package"
mkdir "$package"
tar -xzf "$BUILD/target/package/bpf-token-$version.crate" -C "$package"
cd "$package/bpf-token-$version"
for file in README.md LICENSE-MIT LICENSE-APACHE examples/load.rs Cargo.lock; do
	[ -s "$file" ] || die "the package lacks $file."
done

lock cargo
for features in '' serde libbpf 'serde libbpf'; do
	say "features: ${features:-none}"
	in_root cargo clippy --quiet --offline --locked --all-targets --features "$features" -- -D warnings
	in_root env RUSTDOCFLAGS='-D warnings' cargo doc --quiet --offline --locked --no-deps --features "$features"
done

# Whose types its interface has: rustdoc tells it as JSON, which is not stable.
in_root env RUSTC_BOOTSTRAP=1 RUSTDOCFLAGS='-Zunstable-options --output-format json' \
	cargo doc --quiet --offline --locked --no-deps --features serde
in_root python3 - "$BUILD/target/doc/bpf_token.json" <<'END'
import json, sys

doc = json.load(open(sys.argv[1]))
seen = set()


# What the public items name: types in signatures and fields, and traits, but for those that all types have.
def walk(value):
    if isinstance(value, list):
        for one in value:
            walk(one)
    elif isinstance(value, dict):
        if (value.get("inner") or {}).get("impl", {}).get("blanket_impl"):
            return
        if "id" in value and "args" in value:
            seen.add(str(value["id"]))
        for one in value.values():
            walk(one)


walk(list(doc["index"].values()))
named = [doc["paths"][number]["path"] for number in seen if number in doc["paths"]]
crates = {path[0] for path in named}
assert {"bpf_token", "std"} <= crates, crates
foreign = [path for path in named if path[0] not in ("bpf_token", "std", "core", "alloc", "serde", "serde_core")]
for path in foreign:
    print("the interface of the library has a type of another crate:", "::".join(path), file=sys.stderr)
sys.exit(bool(foreign))
END
