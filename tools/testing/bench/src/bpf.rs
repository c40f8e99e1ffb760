// SPDX-License-Identifier: GPL-2.0
//! bpf(2), with nothing around the system call that would be counted along.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;

use bpf_token::Insn;
use libbpf_sys as sys;
use libbpf_sys::bpf_attr;

const LICENSE: &CStr = c"GPL";

/// A command of bpf(2) with its attributes, and what the addresses in them borrow.
pub struct Command<'a> {
    cmd: u32,
    attr: bpf_attr,
    borrowed: PhantomData<&'a ()>,
}

impl<'a> Command<'a> {
    fn new(cmd: u32) -> Self {
        Self {
            cmd,
            attr: bpf_attr::default(),
            borrowed: PhantomData,
        }
    }

    /// `BPF_TOKEN_CREATE`.
    pub fn token_create(bpffs: BorrowedFd<'a>) -> Self {
        let mut command = Self::new(sys::BPF_TOKEN_CREATE);
        command.attr.token_create.bpffs_fd = bpffs.as_raw_fd() as u32;
        command
    }

    /// `BPF_TOKEN_CREATE` with `BPF_F_TOKEN_RESTRICT`, of a BPF FS or of a token. The headers of libbpf do not know the
    /// masks yet.
    pub fn token_restrict(source: BorrowedFd<'a>, masks: [u64; 4]) -> Self {
        const BPF_F_TOKEN_RESTRICT: u32 = 1 << 0;
        let mut command = Self::token_create(source);
        command.attr.token_create.flags = BPF_F_TOKEN_RESTRICT;
        let attr = std::ptr::from_mut(&mut command.attr).cast::<u64>();
        for (index, mask) in masks.into_iter().enumerate() {
            // SAFETY: The attributes are words of 64 bits, of which there are more than five; no address is among those
            // of this command.
            unsafe { attr.add(1 + index).write(mask) };
        }
        command
    }

    /// `BPF_MAP_CREATE` of an array of one element.
    pub fn map_create(token: Option<BorrowedFd<'a>>) -> Self {
        let mut command = Self::new(sys::BPF_MAP_CREATE);
        let (flag, token) = token_fields(token);
        command.attr.__bindgen_anon_1 = sys::bpf_attr__bindgen_ty_1 {
            map_type: sys::BPF_MAP_TYPE_ARRAY,
            key_size: 4,
            value_size: 8,
            max_entries: 1,
            map_flags: flag,
            map_token_fd: token,
            ..Default::default()
        };
        command
    }

    /// `BPF_PROG_LOAD`.
    pub fn prog_load(prog_type: u32, insns: &'a [Insn], token: Option<BorrowedFd<'a>>) -> Self {
        let mut command = Self::new(sys::BPF_PROG_LOAD);
        let (flag, token) = token_fields(token);
        command.attr.__bindgen_anon_3 = sys::bpf_attr__bindgen_ty_4 {
            prog_type,
            insn_cnt: insns.len() as u32,
            insns: insns.as_ptr() as u64,
            license: LICENSE.as_ptr() as u64,
            prog_flags: flag,
            prog_token_fd: token,
            ..Default::default()
        };
        command
    }

    /// `BPF_BTF_LOAD`.
    pub fn btf_load(btf: &'a [u8], token: Option<BorrowedFd<'a>>) -> Self {
        let mut command = Self::new(sys::BPF_BTF_LOAD);
        let (flag, token) = token_fields(token);
        command.attr.__bindgen_anon_7 = sys::bpf_attr__bindgen_ty_12 {
            btf: btf.as_ptr() as u64,
            btf_size: btf.len() as u32,
            btf_flags: flag,
            btf_token_fd: token,
            ..Default::default()
        };
        command
    }

    /// `BPF_BTF_GET_FD_BY_ID` of the kernel's own BTF.
    pub fn btf_get_fd_by_id(token: Option<BorrowedFd<'a>>) -> Self {
        let mut command = Self::new(sys::BPF_BTF_GET_FD_BY_ID);
        let (flag, token) = token_fields(token);
        command.attr.__bindgen_anon_6 = sys::bpf_attr__bindgen_ty_8 {
            __bindgen_anon_1: sys::bpf_attr__bindgen_ty_8__bindgen_ty_1 { btf_id: 1 },
            open_flags: flag,
            fd_by_id_token_fd: token,
            ..Default::default()
        };
        command
    }

    /// `BPF_OBJ_GET_INFO_BY_FD` of a token.
    pub fn token_info(token: BorrowedFd<'a>, info: &'a mut [u64; 4]) -> Self {
        let mut command = Self::new(sys::BPF_OBJ_GET_INFO_BY_FD);
        command.attr.info = sys::bpf_attr__bindgen_ty_9 {
            bpf_fd: token.as_raw_fd() as u32,
            info_len: size_of_val(info) as u32,
            info: info.as_mut_ptr() as u64,
        };
        command
    }

    /// Runs the command and returns what the system call does: a number, or -1.
    #[inline]
    pub fn run(&mut self) -> i64 {
        // SAFETY: The addresses in the attributes are those of borrowed memory, readable or writable
        // as the command needs it for the size beside each.
        unsafe {
            libc::syscall(
                libc::SYS_bpf,
                self.cmd,
                &raw mut self.attr,
                size_of::<bpf_attr>(),
            )
        }
    }
}

/// The descriptor that a command returned.
///
/// # Panics
///
/// If the command failed.
pub fn fd(returned: i64) -> OwnedFd {
    assert!(returned >= 0, "bpf(2): {}", std::io::Error::last_os_error());
    // SAFETY: Every command here that does not fail returns a new descriptor (`token_info` returns
    // 0, and is not passed to this function).
    unsafe { OwnedFd::from_raw_fd(returned as i32) }
}

/// Checks that a command was refused with `EPERM`.
///
/// # Panics
///
/// If it was not.
pub fn refused(returned: i64) {
    failed(returned, libc::EPERM);
}

/// Checks that a command failed with `EINVAL`.
///
/// # Panics
///
/// If it did not.
pub fn invalid(returned: i64) {
    failed(returned, libc::EINVAL);
}

fn failed(returned: i64, errno: i32) {
    let error = std::io::Error::last_os_error();
    assert!(
        returned == -1,
        "bpf(2) succeeded and should have been refused"
    );
    assert_eq!(error.raw_os_error(), Some(errno), "bpf(2): {error}");
}

fn token_fields(token: Option<BorrowedFd<'_>>) -> (u32, i32) {
    token.map_or((0, 0), |token| (sys::BPF_F_TOKEN_FD, token.as_raw_fd()))
}
