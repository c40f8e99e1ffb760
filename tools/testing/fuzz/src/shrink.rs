// SPDX-License-Identifier: GPL-2.0

//! Sequences that are smaller than one, to find the smallest that still shows what it shows.

use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use clap::Args;

use crate::bytes::Bytes;
use crate::run::read;
use crate::step;
use crate::step::Act;
use crate::step::Actor;
use crate::step::Step;

/// Make smaller sequences of one; none if there are none
#[derive(Args)]
pub struct Shrink {
    sequence: PathBuf,
    sequences: PathBuf,
}

impl Shrink {
    pub fn run(&self) -> Result<()> {
        let of = step::read(&read(&self.sequence)?)?;
        let smaller = of.iter().flat_map(|steps| reductions(steps));
        let smaller: String = smaller.map(|steps| step::text(&steps)).collect();
        std::fs::write(&self.sequences, smaller)
            .with_context(|| self.sequences.display().to_string())
    }
}

/// How much there is to read of a sequence.
pub fn weight(steps: &[Step]) -> usize {
    let texts = steps.iter().map(|step| step.to_string().len());
    1000 * steps.len() + texts.sum::<usize>()
}

/// Smaller ones: what the last step needs, without each run of steps, and with each step made simpler. The last step is the
/// one that shows something, and stays.
pub fn reductions(steps: &[Step]) -> Vec<Vec<Step>> {
    let Some((last, before)) = steps.split_last() else {
        return Vec::new();
    };
    let mut smaller = vec![needed(steps)];
    const SHORT: usize = 60;
    if steps.len() > SHORT && smaller[0].len() < steps.len() {
        return smaller;
    }
    let mut length = before.len();
    while length > 0 {
        for start in (0..before.len()).step_by(length.div_ceil(2)) {
            let end = (start + length).min(before.len());
            let rest = before[..start].iter().chain(&before[end..]);
            smaller.push(rest.chain([last]).cloned().collect());
        }
        length /= 2;
    }
    // Any two: a step and what undoes it.
    for first in 0..before.len().min(SHORT) {
        for second in first + 1..before.len() {
            let mut rest = steps.to_vec();
            rest.remove(second);
            rest.remove(first);
            smaller.push(rest);
        }
    }
    for (index, step) in steps.iter().enumerate() {
        for simpler in simpler(step) {
            let mut steps = steps.to_vec();
            steps[index] = simpler;
            smaller.push(steps);
        }
    }
    let size = weight(steps);
    smaller.retain(|steps| weight(steps) < size);
    smaller
}

/// The steps whose descriptors the last one uses, and those that these use, and what changes the processes that do.
fn needed(steps: &[Step]) -> Vec<Step> {
    let mut wanted: Vec<(Actor, u32)> = Vec::new();
    let mut kept: Vec<Step> = Vec::new();
    // Of the steps that change a process, the last before one that is kept.
    let mut callers: Vec<Actor> = Vec::new();
    let mut asks_sysctl = false;
    for (index, step) in steps.iter().enumerate().rev() {
        let (uses, fills) = step.act.slots();
        let made = match &step.act {
            Act::Pass { slot, actor } => Some((*actor, *slot)),
            _ => fills.map(|slot| (step.actor, slot)),
        };
        let is_last = index + 1 == steps.len();
        let makes = made.is_some_and(|made| wanted.contains(&made));
        let is_kept = match &step.act {
            // A context may have been passed, under the same number.
            Act::Create { context } | Act::Reconfigure { context } => {
                wanted.iter().any(|(_, wanted)| wanted == context)
            }
            Act::MountData { place, .. } | Act::Remount { place, .. } => {
                let next = kept.last().map(|step| &step.act);
                matches!(next, Some(Act::Line { place: at }) if at == place)
                    || matches!(next, Some(Act::Remount { .. }))
            }
            Act::Attach { .. } => {
                let next = kept.last().map(|step| &step.act);
                matches!(next, Some(Act::Line { .. }))
            }
            Act::Hold { .. } => callers.contains(&step.actor),
            Act::Disable { .. } => asks_sysctl,
            act => act
                .option()
                .is_some_and(|(context, _)| wanted.iter().any(|(_, wanted)| *wanted == context)),
        };
        if !is_last && !makes && !is_kept {
            continue;
        }
        wanted.retain(|wanted| Some(*wanted) != made);
        wanted.extend(uses.into_iter().map(|slot| (step.actor, slot)));
        match &step.act {
            Act::Hold { .. } => callers.retain(|actor| *actor != step.actor),
            Act::Disable { .. } => asks_sysctl = false,
            _ => callers.push(step.actor),
        }
        asks_sysctl |= matches!(step.act, Act::Bpf { .. });
        kept.push(step.clone());
    }
    kept.reverse();
    kept
}

/// A step with less in it.
fn simpler(step: &Step) -> Vec<Step> {
    let with = |act| step.actor.does(act);
    match &step.act {
        Act::Bpf { to, attributes } => {
            let mut all = Vec::new();
            let (end, length) = (attributes.command.end(), attributes.attr.bytes.len());
            let fields = attributes.command.fields().iter();
            let fields = fields.map(|field| field.at..field.at + field.size);
            for range in fields
                .chain(std::iter::once(end..length))
                .filter(|range| range.end <= length)
            {
                let mut less = attributes.clone();
                less.attr.bytes[range].fill(0);
                less.attr.trim(end);
                all.push(less);
            }
            let mut less = attributes.clone();
            less.common = None;
            all.push(less.clone());
            less.fill = 0;
            less.attr.size = end as u32;
            all.push(less);
            let acts = all.into_iter().map(|attributes| Act::Bpf {
                to: *to,
                attributes,
            });
            acts.map(with).collect()
        }
        Act::Set {
            context,
            key,
            value,
        } => {
            let acts = parts(value, b':').into_iter().map(|value| Act::Set {
                context: *context,
                key: key.clone(),
                value,
            });
            acts.map(with).collect()
        }
        Act::MountData { place, data } => {
            let place = *place;
            let parts = parts(data, b',').into_iter();
            parts
                .map(|data| with(Act::MountData { place, data }))
                .collect()
        }
        Act::Remount { place, data } => {
            let place = *place;
            let parts = parts(data, b',').into_iter();
            parts
                .map(|data| with(Act::Remount { place, data }))
                .collect()
        }
        Act::Reopen { slot, flags } => {
            let slot = *slot;
            let fewer = flags.iter().map(|flag| flags.difference(flag));
            fewer
                .map(|flags| with(Act::Reopen { slot, flags }))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// Each item of a list, each two, all but one, and without each run of bytes, if it is short.
fn parts(bytes: &[u8], separator: u8) -> Vec<Bytes> {
    const SHORT: usize = 48;
    let items: Vec<&[u8]> = bytes.split(|byte| *byte == separator).collect();
    let mut parts = Vec::new();
    for first in 0..items.len() {
        parts.push(items[first].to_vec());
        parts.push(
            [&items[..first], &items[first + 1..]]
                .concat()
                .join(&separator),
        );
        for second in first + 1..items.len().min(first + SHORT) {
            parts.push([items[first], items[second]].join(&separator));
        }
    }
    for start in 0..bytes.len().min(SHORT) {
        for end in start + 1..=bytes.len().min(SHORT) {
            parts.push([&bytes[..start], &bytes[end..]].concat());
        }
    }
    parts.retain(|part| part.len() < bytes.len());
    parts.into_iter().map(Bytes).collect()
}
