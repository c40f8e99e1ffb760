// SPDX-License-Identifier: GPL-2.0
//! Who asks, and what there is.

use crate::{
    capability::Capability,
    delegation::Delegation, //
};
use std::cell::Cell;

/// What every descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Descriptor {
    Token = 0,
    Other = 1,
    Closed = 2,
}

/// A world in which a command is decided.
#[derive(Clone, Copy)]
pub(crate) struct World {
    /// The capabilities of the caller in the initial user namespace, a bit each.
    pub(crate) init_caps: u64,
    /// Those in the user namespace of the token.
    pub(crate) own_caps: u64,
    /// What the token delegates, and what its instance delegates now.
    pub(crate) allowed: Delegation,
    pub(crate) present: Delegation,
    pub(crate) descriptor: Descriptor,
    /// `kernel.unprivileged_bpf_disabled`.
    pub(crate) disabled: u32,
    /// Whether the security modules agree to the command, and to capabilities.
    pub(crate) cmd_agreed: bool,
    pub(crate) cap_agreed: bool,
}

/// The capabilities that the policy asks for.
pub(crate) const CAPS: [Capability; 4] = [
    Capability::NET_ADMIN,
    Capability::SYS_ADMIN,
    Capability::PERFMON,
    Capability::BPF,
];

/// The bit of a capability.
pub(crate) const fn bit(cap: Capability) -> u64 {
    1 << cap.as_raw()
}

/// All four.
pub(crate) const ALL_CAPS: u64 = bit(CAPS[0]) | bit(CAPS[1]) | bit(CAPS[2]) | bit(CAPS[3]);

/// Their 16 subsets.
pub(crate) fn subsets() -> impl Iterator<Item = u64> {
    (0..16u32).map(|subset| {
        let has = |&(i, _): &(usize, &Capability)| subset >> i & 1 == 1;
        let caps = CAPS.iter().enumerate().filter(has);
        caps.fold(0, |caps, (_, &cap)| caps | bit(cap))
    })
}

impl World {
    /// The caller may do nothing, and the token delegates nothing; the security modules agree.
    pub(crate) const NOTHING: Self = Self {
        init_caps: 0,
        own_caps: 0,
        allowed: Delegation::NOTHING,
        present: Delegation::NOTHING,
        descriptor: Descriptor::Token,
        disabled: 0,
        cmd_agreed: true,
        cap_agreed: true,
    };

    /// That of a thread of the kernel, in which KUnit tests run.
    const KERNEL_THREAD: Self = Self {
        init_caps: ALL_CAPS,
        descriptor: Descriptor::Closed,
        ..Self::NOTHING
    };

    /// Makes this the world of this thread.
    pub(crate) fn enter(&self) {
        NOW.set(*self);
    }
}

thread_local! {
    static NOW: Cell<World> = const { Cell::new(World::KERNEL_THREAD) };
}

/// The world of this thread.
#[inline]
pub(crate) fn now() -> World {
    NOW.get()
}
