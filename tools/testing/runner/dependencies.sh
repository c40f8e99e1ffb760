#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# dependencies.sh: what cargo-deny says of the crates that userspace is built from: licences, versions, sources. Its rules
# are in tools/deny.toml. trixie does not have it, so it is built, once.

. "$(dirname "$0")/common.sh"

# The last version that trixie's rustc builds.
VERSION=0.18.3
tool=$BUILD/tools/cargo-deny-$VERSION

build() {
	rm -rf "$tool.new"
	# Not optimised, it is built in a third of the time, and takes seconds all the same.
	in_root cargo install --quiet --debug --locked --version "$VERSION" --root "$tool.new" --target-dir "$tool.build" cargo-deny
	rm -rf "$tool.build"
	mv "$tool.new/bin/cargo-deny" "$tool"
	rm -rf "$tool.new"
}
if [ ! -x "$tool" ]; then
	lock cargo-deny
	[ -x "$tool" ] || step "building cargo-deny, once" "$LOGS/cargo-deny.log" build
fi
cd "$REPO/tools"
in_root "$tool" --locked check --config deny.toml licenses bans sources
