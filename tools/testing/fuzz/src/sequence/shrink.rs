// SPDX-License-Identifier: GPL-2.0

//! Sequences that are smaller than one, to find the smallest that still shows what it shows.

use crate::sequence::step::Act;
use crate::sequence::step::Actor;
use crate::sequence::step::Step;

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
    for first in 0..before.len() {
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
    let mut kept = Vec::new();
    for (index, step) in steps.iter().enumerate().rev() {
        let (uses, fills) = step.act.slots();
        let passed = match &step.act {
            Act::Pass { slot, actor } => Some((*actor, *slot)),
            _ => fills.map(|slot| (step.actor, slot)),
        };
        let is_last = index + 1 == steps.len();
        let makes = passed.is_some_and(|made| wanted.contains(&made));
        let changes = match &step.act {
            Act::Set { context: slot, .. }
            | Act::Create { context: slot }
            | Act::Reconfigure { context: slot } => {
                // A context may have been passed, under the same number.
                wanted.iter().any(|(_, wanted)| wanted == slot)
            }
            Act::Caps(_) | Act::Disabled(_) => true,
            _ => false,
        };
        if is_last || makes || changes {
            wanted.extend(uses.into_iter().map(|slot| (step.actor, slot)));
            kept.push(step.clone());
        }
    }
    kept.reverse();
    kept
}

/// A step with less in it.
fn simpler(step: &Step) -> Vec<Step> {
    let with = |act: Act| Step {
        actor: step.actor,
        act,
    };
    match &step.act {
        Act::Bpf { to, attributes } => {
            let mut all = Vec::new();
            for (field, _) in &attributes.fields {
                let mut less = attributes.clone();
                less.set(*field, 0);
                all.push(less);
            }
            let mut less = attributes.clone();
            less.common = false;
            less.beyond.clear();
            all.push(less.clone());
            less.size = None;
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
            let items = value.split(':').filter(|item| item.len() < value.len());
            let acts = items.map(|item| Act::Set {
                context: *context,
                key: key.clone(),
                value: item.to_owned(),
            });
            acts.map(with).collect()
        }
        _ => Vec::new(),
    }
}
