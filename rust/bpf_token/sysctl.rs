// SPDX-License-Identifier: GPL-2.0

//! The sysctls that a command is decided by.
//!
//! Reference: [`/proc/sys/kernel/`](srctree/Documentation/admin-guide/sysctl/kernel.rst).

use kernel::bindings;

/// `kernel.unprivileged_bpf_disabled`: whether nothing can be made without `CAP_BPF`.
#[inline]
pub(crate) fn unprivileged_bpf_disabled() -> bool {
    // SAFETY: The variable is always there; the sysctl may write to it at the same time.
    unsafe { (&raw const bindings::sysctl_unprivileged_bpf_disabled).read_volatile() != 0 }
}
