// SPDX-License-Identifier: MIT OR Apache-2.0
//! The fs context of a BPF FS: fsopen(2), fsconfig(2), fsmount(2), move_mount(2), and the context's
//! log.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::FsMountFlags;
use rustix::mount::FsOpenFlags;
use rustix::mount::FsPickFlags;
use rustix::mount::MountAttrFlags;
use rustix::mount::MoveMountFlags;

use crate::delegation::COOKIE;
use crate::error::Action;
use crate::error::Error;
use crate::error::Result;
use crate::reason::Reason;

/// How many messages are taken of a context's log, which holds 8.
const LOG_LINES: usize = 8;

/// A BPF FS that is being set up.
///
/// The user namespace of the process that opened it will own the instance; who may set what depends
/// on the process that does.
///
/// ```no_run
/// use bpf_token::FsContext;
/// let context = FsContext::open()?;
/// context.set("mode", "0700")?;
/// context.set("delegate_cmds", "any")?;
/// context.create()?;
/// context.mount()?.attach("/mnt")?;
/// # Ok::<(), bpf_token::Error>(())
/// ```
#[derive(Debug)]
pub struct FsContext(OwnedFd);

impl FsContext {
    /// Opens a context for a new BPF FS, owned by the caller's user namespace.
    ///
    /// # Errors
    ///
    /// `EPERM` without CAP_SYS_ADMIN in that user namespace, `ENODEV` if the kernel has no BPF FS.
    pub fn open() -> Result<Self> {
        rustix::mount::fsopen(c"bpf", FsOpenFlags::FSOPEN_CLOEXEC)
            .map(Self)
            .map_err(|errno| Error::sys("fsopen bpf", errno))
    }

    /// Opens a context to change the options of a BPF FS: the root directory of one of its mounts.
    /// [`Instance`](crate::Instance) does that and looks whether it worked.
    ///
    /// # Errors
    ///
    /// `EPERM` without CAP_SYS_ADMIN in the mount namespace's user namespace, `EINVAL` if no mount
    /// has its root there.
    pub fn pick(root: impl AsFd) -> Result<Self> {
        let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
        rustix::mount::fspick(root, c"", flags)
            .map(Self)
            .map_err(|errno| Error::sys("fspick BPF FS", errno))
    }

    /// Gives the file system the options of a context that [`pick`](Self::pick) opened. The C
    /// implementation of Linux 7.3 says that it did and changes nothing.
    ///
    /// # Errors
    ///
    /// `EPERM` if a delegation changes without CAP_SYS_ADMIN in the initial user namespace.
    pub fn reconfigure(&self) -> Result<()> {
        rustix::mount::fsconfig_reconfigure(&self.0)
            .map_err(|errno| self.error("reconfigure BPF FS", errno))
    }

    /// Sets an option.
    ///
    /// # Errors
    ///
    /// Those of the option, with what the kernel wrote into the context's log.
    pub fn set(&self, key: &str, value: impl AsRef<OsStr>) -> Result<()> {
        let value = value.as_ref();
        rustix::mount::fsconfig_set_string(&self.0, key, value).map_err(|errno| {
            let action = Action::SetOption {
                option: key.to_owned(),
                value: value.to_string_lossy().into_owned(),
            };
            self.error(action, errno)
        })
    }

    /// Makes the file system.
    ///
    /// # Errors
    ///
    /// `EPERM` without CAP_SYS_ADMIN in the initial user namespace, also for an instance that
    /// another one will own.
    pub fn create(&self) -> Result<()> {
        rustix::mount::fsconfig_create(&self.0).map_err(|errno| self.error("create BPF FS", errno))
    }

    /// Turns the file system made by [`create`](Self::create) into a mount that is nowhere yet.
    ///
    /// # Errors
    ///
    /// `EINVAL` before `create`, `EPERM` without CAP_SYS_ADMIN in the mount namespace's user
    /// namespace.
    pub fn mount(&self) -> Result<DetachedMount> {
        rustix::mount::fsmount(
            &self.0,
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::empty(),
        )
        .map(DetachedMount)
        .map_err(|errno| self.error("fsmount", errno))
    }

    /// Takes what the kernel has written into the context's log.
    pub fn take_log(&self) -> Reason {
        let mut lines = Vec::new();
        let mut buffer = [0; 4096];
        // A read returns one message, and ENODATA after the last. `e`, `w` and `i` tell errors,
        // warnings and notes. Whoever else has the context can add as many as he likes.
        while lines.len() < LOG_LINES {
            let Ok(length @ 1..) = rustix::io::read(&self.0, &mut buffer) else {
                break;
            };
            let line = String::from_utf8_lossy(&buffer[..length]);
            let text = line.split_once(' ').map_or(&*line, |(_, text)| text);
            lines.push(printable(text.trim()));
        }
        Reason::new(&lines.join("\n"))
    }

    /// Whether this is the context of a BPF FS that can delegate, and not yet made.
    ///
    /// A context does not tell its file system, and whoever makes one on another's behalf lends it
    /// his capabilities: for a file system that ignores options that it does not know (debugfs
    /// does), the delegation would be set in vain and the file system be made all the same. Only a
    /// BPF FS both refuses a bad mask and accepts an empty one.
    pub(crate) fn can_delegate(&self) -> bool {
        let set = |mask| rustix::mount::fsconfig_set_string(&self.0, c"delegate_cmds", mask);
        let bpffs = set(c"?") == Err(Errno::INVAL) && set(c"0").is_ok();
        // What the kernel said of the bad mask is of no interest to anybody.
        drop(self.take_log());
        bpffs
    }

    /// Whether the kernel knows the option for a cookie: only then it refuses one that is no number.
    pub(crate) fn has_cookies(&self) -> bool {
        let refused = rustix::mount::fsconfig_set_string(&self.0, COOKIE, c"?").is_err();
        drop(self.take_log());
        refused
    }

    fn error(&self, action: impl Into<Action>, errno: Errno) -> Error {
        Error::with_reason(action, errno, self.take_log())
    }
}

/// What a terminal only shows: a message may quote an option of the container's.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

impl From<OwnedFd> for FsContext {
    /// A context opened elsewhere, such as one received from a container.
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for FsContext {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A mounted BPF FS without a place; it is gone when dropped, unless it was attached.
#[derive(Debug)]
pub struct DetachedMount(OwnedFd);

impl DetachedMount {
    /// Attaches the mount to a directory.
    ///
    /// # Errors
    ///
    /// `ENOENT` or `ENOTDIR` for a target that is no directory, `EPERM` without CAP_SYS_ADMIN over
    /// the mount namespace.
    pub fn attach(&self, target: impl AsRef<Path>) -> Result<()> {
        let target = target.as_ref();
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(&self.0, c"", CWD, target, flags)
            .map_err(|errno| Error::sys(format!("mount BPF FS on {}", target.display()), errno))
    }

    /// Opens the root directory, for [`Token::create`](crate::Token::create), without a place for
    /// the mount.
    ///
    /// # Errors
    ///
    /// `EACCES` if its mode does not let the caller in.
    pub fn open_root(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.0, c".", flags, Mode::empty())
            .map_err(|errno| Error::sys("open the root of a BPF FS", errno))
    }
}

impl AsFd for DetachedMount {
    /// The mount, as an `O_PATH` descriptor.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_move_no_cursor() {
        assert_eq!(printable("a \x1b[2Jb\u{9b}c\n"), "a \\u{1b}[2Jb\\u{9b}c\\n");
        assert_eq!(printable("größer"), "größer");
    }
}
