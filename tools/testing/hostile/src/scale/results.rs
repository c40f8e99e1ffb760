// SPDX-License-Identifier: GPL-2.0

//! What was measured, told by the process that measured it to the one that prints it.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::ensure;
use anyhow::Result;

use super::HOLDERS;
use super::MOUNTS;
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

    fn get(&self) -> (u64, u64) {
        (self.first.load(Relaxed), self.last.load(Relaxed))
    }

    fn ratio(&self) -> f64 {
        let (first, last) = self.get();
        last as f64 / first as f64
    }
}

impl Results {
    /// Prints the table, and fails if something grows or is left.
    pub fn report(&self, left: &[(&'static str, u64)], bytes_left: u64) -> Result<()> {
        println!(
            "{:24} {:>8} {:>10} {:>10} {:>6} {:>8} {:>8} {:>6} {:>5}",
            "", "number", "ns, first", "last", "ratio", "B, first", "last", "ratio", "left"
        );
        let tokens = HOLDERS * TOKENS;
        let mut failed = Vec::new();
        let mut print = |name: &str, number: usize, row: &Row, cache: Option<&str>| {
            let (first, last) = row.time.get();
            let mut line = format!(
                "{name:24} {number:8} {first:10} {last:10} {:6.3}",
                row.time.ratio()
            );
            // Not a number if it was never measured.
            if !(row.time.ratio() <= LIMIT) {
                failed.push(format!("{name}: time grows by {:.3}", row.time.ratio()));
            }
            if let Some(cache) = cache {
                let (first, last) = row.bytes.get();
                let of_cache = left.iter().find(|(kind, _)| *kind == cache);
                let left = of_cache.map_or(0, |(_, left)| *left);
                line += &format!(" {first:8} {last:8} {:6.3} {left:5}", row.bytes.ratio());
                if !(row.bytes.ratio() <= LIMIT) {
                    failed.push(format!("{name}: memory grows by {:.3}", row.bytes.ratio()));
                }
                if left > 0 {
                    failed.push(format!("{name}: {left} are left ({cache})"));
                }
            }
            println!("{line}");
        };
        print("delegated mount", MOUNTS, &self.mount, Some("mnt_cache"));
        print("token", tokens, &self.token, Some("bpf_fs_inode_cache"));
        print("token closed", tokens, &self.close, None);
        print("unmounted", MOUNTS, &self.unmount, None);

        let peak = self.peak_bytes.load(Relaxed);
        println!("{peak} bytes for all of them, of which {bytes_left} are left");
        if bytes_left as f64 > CHANCE * peak as f64 {
            failed.push(format!("{bytes_left} bytes are left of {peak}"));
        }
        ensure!(failed.is_empty(), "{}", failed.join("\n"));
        Ok(())
    }
}
