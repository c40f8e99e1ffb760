// SPDX-License-Identifier: GPL-2.0

//! Sections 10.1 to 10.3 of the design at once: chains of tokens from tokens, while the delegation changes. By a model, a
//! token never permits more than any that it was made from, nor more than its instance delegates now; the kernel is asked
//! what it permits, and tries it.
//!
//! The choices are the same in each run; `SEED` makes others.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use guest::bpf;
use guest::bpf::AttachType;
use guest::bpf::MapType;
use guest::bpf::Masks;
use guest::bpf::ProgType;
use guest::container::Delegation;
use guest::container::Instance;
use guest::managed;
use guest::managed::Manager;
use guest::restrict;
use guest::sys::Command;
use libtest_mimic::Trial;
use rustix::io::Errno;

use super::tests;
use super::usage;

/// Of the Rust kernel alone.
pub fn tests() -> Vec<Trial> {
    tests![never_more_than_the_source_nor_the_instance]
}

const STEPS: usize = 400;

/// The most tokens at a time.
const MOST: usize = 24;

/// xorshift64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 32) as usize % end
    }

    /// Mostly ones, so that something is left of several at the end of a chain.
    fn mask(&mut self) -> u64 {
        match self.below(16) {
            0 => 0,
            1..4 => u64::MAX,
            _ => self.next() | self.next() | self.next(),
        }
    }

    fn masks(&mut self) -> Masks {
        Masks::from([(); 4].map(|()| self.mask()))
    }
}

/// A token, and what the model knows of it.
struct Node {
    token: OwnedFd,
    own: Masks,
    /// What those permitted of themselves that it was made from, and what the instance delegated at each of these times.
    bounds: Vec<Masks>,
}

struct World<'a> {
    instance: Instance,
    manager: &'a Manager,
    delegated: Masks,
    nodes: Vec<Node>,
    rng: Rng,
    granted: usize,
    refused: usize,
}

fn never_more_than_the_source_nor_the_instance() {
    const SEED: u64 = 0x2545_f491_4f6c_dd1d;
    let seed = std::env::var("SEED").ok();
    let seed = seed.map_or(SEED, |seed| seed.parse().expect("SEED is a number"));
    managed::run(&Delegation::ANY, |instance, manager| {
        let mut world = World {
            instance,
            manager,
            delegated: Masks::ALL,
            nodes: Vec::new(),
            rng: Rng(seed | 1),
            granted: 0,
            refused: 0,
        };
        let mut longest = 0;
        for step in 0..STEPS {
            let what = world.change();
            let longest_now = world.nodes.iter().map(|node| node.bounds.len()).max();
            longest = longest.max(longest_now.unwrap_or(0));
            for _ in 0..2 {
                world.check(&format!("seed {seed}, step {step}, after {what}"));
            }
        }
        let World {
            granted, refused, ..
        } = world;
        assert!(granted > STEPS / 4, "{granted} uses were granted");
        assert!(refused > STEPS / 4, "{refused} uses were refused");
        assert!(longest > 8, "chains of {longest} tokens");
    });
}

impl World<'_> {
    fn change(&mut self) -> &'static str {
        match self.rng.below(10) {
            _ if self.nodes.is_empty() => self.create(),
            0..2 => self.create(),
            2..6 => self.derive(),
            6..9 => self.remount(),
            _ => self.close(),
        }
    }

    fn create(&mut self) -> &'static str {
        let restricted = self.rng.below(4) != 0;
        let wanted = if restricted {
            self.rng.masks()
        } else {
            Masks::ALL
        };
        let made = if restricted {
            restrict::token(&self.instance.root, &wanted)
        } else {
            bpf::token_create(&self.instance.root)
        };
        self.add(made, self.delegated & wanted, vec![self.delegated, wanted]);
        "a token from the BPF FS"
    }

    fn derive(&mut self) -> &'static str {
        // Rather the last ones, which makes long chains.
        let count = self.nodes.len();
        let index = self.rng.below(count).max(self.rng.below(count));
        let wanted = self.rng.masks();
        let source = &self.nodes[index];
        let made = restrict::token(&source.token, &wanted);
        let mut bounds = source.bounds.clone();
        let own = source.own & self.delegated & wanted;
        bounds.extend([source.own, self.delegated, wanted]);
        self.add(made, own, bounds);
        "a token from a token"
    }

    fn add(&mut self, made: Result<OwnedFd, Errno>, own: Masks, bounds: Vec<Masks>) {
        if own == Masks::NONE {
            assert_eq!(made.err(), Some(Errno::NOENT), "nothing is left");
            return;
        }
        let token = made.unwrap_or_else(|errno| panic!("{own:x?}: {errno}"));
        self.nodes.push(Node { token, own, bounds });
        if self.nodes.len() > MOST {
            self.close();
        }
    }

    fn remount(&mut self) -> &'static str {
        let named = 1 + self.rng.below(15);
        let widest = self.rng.below(3) == 0;
        let wanted = if widest { Masks::ALL } else { self.rng.masks() };
        let mut words = self.delegated.words();
        let mut options = Vec::new();
        let all = wanted.options().into_iter().zip(wanted.words());
        for (index, ((option, value), mask)) in all.enumerate() {
            if named & (1 << index) != 0 {
                words[index] = mask;
                options.push((option, value));
            }
        }
        let options: Vec<_> = options
            .iter()
            .map(|(option, value)| (*option, &**value))
            .collect();
        assert_eq!(
            self.manager.remount(&self.instance, &options),
            Ok(()),
            "{options:?}"
        );
        self.delegated = Masks::from(words);
        "a remount"
    }

    fn close(&mut self) -> &'static str {
        let index = self.rng.below(self.nodes.len());
        self.nodes.remove(index);
        "a close"
    }

    /// Asks the kernel about one of the tokens.
    fn check(&mut self, when: &str) {
        if self.nodes.is_empty() {
            return;
        }
        let Node { token, own, bounds } = &self.nodes[self.rng.below(self.nodes.len())];
        let permits = bpf::masks(token);
        for bound in bounds.iter().chain([&self.delegated]) {
            assert!(
                permits.is_within(bound),
                "{when}: {permits:x?}, not within {bound:x?}"
            );
        }
        assert_eq!(permits, *own & self.delegated, "{when}");
        for _ in 0..4 {
            let probe = PROBES[self.rng.below(PROBES.len())];
            let expected = if probe.is_within(&permits) {
                self.granted += 1;
                Ok(())
            } else {
                self.refused += 1;
                Err(Errno::PERM)
            };
            assert_eq!(
                probe.attempt(token.as_raw_fd()),
                expected,
                "{when}: {probe:?} of {permits:x?}"
            );
        }
    }
}

/// A use of a token, and what it takes.
#[derive(Clone, Copy, Debug)]
enum Probe {
    Map(MapType),
    Prog(ProgType, AttachType),
    Btf,
}

const PROBES: [Probe; 11] = [
    Probe::Map(MapType::Hash),
    Probe::Map(MapType::Array),
    Probe::Map(MapType::Devmap),
    Probe::Map(MapType::Stack),
    Probe::Map(MapType::Ringbuf),
    Probe::Prog(ProgType::SocketFilter, AttachType::CgroupInetIngress),
    Probe::Prog(ProgType::SchedCls, AttachType::CgroupInetIngress),
    Probe::Prog(ProgType::CgroupSkb, AttachType::CgroupInetIngress),
    Probe::Prog(ProgType::Xdp, AttachType::CgroupInetIngress),
    Probe::Prog(ProgType::Xdp, AttachType::Xdp),
    Probe::Btf,
];

impl Probe {
    fn is_within(self, masks: &Masks) -> bool {
        let has = |mask: u64, bit: u32| mask & (1 << bit) != 0;
        match self {
            Self::Map(map_type) => {
                has(masks.cmds, Command::MapCreate as u32) && has(masks.maps, map_type as u32)
            }
            Self::Prog(prog_type, attach_type) => {
                has(masks.cmds, Command::ProgLoad as u32)
                    && has(masks.progs, prog_type as u32)
                    && has(masks.attachs, attach_type as u32)
            }
            Self::Btf => has(masks.cmds, Command::BtfLoad as u32),
        }
    }

    fn attempt(self, token: RawFd) -> Result<(), Errno> {
        match self {
            Self::Map(map_type) => bpf::map_create(map_type, Some(token)),
            Self::Prog(prog_type, attach_type) => {
                bpf::prog_load(&usage::prog(prog_type, attach_type), Some(token))
            }
            Self::Btf => bpf::btf_load(&usage::btf(), Some(token)),
        }
        .map(drop)
    }
}
