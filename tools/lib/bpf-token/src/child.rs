// SPDX-License-Identifier: MIT OR Apache-2.0
//! What runs in a new process of a container until it executes its command.
//!
//! The parent may have threads, so nothing here allocates or takes locks.

mod bpffs;
mod first;
mod hide;
mod tree;

use std::ffi::CString;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::mount::MountPropagationFlags;
use rustix::net::SendFlags;
use rustix::process::DumpableBehavior;
use rustix::process::Gid;
use rustix::process::Signal;
use rustix::process::Uid;
use rustix::thread::ThreadNameSpaceType;

use crate::handshake;
use crate::step::Step;
use crate::sys;

/// The manager has written the id maps.
pub(crate) const MAPPED: u8 = b'M';
/// The process that will execute the command is ready; its id comes with this.
pub(crate) const READY: u8 = b'C';
/// The manager knows that process.
pub(crate) const GO: u8 = b'E';
/// All is done, where there is no command.
pub(crate) const DONE: u8 = b'D';
/// The root of the BPF FS comes with this.
pub(crate) const ROOT: u8 = b'B';
/// A step failed; its number and the errno follow.
pub(crate) const FAILED: u8 = b'X';

/// The exit status of a process that failed; who waits for it has heard why.
const STATUS_FAILED: i32 = 127;

/// The step that failed, and how.
type Failure = (Step, Errno);
type Result<T, E = Failure> = std::result::Result<T, E>;

/// Says which step an errno is about.
fn at(step: Step) -> impl Fn(Errno) -> Failure {
    move |errno| (step, errno)
}

/// Where the process goes before anything else.
pub(crate) enum Place {
    /// New namespaces, which clone(2) made; the manager writes the id maps.
    New(NewContainer),
    /// The user and mount namespaces of the process behind a pidfd.
    Existing { pidfd: OwnedFd },
}

/// What only a new container has.
pub(crate) struct NewContainer {
    /// Whether the container has its own process namespace, which needs its own /proc.
    pub(crate) own_pids: bool,
    /// Whether it is kept from each BPF FS that there was.
    pub(crate) no_bpffs: bool,
    /// Whether the command would be able to type into the manager's terminal.
    pub(crate) may_type: bool,
    /// Whether it gets a session of its own, without that terminal.
    pub(crate) new_session: bool,
    /// Where the manager's arguments are in memory.
    pub(crate) arguments: Range<usize>,
    /// Leads to the manager as long as the container lives.
    pub(crate) life: OwnedFd,
    /// Descriptors to pass on, with the numbers that they get: none twice.
    pub(crate) fds: Vec<(OwnedFd, RawFd)>,
    /// What to execute.
    pub(crate) exec: sys::Exec,
}

/// What to do about the BPF FS of the container, or what stands in for its tracefs.
pub(crate) enum Work {
    /// None is wanted.
    Nothing,
    /// Mounts one on this directory. In a running container, one that delegates already is in the
    /// way, unless it is to be replaced.
    Mount { target: CString, replace: bool },
    /// Unmounts the one that delegates.
    Unmount { target: CString },
    /// Mounts this file system on the directory, for a broker of probes. One that was mounted for a
    /// broker before is in the way, unless it is to be replaced.
    Place {
        target: CString,
        tree: OwnedFd,
        replace: bool,
    },
    /// Unmounts this file system, wherever it is now.
    Displace { tree: OwnedFd },
    /// Opens the root of the one that belongs to the container, for the manager; of this device,
    /// major and minor, if that is said.
    Reach {
        target: CString,
        device: Option<(u32, u32)>,
    },
}

/// All that the new process does.
pub(crate) struct Plan {
    /// Leads to the manager for the time of the set-up.
    pub(crate) setup: OwnedFd,
    pub(crate) place: Place,
    /// The ids to take on inside; without a change of the user namespace they stay.
    pub(crate) ids: Option<(Uid, Gid)>,
    pub(crate) work: Work,
    /// The descriptors that stay open; a buffer, for there is no allocating in the new process.
    pub(crate) keep: Vec<RawFd>,
}

impl Plan {
    /// How many descriptors the new process needs at most.
    pub(crate) fn needs(place: &Place) -> usize {
        match place {
            // Three standard ones, `setup`, `life` and the program.
            Place::New(new) => 6 + new.fds.len(),
            // `setup`, the pidfd and what is mounted.
            Place::Existing { .. } => 3,
        }
    }

    /// Runs in the new process.
    pub(crate) fn run(&mut self) -> i32 {
        match self.steps() {
            Ok(status) => status,
            Err(failure) => {
                report(self.setup.as_fd(), failure);
                STATUS_FAILED
            }
        }
    }

    fn steps(&mut self) -> Result<i32> {
        self.close_rest().map_err(at(Step::Close))?;
        let setup = self.setup.as_fd();
        match &mut self.place {
            Place::New(new) => {
                // The id maps can only be written while the process is its user's to look into.
                wait_for(setup, MAPPED).map_err(at(Step::Manager))?;
                seal()?;
                if new.may_type {
                    new.new_session = !forbid_typing()?;
                }
            }
            Place::Existing { pidfd } => {
                seal()?;
                drop_groups().map_err(at(Step::Ids))?;
                let namespaces = ThreadNameSpaceType::USER | ThreadNameSpaceType::MOUNT;
                rustix::thread::move_into_thread_name_spaces(pidfd.as_fd(), namespaces)
                    .map_err(at(Step::Enter))?;
            }
        }
        self.take_ids().map_err(at(Step::Ids))?;
        // Other ids set it to fs.suid_dumpable.
        seal()?;
        if let Place::New(new) = &self.place {
            isolate(new)?;
        }
        let replace_in = matches!(self.place, Place::Existing { .. });
        match &self.work {
            Work::Nothing => {}
            Work::Mount { target, replace } => {
                bpffs::mount(setup, target, replace_in.then_some(*replace))?;
            }
            Work::Unmount { target } => bpffs::unmount(target)?,
            Work::Place {
                target,
                tree,
                replace,
            } => tree::place(target, tree.as_fd(), *replace)?,
            Work::Displace { tree } => bpffs::detach(tree.as_fd())?,
            Work::Reach { target, device } => bpffs::reach(setup, target, *device)?,
        }
        match &mut self.place {
            Place::New(new) => {
                if new.no_bpffs {
                    hide::drop_sys_admin().map_err(at(Step::Hide))?;
                }
                first::run(setup, new)
            }
            Place::Existing { .. } => {
                tell(setup, &[DONE]);
                Ok(0)
            }
        }
    }

    /// Closes what the new process has no use for, and moves the rest out of the way of the numbers
    /// that descriptors are passed on as.
    fn close_rest(&mut self) -> Result<(), Errno> {
        let keep = &mut self.keep;
        keep.clear();
        match &mut self.place {
            Place::New(new) => {
                let mut moved = 0;
                move_away(&mut self.setup, &new.fds)?;
                move_away(&mut new.life, &new.fds)?;
                if let Some(file) = new.exec.file() {
                    move_away(file, &new.fds)?;
                    keep.push(file.as_raw_fd());
                }
                while moved < new.fds.len() {
                    let mut fd = rustix::io::fcntl_dupfd_cloexec(&new.fds[moved].0, 3)?;
                    move_away(&mut fd, &new.fds)?;
                    new.fds[moved].0 = fd;
                    keep.push(new.fds[moved].0.as_raw_fd());
                    moved += 1;
                }
                keep.extend([0, 1, 2, new.life.as_raw_fd()]);
            }
            Place::Existing { pidfd } => keep.push(pidfd.as_raw_fd()),
        }
        keep.push(self.setup.as_raw_fd());
        if let Work::Place { tree, .. } | Work::Displace { tree } = &self.work {
            keep.push(tree.as_raw_fd());
        }
        sys::close_all_but(keep)
    }

    fn take_ids(&self) -> rustix::io::Result<()> {
        let Some((uid, gid)) = self.ids else {
            return Ok(());
        };
        drop_groups()?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)
    }
}

/// Gives a descriptor a number that none is passed on as.
fn move_away(fd: &mut OwnedFd, passed: &[(OwnedFd, RawFd)]) -> Result<(), Errno> {
    let taken = |number: RawFd| passed.iter().any(|(_, to)| *to == number);
    let mut from = 3;
    while taken(fd.as_raw_fd()) {
        let moved = rustix::io::fcntl_dupfd_cloexec(&*fd, from)?;
        from = moved.as_raw_fd() + 1;
        if !taken(moved.as_raw_fd()) {
            *fd = moved;
        }
    }
    Ok(())
}

/// Groups stay where setgroups(2) is denied, which is how a namespace without privilege begins.
fn drop_groups() -> rustix::io::Result<()> {
    match rustix::thread::set_thread_groups(&[]) {
        Err(Errno::PERM) => Ok(()),
        done => done,
    }
}

/// Shuts others out of this process: its memory is a copy of the manager's, and root of the user
/// namespace that it is in may look into every other process there.
///
/// Only CAP_SYS_PTRACE in the manager's user namespace, to which the memory belongs, opens a process
/// that is not dumpable. The program that it executes is a new one, with memory of its own.
fn seal() -> Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(at(Step::Seal))
}

/// Keeps all of the container from typing into its terminal; returns whether the kernel can.
fn forbid_typing() -> Result<bool> {
    match sys::forbid_typing() {
        Ok(()) => Ok(true),
        // Without seccomp filters.
        Err(Errno::NOSYS | Errno::INVAL) => Ok(false),
        Err(errno) => Err((Step::Terminal, errno)),
    }
}

/// Makes the mounts and the keys of a new container its own.
fn isolate(new: &NewContainer) -> Result<()> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change(c"/", private).map_err(at(Step::Propagation))?;
    if new.own_pids {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount(c"proc", c"/proc", c"proc", flags, None).map_err(at(Step::Proc))?;
    }
    if new.no_bpffs {
        hide::hide()?;
    }
    sys::new_session_keyring().map_err(at(Step::Keyring))
}

/// The command's process, a child of the container's first. Returns if that failed.
fn command(setup: BorrowedFd<'_>, new: &mut NewContainer) -> i32 {
    let failure = match before_exec(setup, new) {
        Ok(()) => (Step::Exec, new.exec.exec()),
        Err(failure) => failure,
    };
    report(setup, failure);
    STATUS_FAILED
}

fn before_exec(setup: BorrowedFd<'_>, new: &mut NewContainer) -> Result<()> {
    // The first process watches over the manager's end; it does not end without its own.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(at(Step::Fork))?;
    rustix::net::send(setup, &[READY], SendFlags::NOSIGNAL).map_err(at(Step::Manager))?;
    wait_for(setup, GO).map_err(at(Step::Manager))?;
    if new.new_session {
        rustix::process::setsid().map_err(at(Step::Terminal))?;
    }
    sys::close_on_exec().map_err(at(Step::Fds))?;
    for (fd, number) in &new.fds {
        sys::place_fd(fd.as_fd(), *number).map_err(at(Step::Fds))?;
    }
    sys::set_signal_mask(0).map_err(at(Step::Exec)).map(drop)
}

/// A manager that is gone needs no word.
fn tell(setup: BorrowedFd<'_>, words: &[u8]) {
    let _ = rustix::net::send(setup, words, SendFlags::NOSIGNAL);
}

fn report(setup: BorrowedFd<'_>, (step, errno): Failure) {
    let mut report = [FAILED, step as u8, 0, 0, 0, 0];
    report[2..].copy_from_slice(&errno.raw_os_error().to_ne_bytes());
    tell(setup, &report);
}

/// Waits for this word of the manager; anything else means that it gave up.
fn wait_for(setup: BorrowedFd<'_>, word: u8) -> rustix::io::Result<()> {
    let mut answer = [0];
    let length = handshake::retry(|| rustix::io::read(setup, &mut answer))?;
    if length == 1 && answer[0] == word {
        Ok(())
    } else {
        Err(Errno::CONNABORTED)
    }
}
