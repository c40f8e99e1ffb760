// SPDX-License-Identifier: MIT OR Apache-2.0
//! BPF tokens: grant, use and inspect the delegation of bpf(2) to user namespaces.
//!
//! A privileged *manager* gives a container a BPF FS that delegates some commands, map types,
//! program types and attach types. Whoever has CAP_BPF (and CAP_PERFMON, CAP_NET_ADMIN, ... as
//! ever) in the container's user namespace makes a token from it, and with the token bpf(2) accepts
//! these capabilities for what is delegated.
//!
//! - To grant: [`Delegation`], built from constants such as [`ProgType::XDP`] or parsed from mount
//!   options; [`Received`] for a container that opens the fs context itself, or [`Container`] and
//!   [`Target`], which do the whole hand-shake.
//! - To use: [`Token`], then [`MapAttr::create`], [`ProgAttr::load`], [`load_btf`], [`btf_by_id`];
//!   the module `libbpf` for what libbpf loads; [`BPF_F_TOKEN_FD`] for loaders that build their own
//!   attributes; [`Exec`] for programs that know nothing of tokens, with a [`Broker`] for their kprobes,
//!   uprobes and tracepoints; [`probe`] to learn what would be allowed.
//! - To inspect: [`Token::info`], [`TokenInfo::from_fdinfo`], [`held_tokens`],
//!   [`delegated_mounts`], [`Kernel`].
//!
//! A refusal says why on every kernel: by the kernel's own log, or found out from the request, the
//! token and the capabilities ([`Error::reason`]).
//!
//! A whole program, which starts itself again in a container and loads BPF there:
//!
//! ```no_run
#![doc = include_str!("../examples/load.rs")]
//! ```
//!
//! # Features
//!
//! Both are off by default.
//!
//! - `libbpf`: the module `libbpf`, on `libbpf-rs`; needs a C compiler, `pkg-config`, and the
//!   headers of libelf and zlib.
//! - `serde`: masks, delegations and token infos as JSON and the like, in the spelling of
//!   `bpftoken --json`; and `Format`, the spellings of container managers.

#![deny(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod broker;
mod btf;
mod child;
mod command;
mod container;
mod delegation;
mod diagnose;
mod errno;
mod error;
mod exec;
mod file_id;
#[cfg(feature = "serde")]
mod format;
mod fs_context;
mod grant;
mod handshake;
mod idmap;
mod info;
mod insn;
mod inspect;
mod instance;
mod inventory;
mod kernel;
mod kind;
mod launch;
#[cfg(feature = "libbpf")]
pub mod libbpf;
mod mask;
mod names;
pub mod probe;
mod probes;
mod process;
mod reason;
#[cfg(feature = "serde")]
pub mod report;
mod running;
mod step;
mod supervisor;
#[allow(unsafe_code)]
mod sys;
mod target;
mod token;
mod tracefs;

pub use broker::Broker;
pub use broker::Listener;
pub use command::btf_by_id;
pub use command::load_btf;
pub use command::AttachTarget;
pub use command::FuncInfo;
pub use command::LineInfo;
pub use command::Log;
pub use command::MapAttr;
pub use command::ObjName;
pub use command::ProgAttr;
pub use command::Signature;
pub use command::BPF_F_TOKEN_FD;
pub use container::Container;
pub use delegation::Delegation;
pub use delegation::Warning;
pub use diagnose::may_delegate;
pub use errno::Errno;
pub use error::Action;
pub use error::Error;
pub use error::Feature;
pub use error::Result;
pub use exec::Exec;
#[cfg(feature = "serde")]
pub use format::from_annotations;
#[cfg(feature = "serde")]
pub use format::Format;
#[cfg(feature = "serde")]
pub use format::ANNOTATION_PREFIX;
#[cfg(feature = "serde")]
pub use format::TARGET_ANNOTATION;
pub use fs_context::DetachedMount;
pub use fs_context::FsContext;
pub use grant::Grant;
pub use handshake::Granted;
pub use handshake::Received;
pub use handshake::Request;
pub use idmap::IdMap;
pub use info::AnyMask;
pub use info::TokenInfo;
pub use insn::Insn;
pub use inspect::delegated_mounts;
pub use inspect::held_tokens;
pub use inspect::DelegatedMount;
pub use inspect::HeldToken;
pub use instance::Change;
pub use instance::Instance;
pub use inventory::loaded_programs;
pub use inventory::LoadedProgram;
pub use kernel::Kernel;
pub use kernel::Missing;
pub use kind::Enumerator;
pub use kind::Kind;
pub use mask::Mask;
pub use names::AttachType;
pub use names::Cmd;
pub use names::MapType;
pub use names::ProgType;
pub use probes::Probes;
pub use process::Process;
pub use reason::Reason;
pub use running::Running;
pub use step::Step;
pub use supervisor::Observed;
pub use target::Target;
pub use token::inherited_fd;
pub use token::Discovery;
pub use token::Token;
pub use token::DEFAULT_BPFFS;
pub use token::TOKEN_FD_ENV;
pub use token::TOKEN_PATH_ENV;
pub use tracefs::Tracefs;
