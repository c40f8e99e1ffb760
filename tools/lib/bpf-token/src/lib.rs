// SPDX-License-Identifier: GPL-2.0
//! BPF tokens: grant, use and inspect the delegation of bpf(2) to user namespaces.
//!
//! A privileged *manager* gives a container a BPF FS that delegates some commands, map types,
//! program types and attach types. Whoever has CAP_BPF (and CAP_PERFMON, CAP_NET_ADMIN, ... as
//! ever) in the container's user namespace makes a token from it, and with the token bpf(2) accepts
//! these capabilities for what is delegated.
//!
//! - To grant: [`Delegation`], built from [`Mask`]s or parsed from mount options; [`Received`] for
//!   a container that opens the fs context itself, or [`Container`] and [`mount_into`], which do
//!   the whole hand-shake.
//! - To use: [`Token`], then [`MapAttr::create`], [`ProgAttr::load`], [`load_btf`], [`btf_by_id`];
//!   [`open_object`] for what libbpf loads; [`probe`] to learn what would be allowed.
//! - To inspect: [`Token::info`], [`TokenInfo::from_fdinfo`], [`held_tokens`],
//!   [`delegated_mounts`].
//!
//! A whole program, which starts itself again in a container and loads BPF there:
//!
//! ```no_run
#![doc = include_str!("../examples/load.rs")]
//! ```

#![deny(unsafe_code)]

mod child;
mod command;
mod container;
mod delegation;
mod error;
mod fs_context;
mod grant;
mod handshake;
mod idmap;
mod info;
mod inspect;
mod mask;
mod names;
#[cfg(feature = "libbpf")]
mod object;
pub mod probe;
#[allow(unsafe_code)]
mod sys;
mod token;

pub use command::btf_by_id;
pub use command::load_btf;
pub use command::Insn;
pub use command::MapAttr;
pub use command::ObjName;
pub use command::ProgAttr;
pub use container::mount_into;
pub use container::Container;
pub use container::Running;
pub use delegation::Delegation;
pub use error::describe;
pub use error::errno_name;
pub use error::Error;
pub use error::Reason;
pub use error::Result;
pub use fs_context::DetachedMount;
pub use fs_context::FsContext;
pub use grant::Grant;
pub use handshake::Granted;
pub use handshake::Received;
pub use handshake::Request;
pub use idmap::IdMap;
pub use info::TokenInfo;
pub use inspect::delegated_mounts;
pub use inspect::held_tokens;
pub use inspect::DelegatedMount;
pub use inspect::HeldToken;
pub use mask::Attachs;
pub use mask::Cmds;
pub use mask::Kind;
pub use mask::Maps;
pub use mask::Mask;
pub use mask::Progs;
#[cfg(feature = "libbpf")]
pub use object::object_needs;
#[cfg(feature = "libbpf")]
pub use object::open_object;
#[cfg(feature = "libbpf")]
pub use object::open_object_bytes;
#[cfg(feature = "libbpf")]
pub use object::TokenPath;
pub use token::Discovery;
pub use token::Token;
pub use token::DEFAULT_BPFFS;
pub use token::TOKEN_PATH_ENV;
