// SPDX-License-Identifier: GPL-2.0
//! What can go wrong, with the kernel's reason when it gave one.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A delegation is not written as the mount options ask.
    #[error("{option}: \"{item}\": {problem}")]
    Syntax {
        /// The mount option that the item stands in, such as `delegate_cmds`.
        option: &'static str,
        /// The offending item.
        item: String,
        /// What is wrong with it, and what would be right.
        problem: String,
    },

    /// A system call failed.
    #[error("{what}: {}{reason}", describe(*errno))]
    Sys {
        /// The step that failed.
        what: String,
        /// The error of the system call.
        errno: Errno,
        /// What the kernel had to say.
        reason: Reason,
    },

    /// A file of `/proc` or a file system could not be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// `/proc` could not be read.
    #[error(transparent)]
    Proc(#[from] procfs::ProcError),

    /// The other side of a hand-shake said no or did not keep to the protocol.
    #[error("hand-shake: {0}")]
    Handshake(String),

    /// The command of a container could not be started.
    #[error("container: {step}: {}{reason}", describe(*errno))]
    Container {
        /// The step of the set-up that failed.
        step: &'static str,
        /// The error of that step.
        errno: Errno,
        /// What the kernel had to say.
        reason: Reason,
    },

    /// An argument that no kernel accepts.
    #[error("{0}")]
    Invalid(String),

    /// libbpf refused.
    #[cfg(feature = "libbpf")]
    #[error(transparent)]
    Libbpf(#[from] libbpf_rs::Error),
}

impl Error {
    pub(crate) fn sys(what: impl Into<String>, errno: Errno) -> Self {
        Self::with_reason(what, errno, Reason::default())
    }

    pub(crate) fn with_reason(what: impl Into<String>, errno: Errno, reason: Reason) -> Self {
        Self::Sys {
            what: what.into(),
            errno,
            reason,
        }
    }

    /// The errno behind the error, if a system call failed.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Sys { errno, .. } | Self::Container { errno, .. } => Some(*errno),
            Self::File { source, .. } => Errno::from_io_error(source),
            _ => None,
        }
    }

    /// What the kernel wrote into its log about the failure; empty if it said nothing.
    pub fn reason(&self) -> &str {
        match self {
            Self::Sys { reason, .. } | Self::Container { reason, .. } => reason.as_str(),
            _ => "",
        }
    }
}

/// What the kernel wrote into a log (that of an fs context, or of a bpf(2) command) about a
/// failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    /// A reason from a log's text.
    pub(crate) fn new(log: &str) -> Self {
        Self(log.trim().to_owned())
    }

    /// The text, lines separated by line feeds; empty if the kernel said nothing.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", self.0.replace('\n', "; "))
    }
}

/// `Operation not permitted (EPERM)`, the name where it is one that tokens meet.
pub fn describe(errno: Errno) -> String {
    let text = io::Error::from(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    match errno_name(errno) {
        Some(name) => format!("{text} ({name})"),
        None => format!("{text} (errno {})", errno.raw_os_error()),
    }
}

/// The symbolic name of an errno that the BPF token code, bpf(2) or mount calls return.
pub fn errno_name(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::PERM => "EPERM",
        Errno::NOENT => "ENOENT",
        Errno::SRCH => "ESRCH",
        Errno::TOOBIG => "E2BIG",
        Errno::BADF => "EBADF",
        Errno::NOMEM => "ENOMEM",
        Errno::ACCESS => "EACCES",
        Errno::FAULT => "EFAULT",
        Errno::BUSY => "EBUSY",
        Errno::EXIST => "EEXIST",
        Errno::NODEV => "ENODEV",
        Errno::NOTDIR => "ENOTDIR",
        Errno::ISDIR => "EISDIR",
        Errno::INVAL => "EINVAL",
        Errno::MFILE => "EMFILE",
        Errno::NOSPC => "ENOSPC",
        Errno::RANGE => "ERANGE",
        Errno::NOSYS => "ENOSYS",
        Errno::OPNOTSUPP => "EOPNOTSUPP",
        _ => return None,
    })
}
