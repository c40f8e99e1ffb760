// SPDX-License-Identifier: GPL-2.0

//! The commands of `bpf()` under test, each with the arguments that the tests vary.
//!
//! `token` is `BPF_F_TOKEN_FD` with that descriptor number, which need not be one of a token.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use rustix::io::Errno;

use crate::log::Log;
pub use crate::masks::Masks;
use crate::sys;
use crate::sys::Attr;
use crate::sys::Command;

pub const BPF_F_TOKEN_FD: u32 = 1 << 16;

pub fn token_create(bpffs: &impl AsRawFd) -> Result<OwnedFd, Errno> {
    sys::token_create(&token_create_attr(0, bpffs.as_raw_fd()))
}

/// `BPF_TOKEN_CREATE` with a log in the common attributes.
pub fn token_create_logged(flags: u32, bpffs_fd: RawFd, log: &Log<'_>) -> Result<OwnedFd, Errno> {
    let mut attr = TokenCreateAttr { flags, bpffs_fd };
    sys::bpf_fd_with_log(Command::TokenCreate, &mut attr, log)
}

#[repr(C)]
pub(crate) struct TokenCreateAttr {
    pub(crate) flags: u32,
    pub(crate) bpffs_fd: i32,
}

// SAFETY: Integers without padding, no address.
unsafe impl Attr for TokenCreateAttr {}

/// The `token_create` part of `union bpf_attr`.
pub fn token_create_attr(flags: u32, bpffs: RawFd) -> [u8; 8] {
    let mut attr = [0; 8];
    attr[..4].copy_from_slice(&flags.to_ne_bytes());
    attr[4..].copy_from_slice(&bpffs.to_ne_bytes());
    attr
}

#[repr(C)]
#[derive(Default)]
pub(crate) struct MapCreateAttr {
    pub(crate) map_type: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) map_flags: u32,
    pub(crate) inner_map_fd: u32,
    pub(crate) numa_node: u32,
    pub(crate) map_name: [u8; 16],
    pub(crate) map_ifindex: u32,
    pub(crate) btf_fd: u32,
    pub(crate) btf_key_type_id: u32,
    pub(crate) btf_value_type_id: u32,
    pub(crate) btf_vmlinux_value_type_id: u32,
    pub(crate) map_extra: u64,
    pub(crate) value_type_btf_obj_fd: i32,
    pub(crate) map_token_fd: i32,
}

// SAFETY: Integers without padding, no address.
unsafe impl Attr for MapCreateAttr {}

#[derive(Clone, Copy, Debug)]
pub enum MapType {
    Hash = 1,
    Array = 2,
    Devmap = 14,
    Stack = 23,
    Ringbuf = 27,
}

pub fn map_create(map_type: MapType, token: Option<RawFd>) -> Result<OwnedFd, Errno> {
    let (map_flags, map_token_fd) = token_arguments(token);
    map_create_with(map_type, map_flags, map_token_fd)
}

pub fn map_create_with(
    map_type: MapType,
    map_flags: u32,
    map_token_fd: RawFd,
) -> Result<OwnedFd, Errno> {
    let mut attr = map_create_attr(map_type, map_flags, map_token_fd);
    sys::bpf_fd(Command::MapCreate, &mut attr)
}

/// Creates a map of any type, with attributes that maps of the type can have as far as they are looked at before the token.
pub fn map_of_type(map_type: u32, token: Option<RawFd>) -> Result<OwnedFd, Errno> {
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
        _ => (4, 4, 1, 0),
    };
    let is_struct_ops = map_type == 26;
    let (token_flag, map_token_fd) = token_arguments(token);
    let mut attr = MapCreateAttr {
        map_type,
        key_size,
        value_size,
        max_entries,
        map_flags: flags | token_flag,
        map_token_fd,
        // Types in a BTF object that is not there: looked at in the end.
        btf_key_type_id: u32::from(!is_struct_ops),
        btf_value_type_id: u32::from(!is_struct_ops),
        btf_vmlinux_value_type_id: u32::from(is_struct_ops),
        ..MapCreateAttr::default()
    };
    sys::bpf_fd(Command::MapCreate, &mut attr)
}

/// Creates an array of one value of eight bytes.
pub fn map_of_u64(token: Option<RawFd>) -> Result<OwnedFd, Errno> {
    let (map_flags, map_token_fd) = token_arguments(token);
    let mut attr = MapCreateAttr {
        value_size: 8,
        ..map_create_attr(MapType::Array, map_flags, map_token_fd)
    };
    sys::bpf_fd(Command::MapCreate, &mut attr)
}

/// The same with a log in the common attributes.
pub fn map_create_logged(
    map_type: MapType,
    token: Option<RawFd>,
    log: &Log<'_>,
) -> Result<OwnedFd, Errno> {
    let (map_flags, map_token_fd) = token_arguments(token);
    let mut attr = map_create_attr(map_type, map_flags, map_token_fd);
    sys::bpf_fd_with_log(Command::MapCreate, &mut attr, log)
}

/// Creates an array of one value of the type `value` of `btf`, whose `int` is its first type.
pub fn typed_array_create_logged(
    btf: &OwnedFd,
    value: u32,
    token: Option<RawFd>,
    log: &Log<'_>,
) -> Result<OwnedFd, Errno> {
    let (map_flags, map_token_fd) = token_arguments(token);
    let mut attr = MapCreateAttr {
        btf_fd: btf.as_raw_fd() as u32,
        btf_key_type_id: 1,
        btf_value_type_id: value,
        ..map_create_attr(MapType::Array, map_flags, map_token_fd)
    };
    sys::bpf_fd_with_log(Command::MapCreate, &mut attr, log)
}

pub(crate) fn map_create_attr(
    map_type: MapType,
    map_flags: u32,
    map_token_fd: RawFd,
) -> MapCreateAttr {
    let (key_size, value_size, max_entries) = match map_type {
        MapType::Ringbuf => (0, 0, 4096),
        MapType::Stack => (0, 4, 1),
        MapType::Hash | MapType::Array | MapType::Devmap => (4, 4, 1),
    };
    MapCreateAttr {
        map_type: map_type as u32,
        key_size,
        value_size,
        max_entries,
        map_flags,
        map_token_fd,
        ..MapCreateAttr::default()
    }
}

#[repr(C)]
#[derive(Default)]
pub(crate) struct ProgLoadAttr {
    pub(crate) prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
    attach_prog_fd: u32,
    core_relo_cnt: u32,
    fd_array: u64,
    core_relos: u64,
    core_relo_rec_size: u32,
    log_true_size: u32,
    pub(crate) prog_token_fd: i32,
    fd_array_cnt: u32,
}

// SAFETY: Integers without padding; `prog_load_logged` borrows what the addresses name beyond the call: the
// log, which the kernel writes, mutably.
unsafe impl Attr for ProgLoadAttr {}

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
    let mut attr = prog_load_attr(prog, token);
    attr.log_level = log.level;
    attr.log_size = log.size;
    attr.log_buf = log.address;
    let result = sys::bpf_fd(Command::ProgLoad, &mut attr);
    log.true_size.set(attr.log_true_size);
    result
}

/// The same with the log in the common attributes.
pub fn prog_load_commonly_logged(
    prog: &Prog<'_>,
    token: Option<RawFd>,
    log: &Log<'_>,
) -> Result<OwnedFd, Errno> {
    sys::bpf_fd_with_log(Command::ProgLoad, &mut prog_load_attr(prog, token), log)
}

/// Loads a program of any type.
pub fn prog_of_type(prog_type: u32, insns: &[u64], token: Option<RawFd>) -> Result<OwnedFd, Errno> {
    let of_some_type = Prog {
        prog_type: ProgType::SocketFilter,
        attach_type: AttachType::CgroupInetIngress,
        attach_btf_id: 0,
        insns,
    };
    let mut attr = ProgLoadAttr {
        prog_type,
        ..prog_load_attr(&of_some_type, token)
    };
    sys::bpf_fd(Command::ProgLoad, &mut attr)
}

pub(crate) fn prog_load_attr(prog: &Prog<'_>, token: Option<RawFd>) -> ProgLoadAttr {
    let (prog_flags, prog_token_fd) = token_arguments(token);
    ProgLoadAttr {
        prog_type: prog.prog_type as u32,
        insn_cnt: prog.insns.len() as u32,
        insns: prog.insns.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        prog_flags,
        expected_attach_type: prog.attach_type as u32,
        attach_btf_id: prog.attach_btf_id,
        prog_token_fd,
        ..ProgLoadAttr::default()
    }
}

#[repr(C)]
#[derive(Default)]
struct RawTracepointAttr {
    name: u64,
    prog_fd: u32,
    _zero: u32,
    cookie: u64,
}

// SAFETY: Integers without padding; the kernel reads a name through its address, which `'static` keeps.
unsafe impl Attr for RawTracepointAttr {}

/// Attaches a program to a raw tracepoint.
pub fn attach_raw_tracepoint(
    name: &'static std::ffi::CStr,
    prog: &OwnedFd,
) -> Result<OwnedFd, Errno> {
    let mut attr = RawTracepointAttr {
        name: name.as_ptr() as u64,
        prog_fd: prog.as_raw_fd() as u32,
        ..RawTracepointAttr::default()
    };
    sys::bpf_fd(Command::RawTracepointOpen, &mut attr)
}

/// Attaches an LSM program to the hook it was loaded for.
pub fn attach(prog: &OwnedFd) -> Result<OwnedFd, Errno> {
    let mut attr = RawTracepointAttr {
        prog_fd: prog.as_raw_fd() as u32,
        ..RawTracepointAttr::default()
    };
    sys::bpf_fd(Command::RawTracepointOpen, &mut attr)
}

#[repr(C)]
struct ProgAttachAttr {
    target_fd: i32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

// SAFETY: Integers without padding, no address.
unsafe impl Attr for ProgAttachAttr {}

/// `BPF_PROG_ATTACH`.
pub fn prog_attach(target: RawFd, prog: &OwnedFd, attach_type: AttachType) -> Result<(), Errno> {
    let mut attr = ProgAttachAttr {
        target_fd: target,
        attach_bpf_fd: prog.as_raw_fd() as u32,
        attach_type: attach_type as u32,
        attach_flags: 0,
    };
    sys::bpf(Command::ProgAttach, &mut attr)
}

#[repr(C)]
#[derive(Default)]
struct LinkCreateAttr {
    prog_fd: u32,
    target_fd: i32,
    attach_type: u32,
    flags: u32,
}

// SAFETY: Integers without padding, no address.
unsafe impl Attr for LinkCreateAttr {}

/// `BPF_LINK_CREATE`.
pub fn link_create(
    target: RawFd,
    prog: &OwnedFd,
    attach_type: AttachType,
) -> Result<OwnedFd, Errno> {
    let mut attr = LinkCreateAttr {
        prog_fd: prog.as_raw_fd() as u32,
        target_fd: target,
        attach_type: attach_type as u32,
        flags: 0,
    };
    sys::bpf_fd(Command::LinkCreate, &mut attr)
}

#[repr(C)]
#[derive(Default)]
struct BtfLoadAttr {
    btf: u64,
    btf_log_buf: u64,
    btf_size: u32,
    btf_log_size: u32,
    btf_log_level: u32,
    btf_log_true_size: u32,
    btf_flags: u32,
    btf_token_fd: i32,
}

// SAFETY: Integers without padding; `btf_load_logged` borrows the BTF beyond the call, and the log mutably.
unsafe impl Attr for BtfLoadAttr {}

pub fn btf_load(btf: &[u8], token: Option<RawFd>) -> Result<OwnedFd, Errno> {
    btf_load_logged(btf, token, &Log::none())
}

pub fn btf_load_logged(btf: &[u8], token: Option<RawFd>, log: &Log<'_>) -> Result<OwnedFd, Errno> {
    let mut attr = btf_load_attr(btf, token);
    attr.btf_log_level = log.level;
    attr.btf_log_size = log.size;
    attr.btf_log_buf = log.address;
    let result = sys::bpf_fd(Command::BtfLoad, &mut attr);
    log.true_size.set(attr.btf_log_true_size);
    result
}

/// The same with the log in the common attributes.
pub fn btf_load_commonly_logged(
    btf: &[u8],
    token: Option<RawFd>,
    log: &Log<'_>,
) -> Result<OwnedFd, Errno> {
    sys::bpf_fd_with_log(Command::BtfLoad, &mut btf_load_attr(btf, token), log)
}

fn btf_load_attr(btf: &[u8], token: Option<RawFd>) -> BtfLoadAttr {
    let (btf_flags, btf_token_fd) = token_arguments(token);
    BtfLoadAttr {
        btf: btf.as_ptr() as u64,
        btf_size: btf.len() as u32,
        btf_flags,
        btf_token_fd,
        ..BtfLoadAttr::default()
    }
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

#[repr(C)]
struct GetFdByIdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
    fd_by_id_token_fd: i32,
}

// SAFETY: Integers without padding, no address.
unsafe impl Attr for GetFdByIdAttr {}

pub fn btf_get_fd_by_id(id: u32, token: Option<RawFd>) -> Result<OwnedFd, Errno> {
    let (open_flags, fd_by_id_token_fd) = token_arguments(token);
    let mut attr = GetFdByIdAttr {
        id,
        next_id: 0,
        open_flags,
        fd_by_id_token_fd,
    };
    sys::bpf_fd(Command::BtfGetFdById, &mut attr)
}

#[repr(C)]
#[derive(Default)]
struct ObjAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
    path_fd: i32,
    _zero: u32,
}

// SAFETY: Integers without padding; `obj_pin` and `obj_get` borrow the path beyond the call, and the kernel only reads it.
unsafe impl Attr for ObjAttr {}

/// Pins `object` at `path` below the directory `dir`.
pub fn obj_pin(object: &OwnedFd, dir: &OwnedFd, path: &std::ffi::CStr) -> Result<(), Errno> {
    const BPF_F_PATH_FD: u32 = 1 << 14;
    let mut attr = ObjAttr {
        pathname: path.as_ptr() as u64,
        bpf_fd: object.as_raw_fd() as u32,
        file_flags: BPF_F_PATH_FD,
        path_fd: dir.as_raw_fd(),
        _zero: 0,
    };
    sys::bpf(Command::ObjPin, &mut attr)
}

/// Gets a new descriptor of what is pinned at `path`.
pub fn obj_get(path: &std::ffi::CStr) -> Result<OwnedFd, Errno> {
    let mut attr = ObjAttr {
        pathname: path.as_ptr() as u64,
        ..ObjAttr::default()
    };
    sys::bpf_fd(Command::ObjGet, &mut attr)
}

#[repr(C)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

// SAFETY: Integers without padding; the kernel writes `info_len` bytes at `info` at most, which are a buffer
// that both makers of this type borrow mutably, or at address 0, where nothing is; and at the addresses in the info of a
// program, which are 0 or those of buffers that `ProgInfo::of` has.
unsafe impl Attr for InfoAttr {}

/// `BPF_OBJ_GET_INFO_BY_FD` with a buffer: gives the length that the kernel reports.
pub fn info_by_fd(fd: &impl AsRawFd, info: &mut [u8]) -> Result<usize, Errno> {
    let mut attr = InfoAttr {
        bpf_fd: fd.as_raw_fd() as u32,
        info_len: info.len() as u32,
        info: info.as_mut_ptr() as u64,
    };
    sys::bpf(Command::ObjGetInfoByFd, &mut attr)?;
    Ok(attr.info_len as usize)
}

/// `BPF_OBJ_GET_INFO_BY_FD` with `len` bytes at address 0.
pub fn info_by_fd_at_null(fd: &impl AsRawFd, len: u32) -> Result<usize, Errno> {
    let mut attr = InfoAttr {
        bpf_fd: fd.as_raw_fd() as u32,
        info_len: len,
        info: 0,
    };
    sys::bpf(Command::ObjGetInfoByFd, &mut attr)?;
    Ok(attr.info_len as usize)
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

#[repr(C)]
struct NextIdAttr {
    start_id: u32,
    next_id: u32,
    open_flags: u32,
}

// SAFETY: Integers without padding, no address.
unsafe impl Attr for NextIdAttr {}

/// How many objects there are in the whole system, of the kind whose ids the command `next_id` gives.
pub fn objects(next_id: Command) -> u64 {
    let mut attr = NextIdAttr {
        start_id: 0,
        next_id: 0,
        open_flags: 0,
    };
    let mut count = 0;
    loop {
        match sys::bpf(next_id, &mut attr) {
            Ok(()) => count += 1,
            Err(Errno::NOENT) => return count,
            Err(errno) => panic!("{next_id:?}: {errno}"),
        }
        attr.start_id = attr.next_id;
    }
}

pub(crate) fn token_arguments(token: Option<RawFd>) -> (u32, RawFd) {
    token.map_or((0, 0), |token| (BPF_F_TOKEN_FD, token))
}
