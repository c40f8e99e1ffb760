// SPDX-License-Identifier: GPL-2.0

//! Rule 5 and the checks of kernel/bpf/syscall.c as a model: which capabilities each of the four commands needs, and what
//! for. Written from the rules, and shared with nothing under test: the matrix of the guest tests asks it, the test of every
//! type, and the fuzzer.

use rustix::thread::CapabilitySet;

use crate::sys::Command;

/// A capability: its set, its name and its number.
#[derive(Clone, Copy, Debug)]
pub struct Cap {
    pub set: CapabilitySet,
    pub name: &'static str,
    pub number: i32,
}

pub const BPF: Cap = Cap {
    set: CapabilitySet::BPF,
    name: "CAP_BPF",
    number: 39,
};
pub const PERFMON: Cap = Cap {
    set: CapabilitySet::PERFMON,
    name: "CAP_PERFMON",
    number: 38,
};
pub const NET_ADMIN: Cap = Cap {
    set: CapabilitySet::NET_ADMIN,
    name: "CAP_NET_ADMIN",
    number: 12,
};
/// Does for each of the others.
pub const SYS_ADMIN: Cap = Cap {
    set: CapabilitySet::SYS_ADMIN,
    name: "CAP_SYS_ADMIN",
    number: 21,
};

/// In the order of the bits of [`set_of`].
pub const CAPS: [Cap; 4] = [BPF, PERFMON, NET_ADMIN, SYS_ADMIN];

/// The capabilities that are bits of a number.
pub fn set_of(bits: u8) -> CapabilitySet {
    let caps = CAPS.into_iter().enumerate();
    caps.filter(|(bit, _)| bits & (1 << bit) != 0)
        .fold(CapabilitySet::empty(), |held, (_, cap)| held | cap.set)
}

/// Whether somebody who holds these is capable.
pub fn is_capable(held: CapabilitySet, cap: Cap) -> bool {
    held.intersects(cap.set | SYS_ADMIN.set)
}

/// What a map of a type needs: `enum bpf_map_type`.
pub fn of_map(map_type: u32) -> &'static [Cap] {
    match map_type {
        // Hashes, arrays, ring buffers and the storage of cgroups.
        1..=6 | 8 | 12 | 13 | 19 | 21 | 27 | 31 | 35 => &[],
        // Of sockets and devices.
        14 | 15 | 17 | 18 | 25 => &[NET_ADMIN],
        _ => &[BPF],
    }
}

/// What a program of a type needs, in the order in which it is looked for: `enum bpf_prog_type`.
pub fn of_prog(prog_type: u32) -> &'static [Cap] {
    match prog_type {
        // Socket filters, and those of cgroups for packets.
        1 | 8 => &[],
        // Of tracing, of LSMs, and tables of functions.
        2 | 5 | 7 | 17 | 24 | 26 | 27 | 29 => &[BPF, PERFMON],
        // Of packets, sockets and cgroups.
        3 | 4 | 6 | 9..=16 | 18 | 19 | 22 | 23 | 25 | 32 => &[BPF, NET_ADMIN],
        // Extends others.
        28 => &[BPF, NET_ADMIN, PERFMON],
        _ => &[BPF],
    }
}

/// What is asked for: a command, of an object of a type, with their names.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub command: Command,
    pub command_name: &'a str,
    pub object_type: u32,
    pub type_name: &'a str,
}

/// What a command needs, in the order in which it is looked for, and what for. `disabled` with
/// `kernel.unprivileged_bpf_disabled`: then the first is for the command itself, before anything else.
pub fn needs(asked: Asked<'_>, disabled: bool) -> Vec<(Cap, String)> {
    let command = asked.command_name;
    let (caps, purpose): (&[Cap], _) = match asked.command {
        Command::MapCreate => (
            of_map(asked.object_type),
            format!("map type {}", asked.type_name),
        ),
        Command::ProgLoad => (
            of_prog(asked.object_type),
            format!("program type {}", asked.type_name),
        ),
        Command::BtfGetFdById => (&[SYS_ADMIN], format!("the command {command}")),
        Command::BtfLoad => (&[BPF], format!("the command {command}")),
        other => panic!("{other:?} takes no token"),
    };
    let mut needs = Vec::new();
    if disabled && makes_objects(asked.command) {
        let purpose = format!("with kernel.unprivileged_bpf_disabled, the command {command}");
        needs.push((BPF, purpose));
    }
    needs.extend(caps.iter().map(|cap| (*cap, purpose.clone())));
    needs
}

/// Whether the sysctl is asked for a command.
pub fn makes_objects(command: Command) -> bool {
    matches!(command, Command::MapCreate | Command::ProgLoad)
}
