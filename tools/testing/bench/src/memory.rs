// SPDX-License-Identifier: GPL-2.0
//! Slab memory, from /proc/slabinfo.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;

use crate::bpf;
use crate::bpf::Command;
use crate::measure::Record;
use crate::measure::Unit;
use crate::mounts;

/// Enough that partly used slabs do not show; fewer than descriptors are allowed.
const OBJECTS: usize = 900;

/// Long enough for what was given up to be freed; idle time passes at once under `-icount`.
const QUIET: Duration = Duration::from_secs(2);

/// Has each cache give back what it keeps for the next allocations: the kernel counts that as in use.
fn shrink() -> Result<()> {
    let caches = "/sys/kernel/slab";
    for cache in std::fs::read_dir(caches).context(caches)? {
        let path = cache?.path().join("shrink");
        std::fs::write(&path, "1").with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// The bytes of all objects in use.
fn slab_bytes() -> Result<u64> {
    std::thread::sleep(QUIET);
    shrink()?;
    let path = "/proc/slabinfo";
    let text = std::fs::read_to_string(path).with_context(|| path.to_owned())?;
    let mut bytes = 0;
    for line in text.lines().skip(2) {
        // name <active_objs> <num_objs> <objsize> ...
        let field = |n: usize| {
            line.split_whitespace()
                .nth(n)
                .and_then(|word| word.parse::<u64>().ok())
        };
        let (Some(active), Some(size)) = (field(1), field(3)) else {
            anyhow::bail!("{path}: not a line of a cache: {line}");
        };
        bytes += active * size;
    }
    Ok(bytes)
}

fn per_object<T>(operation: &str, goal: f64, mut make: impl FnMut() -> T) -> Result<()> {
    // What the first object fills is there for the others.
    let first: Vec<T> = (0..20).map(|_| make()).collect();
    let mut kept = Vec::with_capacity(OBJECTS);
    let before = slab_bytes()?;
    for _ in 0..OBJECTS {
        kept.push(make());
    }
    let after = slab_bytes()?;
    drop(first);
    let record = Record {
        operation: operation.to_owned(),
        unit: Unit::Bytes,
        value: (after as f64 - before as f64) / OBJECTS as f64,
        goal,
        beside: None,
    };
    record.print()
}

/// Bytes per token.
pub fn tokens(root: BorrowedFd<'_>) -> Result<()> {
    let mut create = Command::token_create(root);
    per_object("slab bytes of a token", 1.0, || bpf::fd(create.run()))
}

/// Bytes per delegated mount. Its options have a cookie beside what C's have, which takes them from 64 bytes to 96.
pub fn mounts() -> Result<()> {
    per_object("slab bytes of a delegated mount", 1.01, mounts::delegated)
}
