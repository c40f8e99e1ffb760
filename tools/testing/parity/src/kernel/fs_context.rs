// SPDX-License-Identifier: GPL-2.0
//! The context of a mount, or of a remount.

use crate::bpffs::SuperBlock;
use std::cell::RefCell;
use std::fmt;

/// A context.
#[derive(Default)]
pub struct FsContext {
    /// The instance that is mounted anew, if one is.
    pub(crate) mounted: Option<SuperBlock>,
    /// What was written to its log.
    pub(crate) log: RefCell<Vec<String>>,
}

impl FsContext {
    /// Returns the instance that is mounted anew.
    pub(crate) fn reconfigured(&self) -> Option<&SuperBlock> {
        self.mounted.as_ref()
    }

    /// Writes a line to the log.
    pub fn error(&self, line: fmt::Arguments<'_>) {
        self.log.borrow_mut().push(line.to_string());
    }
}
