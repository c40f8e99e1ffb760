// SPDX-License-Identifier: GPL-2.0

//! What a step that has come to something makes of what a kernel is taken to hold.

use guest::sys::Command;

use crate::creation;
use crate::model::namespace;
use crate::model::FsContext;
use crate::model::Instance;
use crate::model::Masks;
use crate::model::Model;
use crate::model::Thing;
use crate::options;
use crate::options::Expected;
use crate::options::Named;
use crate::outcome::Outcome;
use crate::rules::Rule;
use crate::step::Act;
use crate::step::Actor;
use crate::step::Kind;
use crate::step::Step;

impl Model<'_> {
    /// Takes what a step has come to for what is there now.
    pub fn follow(&mut self, index: usize, step: &Step, came_to: &Outcome) {
        let actor = step.actor;
        if let Act::Create { context } = step.act {
            if let Thing::Context(context) = self.slot(actor, context) {
                // Who may not mount is told so first, and nothing has begun.
                let owner = self.instances[self.contexts[context].instance].owner;
                self.contexts[context].is_created |= self.may_mount(actor, owner);
            }
        }
        if let Act::MountData { place, data } = &step.act {
            // On both kernels, so that instances have the same numbers.
            let named = options::data(self.names, data, self.rules, None);
            let Named { masks, cookie, .. } = named.unwrap_or_default();
            let masks = masks.map(Option::unwrap_or_default);
            let instance = self.instance(actor, masks, cookie.unwrap_or_default());
            let is_known = came_to.is_ok() && named.is_some();
            self.places[actor as usize][*place as usize] = is_known.then_some(instance);
        }
        if !came_to.is_ok() {
            return;
        }
        let thing = |model: &Self, slot: u32| model.slot(actor, slot);
        let other = Thing::Other(index);
        let made = match &step.act {
            Act::Open { .. } => {
                let instance = self.instance(namespace(actor), [0; 4], 0);
                self.context(instance, None)
            }
            Act::Set {
                context,
                key,
                value,
            } => return self.set(actor, *context, (key, value)),
            Act::Mount { context, .. } => match thing(self, *context) {
                Thing::Context(context) => {
                    // From now on, it is one for a remount.
                    self.contexts[context].remount = Some([None; 4]);
                    Thing::Mount(self.contexts[context].instance)
                }
                _ => other,
            },
            Act::Root { mount, .. } => match thing(self, *mount) {
                Thing::Mount(instance) | Thing::Root(instance) => Thing::Root(instance),
                _ => other,
            },
            Act::Pick { root, .. } => match thing(self, *root) {
                Thing::Root(instance) | Thing::Mount(instance) => {
                    self.context(instance, Some([None; 4]))
                }
                _ => other,
            },
            Act::Reconfigure { context } => {
                let Thing::Context(context) = thing(self, *context) else {
                    return;
                };
                let context = &mut self.contexts[context];
                if let Some(named) = &mut context.remount {
                    let (instance, named) = (context.instance, std::mem::take(named));
                    self.remount(instance, named);
                }
                return;
            }
            Act::Remount { place, data } => {
                let remounted = self.remounted(actor, *place, data, self.rules);
                if let (Some(instance), Some((_, masks))) = (self.place(actor, *place), remounted) {
                    self.instances[instance].masks = masks;
                }
                return;
            }
            Act::Attach { mount, place } => {
                let instance = match thing(self, *mount) {
                    Thing::Mount(instance) => Some(instance),
                    _ => None,
                };
                self.places[actor as usize][*place as usize] = instance;
                return;
            }
            Act::Detach { place } => {
                self.places[actor as usize][*place as usize] = None;
                return;
            }
            Act::Bpf { attributes, .. } if attributes.command == Command::TokenCreate => {
                creation::outcome(self, actor, attributes).unwrap_or(other)
            }
            Act::Bpf { .. } => other,
            Act::Make { kind, of, .. } => match kind {
                Kind::Path => {
                    let token = matches!(thing(self, *of), Thing::Token { .. });
                    Thing::Path { token }
                }
                Kind::Tree => Thing::Tree,
                _ => other,
            },
            Act::Pass { slot, actor: to } => {
                self.slots[*to as usize][*slot as usize] = self.slot(actor, *slot);
                return;
            }
            Act::Close { slot } => {
                self.slots[actor as usize][*slot as usize] = Thing::Nothing;
                return;
            }
            Act::Hold { caps } => {
                self.caps[actor as usize] = *caps;
                return;
            }
            Act::Disable { disabled } => {
                self.disabled = *disabled;
                return;
            }
            _ => return,
        };
        if let (_, Some(to)) = step.act.slots() {
            self.slots[actor as usize][to as usize] = made;
        }
    }

    fn instance(&mut self, owner: Actor, masks: Masks, cookie: u64) -> usize {
        self.instances.push(Instance {
            owner,
            masks,
            cookie,
        });
        self.instances.len() - 1
    }

    fn context(&mut self, instance: usize, remount: Option<[Option<u64>; 4]>) -> Thing {
        self.contexts.push(FsContext {
            instance,
            is_created: false,
            remount,
            is_beyond_c: false,
        });
        Thing::Context(self.contexts.len() - 1)
    }

    fn set(&mut self, actor: Actor, context: u32, of: (&[u8], &[u8])) {
        let (expected, masks) = self.setting(actor, context, of, self.rules);
        let kind = options::kind_of(of.0);
        let (Some(kind), Thing::Context(context)) = (kind, self.slot(actor, context)) else {
            return;
        };
        if expected != Expected::Accepted {
            return;
        }
        let context = &mut self.contexts[context];
        match &mut context.remount {
            Some(named) => named[kind] = Some(masks[kind]),
            None => self.instances[context.instance].masks = masks,
        }
    }

    fn remount(&mut self, instance: usize, named: [Option<u64>; 4]) {
        if self.rules.has(Rule::Remount) {
            let masks = &mut self.instances[instance].masks;
            for (mask, named) in masks.iter_mut().zip(named) {
                *mask = named.unwrap_or(*mask);
            }
        }
    }
}
