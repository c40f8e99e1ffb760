// SPDX-License-Identifier: MIT OR Apache-2.0
//! The attributes of a call, as the caller wrote them.

use std::os::fd::RawFd;

use super::caller::Caller;
use crate::command::BPF_F_TOKEN_FD;
use crate::diagnose::Request;
use crate::error::Action;
use crate::info::TokenInfo;
use crate::names::AttachType;
use crate::names::Cmd;
use crate::names::MapType;
use crate::names::ProgType;
use crate::sys;
use crate::sys::Call;

/// All that is known of the attributes of these commands, in bytes.
pub(super) const KNOWN: usize = 168;

/// The attributes. What they lack is zero, as for the kernel.
pub(super) struct Attr {
    pub(super) cmd: Cmd,
    bytes: [u8; KNOWN],
    /// Where they are in the caller's memory, and how long they are.
    address: u64,
    size: usize,
    /// Where in them the token belongs.
    flags_at: usize,
    fd_at: usize,
}

impl Attr {
    /// Reads them, if they can be read and may hold a token.
    pub(super) fn read(caller: &Caller, call: &Call) -> Option<Self> {
        let cmd = Cmd::new(call.cmd() & !sys::BPF_COMMON_ATTRS);
        let (flags_at, fd_at) = sys::token_offsets(cmd)?;
        let size = call.size() as usize;
        let mut bytes = [0; KNOWN];
        caller
            .read(call.attr(), &mut bytes[..size.min(KNOWN)])
            .ok()?;
        Some(Self {
            cmd,
            bytes,
            address: call.attr(),
            size,
            flags_at,
            fd_at,
        })
    }

    pub(super) fn u32_at(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.array(at))
    }

    pub(super) fn u64_at(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.array(at))
    }

    pub(super) fn fd_at(&self, at: usize) -> RawFd {
        RawFd::from_ne_bytes(self.array(at))
    }

    /// So many bytes; those beyond what is known are zero.
    pub(super) fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        for (to, from) in bytes.iter_mut().zip(self.bytes.iter().skip(at)) {
            *to = *from;
        }
        bytes
    }

    /// Whether there is nothing from here on, as far as it is known.
    pub(super) fn ends_before(&self, at: usize) -> bool {
        self.size <= KNOWN && self.bytes.iter().skip(at).all(|&byte| byte == 0)
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn flags(&self) -> u32 {
        self.u32_at(self.flags_at)
    }

    /// Whether they are long enough for a token.
    pub(super) fn has_room(&self) -> bool {
        self.size >= self.fd_at + size_of::<RawFd>()
    }

    /// The descriptor of a token that the caller put there.
    pub(super) fn own_token(&self) -> Option<RawFd> {
        (self.flags() & BPF_F_TOKEN_FD != 0).then(|| self.fd_at(self.fd_at))
    }

    /// Where in the caller's memory the flags and the token's descriptor are.
    pub(super) fn token_addresses(&self) -> (u64, u64) {
        let at = |at: usize| self.address.wrapping_add(at as u64);
        (at(self.flags_at), at(self.fd_at))
    }

    /// What is asked for.
    pub(super) fn request(&self) -> Request {
        match self.cmd {
            Cmd::MAP_CREATE => Request::Map(MapType::new(self.u32_at(0))),
            Cmd::PROG_LOAD => Request::Program {
                prog_type: ProgType::new(self.u32_at(0)),
                attach_type: AttachType::new(self.u32_at(68)),
                insn_cnt: self.u32_at(4) as usize,
            },
            Cmd::BTF_LOAD => Request::LoadBtf,
            _ => Request::BtfById,
        }
    }

    /// What the call is to do.
    pub(super) fn action(&self) -> Action {
        let name = String::new();
        match self.request() {
            Request::Map(map_type) => Action::CreateMap { map_type, name },
            Request::Program {
                prog_type,
                attach_type,
                ..
            } => Action::LoadProgram {
                prog_type,
                attach_type,
                name,
            },
            Request::LoadBtf => Action::LoadBtf,
            Request::BtfById => Action::GetBtf { id: self.u32_at(0) },
        }
    }

    /// What a token must grant for it.
    pub(super) fn needs(&self) -> TokenInfo {
        self.request().needs_granted()
    }
}
