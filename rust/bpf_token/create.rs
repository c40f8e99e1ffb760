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
    file::{
        Permitted,
        FILE_OPERATIONS, //
    },
    line::Line,
    log::Log,
    mask::Mask,
    token::Token, //
};
use core::fmt;
use kernel::{
    bindings::{
        self,
        bpf_attr__bindgen_ty_20 as TokenCreate, //
    },
    capability::Capability,
    fs::{
        current_umask,
        file::{
            flags,
            FileDescriptorReservation, //
        },
        Fd,
        LocalFile,
        PseudoFile,
        MAY_ACCESS, //
    },
    macros::kunit_tests,
    prelude::*, //
};

/// The step at which the creation of a token failed.
#[derive(Clone, Copy)]
enum CreateError {
    UnknownFlags(u32),
    FieldsWithoutFlag,
    NotOpen(u32),
    NotARoot,
    NotABpfFs,
    Unrestricted,
    NoAccess(Error),
    OtherNamespace,
    Unprivileged,
    InitialNamespace,
    NothingDelegated,
    NothingLeft,
    NoInode(Error),
    NoDescriptor(Error),
    NoFile(Error),
    NoToken(Error),
}

/// Makes a token as it is `asked` for, of a BPF FS or of a token, and returns its descriptor. A
/// refusal is told to `log`, and to who traces refusals. The security modules get all of `attr`.
pub(crate) fn create(
    asked: TokenCreate,
    attr: &mut bindings::bpf_attr,
    log: Log<'_>,
) -> Result<u32> {
    try_create(asked, attr).map_err(|step| {
        if log.is_wanted() || events::refusals_are_traced() {
            tell(step, log);
        }
        step.error()
    })
}

fn try_create(asked: TokenCreate, attr: &mut bindings::bpf_attr) -> Result<u32, CreateError> {
    let restriction = restriction(&asked)?;
    let fd = Fd::get(asked.bpffs_fd).map_err(|_| CreateError::NotOpen(asked.bpffs_fd))?;
    let file = fd.file();
    let path = file.path();
    let (bpffs, allowed) = may_create(file, restriction)?;

    // What is made in the following steps is given back by its guard if a later step fails.
    // SAFETY: This is a system call.
    let umask = unsafe { current_umask() };
    let mode = bindings::S_IFREG | (bindings::S_IRUSR | bindings::S_IWUSR) & !umask;
    let inode = bpffs.new_inode(mode as u16).map_err(CreateError::NoInode)?;
    let fd = FileDescriptorReservation::get_unused_fd_flags(flags::O_CLOEXEC)
        .map_err(CreateError::NoDescriptor)?;
    let file = PseudoFile::new(inode, path, c"bpf-token", flags::O_RDWR, &FILE_OPERATIONS)
        .map_err(CreateError::NoFile)?;
    let cookie = bpffs.present().cookie();
    let token =
        Token::new(bpffs.user_ns(), allowed, cookie, attr, path).map_err(CreateError::NoToken)?;
    Ok(file.publish(fd, token))
}

/// Returns what the new token is restricted to, if to anything.
fn restriction(asked: &TokenCreate) -> Result<Option<Delegation>, CreateError> {
    let restriction = Delegation {
        cmds: Mask::from_bits(asked.allowed_cmds),
        maps: Mask::from_bits(asked.allowed_maps),
        progs: Mask::from_bits(asked.allowed_progs),
        attachs: Mask::from_bits(asked.allowed_attachs),
    };
    match asked.flags {
        0 if restriction.is_empty() => Ok(None),
        0 => Err(CreateError::FieldsWithoutFlag),
        bindings::BPF_F_TOKEN_RESTRICT => Ok(Some(restriction)),
        flags => Err(CreateError::UnknownFlags(flags)),
    }
}

/// Checks that the current task may create a token from `file`, and returns what it permits.
///
/// The order of the checks is the same as in C, as it decides which errno the caller gets.
fn may_create(
    file: &LocalFile,
    restriction: Option<Delegation>,
) -> Result<(&BpfFs, Delegation), CreateError> {
    let path = file.path();
    let mut source = None;
    if !path.is_root() {
        source = Permitted::by_file(file);
        match (&source, restriction) {
            (None, _) => return Err(CreateError::NotARoot),
            (Some(_), None) => return Err(CreateError::Unrestricted),
            (Some(_), Some(_)) => (),
        }
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

    let delegated = source.map_or_else(|| bpffs.present().load(), |token| token.load());
    let Some(restriction) = restriction else {
        return match delegated.is_empty() {
            true => Err(CreateError::NothingDelegated),
            false => Ok((bpffs, delegated)),
        };
    };
    let allowed = delegated & restriction;
    if allowed.is_empty() {
        return Err(CreateError::NothingLeft);
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
            Self::UnknownFlags(_)
            | Self::FieldsWithoutFlag
            | Self::NotARoot
            | Self::NotABpfFs
            | Self::Unrestricted => EINVAL,
            Self::OtherNamespace | Self::Unprivileged => EPERM,
            Self::InitialNamespace => EOPNOTSUPP,
            Self::NothingDelegated | Self::NothingLeft => ENOENT,
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
            Self::UnknownFlags(flags) => {
                return write!(
                    f,
                    "flags {flags:#x} are unknown; there is BPF_F_TOKEN_RESTRICT (0x1)"
                );
            }
            Self::FieldsWithoutFlag => "the allowed_ fields need the flag BPF_F_TOKEN_RESTRICT",
            Self::NotOpen(fd) => {
                let fd = fd as i32;
                return write!(f, "descriptor {fd} is not open, or was opened with O_PATH");
            }
            Self::NotARoot => "the descriptor is not the root of a file system",
            Self::NotABpfFs => "the descriptor is not that of a BPF file system",
            Self::Unrestricted => {
                "the descriptor is a token, and a token of it needs the flag BPF_F_TOKEN_RESTRICT"
            }
            Self::NoAccess(_) => "no permission to access the BPF file system",
            Self::OtherNamespace => "the BPF file system belongs to another user namespace",
            Self::Unprivileged => "this needs CAP_BPF in the user namespace",
            Self::InitialNamespace => {
                "the initial user namespace has none: there, CAP_BPF does what a token does"
            }
            Self::NothingDelegated => "the BPF file system delegates nothing",
            Self::NothingLeft => "of what the allowed_ fields name, nothing is delegated",
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
