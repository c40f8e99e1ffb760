// SPDX-License-Identifier: GPL-2.0

//! `BPF_TOKEN_CREATE` with `BPF_F_TOKEN_RESTRICT`, and what tells of the cookie of a token.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use rustix::io::Errno;

use crate::attr::token_create;
use crate::attr::Attr;
pub use crate::attr::BPF_F_TOKEN_RESTRICT;
use crate::bpf;
use crate::bpf::Masks;
use crate::log::Log;
use crate::sys;

/// The length of the attributes, up to their last field.
pub const ATTR_LEN: usize = token_create::END;

fn restriction<'a>(flags: u32, source: RawFd, masks: &Masks) -> Attr<'a> {
    bpf::token_attr(flags, source)
        .set(token_create::allowed_cmds, masks.cmds)
        .set(token_create::allowed_maps, masks.maps)
        .set(token_create::allowed_progs, masks.progs)
        .set(token_create::allowed_attachs, masks.attachs)
}

/// The `token_create` part of `union bpf_attr`, all of it, as bytes.
pub fn attr(flags: u32, source: RawFd, masks: &Masks) -> [u8; ATTR_LEN] {
    let bytes = restriction(flags, source, masks).bytes();
    bytes.try_into().expect("all fields")
}

/// Makes a token that permits what `source`, a BPF FS or a token, permits of these masks.
pub fn token(source: &impl AsRawFd, masks: &Masks) -> Result<OwnedFd, Errno> {
    sys::bpf_fd(&mut restriction(
        BPF_F_TOKEN_RESTRICT,
        source.as_raw_fd(),
        masks,
    ))
}

/// The same with any flags, and with a log in the common attributes.
pub fn token_logged(
    flags: u32,
    source: RawFd,
    masks: &Masks,
    log: &Log<'_>,
) -> Result<OwnedFd, Errno> {
    sys::bpf_fd_with_log(&mut restriction(flags, source, masks), log)
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
