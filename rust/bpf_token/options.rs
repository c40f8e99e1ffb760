// SPDX-License-Identifier: GPL-2.0

//! The delegation options of a file system context.

#![forbid(unsafe_code)]

use crate::{
    bpffs::BpfFs,
    delegation::Delegation,
    kind::{
        AttachType,
        Cmd,
        Kind,
        MapType,
        ProgType, //
    },
    mask::Mask,
    parse::parse_cookie, //
};
use core::mem::offset_of;
use kernel::{
    bindings,
    capability::{
        self,
        Capability, //
    },
    fs_context::FsContext,
    prelude::*, //
};

/// What the delegation options of one context say, as `struct bpf_mount_opts` holds it. When the
/// context makes an instance, the masks and the cookie are those of the instance.
#[repr(C)]
pub(crate) struct Options {
    pub(crate) delegation: Delegation,
    cookie: u64,
    /// In a remount, the masks that it names, one bit each.
    named: u32,
    /// Those of them that were set without privilege.
    unprivileged: u32,
}

const _: () = {
    let start = offset_of!(bindings::bpf_mount_opts, delegate_cmds);
    assert!(
        offset_of!(bindings::bpf_mount_opts, delegate_cookie) - start
            == offset_of!(Options, cookie)
    );
    assert!(
        offset_of!(bindings::bpf_mount_opts, delegate_named) - start == offset_of!(Options, named)
    );
    assert!(
        offset_of!(bindings::bpf_mount_opts, delegate_unprivileged) - start
            == offset_of!(Options, unprivileged)
    );
};

impl Options {
    /// Where this is in mount options.
    #[inline]
    pub(crate) fn in_opts(opts: *mut bindings::bpf_mount_opts) -> *mut Self {
        opts.wrapping_byte_add(offset_of!(bindings::bpf_mount_opts, delegate_cmds))
            .cast()
    }

    /// Whether a remount names the mask of `K`.
    pub(crate) fn names<K: Kind>(&self) -> bool {
        self.named & 1 << K::INDEX != 0
    }

    /// Whether the mask of `K` was set without privilege.
    pub(crate) fn is_unprivileged<K: Kind>(&self) -> bool {
        self.unprivileged & 1 << K::INDEX != 0
    }

    /// Keeps that a remount names the mask of `K`, and whether with privilege. What it may do is
    /// decided when it is executed: it may change nothing.
    #[cold]
    fn name<K: Kind>(&mut self) {
        self.named |= 1 << K::INDEX;
        self.unprivileged &= !(1 << K::INDEX);
        if !capability::capable(Capability::SYS_ADMIN) {
            self.unprivileged |= 1 << K::INDEX;
        }
    }

    /// Takes one option: `which` is the index of its kind, or that behind the last for the cookie.
    pub(crate) fn parse(&mut self, fc: &FsContext, which: u32, value: &[u8]) -> Result {
        let delegation = self.delegation;
        match which {
            Cmd::INDEX => self.delegation.cmds = self.set(fc, delegation.cmds, value)?,
            MapType::INDEX => self.delegation.maps = self.set(fc, delegation.maps, value)?,
            ProgType::INDEX => self.delegation.progs = self.set(fc, delegation.progs, value)?,
            AttachType::INDEX => self.delegation.attachs = self.set(fc, delegation.attachs, value)?,
            _ => self.set_cookie(fc, value)?,
        }
        Ok(())
    }

    /// Returns what `value` makes of `mask`: in a remount, what it says; else, what it adds.
    ///
    /// `mount(8)` gives a remount the options that are there before those of its user, so the last
    /// one counts.
    fn set<K: Kind>(&mut self, fc: &FsContext, mask: Mask<K>, value: &[u8]) -> Result<Mask<K>> {
        let given = Mask::parse(value).map_err(|refusal| {
            fc.error(format_args!("{}", refusal.explain::<K>()));
            Error::from(&refusal)
        })?;
        if fc.reconfigured().is_some() {
            self.name::<K>();
            return Ok(given);
        }
        // To delegate is to give away what only the initial user namespace has.
        if !given.is_empty() && !capability::capable(Capability::SYS_ADMIN) {
            fc.error(format_args!(
                "{}: to delegate needs CAP_SYS_ADMIN in the initial user namespace",
                K::OPTION
            ));
            return Err(EPERM);
        }
        Ok(mask | given)
    }

    /// Sets the cookie. Who shares the context with the manager can't take it away again.
    #[cold]
    fn set_cookie(&mut self, fc: &FsContext, value: &[u8]) -> Result {
        let cookie = parse_cookie(value).map_err(|refusal| {
            fc.error(format_args!("{}", refusal.explain_cookie()));
            Error::from(&refusal)
        })?;
        if let Some(bpffs) = fc.reconfigured().and_then(BpfFs::from_super_block) {
            let present = bpffs.present().cookie();
            if cookie != present {
                fc.error(format_args!(
                    "delegate_cookie: a remount cannot change it, it is {present}"
                ));
                return Err(EINVAL);
            }
        } else if cookie != self.cookie && !capability::capable(Capability::SYS_ADMIN) {
            fc.error(format_args!(
                "delegate_cookie: to set it needs CAP_SYS_ADMIN in the initial user namespace"
            ));
            return Err(EPERM);
        }
        self.cookie = cookie;
        Ok(())
    }
}
