// SPDX-License-Identifier: GPL-2.0
//! What a token grants, as the kernel tells it.

use crate::mask::Attachs;
use crate::mask::Cmds;
use crate::mask::Kind;
use crate::mask::Maps;
use crate::mask::Mask;
use crate::mask::Progs;

/// `struct bpf_token_info`: what a token grants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct TokenInfo {
    /// Commands of bpf(2).
    pub cmds: Mask<Cmds>,
    /// Map types.
    pub maps: Mask<Maps>,
    /// Program types.
    pub progs: Mask<Progs>,
    /// Attach types.
    pub attachs: Mask<Attachs>,
}

impl TokenInfo {
    pub(crate) fn from_bits([cmds, maps, progs, attachs]: [u64; 4]) -> Self {
        Self {
            cmds: Mask::from_bits(cmds),
            maps: Mask::from_bits(maps),
            progs: Mask::from_bits(progs),
            attachs: Mask::from_bits(attachs),
        }
    }

    /// What `/proc/<pid>/fdinfo/<fd>` of a token says; `None` for the text of any other descriptor.
    ///
    /// `any` there stands for everything that the kernel knows.
    ///
    /// ```
    /// use bpf_token::TokenInfo;
    /// let text = "pos:\t0\nallowed_cmds:\tany\nallowed_maps:\t0x2\nallowed_progs:\t0x0\nallowed_attachs:\t0x0\n";
    /// let info = TokenInfo::from_fdinfo(text).unwrap();
    /// assert!(info.cmds.is_any());
    /// assert_eq!(info.maps.to_string(), "hash");
    /// assert_eq!(TokenInfo::from_fdinfo("pos:\t0\n"), None);
    /// ```
    pub fn from_fdinfo(text: &str) -> Option<Self> {
        fn field<K: Kind>(text: &str, key: &str) -> Option<Mask<K>> {
            let value = text
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t"))?;
            if value == "any" {
                return Some(Mask::ANY);
            }
            let hex = value.strip_prefix("0x")?;
            u64::from_str_radix(hex, 16).ok().map(Mask::from_bits)
        }
        Some(Self {
            cmds: field(text, "allowed_cmds")?,
            maps: field(text, "allowed_maps")?,
            progs: field(text, "allowed_progs")?,
            attachs: field(text, "allowed_attachs")?,
        })
    }

    /// Whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is in this and not in the other: what a token of the other lacks of this.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        Self {
            cmds: self.cmds.difference(other.cmds),
            maps: self.maps.difference(other.maps),
            progs: self.progs.difference(other.progs),
            attachs: self.attachs.difference(other.attachs),
        }
    }
}
