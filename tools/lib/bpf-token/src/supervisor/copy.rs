// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls that the supervisor makes in the caller's stead, where the attributes have no room for a
//! token: from a copy of the attributes and of what they name.

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use rustix::io::Errno;

use super::caller::Caller;
use super::request::Attr;
use crate::command::Log;
use crate::command::MapAttr;
use crate::command::ObjName;
use crate::command::GREATEST_LOG_SIZE;
use crate::names::Cmd;
use crate::names::MapType;
use crate::sys;
use crate::sys::Call;
use crate::token::Token;

/// Says that a map's value type is in the BTF of a module.
const BPF_F_VTYPE_BTF_OBJ_FD: u32 = 1 << 15;
/// The longest BTF that the kernel takes, `BTF_MAX_SIZE`.
const BTF_MAX_SIZE: usize = 16 * 1024 * 1024;

/// What came of it.
pub(super) enum Made {
    /// The caller's result.
    Fd(OwnedFd),
    /// The caller's error.
    Failed(Errno),
    /// It was not made, because of this.
    Not(&'static str),
}

impl From<rustix::io::Result<OwnedFd>> for Made {
    fn from(result: rustix::io::Result<OwnedFd>) -> Self {
        match result {
            Ok(fd) => Self::Fd(fd),
            Err(errno) => Self::Failed(errno),
        }
    }
}

impl From<Errno> for Made {
    fn from(errno: Errno) -> Self {
        Self::Failed(errno)
    }
}

/// A call, and whose it is.
pub(super) struct Copy<'a> {
    pub(super) caller: &'a Caller,
    pub(super) call: &'a Call,
    pub(super) attr: &'a Attr,
    pub(super) token: &'a Token,
}

impl Copy<'_> {
    pub(super) fn make(&self) -> Made {
        if !self.caller.is_as_privileged() {
            return Made::Not("the caller lacks capabilities that the supervisor has");
        }
        if self.call.cmd() & sys::BPF_COMMON_ATTRS != 0 {
            return Made::Not("they have a log in the common attributes");
        }
        let made = match self.attr.cmd {
            Cmd::MAP_CREATE => self.map(),
            Cmd::PROG_LOAD => self.program(),
            Cmd::BTF_LOAD => self.btf(),
            _ => {
                let token = Some(self.token.as_fd());
                Ok(sys::btf_get_fd_by_id(self.attr.u32_at(0), token).into())
            }
        };
        made.unwrap_or_else(|not| not)
    }

    fn map(&self) -> Result<Made, Made> {
        let attr = self.attr;
        if attr.u32_at(44) != 0 {
            return Err(Made::Not("the map is for a network device"));
        }
        if !attr.ends_before(80) {
            return Err(Made::Not("they have fields after it"));
        }
        let map_type = MapType::new(attr.u32_at(0));
        let flags = attr.flags();
        let has_types = (52..64).step_by(4).any(|at| attr.u32_at(at) != 0);
        let has_inner = matches!(map_type, MapType::ARRAY_OF_MAPS | MapType::HASH_OF_MAPS);
        let inner = self.fd_if(has_inner, attr.fd_at(20))?;
        let btf = self.fd_if(has_types && attr.fd_at(48) != 0, attr.fd_at(48))?;
        let value_type_btf = self.fd_if(flags & BPF_F_VTYPE_BTF_OBJ_FD != 0, attr.fd_at(72))?;
        let map = MapAttr {
            map_type,
            key_size: attr.u32_at(4),
            value_size: attr.u32_at(8),
            max_entries: attr.u32_at(12),
            flags,
            inner_map: inner.as_ref().map(AsFd::as_fd),
            numa_node: attr.u32_at(24),
            name: ObjName(attr.array(28)),
            ifindex: 0,
            btf: btf.as_ref().map(AsFd::as_fd),
            btf_key_type_id: attr.u32_at(52),
            btf_value_type_id: attr.u32_at(56),
            btf_vmlinux_value_type_id: attr.u32_at(60),
            value_type_btf: value_type_btf.as_ref().map(AsFd::as_fd),
            extra: attr.u64_at(64),
            exclusive_program_hash: &[],
        };
        Ok(sys::map_create(&map, Some(self.token.as_fd()), None).into())
    }

    fn btf(&self) -> Result<Made, Made> {
        let attr = self.attr;
        let size = attr.u32_at(16) as usize;
        if size > BTF_MAX_SIZE || attr.flags() != 0 || !attr.ends_before(40) {
            return Err(Made::Not("they hold what the supervisor does not know"));
        }
        let btf = self.caller.read_vec(attr.u64_at(0), size)?;
        let mut log = self.log(attr.u32_at(24), attr.u32_at(20), attr.u64_at(8))?;
        let made = sys::btf_load(&btf, Some(self.token.as_fd()), log.as_mut());
        self.give_log(log, attr.u64_at(8), 28);
        Ok(made.into())
    }

    /// The caller's descriptor of this number, if it means one.
    pub(super) fn fd_if(&self, is_one: bool, number: RawFd) -> Result<Option<OwnedFd>, Made> {
        let fd = is_one.then(|| self.caller.descriptor(number));
        Ok(fd.transpose()?)
    }

    /// Room for the log that the caller asks for.
    pub(super) fn log(&self, level: u32, size: u32, address: u64) -> Result<Option<Log>, Made> {
        match (level, size as usize, address) {
            (0, 0, 0) => Ok(None),
            (0, ..) | (_, 0, _) | (.., 0) => Err(Made::Not("they describe no proper log")),
            (_, size, _) => Ok(Some(Log::new(size.min(GREATEST_LOG_SIZE)).level(level))),
        }
    }

    /// Hands over the log, and how long it is in all, which is for this place in the attributes.
    pub(super) fn give_log(&self, log: Option<Log>, address: u64, true_size_at: usize) {
        let Some(log) = log else {
            return;
        };
        let end = log.buffer.iter().position(|&byte| byte == 0);
        let end = end.map_or(log.buffer.len(), |end| end + 1);
        // What is lost here is a log.
        let _ = self.caller.write(address, &log.buffer[..end]);
        if self.attr.size() >= true_size_at + 4 {
            let at = self.call.attr().wrapping_add(true_size_at as u64);
            let _ = self.caller.write(at, &log.true_size.to_ne_bytes());
        }
    }
}
