// SPDX-License-Identifier: GPL-2.0

//! The four masks of a delegation or a token.

use std::ops::BitAnd;

/// What a token permits: the first four fields of `struct bpf_token_info`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Masks {
    pub cmds: u64,
    pub maps: u64,
    pub progs: u64,
    pub attachs: u64,
}

impl Masks {
    pub const NONE: Self = Self::each(0);
    pub const ALL: Self = Self::each(u64::MAX);

    /// The same mask four times.
    pub const fn each(mask: u64) -> Self {
        Self {
            cmds: mask,
            maps: mask,
            progs: mask,
            attachs: mask,
        }
    }

    /// The masks in the order of the structures that they stand in.
    pub fn words(&self) -> [u64; 4] {
        [self.cmds, self.maps, self.progs, self.attachs]
    }

    pub fn is_within(&self, other: &Self) -> bool {
        *self & *other == *self
    }

    /// The masks as values of the mount options.
    pub fn options(&self) -> [(&'static str, String); 4] {
        [
            ("delegate_cmds", self.cmds),
            ("delegate_maps", self.maps),
            ("delegate_progs", self.progs),
            ("delegate_attachs", self.attachs),
        ]
        .map(|(option, mask)| (option, format!("{mask:#x}")))
    }
}

impl From<[u64; 4]> for Masks {
    fn from([cmds, maps, progs, attachs]: [u64; 4]) -> Self {
        Self {
            cmds,
            maps,
            progs,
            attachs,
        }
    }
}

impl BitAnd for Masks {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self {
            cmds: self.cmds & other.cmds,
            maps: self.maps & other.maps,
            progs: self.progs & other.progs,
            attachs: self.attachs & other.attachs,
        }
    }
}
