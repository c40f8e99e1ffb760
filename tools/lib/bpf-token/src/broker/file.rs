// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files that uprobes are in.
//!
//! The kernel reads the file while it holds a lock of all tracing, so none may be of a file system
//! whose reads end when the container likes.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::process::Pid;

use super::Refusal;
use crate::error::Error;
use crate::error::Result;
use crate::file_id::FileId;
use crate::probes::Probes;

/// The files that a list names, as the manager finds them.
#[derive(Debug)]
pub(super) struct Files(Vec<(OwnedFd, FileId)>);

impl Files {
    pub(super) fn new(probes: &Probes) -> Result<Self> {
        let open = |path: &std::path::Path| {
            // Open, its inode is no other file's.
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let file = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
            let stat = rustix::fs::fstat(&file)?;
            Ok((file, FileId::of(&stat)))
        };
        let named = probes.files().map(|path| {
            open(path).map_err(|errno: Errno| Error::file(path.to_owned(), errno.into()))
        });
        named.collect::<Result<_>>().map(Self)
    }

    /// Whether this is one of them.
    pub(super) fn have(&self, file: &OwnedFd) -> bool {
        let stat = rustix::fs::fstat(file);
        stat.is_ok_and(|stat| self.0.iter().any(|(_, id)| *id == FileId::of(&stat)))
    }
}

/// Checks a file that a container opened: that it may read it, and that the file system is one that
/// the manager has mounted, too.
pub(super) fn check(file: &OwnedFd, sender: Pid) -> Result<(), Refusal> {
    let refused = |reason: &str| Refusal::new(Errno::ACCESS, reason);
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()));
    let info = info.map_err(|_| refused("what is known of the file can't be read"))?;
    let field = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim).unwrap_or_default()
    };
    // Nothing here asks the file system, which may not answer, before it is known to be the host's.
    let flags = u32::from_str_radix(field("flags:"), 8).unwrap_or(OFlags::PATH.bits());
    let flags = OFlags::from_bits_retain(flags);
    if flags.contains(OFlags::PATH) || flags.contains(OFlags::WRONLY) {
        return Err(refused("the file is not open for reading"));
    }
    let theirs = mounts(&format!("/proc/{}/mountinfo", sender.as_raw_nonzero()));
    let Some(mount) = theirs.iter().find(|mount| mount.id == field("mnt_id:")) else {
        return Err(refused("the file is on no mount that the container sees"));
    };
    let ours = mounts("/proc/self/mountinfo");
    if !ours.iter().any(|our| our.device == mount.device) || mount.kind.starts_with("fuse") {
        return Err(Refusal::new(
            Errno::ACCESS,
            format_args!(
                "the file is on a file system ({}) that the host has not mounted, or on FUSE: \
                 whoever serves it could hold up all tracing of the host",
                mount.kind
            ),
        ));
    }
    match rustix::fs::fstat(file) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => Ok(()),
        _ => Err(Refusal::new(Errno::INVAL, "it is no regular file")),
    }
}

/// A line of mountinfo.
struct Mount {
    id: String,
    device: String,
    kind: String,
}

fn mounts(path: &str) -> Vec<Mount> {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().filter_map(mount).collect()
}

fn mount(line: &str) -> Option<Mount> {
    let mut words = line.split(' ');
    let id = words.next()?.to_owned();
    let device = words.nth(1)?.to_owned();
    // Optional fields end with a dash; the type of the file system follows.
    words.by_ref().skip(3).find(|word| *word == "-")?;
    let kind = words.next()?.to_owned();
    Some(Mount { id, device, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let line =
            "36 35 0:45 / /a\\040b rw,nosuid shared:7 master:1 - fuse.sshfs none rw,mode=700";
        let found = mount(line).unwrap();
        assert_eq!(
            (&*found.id, &*found.device, &*found.kind),
            ("36", "0:45", "fuse.sshfs")
        );
        let found = mount("1 2 8:1 / /- rw - ext4 - rw").unwrap();
        assert_eq!((&*found.device, &*found.kind), ("8:1", "ext4"));
        assert!(mount("36 35").is_none());
    }
}
