// SPDX-License-Identifier: GPL-2.0

//! Programs that the kernel calls through a table of its functions: `BPF_MAP_TYPE_STRUCT_OPS`.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use rustix::io::Errno;

use crate::bpf;
use crate::bpf::MapCreateAttr;
use crate::sys;
use crate::sys::Attr;
use crate::sys::Command;

/// A map for one table, to be attached by a link. The type of its value is one of the kernel's BTF; `btf` is not
/// looked at, but must be some.
pub fn map_create(
    btf: &OwnedFd,
    value_type: u32,
    value_size: u32,
    token: Option<RawFd>,
) -> Result<OwnedFd, Errno> {
    const BPF_MAP_TYPE_STRUCT_OPS: u32 = 26;
    const BPF_F_LINK: u32 = 1 << 13;
    let (token_flag, map_token_fd) = bpf::token_arguments(token);
    let mut attr = MapCreateAttr {
        map_type: BPF_MAP_TYPE_STRUCT_OPS,
        key_size: 4,
        value_size,
        max_entries: 1,
        map_flags: BPF_F_LINK | token_flag,
        btf_fd: btf.as_raw_fd() as u32,
        btf_vmlinux_value_type_id: value_type,
        map_token_fd,
        ..MapCreateAttr::default()
    };
    sys::bpf_fd(Command::MapCreate, &mut attr)
}

#[repr(C)]
struct UpdateElemAttr {
    map_fd: u32,
    _zero: u32,
    key: u64,
    value: u64,
    flags: u64,
}

// SAFETY: Integers without padding; `update` borrows the key and the value beyond the call, and the kernel only reads
// them.
unsafe impl Attr for UpdateElemAttr {}

/// Fills in the table. `value` must have the size of the map's values.
pub fn update(map: &OwnedFd, value: &[u8]) -> Result<(), Errno> {
    let key = 0_u32;
    let mut attr = UpdateElemAttr {
        map_fd: map.as_raw_fd() as u32,
        _zero: 0,
        key: std::ptr::from_ref(&key) as u64,
        value: value.as_ptr() as u64,
        flags: 0,
    };
    sys::bpf(Command::MapUpdateElem, &mut attr)
}

#[repr(C)]
struct LinkCreateAttr {
    map_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
}

// SAFETY: Integers without padding, no address.
unsafe impl Attr for LinkCreateAttr {}

/// Has the kernel call the table's programs for as long as the link is held.
pub fn attach(map: &OwnedFd) -> Result<OwnedFd, Errno> {
    const BPF_STRUCT_OPS: u32 = 44;
    let mut attr = LinkCreateAttr {
        map_fd: map.as_raw_fd() as u32,
        target_fd: 0,
        attach_type: BPF_STRUCT_OPS,
        flags: 0,
    };
    sys::bpf_fd(Command::LinkCreate, &mut attr)
}
