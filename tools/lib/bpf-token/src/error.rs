// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong, with the reason.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::delegation::Delegation;
use crate::delegation::COOKIE;
use crate::errno::Errno;
use crate::errno::IntoErrno;
use crate::kernel::Missing;
use crate::kind;
use crate::kind::Kind;
use crate::names::AttachType;
use crate::names::MapType;
use crate::names::ProgType;
use crate::reason::Reason;
use crate::step::Step;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
///
/// It prints as one line, which has the last line of the [`reason`](Self::reason).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An item of a delegation is not written as the mount options ask.
    #[error("{option}: \"{item}\": {problem}")]
    #[non_exhaustive]
    Syntax {
        /// The mount option that the item stands in, such as `delegate_cmds`.
        option: &'static str,
        /// The offending item.
        item: String,
        /// What is wrong with it, and what would be right.
        problem: String,
    },

    /// A mount option that delegates nothing.
    #[error(
        "\"{option}\": no delegation option{}; there are {}",
        near(option),
        options()
    )]
    #[non_exhaustive]
    Option {
        /// The option.
        option: String,
    },

    /// Names in a delegation that the running kernel does not have.
    #[error("this kernel has {}", list(missing))]
    #[non_exhaustive]
    NotInKernel {
        /// The names, at least one.
        missing: Vec<Missing>,
    },

    /// The running kernel lacks what was asked for, which was found out by trying.
    #[error("this kernel has no {0}")]
    Unsupported(Feature),

    /// A BPF FS delegates what was to be taken back: somebody else changed it at the same time.
    #[error("the BPF FS still delegates {beyond}: somebody else changed it meanwhile; try again")]
    #[non_exhaustive]
    StillDelegated {
        /// What was to be taken back.
        beyond: Box<Delegation>,
    },

    /// A system call failed.
    #[error("{action}: {errno}{reason}")]
    #[non_exhaustive]
    Sys {
        /// What was to be done.
        action: Action,
        /// The error of the system call.
        errno: Errno,
        /// What the kernel had to say, or what was found out for it.
        reason: Reason,
    },

    /// A file of `/proc` or a file system could not be read or written.
    #[error("{}: {}", path.display(), io_text(r#source))]
    #[non_exhaustive]
    File {
        /// The file.
        path: PathBuf,
        /// Why; it is part of what this prints, and no [`source`](std::error::Error::source).
        r#source: io::Error,
    },

    /// The other side of a hand-shake said no or did not keep to the protocol.
    #[error("hand-shake: {0}")]
    Handshake(String),

    /// The command of a container could not be started.
    #[error("container: {step}: {errno}{reason}")]
    #[non_exhaustive]
    Container {
        /// The step of the set-up that failed.
        step: Step,
        /// The error of that step.
        errno: Errno,
        /// What the kernel had to say.
        reason: Reason,
    },

    /// A process to delegate to is in no container: a token works in no user namespace but another one.
    #[error("process {pid} runs in this user namespace; a token only works in another one")]
    #[non_exhaustive]
    SameUserNamespace {
        /// The process.
        pid: i32,
    },

    /// A descriptor that is not a BPF token.
    #[error("descriptor {fd} is not a BPF token")]
    #[non_exhaustive]
    NotAToken {
        /// The descriptor's number.
        fd: i32,
    },

    /// The program of a container could not be executed.
    #[error("{}: {errno}", program.display())]
    #[non_exhaustive]
    Exec {
        /// The program, as it was named.
        program: PathBuf,
        /// `ENOENT` if there is no such file, or no interpreter for it.
        errno: Errno,
    },

    /// The other side did not answer in time.
    #[error("waited {} s {what}", limit.as_secs_f32())]
    #[non_exhaustive]
    TimedOut {
        /// What was waited for.
        what: &'static str,
        /// How long.
        limit: Duration,
    },

    /// An argument that no kernel accepts.
    #[error("{0}")]
    Invalid(String),

    /// libbpf could not read or load an object.
    #[cfg(feature = "libbpf")]
    #[error("{action}: {}{reason}", libbpf_errno(*errno))]
    #[non_exhaustive]
    Libbpf {
        /// What was to be done.
        action: Action,
        /// The errno that libbpf gave.
        errno: Option<Errno>,
        /// What libbpf said, and the kernel's log.
        reason: Reason,
    },
}

/// What `CONFIG_BPF_TOKEN_RUST` has and the C implementation of Linux 7.3 has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Feature {
    /// Tokens that permit less than their source, and tokens from tokens.
    Restriction,
    /// Delegations with a cookie.
    Cookies,
    /// Delegations that can be taken back.
    Narrowing,
    /// Programs that tell that they were loaded through a token.
    Inventory,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Restriction => "restricted tokens: it does not know BPF_F_TOKEN_RESTRICT",
            Self::Cookies => {
                "cookies for delegations: it passes over the mount option delegate_cookie, so that \
                 no policy would see it"
            }
            Self::Narrowing => {
                "way to take a delegation back: the remount succeeded and changed nothing, so all \
                 that was delegated still is; what helps is to end the processes that hold tokens"
            }
            Self::Inventory => {
                "inventory of tokens: a program does not tell that it was loaded through one"
            }
        })?;
        f.write_str(" (CONFIG_BPF_TOKEN_RUST has it)")
    }
}

/// What was to be done when a system call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// `BPF_TOKEN_CREATE`.
    #[non_exhaustive]
    CreateToken {
        /// The directory, where it is known.
        bpffs: Option<PathBuf>,
    },
    /// `BPF_TOKEN_CREATE` with `BPF_F_TOKEN_RESTRICT`.
    RestrictToken,
    /// `BPF_OBJ_GET_INFO_BY_FD` of a token.
    TokenInfo,
    /// `BPF_MAP_CREATE`.
    #[non_exhaustive]
    CreateMap {
        /// The type of the map.
        map_type: MapType,
        /// Its name; empty if it has none.
        name: String,
    },
    /// `BPF_PROG_LOAD`.
    #[non_exhaustive]
    LoadProgram {
        /// The type of the program.
        prog_type: ProgType,
        /// What it was to be loaded for.
        attach_type: AttachType,
        /// Its name; empty if it has none.
        name: String,
    },
    /// `BPF_BTF_LOAD`.
    LoadBtf,
    /// `BPF_BTF_GET_FD_BY_ID`.
    #[non_exhaustive]
    GetBtf {
        /// The id.
        id: u32,
    },
    /// fsconfig(2) of an option.
    #[non_exhaustive]
    SetOption {
        /// The option.
        option: String,
        /// The value.
        value: String,
    },
    /// Another step.
    Other(String),
}

impl Error {
    pub(crate) fn sys(action: impl Into<Action>, errno: impl IntoErrno) -> Self {
        Self::with_reason(action, errno, Reason::default())
    }

    /// An error of waiting, which `ETIMEDOUT` ends.
    pub(crate) fn waiting(what: &'static str, errno: rustix::io::Errno, limit: Duration) -> Self {
        match errno {
            rustix::io::Errno::TIMEDOUT => Self::TimedOut { what, limit },
            errno => Self::sys(format!("wait {what}"), errno),
        }
    }

    pub(crate) fn file(path: impl Into<PathBuf>, error: io::Error) -> Self {
        Self::File {
            path: path.into(),
            r#source: error,
        }
    }

    pub(crate) fn with_reason(
        action: impl Into<Action>,
        errno: impl IntoErrno,
        reason: Reason,
    ) -> Self {
        Self::Sys {
            action: action.into(),
            errno: errno.into_errno(),
            reason,
        }
    }

    /// The error of a system call with a line more in its reason.
    pub(crate) fn and(self, line: &str) -> Self {
        match self {
            Self::Sys {
                action,
                errno,
                reason,
            } => Self::with_reason(action, errno, reason.and(line)),
            other => other,
        }
    }

    /// The errno behind the error, if a system call failed.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Sys { errno, .. } | Self::Container { errno, .. } | Self::Exec { errno, .. } => {
                Some(*errno)
            }
            Self::TimedOut { .. } => Some(Errno::ETIMEDOUT),
            Self::File { source, .. } => Errno::of(source),
            #[cfg(feature = "libbpf")]
            Self::Libbpf { errno, .. } => *errno,
            _ => None,
        }
    }

    /// What the kernel wrote into its log about the failure, or what was found out for it; empty
    /// where there is nothing to say.
    pub fn reason(&self) -> &Reason {
        static NONE: Reason = Reason::NONE;
        match self {
            Self::Sys { reason, .. } | Self::Container { reason, .. } => reason,
            #[cfg(feature = "libbpf")]
            Self::Libbpf { reason, .. } => reason,
            _ => &NONE,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn named(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
            if name.is_empty() {
                return Ok(());
            }
            write!(f, " \"{name}\"")
        }
        match self {
            Self::CreateToken { bpffs: None } => f.write_str("create BPF token"),
            Self::CreateToken { bpffs: Some(path) } => {
                write!(f, "create BPF token from {}", path.display())
            }
            Self::RestrictToken => f.write_str("create restricted BPF token"),
            Self::TokenInfo => f.write_str("get info of BPF token"),
            Self::CreateMap { map_type, name } => {
                f.write_str("create map")?;
                named(f, name)?;
                write!(f, " of type {map_type}")
            }
            Self::LoadProgram {
                prog_type,
                attach_type,
                name,
            } => {
                f.write_str("load program")?;
                named(f, name)?;
                write!(f, " of type {prog_type}")?;
                if *attach_type == AttachType::default() {
                    return Ok(());
                }
                write!(f, " for {attach_type}")
            }
            Self::LoadBtf => f.write_str("load BTF"),
            Self::GetBtf { id } => write!(f, "get BTF {id}"),
            Self::SetOption { option, value } => write!(f, "set {option}={value}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl From<String> for Action {
    fn from(text: String) -> Self {
        Self::Other(text)
    }
}

impl From<&str> for Action {
    fn from(text: &str) -> Self {
        Self::Other(text.to_owned())
    }
}

/// The option that may have been meant.
fn near(option: &str) -> String {
    let all = Kind::ALL.map(|kind| kind.option);
    let close = kind::closest(option, all.into_iter().chain([COOKIE]));
    close.map_or_else(String::new, |close| format!(" (is \"{close}\" meant?)"))
}

fn options() -> String {
    let [first, second, third, last] = Kind::ALL.map(|kind| kind.option);
    format!("{first}, {second}, {third}, {last} and {COOKIE}")
}

fn list(missing: &[Missing]) -> String {
    let texts: Vec<String> = missing.iter().map(|one| format!("no {one}")).collect();
    texts.join(", ")
}

/// The text with the errno's name, where there is one.
fn io_text(error: &io::Error) -> String {
    Errno::of(error).map_or_else(|| error.to_string(), |errno| errno.to_string())
}

#[cfg(feature = "libbpf")]
fn libbpf_errno(errno: Option<Errno>) -> String {
    errno.map_or_else(|| "failed".to_owned(), |errno| errno.to_string())
}
