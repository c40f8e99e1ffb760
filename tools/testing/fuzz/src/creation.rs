// SPDX-License-Identifier: GPL-2.0

//! What calls of `BPF_TOKEN_CREATE` come to: rule 3 of the design, and section 10 of it, which C refuses whole.

use guest::attr::token_create;
use guest::attr::BPF_F_TOKEN_RESTRICT;
use guest::rules::set_of;
use guest::rules::BPF;
use rustix::io::Errno;

use crate::attributes::slot;
use crate::attributes::Attributes;
use crate::command::Refusal;
use crate::model::namespace;
use crate::model::Masks;
use crate::model::Model;
use crate::model::Thing;
use crate::names;
use crate::rules::Rule;
use crate::step::Actor;

/// The flags and the fields behind the descriptor.
fn restriction(call: &Attributes) -> (u32, Masks) {
    let fields = &token_create::FIELDS[2..];
    let fields = std::array::from_fn(|kind| call.get(fields[kind]));
    (call.u32(token_create::flags), fields)
}

/// Whether a call uses what C does not have.
pub fn is_beyond_c(call: &Attributes) -> bool {
    restriction(call) != (0, [0; 4])
}

/// What a token is made of, or why there is none.
pub fn outcome(model: &Model<'_>, actor: Actor, call: &Attributes) -> Result<Thing, Refusal> {
    const NOTHING_LEFT: &str = "of what the allowed_ fields name, nothing is delegated";
    let refuse = |errno, step: &str| {
        Err(Refusal {
            errno,
            reason: format!("no token: {step}"),
            has_line: false,
        })
    };
    let (flags, fields) = restriction(call);
    if is_beyond_c(call) && !model.rules.has(Rule::Restrict) {
        return refuse(Errno::INVAL, "C has no such field");
    }
    if flags & !BPF_F_TOKEN_RESTRICT != 0 {
        let step = format!("flags {flags:#x} are unknown; there is BPF_F_TOKEN_RESTRICT (0x1)");
        return refuse(Errno::INVAL, &step);
    }
    let is_restricted = flags != 0;
    if !is_restricted && fields != [0; 4] {
        let step = "the allowed_ fields need the flag BPF_F_TOKEN_RESTRICT";
        return refuse(Errno::INVAL, step);
    }
    let fd = call.u32(token_create::bpffs_fd);
    let (instance, source) = match slot(fd.into()).map(|slot| model.slot(actor, slot)) {
        Some(Thing::Root(instance)) => (instance, model.instances[instance].masks),
        Some(Thing::Token { instance, masks }) if is_restricted => (instance, masks),
        Some(Thing::Token { .. }) => {
            let step = "the descriptor is a token, and a token of it needs the flag \
                        BPF_F_TOKEN_RESTRICT";
            return refuse(Errno::INVAL, step);
        }
        None if fd < 3 => {
            let step = "the descriptor is not the root of a file system";
            return refuse(Errno::INVAL, step);
        }
        // A mount is opened with O_PATH.
        None | Some(Thing::Nothing | Thing::Mount(_) | Thing::Path { .. }) => {
            let step = format!(
                "descriptor {} is not open, or was opened with O_PATH",
                fd as i32
            );
            return refuse(Errno::BADF, &step);
        }
        Some(Thing::Tree) => {
            let step = "the descriptor is not that of a BPF file system";
            return refuse(Errno::INVAL, step);
        }
        Some(Thing::Context(_) | Thing::Other(_)) => {
            let step = "the descriptor is not the root of a file system";
            return refuse(Errno::INVAL, step);
        }
    };
    let owner = model.instances[instance].owner;
    let masks = std::array::from_fn(|kind| match is_restricted {
        true => source[kind] & fields[kind],
        false => u64::MAX,
    });
    if owner != namespace(actor) {
        let step = "the BPF file system belongs to another user namespace";
        refuse(Errno::PERM, step)
    } else if !set_of(model.caps[actor as usize].bits()).contains(BPF.set) {
        refuse(Errno::PERM, "this needs CAP_BPF in the user namespace")
    } else if owner == Actor::Manager {
        let step = "the initial user namespace has none: there, CAP_BPF does what a token does";
        refuse(Errno::OPNOTSUPP, step)
    } else if model.permitted(instance, masks) == [0; 4] {
        let nothing = "the BPF file system delegates nothing";
        let step = if is_restricted { NOTHING_LEFT } else { nothing };
        refuse(Errno::NOENT, step)
    } else {
        let masks = if is_restricted { masks } else { source };
        Ok(Thing::Token { instance, masks })
    }
}

/// What is told of a token that permits this.
pub fn told(names: &names::Names, masks: Masks) -> String {
    let mut words = vec![masks.map(|mask| format!("{mask:#x}")).join(",")];
    words.push("mode=100600 links=0 cloexec=true length=32 pos: 0 flags: 02000002".to_owned());
    words.extend(names::fdinfo(names, masks));
    words.join(" ").replace('\t', " ")
}
