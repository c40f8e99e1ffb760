// SPDX-License-Identifier: MIT OR Apache-2.0
//! The token: made from a BPF FS, or found by libbpf's rules.

use std::env;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::process::PidfdFlags;
use rustix::process::PidfdGetfdFlags;
use rustix::thread::CapabilitySet;

use crate::command::Log;
use crate::delegation::Delegation;
use crate::errno::Errno;
use crate::errno::IntoErrno;
use crate::error::Action;
use crate::error::Error;
use crate::error::Feature;
use crate::error::Result;
use crate::info::TokenInfo;
use crate::kernel::Kernel;
use crate::reason::Reason;
use crate::sys;

/// Where libbpf looks for a BPF FS.
pub const DEFAULT_BPFFS: &str = "/sys/fs/bpf";
/// The environment variable that tells libbpf where the BPF FS for a token is.
pub const TOKEN_PATH_ENV: &str = "LIBBPF_BPF_TOKEN_PATH";
/// The environment variable that names the descriptor of a token that was passed on, as
/// `bpftoken restrict` sets it.
pub const TOKEN_FD_ENV: &str = "BPF_TOKEN_FD";

/// A BPF token: a descriptor that lends the delegation of a BPF FS to bpf(2).
#[derive(Debug)]
pub struct Token(OwnedFd);

impl Token {
    /// Makes a token from the root directory of a BPF FS (`BPF_TOKEN_CREATE`).
    ///
    /// # Errors
    ///
    /// `EBADF` for an `O_PATH` descriptor, `EINVAL` if this is no root of a BPF FS, `EPERM` if the
    /// caller is not in the user namespace that owns it or lacks CAP_BPF there, `EOPNOTSUPP` in the
    /// initial user namespace, `ENOENT` if nothing is delegated.
    pub fn create(bpffs: impl AsFd) -> Result<Self> {
        Self::create_from(bpffs.as_fd(), None)
    }

    fn create_from(bpffs: BorrowedFd<'_>, path: Option<&Path>) -> Result<Self> {
        let errno = match sys::token_create(bpffs, None) {
            Ok(token) => return Ok(Self(token)),
            Err(errno) => errno.into_errno(),
        };
        let mut log = Log::new(4096);
        // What was missing for a moment may be there now.
        let reason = match sys::token_create(bpffs, Some(&mut log)) {
            Ok(token) => return Ok(Self(token)),
            Err(_) if !log.text().is_empty() => Reason::new(&log.text()),
            Err(_) => why_not_created(bpffs, errno),
        };
        let action = Action::CreateToken {
            bpffs: path.map(Path::to_path_buf),
        };
        Err(Error::with_reason(action, errno, reason))
    }

    /// Makes a token from the BPF FS mounted on a directory.
    ///
    /// ```no_run
    /// let token = bpf_token::Token::from_bpffs("/sys/fs/bpf")?;
    /// println!("map types: {}", token.info()?.maps);
    /// # Ok::<(), bpf_token::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create) and of opening the directory.
    pub fn from_bpffs(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| Error::file(path, errno.into()))?;
        Self::create_from(dir.as_fd(), Some(path))
    }

    /// Makes a narrower token, for one who needs less: it grants what this one grants and is in
    /// `keep`. It is of the same BPF FS and has the same cookie.
    ///
    /// ```no_run
    /// use bpf_token::{Cmd, Delegation, MapType, Token};
    /// let token = Token::from_bpffs("/sys/fs/bpf")?;
    /// let keep = Delegation::new().cmds(Cmd::MAP_CREATE).maps(MapType::ARRAY);
    /// let for_worker = token.restrict(&keep)?;
    /// # Ok::<(), bpf_token::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if the kernel has no restricted tokens; [`Error::NotInKernel`] for a
    /// name that it lacks; [`Error::Invalid`] for a cookie in `keep`; `ENOENT` if nothing is left;
    /// otherwise those of [`create`](Self::create).
    pub fn restrict(&self, keep: &Delegation) -> Result<Self> {
        Self::restricted(self.as_fd(), keep)
    }

    /// As [`create`](Self::create), with just what the BPF FS delegates and is in `keep`.
    ///
    /// # Errors
    ///
    /// As [`restrict`](Self::restrict).
    pub fn create_restricted(bpffs: impl AsFd, keep: &Delegation) -> Result<Self> {
        Self::restricted(bpffs.as_fd(), keep)
    }

    fn restricted(source: BorrowedFd<'_>, keep: &Delegation) -> Result<Self> {
        if keep.cookie != 0 {
            return Err(Error::Invalid(
                "a restricted token has the cookie of its source; give none".to_owned(),
            ));
        }
        let allowed = keep.bits(Kernel::running())?;
        let errno = match sys::token_restrict(source, allowed, None) {
            Ok(token) => return Ok(Self(token)),
            Err(errno) => errno.into_errno(),
        };
        if errno == Errno::EINVAL && !sys::can_restrict() {
            return Err(Error::Unsupported(Feature::Restriction));
        }
        let mut log = Log::new(4096);
        let reason = match sys::token_restrict(source, allowed, Some(&mut log)) {
            Ok(token) => return Ok(Self(token)),
            Err(_) if !log.text().is_empty() => Reason::new(&log.text()),
            Err(_) if errno == Errno::ENOENT => {
                Reason::found("no token: of what the allowed_ fields name, nothing is delegated")
            }
            Err(_) => why_not_created(source, errno),
        };
        Err(Error::with_reason(Action::RestrictToken, errno, reason))
    }

    /// Takes a descriptor, such as one received over a Unix socket, that must be a token.
    ///
    /// # Errors
    ///
    /// [`Error::NotAToken`] if it is none.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        match fdinfo(fd.as_fd())? {
            Some(_) => Ok(Self(fd)),
            None => Err(Error::NotAToken { fd: fd.as_raw_fd() }),
        }
    }

    /// Takes up a token whose descriptor has this number in this process, such as one that was
    /// passed on by [`Container::pass_fd`](crate::Container::pass_fd) or by a service manager.
    ///
    /// The token gets a descriptor of its own; the one of this number stays open.
    ///
    /// ```no_run
    /// let token = bpf_token::Token::inherited(3)?;
    /// # Ok::<(), bpf_token::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `EBADF` if it is not open, [`Error::NotAToken`] if it is something else.
    pub fn inherited(number: i32) -> Result<Self> {
        Self::from_fd(inherited_fd(number)?)
    }

    /// Finds the token that libbpf would use, or one that was passed on.
    ///
    /// An `explicit` path comes first, then the descriptor that [`TOKEN_FD_ENV`] names, then
    /// [`TOKEN_PATH_ENV`]; each must work, and an empty one of the paths means no token. With none of
    /// them, [`DEFAULT_BPFFS`] is tried, and may lack a delegation.
    ///
    /// libbpf knows nothing of [`TOKEN_FD_ENV`]; `libbpf::TokenPath::Token` has it use such a token.
    ///
    /// ```no_run
    /// use bpf_token::{Discovery, Token};
    /// match Token::discover(None)? {
    ///     Discovery::Found { path, .. } => println!("a token from {}", path.display()),
    ///     Discovery::Passed { number, .. } => println!("the token that is descriptor {number}"),
    ///     Discovery::NotFound { reason } => println!("no token: {reason}"),
    /// }
    /// # Ok::<(), bpf_token::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`from_bpffs`](Self::from_bpffs) and of [`inherited`](Self::inherited), for what must
    /// work.
    pub fn discover(explicit: Option<&Path>) -> Result<Discovery> {
        if explicit.is_none() {
            if let Some(number) = env::var_os(TOKEN_FD_ENV) {
                let number = number.to_string_lossy();
                let number: i32 = number.parse().map_err(|_| {
                    Error::Invalid(format!(
                        "{TOKEN_FD_ENV} is \"{number}\", which is not the number of a descriptor"
                    ))
                })?;
                let token = Self::inherited(number)?;
                return Ok(Discovery::Passed { token, number });
            }
        }
        let from_env = || env::var_os(TOKEN_PATH_ENV).map(PathBuf::from);
        let (path, who) = match explicit.map(Path::to_path_buf) {
            Some(path) => (Some(path), "the path given".to_owned()),
            None => (from_env(), TOKEN_PATH_ENV.to_owned()),
        };
        match path {
            Some(path) if path.as_os_str().is_empty() => Ok(Discovery::NotFound {
                reason: format!("{who} is empty, which asks for none"),
            }),
            Some(path) => {
                let token = Self::from_bpffs(&path)?;
                Ok(Discovery::Found { token, path })
            }
            None => Ok(match Self::from_bpffs(DEFAULT_BPFFS) {
                Ok(token) => Discovery::Found {
                    token,
                    path: DEFAULT_BPFFS.into(),
                },
                Err(error) => Discovery::NotFound {
                    reason: error.to_string(),
                },
            }),
        }
    }

    /// Another descriptor of the same token.
    ///
    /// # Errors
    ///
    /// `EMFILE` if the caller has too many descriptors.
    pub fn try_clone(&self) -> Result<Self> {
        let clone = rustix::io::fcntl_dupfd_cloexec(&self.0, 0);
        clone
            .map(Self)
            .map_err(|errno| Error::sys("duplicate a descriptor", errno))
    }

    /// What the token grants now, and its cookie (`BPF_OBJ_GET_INFO_BY_FD`; before Linux 6.17, from
    /// fdinfo).
    ///
    /// # Errors
    ///
    /// Those of bpf(2), and of reading /proc.
    pub fn info(&self) -> Result<TokenInfo> {
        let errno = match sys::token_info(self.as_fd()) {
            Ok([masks @ .., cookie]) => {
                return Ok(TokenInfo::from_bits(masks).with_cookie(cookie));
            }
            Err(errno) => errno.into_errno(),
        };
        // A kernel without the command for tokens takes the descriptor for a wrong one.
        let info = match errno {
            Errno::EINVAL => fdinfo(self.as_fd())?,
            _ => None,
        };
        info.ok_or_else(|| Error::sys(Action::TokenInfo, errno))
    }
}

/// What fdinfo says of a descriptor, if it is a token.
fn fdinfo(fd: BorrowedFd<'_>) -> Result<Option<TokenInfo>> {
    let path = PathBuf::from(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()));
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(TokenInfo::from_fdinfo(&text)),
        Err(error) => Err(Error::file(path, error)),
    }
}

/// A descriptor of the file that has this number in this process, which another program opened and
/// passed on. The number itself stays open.
///
/// # Errors
///
/// `EBADF` if it is not open.
pub fn inherited_fd(number: i32) -> Result<OwnedFd> {
    let get = || {
        let own = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
        if own.as_raw_fd() == number {
            // It was free until now.
            return Err(rustix::io::Errno::BADF);
        }
        rustix::process::pidfd_getfd(own, number, PidfdGetfdFlags::empty())
    };
    get().map_err(|errno| Error::sys(format!("take up descriptor {number}"), errno))
}

impl AsFd for Token {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Token> for OwnedFd {
    fn from(token: Token) -> Self {
        token.0
    }
}

/// What [`Token::discover`] found.
#[derive(Debug)]
pub enum Discovery {
    /// A token.
    Found {
        /// The token.
        token: Token,
        /// The BPF FS that it was made from.
        path: PathBuf,
    },
    /// A token that was passed on.
    Passed {
        /// The token.
        token: Token,
        /// The number of the descriptor that was passed on.
        number: i32,
    },
    /// No token, and none that was asked for.
    NotFound {
        /// Why.
        reason: String,
    },
}

impl Discovery {
    /// The token, if there is one.
    pub fn token(&self) -> Option<&Token> {
        match self {
            Self::Found { token, .. } | Self::Passed { token, .. } => Some(token),
            Self::NotFound { .. } => None,
        }
    }

    /// The token, if there is one.
    pub fn into_token(self) -> Option<Token> {
        match self {
            Self::Found { token, .. } | Self::Passed { token, .. } => Some(token),
            Self::NotFound { .. } => None,
        }
    }
}

/// The rule behind an errno of token creation, in the words of the kernels that tell it.
fn why_not_created(bpffs: BorrowedFd<'_>, errno: Errno) -> Reason {
    const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
    let step = match errno {
        Errno::ENOENT => "the BPF file system delegates nothing",
        Errno::EINVAL => match rustix::fs::fstatfs(bpffs) {
            Ok(stat) if u64::try_from(stat.f_type) == Ok(BPF_FS_MAGIC) => {
                "the descriptor is not the root of a file system"
            }
            Ok(_) => "the descriptor is not that of a BPF file system",
            Err(_) => return Reason::default(),
        },
        Errno::EPERM => {
            let bpf = CapabilitySet::BPF | CapabilitySet::SYS_ADMIN;
            match rustix::thread::capabilities(None) {
                Ok(sets) if !sets.effective.intersects(bpf) => {
                    "this needs CAP_BPF in the user namespace"
                }
                _ => "the BPF file system belongs to another user namespace",
            }
        }
        Errno::EOPNOTSUPP => {
            "the initial user namespace has none: there, CAP_BPF does what a token does"
        }
        _ => return Reason::default(),
    };
    Reason::found(format_args!("no token: {step}"))
}
