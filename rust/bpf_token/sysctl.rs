// SPDX-License-Identifier: GPL-2.0

//! The sysctls that a command is decided by.
//!
//! Reference: [`/proc/sys/kernel/`](srctree/Documentation/admin-guide/sysctl/kernel.rst).

use kernel::{
    bindings,
    macros::kunit_tests, //
};

/// `kernel.unprivileged_bpf_disabled`: whether nothing can be made without `CAP_BPF`.
#[inline]
pub(crate) fn unprivileged_bpf_disabled() -> bool {
    // SAFETY: The variable is always there; the sysctl may write to it at the same time.
    unsafe { (&raw const bindings::sysctl_unprivileged_bpf_disabled).read_volatile() != 0 }
}

#[kunit_tests(bpf_token_sysctl)]
mod tests {
    use super::*;

    /// A value of 1 is for as long as the kernel runs: no test of userspace sets it.
    #[test]
    fn each_value_but_0_disables() {
        let sysctl = &raw mut bindings::sysctl_unprivileged_bpf_disabled;
        // SAFETY: The variable is always there, and the test puts back what was in it.
        let read = unsafe {
            let before = sysctl.read_volatile();
            let read = [0, 1, 2].map(|value| {
                sysctl.write_volatile(value);
                unprivileged_bpf_disabled()
            });
            sysctl.write_volatile(before);
            read
        };
        assert!(read == [false, true, true]);
    }
}
