// SPDX-License-Identifier: GPL-2.0

//! What was measured, told by the process that measured it to the one that prints it.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::ensure;
use anyhow::Result;

use super::HOLDERS;
use super::MOUNTS;
use super::THOUSAND;
use super::TOKENS;
use crate::shared::Shareable;

/// The last thousand may take this much of what the first took.
const LIMIT: f64 = 1.2;

/// The part of all that memory that may be left: what the rest of the system uses by chance.
const CHANCE: f64 = 0.01;

#[derive(Default)]
pub struct Results {
    pub mount: Row,
    pub token: Row,
    pub close: Row,
    pub unmount: Row,
    /// Without tokens, and with all of them.
    pub remount: Row,
    pub peak_bytes: AtomicU64,
}

/// The time and memory of one of the first and of one of the last thousand.
#[derive(Default)]
pub struct Row {
    pub time: Pair,
    pub bytes: Pair,
}

#[derive(Default)]
pub struct Pair {
    first: AtomicU64,
    last: AtomicU64,
}

// SAFETY: Atomics alone, of which zero is a value.
unsafe impl Shareable for Results {}

/// Which thousand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Thousand {
    First,
    Last,
}

impl Thousand {
    /// What the thousand at `index` of so many is, if it is measured.
    pub fn of(index: usize, number: usize) -> Option<Self> {
        match index {
            0 => Some(Self::First),
            _ if index + 1 == number => Some(Self::Last),
            _ => None,
        }
    }
}

impl Pair {
    pub fn set(&self, thousand: Thousand, value: u64) {
        let place = match thousand {
            Thousand::First => &self.first,
            Thousand::Last => &self.last,
        };
        place.store(value, Relaxed);
    }

    /// What the last takes of what the first takes. Infinite if that was never measured.
    fn ratio(&self) -> f64 {
        let (first, last) = (self.first.load(Relaxed), self.last.load(Relaxed));
        if first == 0 {
            return f64::INFINITY;
        }
        last as f64 / first as f64
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.first.load(Relaxed), self.last.load(Relaxed));
        write!(f, " {first:10} {last:10} {:6.3}", self.ratio())
    }
}

impl Results {
    /// Prints the table, and fails if something grows or is left.
    pub fn report(&self, left: &[(&'static str, u64)], bytes_left: u64) -> Result<()> {
        let left_of = |cache: &str| {
            let found = left.iter().find(|(kind, _)| *kind == cache);
            found.map_or(0, |(_, left)| *left)
        };
        let (mounts, tokens) = (left_of("mnt_cache"), left_of("bpf_fs_inode_cache"));
        let rows = [
            ("delegated mount", MOUNTS, &self.mount, Some(mounts)),
            ("token", HOLDERS * TOKENS, &self.token, Some(tokens)),
            ("token closed", HOLDERS * TOKENS, &self.close, None),
            ("unmounted", MOUNTS, &self.unmount, None),
            ("remounted", 2 * THOUSAND, &self.remount, None),
        ];

        println!(
            "{:16} {:>7} {:>10} {:>10} {:>6} {:>10} {:>10} {:>6} {:>6}",
            "", "number", "ns: first", "last", "ratio", "B: first", "last", "ratio", "left"
        );
        let mut failed = Vec::new();
        for (name, number, Row { time, bytes }, left) in rows {
            print!("{name:16} {number:7}{time}");
            let mut check = |what: &str, ratio: f64| {
                if ratio > LIMIT {
                    failed.push(format!("{name}: {what} grows by the factor {ratio:.3}"));
                }
            };
            check("time", time.ratio());
            if let Some(left) = left {
                print!("{bytes} {left:6}");
                check("memory", bytes.ratio());
            }
            println!();
        }
        let peak = self.peak_bytes.load(Relaxed);
        println!("{peak} bytes for all of them; {bytes_left} are left");
        if bytes_left as f64 > CHANCE * peak as f64 {
            failed.push(format!("{bytes_left} bytes are left of {peak}"));
        }
        ensure!(failed.is_empty(), "{}", failed.join("\n"));
        Ok(())
    }
}
