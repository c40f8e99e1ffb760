// SPDX-License-Identifier: GPL-2.0
//! statmount(2), `include/uapi/linux/mount.h`.

use std::os::fd::AsFd;

use anyhow::Result;
use rustix::fs::AtFlags;
use rustix::fs::StatxFlags;

const SYS_STATMOUNT: libc::c_long = 457;
const STATX_MNT_ID_UNIQUE: u32 = 0x4000;
const STATMOUNT_MNT_OPTS: u64 = 0x80;

/// `struct mnt_id_req`, `MNT_ID_REQ_SIZE_VER0`.
#[repr(C)]
struct MntIdReq {
    size: u32,
    mnt_ns_fd: u32,
    mnt_id: u64,
    param: u64,
}

/// A request for the options of a mount, and where they go.
pub struct Statmount {
    request: MntIdReq,
    buffer: Vec<u64>,
}

impl Statmount {
    /// A request for the mount at this path.
    pub fn of(root: impl AsFd, path: &str) -> Result<Self> {
        let mask = StatxFlags::from_bits_retain(STATX_MNT_ID_UNIQUE);
        let status = rustix::fs::statx(root, path, AtFlags::empty(), mask)?;
        Ok(Self {
            request: MntIdReq {
                size: size_of::<MntIdReq>() as u32,
                mnt_ns_fd: 0,
                mnt_id: status.stx_mnt_id,
                param: STATMOUNT_MNT_OPTS,
            },
            buffer: vec![0; 512],
        })
    }

    /// Asks the kernel.
    ///
    /// # Panics
    ///
    /// If that fails.
    pub fn read(&mut self) {
        // SAFETY: The request is readable for the size in it, and the buffer writable for its size.
        let ret = unsafe {
            libc::syscall(
                SYS_STATMOUNT,
                &raw const self.request,
                self.buffer.as_mut_ptr(),
                size_of_val(&*self.buffer),
                0,
            )
        };
        assert_eq!(ret, 0, "statmount: {}", std::io::Error::last_os_error());
    }
}
