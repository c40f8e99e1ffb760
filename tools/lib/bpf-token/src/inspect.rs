// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who has what: delegated mounts and held tokens, from /proc.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use procfs::process::MountInfo;
use procfs::process::MountInfos;
use procfs::FromRead;

use crate::delegation::Delegation;
use crate::error::Error;
use crate::error::Result;
use crate::info::TokenInfo;
use crate::kind::Kind;

/// A mounted BPF FS that delegates something.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DelegatedMount {
    /// Where it is mounted.
    pub target: PathBuf,
    /// The device number of the instance, `major:minor`; the same instance may be mounted in
    /// several places.
    pub device: String,
    /// What it delegates.
    pub delegation: Delegation,
}

/// The delegated BPF FS that a process sees.
///
/// ```
/// for mount in bpf_token::delegated_mounts("self")? {
///     println!("{}: {}", mount.target.display(), mount.delegation);
/// }
/// # Ok::<(), bpf_token::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::File`] if there is no such process, or its mounts may not be read.
pub fn delegated_mounts(pid: &str) -> Result<Vec<DelegatedMount>> {
    let path = Path::new("/proc").join(pid).join("mountinfo");
    let text = fs::read(&path).map_err(|error| Error::file(&path, error))?;
    let mounts = MountInfos::from_read(&*text)
        .map_err(|error| Error::Invalid(format!("{}: {error}", path.display())))?;
    mounts
        .into_iter()
        .filter(|mount| mount.fs_type == "bpf")
        .map(delegated)
        .filter(|mount| !matches!(mount, Ok(mount) if mount.delegation.is_empty()))
        .collect()
}

fn delegated(mount: MountInfo) -> Result<DelegatedMount> {
    let mut delegation = Delegation::new();
    for kind in Kind::ALL {
        if let Some(Some(value)) = mount.super_options.get(kind.option) {
            delegation.add_option(kind.option, value)?;
        }
    }
    Ok(DelegatedMount {
        target: mount.mount_point,
        device: mount.majmin,
        delegation,
    })
}

/// A token that a process holds a descriptor of.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HeldToken {
    /// The descriptor's number.
    pub fd: i32,
    /// What it grants.
    pub info: TokenInfo,
}

/// The tokens that a process holds.
///
/// ```
/// for token in bpf_token::held_tokens("self")? {
///     println!("{}: commands {}", token.fd, token.info.cmds);
/// }
/// # Ok::<(), bpf_token::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::File`] if there is no such process, or its descriptors may not be read.
pub fn held_tokens(pid: &str) -> Result<Vec<HeldToken>> {
    let dir = Path::new("/proc").join(pid).join("fdinfo");
    let error = |error| Error::file(&dir, error);
    let mut tokens = Vec::new();
    for entry in fs::read_dir(&dir).map_err(error)? {
        let entry = entry.map_err(error)?;
        let fd = entry.file_name().to_str().and_then(|fd| fd.parse().ok());
        // A descriptor may be closed between the listing and the reading.
        let (Some(fd), Ok(text)) = (fd, fs::read_to_string(entry.path())) else {
            continue;
        };
        if let Some(info) = TokenInfo::from_fdinfo(&text) {
            tokens.push(HeldToken { fd, info });
        }
    }
    tokens.sort_by_key(|token| token.fd);
    Ok(tokens)
}
