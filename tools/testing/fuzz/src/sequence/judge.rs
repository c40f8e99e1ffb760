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
use crate::command::Request;
use crate::names::shown;
use crate::names::Names;
use crate::options;
use crate::rules::Rule;
use crate::rules::Rules;
use crate::sequence::arena;
use crate::sequence::attributes::Attributes;
use crate::sequence::model::FsContext;
use crate::sequence::model::Masks;
use crate::sequence::model::Model;
use crate::sequence::model::Slot;
use crate::sequence::model::Thing;
use crate::sequence::outcome::Outcome;
use crate::sequence::step::Act;
use crate::sequence::step::Actor;
use crate::sequence::step::Step;

/// Where two kernels differ, and no rule says so.
pub struct Divergence {
    pub step: usize,
    pub why: String,
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
    let mut model = Model::new(names, rules);
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

    fn expect_masks(&self, masks: Masks, told: &str) -> Result<(), String> {
        let expected = masks.map(|mask| format!("{mask:#x}")).join(",");
        let seen = told.split(' ').next().unwrap_or_default();
        expect(seen == expected, || format!("must permit {expected}"))
    }
}

/// The slot of the map that a program of the arena reads.
const MAP_OF_PROGRAMS: u32 = 4;

fn reads_map(attributes: &Attributes) -> bool {
    attributes.command == Command::ProgLoad
        && attributes.get(guest::attr::prog_load::insns) == arena::program(3)
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
