// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who has what: delegated mounts and held tokens, from /proc.

use std::path::PathBuf;

use procfs::process::MountInfos;
use procfs::FromRead;

use crate::delegation::Delegation;
use crate::delegation::COOKIE;
use crate::error::Error;
use crate::error::Result;
use crate::info::TokenInfo;
use crate::kind::Kind;
use crate::process::Process;

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
/// use bpf_token::Process;
/// for mount in bpf_token::delegated_mounts(&Process::current()?)? {
///     println!("{}: {}", mount.target.display(), mount.delegation);
/// }
/// # Ok::<(), bpf_token::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::File`] if the process has ended, or its mounts may not be read.
pub fn delegated_mounts(process: &Process) -> Result<Vec<DelegatedMount>> {
    let mut mounts = bpffs_mounts(process)?;
    mounts.retain(|mount| !mount.delegation.is_empty());
    Ok(mounts)
}

/// Every BPF FS that a process sees, also one that delegates nothing.
pub(crate) fn bpffs_mounts(process: &Process) -> Result<Vec<DelegatedMount>> {
    let text = process.read("mountinfo")?;
    let mounts = MountInfos::from_read(text.as_bytes()).map_err(|error| {
        let pid = process.pid();
        Error::Invalid(format!("the mounts of process {pid}: {error}"))
    })?;
    mounts
        .into_iter()
        .filter(|mount| mount.fs_type == "bpf")
        .map(|mount| {
            let options = mount.super_options.iter();
            let options = options.filter_map(|(key, it)| Some((&**key, it.as_deref()?)));
            Ok(DelegatedMount {
                delegation: of_options(options)?,
                target: mount.mount_point,
                device: mount.majmin,
            })
        })
        .collect()
}

/// The delegation among the options of a BPF FS.
pub(crate) fn of_options<'a>(
    options: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Delegation> {
    let ours = |key: &str| key == COOKIE || Kind::ALL.iter().any(|kind| kind.option == key);
    let mut delegation = Delegation::new();
    for (key, value) in options.filter(|(key, _)| ours(key)) {
        delegation.add_option(key, value)?;
    }
    Ok(delegation)
}

/// A token that a process holds a descriptor of.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HeldToken {
    /// The descriptor's number.
    pub fd: i32,
    /// The device number of the BPF FS that it was made from, `major:minor`.
    pub device: String,
    /// What it grants now, and its cookie.
    pub info: TokenInfo,
}

/// The tokens that a process holds.
///
/// ```
/// use bpf_token::Process;
/// for token in bpf_token::held_tokens(&Process::current()?)? {
///     println!("{}: commands {}", token.fd, token.info.cmds);
/// }
/// # Ok::<(), bpf_token::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::File`] if the process has ended, or its descriptors may not be read.
pub fn held_tokens(process: &Process) -> Result<Vec<HeldToken>> {
    let mut tokens = Vec::new();
    for name in process.list("fdinfo")? {
        // A descriptor may be closed between the listing and the reading.
        let (Ok(fd), Ok(text)) = (name.parse(), process.read(&format!("fdinfo/{name}"))) else {
            continue;
        };
        let Some(info) = TokenInfo::from_fdinfo(&text) else {
            continue;
        };
        if let Some(device) = process.device(&format!("fd/{name}")) {
            tokens.push(HeldToken { fd, device, info });
        }
    }
    tokens.sort_by_key(|token| token.fd);
    Ok(tokens)
}
