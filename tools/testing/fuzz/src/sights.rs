// SPDX-License-Identifier: GPL-2.0

//! What can be seen of a mount and of a token, without what is there by chance.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

use guest::bpf;
use guest::container::Instance;
use guest::sys;
use rustix::fs::AtFlags;
use rustix::fs::StatxFlags;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::MoveMountFlags;
use rustix::mount::UnmountFlags;

use crate::bytes::Bytes;
use crate::case::Mounted;
use crate::case::NewToken;
use crate::case::Token;

/// A mount at a path, for as long as this value.
pub struct At(&'static str);

impl At {
    pub fn path(path: &'static str, instance: &Instance) -> Self {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(&instance.mount, "", CWD, path, flags).expect("move_mount");
        Self(path)
    }

    /// A mount that is there already.
    pub fn made(path: &'static str) -> Self {
        Self(path)
    }

    /// Its line in mountinfo, from the type of the file system on: what comes before has numbers.
    pub fn mountinfo(&self) -> Bytes {
        let table = std::fs::read("/proc/self/mountinfo").expect("mountinfo");
        let is_ours = |line: &&[u8]| {
            let mut fields = line.split(|byte| *byte == b' ');
            fields.nth(4) == Some(self.0.as_bytes())
        };
        let mut lines = table.split(|byte| *byte == b'\n').rev();
        let line = lines.find(is_ours).expect("the line of the mount");
        let start = line.windows(3).position(|bytes| bytes == b" - ");
        Bytes(line[start.expect("a separator") + 3..].to_vec())
    }
}

impl Drop for At {
    fn drop(&mut self) {
        rustix::mount::unmount(self.0, UnmountFlags::DETACH).expect("umount");
    }
}

pub fn of_mount(path: &'static str, instance: &Instance) -> Mounted {
    let at = At::path(path, instance);
    let statmount = sys::mount_options(unique_id(&instance.root)).expect("statmount");
    Mounted {
        mountinfo: at.mountinfo(),
        statmount: Bytes(statmount.into_bytes()),
        token: bpf::token_create(&instance.root)
            .map(|token| of_token(&token))
            .map_err(Errno::raw_os_error),
    }
}

fn unique_id(root: &OwnedFd) -> u64 {
    const STATX_MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    let stat = rustix::fs::statx(root, "", AtFlags::EMPTY_PATH, STATX_MNT_ID_UNIQUE);
    stat.expect("statx").stx_mnt_id
}

pub fn of_token(token: &OwnedFd) -> Token {
    let masks = bpf::masks(token);
    let path = format!("/proc/self/fdinfo/{}", token.as_raw_fd());
    let fdinfo = std::fs::read_to_string(path).expect("fdinfo");
    let is_by_chance = |line: &&str| line.starts_with("mnt_id:") || line.starts_with("ino:");
    let lines: Vec<_> = fdinfo.lines().filter(|line| !is_by_chance(line)).collect();
    Token {
        info: [masks.cmds, masks.maps, masks.progs, masks.attachs],
        fdinfo: lines.join("\n"),
    }
}

pub fn of_new_token(token: &OwnedFd) -> NewToken {
    let stat = rustix::fs::fstat(token).expect("fstat");
    let flags = rustix::io::fcntl_getfd(token).expect("F_GETFD");
    NewToken {
        token: of_token(token),
        mode: stat.st_mode,
        // Wider on some architectures.
        links: stat.st_nlink as u32,
        close_on_exec: flags.contains(rustix::io::FdFlags::CLOEXEC),
    }
}
