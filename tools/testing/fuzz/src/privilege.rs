// SPDX-License-Identifier: GPL-2.0

//! Which privileges a caller has, and the types that calls are made of.

use guest::rules::is_capable;
use guest::rules::set_of;
use guest::rules::Cap;

/// Where and with what privileges a process calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// In the initial user namespace, and not in the container.
    pub outside: bool,
    /// With `kernel.unprivileged_bpf_disabled`.
    pub disabled: bool,
    /// Which of CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and CAP_SYS_ADMIN it has, bit by bit.
    pub caps: u8,
}

impl Caller {
    /// `capable()`, or, by a token, `ns_capable()` in the user namespace of the container. Root outside of it has made it, so
    /// it may do all there.
    pub fn capable_by(self, token: bool, cap: Cap) -> bool {
        match (token, self.outside) {
            (true, true) => true,
            (false, false) => false,
            _ => is_capable(set_of(self.caps), cap),
        }
    }
}

pub const HASH: u32 = 1;
pub const ARRAY: u32 = 2;
pub const DEVMAP: u32 = 14;
pub const STACK: u32 = 23;
pub const RINGBUF: u32 = 27;

pub const SOCKET_FILTER: u32 = 1;
pub const KPROBE: u32 = 2;
pub const SCHED_CLS: u32 = 3;
pub const XDP: u32 = 6;
pub const CGROUP_SKB: u32 = 8;
pub const EXT: u32 = 28;
pub const LSM: u32 = 29;
