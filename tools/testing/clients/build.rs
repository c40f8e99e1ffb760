// SPDX-License-Identifier: GPL-2.0
//! Builds the client in Go from the sources that Debian has.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=go");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let status = Command::new("go")
        .args(["build", "-ldflags=-s -w", "-o"])
        .arg(out.join("go-client"))
        .arg("go/main.go")
        .env("CGO_ENABLED", "0")
        .env("GO111MODULE", "off")
        .env("GOPATH", "/usr/share/gocode")
        .env("GOCACHE", out.join("cache"))
        .env("GOFLAGS", "-trimpath")
        .env("GOTOOLCHAIN", "local")
        .status()
        .expect("go builds the client: install golang-go");
    assert!(status.success(), "go build failed: {status}");
}
