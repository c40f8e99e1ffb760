// SPDX-License-Identifier: GPL-2.0

//! Which calls of `BPF_TOKEN_CREATE` are refused, and why: rule 3 of the design.

use rustix::io::Errno;

use crate::case::Caller;
use crate::command::what_is;
use crate::command::Found;
use crate::command::Refusal;
use crate::layout::Descriptor;
use crate::privilege::BPF;

/// Why no token is made of a descriptor, if none is.
pub fn not_created(caller: Caller, fd: u32) -> Option<Refusal> {
    let refusal = |errno, step: &str| {
        Some(Refusal {
            errno,
            reason: format!("no token: {step}"),
            has_line: false,
        })
    };
    let (inside, delegates) = match Descriptor::of(fd) {
        _ if what_is(fd) == Found::NotOpen => {
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
    } else if caller.caps & BPF.0 == 0 {
        refusal(Errno::PERM, "this needs CAP_BPF in the user namespace")
    } else if caller.outside {
        let step = "the initial user namespace has none: there, CAP_BPF does what a token does";
        refusal(Errno::OPNOTSUPP, step)
    } else if !delegates {
        let step = "the BPF file system delegates nothing";
        refusal(Errno::NOENT, step)
    } else {
        None
    }
}
