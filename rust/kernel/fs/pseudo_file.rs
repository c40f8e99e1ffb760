// SPDX-License-Identifier: GPL-2.0

//! Pseudo files: open files without a name in any directory, each standing for a kernel object.
//!
//! C header: [`include/linux/file.h`](srctree/include/linux/file.h) (`alloc_file_pseudo`).

use super::{
    file::{
        FileDescriptorReservation,
        LocalFile, //
    },
    inode::NewInode,
    path::Path,
    File, //
};
use crate::{
    bindings,
    error::{
        from_err_ptr,
        VTABLE_DEFAULT_ERROR, //
    },
    ffi::c_int,
    module::this_module,
    prelude::*,
    seq_file::SeqFile,
    str::CStrExt as _,
    sync::aref::ARef,
    types::ForeignOwnable, //
};
use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
};

/// The file operations of one kind of pseudo file. For all others, the VFS has its defaults.
#[vtable]
pub trait PseudoFileOperations: Sized {
    /// The object that each file of this kind owns, in its `private_data`.
    type Data: ForeignOwnable + Send + Sync;

    /// Takes over the object when the last reference to its file is dropped. May sleep.
    #[inline]
    fn release(data: Self::Data) {
        drop(data);
    }

    /// Writes the object's lines of `/proc/<pid>/fdinfo/<fd>`. `path` is that of the file.
    fn show_fdinfo(
        _data: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        _path: &Path,
        _m: &SeqFile,
    ) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// Wraps the kernel's `struct file_operations` for files of one kind.
///
/// Its address is the mark of the kind: a file whose `f_op` points here was made by
/// [`PseudoFile::new`]. Nobody else can make one: no inode has this table in `i_fop`, so a second
/// open of such a file, through `/proc/<pid>/fd/<fd>`, fails with `ENXIO`.
#[repr(transparent)]
pub struct FileOperations<T>(bindings::file_operations, PhantomData<T>);

// SAFETY: The operations are never written to.
unsafe impl<T> Sync for FileOperations<T> {}

impl<T> FileOperations<T> {
    #[inline]
    pub(super) fn as_ptr(&'static self) -> *const bindings::file_operations {
        &raw const self.0
    }
}

impl<T: PseudoFileOperations> FileOperations<T> {
    /// Returns the table of operations for `T`.
    ///
    /// # Safety
    ///
    /// C code that knows this table must neither make files with it nor give it to an inode.
    pub const unsafe fn new() -> Self {
        Self(
            bindings::file_operations {
                owner: this_module::<T::OwnerModule>().as_ptr(),
                release: Some(Self::release),
                show_fdinfo: if T::HAS_SHOW_FDINFO {
                    Some(Self::show_fdinfo)
                } else {
                    None
                },
                ..pin_init::zeroed()
            },
            PhantomData,
        )
    }

    /// # Safety
    ///
    /// `file` must have this table and be used no more.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: This is the last use of the file, and its `private_data` is null (no object was
        // put in) or came from `into_foreign`.
        if let Some(data) = unsafe { T::Data::try_from_foreign((*file).private_data) } {
            T::release(data);
        }
        0
    }

    /// # Safety
    ///
    /// `file` must have this table and be installed, and `m` be used by this thread only.
    unsafe extern "C" fn show_fdinfo(m: *mut bindings::seq_file, file: *mut bindings::file) {
        // SAFETY: Only an installed file has an fdinfo, and `publish` put the object in before it
        // installed it; the caller holds the file for the duration of the call. Its path does not
        // change, and the type of that is transparent. Only this call uses the seq file.
        unsafe {
            let path = &*(&raw const (*file).__bindgen_anon_1.f_path).cast();
            T::show_fdinfo(
                T::Data::borrow((*file).private_data),
                path,
                SeqFile::from_raw(m),
            );
        }
    }
}

/// A pseudo file that is not in any descriptor table yet, and does not have its object yet.
///
/// # Invariants
///
/// `file` was made with `FileOperations<T>`, its `private_data` is null, and nobody else can reach
/// it.
pub struct PseudoFile<T> {
    file: ARef<File>,
    _kind: PhantomData<T>,
}

impl<T: PseudoFileOperations> PseudoFile<T> {
    /// Makes a file from `inode`, on the mount of `path`.
    ///
    /// `name` is what `/proc/<pid>/fd` shows. `flags` are those of `open(2)`. Fails with `ENOMEM`,
    /// with `ENFILE` when the system has too many open files, and with `EXDEV` when the inode is
    /// not of the file system that is mounted there; the inode is given back then.
    #[inline]
    pub fn new(
        inode: NewInode<'_>,
        path: &Path,
        name: &'static CStr,
        flags: u32,
        operations: &'static FileOperations<T>,
    ) -> Result<Self> {
        let operations = operations.as_ptr();
        // SAFETY: All arguments are valid; the super block of an inode does not change. The call
        // takes its own references to mount and operations, and takes over that of the inode only
        // when it succeeds. The file is valid then, its one reference is ours, and it has no
        // position in use.
        let file = unsafe {
            let (inode, mnt) = (inode.as_ptr(), (*path.as_ptr()).mnt);
            // The file holds the mount, and by that the super block; it must be that of the inode.
            if !ptr::eq((*inode).i_sb, path.super_block().as_ptr()) {
                return Err(EXDEV);
            }
            let (name, flags) = (name.as_char_ptr(), flags as c_int);
            let file = bindings::alloc_file_pseudo(inode, mnt, name, flags, operations);
            let file = from_err_ptr(file)?;
            ARef::from_raw(NonNull::new_unchecked(file.cast()))
        };
        inode.into_raw();
        // INVARIANT: The file is new, made with `FileOperations<T>`; `alloc_file_pseudo` leaves its
        // `private_data` null.
        Ok(Self {
            file,
            _kind: PhantomData,
        })
    }

    /// Gives the file its object, and the reserved descriptor the file. Returns the descriptor.
    #[inline]
    pub fn publish(self, fd: FileDescriptorReservation, data: T::Data) -> u32 {
        // SAFETY: By the type invariant, nobody else can reach the file.
        unsafe { (*self.file.as_ptr()).private_data = data.into_foreign() };
        let number = fd.reserved_fd();
        fd.fd_install(self.file);
        number
    }
}

impl LocalFile {
    /// The object of this file, if the file is of the kind that `operations` marks.
    #[inline]
    pub fn pseudo_file_data<T: PseudoFileOperations>(
        &self,
        operations: &'static FileOperations<T>,
    ) -> Option<<T::Data as ForeignOwnable>::Borrowed<'_>> {
        // SAFETY: The file is valid, and `f_op` of an open file does not change. A file with these
        // operations that can be found has its object since `publish`, and keeps it as long as it
        // lives.
        unsafe {
            let file = self.as_ptr();
            ptr::eq((*file).f_op, operations.as_ptr())
                .then(|| T::Data::borrow((*file).private_data))
        }
    }
}
