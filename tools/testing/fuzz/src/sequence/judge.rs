// SPDX-License-Identifier: GPL-2.0

//! Holds what a sequence came to on the two kernels against each other.
//!
//! Both must give the same, step by step, until a step uses what C does not have. What comes of that is not compared any
//! more, but judged by the rules; all else goes on to be compared.

use std::collections::BTreeMap;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use guest::attr::map_create;
use guest::attr::token_create;
use guest::sys::Command;
use rustix::io::Errno;

use crate::command::admission;
use crate::command::Found;
use crate::command::Request;
use crate::names::shown;
use crate::names::Names;
use crate::options;
use crate::options::Expected;
use crate::rules::Rule;
use crate::rules::Rules;
use crate::sequence::arena;
use crate::sequence::attributes::slot;
use crate::sequence::attributes::Attributes;
use crate::sequence::outcome::Outcome;
use crate::sequence::step::Act;
use crate::sequence::step::Actor;
use crate::sequence::step::Caps;
use crate::sequence::step::Step;
use crate::sequence::step::SLOTS;

type Masks = [u64; 4];

/// Where two kernels differ, and no rule says so.
pub struct Divergence {
    pub step: usize,
    pub why: String,
}

/// A BPF FS.
struct Instance {
    /// Whose user namespace it is of.
    owner: Actor,
    /// What it delegates on the Rust kernel.
    masks: Masks,
    /// Whether that differs from what it does on the C kernel.
    differs: bool,
}

/// A context of a file system.
#[derive(Clone, Copy)]
struct FsContext {
    instance: usize,
    /// Whether it is for a remount, and what it named so far.
    remount: Option<[Option<u64>; 4]>,
    /// Whether it was used for what the C kernel does not have: what more it takes may differ.
    differs: bool,
}

#[derive(Clone, Copy, Default)]
enum Thing {
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
struct Slot {
    thing: Thing,
    /// Whether the C kernel may have another thing here.
    differs: bool,
}

/// What the Rust kernel is taken to hold.
struct Model<'a> {
    names: &'a Names,
    rules: Rules,
    instances: Vec<Instance>,
    contexts: Vec<FsContext>,
    slots: [[Slot; SLOTS as usize]; Actor::ALL.len()],
    caps: [Caps; Actor::ALL.len()],
    disabled: bool,
    /// How often each rule was what a difference came from.
    used: BTreeMap<Rule, usize>,
}

/// Judges one sequence. Adds to `used` which rules explained differences.
pub fn judge(
    names: &Names,
    rules: Rules,
    steps: &[Step],
    [c, rust]: [&[Outcome]; 2],
    used: &mut BTreeMap<Rule, usize>,
) -> Result<Option<Divergence>> {
    ensure!(
        [c.len(), rust.len()] == [steps.len(); 2],
        "a guest did not come to all steps of a sequence"
    );
    let mut model = Model {
        names,
        rules,
        instances: Vec::new(),
        contexts: Vec::new(),
        slots: Default::default(),
        caps: [Caps::ALL; 4],
        disabled: true,
        used: BTreeMap::new(),
    };
    for (index, step) in steps.iter().enumerate() {
        if let Err(why) = model.step(step, &c[index], &rust[index]) {
            return Ok(Some(Divergence { step: index, why }));
        }
    }
    for (rule, count) in model.used {
        *used.entry(rule).or_default() += count;
    }
    Ok(None)
}

/// The outcomes that a guest has written: as many lines for a sequence as it has steps, then an empty one.
pub fn outcomes(text: &str) -> Vec<Vec<Outcome>> {
    let sequences = text.split("\n\n").filter(|lines| !lines.is_empty());
    sequences
        .map(|lines| lines.lines().map(Outcome::parse).collect())
        .collect()
}

impl Model<'_> {
    fn slot(&self, actor: Actor, slot: u32) -> Slot {
        self.slots[actor as usize][slot as usize]
    }

    fn explain(&mut self, rule: Rule) {
        *self.used.entry(rule).or_default() += 1;
    }

    fn step(&mut self, step: &Step, c: &Outcome, rust: &Outcome) -> Result<(), String> {
        if *rust == Outcome::Gone {
            return Err("the process was killed".to_owned());
        }
        let (uses, fills) = step.act.slots();
        let used: Vec<_> = uses
            .iter()
            .map(|slot| self.slot(step.actor, *slot))
            .collect();
        let reads_map = matches!(&step.act, Act::Bpf { attributes, .. } if reads_map(attributes));
        let mut differs = used.iter().any(|slot| self.differs(slot))
            || reads_map && self.differs(&self.slot(step.actor, MAP_OF_PROGRAMS));
        if let Some(rule) = self.beyond_c(step) {
            self.explain(rule);
            differs = true;
            if let Some(Thing::Context(context)) = used.first().map(|slot| slot.thing) {
                let context = &mut self.contexts[context];
                context.differs = true;
                self.instances[context.instance].differs |= context.remount.is_none();
            }
        } else if let (Act::Reopen { slot }, Outcome::Ok(_)) = (&step.act, c) {
            let is_token = matches!(self.slot(step.actor, *slot).thing, Thing::Token { .. });
            if is_token && self.rules.has(Rule::D6) {
                if *rust != Outcome::Errno(Errno::NXIO.raw_os_error()) {
                    return Err("a token is opened again".to_owned());
                }
                self.explain(Rule::D6);
                return Ok(());
            }
        }
        if !differs && c != rust {
            return Err("must be the same".to_owned());
        }
        self.opinion(step, rust)?;
        self.follow(step, rust);
        if let (Some(to), true) = (fills, differs || matches!(rust, Outcome::Ok(_))) {
            self.slots[step.actor as usize][to as usize].differs = differs;
        }
        Ok(())
    }

    /// Whether something may be another thing on the C kernel, or permit something else.
    fn differs(&self, slot: &Slot) -> bool {
        let instance = match slot.thing {
            Thing::Root(instance) | Thing::Token { instance, .. } => Some(instance),
            Thing::Context(context) => {
                let context = self.contexts[context];
                if context.differs {
                    return true;
                }
                context.remount.map(|_| context.instance)
            }
            Thing::Nothing | Thing::Mount(_) | Thing::Other => None,
        };
        slot.differs || instance.is_some_and(|instance| self.instances[instance].differs)
    }

    /// By which rule a step does what the C kernel does not.
    fn beyond_c(&self, step: &Step) -> Option<Rule> {
        match &step.act {
            Act::Bpf { attributes, .. } if attributes.command == Command::TokenCreate => {
                let is_new = attributes.get(token_create::flags) == 1;
                (is_new && self.rules.has(Rule::Restrict)).then_some(Rule::Restrict)
            }
            Act::Reconfigure { context } => {
                let Thing::Context(context) = self.slot(step.actor, *context).thing else {
                    return None;
                };
                let named = self.contexts[context].remount?;
                let names = named.iter().any(Option::is_some);
                (names && self.rules.has(Rule::Remount)).then_some(Rule::Remount)
            }
            Act::Set {
                context,
                key,
                value,
            } => {
                let kind = options::kind_of(key.as_bytes())?;
                let parse =
                    |rules| options::parse(&self.names[kind], kind, value.as_bytes(), rules).ok();
                let is_remount = |context: usize| self.contexts[context].remount.is_some();
                match self.slot(step.actor, *context).thing {
                    Thing::Context(context) if is_remount(context) => {
                        self.rules.has(Rule::Remount).then_some(Rule::Remount)
                    }
                    _ if parse(Rules::NONE) == parse(self.rules) => None,
                    _ if value.contains("common_attrs") => Some(Rule::D2),
                    _ => Some(Rule::D1),
                }
            }
            _ => None,
        }
    }

    /// What the rules say of a step on the Rust kernel, as far as they do.
    fn opinion(&self, step: &Step, rust: &Outcome) -> Result<(), String> {
        match &step.act {
            Act::Tell { slot } => {
                let (Thing::Token { instance, masks }, Outcome::Ok(told)) =
                    (self.slot(step.actor, *slot).thing, rust)
                else {
                    return Ok(());
                };
                self.expect_masks(self.permitted(instance, masks), told)
            }
            Act::Show { root } => {
                let (Thing::Root(instance), Outcome::Ok(told)) =
                    (self.slot(step.actor, *root).thing, rust)
                else {
                    return Ok(());
                };
                let expected = shown(self.names, self.instances[instance].masks).join(",");
                expect(*told == expected, || format!("must show {expected:?}"))
            }
            Act::Reconfigure { context } => {
                let Thing::Context(context) = self.slot(step.actor, *context).thing else {
                    return Ok(());
                };
                let FsContext {
                    instance, remount, ..
                } = self.contexts[context];
                let named = remount.unwrap_or_default();
                let now = self.instances[instance].masks.iter();
                let mut changes = named.iter().zip(now);
                let changes = changes.any(|(named, now)| named.is_some_and(|named| named != *now));
                let is_done = matches!(rust, Outcome::Ok(_));
                expect(
                    !(changes && is_done) || self.may_delegate(step.actor),
                    || "what a BPF FS delegates is not theirs to change".to_owned(),
                )
            }
            Act::Bpf { attributes, .. } if is_plain(attributes) => {
                self.opinion_of_command(step.actor, attributes, rust)
            }
            _ => Ok(()),
        }
    }

    fn opinion_of_command(
        &self,
        actor: Actor,
        attributes: &Attributes,
        rust: &Outcome,
    ) -> Result<(), String> {
        let caller = self.caller(actor);
        if attributes.command == Command::TokenCreate {
            let made = self.creation(actor, attributes);
            return match (made, rust) {
                (Err(errno), rust) => {
                    let errno = errno.raw_os_error();
                    expect(*rust == Outcome::Errno(errno), || {
                        format!("must be {}", Outcome::Errno(errno).explained())
                    })
                }
                (Ok(Thing::Token { instance, masks }), Outcome::Ok(told)) => {
                    self.expect_masks(self.permitted(instance, masks), told)
                }
                (Ok(_), _) => Err("must give a token".to_owned()),
            };
        }
        let Some(request) = Request::of_attributes(attributes) else {
            return Ok(());
        };
        let field = attributes.command.token_field().expect("it takes a token");
        let fd = attributes.get(field) as u32;
        let refusal = admission(self.names, caller, &request, self.found(actor, fd), fd);
        let is_refused = *rust == Outcome::Errno(Errno::PERM.raw_os_error());
        match refusal {
            Some(refusal) => expect(!matches!(rust, Outcome::Ok(_)), || {
                format!("must be refused: {}", refusal.reason)
            }),
            // What is refused for other reasons is not told apart from what a token is for.
            None if can_be_refused_later(attributes) => Ok(()),
            None => expect(!is_refused, || "must be admitted".to_owned()),
        }
    }

    /// What a token is made of, or why there is none.
    fn creation(&self, actor: Actor, attributes: &Attributes) -> Result<Thing, Errno> {
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

    fn permitted(&self, instance: usize, masks: Masks) -> Masks {
        let now = self.instances[instance].masks;
        std::array::from_fn(|kind| masks[kind] & now[kind])
    }

    fn found(&self, actor: Actor, fd: u32) -> Found {
        match slot(fd.into()).map(|slot| self.slot(actor, slot).thing) {
            Some(Thing::Token { instance, masks }) => Found::Token(self.permitted(instance, masks)),
            None if fd < 3 => Found::Other,
            // A mount is opened with O_PATH.
            None | Some(Thing::Nothing | Thing::Mount(_)) => Found::NotOpen,
            Some(_) => Found::Other,
        }
    }

    /// Whether a process has CAP_SYS_ADMIN in the initial user namespace.
    fn may_delegate(&self, actor: Actor) -> bool {
        const SYS_ADMIN: u8 = 1 << 3;
        actor == Actor::Manager && self.caps[actor as usize].0 & SYS_ADMIN != 0
    }

    /// How a process stands to tokens of the container.
    fn caller(&self, actor: Actor) -> crate::case::Caller {
        crate::case::Caller {
            outside: actor == Actor::Manager,
            disabled: self.disabled,
            caps: match actor {
                Actor::Nested => 0,
                _ => self.caps[actor as usize].0,
            },
        }
    }

    fn expect_masks(&self, masks: Masks, told: &str) -> Result<(), String> {
        let expected = masks.map(|mask| format!("{mask:#x}")).join(",");
        let seen = told.split(' ').next().unwrap_or_default();
        expect(seen == expected, || format!("must permit {expected}"))
    }

    /// Takes what a step has come to on the Rust kernel for what is there now.
    fn follow(&mut self, step: &Step, rust: &Outcome) {
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

/// The slot of the map that a program of the arena reads.
const MAP_OF_PROGRAMS: u32 = 4;

fn reads_map(attributes: &Attributes) -> bool {
    attributes.command == Command::ProgLoad
        && attributes.get(guest::attr::prog_load::insns) == arena::program(3)
}

/// A process of the user namespace that this one is of.
fn namespace(actor: Actor) -> Actor {
    match actor {
        Actor::Worker => Actor::Container,
        other => other,
    }
}

/// Whether nothing is odd about attributes: the rules say nothing of such that are.
fn is_plain(attributes: &Attributes) -> bool {
    attributes.size.is_none() && attributes.beyond.is_empty()
}

/// Whether a command may get EPERM for what it asks for beside its token.
fn can_be_refused_later(attributes: &Attributes) -> bool {
    match attributes.command {
        Command::BtfLoad | Command::BtfGetFdById => false,
        // For its flags, or for a device.
        Command::MapCreate => {
            let odd = [map_create::map_flags, map_create::map_ifindex];
            odd.iter().any(|field| attributes.get(*field) & 0xffff != 0)
        }
        _ => true,
    }
}

fn expect(is_so: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if is_so {
        Ok(())
    } else {
        Err(why())
    }
}

/// A divergence for people: the sequence up to it, and what it came to on both kernels.
pub fn tell(steps: &[Step], [c, rust]: [&[Outcome]; 2], divergence: &Divergence) -> String {
    let mut text = String::new();
    for (index, step) in steps.iter().enumerate().take(divergence.step + 1) {
        let [c, rust] = [&c[index], &rust[index]].map(Outcome::explained);
        let came_to = if c == rust {
            c
        } else {
            format!("C: {c}; Rust: {rust}")
        };
        text.push_str(&format!("{step}\n#   {came_to}\n"));
    }
    text.push_str(&format!("# {}\n", divergence.why));
    text
}

/// Reads a file with its name in what goes wrong.
pub fn read(path: &std::path::Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}
