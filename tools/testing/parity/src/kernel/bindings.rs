// SPDX-License-Identifier: GPL-2.0
//! What bindgen makes of upstream's headers, and of the C structs that have no UAPI what the policy names.
#![allow(
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    non_snake_case
)]
#![allow(clippy::undocumented_unsafe_blocks)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));

/// Only its address counts.
pub struct bpf_token {
    _opaque: u64,
}

/// The kernel's build compares the layout with C's.
#[repr(C)]
pub struct bpf_mount_opts {
    pub uid: u32,
    pub gid: u32,
    pub mode: u16,
    pub delegate_cmds: u64,
    pub delegate_maps: u64,
    pub delegate_progs: u64,
    pub delegate_attachs: u64,
    pub delegate_cookie: u64,
    pub delegate_named: u32,
}

/// No speculation here.
///
/// # Safety
///
/// None is asked of a caller.
pub unsafe fn array_index_mask_nospec(index: usize, size: usize) -> usize {
    if index < size {
        usize::MAX
    } else {
        0
    }
}
