// SPDX-License-Identifier: GPL-2.0

//! The token object: its parts and its lifetime.

use crate::{
    delegation::Delegation,
    events,
    lsm::{
        self,
        BpfToken, //
    }, //
};
use core::{
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
    fs::Path,
    prelude::*,
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
    user_namespace::UserNamespace,
    workqueue::{
        impl_has_work,
        new_work,
        Queue,
        Work,
        WorkItem, //
    },
};

/// How many pointers the security modules have in a token.
const BLOBS: usize = cfg!(CONFIG_SECURITY) as usize;

/// The parts of a token, while it is made, counted and freed.
///
/// Has the layout of `struct bpf_token`: the rest of the kernel and BPF LSM programs read it as
/// that. It cannot be referenced by count: that is [`Token`], which there is none of before this is
/// whole and after the last reference is given up.
///
/// # Invariants
///
/// The security modules accepted the token.
#[pin_data(PinnedDrop)]
#[repr(C)]
struct Parts {
    #[pin]
    work: Work<Parts>,
    refcount: Atomic<i64>,
    userns: ARef<UserNamespace>,
    allowed: Delegation,
    /// The security blob, a pointer that only security modules use.
    security: [Atomic<usize>; BLOBS],
    cookie: u64,
}

/// A BPF token.
///
/// # Invariants
///
/// The parts are in a `KBox`, and `refcount` counts the references to them.
#[repr(transparent)]
pub(crate) struct Token(Parts);

const _: () = {
    assert!(size_of::<Parts>() == size_of::<bindings::bpf_token>());
    assert!(align_of::<Parts>() == align_of::<bindings::bpf_token>());
    assert!(offset_of!(Parts, work) == offset_of!(bindings::bpf_token, work));
    assert!(offset_of!(Parts, refcount) == offset_of!(bindings::bpf_token, refcnt));
    assert!(offset_of!(Parts, userns) == offset_of!(bindings::bpf_token, userns));
    let allowed = offset_of!(Parts, allowed);
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
    assert!(offset_of!(Parts, security) == offset_of!(bindings::bpf_token, security));
    assert!(offset_of!(Parts, cookie) == offset_of!(bindings::bpf_token, cookie));
};

// `ARef::from(&*parts)` must not compile: parts in a box have nobody who counts. It does not as
// long as they are not `AlwaysRefCounted`; if they were, this would be ambiguous and not compile.
const _: fn() = || {
    struct Counted;
    trait NotCounted<A> {
        fn holds() {}
    }
    impl<T> NotCounted<()> for T {}
    impl<T: AlwaysRefCounted> NotCounted<Counted> for T {}
    let _ = <Parts as NotCounted<_>>::holds;
};

impl Parts {
    /// Memory for a token, by C's way of allocating an object.
    ///
    /// By `KBox::try_pin_init`, a token takes 2,365 instructions to create, and C 2,301.
    #[inline]
    fn alloc() -> Result<KBox<MaybeUninit<Self>>> {
        // SAFETY: The flags are those of an allocation that may sleep, as a system call may. The
        // memory comes from `kmalloc`, as that of a `KBox` does, and has the size and the alignment
        // of a token.
        unsafe {
            let memory = NonNull::new(bindings::bpf_token_alloc(bindings::GFP_KERNEL));
            Ok(KBox::from_raw(memory.ok_or(ENOMEM)?.cast().as_ptr()))
        }
    }

    /// The token as the security modules know it.
    #[inline]
    fn as_bpf_token(&self) -> &BpfToken {
        // SAFETY: The layouts are the same. INVARIANT: By the type invariant, the modules accepted
        // the token.
        unsafe { &*ptr::from_ref(self).cast() }
    }
}

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

    /// Hands a reference over to C code.
    #[inline]
    pub(crate) fn into_raw(this: ARef<Self>) -> *mut bindings::bpf_token {
        ARef::into_raw(this).as_ptr().cast()
    }

    /// Makes a token of `allowed` for `userns`, with a cookie, if the security modules agree.
    ///
    /// `path` and `attr` are what the modules are asked about.
    pub(crate) fn new(
        userns: &UserNamespace,
        allowed: Delegation,
        cookie: u64,
        attr: &mut bindings::bpf_attr,
        path: &Path,
    ) -> Result<ARef<Self>> {
        let init = try_pin_init!(&this in Parts {
            work <- new_work!("Token::work"),
            refcount: Atomic::new(1),
            userns: userns.into(),
            allowed,
            cookie,
            security: [const { Atomic::new(0) }; BLOBS],
            // INVARIANT: If the modules refuse the token, there never was one: the fields are
            // dropped, and `PinnedDrop` does not run.
            // SAFETY: The modules come last, when all but their own blob is initialised.
            _: { unsafe { lsm::token_create(this.as_ptr().cast(), attr, path) }? },
        });
        let parts = Parts::alloc()?.write_pin_init(init)?;
        // SAFETY: The parts are not moved out of their box: only `give_up` takes them out of the
        // `ARef` again, and pins them. A box is not null. The type is transparent, and its count of
        // 1 stands for this reference.
        let token: ARef<Self> = unsafe {
            let parts = KBox::into_raw(Pin::into_inner_unchecked(parts));
            ARef::from_raw(NonNull::new_unchecked(parts.cast()))
        };
        events::created(token.0.as_bpf_token());
        Ok(token)
    }

    /// Returns the masks of the token itself: it never permits more.
    #[inline]
    pub(crate) fn allowed(&self) -> &Delegation {
        &self.0.allowed
    }

    /// The user namespace that the token gives its capabilities from.
    #[inline]
    pub(crate) fn userns(&self) -> &UserNamespace {
        &self.0.userns
    }

    /// Returns the cookie of its BPF FS instance.
    #[inline]
    pub(crate) fn cookie(&self) -> u64 {
        self.0.cookie
    }

    /// The token as the security modules know it.
    #[inline]
    pub(crate) fn as_bpf_token(&self) -> &BpfToken {
        self.0.as_bpf_token()
    }

    /// Drops a reference that C code owns, if there is one.
    ///
    /// # Safety
    ///
    /// `token` must be null or valid, and the caller gives up one reference.
    #[inline]
    pub(crate) unsafe fn put(token: *mut bindings::bpf_token) {
        if let Some(token) = NonNull::new(token.cast::<Self>()) {
            // SAFETY: By the requirements of this function.
            unsafe { Self::dec_ref(token) };
        }
    }

    /// Drops a reference where that may sleep: the last one frees the token at once.
    #[inline]
    pub(crate) fn drop_sleeping(this: ARef<Self>) {
        // SAFETY: The reference was that of `this`.
        drop(unsafe { Self::give_up(ARef::into_raw(this)) });
    }

    /// Gives up one reference. Returns the parts if it was the last.
    ///
    /// # Safety
    ///
    /// The caller must own a reference to `obj`, and use it no more.
    #[inline]
    unsafe fn give_up(obj: NonNull<Self>) -> Option<Pin<KBox<Parts>>> {
        // SAFETY: The caller gives up one reference, so there still is one. If that was the last,
        // nobody else uses the parts, which are in a `KBox` by the type invariant.
        unsafe {
            let last = obj.as_ref().0.refcount.fetch_sub(1, Full) == 1;
            last.then(|| Pin::from(KBox::from_raw(obj.cast().as_ptr())))
        }
    }
}

// SAFETY: By the type invariant, `refcount` counts the references, and the token lives as long as
// there is one.
unsafe impl AlwaysRefCounted for Token {
    #[inline]
    fn inc_ref(&self) {
        self.0.refcount.add(1, Relaxed);
    }

    /// Tokens are put in atomic context too, where the security modules cannot be told: that, and
    /// the freeing, is left to a work item.
    #[inline]
    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: By the requirements of this function; `system_percpu_wq` is always available.
        unsafe {
            if let Some(parts) = Self::give_up(obj) {
                Queue::from_raw(bindings::system_percpu_wq).enqueue(parts);
            }
        }
    }
}

impl_has_work! {
    impl HasWork<Self> for Parts { self.work }
}

impl WorkItem for Parts {
    type Pointer = Pin<KBox<Self>>;

    fn run(parts: Pin<KBox<Self>>) {
        drop(parts);
    }
}

#[pinned_drop]
impl PinnedDrop for Parts {
    fn drop(self: Pin<&mut Self>) {
        events::freed(self.as_bpf_token());
        // SAFETY: By the type invariant, the modules accepted the token; this is its end.
        unsafe { lsm::token_free(ptr::from_ref(&*self).cast_mut().cast()) };
    }
}
