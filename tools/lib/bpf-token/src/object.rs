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
use crate::info::TokenInfo;
use crate::mask::Attachs;
use crate::mask::Cmds;
use crate::mask::Maps;
use crate::mask::Mask;
use crate::mask::Progs;
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

/// What an object needs to be delegated to load, as far as it can be told from the object.
///
/// It is enough, and may be more than the least: the maps and programs that libbpf would create and
/// load, BTF, and the array and the socket filter with which libbpf first finds out what the kernel
/// can do.
///
/// ```no_run
/// use bpf_token::{object_needs, open_object, TokenPath};
/// let needs = object_needs(&open_object("prog.bpf.o", TokenPath::None)?);
/// println!("map types: {}", needs.maps);
/// # Ok::<(), bpf_token::Error>(())
/// ```
pub fn object_needs(object: &OpenObject) -> TokenInfo {
    let mut maps: Mask<Maps> = Mask::<Maps>::value("array").into_iter().collect();
    for map in object.maps().filter(|map| map.autocreate()) {
        let (own, inner) = sys::map_types(map.as_libbpf_object());
        maps = inner.into_iter().fold(maps.with(own), Mask::with);
    }
    let mut progs: Mask<Progs> = Mask::<Progs>::value("socket_filter").into_iter().collect();
    let mut attachs: Mask<Attachs> = Mask::<Attachs>::value("cgroup_inet_ingress")
        .into_iter()
        .collect();
    for program in object.progs().filter(|program| program.autoload()) {
        let (prog_type, attach_type) = sys::program_types(program.as_libbpf_object());
        progs = progs.with(prog_type);
        attachs = attachs.with(attach_type);
    }
    let cmds = ["map_create", "prog_load", "btf_load"];
    TokenInfo {
        cmds: cmds.into_iter().filter_map(Mask::<Cmds>::value).collect(),
        maps,
        progs,
        attachs,
    }
}
