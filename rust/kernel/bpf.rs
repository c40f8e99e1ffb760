// SPDX-License-Identifier: GPL-2.0

//! BPF.
//!
//! C headers: [`include/linux/bpf.h`](srctree/include/linux/bpf.h) and
//! [`include/uapi/linux/bpf.h`](srctree/include/uapi/linux/bpf.h).

pub mod bpffs;
pub mod info;
pub mod log;
pub mod prog_type;
pub mod security;
