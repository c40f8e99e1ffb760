// SPDX-License-Identifier: GPL-2.0

//! The BPF file system.
//!
//! C source: [`kernel/bpf/inode.c`](srctree/kernel/bpf/inode.c).

use crate::present::Present;
use core::{
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    bindings,
    error::{
        from_err_ptr,
        Result, //
    },
    fs::{
        NewInode,
        SuperBlock, //
    },
};

/// The super block of an instance of the BPF file system.
///
/// # Invariants
///
/// `s_op` is `bpf_super_ops`, and so `s_fs_info` points at a `struct bpf_mount_opts`. After the
/// instance was made, only a remount changes the four masks in it, and only by [`Present`]; nobody
/// changes the cookie.
#[repr(transparent)]
pub(crate) struct BpfFs(SuperBlock);

impl BpfFs {
    /// Casts `sb`, if it is of a BPF file system.
    #[inline]
    pub(crate) fn from_super_block(sb: &SuperBlock) -> Option<&Self> {
        // SAFETY: The super block is valid, and its operations do not change. The type is
        // transparent. INVARIANT: `s_op` is compared.
        unsafe {
            ptr::eq((*sb.as_ptr()).s_op, &raw const bindings::bpf_super_ops)
                .then(|| &*ptr::from_ref(sb).cast())
        }
    }

    /// Returns what this instance delegates at present.
    #[inline]
    pub(crate) fn present(&self) -> &Present {
        // SAFETY: By the type invariant; the mount options live as long as their super block.
        unsafe { &*Present::in_opts((*self.as_ptr()).s_fs_info.cast()) }
    }

    /// Makes an inode without a link on this instance, owned by the current task: dropping the last
    /// reference frees it.
    ///
    /// `mode` is file type and permissions. Fails with `ENOSPC` for want of memory, and with
    /// `EINVAL` for a type that a BPF file system does not have.
    #[inline]
    pub(crate) fn new_inode(&self, mode: u16) -> Result<NewInode<'_>> {
        // SAFETY: The super block is valid; there is no directory to inherit from. The inode is
        // new, never null, of this super block, and nobody else changes its link count.
        unsafe {
            let inode = from_err_ptr(bindings::bpf_get_inode(self.as_ptr(), ptr::null(), mode))?;
            bindings::clear_nlink(inode);
            Ok(NewInode::from_raw(NonNull::new_unchecked(inode)))
        }
    }
}

impl Deref for BpfFs {
    type Target = SuperBlock;

    #[inline]
    fn deref(&self) -> &SuperBlock {
        &self.0
    }
}
