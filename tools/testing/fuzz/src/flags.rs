// SPDX-License-Identifier: GPL-2.0

//! Flags of `open(2)` by their names, as their numbers are not the same on each architecture.

use std::fmt;
use std::str::FromStr;

use anyhow::Context;
use anyhow::Error;
use anyhow::Result;
use fastrand::Rng;

const NAMES: [(&str, i32); 14] = [
    ("wronly", libc::O_WRONLY),
    ("rdwr", libc::O_RDWR),
    ("path", libc::O_PATH),
    ("directory", libc::O_DIRECTORY),
    ("nofollow", libc::O_NOFOLLOW),
    ("trunc", libc::O_TRUNC),
    ("append", libc::O_APPEND),
    ("creat", libc::O_CREAT),
    ("excl", libc::O_EXCL),
    ("nonblock", libc::O_NONBLOCK),
    ("direct", libc::O_DIRECT),
    ("noatime", libc::O_NOATIME),
    ("dsync", libc::O_DSYNC),
    ("sync", libc::O_SYNC),
];

/// Some of them, as bits in the order of `NAMES`. Without one, a file is opened to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenFlags(u32);

impl OpenFlags {
    /// By chance: an access mode, and more and more seldom others.
    pub fn any(rng: &mut Rng) -> Self {
        const MODES: [u32; 3] = [0, 1 << 0, 1 << 1];
        let mut flags = MODES[rng.usize(..MODES.len())];
        while rng.bool() {
            flags |= 1 << rng.usize(2..NAMES.len());
        }
        let flags = Self(flags);
        // Without O_CREAT, O_EXCL means nothing that is promised.
        if flags.has("excl") {
            return Self(flags.0 | Self::bit("creat"));
        }
        flags
    }

    fn bit(name: &str) -> u32 {
        let at = NAMES.iter().position(|(known, _)| *known == name);
        1 << at.expect("a name of a flag")
    }

    pub fn has(self, name: &str) -> bool {
        self.0 & Self::bit(name) != 0
    }

    /// Each set that has one flag less.
    pub fn fewer(self) -> impl Iterator<Item = Self> {
        let less = (0..NAMES.len()).map(move |bit| Self(self.0 & !(1 << bit)));
        less.filter(move |less| *less != self)
    }

    /// Their numbers on this architecture, in one.
    pub fn bits(self) -> u32 {
        let set = NAMES.iter().enumerate();
        let set = set.filter(|(bit, _)| self.0 & (1 << bit) != 0);
        set.fold(0, |bits, (_, (_, flag))| bits | *flag as u32)
    }
}

impl fmt::Display for OpenFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = NAMES.iter().filter(|(name, _)| self.has(name));
        let names: Vec<_> = names.map(|(name, _)| *name).collect();
        match names.as_slice() {
            [] => f.write_str("rdonly"),
            _ => f.write_str(&names.join(",")),
        }
    }
}

impl FromStr for OpenFlags {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let names = text.split(',').filter(|name| *name != "rdonly");
        let mut flags = 0;
        for name in names {
            let at = NAMES.iter().position(|(known, _)| *known == name);
            flags |= 1 << at.with_context(|| format!("{name:?} is no flag of open"))?;
        }
        Ok(Self(flags))
    }
}
