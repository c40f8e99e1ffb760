// SPDX-License-Identifier: GPL-2.0

//! Descriptors of every kind, which calls are made with: the steps that make them.

use guest::attr::by_id;
use guest::attr::map_create;
use guest::attr::prog_load;
use guest::attr::token_create;
use guest::attr::BPF_F_TOKEN_FD;
use guest::sys::Command;

use crate::attributes::Attributes;
use crate::layout::memory;
use crate::names::KINDS;
use crate::step::Act;
use crate::step::Actor;
use crate::step::Kind;
use crate::step::Step;
use crate::step::FIRST;

/// The descriptors, by their slots.
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
        FIRST + self as u32
    }
}

/// Where the contexts and mounts are that descriptors are made of.
const CONTEXT: u32 = 30;
const MOUNT: u32 = 29;

/// Makes them in the container, in their order, and passes them to the manager.
pub fn make() -> Vec<Step> {
    let mut steps = Vec::new();
    for (token, values) in DELEGATED.iter().enumerate() {
        let root = match token {
            0 => Descriptor::Root as u32,
            _ => MOUNT,
        };
        instance(&mut steps, Actor::Container, values, root);
        let mut attributes = Attributes::new(Command::TokenCreate);
        attributes.set(token_create::bpffs_fd, (FIRST + root).into());
        let to = token as u32;
        steps.push(inside(Act::Bpf { to, attributes }));
    }
    let (nothing, all) = ([""; 4], DELEGATED[0]);
    let undelegated = Descriptor::UndelegatedRoot as u32;
    instance(&mut steps, Actor::Container, &nothing, undelegated);
    let initial = Descriptor::InitialRoot as u32;
    instance(&mut steps, Actor::Manager, &all, initial);
    steps.push(Actor::Manager.does(Act::Pass {
        slot: initial,
        actor: Actor::Container,
    }));
    steps.extend(DESCRIPTORS.into_iter().filter_map(other).map(inside));
    steps.extend(DESCRIPTORS.map(|descriptor| {
        let (slot, actor) = (descriptor as u32, Actor::Manager);
        inside(Act::Pass { slot, actor })
    }));
    steps
}

fn inside(act: Act) -> Step {
    Actor::Container.does(act)
}

/// A BPF FS of an actor with these options, and its root.
fn instance(steps: &mut Vec<Step>, actor: Actor, values: &[&str; 4], root: u32) {
    let manager = Actor::Manager;
    let context = CONTEXT;
    steps.push(actor.does(Act::Open { to: context }));
    if actor != manager {
        steps.push(actor.does(Act::Pass {
            slot: context,
            actor: manager,
        }));
    }
    let options = KINDS.iter().zip(values);
    let options = options.filter(|(_, value)| !value.is_empty());
    let options = options.map(|(kind, value)| Act::Set {
        context,
        key: kind.option.into(),
        value: (*value).into(),
    });
    let acts = options.chain([Act::Create { context }]);
    steps.extend(acts.map(|act| manager.does(act)));
    let acts = [
        Act::Mount { context, to: MOUNT },
        Act::Root {
            mount: MOUNT,
            to: root,
        },
    ];
    steps.extend(acts.map(|act| actor.does(act)));
}

/// How a descriptor is made that is neither a token nor the root of a BPF FS.
fn other(descriptor: Descriptor) -> Option<Act> {
    let to = descriptor as u32;
    let (token, root) = (Descriptor::TokenOfAll, Descriptor::Root);
    let make = |kind, of: Descriptor| Act::Make {
        kind,
        of: of as u32,
        to,
    };
    let command = |command: Command| {
        let mut attributes = Attributes::new(command);
        let fields = (command.flags_field(), command.token_field());
        if let (Some(flags), Some(field)) = fields {
            attributes.set(flags, BPF_F_TOKEN_FD.into());
            attributes.set(field, token.number().into());
        }
        attributes
    };
    Some(match descriptor {
        Descriptor::Directory => make(Kind::Directory, root),
        Descriptor::OtherRoot => make(Kind::Tree, root),
        Descriptor::RootPath => make(Kind::Path, root),
        Descriptor::TokenPath => make(Kind::Path, token),
        Descriptor::File => make(Kind::File, root),
        Descriptor::Pipe => make(Kind::Pipe, root),
        Descriptor::Socket => make(Kind::Socket, root),
        Descriptor::Epoll => make(Kind::Epoll, root),
        Descriptor::Event => make(Kind::Event, root),
        Descriptor::UserNamespace => make(Kind::UserNamespace, root),
        Descriptor::Context => Act::Open { to },
        Descriptor::Map => {
            let mut attributes = command(Command::MapCreate);
            attributes.set(map_create::map_type, crate::privilege::ARRAY.into());
            attributes.set(map_create::key_size, 4);
            attributes.set(map_create::value_size, 4);
            attributes.set(map_create::max_entries, 1);
            Act::Bpf { to, attributes }
        }
        Descriptor::Prog => {
            let mut attributes = command(Command::ProgLoad);
            attributes.set(prog_load::prog_type, crate::privilege::SOCKET_FILTER.into());
            attributes.set(prog_load::insn_cnt, 2);
            attributes.set(prog_load::insns, memory::INSNS as u64);
            attributes.set(prog_load::license, memory::LICENSE as u64);
            Act::Bpf { to, attributes }
        }
        Descriptor::Btf => {
            let mut attributes = command(Command::BtfGetFdById);
            attributes.set(by_id::id, 1);
            Act::Bpf { to, attributes }
        }
        _ => return None,
    })
}
