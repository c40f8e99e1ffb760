// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bpf(2) commands that take a token.

use std::ffi::CStr;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use crate::diagnose;
use crate::diagnose::Request;
use crate::errno::Errno;
use crate::errno::IntoErrno;
use crate::error::Action;
use crate::error::Error;
use crate::error::Result;
use crate::insn::Insn;
use crate::names::AttachType;
use crate::names::MapType;
use crate::names::ProgType;
use crate::reason::Reason;
use crate::sys;
use crate::token::Token;

/// The flag that says that a token's descriptor is in the attributes, for loaders that build their
/// own.
///
/// | command | flag in | descriptor in |
/// | --- | --- | --- |
/// | `BPF_MAP_CREATE` | `map_flags` | `map_token_fd` |
/// | `BPF_PROG_LOAD` | `prog_flags` | `prog_token_fd` |
/// | `BPF_BTF_LOAD` | `btf_flags` | `btf_token_fd` |
/// | `BPF_BTF_GET_FD_BY_ID` | `open_flags` | `fd_by_id_token_fd` |
pub const BPF_F_TOKEN_FD: u32 = 1 << 16;

/// How much of a log is read for the reason of a failure at first, in bytes.
const LOG_SIZE: usize = 64 * 1024;
/// The greatest log that is read for the reason of a failure, in bytes; what is left out of a longer
/// one is its beginning.
pub(crate) const GREATEST_LOG_SIZE: usize = 16 * 1024 * 1024;

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

    fn text(self) -> String {
        let name = self.0.split(|&byte| byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    }
}

/// A map to create; the fields are those of `union bpf_attr`.
///
/// ```no_run
/// use bpf_token::{MapAttr, MapType, ObjName, Token};
/// let token = Token::from_bpffs("/sys/fs/bpf")?;
/// let mut array = MapAttr::new(MapType::ARRAY, 4, 8, 1);
/// array.name = ObjName::new("counters");
/// let map = array.create(Some(&token))?;
/// # Ok::<(), bpf_token::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct MapAttr<'a> {
    /// The type.
    pub map_type: MapType,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Greatest number of entries; bytes for a ring buffer.
    pub max_entries: u32,
    /// `BPF_F_*` of map creation; [`BPF_F_TOKEN_FD`] is set where there is a token.
    pub flags: u32,
    /// The map that shows what the maps in this one look like.
    pub inner_map: Option<BorrowedFd<'a>>,
    /// The NUMA node, with `BPF_F_NUMA_NODE`.
    pub numa_node: u32,
    /// The name.
    pub name: ObjName,
    /// The index of the network device to create the map on; 0 for none.
    pub ifindex: u32,
    /// The BTF that the two type ids below are of.
    pub btf: Option<BorrowedFd<'a>>,
    /// BTF type of the key.
    pub btf_key_type_id: u32,
    /// BTF type of the value.
    pub btf_value_type_id: u32,
    /// BTF type of a `struct_ops` map's value, in the kernel's BTF.
    pub btf_vmlinux_value_type_id: u32,
    /// The module's BTF that the type above is of, with `BPF_F_VTYPE_BTF_OBJ_FD`.
    pub value_type_btf: Option<BorrowedFd<'a>>,
    /// `map_extra`, whose meaning depends on the type.
    pub extra: u64,
    /// The SHA-256 hash of the only program that may use the map; empty for any.
    pub exclusive_program_hash: &'a [u8],
}

impl MapAttr<'_> {
    /// A map of this type and these sizes; the other fields are 0.
    pub fn new(map_type: MapType, key_size: u32, value_size: u32, max_entries: u32) -> Self {
        Self {
            map_type,
            key_size,
            value_size,
            max_entries,
            ..Self::default()
        }
    }

    /// Creates the map (`BPF_MAP_CREATE`), on the caller's own capabilities or through a token.
    ///
    /// # Errors
    ///
    /// Those of bpf(2). A refusal for lack of permission is `EPERM`, with the reason.
    pub fn create(&self, token: Option<&Token>) -> Result<OwnedFd> {
        let fd = token.map(AsFd::as_fd);
        let result = with_reason(|log| sys::map_create(self, fd, log));
        let action = || Action::CreateMap {
            map_type: self.map_type,
            name: self.name.text(),
        };
        result.map_err(|failed| failed.explain(action(), Request::Map(self.map_type), token))
    }

    /// What a refusal of this map (`EPERM`) would be for, found out without the kernel: what the
    /// token does not delegate, or the capability that is missing. None if nothing is.
    pub fn why_refused(&self, token: Option<&Token>) -> Option<Reason> {
        diagnose::refusal(Request::Map(self.map_type), token)
    }
}

/// What a program attaches to, where that is known when it is loaded.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub enum AttachTarget<'a> {
    /// Nothing yet.
    #[default]
    None,
    /// What has this id in the kernel's BTF.
    Kernel(u32),
    /// What has this id in the BTF of a module.
    Module(BorrowedFd<'a>, u32),
    /// The function of this id in the BTF of a BPF program.
    Program(BorrowedFd<'a>, u32),
}

/// One function of a program, `struct bpf_func_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FuncInfo {
    /// The function's first instruction.
    pub insn_off: u32,
    /// The function in the program's BTF.
    pub type_id: u32,
}

/// Where an instruction comes from, `struct bpf_line_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineInfo {
    /// The first instruction of the line.
    pub insn_off: u32,
    /// The file's name, in the strings of the program's BTF.
    pub file_name_off: u32,
    /// The line's text, in the strings of the program's BTF.
    pub line_off: u32,
    /// Line number times 1024, plus column.
    pub line_col: u32,
}

/// The signature of a program.
#[derive(Clone, Copy, Debug)]
pub struct Signature<'a> {
    /// PKCS#7, detached.
    pub bytes: &'a [u8],
    /// The keyring to verify it with: the id of one, or a number that stands for one, keyctl(2).
    pub keyring: i32,
}

/// A program to load; the fields are those of `union bpf_attr`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ProgAttr<'a> {
    /// The type.
    pub prog_type: ProgType,
    /// What it is loaded for, where the type has a choice; the kernel looks it up in the token in
    /// any case.
    pub expected_attach_type: AttachType,
    /// The instructions.
    pub insns: &'a [Insn],
    /// The license; `GPL` opens the helpers that ask for it.
    pub license: &'a CStr,
    /// `BPF_F_*` of program load; [`BPF_F_TOKEN_FD`] is set where there is a token.
    pub flags: u32,
    /// The name.
    pub name: ObjName,
    /// The index of the network device to load the program for; 0 for none.
    pub ifindex: u32,
    /// What a tracing, LSM, `struct_ops` or extension program attaches to.
    pub attach: AttachTarget<'a>,
    /// The program's own BTF, which functions and lines below are of.
    pub btf: Option<BorrowedFd<'a>>,
    /// The program's functions.
    pub func_info: &'a [FuncInfo],
    /// The program's lines.
    pub line_info: &'a [LineInfo],
    /// Descriptors of maps and BTF that instructions name by their place in this list.
    pub fd_array: &'a [BorrowedFd<'a>],
    /// Whether all of `fd_array` is bound to the program, named or not (`fd_array_cnt`).
    pub bind_fd_array: bool,
    /// The signature.
    pub signature: Option<Signature<'a>>,
}

impl<'a> ProgAttr<'a> {
    /// A GPL program of this type with these instructions; the other fields are 0.
    pub fn new(prog_type: ProgType, insns: &'a [Insn]) -> Self {
        Self {
            prog_type,
            expected_attach_type: AttachType::default(),
            insns,
            license: c"GPL",
            flags: 0,
            name: ObjName::default(),
            ifindex: 0,
            attach: AttachTarget::None,
            btf: None,
            func_info: &[],
            line_info: &[],
            fd_array: &[],
            bind_fd_array: false,
            signature: None,
        }
    }

    /// The same, loaded for this attach type.
    #[must_use]
    pub fn loaded_for(mut self, attach_type: AttachType) -> Self {
        self.expected_attach_type = attach_type;
        self
    }

    /// Loads the program (`BPF_PROG_LOAD`), on the caller's own capabilities or through a token.
    ///
    /// # Errors
    ///
    /// Those of bpf(2), with the verifier's log as the reason; for a refusal (`EPERM`) the reason is
    /// there on every kernel.
    ///
    /// ```no_run
    /// use bpf_token::{Insn, ProgAttr, ProgType, Token};
    /// let token = Token::from_bpffs("/sys/fs/bpf")?;
    /// // A socket filter that lets nothing pass.
    /// let insns = [Insn::mov64_imm(0, 0), Insn::exit()];
    /// let filter = ProgAttr::new(ProgType::SOCKET_FILTER, &insns).load(Some(&token))?;
    /// # Ok::<(), bpf_token::Error>(())
    /// ```
    pub fn load(&self, token: Option<&Token>) -> Result<OwnedFd> {
        let fd = token.map(AsFd::as_fd);
        let result = with_reason(|log| sys::prog_load(self, fd, log));
        result.map_err(|failed| failed.explain(self.action(), self.request(), token))
    }

    /// As [`load`](Self::load), and writes the verifier's log, also of a program that loads.
    ///
    /// # Errors
    ///
    /// Those of bpf(2); `ENOSPC` if the log does not fit: [`Log::true_size`] tells what would.
    pub fn load_with_log(&self, token: Option<&Token>, log: &mut Log) -> Result<OwnedFd> {
        let fd = token.map(AsFd::as_fd);
        log.clear();
        sys::prog_load(self, fd, Some(log)).map_err(|errno| {
            let failed = Failed {
                errno: errno.into_errno(),
                log: log.text(),
            };
            failed.explain(self.action(), self.request(), token)
        })
    }

    /// What a refusal of this program (`EPERM`) would be for, found out without the kernel: what the
    /// token does not delegate, or the capability that is missing. None if nothing is.
    pub fn why_refused(&self, token: Option<&Token>) -> Option<Reason> {
        diagnose::refusal(self.request(), token)
    }

    fn action(&self) -> Action {
        Action::LoadProgram {
            prog_type: self.prog_type,
            attach_type: self.expected_attach_type,
            name: self.name.text(),
        }
    }

    fn request(&self) -> Request {
        Request::Program {
            prog_type: self.prog_type,
            attach_type: self.expected_attach_type,
            insn_cnt: self.insns.len(),
        }
    }
}

/// A buffer for the log of a command.
#[derive(Clone, Debug)]
pub struct Log {
    pub(crate) level: u32,
    pub(crate) buffer: Vec<u8>,
    pub(crate) true_size: u32,
}

impl Log {
    /// Room for so many bytes, at log level 1: what the verifier does, and why it refuses.
    pub fn new(size: usize) -> Self {
        Self {
            level: 1,
            buffer: vec![0; size],
            true_size: 0,
        }
    }

    /// Sets the log level: 2 for every state, 4 for statistics only; flags add up.
    #[must_use]
    pub fn level(mut self, level: u32) -> Self {
        self.level = level;
        self
    }

    /// The log.
    pub fn text(&self) -> String {
        let end = self.buffer.iter().position(|&byte| byte == 0);
        let end = end.unwrap_or(self.buffer.len());
        String::from_utf8_lossy(&self.buffer[..end]).into_owned()
    }

    /// The bytes that the whole log takes, as Linux 6.4 and later tell it; 0 before.
    pub fn true_size(&self) -> usize {
        self.true_size as usize
    }

    fn clear(&mut self) {
        self.buffer.fill(0);
        self.true_size = 0;
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
/// Those of bpf(2), with the BTF verifier's log as the reason; for a refusal (`EPERM`) the reason is
/// there on every kernel.
pub fn load_btf(btf: &[u8], token: Option<&Token>) -> Result<OwnedFd> {
    let fd = token.map(AsFd::as_fd);
    let result = with_reason(|log| sys::btf_load(btf, fd, log));
    result.map_err(|failed| failed.explain(Action::LoadBtf, Request::LoadBtf, token))
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
/// Those of bpf(2): `EPERM` without permission, with the reason; `ENOENT` for an id that is not in
/// use.
pub fn btf_by_id(id: u32, token: Option<&Token>) -> Result<OwnedFd> {
    sys::btf_get_fd_by_id(id, token.map(AsFd::as_fd)).map_err(|errno| {
        let failed = Failed {
            errno: errno.into_errno(),
            log: String::new(),
        };
        failed.explain(Action::GetBtf { id }, Request::BtfById, token)
    })
}

/// A command that failed, with what is in its log.
struct Failed {
    errno: Errno,
    log: String,
}

impl Failed {
    /// The error: with the kernel's reason, or one found out for a refusal.
    fn explain(self, action: Action, request: Request, token: Option<&Token>) -> Error {
        let mut reason = Reason::new(&self.log);
        if reason.is_empty() && matches!(self.errno, Errno::EPERM | Errno::E2BIG) {
            reason = diagnose::refusal(request, token).unwrap_or_default();
        }
        Error::with_reason(action, self.errno, reason)
    }
}

/// Runs a command without a log, and once more with one to learn the reason if it failed.
fn with_reason(
    mut command: impl FnMut(Option<&mut Log>) -> rustix::io::Result<OwnedFd>,
) -> std::result::Result<OwnedFd, Failed> {
    let errno = match command(None) {
        Ok(fd) => return Ok(fd),
        Err(errno) => errno.into_errno(),
    };
    let mut log = Log::new(LOG_SIZE);
    loop {
        // A command that failed for a passing lack of memory may succeed now.
        let again = match command(Some(&mut log)) {
            Ok(fd) => return Ok(fd),
            Err(again) => again.into_errno(),
        };
        // The log's end is what counts: the kernel keeps it, and cuts the beginning off.
        let whole = again != Errno::ENOSPC || log.buffer.len() >= GREATEST_LOG_SIZE;
        if !whole {
            let size = log.true_size().max(log.buffer.len() * 4);
            log = Log::new(size.min(GREATEST_LOG_SIZE));
            continue;
        }
        // Commands that know no log refuse it (EINVAL).
        let of_the_command = again == errno || again == Errno::ENOSPC;
        let log = if of_the_command {
            log.text()
        } else {
            String::new()
        };
        return Err(Failed { errno, log });
    }
}
