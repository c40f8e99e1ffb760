// SPDX-License-Identifier: GPL-2.0

//! What both the maker of calls and the model of them know: where the fields of the attributes are
//! (include/uapi/linux/bpf.h), where things are in memory, and which descriptor has which number.
//!
//! Memory is at fixed addresses and descriptors have fixed numbers, so that attributes are the same bytes in both guests.

use crate::case::Command;

/// `sizeof(union bpf_attr)`.
pub const ATTR_SIZE: usize = 168;
pub const PAGE: usize = 4096;
pub const BPF_F_TOKEN_FD: u32 = 1 << 16;

/// The memory that calls use, with nothing behind it.
pub mod memory {
    pub const START: usize = 0x2000_0000;
    pub const INSNS: usize = START;
    pub const LICENSE: usize = START + 0x1000;
    pub const BTF: usize = START + 0x2000;
    pub const INFO: usize = START + 0x4000;
    pub const LOG: usize = START + 0x8000;
    pub const LOG_SIZE: usize = 0x2000;
    pub const ATTR: usize = START + 0xc000;
    pub const COMMON: usize = START + 0x1_0000;
    pub const END: usize = START + 0x1_4000;
    /// What a log is filled with.
    pub const UNTOUCHED: u8 = 0xa5;
}

/// Offsets of fields.
pub mod field {
    pub const MAP_TYPE: usize = 0;
    pub const MAP_KEY_SIZE: usize = 4;
    pub const MAP_VALUE_SIZE: usize = 8;
    pub const MAP_MAX_ENTRIES: usize = 12;
    pub const MAP_FLAGS: usize = 16;
    pub const MAP_TOKEN: usize = 76;
    pub const PROG_TYPE: usize = 0;
    pub const PROG_INSN_CNT: usize = 4;
    pub const PROG_LOG_LEVEL: usize = 24;
    pub const PROG_LOG_SIZE: usize = 28;
    pub const PROG_LOG_BUF: usize = 32;
    pub const PROG_FLAGS: usize = 44;
    pub const PROG_ATTACH_TYPE: usize = 68;
    pub const PROG_LOG_TRUE_SIZE: usize = 140;
    pub const PROG_TOKEN: usize = 144;
    pub const BTF_LOG_BUF: usize = 8;
    pub const BTF_SIZE: usize = 16;
    pub const BTF_LOG_SIZE: usize = 20;
    pub const BTF_LOG_LEVEL: usize = 24;
    pub const BTF_LOG_TRUE_SIZE: usize = 28;
    pub const BTF_FLAGS: usize = 32;
    pub const BTF_TOKEN: usize = 36;
    pub const ID_FLAGS: usize = 8;
    pub const ID_TOKEN: usize = 12;
    pub const INFO_FD: usize = 0;
    pub const INFO_LEN: usize = 4;
    pub const INFO_ADDRESS: usize = 8;
    pub const CREATE_FLAGS: usize = 0;
    pub const CREATE_FD: usize = 4;
    /// The first of four masks, which C does not have.
    pub const CREATE_ALLOWED: usize = 8;
    /// `struct bpf_common_attr`.
    pub const COMMON_LOG_BUF: usize = 0;
    pub const COMMON_LOG_SIZE: usize = 8;
    pub const COMMON_LOG_LEVEL: usize = 12;
    pub const COMMON_TRUE_SIZE: usize = 16;
    pub const COMMON_END: usize = 20;
    pub const COMMON_SIZE: usize = 24;
}

impl Command {
    /// Where the descriptor of a token, or what a token is made of, is.
    pub fn token_field(self) -> usize {
        match self {
            Self::MapCreate => field::MAP_TOKEN,
            Self::ProgLoad => field::PROG_TOKEN,
            Self::BtfLoad => field::BTF_TOKEN,
            Self::BtfGetFdById => field::ID_TOKEN,
            Self::ObjGetInfoByFd => field::INFO_FD,
            Self::TokenCreate => field::CREATE_FD,
        }
    }

    /// Where its flags are.
    pub fn flags_field(self) -> Option<usize> {
        match self {
            Self::MapCreate => Some(field::MAP_FLAGS),
            Self::ProgLoad => Some(field::PROG_FLAGS),
            Self::BtfLoad => Some(field::BTF_FLAGS),
            Self::BtfGetFdById => Some(field::ID_FLAGS),
            Self::ObjGetInfoByFd => None,
            Self::TokenCreate => Some(field::CREATE_FLAGS),
        }
    }

    /// Where the last of its fields ends; of those that Rust has and C has not, too.
    pub fn end(self) -> usize {
        match self {
            Self::MapCreate => 92,
            Self::ProgLoad => 168,
            Self::BtfLoad => 40,
            Self::BtfGetFdById => 16,
            Self::ObjGetInfoByFd => 16,
            Self::TokenCreate => 40,
        }
    }

    /// The addresses among its fields.
    pub fn addresses(self) -> &'static [usize] {
        match self {
            Self::MapCreate => &[80],
            Self::ProgLoad => &[8, 16, field::PROG_LOG_BUF, 80, 96, 120, 128, 152],
            Self::BtfLoad => &[0, field::BTF_LOG_BUF],
            Self::ObjGetInfoByFd => &[field::INFO_ADDRESS],
            Self::BtfGetFdById | Self::TokenCreate => &[],
        }
    }
}

/// The descriptors, numbered from [`FIRST_FD`] on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Descriptor {
    /// Tokens, of what `DELEGATED` says in this order.
    TokenOfAll,
    TokenOfLittle,
    TokenOfOther,
    TokenOfCommands,
    TokenOfTypes,
    /// Root of a BPF FS that delegates all.
    Root,
    /// Root of a BPF FS that delegates nothing.
    UndelegatedRoot,
    /// Root of a BPF FS of the initial user namespace, which delegates all.
    InitialRoot,
    /// A directory in a BPF FS.
    Directory,
    /// The root of a tmpfs.
    OtherRoot,
    RootPath,
    TokenPath,
    File,
    Pipe,
    Socket,
    Map,
    Prog,
    Btf,
    Context,
    Epoll,
    Event,
    UserNamespace,
}

pub const FIRST_FD: u32 = 64;
pub const DESCRIPTORS: [Descriptor; 22] = [
    Descriptor::TokenOfAll,
    Descriptor::TokenOfLittle,
    Descriptor::TokenOfOther,
    Descriptor::TokenOfCommands,
    Descriptor::TokenOfTypes,
    Descriptor::Root,
    Descriptor::UndelegatedRoot,
    Descriptor::InitialRoot,
    Descriptor::Directory,
    Descriptor::OtherRoot,
    Descriptor::RootPath,
    Descriptor::TokenPath,
    Descriptor::File,
    Descriptor::Pipe,
    Descriptor::Socket,
    Descriptor::Map,
    Descriptor::Prog,
    Descriptor::Btf,
    Descriptor::Context,
    Descriptor::Epoll,
    Descriptor::Event,
    Descriptor::UserNamespace,
];

/// What the BPF FS instances delegate that the tokens are made of: commands, map, program and attach types.
pub const DELEGATED: [[&str; 4]; 5] = [
    ["any", "any", "any", "any"],
    [
        "map_create:prog_load",
        "array",
        "socket_filter",
        "cgroup_inet_ingress",
    ],
    ["obj_get", "queue", "0", "netfilter"],
    ["any", "0", "0", "0"],
    ["obj_pin", "any", "any", "any"],
];

impl Descriptor {
    pub const fn number(self) -> u32 {
        FIRST_FD + self as u32
    }

    /// What a number is that of, if it is that of one of these.
    pub fn of(number: u32) -> Option<Self> {
        let index = number.checked_sub(FIRST_FD)?;
        DESCRIPTORS.get(index as usize).copied()
    }

    /// What a token is made of.
    pub fn delegated(self) -> Option<[&'static str; 4]> {
        DELEGATED.get(self as usize).copied()
    }
}
