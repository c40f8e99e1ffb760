// SPDX-License-Identifier: GPL-2.0
//! BPF loaders that know nothing of tokens: the program `aya-client`, and this one.

/// A static program in Go, which loads a BPF object with cilium/ebpf.
pub const GO_CLIENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/go-client"));
