// SPDX-License-Identifier: GPL-2.0

//! Mount options made by chance: most of them nearly right.

use fastrand::Rng;
use guest::attr::token_create;
use guest::sys::Command;

use crate::attributes::Attributes;
use crate::bytes::Bytes;
use crate::items::Items;
use crate::names::Names;
use crate::names::KINDS;
use crate::options;
use crate::options::COOKIE;
use crate::step::Act;
use crate::step::Actor;
use crate::step::Caps;
use crate::step::Step;
use crate::step::FIRST;

/// Who sets an option.
#[derive(Clone, Copy, PartialEq)]
enum Setter {
    /// Root of the container, which has CAP_SYS_ADMIN only there.
    Container,
    /// Root of the initial user namespace.
    Manager,
    /// The same without CAP_SYS_ADMIN.
    Unprivileged,
}

/// Makes options.
pub struct Grammar<'a> {
    items: Items<'a>,
}

impl<'a> Grammar<'a> {
    pub fn new(names: &'a Names, rng: Rng) -> Self {
        Self {
            items: Items { names, rng },
        }
    }

    /// A sequence, and how many delegation options are in it.
    pub fn sequence(&mut self) -> (Vec<Step>, usize) {
        /// Fewer processes are made for several together.
        const TOGETHER: usize = 12;
        let mut steps = Vec::new();
        let mut made = 0;
        for _ in 0..TOGETHER {
            made += if self.items.one_in(12) {
                self.data(&mut steps)
            } else if self.items.one_in(24) {
                self.remount(&mut steps)
            } else {
                self.context(&mut steps)
            };
        }
        (steps, made)
    }

    /// Options set one by one on a context of the container, then mounted there, with all that is to be seen.
    fn context(&mut self, steps: &mut Vec<Step>) -> usize {
        const TOKEN: u32 = 3;
        let [context, mount, root, place] = [0, 1, 2, 0];
        let most = if self.items.one_in(2) { 8 } else { 80 };
        let count = self.items.rng.usize(1..=most);
        let all_allowed = self.items.one_in(2);
        let settings = (0..count).map(|_| self.setting(context, all_allowed));
        let mut settings: Vec<_> = settings.collect();
        // What the container sets comes first.
        settings.sort_by_key(|(by, _)| *by != Setter::Container);
        let mut step = |actor: Actor, act| steps.push(actor.does(act));
        let (inside, manager) = (Actor::Container, Actor::Manager);
        step(inside, Act::Open { to: context });
        let mut caps = Caps::all();
        let mut made = 0;
        let mut is_passed = false;
        for (by, set) in settings {
            let kind = set.option().and_then(|(_, key)| options::kind_of(key));
            made += usize::from(kind.is_some());
            if by == Setter::Container {
                step(inside, set);
                continue;
            }
            if !std::mem::replace(&mut is_passed, true) {
                let (slot, actor) = (context, manager);
                step(inside, Act::Pass { slot, actor });
            }
            let held = match by {
                Setter::Unprivileged => Caps::all().difference(Caps::SYS_ADMIN),
                _ => Caps::all(),
            };
            if std::mem::replace(&mut caps, held) != held {
                step(manager, Act::Hold { caps: held });
            }
            step(manager, set);
        }
        if caps != Caps::all() {
            step(manager, Act::Hold { caps: Caps::all() });
        }
        if !is_passed {
            let (slot, actor) = (context, manager);
            step(inside, Act::Pass { slot, actor });
        }
        step(manager, Act::Create { context });
        let mut attributes = Attributes::new(Command::TokenCreate);
        attributes.set(token_create::bpffs_fd, (FIRST + root).into());
        for act in [
            Act::Mount { context, to: mount },
            Act::Root { mount, to: root },
            Act::Attach { mount, place },
            Act::Line { place },
            Act::Show { root },
            Act::Bpf {
                to: TOKEN,
                attributes,
            },
            Act::Detach { place },
            Act::Close { slot: mount },
            Act::Close { slot: root },
            Act::Close { slot: TOKEN },
        ] {
            step(inside, act);
        }
        made
    }

    fn setting(&mut self, context: u32, all_allowed: bool) -> (Setter, Act) {
        let by = match self.items.rng.u8(..20) {
            0..3 => Setter::Container,
            3..5 => Setter::Unprivileged,
            _ => Setter::Manager,
        };
        let (key, value) = if self.items.one_in(14) {
            (self.other_key(), self.other_value())
        } else {
            let kind = self.items.rng.usize(..KINDS.len());
            (
                KINDS[kind].option.into(),
                self.items.value(kind, all_allowed),
            )
        };
        let [key, value] = [key, value].map(|bytes| Bytes(without_zeros(bytes)));
        let set = match self.items.rng.u8(..100) {
            0 => Act::SetFlag { context, key },
            1 => {
                let slot = context;
                Act::SetFd { context, key, slot }
            }
            2 => Act::SetPath {
                context,
                key,
                slot: context,
                value,
            },
            3 => Act::SetBinary {
                context,
                key,
                value,
            },
            _ => Act::Set {
                context,
                key,
                value,
            },
        };
        (by, set)
    }

    fn data(&mut self, steps: &mut Vec<Step>) -> usize {
        let count = self.items.rng.usize(1..=8);
        let mut options = Vec::new();
        let mut made = 0;
        for _ in 0..count {
            if self.items.one_in(20) {
                options.push(
                    self.items
                        .pick(&["", "=", "=x", "delegate", "delegate_maps", "hash"])
                        .into(),
                );
                continue;
            }
            let kind = self.items.rng.usize(..KINDS.len());
            let value = match self.items.rng.u8(..20) {
                0 => self.items.long_value(kind, 4200),
                // Most must be accepted, as the first that is not is the last.
                1..4 => self.items.value(kind, true),
                _ => self.items.good_value(kind, false),
            };
            options.push([KINDS[kind].option.as_bytes(), b"=", &value].concat());
            made += 1;
        }
        let data = Bytes(without_zeros(options.join(&b',')));
        mounted(steps, data, None);
        made
    }

    fn remount(&mut self, steps: &mut Vec<Step>) -> usize {
        let (mount, made) = self.valid_data(0);
        let (remount, changed) = self.valid_data(6);
        mounted(steps, mount, Some(remount));
        made + changed
    }

    /// Options that are ours, all of which are accepted, but for one in so many.
    fn valid_data(&mut self, wrong: u32) -> (Bytes, usize) {
        let count = self.items.rng.usize(1..=5);
        let mut options = Vec::new();
        for _ in 0..count {
            if self.items.one_in(6) {
                let cookie = self.items.pick(&["0", "7", "0x7", "8"]);
                options.push(format!("{COOKIE}={cookie}").into_bytes());
                continue;
            }
            let kind = self.items.rng.usize(..KINDS.len());
            let value = match wrong {
                1.. if self.items.one_in(wrong) => self.items.value(kind, true),
                _ if self.items.one_in(6) => b"0".to_vec(),
                _ => self.items.good_value(kind, true),
            };
            options.push([KINDS[kind].option.as_bytes(), b"=", &value].concat());
        }
        (Bytes(without_zeros(options.join(&b','))), count)
    }

    /// A key that is not one of the four.
    fn other_key(&mut self) -> Vec<u8> {
        let key = self.items.pick(&[
            "delegate",
            "delegate_cmd",
            "DELEGATE_CMDS",
            "delegate_cmds ",
            "nodelegate_maps",
            "uid",
            "gid",
            "mode",
            "source",
            "",
        ]);
        if self.items.one_in(8) {
            return (0..self.items.rng.usize(1..300))
                .map(|_| self.items.rng.u8(..))
                .collect();
        }
        key.into()
    }

    fn other_value(&mut self) -> Vec<u8> {
        let values = [
            "0",
            "100000",
            "100001",
            "4294967295",
            "0700",
            "1777",
            "0x1ff",
            "x8",
            "",
            "any",
        ];
        self.items.pick(&values).into()
    }
}

/// A mount by `mount(2)`, in the initial user namespace, and what is to be seen of it.
fn mounted(steps: &mut Vec<Step>, data: Bytes, remount: Option<Bytes>) {
    let place = 0;
    let remount = remount.map(|data| Act::Remount { place, data });
    let acts = [Act::MountData { place, data }].into_iter().chain(remount);
    let acts = acts.chain([Act::Line { place }, Act::Detach { place }]);
    steps.extend(acts.map(|act| Actor::Manager.does(act)));
}

/// System calls take strings that end with a zero.
fn without_zeros(mut bytes: Vec<u8>) -> Vec<u8> {
    for byte in &mut bytes {
        *byte = (*byte).max(1);
    }
    bytes
}
