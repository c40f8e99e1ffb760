// SPDX-License-Identifier: GPL-2.0

//! Answering `BPF_OBJ_GET_INFO_BY_FD`.
//!
//! C header: [`include/uapi/linux/bpf.h`](srctree/include/uapi/linux/bpf.h).

use crate::{
    bindings,
    error::{
        code::EFAULT,
        Result, //
    },
    transmute::AsBytes, //
};
use core::mem::offset_of;

/// Where the caller of `BPF_OBJ_GET_INFO_BY_FD` wants the answer, and how much of it.
pub struct InfoRequest {
    info: u64,
    len: u32,
    /// Where userspace has the attributes of the command.
    uattr: *mut bindings::bpf_attr,
}

impl InfoRequest {
    /// Reads the request from the attributes of the command.
    ///
    /// # Safety
    ///
    /// `attr` must be the attributes of `BPF_OBJ_GET_INFO_BY_FD`. `uattr` can be any address.
    #[inline]
    pub unsafe fn new(attr: *const bindings::bpf_attr, uattr: *mut bindings::bpf_attr) -> Self {
        // SAFETY: By the requirements of this function.
        let (info, len) = unsafe { ((*attr).info.info, (*attr).info.info_len) };
        Self { info, len, uattr }
    }

    /// Copies as much of `info` to userspace as there is room for, and tells how much that was.
    ///
    /// Fails with `EFAULT`.
    #[inline]
    pub fn answer<T: AsBytes>(&self, info: &T) -> Result {
        let len = self.len.min(size_of::<T>() as u32);
        let ulen = self
            .uattr
            .wrapping_byte_add(offset_of!(bindings::bpf_attr, info.info_len));
        // SAFETY: `info` is valid for `len` bytes; the addresses of userspace are checked.
        let missed = unsafe {
            bindings::copy_to_user(
                self.info as *mut crate::ffi::c_void,
                core::ptr::from_ref(info).cast(),
                len as usize,
            ) != 0
                || bindings::put_user_u32(len, ulen.cast()) != 0
        };
        if missed {
            return Err(EFAULT);
        }
        Ok(())
    }
}
