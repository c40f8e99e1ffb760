// SPDX-License-Identifier: GPL-2.0
//! BPF loaders that know nothing of tokens: the program `aya-client`, and one here; and what speaks to
//! `bpftoken nri-plugin`.

/// A static program in Go, which loads a BPF object with cilium/ebpf.
pub const GO_CLIENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/go-client"));

/// A runtime that asks its plugins what they make of containers, with containerd's own library for it.
pub const NRI_RUNTIME: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/nri-runtime"));

/// What a kubelet asks of a container runtime, to run a pod's manifest.
pub const KUBELET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kubelet"));
