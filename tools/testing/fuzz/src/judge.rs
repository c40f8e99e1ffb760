// SPDX-License-Identifier: GPL-2.0

//! Holds what a sequence came to on the two kernels against each other, and each against a model of the kernel.
//!
//! Both must give the same, step by step, but for what a rule accounts for. A step that uses what the kernels hold otherwise,
//! as a rule wants it, is not compared, but judged by the models; all else goes on to be compared.

use std::collections::BTreeMap;

use guest::sys::Command;
use rustix::io::Errno;

use crate::attributes::Attributes;
use crate::creation;
use crate::difference;
use crate::expected;
use crate::model::Model;
use crate::model::Thing;
use crate::names::Names;
use crate::options;
use crate::outcome::expect;
use crate::outcome::Outcome;
use crate::rules::Rule;
use crate::rules::Rules;
use crate::step::Act;
use crate::step::Actor;
use crate::step::OpenFlags;
use crate::step::Step;
use crate::template;

/// Where two kernels differ, and no rule says so.
pub struct Divergence {
    pub step: usize,
    pub why: String,
}

/// Both kernels.
pub struct Judge<'a> {
    c: Model<'a>,
    rust: Model<'a>,
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
) -> Option<Divergence> {
    let mut judge = Judge {
        c: Model::new(names, Rules::NONE),
        rust: Model::new(names, rules),
        used: BTreeMap::new(),
    };
    for (index, step) in steps.iter().enumerate() {
        if let Err(why) = judge.step(step, &c[index], &rust[index]) {
            return Some(Divergence { step: index, why });
        }
        judge.c.follow(index, step, &c[index]);
        judge.rust.follow(index, step, &rust[index]);
    }
    for (rule, count) in judge.used {
        *used.entry(rule).or_default() += count;
    }
    None
}

impl Judge<'_> {
    fn explain(&mut self, rule: Rule) {
        *self.used.entry(rule).or_default() += 1;
    }

    fn step(&mut self, step: &Step, c: &Outcome, rust: &Outcome) -> Result<(), String> {
        if rust.gone {
            return Err("the process was killed".to_owned());
        }
        expected::of(&self.c, step, c).map_err(|why| format!("C {why}"))?;
        expected::of(&self.rust, step, rust).map_err(|why| format!("Rust {why}"))?;
        let actor = step.actor;
        let (mut uses, _) = step.act.slots();
        if matches!(&step.act, Act::Bpf { attributes, .. } if template::reads_map(attributes)) {
            uses.push(template::MAP_OF_PROGRAMS);
        }
        let mut differs = uses.iter().any(|slot| self.differs(actor, *slot));
        if let Some(rule) = self.beyond_c(step) {
            self.explain(rule);
            differs = true;
            let used = uses.first().map(|slot| self.rust.slot(actor, *slot));
            if let Some(Thing::Context(context)) = used {
                self.rust.contexts[context].is_beyond_c = true;
            }
        }
        match &step.act {
            Act::Bpf { attributes, .. } => self.call(actor, attributes, differs, c, rust),
            Act::Set {
                context,
                key,
                value,
            } if !differs => {
                let of = (&**key, &**value);
                let setting = |model: &Model<'_>, rules| model.setting(actor, *context, of, rules);
                let of_c = setting(&self.c, self.c.rules);
                let of_rust = setting(&self.rust, self.rust.rules);
                let rules = self.rust.rules;
                let matter = rules.that_matter(|rules| setting(&self.rust, rules));
                matter.into_iter().for_each(|rule| self.explain(rule));
                expect(of_c != of_rust || c == rust, must_be_the_same)
            }
            Act::MountData { data, .. } => {
                let of = |rules| options::data(self.rust.names, data, rules, None);
                let (of_c, of_rust) = (of(self.c.rules), of(self.rust.rules));
                let matter = self.rust.rules.that_matter(of);
                matter.into_iter().for_each(|rule| self.explain(rule));
                // The VFS may refuse an option behind one that only Rust refuses.
                let is_other = of_c.is_some() && of_rust.is_none();
                expect(!is_other, || {
                    "the models do not come to the same option".to_owned()
                })?;
                expect(of_c != of_rust || c == rust, must_be_the_same)
            }
            Act::Remount { place, data } => {
                let of = |model: &Model<'_>, rules| model.remounted(actor, *place, data, rules);
                let (of_c, of_rust) = (of(&self.c, self.c.rules), of(&self.rust, self.rust.rules));
                let matter = self.rust.rules.that_matter(|rules| of(&self.rust, rules));
                matter.into_iter().for_each(|rule| self.explain(rule));
                let is_known = of_c.is_some() || of_rust.is_some();
                expect(is_known || c.errno == rust.errno, must_be_the_same)
            }
            Act::Line { .. } | Act::Show { .. } => {
                let others = [c, rust].map(|saw| (saw.errno, expected::others(&saw.told)));
                let is_same = others[0] == others[1];
                let differs = self.things_differ(step) || self.places_differ(step);
                expect(is_same || differs, must_be_the_same)
            }
            Act::Reopen { slot, flags } => self.reopen(actor, *slot, *flags, c, rust),
            _ => expect(
                differs || c == rust || self.places_differ(step),
                must_be_the_same,
            ),
        }
    }

    /// Whether something may be another thing on the C kernel, or permit something else.
    fn differs(&self, actor: Actor, slot: u32) -> bool {
        let (c, rust) = (self.c.slot(actor, slot), self.rust.slot(actor, slot));
        let of = |instance: usize| self.c.instances[instance] != self.rust.instances[instance];
        c != rust
            || match c {
                Thing::Root(instance) | Thing::Token { instance, .. } => of(instance),
                Thing::Context(context) => {
                    let contexts = [&self.c, &self.rust].map(|model| model.contexts[context]);
                    contexts[0] != contexts[1]
                        || contexts[0].remount.is_some() && of(contexts[0].instance)
                }
                Thing::Nothing
                | Thing::Mount(_)
                | Thing::Path { .. }
                | Thing::Tree
                | Thing::Other(_) => false,
            }
    }

    /// Whether a step is about other things on the two kernels, whatever these permit.
    fn things_differ(&self, step: &Step) -> bool {
        let (uses, _) = step.act.slots();
        let slot = |model: &Model<'_>, slot| model.slot(step.actor, slot);
        uses.into_iter()
            .any(|used| slot(&self.c, used) != slot(&self.rust, used))
    }

    /// Whether something is mounted on one of the kernels only, by `mount(2)`.
    fn places_differ(&self, step: &Step) -> bool {
        let (Act::Line { place } | Act::Detach { place }) = step.act else {
            return false;
        };
        let known = |model: &Model<'_>| model.place(step.actor, place).is_some();
        known(&self.c) != known(&self.rust)
    }

    /// By which rule a step does what the C kernel does not.
    fn beyond_c(&self, step: &Step) -> Option<Rule> {
        let rules = self.rust.rules;
        match &step.act {
            Act::Bpf { attributes, .. } if attributes.command == Command::TokenCreate => {
                let is_new = creation::is_beyond_c(attributes);
                (is_new && rules.has(Rule::Restrict)).then_some(Rule::Restrict)
            }
            Act::Reconfigure { context } => {
                let Thing::Context(context) = self.rust.slot(step.actor, *context) else {
                    return None;
                };
                let named = self.rust.contexts[context].remount?;
                let names = named.iter().any(Option::is_some);
                (names && rules.has(Rule::Remount)).then_some(Rule::Remount)
            }
            act => {
                let (context, key) = act.option()?;
                let Thing::Context(context) = self.rust.slot(step.actor, context) else {
                    return None;
                };
                options::kind_of(key)?;
                self.rust.contexts[context].remount?;
                rules.has(Rule::Remount).then_some(Rule::Remount)
            }
        }
    }

    fn call(
        &mut self,
        actor: Actor,
        call: &Attributes,
        differs: bool,
        c: &Outcome,
        rust: &Outcome,
    ) -> Result<(), String> {
        let is_token = call.command == Command::TokenCreate;
        if is_token && creation::is_beyond_c(call) && self.rust.rules.has(Rule::Restrict) {
            let expected = difference::beyond_c(&self.rust, actor, call, c)?;
            return expect_exactly(rust, &expected);
        }
        if differs {
            return Ok(());
        }
        if template::is_of_it(call) && difference::is_of_container(&self.rust, actor, call) {
            let (expected, rule) = difference::expected(&self.rust, actor, call, [c, rust])?;
            rule.into_iter().for_each(|rule| self.explain(rule));
            return expect_exactly(rust, &expected);
        }
        // Of types and fields that the model knows less of, all but what the log says beyond C's.
        let mut without_log = rust.clone();
        without_log.written.clone_from(&c.written);
        without_log.common_written.clone_from(&c.common_written);
        without_log.log.clone_from(&c.log);
        expect_exactly(&without_log, c)
    }

    fn reopen(
        &mut self,
        actor: Actor,
        slot: u32,
        flags: OpenFlags,
        c: &Outcome,
        rust: &Outcome,
    ) -> Result<(), String> {
        let is_token = matches!(
            self.c.slot(actor, slot),
            Thing::Token { .. } | Thing::Path { token: true }
        );
        let is_contradictory = flags.contains(OpenFlags::CREAT | OpenFlags::DIRECTORY);
        let is_valid = !flags.contains(OpenFlags::PATH) && !is_contradictory;
        // C opens it; that it cannot be used with O_DIRECT, it finds afterwards.
        let is_direct = flags.contains(OpenFlags::DIRECT);
        let opened = if is_direct { libc::EINVAL } else { 0 };
        let mut expected = c.clone();
        if is_token && is_valid && c.errno == opened && self.rust.rules.has(Rule::D6) {
            expected.errno = Errno::NXIO.raw_os_error();
            self.explain(Rule::D6);
        }
        expect(self.differs(actor, slot) || *rust == expected, || {
            format!("must be {}", expected.explained())
        })
    }
}

fn must_be_the_same() -> String {
    "must be the same".to_owned()
}

fn expect_exactly(rust: &Outcome, expected: &Outcome) -> Result<(), String> {
    expect(rust == expected, || {
        format!("Rust must be {}", expected.explained())
    })
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
