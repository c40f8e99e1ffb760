// SPDX-License-Identifier: GPL-2.0

//! Commands of `bpf()` with one word of the attr in the hands of another thread.

use std::mem::offset_of;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use crate::bpf;
use crate::bpf::MapCreateAttr;
use crate::bpf::MapType;
use crate::bpf::Prog;
use crate::bpf::ProgLoadAttr;
use crate::bpf::TokenCreateAttr;
use crate::sys;
use crate::sys::Attr;
use crate::sys::Command;

/// The word of an attr that changes.
#[derive(Clone, Copy, Debug)]
pub enum Word {
    MapType,
    MapFlags,
    MapToken,
    ProgType,
    ProgToken,
    BpfFs,
}

impl Word {
    fn offset(self) -> usize {
        match self {
            Self::MapType => offset_of!(MapCreateAttr, map_type),
            Self::MapFlags => offset_of!(MapCreateAttr, map_flags),
            Self::MapToken => offset_of!(MapCreateAttr, map_token_fd),
            Self::ProgType => offset_of!(ProgLoadAttr, prog_type),
            Self::ProgToken => offset_of!(ProgLoadAttr, prog_token_fd),
            Self::BpfFs => offset_of!(TokenCreateAttr, bpffs_fd),
        }
    }
}

/// A command, of which one word can be set while it is called.
///
/// # Invariants
///
/// The attr was made for the command. What addresses are in it are of memory that is never freed nor written to, and
/// the word is no part of one.
pub struct Contested {
    command: Command,
    attr: Box<[AtomicU32]>,
    word: usize,
}

impl Contested {
    pub fn map_create(map_type: MapType, flags: u32, token: RawFd, word: Word) -> Self {
        assert!(matches!(
            word,
            Word::MapType | Word::MapFlags | Word::MapToken
        ));
        // INVARIANT: There is no address in this attr.
        let attr = bpf::map_create_attr(map_type, flags, token);
        Self::new(Command::MapCreate, &attr, word)
    }

    pub fn prog_load(prog: &Prog<'static>, token: RawFd, word: Word) -> Self {
        assert!(matches!(word, Word::ProgType | Word::ProgToken));
        // INVARIANT: The instructions are static, as is the license, and there is no log.
        let attr = bpf::prog_load_attr(prog, Some(token));
        Self::new(Command::ProgLoad, &attr, word)
    }

    pub fn token_create(bpffs_fd: RawFd) -> Self {
        // INVARIANT: There is no address in this attr.
        let attr = TokenCreateAttr { flags: 0, bpffs_fd };
        Self::new(Command::TokenCreate, &attr, Word::BpfFs)
    }

    fn new<T: Attr>(command: Command, attr: &T, word: Word) -> Self {
        let len = size_of::<T>() / size_of::<u32>();
        // SAFETY: An attr is made of integers without padding, and aligned to at least one of its words.
        let words = unsafe { std::slice::from_raw_parts(std::ptr::from_ref(attr).cast(), len) };
        Self {
            command,
            attr: words.iter().copied().map(AtomicU32::new).collect(),
            word: word.offset() / size_of::<u32>(),
        }
    }

    pub fn set(&self, value: u32) {
        self.attr[self.word].store(value, Ordering::Relaxed);
    }

    pub fn call(&self) -> Result<OwnedFd, Errno> {
        // SAFETY: By the type invariant.
        unsafe { sys::bpf_fd_contested(self.command, &self.attr) }
    }
}
