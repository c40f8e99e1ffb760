// SPDX-License-Identifier: GPL-2.0
//! What runs in the new process of a container until it executes its command.
//!
//! The parent may have threads, so nothing here allocates or takes locks.

use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::io::Result;
use rustix::mount::FsMountFlags;
use rustix::mount::FsOpenFlags;
use rustix::mount::MountAttrFlags;
use rustix::mount::MountFlags;
use rustix::mount::MountPropagationFlags;
use rustix::mount::MoveMountFlags;
use rustix::process::Gid;
use rustix::process::Uid;
use rustix::thread::ThreadNameSpaceType;

use crate::handshake;
use crate::sys;

/// The manager has written the id maps.
pub(crate) const MAPPED: u8 = b'M';
/// A step failed; its number and the errno follow.
pub(crate) const FAILED: u8 = b'X';

/// The steps of the set-up, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Step {
    Manager,
    Enter,
    Ids,
    Propagation,
    Proc,
    Open,
    Send,
    Mount,
    Attach,
    Fds,
    Exec,
}

impl Step {
    const ALL: [(Self, &'static str); 11] = [
        (Self::Manager, "wait for the manager"),
        (Self::Enter, "enter the namespaces"),
        (Self::Ids, "become root of the user namespace"),
        (Self::Propagation, "make the mounts private"),
        (Self::Proc, "mount /proc"),
        (Self::Open, "fsopen bpf"),
        (Self::Send, "send the fs context to the manager"),
        (Self::Mount, "fsmount"),
        (Self::Attach, "mount BPF FS on its target"),
        (Self::Fds, "pass descriptors on"),
        (Self::Exec, "execute the command"),
    ];

    pub(crate) fn text(number: u8) -> &'static str {
        Self::ALL
            .get(usize::from(number))
            .map_or("unknown step", |&(_, text)| text)
    }
}

/// Where the process goes before anything else.
pub(crate) enum Place {
    /// New namespaces, which clone(2) made; the manager writes the id maps.
    New {
        /// Whether a new process namespace needs a new /proc.
        mount_proc: bool,
    },
    /// The user and mount namespaces of the process behind a pidfd.
    Existing { pidfd: OwnedFd },
}

/// All that the new process does.
pub(crate) struct Plan {
    pub(crate) place: Place,
    /// The ids to take on inside.
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    /// Where to mount a BPF FS.
    pub(crate) bpffs: Option<CString>,
    /// Descriptors to pass on, with the numbers that they get.
    pub(crate) fds: Vec<(OwnedFd, i32)>,
    /// What to execute; without, the process ends.
    pub(crate) exec: Option<sys::Exec>,
}

impl Plan {
    /// Runs in the new process; `socket` leads to the manager, whose end is `other`.
    pub(crate) fn run(&self, socket: BorrowedFd<'_>, other: BorrowedFd<'_>) -> i32 {
        sys::close_inherited(other);
        let Err((step, errno)) = self.steps(socket) else {
            return 0;
        };
        let mut report = [FAILED, step as u8, 0, 0, 0, 0];
        report[2..].copy_from_slice(&errno.raw_os_error().to_ne_bytes());
        // A manager that is gone needs no report.
        let _ = rustix::net::send(socket, &report, rustix::net::SendFlags::NOSIGNAL);
        127
    }

    fn steps(&self, socket: BorrowedFd<'_>) -> std::result::Result<(), (Step, Errno)> {
        let at = |step| move |errno| (step, errno);
        match &self.place {
            Place::New { .. } => wait_for(socket, MAPPED).map_err(at(Step::Manager))?,
            Place::Existing { pidfd } => rustix::thread::move_into_thread_name_spaces(
                pidfd.as_fd(),
                ThreadNameSpaceType::USER | ThreadNameSpaceType::MOUNT,
            )
            .map_err(at(Step::Enter))?,
        }
        self.take_ids().map_err(at(Step::Ids))?;
        if let Place::New { mount_proc } = self.place {
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            rustix::mount::mount_change(c"/", private).map_err(at(Step::Propagation))?;
            if mount_proc {
                let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
                rustix::mount::mount(c"proc", c"/proc", c"proc", flags, None)
                    .map_err(at(Step::Proc))?;
            }
        }
        if let Some(target) = &self.bpffs {
            mount_bpffs(socket, target)?;
        }
        for (fd, number) in &self.fds {
            sys::place_fd(fd.as_fd(), *number).map_err(at(Step::Fds))?;
        }
        match &self.exec {
            Some(exec) => Err((Step::Exec, exec.exec())),
            None => Ok(()),
        }
    }

    fn take_ids(&self) -> Result<()> {
        // Groups stay where setgroups(2) is denied, which is how a namespace without privilege
        // begins.
        match rustix::thread::set_thread_groups(&[]) {
            Ok(()) | Err(Errno::PERM) => {}
            Err(errno) => return Err(errno),
        }
        rustix::thread::set_thread_res_gid(self.gid, self.gid, self.gid)?;
        rustix::thread::set_thread_res_uid(self.uid, self.uid, self.uid)
    }
}

/// The container's side of [`handshake`], step by step.
fn mount_bpffs(socket: BorrowedFd<'_>, target: &CString) -> std::result::Result<(), (Step, Errno)> {
    let at = |step| move |errno| (step, errno);
    let context = rustix::mount::fsopen(c"bpf", FsOpenFlags::FSOPEN_CLOEXEC);
    let context = context.map_err(at(Step::Open))?;
    handshake::send_context(socket, context.as_fd()).map_err(at(Step::Send))?;
    wait_for(socket, handshake::GRANTED).map_err(at(Step::Manager))?;
    let mount = rustix::mount::fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
    .map_err(at(Step::Mount))?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&mount, c"", CWD, target.as_c_str(), flags).map_err(at(Step::Attach))
}

/// Waits for this word of the manager; anything else means that it gave up.
fn wait_for(socket: BorrowedFd<'_>, word: u8) -> Result<()> {
    let mut answer = [0];
    let length = handshake::retry(|| rustix::io::read(socket, &mut answer))?;
    if length == 1 && answer[0] == word {
        Ok(())
    } else {
        Err(Errno::CONNABORTED)
    }
}
