// SPDX-License-Identifier: GPL-2.0

//! `union bpf_attr` of include/uapi/linux/bpf.h: the fields of each command that tests use, and attributes made of them.
//!
//! Written from the header by hand. Neither the kernel crate nor the library under test has a part in it, so that an offset
//! that is wrong there is not wrong here as well.

use std::marker::PhantomData;
use std::mem::offset_of;
use std::os::fd::RawFd;

use crate::log::Log;
use crate::sys::Command;

/// `sizeof(union bpf_attr)`.
pub const SIZE: usize = 168;
/// The longest attributes that the kernel looks at.
pub const PAGE: usize = 4096;

/// Says that a command has common attributes.
pub const BPF_COMMON_ATTRS: i32 = 1 << 16;
pub const BPF_F_TOKEN_FD: u32 = 1 << 16;
pub const BPF_F_TOKEN_RESTRICT: u32 = 1 << 0;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Number,
    Descriptor,
    Address,
    Bytes,
}

/// A field of a command's attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    pub at: usize,
    pub size: usize,
    pub kind: Kind,
}

/// How a type of the header stands in a layout.
trait Described {
    const KIND: Kind;
}

/// `__s32` or `__u32` with the number of a descriptor.
#[repr(transparent)]
struct Fd(i32);

/// `__aligned_u64` with an address.
#[repr(transparent)]
struct Address(u64);

impl Described for u32 {
    const KIND: Kind = Kind::Number;
}

impl Described for u64 {
    const KIND: Kind = Kind::Number;
}

impl Described for [u8; 16] {
    const KIND: Kind = Kind::Bytes;
}

impl Described for Fd {
    const KIND: Kind = Kind::Descriptor;
}

impl Described for Address {
    const KIND: Kind = Kind::Address;
}

macro_rules! layout {
    ($(#[$doc:meta])* $module:ident { $($field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[expect(non_upper_case_globals, reason = "the names of the header")]
        pub mod $module {
            use super::*;

            #[repr(C)]
            struct Layout {
                $($field: $type,)*
            }

            $(pub const $field: Field = Field {
                name: stringify!($field),
                at: offset_of!(Layout, $field),
                size: size_of::<$type>(),
                kind: <$type as Described>::KIND,
            };)*

            pub const FIELDS: &[Field] = &[$($field),*];
            /// Where the last of them ends.
            pub const END: usize = FIELDS[FIELDS.len() - 1].at + FIELDS[FIELDS.len() - 1].size;
        }
    };
}

layout! {
    /// `BPF_MAP_CREATE`
    map_create {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        map_flags: u32,
        inner_map_fd: Fd,
        numa_node: u32,
        map_name: [u8; 16],
        map_ifindex: u32,
        btf_fd: Fd,
        btf_key_type_id: u32,
        btf_value_type_id: u32,
        btf_vmlinux_value_type_id: u32,
        map_extra: u64,
        value_type_btf_obj_fd: Fd,
        map_token_fd: Fd,
        excl_prog_hash: Address,
        excl_prog_hash_size: u32,
    }
}

layout! {
    /// `BPF_MAP_UPDATE_ELEM`
    map_update_elem {
        map_fd: Fd,
        _hole: u32,
        key: Address,
        value: Address,
        flags: u64,
    }
}

layout! {
    /// `BPF_PROG_LOAD`
    prog_load {
        prog_type: u32,
        insn_cnt: u32,
        insns: Address,
        license: Address,
        log_level: u32,
        log_size: u32,
        log_buf: Address,
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; 16],
        prog_ifindex: u32,
        expected_attach_type: u32,
        prog_btf_fd: Fd,
        func_info_rec_size: u32,
        func_info: Address,
        func_info_cnt: u32,
        line_info_rec_size: u32,
        line_info: Address,
        line_info_cnt: u32,
        attach_btf_id: u32,
        attach_prog_fd: Fd,
        core_relo_cnt: u32,
        fd_array: Address,
        core_relos: Address,
        core_relo_rec_size: u32,
        log_true_size: u32,
        prog_token_fd: Fd,
        fd_array_cnt: u32,
        signature: Address,
        signature_size: u32,
        keyring_id: u32,
    }
}

layout! {
    /// `BPF_OBJ_PIN` and `BPF_OBJ_GET`
    obj {
        pathname: Address,
        bpf_fd: Fd,
        file_flags: u32,
        path_fd: Fd,
        _hole: u32,
    }
}

layout! {
    /// `BPF_PROG_ATTACH`
    prog_attach {
        target_fd: Fd,
        attach_bpf_fd: Fd,
        attach_type: u32,
        attach_flags: u32,
    }
}

layout! {
    /// `BPF_*_GET_FD_BY_ID` and `BPF_*_GET_NEXT_ID`, whose `start_id` stands where the id does.
    by_id {
        id: u32,
        next_id: u32,
        open_flags: u32,
        fd_by_id_token_fd: Fd,
    }
}

layout! {
    /// `BPF_OBJ_GET_INFO_BY_FD`
    info {
        bpf_fd: Fd,
        info_len: u32,
        info: Address,
    }
}

layout! {
    /// `BPF_RAW_TRACEPOINT_OPEN`
    raw_tracepoint {
        name: Address,
        prog_fd: Fd,
        _hole: u32,
        cookie: u64,
    }
}

layout! {
    /// `BPF_BTF_LOAD`
    btf_load {
        btf: Address,
        btf_log_buf: Address,
        btf_size: u32,
        btf_log_size: u32,
        btf_log_level: u32,
        btf_log_true_size: u32,
        btf_flags: u32,
        btf_token_fd: Fd,
    }
}

layout! {
    /// `BPF_LINK_CREATE`, up to what differs between types of links.
    link_create {
        prog_fd: Fd,
        target_fd: Fd,
        attach_type: u32,
        flags: u32,
    }
}

layout! {
    /// `BPF_TOKEN_CREATE`, with the four fields that upstream does not have.
    token_create {
        flags: u32,
        bpffs_fd: Fd,
        allowed_cmds: u64,
        allowed_maps: u64,
        allowed_progs: u64,
        allowed_attachs: u64,
    }
}

layout! {
    /// `struct bpf_common_attr`
    common {
        log_buf: Address,
        log_size: u32,
        log_level: u32,
        log_true_size: u32,
    }
}

/// `sizeof(struct bpf_common_attr)`
pub const COMMON_SIZE: usize = common::END.next_multiple_of(8);

impl Command {
    pub const fn fields(self) -> &'static [Field] {
        match self {
            Self::MapCreate => map_create::FIELDS,
            Self::MapUpdateElem => map_update_elem::FIELDS,
            Self::ProgLoad => prog_load::FIELDS,
            Self::ObjPin | Self::ObjGet => obj::FIELDS,
            Self::ProgAttach => prog_attach::FIELDS,
            Self::BtfGetFdById | Self::ProgGetNextId | Self::MapGetNextId | Self::BtfGetNextId => {
                by_id::FIELDS
            }
            Self::ObjGetInfoByFd => info::FIELDS,
            Self::RawTracepointOpen => raw_tracepoint::FIELDS,
            Self::BtfLoad => btf_load::FIELDS,
            Self::LinkCreate => link_create::FIELDS,
            Self::TokenCreate => token_create::FIELDS,
        }
    }

    /// Where the last of its fields ends.
    pub const fn end(self) -> usize {
        let fields = self.fields();
        fields[fields.len() - 1].at + fields[fields.len() - 1].size
    }

    /// The descriptor of a token, or of what a token is made of.
    pub fn token_field(self) -> Option<Field> {
        Some(match self {
            Self::MapCreate => map_create::map_token_fd,
            Self::ProgLoad => prog_load::prog_token_fd,
            Self::BtfLoad => btf_load::btf_token_fd,
            Self::BtfGetFdById => by_id::fd_by_id_token_fd,
            Self::TokenCreate => token_create::bpffs_fd,
            Self::ObjGetInfoByFd => info::bpf_fd,
            _ => return None,
        })
    }

    /// Its flags, of which one says that it has a token.
    pub fn flags_field(self) -> Option<Field> {
        Some(match self {
            Self::MapCreate => map_create::map_flags,
            Self::ProgLoad => prog_load::prog_flags,
            Self::BtfLoad => btf_load::btf_flags,
            Self::BtfGetFdById => by_id::open_flags,
            Self::TokenCreate => token_create::flags,
            _ => return None,
        })
    }

    /// Whether it gives a descriptor.
    pub fn makes_descriptor(self) -> bool {
        match self {
            Self::MapCreate
            | Self::ProgLoad
            | Self::ObjGet
            | Self::RawTracepointOpen
            | Self::BtfLoad
            | Self::BtfGetFdById
            | Self::LinkCreate
            | Self::TokenCreate => true,
            Self::MapUpdateElem
            | Self::ObjPin
            | Self::ProgAttach
            | Self::ProgGetNextId
            | Self::MapGetNextId
            | Self::ObjGetInfoByFd
            | Self::BtfGetNextId => false,
        }
    }
}

/// The attributes of one command, up to the last of its fields, and what the addresses in them borrow.
///
/// # Invariants
///
/// An address among them is 0, that of memory which is borrowed in the way that the kernel uses it, or one for which the
/// caller of [`Attr::set_address`] answers.
pub struct Attr<'a> {
    command: Command,
    words: [u64; SIZE / 8],
    borrowed: PhantomData<&'a mut [u8]>,
}

impl<'a> Attr<'a> {
    pub fn of(command: Command) -> Self {
        Self {
            command,
            words: [0; SIZE / 8],
            borrowed: PhantomData,
        }
    }

    pub fn command(&self) -> Command {
        self.command
    }

    pub fn set(mut self, field: Field, value: impl Into<u64>) -> Self {
        assert_eq!(
            field.kind,
            Kind::Number,
            "{} is not a number alone",
            field.name
        );
        self.put(field, value.into());
        self
    }

    pub fn set_fd(mut self, field: Field, fd: RawFd) -> Self {
        assert_eq!(
            field.kind,
            Kind::Descriptor,
            "{} is no descriptor",
            field.name
        );
        self.put(field, u64::from(fd as u32));
        self
    }

    /// With a token, if there is one.
    pub fn with_token(mut self, token: Option<RawFd>) -> Self {
        if let Some(token) = token {
            let fields = (self.command.flags_field(), self.command.token_field());
            let (Some(flags), Some(fd)) = fields else {
                panic!("{:?} takes no token", self.command);
            };
            let before = self.get(flags);
            self.put(flags, before | u64::from(BPF_F_TOKEN_FD));
            self.put(fd, u64::from(token as u32));
        }
        self
    }

    /// With the log that this command has of its own.
    pub fn with_log(mut self, log: &'a Log<'_>) -> Self {
        let [level, size, address] = match self.command {
            Command::ProgLoad => [
                prog_load::log_level,
                prog_load::log_size,
                prog_load::log_buf,
            ],
            Command::BtfLoad => [
                btf_load::btf_log_level,
                btf_load::btf_log_size,
                btf_load::btf_log_buf,
            ],
            other => panic!("{other:?} has no log of its own"),
        };
        self.put(level, log.level.into());
        self.put(size, log.size.into());
        // INVARIANT: A log borrows its buffer mutably.
        self.put(address, log.address);
        self
    }

    /// An address of what the kernel only reads.
    pub fn set_input<T>(mut self, field: Field, input: &'a [T]) -> Self {
        assert_eq!(field.kind, Kind::Address, "{} is no address", field.name);
        self.put(field, input.as_ptr() as u64);
        self
    }

    /// Any address.
    ///
    /// # Safety
    ///
    /// What the command reads and writes there stays valid, and is borrowed accordingly, for the lifetime.
    pub unsafe fn set_address(mut self, field: Field, address: u64) -> Self {
        assert_eq!(field.kind, Kind::Address, "{} is no address", field.name);
        self.put(field, address);
        self
    }

    fn put(&mut self, field: Field, value: u64) {
        let shift = 8 * (field.at % 8);
        let mask = u64::MAX >> (64 - 8 * field.size);
        assert!(
            value <= mask,
            "{} has {} bytes, and no room for {value:#x}",
            field.name,
            field.size
        );
        let word = &mut self.words[field.at / 8];
        *word = (*word & !(mask << shift)) | (value << shift);
    }

    pub fn get(&self, field: Field) -> u64 {
        let mask = u64::MAX >> (64 - 8 * field.size);
        (self.words[field.at / 8] >> (8 * (field.at % 8))) & mask
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self
            .words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        bytes.truncate(self.command.end());
        bytes
    }

    /// For the kernel to read, and to write to.
    pub fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.words.as_mut_ptr().cast()
    }
}
