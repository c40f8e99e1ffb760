// SPDX-License-Identifier: GPL-2.0

//! The commands of `bpf()` under test, each with the arguments that the tests vary.
//!
//! `token` is `BPF_F_TOKEN_FD` with that descriptor number, which need not be one of a token.

use std::ffi::CStr;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use rustix::io::Errno;

use crate::attr::btf_load;
use crate::attr::by_id;
use crate::attr::info;
use crate::attr::link_create;
use crate::attr::map_create;
use crate::attr::obj;
use crate::attr::prog_attach;
use crate::attr::prog_load;
use crate::attr::raw_tracepoint;
use crate::attr::token_create;
use crate::attr::Attr;
pub use crate::attr::BPF_F_TOKEN_FD;
use crate::log::Log;
pub use crate::masks::Masks;
use crate::sys;
use crate::sys::Command;

pub fn token_create(bpffs: &impl AsRawFd) -> Result<OwnedFd, Errno> {
    sys::bpf_fd(&mut token_attr(0, bpffs.as_raw_fd()))
}

/// `BPF_TOKEN_CREATE` with a log in the common attributes.
pub fn token_create_logged(flags: u32, bpffs_fd: RawFd, log: &Log<'_>) -> Result<OwnedFd, Errno> {
    sys::bpf_fd_with_log(&mut token_attr(flags, bpffs_fd), log)
}

pub(crate) fn token_attr<'a>(flags: u32, bpffs: RawFd) -> Attr<'a> {
    Attr::of(Command::TokenCreate)
        .set(token_create::flags, flags)
        .set_fd(token_create::bpffs_fd, bpffs)
}

/// The `token_create` part of `union bpf_attr`, as upstream has it.
pub fn token_create_attr(flags: u32, bpffs: RawFd) -> [u8; 8] {
    let bytes = token_attr(flags, bpffs).bytes();
    bytes[..8].try_into().expect("there are more")
}

#[derive(Clone, Copy, Debug)]
pub enum MapType {
    Hash = 1,
    Array = 2,
    Devmap = 14,
    Stack = 23,
    Ringbuf = 27,
}

pub fn map_create(map_type: MapType, token: Option<RawFd>) -> Result<OwnedFd, Errno> {
    sys::bpf_fd(&mut map_attr(map_type).with_token(token))
}

pub fn map_create_with(
    map_type: MapType,
    map_flags: u32,
    map_token_fd: RawFd,
) -> Result<OwnedFd, Errno> {
    sys::bpf_fd(&mut map_attr_with(map_type, map_flags, map_token_fd))
}

/// Creates a map of any type, with attributes that maps of the type can have as far as they are looked at before the token.
pub fn map_of_type(map_type: u32, token: Option<RawFd>) -> Result<OwnedFd, Errno> {
    let is_struct_ops = map_type == 26;
    let is_arena = map_type == 33;
    // Types in a BTF object that is not there: looked at in the end.
    let mut attr = map_attr_of(map_type)
        .set(map_create::btf_key_type_id, !is_struct_ops)
        .set(map_create::btf_value_type_id, !is_struct_ops)
        .set(map_create::btf_vmlinux_value_type_id, is_struct_ops);
    // Arenas take the page tables of 4 GB. The flag that each needs is looked at after the token, too.
    if is_arena {
        attr = attr.set(map_create::map_flags, 0_u32);
    }
    sys::bpf_fd(&mut attr.with_token(token))
}

/// Creates an array of one value of eight bytes.
pub fn map_of_u64(token: Option<RawFd>) -> Result<OwnedFd, Errno> {
    let attr = map_attr(MapType::Array).set(map_create::value_size, 8_u32);
    sys::bpf_fd(&mut attr.with_token(token))
}

/// The same with a log in the common attributes.
pub fn map_create_logged(
    map_type: MapType,
    token: Option<RawFd>,
    log: &Log<'_>,
) -> Result<OwnedFd, Errno> {
    sys::bpf_fd_with_log(&mut map_attr(map_type).with_token(token), log)
}

/// Creates an array of one value of the type `value` of `btf`, whose `int` is its first type.
pub fn typed_array_create_logged(
    btf: &OwnedFd,
    value: u32,
    token: Option<RawFd>,
    log: &Log<'_>,
) -> Result<OwnedFd, Errno> {
    let attr = map_attr(MapType::Array)
        .set_fd(map_create::btf_fd, btf.as_raw_fd())
        .set(map_create::btf_key_type_id, 1_u32)
        .set(map_create::btf_value_type_id, value);
    sys::bpf_fd_with_log(&mut attr.with_token(token), log)
}

fn map_attr<'a>(map_type: MapType) -> Attr<'a> {
    map_attr_of(map_type as u32)
}

pub(crate) fn map_attr_with<'a>(
    map_type: MapType,
    map_flags: u32,
    map_token_fd: RawFd,
) -> Attr<'a> {
    map_attr(map_type)
        .set(map_create::map_flags, map_flags)
        .set_fd(map_create::map_token_fd, map_token_fd)
}

/// Attributes that maps of a type can have.
pub fn map_attr_of<'a>(map_type: u32) -> Attr<'a> {
    const NO_PREALLOC: u32 = 1;
    const MMAPABLE: u32 = 1 << 10;
    let (key_size, value_size, max_entries, flags) = match map_type {
        // Queues, stacks and filters have no key.
        22 | 23 | 30 => (0, 4, 1, 0),
        // Stacks of addresses.
        7 => (4, 8, 1, 0),
        // A prefix with its length.
        11 => (8, 4, 1, NO_PREALLOC),
        // Local storage.
        24 | 28 | 29 | 32 => (4, 4, 0, NO_PREALLOC),
        // Ring buffers.
        27 | 31 => (0, 0, 4096, 0),
        33 => (0, 0, 1, MMAPABLE),
        // Instructions.
        34 => (4, 16, 1, 0),
        35 => (4, 4, 1, NO_PREALLOC),
        _ => (4_u32, 4_u32, 1_u32, 0_u32),
    };
    Attr::of(Command::MapCreate)
        .set(map_create::map_type, map_type)
        .set(map_create::key_size, key_size)
        .set(map_create::value_size, value_size)
        .set(map_create::max_entries, max_entries)
        .set(map_create::map_flags, flags)
}

#[derive(Clone, Copy, Debug)]
pub enum ProgType {
    SocketFilter = 1,
    Kprobe = 2,
    SchedCls = 3,
    Xdp = 6,
    CgroupSkb = 8,
    Tracing = 26,
    StructOps = 27,
    Ext = 28,
    Lsm = 29,
}

#[derive(Clone, Copy, Debug)]
pub enum AttachType {
    CgroupInetIngress = 0,
    TraceRawTp = 23,
    LsmMac = 27,
    Xdp = 37,
}

/// A program to load.
pub struct Prog<'a> {
    pub prog_type: ProgType,
    pub attach_type: AttachType,
    pub attach_btf_id: u32,
    pub insns: &'a [u64],
}

impl<'a> Prog<'a> {
    /// With attach type 0, as most programs have, and for no function of the kernel.
    pub fn new(prog_type: ProgType, insns: &'a [u64]) -> Self {
        Self {
            prog_type,
            attach_type: AttachType::CgroupInetIngress,
            attach_btf_id: 0,
            insns,
        }
    }
}

pub fn prog_load(prog: &Prog<'_>, token: Option<RawFd>) -> Result<OwnedFd, Errno> {
    prog_load_logged(prog, token, &Log::none())
}

pub fn prog_load_logged(
    prog: &Prog<'_>,
    token: Option<RawFd>,
    log: &Log<'_>,
) -> Result<OwnedFd, Errno> {
    let mut attr = prog_attr(prog).with_token(token).with_log(log);
    let result = sys::bpf_fd(&mut attr);
    log.true_size.set(attr.get(prog_load::log_true_size) as u32);
    result
}

/// The same with the log in the common attributes.
pub fn prog_load_commonly_logged(
    prog: &Prog<'_>,
    token: Option<RawFd>,
    log: &Log<'_>,
) -> Result<OwnedFd, Errno> {
    sys::bpf_fd_with_log(&mut prog_attr(prog).with_token(token), log)
}

/// Loads a program of any type.
pub fn prog_of_type(prog_type: u32, insns: &[u64], token: Option<RawFd>) -> Result<OwnedFd, Errno> {
    let of_some_type = prog_attr(&Prog::new(ProgType::SocketFilter, insns));
    let mut attr = of_some_type.set(prog_load::prog_type, prog_type);
    attr = attr.with_token(token);
    sys::bpf_fd(&mut attr)
}

/// Loads a program of any type, attach type and number of instructions. The instructions themselves are none that a verifier
/// takes.
pub fn prog_of_length(
    (prog_type, attach_type): (u32, u32),
    insn_cnt: u32,
    token: Option<RawFd>,
    log: &Log<'_>,
) -> Result<OwnedFd, Errno> {
    static INSNS: [u64; 4097] = [0; 4097];
    let mut attr = prog_attr(&Prog::new(ProgType::SocketFilter, &INSNS))
        .set(prog_load::prog_type, prog_type)
        .set(prog_load::expected_attach_type, attach_type)
        .set(prog_load::insn_cnt, insn_cnt)
        .with_token(token)
        .with_log(log);
    sys::bpf_fd(&mut attr)
}

pub(crate) fn prog_attr<'a>(prog: &Prog<'a>) -> Attr<'a> {
    Attr::of(Command::ProgLoad)
        .set(prog_load::prog_type, prog.prog_type as u32)
        .set(prog_load::insn_cnt, prog.insns.len() as u32)
        .set_input(prog_load::insns, prog.insns)
        .set_input(prog_load::license, c"GPL".to_bytes_with_nul())
        .set(prog_load::expected_attach_type, prog.attach_type as u32)
        .set(prog_load::attach_btf_id, prog.attach_btf_id)
}

/// Attaches a program to a raw tracepoint.
pub fn attach_raw_tracepoint(name: &CStr, prog: &OwnedFd) -> Result<OwnedFd, Errno> {
    let mut attr = Attr::of(Command::RawTracepointOpen)
        .set_input(raw_tracepoint::name, name.to_bytes_with_nul())
        .set_fd(raw_tracepoint::prog_fd, prog.as_raw_fd());
    sys::bpf_fd(&mut attr)
}

/// Attaches an LSM program to the hook it was loaded for.
pub fn attach(prog: &OwnedFd) -> Result<OwnedFd, Errno> {
    let attr = Attr::of(Command::RawTracepointOpen);
    sys::bpf_fd(&mut attr.set_fd(raw_tracepoint::prog_fd, prog.as_raw_fd()))
}

/// `BPF_PROG_ATTACH`.
pub fn prog_attach(target: RawFd, prog: &OwnedFd, attach_type: AttachType) -> Result<(), Errno> {
    let mut attr = Attr::of(Command::ProgAttach)
        .set_fd(prog_attach::target_fd, target)
        .set_fd(prog_attach::attach_bpf_fd, prog.as_raw_fd())
        .set(prog_attach::attach_type, attach_type as u32);
    sys::bpf(&mut attr)
}

/// `BPF_LINK_CREATE`.
pub fn link_create(
    target: RawFd,
    prog: &OwnedFd,
    attach_type: AttachType,
) -> Result<OwnedFd, Errno> {
    let mut attr = Attr::of(Command::LinkCreate)
        .set_fd(link_create::prog_fd, prog.as_raw_fd())
        .set_fd(link_create::target_fd, target)
        .set(link_create::attach_type, attach_type as u32);
    sys::bpf_fd(&mut attr)
}

pub fn btf_load(btf: &[u8], token: Option<RawFd>) -> Result<OwnedFd, Errno> {
    btf_load_logged(btf, token, &Log::none())
}

pub fn btf_load_logged(btf: &[u8], token: Option<RawFd>, log: &Log<'_>) -> Result<OwnedFd, Errno> {
    let mut attr = btf_attr(btf).with_token(token).with_log(log);
    let result = sys::bpf_fd(&mut attr);
    log.true_size
        .set(attr.get(btf_load::btf_log_true_size) as u32);
    result
}

/// The same with the log in the common attributes.
pub fn btf_load_commonly_logged(
    btf: &[u8],
    token: Option<RawFd>,
    log: &Log<'_>,
) -> Result<OwnedFd, Errno> {
    sys::bpf_fd_with_log(&mut btf_attr(btf).with_token(token), log)
}

fn btf_attr(btf: &[u8]) -> Attr<'_> {
    Attr::of(Command::BtfLoad)
        .set_input(btf_load::btf, btf)
        .set(btf_load::btf_size, btf.len() as u32)
}

const BTF_INT: [u32; 4] = {
    const KIND_INT: u32 = 1 << 24;
    const SIGNED_32_BITS: u32 = (1 << 24) | 32;
    [1, KIND_INT, 4, SIGNED_32_BITS]
};

/// BTF of one type, `int`.
pub fn btf_of_int() -> Vec<u8> {
    btf(&BTF_INT, b"\0int\0")
}

/// BTF of `int`, `struct bpf_spin_lock { int val; }` and `struct value { struct bpf_spin_lock lock; }`, in this order.
pub fn btf_of_spin_lock() -> Vec<u8> {
    const STRUCT_OF_ONE: u32 = (4 << 24) | 1;
    let structs = [
        [5, STRUCT_OF_ONE, 4, 19, 1, 0],
        [28, STRUCT_OF_ONE, 4, 23, 2, 0],
    ];
    let types = [&BTF_INT, structs.as_flattened()].concat();
    btf(&types, b"\0int\0bpf_spin_lock\0val\0lock\0value\0")
}

fn btf(types: &[u32], strings: &[u8]) -> Vec<u8> {
    const MAGIC_AND_VERSION: u32 = 0x1_eb9f;
    const HEADER_LEN: u32 = 24;
    let types_len = size_of_val(types) as u32;
    let header = [
        MAGIC_AND_VERSION,
        HEADER_LEN,
        0,
        types_len,
        types_len,
        strings.len() as u32,
    ];
    let words = header
        .iter()
        .chain(types)
        .copied()
        .flat_map(u32::to_ne_bytes);
    words.chain(strings.iter().copied()).collect()
}

pub fn btf_get_fd_by_id(id: u32, token: Option<RawFd>) -> Result<OwnedFd, Errno> {
    let attr = Attr::of(Command::BtfGetFdById).set(by_id::id, id);
    sys::bpf_fd(&mut attr.with_token(token))
}

/// Pins `object` at `path` below the directory `dir`.
pub fn obj_pin(object: &OwnedFd, dir: &OwnedFd, path: &std::ffi::CStr) -> Result<(), Errno> {
    const BPF_F_PATH_FD: u32 = 1 << 14;
    let mut attr = Attr::of(Command::ObjPin)
        .set_input(obj::pathname, path.to_bytes_with_nul())
        .set_fd(obj::bpf_fd, object.as_raw_fd())
        .set(obj::file_flags, BPF_F_PATH_FD)
        .set_fd(obj::path_fd, dir.as_raw_fd());
    sys::bpf(&mut attr)
}

/// Gets a new descriptor of what is pinned at `path`.
pub fn obj_get(path: &std::ffi::CStr) -> Result<OwnedFd, Errno> {
    let attr = Attr::of(Command::ObjGet).set_input(obj::pathname, path.to_bytes_with_nul());
    sys::bpf_fd(&mut { attr })
}

/// `BPF_OBJ_GET_INFO_BY_FD` with a buffer: gives the length that the kernel reports.
pub fn info_by_fd(fd: &impl AsRawFd, info: &mut [u8]) -> Result<usize, Errno> {
    let (address, len) = (info.as_mut_ptr() as u64, info.len() as u32);
    let attr = info_attr(fd, len);
    // SAFETY: The kernel writes as many bytes there at most, which are borrowed mutably; and at the addresses in the info
    // of a program, which are 0 or those of buffers that `ProgInfo::of` has.
    let mut attr = unsafe { attr.set_address(info::info, address) };
    sys::bpf(&mut attr)?;
    Ok(attr.get(info::info_len) as usize)
}

/// `BPF_OBJ_GET_INFO_BY_FD` with `len` bytes at address 0.
pub fn info_by_fd_at_null(fd: &impl AsRawFd, len: u32) -> Result<usize, Errno> {
    let mut attr = info_attr(fd, len);
    sys::bpf(&mut attr)?;
    Ok(attr.get(info::info_len) as usize)
}

fn info_attr<'a>(fd: &impl AsRawFd, len: u32) -> Attr<'a> {
    Attr::of(Command::ObjGetInfoByFd)
        .set_fd(info::bpf_fd, fd.as_raw_fd())
        .set(info::info_len, len)
}

/// What a token allows.
pub fn masks(token: &OwnedFd) -> Masks {
    let mut info = [0; 32];
    let len = info_by_fd(token, &mut info).expect("a token has an info");
    assert_eq!(len, info.len(), "length of struct bpf_token_info");
    let mask = |index: usize| {
        let bytes = info[8 * index..][..8].try_into().expect("eight bytes");
        u64::from_ne_bytes(bytes)
    };
    Masks::from([0, 1, 2, 3].map(mask))
}

/// The id in a `struct bpf_btf_info`.
pub fn btf_id(btf: &OwnedFd) -> u32 {
    let mut info = [0; 32];
    info_by_fd(btf, &mut info).expect("a BTF object has an info");
    u32::from_ne_bytes(info[12..16].try_into().expect("four bytes"))
}

/// How many objects there are in the whole system, of the kind whose ids the command `next_id` gives.
pub fn objects(next_id: Command) -> u64 {
    let mut attr = Attr::of(next_id);
    let mut count = 0;
    loop {
        match sys::bpf(&mut attr) {
            Ok(()) => count += 1,
            Err(Errno::NOENT) => return count,
            Err(errno) => panic!("{next_id:?}: {errno}"),
        }
        let last = attr.get(by_id::next_id);
        attr = Attr::of(next_id).set(by_id::id, last);
    }
}
