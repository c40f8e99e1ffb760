// SPDX-License-Identifier: GPL-2.0

//! Changing what a mounted BPF file system delegates.
//!
//! A remount replaces the masks that it names. It needs the privilege that delegating needs, unless
//! it changes nothing: who names what is there already, as `mount(8)` does, goes on as before.

#![forbid(unsafe_code)]

use crate::{
    kind::Kind,
    mask::Mask,
    options::Options,
    present::{
        AtomicMask,
        Present, //
    }, //
};
use kernel::{
    capability::{
        self,
        Capability, //
    },
    fs_context::FsContext,
    prelude::*, //
};

/// Applies the options of a remount to an instance, all of them or none. The caller holds the super
/// block for writing.
///
/// Options may have been set by one task, and applied by another. Each must be privileged: else a
/// container could prepare a remount and have its manager execute it.
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
    if options.is_unprivileged::<K>() || !capability::capable(Capability::SYS_ADMIN) {
        fc.error(format_args!(
            "{}: to change a delegation needs CAP_SYS_ADMIN in the initial user namespace",
            K::OPTION
        ));
        return Err(EPERM);
    }
    Ok(())
}

fn apply<K: Kind>(options: &Options, wanted: Mask<K>, present: &AtomicMask<K>) {
    if options.names::<K>() {
        present.store(wanted);
    }
}
