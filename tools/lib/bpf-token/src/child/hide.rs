// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each BPF FS taken out of the reach of a new container, which shares its user namespace with what
//! it is to be kept from.

use std::ffi::CStr;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::process::WaitOptions;
use rustix::thread::CapabilitySet;

use super::at;
use super::bpffs;
use super::Result;
use crate::handshake;
use crate::instance::BPF_FS_MAGIC;
use crate::step::Step;
use crate::sys;

/// The longest path.
const PATH_MAX: usize = 4096;
/// The longest line of mountinfo: two paths, of whose bytes each may be written as four, and options.
const LINE: usize = 65536;

/// Unmounts each BPF FS. One that can't be unmounted, because another user namespace mounted it, may
/// stay if it gives no token in this one.
pub(super) fn hide() -> Result<()> {
    let mut point = [0; PATH_MAX];
    let mut skip = 0;
    while let Some(path) = mount_point(skip, &mut point)? {
        // What is mounted over it goes first.
        let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
        if rustix::mount::unmount(path, flags).is_ok() {
            continue;
        }
        if gives_tokens(path)? {
            return Err((Step::Hide, Errno::BUSY));
        }
        skip += 1;
    }
    let here = rustix::fs::statfs(c".").map_err(at(Step::Hide))?;
    if u64::try_from(here.f_type) == Ok(BPF_FS_MAGIC) {
        rustix::process::chdir(c"/").map_err(at(Step::Hide))?;
    }
    Ok(())
}

/// Drops CAP_SYS_ADMIN, with which the command could unmount the new /proc and find the processes of
/// the old one, and each BPF FS that they see.
pub(super) fn drop_sys_admin() -> rustix::io::Result<()> {
    let admin = CapabilitySet::SYS_ADMIN;
    rustix::thread::clear_ambient_capability_set()?;
    rustix::thread::remove_capability_from_bounding_set(admin)?;
    let mut sets = rustix::thread::capabilities(None)?;
    sets.effective.remove(admin);
    sets.permitted.remove(admin);
    sets.inheritable.remove(admin);
    rustix::thread::set_capabilities(None, sets)
}

/// Whether a BPF FS of this user namespace can be uncovered at a path; a process of its own tries.
fn gives_tokens(path: &CStr) -> Result<bool> {
    let pid =
        sys::fork(|| i32::from(bpffs::uncover(path, None).is_ok())).map_err(at(Step::Fork))?;
    let status = handshake::retry(|| rustix::process::waitpid(Some(pid), WaitOptions::empty()));
    let status = status.map_err(at(Step::Hide))?;
    Ok(status.and_then(|(_, status)| status.exit_status()) != Some(0))
}

/// The mount point of a BPF FS, after so many others.
fn mount_point(skip: usize, point: &mut [u8; PATH_MAX]) -> Result<Option<&CStr>> {
    let mounts = rustix::fs::openat(
        CWD,
        c"/proc/self/mountinfo",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(at(Step::Hide))?;
    let mut lines = [0; LINE];
    let mut filled = 0;
    let mut seen = 0;
    loop {
        let read = handshake::retry(|| rustix::io::read(&mounts, &mut lines[filled..]));
        let read = read.map_err(at(Step::Hide))?;
        filled += read;
        let mut start = 0;
        while let Some(length) = lines[start..filled].iter().position(|byte| *byte == b'\n') {
            if let Some(path) = bpffs_of(&lines[start..start + length]) {
                if seen == skip {
                    return unescape(path, point).map(Some);
                }
                seen += 1;
            }
            start += length + 1;
        }
        lines.copy_within(start..filled, 0);
        filled -= start;
        if read == 0 {
            return Ok(None);
        }
        if filled == LINE {
            return Err((Step::Hide, Errno::NAMETOOLONG));
        }
    }
}

/// The mount point in a line of mountinfo that is about a BPF FS.
fn bpffs_of(line: &[u8]) -> Option<&[u8]> {
    let mut words = line.split(|byte| *byte == b' ');
    let point = words.nth(4)?;
    // Optional fields end with a dash; the type of the file system follows.
    words.find(|word| *word == b"-")?;
    (words.next()? == b"bpf").then_some(point)
}

/// A path as mountinfo writes it, with blanks and the like as a backslash and three octal digits.
fn unescape<'a>(path: &[u8], point: &'a mut [u8; PATH_MAX]) -> Result<&'a CStr> {
    let mut from = 0;
    let mut to = 0;
    while let Some(&byte) = path.get(from) {
        let digits = path.get(from + 1..from + 4).filter(|_| byte == b'\\');
        let (byte, length) = match digits {
            Some(digits) => {
                let octal = digits
                    .iter()
                    .fold(0u8, |all, digit| (all << 3) | (digit & 7));
                (octal, 4)
            }
            None => (byte, 1),
        };
        // The last byte ends it.
        if to + 1 >= PATH_MAX {
            return Err((Step::Hide, Errno::NAMETOOLONG));
        }
        point[to] = byte;
        to += 1;
        from += length;
    }
    point[to] = 0;
    CStr::from_bytes_with_nul(&point[..=to]).map_err(|_| (Step::Hide, Errno::INVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_of_bpffs() {
        let line = b"36 35 0:45 / /sys/fs/bpf rw,nosuid shared:7 master:1 - bpf none rw,mode=700";
        assert_eq!(bpffs_of(line), Some(&b"/sys/fs/bpf"[..]));
        let line = b"36 35 0:45 / /bpf rw - tmpfs bpf rw";
        assert_eq!(bpffs_of(line), None);
        assert_eq!(bpffs_of(b"36 35"), None);
        let mut point = [1; PATH_MAX];
        let path = unescape(br"/a\040b\134\012c", &mut point).unwrap();
        assert_eq!(path.to_bytes(), b"/a b\\\nc");
        assert!(unescape(&[b'a'; PATH_MAX], &mut point).is_err());
        assert!(unescape(&[b'a'; PATH_MAX - 1], &mut point).is_ok());
    }
}
