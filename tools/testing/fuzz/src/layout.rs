// SPDX-License-Identifier: GPL-2.0

//! What both the maker of calls and the model of them know: where things are in memory, and which descriptor has which
//! number. Where the fields of the attributes are, guest::attr tells.
//!
//! Memory is at fixed addresses and descriptors have fixed numbers, so that attributes are the same bytes in both guests.

use guest::attr::Kind;

use crate::case::Command;

pub use guest::attr::BPF_F_TOKEN_FD;
pub use guest::attr::PAGE;
pub use guest::attr::SIZE as ATTR_SIZE;

/// The memory that calls use, with nothing behind it.
pub mod memory {
    pub const START: usize = 0x2000_0000;
    pub const INSNS: usize = START;
    /// From one program to the next.
    pub const INSNS_STEP: usize = 0x100;
    pub const LICENSE: usize = START + 0x1000;
    pub const OTHER_LICENSE: usize = LICENSE + 0x100;
    pub const BTF: usize = START + 0x2000;
    pub const INFO: usize = START + 0x4000;
    pub const LOG: usize = START + 0x8000;
    pub const LOG_SIZE: usize = 0x2000;
    pub const ATTR: usize = START + 0xc000;
    pub const COMMON: usize = START + 0x1_0000;
    pub const END: usize = START + 0x1_4000;
    /// What a log is filled with.
    pub const UNTOUCHED: u8 = 0xa5;

    /// Programs, of which all but the first need a capability, at the verifier or after it.
    pub fn programs() -> [Vec<u64>; 7] {
        use guest::insn::*;
        const MAP: i32 = super::FIRST_FD as i32 + 4;
        const PROBE_READ_KERNEL: i32 = 113;
        const KTIME_GET_NS: i32 = 5;
        let map = load_map(1, MAP);
        [
            RETURN_0.to_vec(),
            // Returns an address.
            vec![mov_reg(0, 10), exit()],
            // Reads what was not written of its stack.
            vec![load_u64(0, 10, -8), and_imm(0, 0), exit()],
            // Reads a map that has a descriptor of ours.
            vec![map[0], map[1], mov_imm(0, 0), exit()],
            vec![call_helper(KTIME_GET_NS), mov_imm(0, 0), exit()],
            vec![
                mov_reg(1, 10),
                add_imm(1, -8),
                mov_imm(2, 8),
                mov_imm(3, 0),
                call_helper(PROBE_READ_KERNEL),
                mov_imm(0, 0),
                exit(),
            ],
            // Calls a function of its own.
            vec![call_function(1), exit(), mov_imm(0, 0), exit()],
        ]
    }
}

impl Command {
    /// As all test programs have it.
    pub fn of_bpf(self) -> guest::sys::Command {
        match self {
            Self::MapCreate => guest::sys::Command::MapCreate,
            Self::ProgLoad => guest::sys::Command::ProgLoad,
            Self::BtfLoad => guest::sys::Command::BtfLoad,
            Self::BtfGetFdById => guest::sys::Command::BtfGetFdById,
            Self::ObjGetInfoByFd => guest::sys::Command::ObjGetInfoByFd,
            Self::TokenCreate => guest::sys::Command::TokenCreate,
        }
    }

    /// Where the descriptor of a token, or what a token is made of, is.
    pub fn token_field(self) -> usize {
        let field = self.of_bpf().token_field();
        field.expect("each of these has one").at
    }

    /// Where its flags are.
    pub fn flags_field(self) -> Option<usize> {
        self.of_bpf().flags_field().map(|field| field.at)
    }

    /// Where the last of its fields ends; of those that Rust has and C has not, too.
    pub fn end(self) -> usize {
        self.of_bpf().end()
    }

    /// The addresses among its fields.
    pub fn addresses(self) -> impl Iterator<Item = usize> {
        let fields = self.of_bpf().fields().iter();
        let addresses = fields.filter(|field| field.kind == Kind::Address);
        addresses.map(|field| field.at)
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
