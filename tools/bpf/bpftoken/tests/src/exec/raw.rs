// SPDX-License-Identifier: GPL-2.0
//! Calls of bpf(2) as a program makes them that knows nothing of tokens.

use std::io::Error;

/// The commands that take a token.
pub const MAP_CREATE: i32 = 0;
pub const PROG_LOAD: i32 = 5;
pub const BTF_LOAD: i32 = 18;
pub const BTF_GET_FD_BY_ID: i32 = 19;

/// `BPF_F_TOKEN_FD`.
pub const TOKEN_FLAG: u32 = 1 << 16;

/// What a command did: a descriptor, which stays open, or an errno.
pub type Outcome = Result<i32, i32>;

/// `union bpf_attr`, and what it names.
pub struct Attr {
    pub bytes: Vec<u8>,
    _named: Vec<Vec<u8>>,
}

impl Attr {
    pub fn new(size: usize) -> Self {
        Self {
            bytes: vec![0; size],
            _named: Vec::new(),
        }
    }

    pub fn u32(mut self, at: usize, value: u32) -> Self {
        self.bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    pub fn get(&self, at: usize) -> u32 {
        let bytes = &self.bytes[at..at + 4];
        u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }

    pub fn pointer(mut self, at: usize, bytes: Vec<u8>) -> Self {
        let address = bytes.as_ptr() as u64;
        self.bytes[at..at + 8].copy_from_slice(&address.to_ne_bytes());
        self._named.push(bytes);
        self
    }

    pub fn call(&mut self, cmd: i32) -> Outcome {
        call_at(cmd, self.bytes.as_mut_ptr(), self.bytes.len())
    }
}

/// A command with attributes that are at any address.
pub fn call_at(cmd: i32, attr: *mut u8, size: usize) -> Outcome {
    // SAFETY: The kernel checks addresses. What the attributes name is readable, and nothing of ours
    // is in what these commands write.
    let ret = unsafe { libc::syscall(libc::SYS_bpf, cmd, attr, size) };
    match i32::try_from(ret) {
        Ok(fd) if fd >= 0 => Ok(fd),
        _ => Err(Error::last_os_error().raw_os_error().unwrap_or(0)),
    }
}

pub fn close(fd: i32) {
    // SAFETY: It is the number of a descriptor that a command above returned, or an error.
    unsafe { libc::close(fd) };
}

/// A hash map of this type.
pub fn map(size: usize, map_type: u32) -> Attr {
    Attr::new(size)
        .u32(0, map_type)
        .u32(4, 4)
        .u32(8, 4)
        .u32(12, 1)
}

/// `r0 = 0; exit`, after these.
pub fn program(size: usize, prog_type: u32, before: &[[u8; 8]]) -> Attr {
    let mut insns = before.concat();
    insns.extend([0xb7, 0, 0, 0, 0, 0, 0, 0]);
    insns.extend([0x95, 0, 0, 0, 0, 0, 0, 0]);
    Attr::new(size)
        .u32(0, prog_type)
        .u32(4, (insns.len() / 8) as u32)
        .pointer(8, insns)
        .pointer(16, b"GPL\0".to_vec())
}

/// `r1 = map`.
pub fn load_map(map: i32) -> [[u8; 8]; 2] {
    let [a, b, c, d] = map.to_ne_bytes();
    [[0x18, 0x11, 0, 0, a, b, c, d], [0; 8]]
}

/// BTF with one type, an integer.
pub fn btf(size: usize) -> Attr {
    let strings = b"\0int\0";
    let mut bytes = Vec::new();
    bytes.extend([0x9f, 0xeb, 1, 0]);
    for word in [24, 0, 16, 16, strings.len() as u32] {
        bytes.extend(word.to_ne_bytes());
    }
    for word in [1, 1 << 24, 4, (1 << 24) | 32u32] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(strings);
    let length = bytes.len() as u32;
    Attr::new(size).pointer(0, bytes).u32(16, length)
}

/// One of each command, with attributes of these sizes.
pub fn one_of_each(sizes: [usize; 4]) -> Vec<(&'static str, Outcome)> {
    let map = map(sizes[0], 1).call(MAP_CREATE);
    let named = map.map(|map| load_map(map).to_vec());
    let insns = named.unwrap_or_default();
    // XDP, which is nobody's without CAP_BPF.
    let mut all = vec![
        (
            "program",
            program(sizes[1], 6, &insns).u32(68, 37).call(PROG_LOAD),
        ),
        ("btf", btf(sizes[2]).call(BTF_LOAD)),
        (
            "btf by id",
            Attr::new(sizes[3]).u32(0, 1).call(BTF_GET_FD_BY_ID),
        ),
    ];
    all.insert(0, ("map", map));
    for (_, outcome) in &all {
        outcome.iter().for_each(|&fd| close(fd));
    }
    all
}
