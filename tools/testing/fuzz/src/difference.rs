// SPDX-License-Identifier: GPL-2.0

//! What the Rust kernel leaves of a call of `bpf()`, where the C kernel leaves something: reasons in logs, and the cookie.

use guest::attr::info;
use guest::sys::Command;

use crate::attributes::slot;
use crate::attributes::Attributes;
use crate::command;
use crate::creation;
use crate::info::with_cookie;
use crate::log;
use crate::log::Addition;
use crate::model::Model;
use crate::model::Thing;
use crate::outcome::Outcome;
use crate::rules::Rule;
use crate::step::Actor;

/// What Rust leaves, and the rule by which that is not what C does; or what is wrong with what C leaves.
pub fn expected(
    model: &Model<'_>,
    actor: Actor,
    call: &Attributes,
    [c, rust]: [&Outcome; 2],
) -> Result<(Outcome, Option<Rule>), String> {
    let same = Ok((c.clone(), None));
    let other = |expected: Outcome, rule| {
        let is_other = expected != *c && model.rules.has(rule);
        Ok(if is_other {
            (expected, Some(rule))
        } else {
            (c.clone(), None)
        })
    };
    if !command::well_formed(call) {
        return same;
    }
    let found = model.found(actor, call.fd());
    let caller = model.caller(actor);
    let without = || command::verified_without(model.names, caller, call, found);
    let refusal = match call.command {
        Command::ObjGetInfoByFd => {
            let about = slot(call.get(info::bpf_fd)).map(|slot| model.slot(actor, slot));
            return match about {
                Some(Thing::Token { instance, masks }) => other(
                    with_cookie(model.permitted(instance, masks), call, c),
                    Rule::Cookie,
                ),
                _ => same,
            };
        }
        Command::TokenCreate => creation::outcome(model, actor, call).err(),
        _ => command::refusal(model.names, caller, call, found),
    };
    let is_prog = call.command == Command::ProgLoad;
    let addition = match refusal {
        Some(refusal) => log::addition(call, &refusal),
        None if is_prog => {
            let line = without();
            // Rust may have found room for all of it.
            let full = line.as_ref().filter(|_| rust != c);
            if let Some(full) = full.and_then(|line| log::behind_a_full_log(call, line, c)) {
                return other(full, Rule::D4);
            }
            line.and_then(|line| log::behind_the_verifier(call, &line, c))
        }
        None => None,
    };
    let Some(addition) = addition else {
        return same;
    };
    addition.check_c(c)?;
    other(Addition::apply(&addition, call, c), Rule::D4)
}

/// What Rust leaves of a token that C would not make, where C leaves `c`.
pub fn beyond_c(
    model: &Model<'_>,
    actor: Actor,
    call: &Attributes,
    c: &Outcome,
) -> Result<Outcome, String> {
    let mut saw = c.clone();
    if !command::well_formed(call) {
        return Ok(saw);
    }
    let is_refused = c.errno == libc::EINVAL && c.log.is_none() && c.common_written.is_empty();
    if !is_refused {
        return Err("C must not take it".to_owned());
    }
    match creation::outcome(model, actor, call) {
        Ok(Thing::Token { instance, masks }) => {
            saw.errno = 0;
            saw.told = creation::told(model.names, model.permitted(instance, masks));
        }
        Ok(_) => (),
        Err(refusal) => {
            saw.errno = refusal.errno.raw_os_error();
            let addition = log::addition(call, &refusal);
            if let Some(addition) = addition.filter(|_| model.rules.has(Rule::D4)) {
                saw = addition.apply(call, &saw);
            }
        }
    }
    Ok(saw)
}

/// Whether the token of a call, if it has one, is of the container: reasons are of such.
pub fn is_of_container(model: &Model<'_>, actor: Actor, call: &Attributes) -> bool {
    match slot(call.fd().into()).map(|slot| model.slot(actor, slot)) {
        Some(Thing::Token { instance, .. }) => model.instances[instance].owner == Actor::Container,
        _ => true,
    }
}
