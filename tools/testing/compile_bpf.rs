// SPDX-License-Identifier: GPL-2.0
//! The build script of packages with BPF programs: compiles their `bpf/*.bpf.c` with clang to `OUT_DIR/*.bpf.o`.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    let var = |name: &str| PathBuf::from(env::var_os(name).expect("cargo sets it"));
    let headers = var("DEP_BPF_INCLUDE");
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets it");
    // The names that bpf_tracing.h has for the machines of the same name in Rust.
    let bpf_arch = match arch.as_str() {
        "x86_64" => "x86",
        "aarch64" => "arm64",
        "riscv64" => "riscv",
        other => other,
    };
    println!("cargo:rerun-if-changed=bpf");
    for entry in fs::read_dir("bpf").expect("bpf/ is there") {
        let source = entry.expect("bpf/ can be read").path();
        let Some(stem) = source.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let Some(stem) = stem.strip_suffix(".c") else {
            continue;
        };
        let status = Command::new("clang")
            .args([
                "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror",
            ])
            .arg(format!("-D__TARGET_ARCH_{bpf_arch}"))
            .arg("-I")
            .arg(&headers)
            .arg(format!("-I/usr/include/{arch}-linux-gnu"))
            .arg("-c")
            .arg(&source)
            .arg("-o")
            .arg(var("OUT_DIR").join(format!("{stem}.o")))
            .status()
            .expect("clang compiles BPF: install clang");
        assert!(
            status.success(),
            "clang failed on {}: {status}",
            source.display()
        );
    }
}
