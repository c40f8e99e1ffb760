// SPDX-License-Identifier: MIT OR Apache-2.0
//! A BPF FS that exists: what it delegates now, and taking that back.

use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use rustix::fs::AtFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::StatxAttributes;
use rustix::fs::StatxFlags;
use rustix::fs::CWD;
use rustix::mount::MountPropagationFlags;
use rustix::mount::MoveMountFlags;
use rustix::mount::OpenTreeFlags;

use crate::delegation::Delegation;
use crate::error::Error;
use crate::error::Feature;
use crate::error::Result;
use crate::fs_context::FsContext;
use crate::grant::Items;
use crate::inspect;
use crate::kernel::Kernel;
use crate::kind::Kind;
use crate::process::Process;
use crate::sys;

/// The type of a BPF FS, as statfs(2) tells it.
pub(crate) const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// A BPF FS, held by one of its mounts, also once that is mounted nowhere any more.
///
/// What is taken back from it is taken from every token that was made from it, at once, and from
/// those that will be. Programs and maps that were made with them stay.
///
/// ```no_run
/// use bpf_token::{Cmd, Delegation, MapType, Process, Target};
/// let process = Process::open(4711)?;
/// let instance = Target::new(&process, "/sys/fs/bpf").instance()?;
/// let keep = Delegation::new().cmds(Cmd::MAP_CREATE).maps(MapType::ARRAY);
/// println!("left: {}", instance.narrow(&keep)?.after);
/// instance.revoke()?;
/// # Ok::<(), bpf_token::Error>(())
/// ```
#[derive(Debug)]
pub struct Instance {
    // INVARIANT: The root directory of a BPF FS, where a mount of it has its root; opened as a path.
    root: OwnedFd,
    /// A process that may see it mounted.
    seen_by: Option<Process>,
}

/// What [`Instance::narrow`] changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// What was delegated before.
    pub before: Delegation,
    /// What is delegated now, as the kernel tells it.
    pub after: Delegation,
}

impl Instance {
    /// The BPF FS of this mount: a [`DetachedMount`](crate::DetachedMount), or a descriptor of the
    /// directory that it is mounted on.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the descriptor is something else.
    pub fn from_mount(mount: impl AsFd) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(mount.as_fd(), c".", flags, Mode::empty())
            .map_err(|errno| Error::sys("open the root of a BPF FS", errno))?;
        let is_bpffs = rustix::fs::fstatfs(&root)
            .is_ok_and(|found| u64::try_from(found.f_type) == Ok(BPF_FS_MAGIC));
        if !is_bpffs || !is_mount_root(root.as_fd()) {
            return Err(Error::Invalid(
                "the descriptor is not that of a directory that a BPF FS is mounted on".to_owned(),
            ));
        }
        Ok(Self {
            root,
            seen_by: None,
        })
    }

    pub(crate) fn seen_by(mut self, process: Process) -> Self {
        self.seen_by = Some(process);
        self
    }

    /// The number of the device, `major:minor`, by which
    /// [`delegated_mounts`](crate::delegated_mounts) and [`held_tokens`](crate::held_tokens) name it.
    ///
    /// # Errors
    ///
    /// Those of statx(2).
    pub fn device(&self) -> Result<String> {
        rustix::fs::statx(&self.root, c"", AtFlags::EMPTY_PATH, StatxFlags::empty())
            .map(|found| format!("{}:{}", found.stx_dev_major, found.stx_dev_minor))
            .map_err(|errno| Error::sys("statx a BPF FS", errno))
    }

    /// What it delegates now.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if that cannot be read: before Linux 7.0, when nobody sees it mounted.
    pub fn delegation(&self) -> Result<Delegation> {
        // The kernel says it of a mount that is or was attached somewhere.
        let options = sys::mount_options(self.root.as_fd()).or_else(|_| self.options_of_copy());
        if let Ok(options) = options {
            let options = options.split(',').filter_map(|it| it.split_once('='));
            return inspect::of_options(options);
        }
        let device = self.device()?;
        let own = Process::current()?;
        for process in [Some(&own), self.seen_by.as_ref()].into_iter().flatten() {
            // It may have ended.
            let mounts = inspect::bpffs_mounts(process).unwrap_or_default();
            if let Some(mount) = mounts.into_iter().find(|it| it.device == device) {
                return Ok(mount.delegation);
            }
        }
        Err(Error::Invalid(format!(
            "what the BPF FS {device} delegates cannot be read: it is mounted where nobody sees it, \
             and this kernel has no statmount(2) by descriptor (Linux 7.0 has)"
        )))
    }

    /// The mount options, read from a copy of the mount that is attached where nobody else sees it:
    /// in a mount namespace that ends with a thread.
    fn options_of_copy(&self) -> rustix::io::Result<String> {
        let read = || {
            sys::copy_mounts()?;
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            rustix::mount::mount_change(c"/", private)?;
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_EMPTY_PATH;
            let copy = rustix::mount::open_tree(&self.root, c"", flags)?;
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            rustix::mount::move_mount(&copy, c"", CWD, c"/", flags)?;
            sys::mount_options(copy.as_fd())
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().spawn_scoped(scope, read);
            let thread = thread.map_err(|_| rustix::io::Errno::AGAIN)?;
            thread.join().unwrap_or(Err(rustix::io::Errno::IO))
        })
    }

    /// Takes back all that is not in `keep`: of what is delegated now, just that stays which is also
    /// there. Nothing is added.
    ///
    /// Two that do this at a time must take turns: the kernel has no way to take away just one item.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if the kernel took the request and changed nothing;
    /// [`Error::StillDelegated`] if somebody else changed it meanwhile; [`Error::NotInKernel`] for a
    /// name that the kernel lacks; [`Error::Invalid`] for a cookie, which cannot change; `EPERM`
    /// without CAP_SYS_ADMIN in the initial user namespace.
    pub fn narrow(&self, keep: &Delegation) -> Result<Change> {
        keep.check(Kernel::running())?;
        let before = self.delegation()?;
        if keep.cookie != 0 && keep.cookie != before.cookie {
            return Err(Error::Invalid(format!(
                "the cookie of a BPF FS cannot change; it is {}",
                before.cookie
            )));
        }
        let wanted = within_kernel(before.intersection(keep));
        self.change(before, &wanted)
    }

    /// Takes back all that is delegated.
    ///
    /// # Errors
    ///
    /// As [`narrow`](Self::narrow).
    pub fn revoke(&self) -> Result<Change> {
        self.narrow(&Delegation::new())
    }

    /// Delegates this in place of what is delegated now, which may be more than that.
    ///
    /// # Errors
    ///
    /// As [`narrow`](Self::narrow).
    pub fn redelegate(&self, delegation: &Delegation) -> Result<Change> {
        delegation.check(Kernel::running())?;
        let before = self.delegation()?;
        let wanted = delegation.clone().cookie(before.cookie);
        if delegation.cookie != 0 && delegation.cookie != before.cookie {
            return Err(Error::Invalid(format!(
                "the cookie of a BPF FS cannot change; it is {}",
                before.cookie
            )));
        }
        self.change(before, &wanted)
    }

    fn change(&self, before: Delegation, wanted: &Delegation) -> Result<Change> {
        let lists = before.each().into_iter().zip(wanted.each());
        let options: Vec<(&str, String)> = lists
            .filter(|((_, now), (_, wanted))| now != wanted)
            .map(|(_, (kind, wanted))| (kind.option, option_value(wanted)))
            .collect();
        if options.is_empty() {
            let after = before.clone();
            return Ok(Change { before, after });
        }
        let context = FsContext::pick(&self.root)?;
        for (option, value) in options {
            context.set(option, value)?;
        }
        context.reconfigure()?;
        // A kernel may take this and do nothing.
        let after = self.delegation()?;
        let beyond = known_to_kernel(after.difference(wanted));
        if beyond.is_empty() {
            return Ok(Change { before, after });
        }
        if after == before {
            return Err(Error::Unsupported(Feature::Narrowing));
        }
        Err(Error::StillDelegated {
            beyond: Box::new(beyond),
        })
    }
}

impl AsFd for Instance {
    /// The root directory, as an `O_PATH` descriptor.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// Whether a mount has its root here.
pub(crate) fn is_mount_root(dir: BorrowedFd<'_>) -> bool {
    rustix::fs::statx(dir, c"", AtFlags::EMPTY_PATH, StatxFlags::empty())
        .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// The text of a mask to give to the kernel; unlike in a new BPF FS, nothing has to be said.
fn option_value(items: &Items) -> String {
    if items.is_empty() {
        return "0x0".to_owned();
    }
    items.option_value()
}

/// The bits of a kind that the kernel shows.
fn shown(kind: &Kind) -> u64 {
    Kernel::running().known(kind).unwrap_or(kind.known())
}

/// A delegation of no bits that nothing is named after: the kernel says `any` of all that it has,
/// so that it is not known whether these are delegated.
fn within_kernel(delegation: Delegation) -> Delegation {
    delegation.map_bits(|kind, bits| match bits {
        u64::MAX => bits,
        bits => bits & shown(kind),
    })
}

/// What the kernel would show of a delegation.
fn known_to_kernel(delegation: Delegation) -> Delegation {
    delegation.map_bits(|kind, bits| bits & shown(kind))
}
