// SPDX-License-Identifier: MIT OR Apache-2.0
//! statmount(2).

use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::ptr;

use rustix::io::Errno;
use rustix::io::Result;

use super::result;

/// `struct mnt_id_req`.
#[repr(C)]
struct Request {
    size: u32,
    mnt_fd: i32,
    mnt_id: u64,
    param: u64,
    mnt_ns_id: u64,
}

/// The size of `struct statmount`, behind which the strings begin.
const FIXED: usize = 512;
/// Where in it the place of the options stands.
const MNT_OPTS: usize = 4;
/// Room for the struct and the names of all that can be delegated.
const SIZE: usize = 16384;

const STATMOUNT_MNT_OPTS: u64 = 0x80;
const STATMOUNT_BY_FD: u32 = 1;
/// The same on every architecture that has it but alpha.
const SYS_STATMOUNT: libc::c_long = 457;

/// The options of the file system that is mounted where this descriptor is, separated by `,`.
///
/// `ENOSYS` before Linux 6.8, `EINVAL` before 7.0.
pub(crate) fn mount_options(mount: BorrowedFd<'_>) -> Result<String> {
    let request = Request {
        size: size_of::<Request>() as u32,
        mnt_fd: mount.as_raw_fd(),
        mnt_id: 0,
        param: STATMOUNT_MNT_OPTS,
        mnt_ns_id: 0,
    };
    let mut buffer = vec![0u64; SIZE / size_of::<u64>()];
    // SAFETY: The request is readable, and the buffer, which is aligned, writable for its size.
    let ret = unsafe {
        libc::syscall(
            SYS_STATMOUNT,
            ptr::from_ref(&request),
            buffer.as_mut_ptr(),
            SIZE,
            STATMOUNT_BY_FD,
        )
    };
    result(ret)?;
    let bytes: Vec<u8> = buffer.iter().flat_map(|word| word.to_ne_bytes()).collect();
    options(&bytes).ok_or(Errno::IO)
}

/// The options in what the kernel wrote; none if it has none.
fn options(bytes: &[u8]) -> Option<String> {
    let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let mask = word(8)?;
    if u64::from(mask) & STATMOUNT_MNT_OPTS == 0 {
        return Some(String::new());
    }
    let start = FIXED + usize::try_from(word(MNT_OPTS)?).ok()?;
    let text = bytes.get(start..)?.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found() {
        let mut bytes = vec![0; FIXED];
        bytes[MNT_OPTS] = 2;
        bytes.extend(b"x\0mode=700,delegate_maps=any\0y");
        assert_eq!(options(&bytes).as_deref(), Some(""));
        bytes[8] = 0x80;
        assert_eq!(
            options(&bytes).as_deref(),
            Some("mode=700,delegate_maps=any")
        );
        bytes[MNT_OPTS + 2] = 1;
        assert_eq!(options(&bytes), None);
    }
}
