// SPDX-License-Identifier: GPL-2.0

//! What the model of a kernel says of a step there, as far as it does.

use guest::attr::map_create;
use guest::sys::Command;
use rustix::io::Errno;

use crate::attributes::Attributes;
use crate::command::admission;
use crate::command::well_formed;
use crate::command::Request;
use crate::creation;
use crate::model::FsContext;
use crate::model::Model;
use crate::model::Thing;
use crate::names::shown;
use crate::options;
use crate::options::Expected;
use crate::outcome::expect;
use crate::outcome::Outcome;
use crate::step::Act;
use crate::step::Actor;
use crate::step::Step;

pub fn of(model: &Model<'_>, step: &Step, saw: &Outcome) -> Result<(), String> {
    if saw.gone {
        return Ok(());
    }
    let actor = step.actor;
    match &step.act {
        Act::Tell { slot } => match model.slot(actor, *slot) {
            Thing::Token { instance, masks } => {
                let told = creation::told(model.names, model.permitted(instance, masks));
                expect(saw.told == told, || format!("must tell {told}"))
            }
            _ => Ok(()),
        },
        Act::Show { root } => match model.slot(actor, *root) {
            Thing::Root(instance) if saw.is_ok() => is_shown(model, instance, saw),
            _ => Ok(()),
        },
        Act::Line { place } => match model.place(actor, *place) {
            Some(instance) => is_shown(model, instance, saw),
            None => Ok(()),
        },
        Act::Set {
            context,
            key,
            value,
        } => {
            if let Thing::Context(context) = model.slot(actor, *context) {
                if model.contexts[context].remount.is_some() {
                    return Ok(());
                }
            }
            let (expected, _) = model.setting(actor, *context, (key, value), model.rules);
            is_set(model, &expected, saw)
        }
        Act::MountData { data, .. } => match options::data(model.names, data, model.rules, None) {
            Some(named) => is_mounted(named.errno, saw),
            None => Ok(()),
        },
        Act::Remount { place, data } => match model.remounted(actor, *place, data, model.rules) {
            Some((named, _)) => is_mounted(named.errno, saw),
            None => Ok(()),
        },
        Act::Reconfigure { context } => {
            let Thing::Context(context) = model.slot(actor, *context) else {
                return Ok(());
            };
            let FsContext {
                instance, remount, ..
            } = model.contexts[context];
            let named = remount.unwrap_or_default();
            let now = model.instances[instance].masks.iter();
            let mut changes = named.iter().zip(now);
            let changes = model.rules.has(crate::rules::Rule::Remount)
                && changes.any(|(named, now)| named.is_some_and(|named| named != *now));
            expect(
                !(changes && saw.is_ok()) || model.may_delegate(actor),
                || "lets somebody change what is not theirs".to_owned(),
            )
        }
        Act::Bpf { attributes, .. } if attributes.is_plain() && well_formed(attributes) => {
            command(model, actor, attributes, saw)
        }
        _ => Ok(()),
    }
}

/// Whether an option comes to what it must.
fn is_set(model: &Model<'_>, expected: &Expected, saw: &Outcome) -> Result<(), String> {
    let (errno, reason) = match expected {
        Expected::Same => return Ok(()),
        Expected::Accepted => (0, None),
        Expected::Refused(errno, reason) => (*errno, reason.as_ref()),
    };
    expect(saw.errno == errno, || {
        format!("must give {}", Outcome::errno(errno).explained())
    })?;
    let matches = match (reason, saw.messages.as_slice()) {
        (None, []) => true,
        (Some(reason), [message]) => {
            let message = message.strip_prefix(b"e ");
            let message = message.map(|rest| rest.strip_suffix(b"\n").unwrap_or(rest));
            message.is_some_and(|message| reason.matches(model.names, message))
        }
        _ => false,
    };
    expect(matches, || format!("must say {reason:?}"))
}

fn is_mounted(errno: i32, saw: &Outcome) -> Result<(), String> {
    let expected = Outcome::errno(errno);
    expect(*saw == expected, || {
        format!("must come to {}", expected.explained())
    })
}

/// Whether a mount is shown with the masks that it has.
fn is_shown(model: &Model<'_>, instance: usize, saw: &Outcome) -> Result<(), String> {
    let instance = &model.instances[instance];
    let mut expected = shown(model.names, instance.masks);
    if instance.cookie != 0 {
        expected.push(format!("{}={}", options::COOKIE, instance.cookie));
    }
    let ours: Vec<_> = saw.told.split(',').filter(is_ours).collect();
    expect(saw.is_ok() && ours == expected, || {
        format!("must show {expected:?}")
    })
}

fn is_ours(option: &&str) -> bool {
    option.starts_with("delegate_")
}

/// What is shown of a mount besides.
pub fn others(told: &str) -> Vec<&str> {
    let options = told.split(',');
    options.filter(|option| !is_ours(option)).collect()
}

fn command(
    model: &Model<'_>,
    actor: Actor,
    attributes: &Attributes,
    saw: &Outcome,
) -> Result<(), String> {
    if attributes.command == Command::TokenCreate {
        return match creation::outcome(model, actor, attributes) {
            Ok(Thing::Token { instance, masks }) => {
                let told = creation::told(model.names, model.permitted(instance, masks));
                expect(saw.told == told, || format!("must give the token {told}"))
            }
            Ok(_) => Ok(()),
            Err(refusal) => expect(saw.errno == refusal.errno.raw_os_error(), || {
                format!("must be {}: {}", refusal.errno, refusal.reason)
            }),
        };
    }
    let Some(request) = Request::of(attributes) else {
        return Ok(());
    };
    let (fd, caller) = (attributes.fd(), model.caller(actor));
    let refusal = admission(model.names, caller, &request, model.found(actor, fd), fd);
    let is_refused = saw.errno == Errno::PERM.raw_os_error();
    match refusal {
        Some(refusal) => expect(!saw.is_ok(), || {
            format!("must refuse it: {}", refusal.reason)
        }),
        // What is refused for other reasons is not told apart from what a token is for.
        None if can_be_refused_later(attributes) => Ok(()),
        None => expect(!is_refused, || "must admit it".to_owned()),
    }
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
