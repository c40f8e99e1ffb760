// SPDX-License-Identifier: GPL-2.0

//! BPF.
//!
//! C headers: [`include/linux/bpf.h`](srctree/include/linux/bpf.h) and
//! [`include/uapi/linux/bpf.h`](srctree/include/uapi/linux/bpf.h).

use crate::bindings;

pub mod bpffs;
pub mod info;
pub mod log;
pub mod prog_type;
pub mod security;

/// `kernel.unprivileged_bpf_disabled`: whether nothing can be made without `CAP_BPF`.
#[inline]
pub fn unprivileged_disabled() -> bool {
    // SAFETY: The variable is always there; the sysctl may write to it at the same time.
    unsafe { (&raw const bindings::sysctl_unprivileged_bpf_disabled).read_volatile() != 0 }
}
