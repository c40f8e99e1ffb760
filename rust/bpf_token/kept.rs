// SPDX-License-Identifier: GPL-2.0

//! The decision of a command, where the command keeps it: in a `struct bpf_token_decision`, on its
//! stack.
//!
//! C code sets `made` to false, and does not write to it otherwise.

use crate::decision::Decision;
use core::{
    mem::{
        offset_of,
        MaybeUninit, //
    },
    ptr, //
};
use kernel::bindings;

const _: () = {
    let offset = offset_of!(bindings::bpf_token_decision, opaque);
    assert!(offset + size_of::<Decision>() <= size_of::<bindings::bpf_token_decision>());
    assert!(offset % align_of::<Decision>() == 0);
    assert!(align_of::<Decision>() <= align_of::<bindings::bpf_token_decision>());
};

/// Begins the decision of a command.
#[inline]
pub(crate) fn begin(kept: &mut bindings::bpf_token_decision) -> &mut Decision {
    kept.made = true;
    // SAFETY: There is room, and what is there now does not matter.
    let decision = unsafe { &mut *ptr::from_mut(&mut kept.opaque).cast::<MaybeUninit<Decision>>() };
    decision.write(Decision::new())
}

/// Returns the decision of a command, if the command came to one.
#[inline]
pub(crate) fn made(kept: &mut bindings::bpf_token_decision) -> Option<&mut Decision> {
    if !kept.made {
        return None;
    }
    // SAFETY: `begin` initialised it, as nobody else sets `made` to true.
    Some(unsafe { &mut *ptr::from_mut(&mut kept.opaque).cast() })
}
