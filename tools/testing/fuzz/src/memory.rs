// SPDX-License-Identifier: GPL-2.0

//! The memory that calls use, at fixed addresses, and `bpf(2)` on it: all the unsafe code of this program.

use std::ffi::c_void;

use anyhow::Context;
use anyhow::Result;
use rustix::mm::MapFlags;
use rustix::mm::ProtFlags;

use crate::bytes::Bytes;
use crate::case::Call;
use crate::case::Errno;
use crate::layout::field;
use crate::layout::memory;
use crate::layout::ATTR_SIZE;
use crate::layout::PAGE;
use crate::log;

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
        let insns = guest::insn::RETURN_0;
        memory.write(memory::INSNS, &insns.map(u64::to_le_bytes).concat());
        memory.write(memory::LICENSE, b"GPL\0");
        memory.write(memory::BTF, &btf());
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

    /// Lays out a call and makes it. What it returns is a descriptor of the caller's, if the command gives one.
    pub fn call(&mut self, call: &Call) -> Outcome {
        const BPF_COMMON_ATTRS: i32 = 1 << 16;
        /// More than any attributes are given.
        const MOST: usize = 2 * PAGE;
        self.at(memory::INFO, MOST).fill(call.fill);
        self.at(memory::LOG, memory::LOG_SIZE)
            .fill(memory::UNTOUCHED);
        self.at(memory::ATTR, MOST).fill(0);
        self.write(memory::ATTR, &call.attr);
        let mut command = call.command as i32;
        let (mut common, mut common_size) = (std::ptr::null(), 0);
        self.at(memory::COMMON, MOST).fill(0);
        if let Some(given) = &call.common {
            self.write(memory::COMMON, &given.attr);
            command |= BPF_COMMON_ATTRS;
            common = memory::COMMON as *const c_void;
            common_size = given.size;
        }
        // SAFETY: The kernel checks all addresses; it writes to the attributes, and to what `attrs::repair` has let pass
        // for a buffer: parts of this mapping, or nothing that is mapped.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command,
                memory::ATTR as *const c_void,
                call.size,
                common,
                common_size,
            )
        };
        let errno = std::io::Error::last_os_error().raw_os_error();
        let result = i32::try_from(result)
            .ok()
            .filter(|result| *result >= 0)
            .ok_or(errno.unwrap_or_default());
        let given = call.common.as_ref().map_or(&[][..], |common| &common.attr);
        Outcome {
            result,
            log: self.log(),
            overrun: self.is_overrun(call),
            written: self.changes(memory::ATTR, ATTR_SIZE, &call.attr),
            common_written: self.changes(memory::COMMON, field::COMMON_SIZE, given),
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

/// BTF of one type, `int`.
fn btf() -> Vec<u8> {
    const MAGIC_AND_VERSION: u32 = 0x1_eb9f;
    const HEADER_LENGTH: u32 = 24;
    const KIND_INT: u32 = 1 << 24;
    const SIGNED_32_BITS: u32 = (1 << 24) | 32;
    let strings = b"\0int\0";
    let types = [1, KIND_INT, 4, SIGNED_32_BITS];
    let length = size_of_val(&types) as u32;
    let header = [
        MAGIC_AND_VERSION,
        HEADER_LENGTH,
        0,
        length,
        length,
        strings.len() as u32,
    ];
    let words = header.into_iter().chain(types).flat_map(u32::to_le_bytes);
    words.chain(*strings).collect()
}
