// SPDX-License-Identifier: GPL-2.0

//! `BPF_TOKEN_CREATE`.

use crate::{
    bpffs::BpfFs,
    decision::Given,
    delegation::Delegation,
    events::{
        self,
        Refused, //
    },
    line::Line,
    log::Log,
    token::{
        Token,
        FILE_OPERATIONS, //
    }, //
};
use core::fmt;
use kernel::{
    bindings,
    capability::Capability,
    fs::{
        current_umask,
        file::{
            flags,
            FileDescriptorReservation, //
        },
        Fd,
        Path,
        PseudoFile,
        MAY_ACCESS, //
    },
    macros::kunit_tests,
    prelude::*, //
};

/// The step at which the creation of a token failed.
#[derive(Clone, Copy)]
enum CreateError {
    NotOpen(u32),
    NotARoot,
    NotABpfFs,
    NoAccess(Error),
    OtherNamespace,
    Unprivileged,
    InitialNamespace,
    NothingDelegated,
    NoInode(Error),
    NoDescriptor(Error),
    NoFile(Error),
    NoToken(Error),
}

/// Makes a token of the BPF FS instance whose root directory `attr`, the attributes of the command,
/// names, and returns its
/// descriptor. A refusal is told to `log`, and to who traces refusals.
pub(crate) fn create(attr: &mut bindings::bpf_attr, log: Log<'_>) -> Result<u32> {
    try_create(attr).map_err(|step| {
        if log.is_wanted() || events::refusals_are_traced() {
            tell(step, log);
        }
        step.error()
    })
}

fn try_create(attr: &mut bindings::bpf_attr) -> Result<u32, CreateError> {
    // SAFETY: All that the attributes of a command consist of is numbers.
    let fd = unsafe { attr.token_create.bpffs_fd };
    let fd = Fd::get(fd).map_err(|_| CreateError::NotOpen(fd))?;
    let path = fd.file().path();
    let (bpffs, allowed) = may_create(path)?;

    // What is made in the following steps is given back by its guard if a later step fails.
    // SAFETY: This is a system call.
    let umask = unsafe { current_umask() };
    let mode = bindings::S_IFREG | (bindings::S_IRUSR | bindings::S_IWUSR) & !umask;
    let mut inode = bpffs.new_inode(mode as u16).map_err(CreateError::NoInode)?;
    inode.clear_nlink();
    let fd = FileDescriptorReservation::get_unused_fd_flags(flags::O_CLOEXEC)
        .map_err(CreateError::NoDescriptor)?;
    let file = PseudoFile::new(inode, path, c"bpf-token", flags::O_RDWR, &FILE_OPERATIONS)
        .map_err(CreateError::NoFile)?;
    let token = Token::new(bpffs.user_ns(), allowed, attr, path).map_err(CreateError::NoToken)?;
    Ok(file.publish(fd, token))
}

/// Checks that the current task may create a token from `path`, and returns what it delegates.
///
/// The order of the checks is the same as in C, as it decides which errno the caller gets.
fn may_create(path: &Path) -> Result<(&BpfFs, &Delegation), CreateError> {
    if !path.is_root() {
        return Err(CreateError::NotARoot);
    }
    let bpffs = BpfFs::from_super_block(path.super_block()).ok_or(CreateError::NotABpfFs)?;
    path.permission(MAY_ACCESS).map_err(CreateError::NoAccess)?;

    // A token is made where it is meant to be used: neither in an ancestor nor in a descendant.
    let userns = bpffs.user_ns();
    if !userns.is_current() {
        return Err(CreateError::OtherNamespace);
    }
    if !userns.capable(Capability::BPF) {
        return Err(CreateError::Unprivileged);
    }
    // In the initial user namespace, a capability is what a token would stand for.
    if userns.is_init() {
        return Err(CreateError::InitialNamespace);
    }

    let allowed = bpffs.delegation();
    if allowed.is_empty() {
        return Err(CreateError::NothingDelegated);
    }
    Ok((bpffs, allowed))
}

#[cold]
fn tell(step: CreateError, mut log: Log<'_>) {
    let line = Line::new(&step);
    if log.is_wanted() {
        log.write(None, line.as_str());
    }
    if events::refusals_are_traced() {
        let refused = Refused {
            cmd: bindings::bpf_cmd_BPF_TOKEN_CREATE,
            object_type: 0,
            attach_type: 0,
            cap: match step {
                CreateError::Unprivileged => Some(Capability::BPF),
                _ => None,
            },
            err: step.error(),
        };
        events::refused(&refused, &Given::Nothing, &line);
    }
}

impl CreateError {
    /// Returns the errno, the same as in C.
    fn error(self) -> Error {
        match self {
            Self::NotOpen(_) => EBADF,
            Self::NotARoot | Self::NotABpfFs => EINVAL,
            Self::OtherNamespace | Self::Unprivileged => EPERM,
            Self::InitialNamespace => EOPNOTSUPP,
            Self::NothingDelegated => ENOENT,
            Self::NoAccess(err)
            | Self::NoInode(err)
            | Self::NoDescriptor(err)
            | Self::NoFile(err)
            | Self::NoToken(err) => err,
        }
    }
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no token: ")?;
        f.write_str(match *self {
            Self::NotOpen(fd) => {
                let fd = fd as i32;
                return write!(f, "descriptor {fd} is not open, or was opened with O_PATH");
            }
            Self::NotARoot => "the descriptor is not the root of a file system",
            Self::NotABpfFs => "the descriptor is not that of a BPF file system",
            Self::NoAccess(_) => "no permission to access the BPF file system",
            Self::OtherNamespace => "the BPF file system belongs to another user namespace",
            Self::Unprivileged => "this needs CAP_BPF in the user namespace",
            Self::InitialNamespace => {
                "the initial user namespace has none: there, CAP_BPF does what a token does"
            }
            Self::NothingDelegated => {
                "the BPF file system was mounted without any delegate_ option"
            }
            Self::NoInode(_) => "no memory for its inode",
            Self::NoDescriptor(EMFILE) => "no descriptor is left (RLIMIT_NOFILE)",
            Self::NoDescriptor(_) => "no memory for its descriptor",
            Self::NoFile(ENFILE) => "the system has too many open files (fs.file-max)",
            Self::NoFile(_) => "no memory for its file",
            Self::NoToken(ENOMEM) => "no memory for it",
            Self::NoToken(_) => "a security module refused it",
        })
    }
}

#[kunit_tests(bpf_token_create)]
mod tests {
    use super::*;

    fn reads(step: CreateError, text: &str) -> bool {
        Line::new(&step).as_str() == text
    }

    /// One step can fail for more than one cause.
    #[test]
    fn the_cause_is_told_and_not_the_step() {
        assert!(reads(
            CreateError::NoDescriptor(EMFILE),
            "no token: no descriptor is left (RLIMIT_NOFILE)"
        ));
        assert!(reads(
            CreateError::NoDescriptor(ENOMEM),
            "no token: no memory for its descriptor"
        ));
        assert!(reads(
            CreateError::NoFile(ENFILE),
            "no token: the system has too many open files (fs.file-max)"
        ));
        assert!(reads(
            CreateError::NoFile(ENOMEM),
            "no token: no memory for its file"
        ));
        assert!(reads(
            CreateError::NoToken(ENOMEM),
            "no token: no memory for it"
        ));
        assert!(reads(
            CreateError::NoToken(EPERM),
            "no token: a security module refused it"
        ));
    }

    #[test]
    fn errors_are_those_of_c() {
        assert!(CreateError::NotOpen(3).error() == EBADF);
        assert!(CreateError::NotABpfFs.error() == EINVAL);
        assert!(CreateError::InitialNamespace.error() == EOPNOTSUPP);
        assert!(CreateError::NoInode(ENOSPC).error() == ENOSPC);
    }
}
