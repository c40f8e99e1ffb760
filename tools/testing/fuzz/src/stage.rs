// SPDX-License-Identifier: GPL-2.0

//! Runs sequences: starts the processes, hands each step to the one that does it, and collects what came of it.

use std::cell::Cell;
use std::collections::HashSet;

use anyhow::Result;
use guest::container;
use guest::process::Child;
use guest::process::Link;
use rustix::process::Pid;

use crate::actor;
use crate::kcov::Kcov;
use crate::kcov::Kcovs;
use crate::memory::Memory;
use crate::outcome::Outcome;
use crate::step::Act;
use crate::step::Actor;
use crate::step::Step;

/// From one address to the next. The first of a process comes from 0.
pub type Edge = (u64, u64);

#[derive(Clone, Copy, PartialEq)]
pub enum Coverage {
    Kcov,
    None,
}

/// The processes that start others, where these are to be.
pub struct Stage<'a> {
    container: Link,
    nested: Link,
    memory: Memory,
    kcovs: &'a Kcovs,
    started: Vec<Pid>,
}

/// Makes a stage for `play`, which may tell what is reached.
pub fn with<T>(coverage: Coverage, play: impl FnOnce(&mut Stage<'_>) -> Result<T>) -> Result<T> {
    let kcovs: Kcovs = match coverage {
        Coverage::None => Vec::new(),
        Coverage::Kcov => {
            let kcovs = Actor::ALL.iter().map(|_| Kcov::open());
            kcovs.collect::<Result<_>>()?
        }
    };
    container::isolate_mounts();
    actor::make_places();
    let (nested, nested_end) = Link::pair();
    let ends = Cell::new(Some((nested, nested_end)));
    let there = |link: Link| {
        let (other, below) = ends.take().expect("the container's copy");
        drop(other);
        let child = Child::spawn(|| {
            container::enter_child();
            actor::supervise(&below, &kcovs);
        });
        drop(below);
        actor::supervise(&link, &kcovs);
        child.join();
    };
    container::two_sides(there, |link| {
        let (nested, below) = ends.take().expect("the manager's copy");
        drop(below);
        let mut stage = Stage {
            container: link,
            nested,
            memory: Memory::map()?,
            kcovs: &kcovs,
            started: Vec::new(),
        };
        play(&mut stage)
    })
}

impl Stage<'_> {
    /// Runs a sequence. Says what each step came to, and the edges by which that went through the kernel.
    pub fn run(&mut self, steps: &[Step]) -> (Vec<Outcome>, HashSet<Edge>) {
        self.kcovs.iter().for_each(|kcov| drop(kcov.take()));
        let mut links = [const { None }; Actor::ALL.len()];
        let mut outcomes = Vec::with_capacity(steps.len());
        let mut rest = steps;
        while let Some(first) = rest.first() {
            let together = together(rest);
            if together > 1 {
                let link = self.link(first.actor, &mut links);
                for step in &rest[..together] {
                    // Of one that is gone, no answer will come.
                    let _ = link.try_send(step.to_string().as_bytes());
                }
                outcomes.extend((0..together).map(|_| answer(link)));
            } else {
                outcomes.push(self.step(first, &mut links));
            }
            rest = &rest[together..];
        }
        for link in links.into_iter().flatten() {
            link.finish();
        }
        let mut acts = steps.iter().map(|step| &step.act);
        if acts.any(|act| matches!(act, Act::Disable { .. })) {
            actor::set_disabled(true).expect("sysctl");
        }
        let reached = self.kcovs.iter().flat_map(edges).collect();
        (outcomes, reached)
    }

    fn step(&mut self, step: &Step, links: &mut [Option<Link>; Actor::ALL.len()]) -> Outcome {
        let link = self.link(step.actor, links);
        let outcome = told(link, &step.to_string());
        if let (Act::Pass { slot, actor }, true) = (&step.act, outcome.is_ok()) {
            let fd = link.recv_fd();
            let link = self.link(*actor, links);
            link.send(format!("{} {slot}", actor::TAKE).as_bytes());
            link.send_fd(fd);
            return answer(link);
        }
        outcome
    }

    /// The link to an actor, who starts if it has not.
    fn link<'l>(
        &mut self,
        actor: Actor,
        links: &'l mut [Option<Link>; Actor::ALL.len()],
    ) -> &'l Link {
        links[actor as usize].get_or_insert_with(|| {
            let (link, end) = Link::pair();
            let supervisor = match actor {
                Actor::Manager => {
                    let kcov = self.kcovs.get(actor as usize);
                    actor::start(end, &mut self.memory, kcov, &mut self.started);
                    return link;
                }
                Actor::Container | Actor::Worker => &self.container,
                Actor::Nested => &self.nested,
            };
            supervisor.send(&[actor as u8]);
            supervisor.send_fd(end);
            link
        })
    }
}

/// How many steps may be sent to one process before its answers are read: neither side is to wait for the other to read.
fn together(steps: &[Step]) -> usize {
    const MOST: usize = 24;
    let actor = steps[0].actor;
    let is_small = |step: &&Step| match &step.act {
        Act::Pass { .. } | Act::MountData { .. } | Act::Remount { .. } => false,
        _ => step.actor == actor,
    };
    let small = steps.iter().take(MOST).take_while(is_small);
    small.count().max(1)
}

fn told(link: &Link, message: &str) -> Outcome {
    match link.try_send(message.as_bytes()) {
        Ok(()) => answer(link),
        Err(_) => Outcome::gone(),
    }
}

fn answer(link: &Link) -> Outcome {
    let answer = link.try_receive();
    answer.map_or(Outcome::gone(), |answer| {
        Outcome::parse(&String::from_utf8_lossy(&answer)).expect("an outcome")
    })
}

fn edges(kcov: &Kcov) -> impl Iterator<Item = Edge> + '_ {
    kcov.take().scan(0, |before, address| {
        let from = std::mem::replace(before, address);
        Some((from, address))
    })
}
