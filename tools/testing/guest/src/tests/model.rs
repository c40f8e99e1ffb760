// SPDX-License-Identifier: GPL-2.0

//! Rule 6 as a model, on that of rule 5: what a token lacks, and how a refusal is put into words. It is written from the
//! rules, and shares nothing with the implementation.

use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use guest::bpf;
use guest::bpf::AttachType;
use guest::bpf::MapType;
use guest::bpf::ProgType;
use guest::log::Log;
use guest::rules;
use guest::rules::Asked;
use guest::rules::Cap;
use guest::sys::Command;
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::usage;

/// What is given for a token.
#[derive(Clone, Copy, Debug)]
pub(super) enum Descriptor {
    None,
    Token,
    OtherKind,
    Closed,
}

impl Descriptor {
    pub(super) const ALL: [Self; 4] = [Self::None, Self::Token, Self::OtherKind, Self::Closed];
}

/// What `kernel.unprivileged_bpf_disabled` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unprivileged {
    Allowed,
    Forbidden,
}

/// What is asked for, with its names.
#[derive(Clone, Copy, Debug)]
pub(super) enum Object {
    Map(MapType, &'static str),
    Prog(ProgType, &'static str, AttachType, &'static str),
    Btf,
    BtfById,
}

impl Object {
    pub(super) fn of(command: Command) -> Vec<Self> {
        const NO_ATTACH: AttachType = AttachType::CgroupInetIngress;
        const NAME: &str = "cgroup_inet_ingress";
        match command {
            Command::MapCreate => vec![
                Self::Map(MapType::Hash, "hash"),
                Self::Map(MapType::Stack, "stack"),
                Self::Map(MapType::Devmap, "devmap"),
            ],
            Command::ProgLoad => vec![
                Self::Prog(ProgType::SocketFilter, "socket_filter", NO_ATTACH, NAME),
                Self::Prog(ProgType::Kprobe, "kprobe", NO_ATTACH, NAME),
                Self::Prog(ProgType::Xdp, "xdp", AttachType::Xdp, "xdp"),
                Self::Prog(ProgType::Ext, "ext", AttachType::Xdp, "xdp"),
            ],
            Command::BtfLoad => vec![Self::Btf],
            Command::BtfGetFdById => vec![Self::BtfById],
            other => panic!("{other:?} takes no token"),
        }
    }

    pub(super) fn command(self) -> (Command, &'static str) {
        match self {
            Self::Map(..) => (Command::MapCreate, "map_create"),
            Self::Prog(..) => (Command::ProgLoad, "prog_load"),
            Self::Btf => (Command::BtfLoad, "btf_load"),
            Self::BtfById => (Command::BtfGetFdById, "btf_get_fd_by_id"),
        }
    }

    /// The capabilities that are needed, in the order in which they are looked for, and what each is for.
    fn needs(self, unprivileged: Unprivileged) -> Vec<(Cap, String)> {
        let (command, command_name) = self.command();
        let (object_type, type_name) = match self {
            Self::Map(map_type, name) => (map_type as u32, name),
            Self::Prog(prog_type, name, ..) => (prog_type as u32, name),
            Self::Btf | Self::BtfById => (0, ""),
        };
        let asked = Asked {
            command,
            command_name,
            object_type,
            type_name,
        };
        rules::needs(asked, unprivileged == Unprivileged::Forbidden)
    }

    /// What comes of the command once it is admitted.
    pub(super) fn admitted(self) -> Result<(), Errno> {
        match self {
            // There is no program that it extends, and such have no attach type.
            Self::Prog(ProgType::Ext, ..) => Err(Errno::INVAL),
            _ => Ok(()),
        }
    }

    pub(super) fn try_to(
        self,
        btf_id: u32,
        token: Option<RawFd>,
        log: &Log<'_>,
    ) -> Result<OwnedFd, Errno> {
        match self {
            Self::Map(map_type, _) => bpf::map_create_logged(map_type, token, log),
            Self::Prog(prog_type, _, attach_type, _) => {
                bpf::prog_load_logged(&usage::prog(prog_type, attach_type), token, log)
            }
            Self::Btf => bpf::btf_load_logged(&usage::btf(), token, log),
            Self::BtfById => bpf::btf_get_fd_by_id(btf_id, token),
        }
    }
}

/// All sets of the four capabilities.
pub(super) fn capability_sets() -> impl Iterator<Item = CapabilitySet> {
    (0..16).map(rules::set_of)
}

/// Which parts of a request an instance delegates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delegated {
    command: bool,
    object: bool,
    attach: bool,
}

impl Delegated {
    pub(super) fn of(command: Command) -> Vec<Self> {
        let both = [true, false];
        let objects: &[bool] = match command {
            Command::MapCreate | Command::ProgLoad => &both,
            _ => &[true],
        };
        let attachs: &[bool] = if command == Command::ProgLoad {
            &both
        } else {
            &[true]
        };
        let mut all = Vec::new();
        for command in both {
            for object in objects {
                all.extend(attachs.iter().map(|attach| Self {
                    command,
                    object: *object,
                    attach: *attach,
                }));
            }
        }
        all
    }

    /// What is given in place of `any` to an option that is not to delegate what is asked for, and how it is shown.
    const OTHER_CMDS: (&'static str, &'static str) = ("obj_get", "obj_get");
    const OTHER_MAPS: (&'static str, &'static str) = ("Queue:array", "array:queue");
    const OTHER_PROGS: (&'static str, &'static str) = ("0", "0x0");
    const OTHER_ATTACHS: (&'static str, &'static str) = (
        "0x8000000000000000:netfilter",
        "netfilter:0x8000000000000000",
    );

    pub(super) fn options(self) -> Vec<(&'static str, String)> {
        let value = |delegated: bool, other: (&'static str, &str)| {
            (if delegated { "any" } else { other.0 }).to_owned()
        };
        vec![
            ("delegate_cmds", value(self.command, Self::OTHER_CMDS)),
            ("delegate_maps", value(self.object, Self::OTHER_MAPS)),
            ("delegate_progs", value(self.object, Self::OTHER_PROGS)),
            ("delegate_attachs", value(self.attach, Self::OTHER_ATTACHS)),
        ]
    }

    /// What of `object` is not delegated, as a reason says it.
    fn lacks(self, object: Object) -> Option<String> {
        let lacks = |noun: &str, name: &str, option: &str, other: (&str, &str)| {
            Some(format!(
                "the token does not delegate {noun} {name} ({option}={})",
                other.1
            ))
        };
        let (_, command) = object.command();
        if !self.command {
            return lacks("bpf() command", command, "delegate_cmds", Self::OTHER_CMDS);
        }
        match object {
            Object::Map(_, name) if !self.object => {
                lacks("map type", name, "delegate_maps", Self::OTHER_MAPS)
            }
            Object::Prog(_, name, ..) if !self.object => {
                lacks("program type", name, "delegate_progs", Self::OTHER_PROGS)
            }
            Object::Prog(_, _, _, name) if !self.attach => {
                lacks("attach type", name, "delegate_attachs", Self::OTHER_ATTACHS)
            }
            _ => None,
        }
    }
}

/// A refusal as the model has it.
pub(super) struct Refusal {
    pub(super) errno: Errno,
    pub(super) cap: i32,
    pub(super) reason: String,
}

/// The model: what the rules say of a request from within a container.
pub(super) fn model(
    object: Object,
    unprivileged: Unprivileged,
    descriptor: Descriptor,
    fd: RawFd,
    delegated: Delegated,
    held: CapabilitySet,
) -> Option<Refusal> {
    let refusal = |errno, cap, reason| Some(Refusal { errno, cap, reason });
    let unused = match descriptor {
        Descriptor::Closed => {
            return refusal(Errno::BADF, -1, format!("descriptor {fd} is not open"))
        }
        Descriptor::OtherKind => {
            return refusal(
                Errno::INVAL,
                -1,
                format!("descriptor {fd} is not a BPF token"),
            )
        }
        Descriptor::None => Some("no token was given".to_owned()),
        Descriptor::Token => delegated.lacks(object),
    };
    for (cap, purpose) in object.needs(unprivileged) {
        let name = cap.name;
        // In the initial user namespace a container has no capability at all.
        let reason = match &unused {
            Some(unused) => {
                format!("{purpose} needs {name} in the initial user namespace, because {unused}")
            }
            None if rules::is_capable(held, cap) => continue,
            None => format!("{purpose} needs {name} in the user namespace that owns the token"),
        };
        return refusal(Errno::PERM, cap.number, reason);
    }
    None
}
