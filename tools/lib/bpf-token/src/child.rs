// SPDX-License-Identifier: MIT OR Apache-2.0
//! What runs in the new process of a container until it executes its command.
//!
//! The parent may have threads, so nothing here allocates or takes locks.

use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::io::Result;
use rustix::mount::FsMountFlags;
use rustix::mount::FsOpenFlags;
use rustix::mount::MountAttrFlags;
use rustix::mount::MountFlags;
use rustix::mount::MountPropagationFlags;
use rustix::mount::MoveMountFlags;
use rustix::process::DumpableBehavior;
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
    Close,
    Manager,
    Seal,
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
    const ALL: [(Self, &'static str); 13] = [
        (Self::Close, "close what the container has no use for"),
        (Self::Manager, "wait for the manager"),
        (Self::Seal, "shut others out of the process"),
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
    /// The descriptors that the new process needs; `socket` leads to the manager.
    pub(crate) fn needs(&self, socket: BorrowedFd<'_>) -> Vec<RawFd> {
        let mut needs = vec![socket.as_raw_fd()];
        match &self.place {
            Place::New { .. } => needs.extend(0..3),
            Place::Existing { pidfd } => needs.push(pidfd.as_raw_fd()),
        }
        needs.extend(self.fds.iter().map(|(fd, _)| fd.as_raw_fd()));
        needs.extend(self.exec.iter().filter_map(sys::Exec::fd));
        needs
    }

    /// Runs in the new process, which keeps the descriptors in `needs` and no others.
    pub(crate) fn run(&self, socket: BorrowedFd<'_>, needs: &mut [RawFd]) -> i32 {
        let done = sys::close_all_but(needs)
            .map_err(|errno| (Step::Close, errno))
            .and_then(|()| self.steps(socket));
        let Err((step, errno)) = done else {
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
            Place::New { .. } => {
                // The id maps can only be written while the process is its user's to look into.
                wait_for(socket, MAPPED).map_err(at(Step::Manager))?;
                seal().map_err(at(Step::Seal))?;
            }
            Place::Existing { pidfd } => {
                seal().map_err(at(Step::Seal))?;
                let namespaces = ThreadNameSpaceType::USER | ThreadNameSpaceType::MOUNT;
                rustix::thread::move_into_thread_name_spaces(pidfd.as_fd(), namespaces)
                    .map_err(at(Step::Enter))?;
            }
        }
        self.take_ids().map_err(at(Step::Ids))?;
        // Other ids set it to fs.suid_dumpable.
        seal().map_err(at(Step::Seal))?;
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
        let Some(exec) = &self.exec else {
            return Ok(());
        };
        sys::set_signal_mask(0).map_err(at(Step::Exec))?;
        Err((Step::Exec, exec.exec()))
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

/// Shuts others out of this process: its memory is a copy of the manager's, and root of the user
/// namespace that it is in may look into every other process there.
///
/// Only CAP_SYS_PTRACE in the manager's user namespace, to which the memory belongs, opens a process
/// that is not dumpable. The program that it executes is a new one, with memory of its own.
fn seal() -> Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
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
