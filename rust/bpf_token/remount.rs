// SPDX-License-Identifier: GPL-2.0

//! Changing what a mounted BPF file system delegates.
//!
//! A remount replaces the masks that it names, with the privilege that delegating needs.

#![forbid(unsafe_code)]

use crate::{
    kind::Kind,
    mask::Mask,
    options::{
        may_delegate,
        Options, //
    },
    present::{
        AtomicMask,
        Present, //
    }, //
};
use kernel::{
    fs_context::FsContext,
    prelude::*, //
};

/// Applies the options of a remount to an instance, all of them or none. The caller holds the super
/// block for writing.
///
/// Options may be set by one task and applied by another, and each must be privileged: this is the
/// second of them.
pub(crate) fn reconfigure(fc: &FsContext, options: &Options, present: &Present) -> Result {
    let wanted = &options.delegation;
    check(fc, options, wanted.cmds, &present.cmds)?;
    check(fc, options, wanted.maps, &present.maps)?;
    check(fc, options, wanted.progs, &present.progs)?;
    check(fc, options, wanted.attachs, &present.attachs)?;
    apply(options, wanted.cmds, &present.cmds);
    apply(options, wanted.maps, &present.maps);
    apply(options, wanted.progs, &present.progs);
    apply(options, wanted.attachs, &present.attachs);
    Ok(())
}

fn check<K: Kind>(
    fc: &FsContext,
    options: &Options,
    wanted: Mask<K>,
    present: &AtomicMask<K>,
) -> Result {
    if !options.names::<K>() || wanted == present.load() {
        return Ok(());
    }
    may_delegate::<K>(fc)
}

fn apply<K: Kind>(options: &Options, wanted: Mask<K>, present: &AtomicMask<K>) {
    if options.names::<K>() {
        present.store(wanted);
    }
}
