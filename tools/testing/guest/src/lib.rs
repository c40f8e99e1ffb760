// SPDX-License-Identifier: GPL-2.0

//! What tests of the kernel's BPF token stand on: processes, containers and file systems as a test needs them, the
//! `bpf()` commands, and what the kernel holds and logs.
//!
//! All of it panics where something does not come out as the caller of it takes for granted.

#![expect(missing_docs, reason = "for the test programs of this workspace only")]

pub mod attr;
pub mod bpf;
pub mod btf;
pub mod container;
pub mod contested;
pub mod context;
pub mod enums;
pub mod filter;
pub mod insn;
pub mod kernel;
pub mod log;
pub mod managed;
pub mod masks;
pub mod process;
pub mod prog_info;
pub mod restrict;
pub mod rules;
pub mod struct_ops;
pub mod sys;
pub mod trial;
pub mod uring;
