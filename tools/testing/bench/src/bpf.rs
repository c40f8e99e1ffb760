// SPDX-License-Identifier: GPL-2.0
//! The commands of bpf(2) that are measured, with nothing around the system call that would be counted along.

use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;

use guest::attr::btf_load;
use guest::attr::by_id;
use guest::attr::info;
use guest::attr::map_create;
use guest::attr::prog_load;
use guest::attr::token_create;
use guest::attr::Attr;
use guest::attr::BPF_F_TOKEN_RESTRICT;
use guest::attr::SIZE;
use guest::bpf::MapType;
use guest::bpf::ProgType;
use guest::sys;

/// A command with its attributes, all of them, and what these borrow.
pub struct Command<'a>(Attr<'a>);

impl<'a> Command<'a> {
    /// `BPF_TOKEN_CREATE`.
    pub fn token_create(bpffs: BorrowedFd<'a>) -> Self {
        let attr = Attr::of(sys::Command::TokenCreate);
        Self(attr.set_fd(token_create::bpffs_fd, bpffs.as_raw_fd()))
    }

    /// `BPF_TOKEN_CREATE` with `BPF_F_TOKEN_RESTRICT`, of a BPF FS or of a token.
    pub fn token_restrict(source: BorrowedFd<'a>, masks: [u64; 4]) -> Self {
        let [cmds, maps, progs, attachs] = masks;
        let Self(attr) = Self::token_create(source);
        Self(
            attr.set(token_create::flags, BPF_F_TOKEN_RESTRICT)
                .set(token_create::allowed_cmds, cmds)
                .set(token_create::allowed_maps, maps)
                .set(token_create::allowed_progs, progs)
                .set(token_create::allowed_attachs, attachs),
        )
    }

    /// `BPF_MAP_CREATE` of an array of one element.
    pub fn map_create(token: Option<BorrowedFd<'a>>) -> Self {
        let attr = Attr::of(sys::Command::MapCreate)
            .set(map_create::map_type, MapType::Array as u32)
            .set(map_create::key_size, 4_u32)
            .set(map_create::value_size, 8_u32)
            .set(map_create::max_entries, 1_u32);
        Self::with(attr, token)
    }

    /// `BPF_PROG_LOAD`.
    pub fn prog_load(prog_type: ProgType, insns: &'a [u64], token: Option<BorrowedFd<'a>>) -> Self {
        let attr = Attr::of(sys::Command::ProgLoad)
            .set(prog_load::prog_type, prog_type as u32)
            .set(prog_load::insn_cnt, insns.len() as u32)
            .set_input(prog_load::insns, insns)
            .set_input(prog_load::license, c"GPL".to_bytes_with_nul());
        Self::with(attr, token)
    }

    /// `BPF_BTF_LOAD`.
    pub fn btf_load(btf: &'a [u8], token: Option<BorrowedFd<'a>>) -> Self {
        let attr = Attr::of(sys::Command::BtfLoad)
            .set_input(btf_load::btf, btf)
            .set(btf_load::btf_size, btf.len() as u32);
        Self::with(attr, token)
    }

    /// `BPF_BTF_GET_FD_BY_ID` of the kernel's own BTF.
    pub fn btf_get_fd_by_id(token: Option<BorrowedFd<'a>>) -> Self {
        let attr = Attr::of(sys::Command::BtfGetFdById).set(by_id::id, 1_u32);
        Self::with(attr, token)
    }

    /// `BPF_OBJ_GET_INFO_BY_FD` of a token.
    pub fn token_info(token: BorrowedFd<'a>, told: &'a mut [u64; 4]) -> Self {
        let attr = Attr::of(sys::Command::ObjGetInfoByFd)
            .set_fd(info::bpf_fd, token.as_raw_fd())
            .set(info::info_len, size_of_val(told) as u32);
        // SAFETY: The command writes no more than that length there, and the borrow lasts as long as the attributes.
        Self(unsafe { attr.set_address(info::info, told.as_mut_ptr() as u64) })
    }

    fn with(attr: Attr<'a>, token: Option<BorrowedFd<'a>>) -> Self {
        Self(attr.with_token(token.map(|token| token.as_raw_fd())))
    }

    /// Runs the command and returns what the system call does: a number, or -1.
    #[inline]
    pub fn run(&mut self) -> i64 {
        let command = self.0.command() as i32;
        // SAFETY: By the invariant of the attributes.
        unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), SIZE) }
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
    assert_eq!(
        (returned, error.raw_os_error()),
        (-1, Some(errno)),
        "bpf(2): {error}"
    );
}
