// SPDX-License-Identifier: GPL-2.0
//! The bpf(2) commands that take a token.

use std::ffi::CStr;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::error::Error;
use crate::error::Reason;
use crate::error::Result;
use crate::mask::Maps;
use crate::mask::Mask;
use crate::mask::Progs;
use crate::sys;
use crate::token::Token;

/// How much of a log is read for the reason of a failure, in bytes.
const LOG_SIZE: usize = 64 * 1024;

/// A name of a map or program, at most 15 bytes (`BPF_OBJ_NAME_LEN` is 16).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjName(pub(crate) [u8; 16]);

impl ObjName {
    /// The name, cut after 15 bytes as libbpf does.
    pub fn new(name: &str) -> Self {
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(name.bytes().take(15)) {
            *to = from;
        }
        Self(bytes)
    }
}

/// One BPF instruction, `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    /// The operation.
    pub code: u8,
    /// Destination register in the low, source register in the high four bits (on little endian
    /// machines).
    pub regs: u8,
    /// A signed offset.
    pub off: i16,
    /// A signed immediate.
    pub imm: i32,
}

impl Insn {
    /// `r<dst> = imm`.
    pub const fn mov64_imm(dst: u8, imm: i32) -> Self {
        Self {
            code: 0xb7,
            regs: dst,
            off: 0,
            imm,
        }
    }

    /// `exit`.
    pub const fn exit() -> Self {
        Self {
            code: 0x95,
            regs: 0,
            off: 0,
            imm: 0,
        }
    }
}

/// A map to create; the fields are those of `union bpf_attr`.
#[derive(Clone, Copy, Debug, Default)]
pub struct MapAttr<'a> {
    /// `enum bpf_map_type`.
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Greatest number of entries; bytes for a ring buffer.
    pub max_entries: u32,
    /// `BPF_F_*` of map creation.
    pub flags: u32,
    /// The map that shows what the maps in this one look like.
    pub inner_map: Option<BorrowedFd<'a>>,
    /// The name.
    pub name: ObjName,
    /// The BTF that the two type ids below are of.
    pub btf: Option<BorrowedFd<'a>>,
    /// BTF type of the key.
    pub btf_key_type_id: u32,
    /// BTF type of the value.
    pub btf_value_type_id: u32,
    /// BTF type of a `struct_ops` map's value, in the kernel's BTF.
    pub btf_vmlinux_value_type_id: u32,
    /// `map_extra`, whose meaning depends on the type.
    pub extra: u64,
}

impl MapAttr<'_> {
    /// Creates the map (`BPF_MAP_CREATE`), on the caller's own capabilities or through a token.
    ///
    /// # Errors
    ///
    /// Those of bpf(2). A refusal for lack of permission is `EPERM`; the reason is there on kernels
    /// that log it through the common attributes.
    ///
    /// ```no_run
    /// use bpf_token::{MapAttr, Token};
    /// let token = Token::from_bpffs("/sys/fs/bpf")?;
    /// let array = MapAttr { map_type: 2, key_size: 4, value_size: 8, max_entries: 1, ..MapAttr::default() };
    /// let map = array.create(Some(&token))?;
    /// # Ok::<(), bpf_token::Error>(())
    /// ```
    pub fn create(&self, token: Option<&Token>) -> Result<OwnedFd> {
        let token = token.map(AsFd::as_fd);
        with_log(
            || format!("create map of type {}", Mask::<Maps>::label(self.map_type)),
            |log| sys::map_create(self, token, log),
        )
    }
}

/// A program to load; the fields are those of `union bpf_attr`.
#[derive(Clone, Copy, Debug)]
pub struct ProgAttr<'a> {
    /// `enum bpf_prog_type`.
    pub prog_type: u32,
    /// `enum bpf_attach_type`, where the program type has several.
    pub expected_attach_type: u32,
    /// The instructions.
    pub insns: &'a [Insn],
    /// The license; `GPL` opens the helpers that ask for it.
    pub license: &'a CStr,
    /// `BPF_F_*` of program load.
    pub flags: u32,
    /// The name.
    pub name: ObjName,
    /// BTF type of what a tracing or LSM program attaches to, in the kernel's BTF.
    pub attach_btf_id: u32,
}

impl<'a> ProgAttr<'a> {
    /// A GPL program of this type with these instructions; the other fields are 0.
    pub fn new(prog_type: u32, insns: &'a [Insn]) -> Self {
        Self {
            prog_type,
            expected_attach_type: 0,
            insns,
            license: c"GPL",
            flags: 0,
            name: ObjName::default(),
            attach_btf_id: 0,
        }
    }

    /// Loads the program (`BPF_PROG_LOAD`), on the caller's own capabilities or through a token.
    ///
    /// # Errors
    ///
    /// Those of bpf(2), with the verifier's log as the reason.
    ///
    /// ```no_run
    /// use bpf_token::{Insn, ProgAttr, Token};
    /// let token = Token::from_bpffs("/sys/fs/bpf")?;
    /// // A socket filter (BPF_PROG_TYPE_SOCKET_FILTER is 1) that lets nothing pass.
    /// let insns = [Insn::mov64_imm(0, 0), Insn::exit()];
    /// let filter = ProgAttr::new(1, &insns).load(Some(&token))?;
    /// # Ok::<(), bpf_token::Error>(())
    /// ```
    pub fn load(&self, token: Option<&Token>) -> Result<OwnedFd> {
        let token = token.map(AsFd::as_fd);
        with_log(
            || {
                let label = Mask::<Progs>::label(self.prog_type);
                format!("load program of type {label}")
            },
            |log| sys::prog_load(self, token, log),
        )
    }
}

/// Loads BTF (`BPF_BTF_LOAD`), on the caller's own capabilities or through a token.
///
/// ```no_run
/// use bpf_token::{load_btf, Token};
/// let token = Token::from_bpffs("/sys/fs/bpf")?;
/// let btf = load_btf(&std::fs::read("types.btf")?, Some(&token))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// Those of bpf(2), with the BTF verifier's log as the reason.
pub fn load_btf(btf: &[u8], token: Option<&Token>) -> Result<OwnedFd> {
    let token = token.map(AsFd::as_fd);
    with_log(
        || "load BTF".to_owned(),
        |log| sys::btf_load(btf, token, log),
    )
}

/// Opens the BTF of this id (`BPF_BTF_GET_FD_BY_ID`), on the caller's own capabilities or through a
/// token.
///
/// ```no_run
/// use bpf_token::{btf_by_id, Token};
/// let token = Token::from_bpffs("/sys/fs/bpf")?;
/// let vmlinux = btf_by_id(1, Some(&token))?;
/// # Ok::<(), bpf_token::Error>(())
/// ```
///
/// # Errors
///
/// Those of bpf(2): `EPERM` without permission, `ENOENT` for an id that is not in use. The command
/// has no log.
pub fn btf_by_id(id: u32, token: Option<&Token>) -> Result<OwnedFd> {
    sys::btf_get_fd_by_id(id, token.map(AsFd::as_fd))
        .map_err(|errno| Error::sys(format!("get BTF {id}"), errno))
}

/// Runs a command without a log, and once more with one to learn the reason if it failed.
fn with_log(
    what: impl FnOnce() -> String,
    mut command: impl FnMut(Option<&mut [u8]>) -> rustix::io::Result<OwnedFd>,
) -> Result<OwnedFd> {
    let errno = match command(None) {
        Ok(fd) => return Ok(fd),
        Err(errno) => errno,
    };
    let mut log = vec![0; LOG_SIZE];
    // A command that failed for a passing lack of memory may succeed now.
    let reason = match command(Some(&mut log)) {
        Ok(fd) => return Ok(fd),
        // The log itself is refused where commands know none (EINVAL) or where it is full (ENOSPC).
        Err(again) if again == errno || again == Errno::NOSPC => log_text(&log),
        Err(_) => Reason::default(),
    };
    Err(Error::with_reason(what(), errno, reason))
}

fn log_text(log: &[u8]) -> Reason {
    let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
    Reason::new(&String::from_utf8_lossy(&log[..end]))
}
