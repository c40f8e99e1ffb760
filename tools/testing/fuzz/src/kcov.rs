// SPDX-License-Identifier: GPL-2.0

//! Which instructions of the kernel ran for a process: Documentation/dev-tools/kcov.rst.

use std::fs::File;
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use anyhow::Context;
use anyhow::Result;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;

const PATH: &str = "/sys/kernel/debug/kcov";
/// How many addresses there is room for.
const ROOM: usize = 1 << 17;
const INIT_TRACE: libc::Ioctl = 0x8008_6301_u32 as libc::Ioctl;
const ENABLE: libc::Ioctl = 0x6364;
const DISABLE: libc::Ioctl = 0x6365;
const TRACE_PC: libc::c_ulong = 0;

/// One for each actor, or none at all.
pub type Kcovs = Vec<Kcov>;

/// A buffer for the addresses of one process at a time, shared with all children.
pub struct Kcov {
    file: File,
    /// The number of addresses, then these.
    words: &'static [AtomicU64],
}

impl Kcov {
    pub fn open() -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(PATH);
        let file = file.context(PATH)?;
        ioctl(&file, INIT_TRACE, ROOM as libc::c_ulong).context("KCOV_INIT_TRACE")?;
        // SAFETY: Without MAP_FIXED the mapping replaces nothing.
        let start = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                ROOM * size_of::<u64>(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &file,
                0,
            )
        };
        let start = start.context("mmap of kcov")?;
        // SAFETY: The mapping is as long as this, is never unmapped, and others, the kernel and children, write to it in whole
        // words only.
        let words = unsafe { std::slice::from_raw_parts(start.cast::<AtomicU64>(), ROOM) };
        Ok(Self { file, words })
    }

    /// From here on, for the calling process.
    pub fn enable(&self) {
        ioctl(&self.file, ENABLE, TRACE_PC).expect("KCOV_ENABLE");
    }

    pub fn disable(&self) {
        ioctl(&self.file, DISABLE, 0).expect("KCOV_DISABLE");
    }

    /// Takes out the addresses that were written so far.
    pub fn take(&self) -> impl Iterator<Item = u64> + '_ {
        let count = self.words[0].swap(0, Ordering::Relaxed) as usize;
        let addresses = &self.words[1..=count.min(ROOM - 1)];
        addresses.iter().map(|word| word.load(Ordering::Relaxed))
    }
}

fn ioctl(file: &File, request: libc::Ioctl, argument: libc::c_ulong) -> std::io::Result<()> {
    // SAFETY: None of these requests has an address for its argument.
    match unsafe { libc::ioctl(file.as_raw_fd(), request, argument) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
