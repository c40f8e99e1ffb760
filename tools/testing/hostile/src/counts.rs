// SPDX-License-Identifier: GPL-2.0

//! What the kernel holds, to be compared with what it held before.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context;
use anyhow::Result;
use guest::bpf;
use guest::kernel;
use guest::sys::Command;

/// Slab caches of what a token, or an instance of BPF FS, holds or is. An instance is told by its user namespace, which
/// its super block references.
const CACHES: [&str; 3] = ["bpf_fs_inode_cache", "mnt_cache", "user_namespace"];

/// How long work items and RCU grace periods may take, before memory is asked back.
const GRACE: Duration = Duration::from_millis(100);

/// How many objects of each kind there are in the whole system.
#[derive(Clone, Debug)]
pub struct Counts(Vec<(&'static str, u64)>);

impl Counts {
    /// Counts what there is now. In a kernel that neither debugs its slabs nor checks addresses, the caches may count
    /// a few objects that are free.
    pub fn now() -> Result<Self> {
        let mut counts = vec![
            ("inodes", kernel::inodes()),
            ("open files", open_files()?),
            ("BPF programs", bpf::objects(Command::ProgGetNextId)),
            ("BPF maps", bpf::objects(Command::MapGetNextId)),
            ("BTF objects", bpf::objects(Command::BtfGetNextId)),
        ];
        for cache in CACHES {
            counts.push((cache, objects_in(cache)?));
        }
        Ok(Self(counts))
    }

    /// What there is more of than `before`, and how many more.
    pub fn beyond(&self, before: &Self) -> Vec<(&'static str, u64)> {
        self.0
            .iter()
            .zip(&before.0)
            .map(|((kind, now), (_, before))| (*kind, now.saturating_sub(*before)))
            .filter(|(_, more)| *more > 0)
            .collect()
    }

    /// Waits until there is no more of anything than there was `before`, as much is freed by work items, after RCU
    /// grace periods, and by `kfree_rcu()`, which frees what it has gathered every five seconds, or sooner if memory is
    /// asked back. Tells what there still is more of after `patience`. Only the kinds that are `wanted` are looked at.
    pub fn settle(
        before: &Self,
        patience: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<(&'static str, u64)>> {
        let start = Instant::now();
        let mut asked_back = false;
        loop {
            let mut beyond = Self::now()?.beyond(before);
            beyond.retain(|(kind, _)| wanted(kind));
            if beyond.is_empty() || start.elapsed() > patience {
                return Ok(beyond);
            }
            if !asked_back && start.elapsed() > GRACE {
                drop_caches()?;
                asked_back = true;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.0.iter().map(|(kind, count)| format!("{count} {kind}"));
        f.write_str(&counts.collect::<Vec<_>>().join(", "))
    }
}

/// Has the kernel give back the inodes and dentries that it keeps only in case they are asked for again, and what
/// `kfree_rcu()` has gathered.
pub fn drop_caches() -> Result<()> {
    const PATH: &str = "/proc/sys/vm/drop_caches";
    fs::write(PATH, "2").context(PATH)
}

/// What is open in the whole system: the first number of `file-nr`.
fn open_files() -> Result<u64> {
    const PATH: &str = "/proc/sys/fs/file-nr";
    let text = fs::read_to_string(PATH).context(PATH)?;
    let first = text.split_whitespace().next().unwrap_or_default();
    first.parse().context(PATH)
}

/// Counts the objects of a slab cache in use, and not those that are free but kept: for reuse, or by KASAN.
fn objects_in(cache: &str) -> Result<u64> {
    let directory = Path::new("/sys/kernel/slab").join(cache);
    let read = || -> io::Result<String> {
        fs::write(directory.join("shrink"), "1")?;
        fs::read_to_string(directory.join("objects"))
    };
    let text = read().with_context(|| {
        let directory = directory.display();
        format!("{directory}: is this a kernel with CONFIG_SLUB_DEBUG?")
    })?;
    // The total is followed by the numbers of each node.
    let total = text.split_whitespace().next().unwrap_or_default();
    total
        .parse()
        .with_context(|| format!("{}: {text}", directory.display()))
}
