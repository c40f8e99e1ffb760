// SPDX-License-Identifier: GPL-2.0

//! Programs that the kernel calls through a table of its functions: `BPF_MAP_TYPE_STRUCT_OPS`.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use rustix::io::Errno;

use crate::attr::link_create;
use crate::attr::map_create;
use crate::attr::map_update_elem;
use crate::attr::Attr;
use crate::bpf;
use crate::sys;
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
    let mut attr = bpf::map_attr_of(BPF_MAP_TYPE_STRUCT_OPS)
        .set(map_create::value_size, value_size)
        .set(map_create::map_flags, BPF_F_LINK)
        .set_fd(map_create::btf_fd, btf.as_raw_fd())
        .set(map_create::btf_vmlinux_value_type_id, value_type)
        .with_token(token);
    sys::bpf_fd(&mut attr)
}

/// Fills in the table. `value` must have the size of the map's values.
pub fn update(map: &OwnedFd, value: &[u8]) -> Result<(), Errno> {
    let mut attr = Attr::of(Command::MapUpdateElem)
        .set_fd(map_update_elem::map_fd, map.as_raw_fd())
        .set_input(map_update_elem::key, &[0_u32])
        .set_input(map_update_elem::value, value);
    sys::bpf(&mut attr)
}

/// Has the kernel call the table's programs for as long as the link is held.
pub fn attach(map: &OwnedFd) -> Result<OwnedFd, Errno> {
    const BPF_STRUCT_OPS: u32 = 44;
    let mut attr = Attr::of(Command::LinkCreate)
        .set_fd(link_create::prog_fd, map.as_raw_fd())
        .set(link_create::attach_type, BPF_STRUCT_OPS);
    sys::bpf_fd(&mut attr)
}
