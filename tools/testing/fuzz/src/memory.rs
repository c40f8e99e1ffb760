// SPDX-License-Identifier: GPL-2.0

//! The memory that calls use, at fixed addresses, and `bpf(2)` on it.

use std::ffi::c_void;

use anyhow::Context;
use anyhow::Result;
use guest::attr::BPF_COMMON_ATTRS;
use guest::attr::COMMON_SIZE;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;

use crate::bytes::Bytes;
use crate::case::Call;
use crate::case::Errno;
use crate::layout::memory;
use crate::layout::ATTR_SIZE;
use crate::layout::PAGE;
use crate::log;

/// More than any attributes are given.
const MOST: usize = 2 * PAGE;

/// The mapping from `memory::START` to `memory::END`.
///
/// # Invariants
///
/// It is there as long as this value, and nothing but this value knows of it.
pub struct Memory(());

/// What a call has come to in memory.
pub struct Outcome {
    /// A descriptor, or an errno.
    pub result: Result<i32, Errno>,
    pub log: Option<Bytes>,
    pub overrun: bool,
    pub written: Vec<(u32, u32)>,
    pub common_written: Vec<(u32, u32)>,
}

impl Memory {
    pub fn map() -> Result<Self> {
        // SAFETY: With MAP_FIXED_NOREPLACE the mapping replaces nothing.
        let mapped = unsafe {
            rustix::mm::mmap_anonymous(
                memory::START as *mut c_void,
                memory::END - memory::START,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE,
            )
        };
        mapped.context("mmap of the memory that calls use")?;
        // INVARIANT: The mapping is new, and nobody else has been told its address.
        let mut memory = Self(());
        for (index, insns) in memory::programs().iter().enumerate() {
            let bytes: Vec<u8> = insns.iter().flat_map(|insn| insn.to_le_bytes()).collect();
            memory.write(memory::INSNS + index * memory::INSNS_STEP, &bytes);
        }
        memory.write(memory::LICENSE, b"GPL\0");
        memory.write(memory::OTHER_LICENSE, b"Proprietary\0");
        memory.write(memory::BTF, &guest::bpf::btf_of_int());
        Ok(memory)
    }

    fn at(&mut self, address: usize, length: usize) -> &mut [u8] {
        assert!((memory::START..=memory::END).contains(&(address + length)));
        // SAFETY: By the invariant, these bytes are mapped, and this borrow of `self` is the only one. The kernel writes
        // to them during a call only, which borrows `self` mutably.
        unsafe { std::slice::from_raw_parts_mut(address as *mut u8, length) }
    }

    fn write(&mut self, address: usize, bytes: &[u8]) {
        self.at(address, bytes.len()).copy_from_slice(bytes);
    }

    /// Lays out a command with its common attributes, if it has some, and calls it. What it returns is a descriptor of the
    /// caller's, if the command gives one.
    pub fn bpf(
        &mut self,
        command: i32,
        attr: &[u8],
        size: u32,
        common: Option<(&[u8], u32)>,
    ) -> Result<i32, Errno> {
        self.at(memory::LOG, memory::LOG_SIZE)
            .fill(memory::UNTOUCHED);
        self.at(memory::ATTR, MOST).fill(0);
        self.write(memory::ATTR, attr);
        self.at(memory::COMMON, MOST).fill(0);
        self.write(memory::COMMON, common.map_or(&[][..], |(attr, _)| attr));
        let flag = common.map_or(0, |_| BPF_COMMON_ATTRS);
        let address = common.map_or(std::ptr::null_mut(), |_| memory::COMMON as *mut c_void);
        // SAFETY: The kernel writes to the attributes, and to what `attrs::repair` and `Attributes::repair` have let pass for
        // a buffer: parts of this mapping, or nothing that is mapped.
        let result = unsafe {
            guest::sys::bpf_raw(
                command | flag,
                memory::ATTR as *mut c_void,
                size,
                address,
                common.map_or(0, |(_, size)| size),
            )
        };
        result.map_err(rustix::io::Errno::raw_os_error)
    }

    /// Makes a call.
    pub fn call(&mut self, call: &Call) -> Outcome {
        self.at(memory::INFO, MOST).fill(call.fill);
        let common = call.common.as_ref();
        let result = self.bpf(
            call.command as i32,
            &call.attr,
            call.size,
            common.map(|given| (given.attr.as_slice(), given.size)),
        );
        let given = call.common.as_ref().map_or(&[][..], |common| &common.attr);
        Outcome {
            result,
            log: self.log(),
            overrun: self.is_overrun(call),
            written: self.changes(memory::ATTR, ATTR_SIZE, &call.attr),
            common_written: self.changes(memory::COMMON, COMMON_SIZE, given),
        }
    }

    /// The log up to its final zero, if it was written to.
    fn log(&mut self) -> Option<Bytes> {
        let log = self.at(memory::LOG, memory::LOG_SIZE);
        if log[0] == memory::UNTOUCHED {
            return None;
        }
        let end = log.iter().position(|byte| *byte == 0);
        Some(Bytes(log[..end.unwrap_or(log.len())].to_vec()))
    }

    /// Whether something is written behind the largest log that a call can have.
    fn is_overrun(&mut self, call: &Call) -> bool {
        let log = &self.at(memory::LOG, memory::LOG_SIZE)[log::room(call)..];
        log.iter().any(|byte| *byte != memory::UNTOUCHED)
    }

    fn changes(&mut self, address: usize, length: usize, before: &[u8]) -> Vec<(u32, u32)> {
        let after = self.at(address, length);
        let mut given = vec![0; length];
        let known = before.len().min(length);
        given[..known].copy_from_slice(&before[..known]);
        let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
        let words = given.chunks(4).zip(after.chunks(4));
        words
            .enumerate()
            .filter(|(_, (before, after))| before != after)
            .map(|(index, (_, after))| (4 * index as u32, word(after)))
            .collect()
    }

    /// The first bytes of the buffer for an info.
    pub fn info(&mut self) -> Vec<u8> {
        const SHOWN: usize = 64;
        self.at(memory::INFO, SHOWN).to_vec()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: By the invariant, nothing refers to the mapping.
        let unmapped = unsafe {
            rustix::mm::munmap(memory::START as *mut c_void, memory::END - memory::START)
        };
        unmapped.expect("munmap of a mapping");
    }
}
