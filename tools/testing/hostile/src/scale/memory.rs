// SPDX-License-Identifier: GPL-2.0

//! The memory of the kernel's objects: slabs, and what there is of for each CPU.

use std::fs;
use std::fs::File;
use std::io::Read;
use std::io::Seek;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;

/// Long enough for what was given up to be freed; idle time passes at once under `-icount`.
const QUIET: Duration = Duration::from_secs(2);

/// The files that tell it. They are opened before the process enters a container, where it may not.
pub struct Memory {
    slabinfo: File,
    meminfo: File,
}

impl Memory {
    pub fn open() -> Result<Self> {
        let open = |path: &str| File::open(path).with_context(|| path.to_owned());
        Ok(Self {
            slabinfo: open("/proc/slabinfo")?,
            meminfo: open("/proc/meminfo")?,
        })
    }

    /// The bytes in use, after a while in which what is no longer used is freed.
    pub fn bytes(&mut self) -> Result<u64> {
        thread::sleep(QUIET);
        Ok(slabs(&text(&mut self.slabinfo)?)? + per_cpu(&text(&mut self.meminfo)?)?)
    }

    /// Takes free objects that are kept for reuse out of the count. Root's alone.
    pub fn shrink(&self) -> Result<()> {
        let directory = Path::new("/sys/kernel/slab");
        for cache in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
            let path = cache?.path().join("shrink");
            fs::write(&path, "1").with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

fn text(file: &mut File) -> Result<String> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// The sum over all caches, of lines that begin with: name <active_objs> <num_objs> <objsize>.
fn slabs(slabinfo: &str) -> Result<u64> {
    let bytes_of = |line: &str| {
        let mut fields = line.split_whitespace().skip(1).map(str::parse::<u64>);
        let (active, size) = (fields.next()?.ok()?, fields.nth(1)?.ok()?);
        Some(active * size)
    };
    let caches = slabinfo.lines().skip(2);
    caches
        .map(|line| bytes_of(line).with_context(|| format!("/proc/slabinfo: {line}")))
        .sum()
}

fn per_cpu(meminfo: &str) -> Result<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("Percpu:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    let kilobytes = kilobytes.context("/proc/meminfo has no Percpu")?;
    Ok(1024 * kilobytes.parse::<u64>()?)
}
