// SPDX-License-Identifier: MIT OR Apache-2.0
//! `struct perf_event_attr`, as a caller wrote it.

use super::caller::Caller;
use crate::broker::message::Kind;

/// All that is known of it, in bytes, and its least and greatest size.
const KNOWN: usize = 144;
const LEAST: usize = 64;
const GREATEST: usize = 4096;

/// `disabled`, the first bit of the flags: the event waits until it is switched on.
const DISABLED: u64 = 1;
/// `PERF_SAMPLE_RAW`.
const RAW: u64 = 1 << 10;

/// The attributes. What they lack is zero, as for the kernel.
pub(super) struct PerfAttr {
    bytes: [u8; KNOWN],
    /// Whether something stands behind what is known.
    has_more: bool,
}

impl PerfAttr {
    /// Reads them once; none if the kernel would not take them either.
    pub(super) fn read(caller: &Caller, address: u64) -> Option<Self> {
        let mut bytes = [0; KNOWN];
        caller.read(address, &mut bytes[..LEAST]).ok()?;
        let size = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
        let size = if size == 0 { LEAST } else { size };
        if !(LEAST..=GREATEST).contains(&size) {
            return None;
        }
        let rest = address.wrapping_add(LEAST as u64);
        caller
            .read(rest, &mut bytes[LEAST..size.clamp(LEAST, KNOWN)])
            .ok()?;
        let beyond = address.wrapping_add(KNOWN as u64);
        let more = caller.read_vec(beyond, size.saturating_sub(KNOWN)).ok()?;
        Some(Self {
            bytes,
            has_more: more.iter().any(|&byte| byte != 0),
        })
    }

    fn u32_at(&self, at: usize) -> u32 {
        let bytes = &self.bytes[at..at + 4];
        u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }

    fn u64_at(&self, at: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.bytes[at..at + 8]);
        u64::from_ne_bytes(bytes)
    }

    pub(super) fn kind(&self) -> u32 {
        self.u32_at(0)
    }

    pub(super) fn config(&self) -> u64 {
        self.u64_at(8)
    }

    /// Where the name of the function or file is.
    pub(super) fn name(&self) -> u64 {
        self.u64_at(56)
    }

    pub(super) fn offset(&self) -> u64 {
        self.u64_at(64)
    }

    /// What they ask for that a program does not need to be attached; none of it is ever given. Loaders
    /// ask by habit for samples of raw data, which only programs that read the buffer would notice:
    /// that is passed over.
    pub(super) fn beyond_attaching(&self, kind: Kind) -> Option<&'static str> {
        let config = match kind {
            Kind::Tracepoint => 0,
            _ => self.config() & !1,
        };
        if config != 0 {
            Some("a reference counter, which the kernel would write into other processes")
        } else if self.u64_at(24) & !RAW != 0 {
            Some("samples")
        } else if self.u64_at(32) != 0 {
            Some("a read format")
        } else if self.u64_at(40) & !DISABLED != 0 {
            Some("more, by its flags")
        } else if self.has_more || self.bytes[72..].iter().any(|&byte| byte != 0) {
            Some("more, by its later fields")
        } else {
            None
        }
    }
}
