// SPDX-License-Identifier: MIT OR Apache-2.0
//! What libbpf has and libbpf-rs has not.

use std::ffi::CStr;
use std::ptr;

/// Sets the BPF FS that libbpf takes a token from. `path` must live until the object is open.
pub(crate) fn set_token_path(
    mut options: ptr::NonNull<libbpf_sys::bpf_object_open_opts>,
    path: &CStr,
) {
    // SAFETY: The options belong to an `ObjectBuilder` that the caller has and nobody else uses.
    unsafe { options.as_mut() }.bpf_token_path = path.as_ptr();
}

/// The types of a map and, for a map of maps, of the maps in it.
pub(crate) fn map_types(map: ptr::NonNull<libbpf_sys::bpf_map>) -> (u32, Option<u32>) {
    // SAFETY: The map is that of an open object, which the caller has; an inner map lives as long
    // as it.
    unsafe {
        let own = libbpf_sys::bpf_map__type(map.as_ptr());
        let inner = ptr::NonNull::new(libbpf_sys::bpf_map__inner_map(map.as_ptr()));
        (
            own,
            inner.map(|inner| libbpf_sys::bpf_map__type(inner.as_ptr())),
        )
    }
}

/// The program type and the expected attach type of a program.
pub(crate) fn program_types(program: ptr::NonNull<libbpf_sys::bpf_program>) -> (u32, u32) {
    // SAFETY: The program is that of an open object, which the caller has.
    unsafe {
        (
            libbpf_sys::bpf_program__type(program.as_ptr()),
            libbpf_sys::bpf_program__expected_attach_type(program.as_ptr()),
        )
    }
}
