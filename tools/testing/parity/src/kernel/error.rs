// SPDX-License-Identifier: GPL-2.0
//! Errnos.

use core::ffi::c_int;

/// An errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(c_int);

/// With an [`Error`], if nothing else is said.
pub type Result<T = (), E = Error> = core::result::Result<T, E>;

/// The errnos that the policy knows.
#[allow(missing_docs)]
pub mod code {
    use super::Error;

    pub const EPERM: Error = Error(1);
    pub const E2BIG: Error = Error(7);
    pub const EBADF: Error = Error(9);
    pub const EINVAL: Error = Error(22);
    pub const ERANGE: Error = Error(34);
}

impl Error {
    /// Returns the errno as a C function does.
    pub fn to_errno(self) -> c_int {
        -self.0
    }

    /// Returns the errno as a C function that returns a pointer does.
    pub fn to_ptr<T>(self) -> *mut T {
        core::ptr::without_provenance_mut(self.to_errno() as isize as usize)
    }
}

/// Tells an errno from a pointer.
pub fn from_err_ptr<T>(ptr: *mut T) -> Result<*mut T> {
    match ptr.addr() as isize {
        errno @ -4095..=-1 => Err(Error(-errno as c_int)),
        _ => Ok(ptr),
    }
}
