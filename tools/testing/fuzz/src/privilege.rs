// SPDX-License-Identifier: GPL-2.0

//! Which privileges a command needs: rule 5 of the design, and the checks of kernel/bpf/syscall.c.

use crate::case::Caller;
use crate::case::Command;
use crate::command::Request;
use crate::names::Names;
use crate::names::CMDS;
use crate::names::MAPS;
use crate::names::PROGS;

pub const SYS_ADMIN: Cap = Cap(8, "CAP_SYS_ADMIN");
pub const NET_ADMIN: Cap = Cap(4, "CAP_NET_ADMIN");
pub const PERFMON: Cap = Cap(2, "CAP_PERFMON");
pub const BPF: Cap = Cap(1, "CAP_BPF");

/// A capability: its bit in [`Caller`], and its name.
#[derive(Clone, Copy)]
pub struct Cap(pub u8, pub &'static str);

impl Caller {
    /// `capable()`.
    pub fn capable(self, cap: Cap) -> bool {
        self.outside && self.caps & cap.0 != 0
    }

    /// `ns_capable()` in the user namespace of the container. Root outside of it has made it, so it may do all there.
    fn capable_inside(self, cap: Cap) -> bool {
        self.outside || self.caps & cap.0 != 0
    }

    pub fn capable_by(self, token: bool, cap: Cap) -> bool {
        let capable = |cap| {
            if token {
                self.capable_inside(cap)
            } else {
                self.capable(cap)
            }
        };
        capable(cap) || capable(SYS_ADMIN)
    }
}

/// What a command needs, in the order in which it is looked for.
pub enum Need {
    Cap(Cap, String),
    /// A program of so many instructions, and no more than there can be.
    Instructions,
    FewInstructions,
}

pub fn needs(names: &Names, request: &Request, disabled: bool) -> Vec<Need> {
    let command = names[CMDS].name_of(request.command as u32);
    let is_object = matches!(request.command, Command::MapCreate | Command::ProgLoad);
    let mut needs = Vec::new();
    if disabled && is_object {
        let purpose = format!("with kernel.unprivileged_bpf_disabled, the command {command}");
        needs.push(Need::Cap(BPF, purpose));
    }
    if request.command == Command::ProgLoad {
        needs.extend([Need::Instructions, Need::FewInstructions]);
    }
    let (caps, purpose): (&[Cap], String) = match request.command {
        Command::MapCreate => (
            of_map(request.object_type),
            format!("map type {}", names[MAPS].name_of(request.object_type)),
        ),
        Command::ProgLoad => (
            of_prog(request.object_type),
            format!("program type {}", names[PROGS].name_of(request.object_type)),
        ),
        Command::BtfGetFdById => (&[SYS_ADMIN], format!("the command {command}")),
        _ => (&[BPF], format!("the command {command}")),
    };
    needs.extend(caps.iter().map(|cap| Need::Cap(*cap, purpose.clone())));
    needs
}

pub const HASH: u32 = 1;
pub const ARRAY: u32 = 2;
pub const DEVMAP: u32 = 14;
pub const STACK: u32 = 23;
pub const RINGBUF: u32 = 27;

fn of_map(map_type: u32) -> &'static [Cap] {
    match map_type {
        STACK => &[BPF],
        DEVMAP => &[NET_ADMIN],
        _ => &[],
    }
}

pub const SOCKET_FILTER: u32 = 1;
pub const KPROBE: u32 = 2;
pub const SCHED_CLS: u32 = 3;
pub const XDP: u32 = 6;
pub const CGROUP_SKB: u32 = 8;
pub const EXT: u32 = 28;
pub const LSM: u32 = 29;

fn of_prog(prog_type: u32) -> &'static [Cap] {
    match prog_type {
        SOCKET_FILTER | CGROUP_SKB => &[],
        KPROBE | LSM => &[BPF, PERFMON],
        SCHED_CLS | XDP => &[BPF, NET_ADMIN],
        EXT => &[BPF, NET_ADMIN, PERFMON],
        _ => &[BPF],
    }
}
