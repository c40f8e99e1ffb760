// SPDX-License-Identifier: GPL-2.0

//! `BPF_TOKEN_CREATE` with `BPF_F_TOKEN_RESTRICT`, and what tells of the cookie of a token.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use rustix::io::Errno;

use crate::bpf;
use crate::bpf::Masks;
use crate::log::Log;
use crate::sys;
use crate::sys::Attr;
use crate::sys::Command;

pub const BPF_F_TOKEN_RESTRICT: u32 = 1 << 0;

/// The length of the attributes, up to their last field.
pub const ATTR_LEN: usize = size_of::<RestrictAttr>();

/// The `token_create` part of `union bpf_attr`, all of it.
#[repr(C)]
struct RestrictAttr {
    flags: u32,
    bpffs_fd: i32,
    allowed: [u64; 4],
}

// SAFETY: Integers without padding, no address.
unsafe impl Attr for RestrictAttr {}

/// The same as bytes.
pub fn attr(flags: u32, source: RawFd, masks: &Masks) -> [u8; ATTR_LEN] {
    let mut attr = [0; ATTR_LEN];
    attr[..8].copy_from_slice(&bpf::token_create_attr(flags, source));
    for (bytes, mask) in attr[8..].chunks_exact_mut(8).zip(masks.words()) {
        bytes.copy_from_slice(&mask.to_ne_bytes());
    }
    attr
}

/// Makes a token that permits what `source`, a BPF FS or a token, permits of these masks.
pub fn token(source: &impl AsRawFd, masks: &Masks) -> Result<OwnedFd, Errno> {
    sys::token_create(&attr(BPF_F_TOKEN_RESTRICT, source.as_raw_fd(), masks))
}

/// The same with any flags, and with a log in the common attributes.
pub fn token_logged(
    flags: u32,
    source: RawFd,
    masks: &Masks,
    log: &Log<'_>,
) -> Result<OwnedFd, Errno> {
    let mut attr = RestrictAttr {
        flags,
        bpffs_fd: source,
        allowed: masks.words(),
    };
    sys::bpf_fd_with_log(Command::TokenCreate, &mut attr, log)
}

/// The cookie in a `struct bpf_token_info`.
pub fn cookie(token: &OwnedFd) -> u64 {
    let mut info = [0; 40];
    let len = bpf::info_by_fd(token, &mut info).expect("a token has an info");
    assert_eq!(len, info.len(), "length of struct bpf_token_info");
    u64::from_ne_bytes(info[32..].try_into().expect("eight bytes"))
}

/// The lines that the fdinfo of a token has besides those of every file.
pub fn fdinfo(token: &OwnedFd) -> Vec<String> {
    lines_from("allowed_", token)
}

/// The lines that the fdinfo of a program has because it was loaded through a token.
pub fn fdinfo_of_prog(prog: &OwnedFd) -> Vec<String> {
    lines_from("token_", prog)
}

fn lines_from(start: &str, fd: &OwnedFd) -> Vec<String> {
    std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))
        .expect("fdinfo")
        .lines()
        .skip_while(|line| !line.starts_with(start))
        .map(str::to_owned)
        .collect()
}
