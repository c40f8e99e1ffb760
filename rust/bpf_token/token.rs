// SPDX-License-Identifier: GPL-2.0

//! The token object: its creation, its file, its lifetime.

use crate::{
    delegation::Delegation,
    events,
    mask::{
        Kind,
        Mask, //
    },
    mount,
    reason::{
        NotCreated,
        Reason, //
    },
    refusal::{
        refuse,
        Asked, //
    }, //
};
use core::{
    cell::UnsafeCell,
    mem::{
        offset_of,
        MaybeUninit, //
    },
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    bindings,
    bpf::{
        bpffs::BpfFs,
        log::Log,
        security::{
            self,
            BpfToken, //
        },
    },
    capability::Capability,
    ffi::c_void,
    fs::{
        current_umask,
        file::{
            flags,
            FileDescriptorReservation, //
        },
        Fd,
        FileOperations,
        Path,
        PseudoFile,
        PseudoFileOperations,
        MAY_ACCESS, //
    },
    prelude::*,
    seq_file::SeqFile,
    sync::{
        aref::{
            ARef,
            AlwaysRefCounted, //
        },
        atomic::{
            ordering::{
                Full,
                Relaxed, //
            },
            Atomic, //
        },
    },
    transmute::AsBytes,
    user_namespace::UserNamespace,
    workqueue::{
        impl_has_work,
        new_work,
        Queue,
        Work,
        WorkItem, //
    },
};

/// What the security modules attach to a token. It is theirs alone.
#[cfg(CONFIG_SECURITY)]
type Blob = UnsafeCell<*mut c_void>;
#[cfg(not(CONFIG_SECURITY))]
type Blob = UnsafeCell<()>;

/// A BPF token.
///
/// Has the layout of `struct bpf_token`: the rest of the kernel and BPF LSM programs read it as
/// that.
///
/// # Invariants
///
/// The security modules accepted the token. It is in a `KBox`, which `refcount` counts the
/// references to.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(crate) struct Token {
    #[pin]
    work: Work<Token>,
    refcount: Atomic<i64>,
    userns: ARef<UserNamespace>,
    allowed: Delegation,
    security: Blob,
}

const _: () = {
    assert!(size_of::<Token>() == size_of::<bindings::bpf_token>());
    assert!(align_of::<Token>() == align_of::<bindings::bpf_token>());
    assert!(offset_of!(Token, work) == offset_of!(bindings::bpf_token, work));
    assert!(offset_of!(Token, refcount) == offset_of!(bindings::bpf_token, refcnt));
    assert!(offset_of!(Token, userns) == offset_of!(bindings::bpf_token, userns));
    let allowed = offset_of!(Token, allowed);
    assert!(
        allowed + offset_of!(Delegation, cmds) == offset_of!(bindings::bpf_token, allowed_cmds)
    );
    assert!(
        allowed + offset_of!(Delegation, maps) == offset_of!(bindings::bpf_token, allowed_maps)
    );
    assert!(
        allowed + offset_of!(Delegation, progs) == offset_of!(bindings::bpf_token, allowed_progs)
    );
    assert!(
        allowed + offset_of!(Delegation, attachs)
            == offset_of!(bindings::bpf_token, allowed_attachs)
    );
    #[cfg(CONFIG_SECURITY)]
    assert!(offset_of!(Token, security) == offset_of!(bindings::bpf_token, security));
};

// SAFETY: Nothing in a token is bound to a task; the security modules synchronise what they attach.
unsafe impl Send for Token {}
// SAFETY: As above; all that changes in a token is its reference count, which is atomic.
unsafe impl Sync for Token {}

/// Who says that a capability is missing.
#[derive(Clone, Copy)]
pub(crate) enum Denial {
    /// The current task does not have it.
    Capability,
    /// A security module.
    SecurityModule,
}

/// The file operations of a token: what tells its descriptors from all others.
// SAFETY: `kernel/bpf/syscall.c` only compares with this table, and reads the `struct bpf_token` in
// the `private_data` of a file that has it.
#[export_name = "bpf_token_fops"]
static FILE_OPERATIONS: FileOperations<Token> = unsafe { FileOperations::new() };

impl Token {
    /// Borrows the token that C code points at, if it points at one.
    ///
    /// # Safety
    ///
    /// `ptr` must be null or a token that stays valid for `'a`.
    #[inline]
    pub(crate) unsafe fn from_ptr<'a>(ptr: *const bindings::bpf_token) -> Option<&'a Self> {
        // SAFETY: The caller vouches for the pointer; the layouts are the same.
        unsafe { ptr.cast::<Self>().as_ref() }
    }

    /// Takes over a reference that C code owns, if it owns one.
    ///
    /// # Safety
    ///
    /// `ptr` must be null or a token, to which the caller gives up one reference.
    #[inline]
    pub(crate) unsafe fn from_raw(ptr: *mut bindings::bpf_token) -> Option<ARef<Self>> {
        // SAFETY: The caller vouches for the pointer.
        NonNull::new(ptr.cast()).map(|token| unsafe { ARef::from_raw(token) })
    }

    /// Hands a reference over to C code.
    #[inline]
    pub(crate) fn into_raw(this: ARef<Self>) -> *mut bindings::bpf_token {
        ARef::into_raw(this).as_ptr().cast()
    }

    /// The token as the security modules know it.
    #[inline]
    fn as_bpf_token(&self) -> &BpfToken {
        // SAFETY: By the type invariant, the modules accepted the token; the layouts are the same.
        unsafe { BpfToken::from_ptr(ptr::from_ref(self).cast()) }
    }

    /// What the token permits.
    #[inline]
    pub(crate) fn allowed(&self) -> &Delegation {
        &self.allowed
    }

    /// The user namespace that the token gives its capabilities from.
    #[inline]
    pub(crate) fn userns(&self) -> &UserNamespace {
        &self.userns
    }

    /// Fails unless the current task has `cap`, or `CAP_SYS_ADMIN` in its place: in the user
    /// namespace of the token, if the security modules agree, or without a token in the initial
    /// one.
    #[inline]
    pub(crate) fn check_capable(token: Option<&Self>, cap: Capability) -> Result<(), Denial> {
        let userns = token.map_or(UserNamespace::init(), Self::userns);
        if !userns.capable(cap)
            && (cap == Capability::SYS_ADMIN || !userns.capable(Capability::SYS_ADMIN))
        {
            return Err(Denial::Capability);
        }
        match token {
            Some(token) if !security::token_capable(token.as_bpf_token(), cap) => {
                Err(Denial::SecurityModule)
            }
            _ => Ok(()),
        }
    }

    /// Whether the token delegates `cmd`, and the security modules agree.
    #[inline]
    pub(crate) fn allows_cmd(&self, cmd: bindings::bpf_cmd) -> bool {
        self.allowed.cmd(cmd) && self.may_delegate_cmd(cmd)
    }

    /// Whether the security modules let the token delegate `cmd`.
    #[inline]
    pub(crate) fn may_delegate_cmd(&self, cmd: bindings::bpf_cmd) -> bool {
        security::token_cmd(self.as_bpf_token(), cmd)
    }

    /// Makes a token of the BPF FS instance whose root directory `bpffs_fd` in `attr` is, and
    /// returns its descriptor. A refusal is told to `log`.
    ///
    /// # Safety
    ///
    /// `attr` must be the attributes of `BPF_TOKEN_CREATE`.
    pub(crate) unsafe fn create(attr: *mut bindings::bpf_attr, log: Log<'_>) -> Result<u32> {
        // SAFETY: By the requirements of this function.
        unsafe { Self::try_create(attr) }.map_err(|step| {
            let asked = Asked {
                cmd: bindings::bpf_cmd_BPF_TOKEN_CREATE,
                ..Asked::default()
            };
            refuse(asked, None, log, step.error(), || Reason::NotCreated(step))
        })
    }

    /// # Safety
    ///
    /// `attr` must be the attributes of `BPF_TOKEN_CREATE`.
    unsafe fn try_create(attr: *mut bindings::bpf_attr) -> Result<u32, NotCreated> {
        // SAFETY: The caller passes attributes of this command.
        let fd = unsafe { (*attr).token_create.bpffs_fd };
        let fd = Fd::get(fd).map_err(|_| NotCreated::NotOpen { fd })?;
        let path = fd.file().path();
        let (bpffs, allowed) = may_create(path)?;

        // What is made in the following steps is given back by its guard if a later step fails.
        // SAFETY: This is a system call.
        let umask = unsafe { current_umask() };
        let mode = bindings::S_IFREG | (bindings::S_IRUSR | bindings::S_IWUSR) & !umask;
        let mut inode = bpffs.new_inode(mode as u16).map_err(NotCreated::NoInode)?;
        inode.clear_nlink();
        let fd = FileDescriptorReservation::get_unused_fd_flags(flags::O_CLOEXEC)
            .map_err(NotCreated::NoDescriptor)?;
        let file = PseudoFile::new(inode, path, c"bpf-token", flags::O_RDWR, &FILE_OPERATIONS)
            .map_err(NotCreated::NoFile)?;
        // SAFETY: By the requirements of this function.
        let token = unsafe { Self::new(bpffs.user_ns(), allowed, attr, path) };
        let token = token.map_err(NotCreated::NoToken)?;
        events::created(&token);
        Ok(file.publish(fd, token))
    }

    /// Memory for a token, by C's way of allocating an object: Rust's costs a call more.
    #[inline]
    fn alloc() -> Result<KBox<MaybeUninit<Self>>> {
        // SAFETY: The flags are those of an allocation that may sleep, as a system call may.
        let memory = unsafe { bindings::bpf_token_alloc(bindings::GFP_KERNEL) };
        let memory = NonNull::new(memory).ok_or(ENOMEM)?.cast();
        // SAFETY: The memory comes from `kmalloc`, as that of a `KBox` does, and has the size and
        // the alignment of a token.
        Ok(unsafe { KBox::from_raw(memory.as_ptr()) })
    }

    /// # Safety
    ///
    /// `attr` must be the attributes of `BPF_TOKEN_CREATE`.
    unsafe fn new(
        userns: &UserNamespace,
        allowed: &Delegation,
        attr: *mut bindings::bpf_attr,
        path: &Path,
    ) -> Result<ARef<Self>> {
        let token = Self::alloc()?.write_pin_init(try_pin_init!(&this in Self {
            work <- new_work!("Token::work"),
            refcount: Atomic::new(1),
            userns: userns.into(),
            allowed: *allowed,
            security: pin_init::zeroed(),
            // INVARIANT: If the modules refuse the token, there never was one: the fields are
            // dropped, and `PinnedDrop` does not run.
            // SAFETY: The modules come last, when all but their own blob is initialised. `attr` is
            // that of the command, by the requirements of this function.
            _: { unsafe { security::token_create(this.as_ptr().cast(), attr, path) }? },
        }))?;
        // SAFETY: The count of 1 stands for this reference. A token is not moved out of its box:
        // only `dec_ref` takes it out of the `ARef` again, and pins it.
        Ok(unsafe {
            let token = KBox::into_raw(Pin::into_inner_unchecked(token));
            ARef::from_raw(NonNull::new_unchecked(token))
        })
    }

    /// The token behind the descriptor `fd`.
    #[inline(always)]
    pub(crate) fn get_from_fd(fd: u32) -> Result<ARef<Self>> {
        let fd = Fd::get(fd)?;
        let token = fd.file().pseudo_file_data(&FILE_OPERATIONS).ok_or(EINVAL)?;
        Ok(token.into())
    }

    /// Gives up one reference. The last one was that to the box.
    ///
    /// # Safety
    ///
    /// The caller must own a reference to `obj`, and use it no more.
    #[inline]
    unsafe fn give_up(obj: NonNull<Self>) -> Option<Pin<KBox<Self>>> {
        // SAFETY: The caller gives up one reference, so there still is one.
        if unsafe { obj.as_ref() }.refcount.fetch_sub(1, Full) != 1 {
            return None;
        }
        // SAFETY: That was the last reference, and by the type invariant, the token is in a `KBox`.
        Some(Pin::from(unsafe { KBox::from_raw(obj.as_ptr()) }))
    }

    /// What `BPF_OBJ_GET_INFO_BY_FD` tells of the token.
    #[inline]
    pub(crate) fn info(&self) -> Info {
        Info(bindings::bpf_token_info {
            allowed_cmds: self.allowed.cmds.bits(),
            allowed_maps: self.allowed.maps.bits(),
            allowed_progs: self.allowed.progs.bits(),
            allowed_attachs: self.allowed.attachs.bits(),
        })
    }
}

/// `struct bpf_token_info`.
#[repr(transparent)]
pub(crate) struct Info(bindings::bpf_token_info);

// SAFETY: `struct bpf_token_info` is four `u64`: it has no padding.
unsafe impl AsBytes for Info {}

/// Whether the current task may make a token by `path`, and if so, of what.
///
/// The order of the checks is that of the C implementation: it decides which errno a caller sees.
fn may_create(path: &Path) -> Result<(&BpfFs, &Delegation), NotCreated> {
    if !path.is_root() {
        return Err(NotCreated::NotARoot);
    }
    let bpffs = BpfFs::from_super_block(path.super_block()).ok_or(NotCreated::NotABpfFs)?;
    path.permission(MAY_ACCESS).map_err(NotCreated::NoAccess)?;

    // A token is made where it is meant to be used: neither in an ancestor nor in a descendant.
    let userns = bpffs.user_ns();
    if !userns.is_current() {
        return Err(NotCreated::OtherNamespace);
    }
    if !userns.capable(Capability::BPF) {
        return Err(NotCreated::Unprivileged);
    }
    // In the initial user namespace, a capability is what a token would stand for.
    if userns.is_init() {
        return Err(NotCreated::InitialNamespace);
    }

    let allowed = mount::delegation(bpffs);
    if allowed.is_empty() {
        return Err(NotCreated::NothingDelegated);
    }
    Ok((bpffs, allowed))
}

// SAFETY: A token is reference-counted by `refcount`; who has a `&Token` while that is zero (before
// it is made, and while it is dropped) takes no reference.
unsafe impl AlwaysRefCounted for Token {
    #[inline]
    fn inc_ref(&self) {
        self.refcount.add(1, Relaxed);
    }

    /// Tokens are put in atomic context too, where the security modules cannot be told: that, and
    /// the freeing, is left to a work item.
    #[inline]
    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: By the requirements of this function.
        if let Some(token) = unsafe { Self::give_up(obj) } {
            // SAFETY: `system_percpu_wq` is a C global, always available.
            unsafe { Queue::from_raw(bindings::system_percpu_wq) }.enqueue(token);
        }
    }
}

impl_has_work! {
    impl HasWork<Self> for Token { self.work }
}

impl WorkItem for Token {
    type Pointer = Pin<KBox<Self>>;

    fn run(token: Pin<KBox<Self>>) {
        drop(token);
    }
}

#[pinned_drop]
impl PinnedDrop for Token {
    fn drop(self: Pin<&mut Self>) {
        events::freed(&self);
        // SAFETY: By the type invariant, the modules accepted the token; this is its end.
        unsafe { security::token_free(ptr::from_ref(&*self).cast_mut().cast()) };
    }
}

impl PseudoFileOperations for Token {
    type Data = ARef<Self>;

    /// The last reference is most often that of the file, whose end may sleep: no work item then.
    #[inline]
    fn release(token: ARef<Self>) {
        // SAFETY: The reference was that of `token`.
        drop(unsafe { Self::give_up(ARef::into_raw(token)) });
    }

    fn show_fdinfo(token: &Self, m: &SeqFile) {
        let allowed = &token.allowed;
        show_mask(m, c"allowed_cmds:\t", allowed.cmds);
        show_mask(m, c"allowed_maps:\t", allowed.maps);
        show_mask(m, c"allowed_progs:\t", allowed.progs);
        show_mask(m, c"allowed_attachs:\t", allowed.attachs);
    }
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
