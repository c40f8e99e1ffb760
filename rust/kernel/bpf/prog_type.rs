// SPDX-License-Identifier: GPL-2.0

//! What program types need to be loaded.
//!
//! C source: [`kernel/bpf/syscall.c`](srctree/kernel/bpf/syscall.c).

use crate::bindings;

/// Whether programs of this type need `CAP_NET_ADMIN`.
#[inline]
pub fn needs_net_admin(prog_type: u32) -> bool {
    // SAFETY: The function only looks at the number.
    unsafe { bindings::is_net_admin_prog_type(prog_type) }
}

/// Whether programs of this type need `CAP_PERFMON`.
#[inline]
pub fn needs_perfmon(prog_type: u32) -> bool {
    // SAFETY: The function only looks at the number.
    unsafe { bindings::is_perfmon_prog_type(prog_type) }
}
