// SPDX-License-Identifier: GPL-2.0

//! Memory that a process and those forked from it write to at the same time, and that outlives each of them.

use anyhow::Context;
use anyhow::Result;
use rustix::mm;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;

/// What can stand in such memory.
///
/// # Safety
///
/// Bytes of zero are a value of the type, and all of it is atomic.
pub unsafe trait Shareable: Sync {}

/// A value of zeros that the processes forked from here on share, and that stays until the last of them has ended.
pub fn zeroed<T: Shareable>() -> Result<&'static T> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: Without MAP_FIXED the mapping replaces nothing.
    let memory = unsafe {
        mm::mmap_anonymous(
            std::ptr::null_mut(),
            size_of::<T>(),
            access,
            MapFlags::SHARED,
        )
    };
    let memory = memory.context("shared memory")?.cast::<T>();
    // SAFETY: The mapping is made of zeros, which are a value of the type, begins at a page, is never undone, and is
    // only written to atomically.
    Ok(unsafe { &*memory })
}
