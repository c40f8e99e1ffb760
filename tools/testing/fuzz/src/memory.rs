// SPDX-License-Identifier: GPL-2.0

//! The memory that calls use, at fixed addresses, and `bpf(2)` on it.

use std::ffi::c_void;

use anyhow::Context;
use anyhow::Result;
use guest::attr::BPF_COMMON_ATTRS;
use guest::attr::COMMON_SIZE;
use guest::attr::SIZE;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;

use crate::attributes::Attributes;
use crate::bytes::Bytes;
use crate::layout::memory;
use crate::layout::PAGE;
use crate::log;
use crate::outcome::Outcome;

/// More than any attributes are given.
const MOST: usize = 2 * PAGE;

/// The mapping from `memory::START` to `memory::END`.
///
/// # Invariants
///
/// It is there as long as this value, and nothing but this value knows of it.
pub struct Memory(());

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

    /// Calls a command with its common attributes, if it has some. Says what changed in memory, and what it returns: of a
    /// command that gives one, a descriptor of the caller's.
    pub fn bpf(&mut self, call: &Attributes) -> (i32, Outcome) {
        self.at(memory::INFO, MOST).fill(call.fill);
        self.at(memory::LOG, memory::LOG_SIZE)
            .fill(memory::UNTOUCHED);
        self.at(memory::ATTR, MOST).fill(0);
        self.write(memory::ATTR, &call.attr.bytes);
        self.at(memory::COMMON, MOST).fill(0);
        let common = call.common.as_ref();
        let given = common.map_or(&[][..], |common| &common.bytes);
        self.write(memory::COMMON, given);
        let flag = common.map_or(0, |_| BPF_COMMON_ATTRS);
        let address = common.map_or(std::ptr::null_mut(), |_| memory::COMMON as *mut c_void);
        // SAFETY: The kernel writes to the attributes, and to what `Attributes::repair` has let pass for a buffer: parts of this
        // mapping, or nothing that is mapped.
        let result = unsafe {
            guest::sys::bpf_raw(
                call.command as i32 | flag,
                memory::ATTR as *mut c_void,
                call.attr.size,
                address,
                common.map_or(0, |common| common.size),
            )
        };
        let outcome = Outcome {
            errno: result.err().map_or(0, rustix::io::Errno::raw_os_error),
            log: self.log(),
            overrun: self.is_overrun(call),
            written: self.changes(memory::ATTR, SIZE, &call.attr.bytes),
            common_written: self.changes(memory::COMMON, COMMON_SIZE, given),
            ..Outcome::default()
        };
        (result.unwrap_or(-1), outcome)
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
    fn is_overrun(&mut self, call: &Attributes) -> bool {
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
    pub fn info(&mut self) -> Bytes {
        const SHOWN: usize = 64;
        Bytes(self.at(memory::INFO, SHOWN).to_vec())
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
