// SPDX-License-Identifier: GPL-2.0

//! What calls of `BPF_TOKEN_CREATE` come to: rule 3 of the design, and section 10 of it, which C refuses whole.

use guest::attr::token_create;
use guest::rules::set_of;
use guest::rules::BPF;
use rustix::io::Errno;

use crate::case::Attr;
use crate::case::Call;
use crate::case::CallSaw;
use crate::case::Caller;
use crate::case::NewToken;
use crate::case::Token;
use crate::command::masks_of;
use crate::command::what_is;
use crate::command::Found;
use crate::command::Refusal;
use crate::layout::Descriptor;
use crate::layout::DELEGATED;
use crate::log::addition;
use crate::names;
use crate::names::Names;
use crate::rules::Rule;
use crate::rules::Rules;

const BPF_F_TOKEN_RESTRICT: u32 = 1 << 0;

const NOTHING_LEFT: &str = "of what the allowed_ fields name, nothing is delegated";

/// The flags and the fields behind the descriptor.
fn restriction(call: &Call) -> (u32, [u64; 4]) {
    let attr = Attr::of(&call.attr, call.size);
    let fields = [0, 1, 2, 3].map(|index| attr.u64(token_create::allowed_cmds.at + 8 * index));
    (attr.u32(token_create::flags.at), fields)
}

/// Whether a call uses what C does not have.
pub fn is_beyond_c(call: &Call) -> bool {
    restriction(call) != (0, [0; 4])
}

/// What Rust leaves of a call that uses what C does not have, where C leaves `saw`.
pub fn beyond_c(names: &Names, call: &Call, saw: &CallSaw, rules: Rules) -> CallSaw {
    let mut saw = saw.clone();
    if !rules.has(Rule::Restrict) {
        return saw;
    }
    match outcome(names, call) {
        Ok(token) => {
            saw.errno = 0;
            saw.token = Some(token);
            saw
        }
        Err(refusal) => {
            saw.errno = refusal.errno.raw_os_error();
            let addition = addition(call, &refusal).filter(|_| rules.has(Rule::D4));
            addition.map_or_else(|| saw.clone(), |addition| addition.apply(call, &saw))
        }
    }
}

fn outcome(names: &Names, call: &Call) -> Result<NewToken, Refusal> {
    let (flags, fields) = restriction(call);
    let refuse = |errno, step: &str| Err(refusal(errno, step));
    if flags & !BPF_F_TOKEN_RESTRICT != 0 {
        let step = format!("flags {flags:#x} are unknown; there is BPF_F_TOKEN_RESTRICT (0x1)");
        return refuse(Errno::INVAL, &step);
    }
    if flags == 0 {
        let step = "the allowed_ fields need the flag BPF_F_TOKEN_RESTRICT";
        return refuse(Errno::INVAL, step);
    }
    let fd = call.word(token_create::bpffs_fd.at);
    if let Some(refusal) = not_created(names, call.caller, fd, true) {
        return Err(refusal);
    }
    // What is not a token is the root of the instance that delegates all.
    let source = Descriptor::of(fd).and_then(Descriptor::delegated);
    let source = masks_of(names, source.unwrap_or(DELEGATED[0]));
    let masks: [u64; 4] = std::array::from_fn(|index| source[index] & fields[index]);
    if masks == [0; 4] {
        return refuse(Errno::NOENT, NOTHING_LEFT);
    }
    let lines = ["pos:\t0".to_owned(), "flags:\t02000002".to_owned()];
    let lines: Vec<_> = lines
        .into_iter()
        .chain(names::fdinfo(names, masks))
        .collect();
    Ok(NewToken {
        token: Token {
            info: masks,
            fdinfo: lines.join("\n"),
        },
        mode: 0o100_600,
        links: 0,
        close_on_exec: true,
    })
}

fn refusal(errno: Errno, step: &str) -> Refusal {
    Refusal {
        errno,
        reason: format!("no token: {step}"),
        has_line: false,
    }
}

/// Why no token is made of a descriptor, if none is. `restricted` with the flag by which it may be that of a token.
pub fn not_created(names: &Names, caller: Caller, fd: u32, restricted: bool) -> Option<Refusal> {
    let refusal = |errno, step: &str| Some(refusal(errno, step));
    let (inside, delegates) = match Descriptor::of(fd) {
        _ if what_is(names, fd) == Found::NotOpen => {
            let step = format!(
                "descriptor {} is not open, or was opened with O_PATH",
                fd as i32
            );
            return refusal(Errno::BADF, &step);
        }
        Some(Descriptor::Root) => (true, true),
        Some(Descriptor::UndelegatedRoot) => (true, false),
        Some(Descriptor::InitialRoot) => (false, true),
        Some(Descriptor::OtherRoot) => {
            return refusal(
                Errno::INVAL,
                "the descriptor is not that of a BPF file system",
            )
        }
        Some(token) if token.delegated().is_some() => {
            if !restricted {
                let step = "the descriptor is a token, and a token of it needs the flag \
                            BPF_F_TOKEN_RESTRICT";
                return refusal(Errno::INVAL, step);
            }
            (true, true)
        }
        _ => {
            return refusal(
                Errno::INVAL,
                "the descriptor is not the root of a file system",
            )
        }
    };
    if caller.outside == inside {
        let step = "the BPF file system belongs to another user namespace";
        refusal(Errno::PERM, step)
    } else if !set_of(caller.caps).contains(BPF.set) {
        refusal(Errno::PERM, "this needs CAP_BPF in the user namespace")
    } else if caller.outside {
        let step = "the initial user namespace has none: there, CAP_BPF does what a token does";
        refusal(Errno::OPNOTSUPP, step)
    } else if !delegates {
        let nothing = "the BPF file system delegates nothing";
        refusal(
            Errno::NOENT,
            if restricted { NOTHING_LEFT } else { nothing },
        )
    } else {
        None
    }
}
