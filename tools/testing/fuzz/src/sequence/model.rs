// SPDX-License-Identifier: GPL-2.0

//! What the Rust kernel is taken to hold, as a sequence goes on: instances of BPF FS, what the slots of each process hold,
//! its capabilities, and the tokens that come of it by the rules.

use std::collections::BTreeMap;

use guest::attr::token_create;
use guest::sys::Command;
use rustix::io::Errno;

use crate::command::Found;
use crate::names::Names;
use crate::options;
use crate::options::Expected;
use crate::rules::Rule;
use crate::rules::Rules;
use crate::sequence::attributes::slot;
use crate::sequence::attributes::Attributes;
use crate::sequence::outcome::Outcome;
use crate::sequence::step::Act;
use crate::sequence::step::Actor;
use crate::sequence::step::Caps;
use crate::sequence::step::Step;
use crate::sequence::step::SLOTS;

pub type Masks = [u64; 4];

/// A BPF FS.
pub struct Instance {
    /// Whose user namespace it is of.
    pub owner: Actor,
    /// What it delegates on the Rust kernel.
    pub masks: Masks,
    /// Whether that differs from what it does on the C kernel.
    pub differs: bool,
}

/// A context of a file system.
#[derive(Clone, Copy)]
pub struct FsContext {
    pub instance: usize,
    /// Whether it is for a remount, and what it named so far.
    pub remount: Option<[Option<u64>; 4]>,
    /// Whether it was used for what the C kernel does not have: what more it takes may differ.
    pub differs: bool,
}

#[derive(Clone, Copy, Default)]
pub enum Thing {
    #[default]
    Nothing,
    /// Wherever it was passed to, it is one context.
    Context(usize),
    Mount(usize),
    Root(usize),
    Token {
        instance: usize,
        masks: Masks,
    },
    Other,
}

#[derive(Clone, Copy, Default)]
pub struct Slot {
    pub thing: Thing,
    /// Whether the C kernel may have another thing here.
    pub differs: bool,
}

/// What the Rust kernel is taken to hold.
pub struct Model<'a> {
    pub names: &'a Names,
    pub rules: Rules,
    pub instances: Vec<Instance>,
    pub contexts: Vec<FsContext>,
    pub slots: [[Slot; SLOTS as usize]; Actor::ALL.len()],
    pub caps: [Caps; Actor::ALL.len()],
    pub disabled: bool,
    /// How often each rule was what a difference came from.
    pub used: BTreeMap<Rule, usize>,
}

impl<'a> Model<'a> {
    /// Nothing is there yet.
    pub fn new(names: &'a Names, rules: Rules) -> Self {
        Self {
            names,
            rules,
            instances: Vec::new(),
            contexts: Vec::new(),
            slots: Default::default(),
            caps: [Caps::ALL; 4],
            disabled: true,
            used: BTreeMap::new(),
        }
    }

    pub fn slot(&self, actor: Actor, slot: u32) -> Slot {
        self.slots[actor as usize][slot as usize]
    }

    /// What a token is made of, or why there is none.
    pub fn creation(&self, actor: Actor, attributes: &Attributes) -> Result<Thing, Errno> {
        let allowed = [
            token_create::allowed_cmds,
            token_create::allowed_maps,
            token_create::allowed_progs,
            token_create::allowed_attachs,
        ]
        .map(|field| attributes.get(field));
        let restricted = match attributes.get(token_create::flags) {
            0 if allowed == [0; 4] => false,
            1 => true,
            _ => return Err(Errno::INVAL),
        };
        let fd = attributes.get(token_create::bpffs_fd);
        let (instance, source) = match slot(fd).map(|slot| self.slot(actor, slot).thing) {
            Some(Thing::Root(instance)) => (instance, self.instances[instance].masks),
            Some(Thing::Token { instance, masks }) if restricted => (instance, masks),
            Some(Thing::Nothing) => return Err(Errno::BADF),
            None if fd > 2 => return Err(Errno::BADF),
            // The root of a mount is that of its file system, too; it is opened with O_PATH.
            Some(Thing::Mount(_)) => return Err(Errno::BADF),
            _ => return Err(Errno::INVAL),
        };
        let owner = self.instances[instance].owner;
        if owner != namespace(actor) || self.caps[actor as usize].0 & 1 == 0 {
            return Err(Errno::PERM);
        }
        if owner == Actor::Manager {
            return Err(Errno::OPNOTSUPP);
        }
        let masks: Masks = std::array::from_fn(|kind| {
            source[kind] & if restricted { allowed[kind] } else { u64::MAX }
        });
        if self.permitted(instance, masks) == [0; 4] {
            return Err(Errno::NOENT);
        }
        Ok(Thing::Token { instance, masks })
    }

    pub fn permitted(&self, instance: usize, masks: Masks) -> Masks {
        let now = self.instances[instance].masks;
        std::array::from_fn(|kind| masks[kind] & now[kind])
    }

    pub fn found(&self, actor: Actor, fd: u32) -> Found {
        match slot(fd.into()).map(|slot| self.slot(actor, slot).thing) {
            Some(Thing::Token { instance, masks }) => Found::Token(self.permitted(instance, masks)),
            None if fd < 3 => Found::Other,
            // A mount is opened with O_PATH.
            None | Some(Thing::Nothing | Thing::Mount(_)) => Found::NotOpen,
            Some(_) => Found::Other,
        }
    }

    /// Whether a process has CAP_SYS_ADMIN in the initial user namespace.
    pub fn may_delegate(&self, actor: Actor) -> bool {
        const SYS_ADMIN: u8 = 1 << 3;
        actor == Actor::Manager && self.caps[actor as usize].0 & SYS_ADMIN != 0
    }

    /// How a process stands to tokens of the container.
    pub fn caller(&self, actor: Actor) -> crate::case::Caller {
        crate::case::Caller {
            outside: actor == Actor::Manager,
            disabled: self.disabled,
            caps: match actor {
                Actor::Nested => 0,
                _ => self.caps[actor as usize].0,
            },
        }
    }

    /// Takes what a step has come to on the Rust kernel for what is there now.
    pub fn follow(&mut self, step: &Step, rust: &Outcome) {
        if !matches!(rust, Outcome::Ok(_)) {
            return;
        }
        let actor = step.actor;
        let thing = |model: &Self, slot: u32| model.slot(actor, slot).thing;
        let made = match &step.act {
            Act::Open { .. } => {
                self.instances.push(Instance {
                    owner: namespace(actor),
                    masks: [0; 4],
                    differs: false,
                });
                self.context(self.instances.len() - 1, None)
            }
            Act::Set {
                context,
                key,
                value,
            } => return self.set(actor, *context, key, value),
            Act::Mount { context, .. } => match thing(self, *context) {
                Thing::Context(context) => {
                    // From now on, it is one for a remount.
                    self.contexts[context].remount = Some([None; 4]);
                    Thing::Mount(self.contexts[context].instance)
                }
                _ => Thing::Other,
            },
            Act::Root { mount, .. } => match thing(self, *mount) {
                Thing::Mount(instance) | Thing::Root(instance) => Thing::Root(instance),
                _ => Thing::Other,
            },
            Act::Pick { root, .. } => match thing(self, *root) {
                Thing::Root(instance) | Thing::Mount(instance) => {
                    self.context(instance, Some([None; 4]))
                }
                _ => Thing::Other,
            },
            Act::Reconfigure { context } => {
                let Thing::Context(context) = thing(self, *context) else {
                    return;
                };
                if let FsContext {
                    instance,
                    remount: Some(named),
                    ..
                } = self.contexts[context]
                {
                    self.remount(instance, named);
                    self.contexts[context].remount = Some([None; 4]);
                }
                return;
            }
            Act::Bpf { attributes, .. } if attributes.command == Command::TokenCreate => {
                self.creation(actor, attributes).unwrap_or(Thing::Other)
            }
            Act::Bpf { .. } => Thing::Other,
            Act::Pass { slot, actor: to } => {
                self.slots[*to as usize][*slot as usize] = self.slot(actor, *slot);
                return;
            }
            Act::Close { slot } => {
                self.slots[actor as usize][*slot as usize] = Slot::default();
                return;
            }
            Act::Caps(caps) => {
                self.caps[actor as usize] = *caps;
                return;
            }
            Act::Disabled(disabled) => {
                self.disabled = *disabled;
                return;
            }
            _ => return,
        };
        if let (_, Some(to)) = step.act.slots() {
            self.slots[actor as usize][to as usize].thing = made;
        }
    }

    fn context(&mut self, instance: usize, remount: Option<[Option<u64>; 4]>) -> Thing {
        self.contexts.push(FsContext {
            instance,
            remount,
            differs: false,
        });
        Thing::Context(self.contexts.len() - 1)
    }

    fn set(&mut self, actor: Actor, context: u32, key: &str, value: &str) {
        let kind = options::kind_of(key.as_bytes());
        let (Some(kind), Thing::Context(context)) = (kind, self.slot(actor, context).thing) else {
            return;
        };
        let FsContext {
            instance, remount, ..
        } = self.contexts[context];
        let mut masks = match remount {
            Some(_) => [0; 4],
            None => self.instances[instance].masks,
        };
        let names = self.names;
        let is_set = options::set(names, kind, value.as_bytes(), true, self.rules, &mut masks);
        if is_set != Expected::Accepted {
            return;
        }
        match &mut self.contexts[context].remount {
            Some(named) => named[kind] = Some(masks[kind]),
            None => self.instances[instance].masks = masks,
        }
    }

    fn remount(&mut self, instance: usize, named: [Option<u64>; 4]) {
        let instance = &mut self.instances[instance];
        for (mask, named) in instance.masks.iter_mut().zip(named) {
            if let Some(named) = named.filter(|named| named != mask) {
                *mask = named;
                instance.differs = true;
            }
        }
    }
}

/// A process of the user namespace that this one is of.
pub fn namespace(actor: Actor) -> Actor {
    match actor {
        Actor::Worker => Actor::Container,
        other => other,
    }
}
