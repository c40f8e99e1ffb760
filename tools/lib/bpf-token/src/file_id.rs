// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a file is known by, whatever its path.

use rustix::fs::Stat;

/// The device and inode of a file, which are its own as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }
}
