// SPDX-License-Identifier: GPL-2.0
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
use rustix::io::Errno;

use crate::error::Error;
use crate::error::Result;
use crate::info::TokenInfo;
use crate::sys;

/// Where libbpf looks for a BPF FS.
pub const DEFAULT_BPFFS: &str = "/sys/fs/bpf";
/// The environment variable that tells libbpf where the BPF FS for a token is.
pub const TOKEN_PATH_ENV: &str = "LIBBPF_BPF_TOKEN_PATH";

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
        sys::token_create(bpffs.as_fd())
            .map(Self)
            .map_err(|errno| Error::sys("create BPF token", errno))
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
            .map_err(|errno| Error::sys(format!("open {}", path.display()), errno))?;
        sys::token_create(dir.as_fd()).map(Self).map_err(|errno| {
            let explained = explain_create(errno);
            Error::sys(
                format!("create BPF token from {}{explained}", path.display()),
                errno,
            )
        })
    }

    /// Takes a descriptor, such as one received over a Unix socket, that must be a token.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if it is none.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        let path = PathBuf::from(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()));
        match std::fs::read_to_string(&path) {
            Ok(text) if TokenInfo::from_fdinfo(&text).is_some() => Ok(Self(fd)),
            Ok(_) => Err(Error::Invalid(format!(
                "descriptor {} is no BPF token",
                fd.as_raw_fd()
            ))),
            Err(source) => Err(Error::File { path, source }),
        }
    }

    /// Finds the token that libbpf would use.
    ///
    /// An `explicit` path comes first, then [`TOKEN_PATH_ENV`]; either must work, and an empty one
    /// means no token. With neither, [`DEFAULT_BPFFS`] is tried, and may lack a delegation.
    ///
    /// ```no_run
    /// use bpf_token::{Discovery, Token};
    /// match Token::discover(None)? {
    ///     Discovery::Found { path, .. } => println!("a token from {}", path.display()),
    ///     Discovery::NotFound { reason } => println!("no token: {reason}"),
    /// }
    /// # Ok::<(), bpf_token::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`from_bpffs`](Self::from_bpffs), for a path that must work.
    pub fn discover(explicit: Option<&Path>) -> Result<Discovery> {
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

    /// What the token grants (`BPF_OBJ_GET_INFO_BY_FD`).
    ///
    /// # Errors
    ///
    /// Those of bpf(2).
    pub fn info(&self) -> Result<TokenInfo> {
        sys::token_info(self.as_fd())
            .map(TokenInfo::from_bits)
            .map_err(|errno| Error::sys("get info of BPF token", errno))
    }
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
            Self::Found { token, .. } => Some(token),
            Self::NotFound { .. } => None,
        }
    }
}

/// The rule behind an errno of token creation, which the kernel has no log to put it in.
fn explain_create(errno: Errno) -> &'static str {
    match errno {
        Errno::NOENT => " (nothing is delegated there)",
        Errno::INVAL => " (no root directory of a BPF FS)",
        Errno::PERM => " (its owner is another user namespace, or CAP_BPF is missing in this one)",
        Errno::OPNOTSUPP => " (the initial user namespace has no tokens: use capabilities)",
        _ => "",
    }
}
