// SPDX-License-Identifier: GPL-2.0
//! Builds the programs in Go from the sources that Debian has.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// The programs, and their sources.
const PROGRAMS: [(&str, &str); 3] = [
    ("go-client", "go/main.go"),
    ("nri-runtime", "go/nri-runtime/main.go"),
    ("kubelet", "go/kubelet/main.go"),
];

fn main() {
    println!("cargo:rerun-if-changed=go");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for (name, source) in PROGRAMS {
        let status = Command::new("go")
            .args(["build", "-ldflags=-s -w", "-o"])
            .arg(out.join(name))
            .arg(source)
            .env("CGO_ENABLED", "0")
            .env("GO111MODULE", "off")
            .env("GOPATH", "/usr/share/gocode")
            .env("GOCACHE", out.join("cache"))
            .env("GOFLAGS", "-trimpath")
            .env("GOTOOLCHAIN", "local")
            .status()
            .expect("go builds the programs: install golang-go");
        assert!(status.success(), "go build {source} failed: {status}");
    }
}
