// SPDX-License-Identifier: MIT OR Apache-2.0
//! The error number of a system call, errno(3).

use std::fmt;
use std::io;

/// The error number of a system call.
///
/// ```
/// use bpf_token::Errno;
/// assert_eq!(Errno::EPERM.to_string(), "Operation not permitted (EPERM)");
/// assert_eq!(Errno::new(1).name(), Some("EPERM"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

/// Constants, and the names for numbers.
macro_rules! errnos {
    ($($name:ident)*) => {
        impl Errno {
            $(
                #[doc = concat!("`", stringify!($name), "`")]
                pub const $name: Self = Self(libc::$name);
            )*

            /// The symbolic name, such as `EPERM`.
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($name)),)*
                    Self::ENOTSUPP => Some("ENOTSUPP"),
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT
    ENOTBLK EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG
    ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY
    ELOOP ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG EUNATCH ENOCSI EL2HLT EBADE EBADR
    EXFULL ENOANO EBADRQC EBADSLT EBFONT ENOSTR ENODATA ETIME ENOSR ENONET ENOPKG EREMOTE ENOLINK
    EADV ESRMNT ECOMM EPROTO EMULTIHOP EDOTDOT EBADMSG EOVERFLOW ENOTUNIQ EBADFD EREMCHG ELIBACC
    ELIBBAD ELIBSCN ELIBMAX ELIBEXEC EILSEQ ERESTART ESTRPIPE EUSERS ENOTSOCK EDESTADDRREQ
    EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT
    EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET
    ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH
    EALREADY EINPROGRESS ESTALE EUCLEAN ENOTNAM ENAVAIL EISNAM EREMOTEIO EDQUOT ENOMEDIUM
    EMEDIUMTYPE ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED EOWNERDEAD ENOTRECOVERABLE
    ERFKILL
}

impl Errno {
    /// The kernel's own error number for what is not supported, which bpf(2) lets out; the C library
    /// does not know it.
    pub const ENOTSUPP: Self = Self(524);

    /// The error number of this value.
    pub const fn new(number: i32) -> Self {
        Self(number)
    }

    /// The value.
    pub const fn number(self) -> i32 {
        self.0
    }

    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        error.raw_os_error().map(Self)
    }
}

impl fmt::Display for Errno {
    /// The C library's text and the name: `Operation not permitted (EPERM)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match *self {
            Self::ENOTSUPP => "Operation not supported".to_owned(),
            Self(number) => io::Error::from_raw_os_error(number).to_string(),
        };
        let text = text.split(" (os error").next().unwrap_or_default();
        match self.name() {
            Some(name) => write!(f, "{text} ({name})"),
            None => write!(f, "{text} (errno {})", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "Errno({})", self.0),
        }
    }
}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}

/// Errnos of the crates that this one is built on, which do not show in its interface.
pub(crate) trait IntoErrno {
    fn into_errno(self) -> Errno;
}

impl IntoErrno for rustix::io::Errno {
    fn into_errno(self) -> Errno {
        Errno(self.raw_os_error())
    }
}

impl IntoErrno for Errno {
    fn into_errno(self) -> Errno {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errnos_have_names_and_texts() {
        assert_eq!(
            Errno::new(524).to_string(),
            "Operation not supported (ENOTSUPP)"
        );
        assert_eq!(Errno::new(95).name(), Some("EOPNOTSUPP"));
        assert!(Errno::new(4000).to_string().ends_with("(errno 4000)"));
        assert_eq!(format!("{:?}", Errno::EBADF), "EBADF");
    }
}
