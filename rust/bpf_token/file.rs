// SPDX-License-Identifier: GPL-2.0

//! The file of a token. By it, a token is found, and what its instance of the BPF file system
//! delegates now.

use crate::{
    bpffs::BpfFs,
    delegation::{
        Delegation,
        Permits, //
    },
    kind::{
        AttachType,
        Cmd,
        Kind,
        MapType,
        ProgType, //
    },
    mask::Mask,
    present::Present,
    token::Token, //
};
use core::mem::offset_of;
use kernel::{
    bindings,
    fs::{
        FileOperations,
        LocalFile,
        Path,
        PseudoFileOperations, //
    },
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::aref::ARef, //
};

/// The file operations of a token. Their address identifies a file as a token.
// SAFETY: `kernel/bpf/syscall.c` only compares with this table, and reads the `struct bpf_token` in
// the `private_data` of a file that has it.
#[export_name = "bpf_token_fops"]
pub(crate) static FILE_OPERATIONS: FileOperations<Token> = unsafe { FileOperations::new() };

#[vtable]
impl PseudoFileOperations for Token {
    type Data = ARef<Self>;

    /// The last reference is mostly the file's, whose release may sleep and needs no work item.
    #[inline]
    fn release(token: ARef<Self>) {
        Token::drop_sleeping(token);
    }

    fn show_fdinfo(token: &Self, path: &Path, m: &SeqFile) {
        if let Some(permitted) = Permitted::by_path(token, path) {
            permitted.show(m);
        }
    }
}

/// `struct bpf_token_info`.
pub(crate) type Info = [u64; 5];

const _: () = {
    use bindings::bpf_token_info as Info;
    assert!(size_of::<self::Info>() == size_of::<Info>());
    assert!(offset_of!(Info, allowed_cmds) == 0);
    assert!(offset_of!(Info, allowed_maps) == 8);
    assert!(offset_of!(Info, allowed_progs) == 16);
    assert!(offset_of!(Info, allowed_attachs) == 24);
    assert!(offset_of!(Info, cookie) == 32);
};

/// A token, and what its instance of the BPF FS delegates at present. It permits what is in both.
///
/// The instance is that of the token's file, which keeps it mounted.
pub(crate) struct Permitted<'a> {
    pub(crate) token: &'a Token,
    present: &'a Present,
}

impl<'a> Permitted<'a> {
    /// The token behind `file`, if there is one.
    #[inline]
    pub(crate) fn by_file(file: &'a LocalFile) -> Option<Self> {
        let token = file.pseudo_file_data(&FILE_OPERATIONS)?;
        Self::by_path(token, file.path())
    }

    /// `token` with the instance that the path of its file is on.
    #[inline]
    pub(crate) fn by_path(token: &'a Token, path: &'a Path) -> Option<Self> {
        let present = BpfFs::from_super_block(path.super_block())?.present();
        Some(Self { token, present })
    }

    /// Returns all that the token permits. Each mask is of the moment when it is read.
    #[inline]
    pub(crate) fn load(&self) -> Delegation {
        *self.token.allowed() & self.present.load()
    }

    /// Returns what `BPF_OBJ_GET_INFO_BY_FD` copies to userspace.
    #[inline]
    pub(crate) fn info(&self) -> Info {
        [
            self.cmds().bits(),
            self.maps().bits(),
            self.progs().bits(),
            self.attachs().bits(),
            self.token.cookie(),
        ]
    }

    /// Writes the lines of the token's fdinfo.
    pub(crate) fn show(&self, m: &SeqFile) {
        show_mask(m, c"allowed_cmds:\t", self.cmds());
        show_mask(m, c"allowed_maps:\t", self.maps());
        show_mask(m, c"allowed_progs:\t", self.progs());
        show_mask(m, c"allowed_attachs:\t", self.attachs());
        if self.token.cookie() != 0 {
            seq_print!(m, "cookie:\t{}\n", self.token.cookie());
        }
    }
}

impl Permits for Permitted<'_> {
    #[inline]
    fn cmds(&self) -> Mask<Cmd> {
        self.token.allowed().cmds & self.present.cmds.load()
    }

    #[inline]
    fn maps(&self) -> Mask<MapType> {
        self.token.allowed().maps & self.present.maps.load()
    }

    #[inline]
    fn progs(&self) -> Mask<ProgType> {
        self.token.allowed().progs & self.present.progs.load()
    }

    #[inline]
    fn attachs(&self) -> Mask<AttachType> {
        self.token.allowed().attachs & self.present.attachs.load()
    }
}

/// Writes the lines of a program's fdinfo that tell of the token that it was loaded through.
pub(crate) fn show_origin(m: &SeqFile, token: &Token) {
    let (userns, cookie) = (token.userns().inum(), token.cookie());
    seq_print!(m, "token_userns:\t{userns}\ntoken_cookie:\t{cookie}\n");
}

fn show_mask<K: Kind>(m: &SeqFile, label: &CStr, mask: Mask<K>) {
    m.write(label.to_bytes());
    if mask.contains_all() {
        m.write(b"any\n");
    } else {
        m.write(b"0x");
        m.put_hex(mask.bits());
        m.write(b"\n");
    }
}
