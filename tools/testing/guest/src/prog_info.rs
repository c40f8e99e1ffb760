// SPDX-License-Identifier: GPL-2.0

//! What became of a loaded program.

use std::os::fd::OwnedFd;

use crate::bpf;

/// What root sees of a program.
pub struct ProgInfo {
    /// The tag, as it is written.
    pub tag: String,
    /// The instructions as the verifier has left them, and those of the machine.
    pub xlated: Vec<u64>,
    pub jited: Vec<u8>,
}

impl ProgInfo {
    /// Asks for all of it: first how much there is, then for that.
    pub fn of(prog: &OwnedFd) -> Self {
        const JITED_LEN: usize = 16;
        const XLATED_LEN: usize = 20;
        const JITED: usize = 24;
        const XLATED: usize = 32;
        let mut info = [0; 40];
        bpf::info_by_fd(prog, &mut info).expect("a program has an info");
        let len = |info: &[u8], at: usize| {
            u32::from_ne_bytes(info[at..][..4].try_into().expect("four bytes")) as usize
        };
        let mut jited = vec![0; len(&info, JITED_LEN)];
        let mut xlated = vec![0; len(&info, XLATED_LEN)];
        // The lengths stand there already.
        info[JITED..][..8].copy_from_slice(&(jited.as_mut_ptr() as u64).to_ne_bytes());
        info[XLATED..][..8].copy_from_slice(&(xlated.as_mut_ptr() as u64).to_ne_bytes());
        bpf::info_by_fd(prog, &mut info).expect("it still has one");
        let tag = info[8..16].try_into().expect("eight bytes");
        let instruction = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
        Self {
            tag: format!("{:016x}", u64::from_be_bytes(tag)),
            xlated: xlated.chunks_exact(8).map(instruction).collect(),
            jited,
        }
    }
}
