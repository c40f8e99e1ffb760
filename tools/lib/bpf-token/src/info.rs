// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a token grants, as the kernel tells it.

use crate::kind::Kind;
use crate::mask::bit;
use crate::mask::items;
use crate::mask::values;
use crate::mask::Mask;
use crate::names::AttachType;
use crate::names::Cmd;
use crate::names::MapType;
use crate::names::ProgType;

/// `struct bpf_token_info`: what a token grants now.
///
/// Where the kernel can take back what a BPF FS delegates, that is less than it was made with once
/// something was taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct TokenInfo {
    /// Commands of bpf(2).
    pub cmds: Mask<Cmd>,
    /// Map types.
    pub maps: Mask<MapType>,
    /// Program types.
    pub progs: Mask<ProgType>,
    /// Attach types.
    pub attachs: Mask<AttachType>,
    /// The manager's word for whom it delegates to, for policies; 0 if it gave none.
    #[cfg_attr(
        feature = "serde",
        serde(default, skip_serializing_if = "crate::delegation::is_zero")
    )]
    pub cookie: u64,
}

/// One of the four sets, without the type of its kind: what is needed to walk them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AnyMask {
    /// The kind.
    pub kind: &'static Kind,
    /// The bits.
    pub bits: u64,
}

impl AnyMask {
    /// Whether nothing is in the set.
    pub fn is_empty(self) -> bool {
        self.bits == 0
    }

    /// The values in the set, lowest first.
    pub fn values(self) -> impl Iterator<Item = u32> {
        values(self.bits)
    }
}

impl std::fmt::Display for AnyMask {
    /// As [`Mask`] prints.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&items(self.kind, self.bits).join(":"))
    }
}

impl TokenInfo {
    /// The info with these bits, in the order of [`Kind::ALL`], and without a cookie.
    pub const fn from_bits([cmds, maps, progs, attachs]: [u64; 4]) -> Self {
        Self {
            cmds: Mask::from_bits(cmds),
            maps: Mask::from_bits(maps),
            progs: Mask::from_bits(progs),
            attachs: Mask::from_bits(attachs),
            cookie: 0,
        }
    }

    /// The bits, in the order of [`Kind::ALL`].
    pub const fn bits(&self) -> [u64; 4] {
        [
            self.cmds.bits(),
            self.maps.bits(),
            self.progs.bits(),
            self.attachs.bits(),
        ]
    }

    /// The same sets with this cookie.
    #[must_use]
    pub const fn with_cookie(mut self, cookie: u64) -> Self {
        self.cookie = cookie;
        self
    }

    /// The four sets, each with its kind.
    pub fn masks(&self) -> [AnyMask; 4] {
        let bits = self.bits();
        std::array::from_fn(|at| AnyMask {
            kind: Kind::ALL[at],
            bits: bits[at],
        })
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
        let mut all = [0; 4];
        for (bits, kind) in all.iter_mut().zip(Kind::ALL) {
            let value = text.lines().find_map(|line| {
                let rest = line.strip_prefix("allowed_")?.strip_prefix(kind.key)?;
                rest.strip_prefix(":\t")
            })?;
            *bits = match value.strip_prefix("0x") {
                Some(hex) => u64::from_str_radix(hex, 16).ok()?,
                None if value == "any" => u64::MAX,
                None => return None,
            };
        }
        let cookie = match text.lines().find_map(|line| line.strip_prefix("cookie:\t")) {
            Some(cookie) => cookie.parse().ok()?,
            // It is 0, or the kernel has none.
            None => 0,
        };
        Some(Self::from_bits(all).with_cookie(cookie))
    }

    /// Whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        self.bits() == [0; 4]
    }

    /// What is in this and not in the other: what a token of the other lacks of this. It has no
    /// cookie, and what the other methods return has this one's.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.zip(other, |own, other| own & !other).with_cookie(0)
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.zip(other, |own, other| own & other)
    }

    /// This without one item.
    ///
    /// ```
    /// use bpf_token::{Cmd, Enumerator, Mask, TokenInfo};
    /// let mut info = TokenInfo::default();
    /// info.cmds = Mask::from(Cmd::BTF_LOAD);
    /// assert!(info.without(Cmd::KIND, 18).is_empty());
    /// ```
    #[must_use]
    pub fn without(&self, kind: &Kind, value: u32) -> Self {
        let masks = self.masks();
        Self::from_bits(masks.map(|mask| {
            let drop = if mask.kind == kind { bit(value) } else { 0 };
            mask.bits & !drop
        }))
        .with_cookie(self.cookie)
    }

    fn zip(&self, other: &Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        let (own, other) = (self.bits(), other.bits());
        Self::from_bits(std::array::from_fn(|at| combine(own[at], other[at])))
            .with_cookie(self.cookie)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fdinfo_may_have_a_cookie() {
        let masks =
            "allowed_cmds:\t0x1\nallowed_maps:\tany\nallowed_progs:\t0x0\nallowed_attachs:\t0x0\n";
        let info = |cookie: &str| TokenInfo::from_fdinfo(&format!("pos:\t0\n{masks}{cookie}"));
        assert_eq!(info("").map(|info| info.cookie), Some(0));
        let most = format!("cookie:\t{}\n", u64::MAX);
        assert_eq!(info(&most).map(|info| info.cookie), Some(u64::MAX));
        assert_eq!(info("cookie:\tx\n"), None);
    }

    #[test]
    fn a_cookie_permits_nothing() {
        let info = TokenInfo::from_bits([1, 0, 0, 0]).with_cookie(7);
        assert!(!info.is_empty());
        assert!(info.difference(&info).is_empty());
        assert_eq!(info.difference(&info).cookie, 0);
        assert_eq!(info.intersection(&TokenInfo::default()).cookie, 7);
        assert!(TokenInfo::default().with_cookie(7).is_empty());
    }
}
