// SPDX-License-Identifier: GPL-2.0

//! Commands of `bpf()` with one word of the attr in the hands of another thread.

use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use crate::attr::map_create;
use crate::attr::prog_load;
use crate::attr::token_create;
use crate::attr::Attr;
use crate::attr::Field;
use crate::bpf;
use crate::bpf::MapType;
use crate::bpf::Prog;
use crate::sys;
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
    fn field(self) -> Field {
        match self {
            Self::MapType => map_create::map_type,
            Self::MapFlags => map_create::map_flags,
            Self::MapToken => map_create::map_token_fd,
            Self::ProgType => prog_load::prog_type,
            Self::ProgToken => prog_load::prog_token_fd,
            Self::BpfFs => token_create::bpffs_fd,
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
        Self::new(&bpf::map_attr_with(map_type, flags, token), word)
    }

    pub fn prog_load(prog: &Prog<'static>, token: RawFd, word: Word) -> Self {
        assert!(matches!(word, Word::ProgType | Word::ProgToken));
        // INVARIANT: The instructions are static, as is the license, and there is no log.
        Self::new(&bpf::prog_attr(prog).with_token(Some(token)), word)
    }

    pub fn token_create(bpffs_fd: RawFd) -> Self {
        // INVARIANT: There is no address in this attr.
        Self::new(&bpf::token_attr(0, bpffs_fd), Word::BpfFs)
    }

    fn new(attr: &Attr<'static>, word: Word) -> Self {
        let bytes = attr.bytes();
        let word_of = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
        Self {
            command: attr.command(),
            attr: bytes
                .chunks_exact(4)
                .map(word_of)
                .map(AtomicU32::new)
                .collect(),
            word: word.field().at / size_of::<u32>(),
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
