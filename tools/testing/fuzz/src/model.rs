// SPDX-License-Identifier: GPL-2.0

//! What a kernel is taken to hold, as a sequence goes on: instances of BPF FS, what the slots of each process hold, its
//! capabilities, and the tokens that come of it by the rules.

use crate::attributes::slot;
use crate::command::Found;
use crate::names::Names;
use crate::options;
use crate::options::Expected;
use crate::options::Named;
use crate::privilege::Caller;
use crate::rules::Rule;
use crate::rules::Rules;
use crate::step::Actor;
use crate::step::Caps;
use crate::step::SLOTS;

pub type Masks = [u64; 4];

/// A BPF FS.
#[derive(Clone, Copy, PartialEq)]
pub struct Instance {
    /// Whose user namespace it is of.
    pub owner: Actor,
    pub masks: Masks,
    pub cookie: u64,
}

/// A context of a file system.
#[derive(Clone, Copy, PartialEq)]
pub struct FsContext {
    pub instance: usize,
    /// Whether it takes no more options, unless it is for a remount.
    pub is_created: bool,
    /// Whether it is for a remount, and what it named so far.
    pub remount: Option<[Option<u64>; 4]>,
    /// Whether it was used for what the C kernel does not have: what more it takes may differ.
    pub is_beyond_c: bool,
}

#[derive(Clone, Copy, Default, PartialEq)]
pub enum Thing {
    #[default]
    Nothing,
    /// Wherever it was passed to, it is one context.
    Context(usize),
    Mount(usize),
    Root(usize),
    /// Opened with O_PATH, of a token or not.
    Path {
        token: bool,
    },
    /// A root, but of no BPF FS.
    Tree,
    Token {
        instance: usize,
        masks: Masks,
    },
    /// Something else, made by the step with this index.
    Other(usize),
}

/// What a kernel is taken to hold.
pub struct Model<'a> {
    pub names: &'a Names,
    /// What holds on this kernel.
    pub rules: Rules,
    pub instances: Vec<Instance>,
    pub contexts: Vec<FsContext>,
    pub slots: [[Thing; SLOTS as usize]; Actor::ALL.len()],
    /// What `mount(2)` has mounted.
    pub places: [[Option<usize>; SLOTS as usize]; Actor::ALL.len()],
    pub caps: [Caps; Actor::ALL.len()],
    pub disabled: bool,
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
            places: Default::default(),
            caps: [Caps::all(); 4],
            disabled: true,
        }
    }

    pub fn slot(&self, actor: Actor, slot: u32) -> Thing {
        self.slots[actor as usize][slot as usize]
    }

    pub fn place(&self, actor: Actor, place: u32) -> Option<usize> {
        self.places[actor as usize][place as usize]
    }

    pub fn permitted(&self, instance: usize, masks: Masks) -> Masks {
        let now = self.instances[instance].masks;
        std::array::from_fn(|kind| masks[kind] & now[kind])
    }

    pub fn found(&self, actor: Actor, fd: u32) -> Found {
        match slot(fd.into()).map(|slot| self.slot(actor, slot)) {
            Some(Thing::Token { instance, masks }) => Found::Token(self.permitted(instance, masks)),
            None if fd < 3 => Found::Other,
            // A mount is opened with O_PATH.
            None | Some(Thing::Nothing | Thing::Mount(_) | Thing::Path { .. }) => Found::NotOpen,
            Some(_) => Found::Other,
        }
    }

    /// Whether a process has CAP_SYS_ADMIN in the user namespace of `owner`: by its capabilities in its own, and always in
    /// those further in, as root of its own has made them.
    pub fn may_mount(&self, actor: Actor, owner: Actor) -> bool {
        // Actors stand in the order of their namespaces, from the initial one inwards.
        let (own, other) = (namespace(actor) as usize, namespace(owner) as usize);
        own < other || own == other && self.caps[actor as usize].contains(Caps::SYS_ADMIN)
    }

    /// Whether a process has CAP_SYS_ADMIN in the initial user namespace.
    pub fn may_delegate(&self, actor: Actor) -> bool {
        actor == Actor::Manager && self.caps[actor as usize].contains(Caps::SYS_ADMIN)
    }

    /// How a process stands to tokens of the container.
    pub fn caller(&self, actor: Actor) -> Caller {
        Caller {
            outside: actor == Actor::Manager,
            disabled: self.disabled,
            caps: match actor {
                Actor::Nested => 0,
                _ => self.caps[actor as usize].bits(),
            },
        }
    }

    /// What an option must come to, and how it leaves the masks of its context.
    pub fn setting(
        &self,
        actor: Actor,
        context: u32,
        of: (&[u8], &[u8]),
        rules: Rules,
    ) -> (Expected, Masks) {
        let Thing::Context(context) = self.slot(actor, context) else {
            return (Expected::Same, [0; 4]);
        };
        let FsContext {
            instance,
            is_created,
            remount,
            ..
        } = self.contexts[context];
        let (mut masks, privileged) = match remount {
            Some(_) => ([0; 4], true),
            None if is_created => return (Expected::Same, [0; 4]),
            None => (self.instances[instance].masks, self.may_delegate(actor)),
        };
        let expected = options::setting(self.names, of, privileged, rules, &mut masks);
        (expected, masks)
    }

    /// What a remount at a place comes to, if something is known to be there: what it names, and then permits.
    pub fn remounted(
        &self,
        actor: Actor,
        place: u32,
        data: &[u8],
        rules: Rules,
    ) -> Option<(Named, Masks)> {
        let Instance { masks, cookie, .. } = self.instances[self.place(actor, place)?];
        let named = options::data(self.names, data, rules, Some(cookie))?;
        let is_applied = named.errno == 0 && rules.has(Rule::Remount);
        let applied = std::array::from_fn(|kind| named.masks[kind].unwrap_or(masks[kind]));
        Some((named, if is_applied { applied } else { masks }))
    }
}

/// A process of the user namespace that this one is of.
pub fn namespace(actor: Actor) -> Actor {
    match actor {
        Actor::Worker => Actor::Container,
        other => other,
    }
}
