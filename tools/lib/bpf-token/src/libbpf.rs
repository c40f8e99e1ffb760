// SPDX-License-Identifier: MIT OR Apache-2.0
//! BPF objects, loaded by libbpf through a token. With the feature `libbpf`.
//!
//! The objects are those of `libbpf-rs` 0.27. libbpf makes the token itself, from the BPF FS that it
//! is told.
//!
//! ```no_run
//! use bpf_token::libbpf::{load, open_file, TokenPath};
//! let object = open_file("prog.bpf.o", TokenPath::BpfFs("/run/bpf".as_ref()))?;
//! let object = load(object, TokenPath::BpfFs("/run/bpf".as_ref()))?;
//! # Ok::<(), bpf_token::Error>(())
//! ```

use std::cell::RefCell;
use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Mutex;

use libbpf_rs::AsRawLibbpf;
use libbpf_rs::Object;
use libbpf_rs::ObjectBuilder;
use libbpf_rs::OpenObject;
use libbpf_rs::PrintCallback;
use libbpf_rs::PrintLevel;

use crate::diagnose;
use crate::diagnose::Request;
use crate::errno::Errno;
use crate::error::Action;
use crate::error::Error;
use crate::error::Result;
use crate::info::TokenInfo;
use crate::mask::Mask;
use crate::names::AttachType;
use crate::names::Cmd;
use crate::names::MapType;
use crate::names::ProgType;
use crate::reason::Reason;
use crate::sys;
use crate::token::Token;

/// Where libbpf is to take the token of an object from.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum TokenPath<'a> {
    /// libbpf's rules: `LIBBPF_BPF_TOKEN_PATH`, then /sys/fs/bpf if it delegates anything.
    Default,
    /// This BPF FS; loading fails if it gives no token.
    BpfFs(&'a Path),
    /// This token, for [`load`]. libbpf takes none by descriptor: a seccomp filter, in a thread that
    /// is there for this, puts it in the place of the one that libbpf would make.
    Token(&'a Token),
    /// No token.
    None,
}

/// Opens a BPF object file so that loading it takes the token from there.
///
/// # Errors
///
/// [`Error::Libbpf`], with what libbpf said.
pub fn open_file(path: impl AsRef<Path>, token: TokenPath<'_>) -> Result<OpenObject> {
    let path = path.as_ref();
    open(token, &path.display().to_string(), |builder| {
        builder.open_file(path)
    })
}

/// As [`open_file`], for an object in memory.
///
/// # Errors
///
/// As [`open_file`].
pub fn open_bytes(bytes: &[u8], token: TokenPath<'_>) -> Result<OpenObject> {
    open(token, "a BPF object", |builder| builder.open_memory(bytes))
}

fn open(
    token: TokenPath<'_>,
    name: &str,
    open: impl FnOnce(&mut ObjectBuilder) -> libbpf_rs::Result<OpenObject>,
) -> Result<OpenObject> {
    let path = match token {
        TokenPath::Default => None,
        TokenPath::None => Some(CString::default()),
        // libbpf opens the directory and asks for a token from it, which is when it gets this one.
        TokenPath::Token(_) => Some(CString::from(c"/")),
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
    let (opened, said) = listen(|| open(&mut builder));
    opened.map_err(|error| Error::Libbpf {
        action: format!("open {name}").into(),
        errno: errno(&error),
        reason: Reason::found(causes(&said).join("\n")),
    })
}

/// Loads an object that was opened with this token path.
///
/// Nothing is printed: what libbpf has to say stands in the error.
///
/// # Errors
///
/// [`Error::Libbpf`], which names the map or program that failed, with the verifier's log, or the
/// reason of a refusal. For [`TokenPath::Token`], those of seccomp(2): `ENOSYS` or `EINVAL` where the
/// kernel cannot, `EBUSY` in a process that a seccomp filter already notifies somebody of.
pub fn load(object: OpenObject, token: TokenPath<'_>) -> Result<Object> {
    let name = object
        .name()
        .map(|name| name.to_string_lossy().into_owned());
    let parts = Parts::of(&object);
    let load = || listen(|| object.load());
    let (loaded, said) = match token {
        TokenPath::Token(token) => sys::lend(token.as_fd(), load)
            .map_err(|errno| Error::sys("have libbpf use a token by descriptor", errno))?,
        _ => load(),
    };
    loaded.map_err(|error| {
        let errno = errno(&error);
        let name = name.unwrap_or_default();
        failure(&name, &parts, errno, &said, token)
    })
}

/// What an object needs to be delegated to load, as far as it can be told from the object.
///
/// It is enough, and may be more than the least: the maps and programs that libbpf would create and
/// load, BTF, and the array and the socket filter with which libbpf first finds out what the kernel
/// can do.
///
/// ```no_run
/// use bpf_token::libbpf::{needs, open_file, TokenPath};
/// let needs = needs(&open_file("prog.bpf.o", TokenPath::None)?);
/// println!("map types: {}", needs.maps);
/// # Ok::<(), bpf_token::Error>(())
/// ```
pub fn needs(object: &OpenObject) -> TokenInfo {
    let parts = Parts::of(object);
    let maps = parts
        .maps
        .iter()
        .flat_map(|(_, own, inner)| [Some(*own), *inner]);
    let programs = parts.programs.iter();
    TokenInfo {
        cmds: Mask::from_iter([Cmd::MAP_CREATE, Cmd::PROG_LOAD, Cmd::BTF_LOAD]),
        maps: maps.flatten().chain([MapType::ARRAY]).collect(),
        progs: programs
            .clone()
            .map(|(_, prog_type, _)| *prog_type)
            .chain([ProgType::SOCKET_FILTER])
            .collect(),
        attachs: programs
            .map(|(_, _, attach_type)| *attach_type)
            .chain([AttachType::CGROUP_INET_INGRESS])
            .collect(),
        cookie: 0,
    }
}

/// The programs that libbpf would load, as name, type and what they are loaded for.
pub fn programs(object: &OpenObject) -> Vec<(String, ProgType, AttachType)> {
    Parts::of(object).programs
}

/// What libbpf would create and load.
struct Parts {
    /// Name, type, and the type of the maps inside.
    maps: Vec<(String, MapType, Option<MapType>)>,
    programs: Vec<(String, ProgType, AttachType)>,
}

impl Parts {
    fn of(object: &OpenObject) -> Self {
        let maps = object.maps().filter(|map| map.autocreate()).map(|map| {
            let name = map.name().to_string_lossy().into_owned();
            let (own, inner) = sys::map_types(map.as_libbpf_object());
            (name, MapType::new(own), inner.map(MapType::new))
        });
        let programs = object.progs().filter(|program| program.autoload());
        let programs = programs.map(|program| {
            let name = program.name().to_string_lossy().into_owned();
            let (own, attach) = sys::program_types(program.as_libbpf_object());
            (name, ProgType::new(own), AttachType::new(attach))
        });
        Self {
            maps: maps.collect(),
            programs: programs.collect(),
        }
    }
}

thread_local! {
    /// What libbpf says on this thread, while somebody listens.
    static SAID: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// What was called for other messages, while somebody listens; and how many do.
static OTHERS: Mutex<(Option<(PrintLevel, PrintCallback)>, usize)> = Mutex::new((None, 0));

/// Runs `call`, and returns with its result the warnings that libbpf gave meanwhile on this thread.
fn listen<T>(call: impl FnOnce() -> T) -> (T, Vec<String>) {
    let others = || {
        OTHERS
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    };
    {
        let mut others = others();
        if others.1 == 0 {
            others.0 = libbpf_rs::set_print(Some((PrintLevel::Warn, keep)));
        }
        others.1 += 1;
    }
    SAID.set(Some(Vec::new()));
    let result = call();
    let said = SAID.take().unwrap_or_default();
    let mut others = others();
    others.1 -= 1;
    if others.1 == 0 {
        libbpf_rs::set_print(others.0.take());
    }
    (result, said)
}

fn keep(level: PrintLevel, text: String) {
    let others = SAID.with_borrow_mut(|said| match said {
        Some(said) => {
            said.push(text.trim().trim_start_matches("libbpf: ").to_owned());
            None
        }
        None => Some(text),
    });
    let Some(text) = others else {
        return;
    };
    let print = OTHERS
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
        .0;
    match print {
        Some((greatest, print)) if level <= greatest => print(level, text),
        _ => {}
    }
}

/// The errno of an error of libbpf-rs, which only tells it in its text.
fn errno(error: &libbpf_rs::Error) -> Option<Errno> {
    let text = format!("{error:#}");
    let (_, number) = text.rsplit_once("(os error ")?;
    Some(Errno::new(number.split(')').next()?.parse().ok()?))
}

/// The messages that tell a cause. Without BPF, libbpf takes the kernel for one that counts BPF
/// memory as locked memory, and BTF it can do without: these are none.
fn causes(said: &[String]) -> Vec<&str> {
    let cause = |text: &&str| {
        !text.contains("bump RLIMIT_MEMLOCK") && !text.contains("BTF is optional, ignoring")
    };
    said.iter().map(String::as_str).filter(cause).collect()
}

/// The error for what libbpf said when it could not load an object.
fn failure(
    object: &str,
    parts: &Parts,
    errno: Option<Errno>,
    said: &[String],
    token: TokenPath<'_>,
) -> Error {
    let causes = causes(said);
    let failed = Failed::find(&causes, parts);
    let log = causes.iter().find_map(|text| {
        let (_, log) = text.split_once("-- BEGIN PROG LOAD LOG --\n")?;
        log.split("-- END PROG LOAD LOG --").next()
    });
    let mut reason = Reason::new(log.unwrap_or_default());
    let permission = errno == Some(Errno::EPERM);
    if let (true, true, Some(request)) = (reason.is_empty(), permission, failed.request()) {
        reason = match discover(token) {
            Ok(token) => diagnose::refusal(request, token.as_ref()).unwrap_or_default(),
            Err(error) => Reason::found(error),
        };
    }
    if reason.is_empty() {
        // The first is the cause, the others what comes of it.
        reason = Reason::found(causes.first().copied().unwrap_or_default());
    }
    Error::Libbpf {
        action: failed.action(object),
        errno,
        reason,
    }
}

fn discover(path: TokenPath<'_>) -> Result<Option<Token>> {
    match path {
        TokenPath::None => Ok(None),
        TokenPath::BpfFs(path) => Token::from_bpffs(path).map(Some),
        TokenPath::Token(token) => token.try_clone().map(Some),
        TokenPath::Default => Ok(Token::discover(None)?.into_token()),
    }
}

/// What of an object failed.
enum Failed {
    /// The program that libbpf loads first, to see whether it may.
    Trivial,
    Map(String, MapType),
    Program(String, ProgType, AttachType),
    Other,
}

impl Failed {
    fn find(causes: &[&str], parts: &Parts) -> Self {
        for text in causes {
            if text.contains("Couldn't load trivial BPF program") {
                return Self::Trivial;
            }
            let quoted = |before: &str| text.strip_prefix(before)?.split('\'').next();
            if let Some(name) = quoted("prog '") {
                if let Some((name, prog, attach)) = parts.programs.iter().find(|it| it.0 == name) {
                    return Self::Program(name.clone(), *prog, *attach);
                }
            }
            if let Some(name) = quoted("map '") {
                if let Some((name, own, inner)) = parts.maps.iter().find(|it| it.0 == name) {
                    let inner = inner.filter(|_| text.contains("inner map"));
                    return Self::Map(name.clone(), inner.unwrap_or(*own));
                }
            }
        }
        Self::Other
    }

    fn request(&self) -> Option<Request> {
        match self {
            Self::Trivial => Some(Request::Program {
                prog_type: ProgType::SOCKET_FILTER,
                attach_type: AttachType::CGROUP_INET_INGRESS,
                insn_cnt: 2,
            }),
            Self::Map(_, map_type) => Some(Request::Map(*map_type)),
            Self::Program(_, prog_type, attach_type) => Some(Request::Program {
                prog_type: *prog_type,
                attach_type: *attach_type,
                insn_cnt: 0,
            }),
            Self::Other => None,
        }
    }

    fn action(&self, object: &str) -> Action {
        match self {
            Self::Trivial => {
                "load the socket filter with which libbpf finds out whether it may load any".into()
            }
            Self::Map(name, map_type) => Action::CreateMap {
                map_type: *map_type,
                name: name.clone(),
            },
            Self::Program(name, prog_type, attach_type) => Action::LoadProgram {
                prog_type: *prog_type,
                attach_type: *attach_type,
                name: name.clone(),
            },
            Self::Other => format!("load BPF object {object}").into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(errno: Errno, said: &[&str]) -> String {
        let parts = Parts {
            maps: vec![("events".to_owned(), MapType::RINGBUF, None)],
            programs: vec![(
                "on_exec".to_owned(),
                ProgType::TRACING,
                AttachType::TRACE_RAW_TP,
            )],
        };
        let said: Vec<String> = said.iter().map(|text| (*text).to_owned()).collect();
        failure("exec", &parts, Some(errno), &said, TokenPath::None).to_string()
    }

    #[test]
    fn the_item_that_failed_is_named() {
        let text = error(
            Errno::EACCES,
            &[
                "Failed to bump RLIMIT_MEMLOCK (err = -EPERM)",
                "prog 'on_exec': BPF program load failed: -EACCES",
                "prog 'on_exec': -- BEGIN PROG LOAD LOG --\n0: (95) exit\nR0 !read_ok\nprocessed 1 \
                 insns\n-- END PROG LOAD LOG --",
                "prog 'on_exec': failed to load: -EACCES",
            ],
        );
        assert_eq!(
            text,
            "load program \"on_exec\" of type tracing for trace_raw_tp: Permission denied (EACCES): \
             0: (95) exit; R0 !read_ok"
        );
        let text = error(Errno::EINVAL, &["map 'events': failed to create: -EINVAL"]);
        assert_eq!(
            text,
            "create map \"events\" of type ringbuf: Invalid argument (EINVAL): map 'events': failed \
             to create: -EINVAL"
        );
    }

    #[test]
    fn errnos_are_found_in_the_text() {
        let error = libbpf_rs::Error::from_raw_os_error(13);
        assert_eq!(errno(&error), Some(Errno::EACCES));
    }

    #[test]
    fn what_libbpf_says_is_in_the_error() {
        let error = open_bytes(b"no object", TokenPath::None).unwrap_err();
        assert!(
            error.to_string().starts_with("open a BPF object: "),
            "{error}"
        );
        assert!(error.errno().is_some(), "{error}");
    }
}
