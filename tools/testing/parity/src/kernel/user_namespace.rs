// SPDX-License-Identifier: GPL-2.0
//! The two user namespaces of a world, in which the caller has what it says.

use crate::{capability::Capability, world};

/// A user namespace.
#[derive(Debug, PartialEq, Eq)]
pub enum UserNamespace {
    /// The initial one.
    Initial,
    /// That of the token.
    OfToken,
}

impl UserNamespace {
    /// Returns the initial one.
    pub fn init() -> &'static Self {
        &Self::Initial
    }

    /// Returns its number.
    pub fn inum(&self) -> u32 {
        match self {
            Self::Initial => 1,
            Self::OfToken => 2,
        }
    }

    /// Whether the caller has a capability in it.
    pub fn capable(&self, cap: Capability) -> bool {
        let world = world::now();
        let caps = match self {
            Self::Initial => world.init_caps,
            Self::OfToken => world.own_caps,
        };
        caps >> cap.as_raw() & 1 == 1
    }

    /// As [`Self::capable`]: nobody listens here.
    pub fn capable_noaudit(&self, cap: Capability) -> bool {
        self.capable(cap)
    }
}
