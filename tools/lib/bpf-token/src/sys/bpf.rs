// SPDX-License-Identifier: MIT OR Apache-2.0
//! bpf(2).

use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::ptr;

use rustix::io::Errno;
use rustix::io::Result;

use super::attr::Attr;
use super::attr::BtfLoad;
use super::attr::CommonAttr;
use super::attr::GetFdById;
use super::attr::GetInfo;
use super::attr::MapCreate;
use super::attr::ProgLoad;
use super::attr::TokenCreate;
use super::attr::TokenRestrict;
use super::attr::Words;
use super::result;
use crate::command::AttachTarget;
use crate::command::Log;
use crate::command::MapAttr;
use crate::command::ProgAttr;
use crate::command::BPF_F_TOKEN_FD;
use crate::insn::Insn;
use crate::kind::Enumerator;
use crate::names::Cmd;

/// `BPF_F_TOKEN_RESTRICT`, of `token_create.flags`.
const BPF_F_TOKEN_RESTRICT: u32 = 1 << 0;

/// `BPF_COMMON_ATTRS`: a `struct bpf_common_attr` follows the attributes.
const BPF_COMMON_ATTRS: u32 = 1 << 16;

/// # Safety
///
/// Every address in `attr` must be that of memory that the command may read or write.
unsafe fn bpf<A: Attr>(cmd: Cmd, attr: &mut A, mut log: Option<&mut Log>) -> Result<i32> {
    let mut common = log.as_mut().map(|log| CommonAttr {
        log_buf: log.buffer.as_mut_ptr() as u64,
        log_size: log.buffer.len() as u32,
        log_level: log.level,
        log_true_size: 0,
        pad: 0,
    });
    let cmd = cmd.value();
    let (cmd, common_attr, size) = match &mut common {
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
            common_attr,
            size,
        )
    };
    // Before anything else, which could change errno.
    let result = result(ret);
    if let (Some(log), Some(common)) = (log, common) {
        log.true_size = common.log_true_size;
    }
    result
}

/// # Safety
///
/// As [`bpf`], and the command must be one that returns a new descriptor.
unsafe fn bpf_fd<A: Attr>(cmd: Cmd, attr: &mut A, log: Option<&mut Log>) -> Result<OwnedFd> {
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
pub(crate) fn token_create(bpffs: BorrowedFd<'_>, log: Option<&mut Log>) -> Result<OwnedFd> {
    let mut attr = TokenCreate {
        flags: 0,
        bpffs_fd: bpffs.as_raw_fd(),
    };
    // SAFETY: No address in the attributes; the command returns a descriptor.
    unsafe { bpf_fd(Cmd::TOKEN_CREATE, &mut attr, log) }
}

/// `BPF_TOKEN_CREATE` with `BPF_F_TOKEN_RESTRICT`: from the root of a BPF FS or from a token, with
/// no more than what is in these sets of commands, map, program and attach types.
pub(crate) fn token_restrict(
    source: BorrowedFd<'_>,
    allowed: [u64; 4],
    log: Option<&mut Log>,
) -> Result<OwnedFd> {
    let mut attr = TokenRestrict {
        flags: BPF_F_TOKEN_RESTRICT,
        bpffs_fd: source.as_raw_fd(),
        allowed,
    };
    // SAFETY: No address in the attributes; the command returns a descriptor.
    unsafe { bpf_fd(Cmd::TOKEN_CREATE, &mut attr, log) }
}

/// Whether the kernel has `BPF_F_TOKEN_RESTRICT`: then it looks at the descriptor, which is none
/// here; a kernel without refuses the flag before that.
pub(crate) fn can_restrict() -> bool {
    let mut attr = TokenRestrict {
        flags: BPF_F_TOKEN_RESTRICT,
        bpffs_fd: -1,
        allowed: [u64::MAX; 4],
    };
    // SAFETY: No address in the attributes; a command that succeeded would return a descriptor.
    let made = unsafe { bpf_fd(Cmd::TOKEN_CREATE, &mut attr, None) };
    made.err() == Some(Errno::BADF)
}

/// `BPF_OBJ_GET_INFO_BY_FD` on a token: the sets of commands, map, program and attach types, and
/// the cookie; a kernel without cookies leaves that at 0.
pub(crate) fn token_info(token: BorrowedFd<'_>) -> Result<[u64; 5]> {
    let mut info = [0u64; 5];
    get_info(token, &mut info)?;
    Ok(info)
}

/// The beginning of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct ProgInfo {
    _prog_type: u32,
    _id: u32,
    _tag: [u8; 8],
    _lengths: [u32; 2],
    _instructions: [u64; 2],
    _load_time: u64,
    _uid: u32,
    _nr_map_ids: u32,
    _map_ids: u64,
    pub(crate) name: [u8; 16],
}

const _: () = assert!(size_of::<ProgInfo>() == 80);

/// `BPF_OBJ_GET_INFO_BY_FD` on a program.
pub(crate) fn prog_info(prog: BorrowedFd<'_>) -> Result<ProgInfo> {
    let mut info = [ProgInfo::default()];
    get_info(prog, &mut info)?;
    Ok(info[0])
}

/// Reads as much of an info as there is room for: integers that may have any value.
fn get_info<T: Copy>(fd: BorrowedFd<'_>, info: &mut [T]) -> Result<()> {
    let mut attr = GetInfo {
        bpf_fd: fd.as_raw_fd(),
        info_len: size_of_val(info) as u32,
        info: info.as_mut_ptr() as u64,
    };
    // SAFETY: `info` is writable for the length given. It is zero at first, so that the kernel is
    // asked for nothing at addresses in it, and any bits are a valid value of it.
    unsafe { bpf(Cmd::OBJ_GET_INFO_BY_FD, &mut attr, None) }.map(drop)
}

/// `BPF_PROG_GET_NEXT_ID`: the lowest id of a program above this one; `ENOENT` after the last.
pub(crate) fn prog_next_id(id: u32) -> Result<u32> {
    let mut attr = GetFdById {
        id,
        next_id: 0,
        open_flags: 0,
        token_fd: 0,
    };
    // SAFETY: No address in the attributes.
    unsafe { bpf(Cmd::PROG_GET_NEXT_ID, &mut attr, None) }?;
    Ok(attr.next_id)
}

/// `BPF_PROG_GET_FD_BY_ID`.
pub(crate) fn prog_get_fd_by_id(id: u32) -> Result<OwnedFd> {
    let mut attr = GetFdById {
        id,
        next_id: 0,
        open_flags: 0,
        token_fd: 0,
    };
    // SAFETY: No address in the attributes; the command returns a descriptor.
    unsafe { bpf_fd(Cmd::PROG_GET_FD_BY_ID, &mut attr, None) }
}

/// `BPF_MAP_CREATE`, with the log of the common attributes if a buffer is given.
pub(crate) fn map_create(
    map: &MapAttr<'_>,
    token: Option<BorrowedFd<'_>>,
    log: Option<&mut Log>,
) -> Result<OwnedFd> {
    let (flag, token) = token_fields(token);
    let mut attr = MapCreate {
        map_type: map.map_type.value(),
        key_size: map.key_size,
        value_size: map.value_size,
        max_entries: map.max_entries,
        map_flags: map.flags | flag,
        inner_map_fd: raw(map.inner_map),
        numa_node: map.numa_node,
        map_name: map.name.0,
        map_ifindex: map.ifindex,
        btf_fd: raw(map.btf),
        btf_key_type_id: map.btf_key_type_id,
        btf_value_type_id: map.btf_value_type_id,
        btf_vmlinux_value_type_id: map.btf_vmlinux_value_type_id,
        map_extra: map.extra,
        value_type_btf_obj_fd: raw(map.value_type_btf),
        map_token_fd: token,
        excl_prog_hash: address(map.exclusive_program_hash),
        excl_prog_hash_size: map.exclusive_program_hash.len() as u32,
        ..MapCreate::default()
    };
    // SAFETY: The hash is readable for its size; the command returns a descriptor.
    unsafe { bpf_fd(Cmd::MAP_CREATE, &mut attr, log) }
}

/// `BPF_PROG_LOAD`, with the verifier's log if a buffer is given.
pub(crate) fn prog_load(
    prog: &ProgAttr<'_>,
    token: Option<BorrowedFd<'_>>,
    mut log: Option<&mut Log>,
) -> Result<OwnedFd> {
    let (flag, token) = token_fields(token);
    let insns: &[Insn] = prog.insns;
    let fds: Vec<i32> = prog.fd_array.iter().map(AsRawFd::as_raw_fd).collect();
    let (attach_fd, attach_btf_id) = match prog.attach {
        AttachTarget::None => (None, 0),
        AttachTarget::Kernel(id) => (None, id),
        AttachTarget::Module(fd, id) | AttachTarget::Program(fd, id) => (Some(fd), id),
    };
    let (signature, keyring_id) = prog
        .signature
        .map_or((&[][..], 0), |it| (it.bytes, it.keyring));
    let mut attr = ProgLoad {
        prog_type: prog.prog_type.value(),
        insn_cnt: insns.len() as u32,
        insns: insns.as_ptr() as u64,
        license: prog.license.as_ptr() as u64,
        prog_flags: prog.flags | flag,
        prog_name: prog.name.0,
        prog_ifindex: prog.ifindex,
        expected_attach_type: prog.expected_attach_type.value(),
        prog_btf_fd: raw(prog.btf) as u32,
        func_info_rec_size: record_size(prog.func_info),
        func_info: address(prog.func_info),
        func_info_cnt: prog.func_info.len() as u32,
        line_info_rec_size: record_size(prog.line_info),
        line_info: address(prog.line_info),
        line_info_cnt: prog.line_info.len() as u32,
        attach_btf_id,
        attach_prog_fd: raw(attach_fd) as u32,
        fd_array: address(&fds),
        fd_array_cnt: if prog.bind_fd_array {
            fds.len() as u32
        } else {
            0
        },
        signature: address(signature),
        signature_size: signature.len() as u32,
        keyring_id,
        prog_token_fd: token,
        ..ProgLoad::default()
    };
    if let Some(log) = &mut log {
        attr.log_level = log.level;
        attr.log_size = log.buffer.len() as u32;
        attr.log_buf = log.buffer.as_mut_ptr() as u64;
    }
    // SAFETY: The license ends with a NUL; everything else is readable, and the log writable, for
    // the sizes given. The command returns a descriptor.
    let result = unsafe { bpf_fd(Cmd::PROG_LOAD, &mut attr, None) };
    if let Some(log) = log {
        log.true_size = attr.log_true_size;
    }
    result
}

/// Where a list begins; 0 if there is nothing in it.
fn address<T>(list: &[T]) -> u64 {
    if list.is_empty() {
        0
    } else {
        list.as_ptr() as u64
    }
}

/// The size of an item, which the kernel must not be told of an empty list.
fn record_size<T>(list: &[T]) -> u32 {
    if list.is_empty() {
        0
    } else {
        size_of::<T>() as u32
    }
}

/// `BPF_BTF_LOAD`, with the log of the BTF verifier if a buffer is given.
pub(crate) fn btf_load(
    btf: &[u8],
    token: Option<BorrowedFd<'_>>,
    mut log: Option<&mut Log>,
) -> Result<OwnedFd> {
    let (flag, token) = token_fields(token);
    let mut attr = BtfLoad {
        btf: btf.as_ptr() as u64,
        btf_size: btf.len() as u32,
        btf_flags: flag,
        btf_token_fd: token,
        ..BtfLoad::default()
    };
    if let Some(log) = &mut log {
        attr.btf_log_level = log.level;
        attr.btf_log_size = log.buffer.len() as u32;
        attr.btf_log_buf = log.buffer.as_mut_ptr() as u64;
    }
    // SAFETY: The BTF is readable and the log writable for the sizes given; the command returns a
    // descriptor.
    let result = unsafe { bpf_fd(Cmd::BTF_LOAD, &mut attr, None) };
    if let Some(log) = log {
        log.true_size = attr.btf_log_true_size;
    }
    result
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
    unsafe { bpf_fd(Cmd::BTF_GET_FD_BY_ID, &mut attr, None) }
}

/// Runs a command with arguments that name nothing; a descriptor that it returns is closed at once.
///
/// Every word must be -1, 0 or 1: what they may be taken for is the address of nothing.
pub(crate) fn harmless(cmd: Cmd, words: &[i32]) -> Result<()> {
    assert!(words.iter().all(|&word| matches!(word, -1..=1)));
    let mut attr = Words([0; 16]);
    attr.0[..words.len()].copy_from_slice(words);
    if cmd == Cmd::ENABLE_STATS {
        // SAFETY: No address in the attributes; the command returns a descriptor.
        return unsafe { bpf_fd(cmd, &mut attr, None) }.map(drop);
    }
    // SAFETY: The kernel can access no memory at the addresses that these words may be taken for.
    unsafe { bpf(cmd, &mut attr, None) }.map(drop)
}
