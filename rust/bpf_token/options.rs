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
    parse::parse_cookie,
    present::{
        AtomicMask,
        Present, //
    }, //
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
    /// The masks that a remount is to replace, one bit each.
    named: u32,
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
};

impl Options {
    /// Where this is in mount options.
    #[inline]
    pub(crate) fn in_opts(opts: *mut bindings::bpf_mount_opts) -> *mut Self {
        opts.wrapping_byte_add(offset_of!(bindings::bpf_mount_opts, delegate_cmds))
            .cast()
    }

    /// Whether a remount is to replace the mask of `K`.
    pub(crate) fn names<K: Kind>(&self) -> bool {
        self.named & 1 << K::INDEX != 0
    }

    /// Takes one option: `which` is the index of its kind, or that behind the last for the cookie.
    pub(crate) fn parse(&mut self, fc: &FsContext, which: u32, value: &[u8]) -> Result {
        match which {
            Cmd::INDEX => self.set(fc, value, |d| &mut d.cmds, |p| &p.cmds),
            MapType::INDEX => self.set(fc, value, |d| &mut d.maps, |p| &p.maps),
            ProgType::INDEX => self.set(fc, value, |d| &mut d.progs, |p| &p.progs),
            AttachType::INDEX => self.set(fc, value, |d| &mut d.attachs, |p| &p.attachs),
            _ => self.set_cookie(fc, value),
        }
    }

    /// Sets the mask of `K`, which is `mask` here and `present` in an instance: a value adds to
    /// what was given before. In a remount the last value counts, as `mount(8)` gives it the
    /// options that are there before those of its user.
    fn set<K: Kind>(
        &mut self,
        fc: &FsContext,
        value: &[u8],
        mask: impl Fn(&mut Delegation) -> &mut Mask<K>,
        present: impl Fn(&Present) -> &AtomicMask<K>,
    ) -> Result {
        let given = Mask::parse(value).map_err(|refusal| {
            fc.error(format_args!("{}", refusal.explain::<K>()));
            Error::from(&refusal)
        })?;
        let mask = mask(&mut self.delegation);
        let Some(bpffs) = fc.reconfigured().and_then(BpfFs::from_super_block) else {
            if !given.is_empty() {
                may_delegate::<K>(fc)?;
            }
            *mask |= given;
            return Ok(());
        };
        // As in C, everyone may name nothing; but not where there is something. It counts for
        // nothing then, or who shares the context could take back what a manager has set in it.
        let nothing = given.is_empty() && present(bpffs.present()).load().is_empty();
        if nothing && !capability::capable(Capability::SYS_ADMIN) {
            return Ok(());
        }
        may_delegate::<K>(fc)?;
        *mask = given;
        self.named |= 1 << K::INDEX;
        Ok(())
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

/// Fails unless the current task may delegate: that is to give away what only the initial user
/// namespace has.
pub(crate) fn may_delegate<K: Kind>(fc: &FsContext) -> Result {
    if capability::capable(Capability::SYS_ADMIN) {
        return Ok(());
    }
    fc.error(format_args!(
        "{}: to delegate needs CAP_SYS_ADMIN in the initial user namespace",
        K::OPTION
    ));
    Err(EPERM)
}
