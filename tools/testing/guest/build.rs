// SPDX-License-Identifier: GPL-2.0
//! Compiles `bpf/token_hooks.bpf.c` with clang to `OUT_DIR/token_hooks.bpf.o`.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    const SOURCE: &str = "bpf/token_hooks.bpf.c";
    let var = |name: &str| PathBuf::from(env::var_os(name).expect("cargo sets it"));
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets it");
    println!("cargo:rerun-if-changed={SOURCE}");
    let status = Command::new("clang")
        .args([
            "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror",
        ])
        .arg("-I")
        .arg(var("DEP_BPF_INCLUDE"))
        .arg(format!("-I/usr/include/{arch}-linux-gnu"))
        .args(["-c", SOURCE, "-o"])
        .arg(var("OUT_DIR").join("token_hooks.bpf.o"))
        .status()
        .expect("clang compiles BPF: install clang");
    assert!(status.success(), "clang failed on {SOURCE}: {status}");
}
