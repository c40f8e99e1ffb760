// SPDX-License-Identifier: GPL-2.0
//! bpf(2).

use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::ptr;

use rustix::io::Result;

use super::attr::Attr;
use super::attr::BtfLoad;
use super::attr::CommonAttr;
use super::attr::GetFdById;
use super::attr::GetInfo;
use super::attr::MapCreate;
use super::attr::ProgLoad;
use super::attr::TokenCreate;
use super::attr::Words;
use super::result;
use crate::command::Insn;
use crate::command::MapAttr;
use crate::command::ProgAttr;

/// `BPF_F_TOKEN_FD`, the same flag in `map_flags`, `prog_flags`, `btf_flags` and `open_flags`.
const BPF_F_TOKEN_FD: u32 = 1 << 16;
/// `BPF_COMMON_ATTRS`: a `struct bpf_common_attr` follows the attributes.
const BPF_COMMON_ATTRS: u32 = 1 << 16;

const BPF_MAP_CREATE: u32 = 0;
const BPF_PROG_LOAD: u32 = 5;
const BPF_OBJ_GET_INFO_BY_FD: u32 = 15;
const BPF_BTF_LOAD: u32 = 18;
const BPF_BTF_GET_FD_BY_ID: u32 = 19;
const BPF_TOKEN_CREATE: u32 = 36;

/// # Safety
///
/// Every address in `attr` must be that of memory that the command may read or write.
unsafe fn bpf<A: Attr>(cmd: u32, attr: &mut A, log: Option<&mut [u8]>) -> Result<i32> {
    let mut common = log.map(|log| CommonAttr {
        log_buf: log.as_mut_ptr() as u64,
        log_size: log.len() as u32,
        log_level: 1,
        log_true_size: 0,
        pad: 0,
    });
    let (cmd, common, size) = match &mut common {
        Some(common) => (
            cmd | BPF_COMMON_ATTRS,
            ptr::from_mut(common),
            size_of::<CommonAttr>(),
        ),
        None => (cmd, ptr::null_mut(), 0),
    };
    // SAFETY: `attr` and `common` are valid for their sizes, and so are the buffers that they name.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            libc::c_ulong::from(cmd),
            ptr::from_mut(attr),
            size_of::<A>(),
            common,
            size,
        )
    };
    result(ret)
}

/// # Safety
///
/// As [`bpf`], and the command must be one that returns a new descriptor.
unsafe fn bpf_fd<A: Attr>(cmd: u32, attr: &mut A, log: Option<&mut [u8]>) -> Result<OwnedFd> {
    // SAFETY: By this function's contract.
    let fd = unsafe { bpf(cmd, attr, log) }?;
    // SAFETY: The command returned a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The flag and descriptor fields for a token.
fn token_fields(token: Option<BorrowedFd<'_>>) -> (u32, i32) {
    token.map_or((0, 0), |token| (BPF_F_TOKEN_FD, token.as_raw_fd()))
}

fn raw(fd: Option<BorrowedFd<'_>>) -> i32 {
    fd.map_or(0, |fd| fd.as_raw_fd())
}

/// `BPF_TOKEN_CREATE`.
pub(crate) fn token_create(bpffs: BorrowedFd<'_>) -> Result<OwnedFd> {
    let mut attr = TokenCreate {
        flags: 0,
        bpffs_fd: bpffs.as_raw_fd(),
    };
    // SAFETY: No address in the attributes; the command returns a descriptor.
    unsafe { bpf_fd(BPF_TOKEN_CREATE, &mut attr, None) }
}

/// `BPF_OBJ_GET_INFO_BY_FD` on a token: the masks of commands, map, program and attach types.
pub(crate) fn token_info(token: BorrowedFd<'_>) -> Result<[u64; 4]> {
    let mut info = [0u64; 4];
    let mut attr = GetInfo {
        bpf_fd: token.as_raw_fd(),
        info_len: size_of_val(&info) as u32,
        info: info.as_mut_ptr() as u64,
    };
    // SAFETY: `info` is writable for the length given, and any bits are a valid value of it.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr, None) }?;
    Ok(info)
}

/// `BPF_MAP_CREATE`, with the log of the common attributes if a buffer is given.
pub(crate) fn map_create(
    map: &MapAttr<'_>,
    token: Option<BorrowedFd<'_>>,
    log: Option<&mut [u8]>,
) -> Result<OwnedFd> {
    let (flag, token) = token_fields(token);
    let mut attr = MapCreate {
        map_type: map.map_type,
        key_size: map.key_size,
        value_size: map.value_size,
        max_entries: map.max_entries,
        map_flags: map.flags | flag,
        inner_map_fd: raw(map.inner_map),
        map_name: map.name.0,
        btf_fd: raw(map.btf),
        btf_key_type_id: map.btf_key_type_id,
        btf_value_type_id: map.btf_value_type_id,
        btf_vmlinux_value_type_id: map.btf_vmlinux_value_type_id,
        map_extra: map.extra,
        map_token_fd: token,
        ..MapCreate::default()
    };
    // SAFETY: No address in the attributes but that of the log; the command returns a descriptor.
    unsafe { bpf_fd(BPF_MAP_CREATE, &mut attr, log) }
}

/// `BPF_PROG_LOAD`, with the verifier's log if a buffer is given.
pub(crate) fn prog_load(
    prog: &ProgAttr<'_>,
    token: Option<BorrowedFd<'_>>,
    log: Option<&mut [u8]>,
) -> Result<OwnedFd> {
    let (flag, token) = token_fields(token);
    let insns: &[Insn] = prog.insns;
    let mut attr = ProgLoad {
        prog_type: prog.prog_type,
        insn_cnt: insns.len() as u32,
        insns: insns.as_ptr() as u64,
        license: prog.license.as_ptr() as u64,
        prog_flags: prog.flags | flag,
        prog_name: prog.name.0,
        expected_attach_type: prog.expected_attach_type,
        attach_btf_id: prog.attach_btf_id,
        prog_token_fd: token,
        ..ProgLoad::default()
    };
    if let Some(log) = log {
        attr.log_level = 1;
        attr.log_size = log.len() as u32;
        attr.log_buf = log.as_mut_ptr() as u64;
    }
    // SAFETY: The instructions are readable for the count given, the license ends with a NUL, and
    // the log is writable for the size given; the command returns a descriptor.
    unsafe { bpf_fd(BPF_PROG_LOAD, &mut attr, None) }
}

/// `BPF_BTF_LOAD`, with the log of the BTF verifier if a buffer is given.
pub(crate) fn btf_load(
    btf: &[u8],
    token: Option<BorrowedFd<'_>>,
    log: Option<&mut [u8]>,
) -> Result<OwnedFd> {
    let (flag, token) = token_fields(token);
    let mut attr = BtfLoad {
        btf: btf.as_ptr() as u64,
        btf_size: btf.len() as u32,
        btf_flags: flag,
        btf_token_fd: token,
        ..BtfLoad::default()
    };
    if let Some(log) = log {
        attr.btf_log_level = 1;
        attr.btf_log_size = log.len() as u32;
        attr.btf_log_buf = log.as_mut_ptr() as u64;
    }
    // SAFETY: The BTF is readable and the log writable for the sizes given; the command returns a
    // descriptor.
    unsafe { bpf_fd(BPF_BTF_LOAD, &mut attr, None) }
}

/// `BPF_BTF_GET_FD_BY_ID`.
pub(crate) fn btf_get_fd_by_id(id: u32, token: Option<BorrowedFd<'_>>) -> Result<OwnedFd> {
    let (open_flags, token_fd) = token_fields(token);
    let mut attr = GetFdById {
        id,
        next_id: 0,
        open_flags,
        token_fd,
    };
    // SAFETY: No address in the attributes; the command returns a descriptor.
    unsafe { bpf_fd(BPF_BTF_GET_FD_BY_ID, &mut attr, None) }
}

/// Runs a command with arguments that name nothing; a descriptor that it returns is closed at once.
///
/// Every word must be -1, 0 or 1: what they may be taken for is the address of nothing.
pub(crate) fn harmless(cmd: u32, words: &[i32]) -> Result<()> {
    const BPF_ENABLE_STATS: u32 = 32;
    assert!(words.iter().all(|&word| matches!(word, -1..=1)));
    let mut attr = Words([0; 16]);
    attr.0[..words.len()].copy_from_slice(words);
    if cmd == BPF_ENABLE_STATS {
        // SAFETY: No address in the attributes; the command returns a descriptor.
        return unsafe { bpf_fd(cmd, &mut attr, None) }.map(drop);
    }
    // SAFETY: The kernel can access no memory at the addresses that these words may be taken for.
    unsafe { bpf(cmd, &mut attr, None) }.map(drop)
}
