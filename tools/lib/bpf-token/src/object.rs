// SPDX-License-Identifier: GPL-2.0
//! BPF objects, loaded by libbpf through a token.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libbpf_rs::AsRawLibbpf;
use libbpf_rs::ObjectBuilder;
use libbpf_rs::OpenObject;

use crate::error::Error;
use crate::error::Result;
use crate::sys;

/// Where libbpf is to take the token of an object from.
#[derive(Clone, Copy, Debug)]
pub enum TokenPath<'a> {
    /// libbpf's rules: `LIBBPF_BPF_TOKEN_PATH`, then /sys/fs/bpf if it delegates anything.
    Default,
    /// This BPF FS; loading fails if it gives no token.
    BpfFs(&'a Path),
    /// No token.
    None,
}

/// Opens a BPF object file so that loading it takes the token from there.
///
/// ```no_run
/// use bpf_token::{open_object, TokenPath};
/// let object = open_object("prog.bpf.o", TokenPath::BpfFs("/run/bpf".as_ref()))?.load()?;
/// # Ok::<(), bpf_token::Error>(())
/// ```
///
/// # Errors
///
/// Those of libbpf.
pub fn open_object(path: impl AsRef<Path>, token: TokenPath<'_>) -> Result<OpenObject> {
    with_builder(token, |builder| builder.open_file(path))
}

/// As [`open_object`], for an object in memory.
///
/// # Errors
///
/// Those of libbpf.
pub fn open_object_bytes(bytes: &[u8], token: TokenPath<'_>) -> Result<OpenObject> {
    with_builder(token, |builder| builder.open_memory(bytes))
}

fn with_builder(
    token: TokenPath<'_>,
    open: impl FnOnce(&mut ObjectBuilder) -> libbpf_rs::Result<OpenObject>,
) -> Result<OpenObject> {
    let path = match token {
        TokenPath::Default => None,
        TokenPath::None => Some(CString::default()),
        TokenPath::BpfFs(path) => {
            let path = CString::new(path.as_os_str().as_bytes());
            Some(path.map_err(|_| Error::Invalid("a token path holds a NUL byte".to_owned()))?)
        }
    };
    let mut builder = ObjectBuilder::default();
    if let Some(path) = &path {
        sys::set_token_path(builder.as_libbpf_object(), path);
    }
    // libbpf copies the path while it opens the object.
    Ok(open(&mut builder)?)
}
