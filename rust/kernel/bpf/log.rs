// SPDX-License-Identifier: GPL-2.0

//! The log that a caller of `bpf(2)` can ask for.
//!
//! C header: [`include/linux/bpf_verifier.h`](srctree/include/linux/bpf_verifier.h).

use crate::{
    bindings,
    ffi::c_int,
    prelude::*,
    types::Opaque, //
};

/// Wraps the kernel's `struct bpf_verifier_log`: a log that is being written.
///
/// # Invariants
///
/// The log is valid, and used by this thread only.
#[repr(transparent)]
pub struct VerifierLog(Opaque<bindings::bpf_verifier_log>);

impl VerifierLog {
    /// Borrows the log that C code points at, if it points at one.
    ///
    /// # Safety
    ///
    /// `ptr` must be null, or a log that only this thread uses for `'a`.
    #[inline]
    pub unsafe fn from_ptr<'a>(ptr: *mut bindings::bpf_verifier_log) -> Option<&'a Self> {
        // SAFETY: The caller vouches for the pointer; the type is transparent.
        unsafe { ptr.cast::<Self>().as_ref() }
    }

    /// Writes a line as C's `bpf_log()` does: what does not fit, or does not reach userspace, makes
    /// the command fail in the end.
    #[cold]
    pub fn write_line(&self, line: &CStr) {
        // SAFETY: By the type invariant; both strings are terminated.
        unsafe {
            bindings::bpf_log(self.0.get(), c"%s\n".as_char_ptr(), line.as_char_ptr());
        }
    }

    /// Writes as much of a line as there is room for, and never makes the command fail.
    #[cold]
    pub fn append(&self, line: &str) {
        // SAFETY: By the type invariant, the log is this thread's.
        let log = unsafe { &mut *self.0.get() };
        // A log without a buffer only counts. A line feed and the final zero need room too.
        let room = u64::from(log.len_total).saturating_sub(log.end_pos + 2);
        let length = room.min(line.len() as u64) as c_int;
        if log.level == 0 || log.ubuf.is_null() || length <= 0 {
            return;
        }
        let buffer = log.ubuf;
        // SAFETY: By the type invariant; `line` has at least `length` bytes.
        unsafe {
            bindings::bpf_log(log, c"%.*s\n".as_char_ptr(), length, line.as_ptr());
        }
        // `bpf_log` marks a buffer that faulted by forgetting it, for the command to fail by.
        log.ubuf = buffer;
    }
}

/// Wraps the kernel's `struct bpf_log_attr`: where the caller of a command wants a log, if at all.
///
/// # Invariants
///
/// `bpf_log_attr_init` made it.
#[repr(transparent)]
pub struct LogAttr(Opaque<bindings::bpf_log_attr>);

impl LogAttr {
    /// Borrows what C code points at.
    ///
    /// # Safety
    ///
    /// `ptr` must satisfy the type invariant, and only this thread may use it for `'a`.
    #[inline]
    pub unsafe fn from_ptr<'a>(ptr: *mut bindings::bpf_log_attr) -> &'a Self {
        // SAFETY: The caller vouches for the pointer; the type is transparent.
        unsafe { &*ptr.cast() }
    }

    /// Whether there is a buffer to write to.
    #[inline]
    fn is_wanted(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { !(*self.0.get()).ubuf.is_null() && (*self.0.get()).level != 0 }
    }

    /// Makes `line` the whole log, and never makes the command fail.
    #[cold]
    fn write(&self, line: &str) {
        let Ok(mut log) = KBox::init(
            pin_init::init_zeroed::<bindings::bpf_verifier_log>(),
            GFP_KERNEL,
        ) else {
            return;
        };
        let attr = self.0.get();
        // SAFETY: By the type invariant, the attributes are valid; the log is ours.
        unsafe {
            if bindings::bpf_vlog_init(&mut *log, (*attr).level, (*attr).ubuf, (*attr).size) != 0 {
                return;
            }
        }
        // SAFETY: The log was just initialised, and is ours.
        if let Some(log) = unsafe { VerifierLog::from_ptr(&mut *log) } {
            log.append(line);
        }
        // SAFETY: As above. What is returned is how the log fared, not how the command did.
        unsafe { bindings::bpf_log_attr_finalize(attr, &mut *log) };
    }
}

/// The log that the common attributes of a command ask for.
///
/// # Invariants
///
/// `common` is valid, and userspace has `size` bytes of it at `ucommon`.
pub struct CommonLog {
    common: *mut bindings::bpf_common_attr,
    ucommon: bindings::bpfptr_t,
    size: u32,
}

impl CommonLog {
    /// Keeps what is needed to write the log.
    ///
    /// # Safety
    ///
    /// The arguments must satisfy the type invariant as long as the value is in use.
    #[inline]
    pub unsafe fn new(
        common: *mut bindings::bpf_common_attr,
        ucommon: bindings::bpfptr_t,
        size: u32,
    ) -> Self {
        // INVARIANT: The caller vouches for it.
        Self {
            common,
            ucommon,
            size,
        }
    }

    #[inline]
    fn is_wanted(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { (*self.common).log_buf != 0 }
    }

    /// Makes `line` the whole log, and never makes the command fail.
    #[cold]
    fn write(&self, line: &str) {
        let mut attr = pin_init::zeroed::<bindings::bpf_log_attr>();
        // SAFETY: By the type invariant; the command itself has no fields for a log.
        let err = unsafe {
            bindings::bpf_log_attr_init(
                &mut attr,
                0,
                0,
                0,
                0,
                self.ucommon,
                self.common,
                self.ucommon,
                self.size,
            )
        };
        if err == 0 {
            // SAFETY: `bpf_log_attr_init` made it, and it is ours.
            unsafe { LogAttr::from_ptr(&mut attr) }.write(line);
        }
    }
}

/// The log of one command, as far as that command got with it.
#[derive(Clone, Copy)]
pub enum Log<'a> {
    /// The command has none.
    None,
    /// The command is writing it, if the caller asked for it, and will finish it.
    Open(Option<&'a VerifierLog>),
    /// The command has not begun it yet.
    Closed(&'a LogAttr),
    /// The command has none of its own; the common attributes may ask for one.
    Common(&'a CommonLog),
}

impl Log<'_> {
    /// Whether there is anybody to read.
    #[inline]
    pub fn is_wanted(&self) -> bool {
        match self {
            Log::None => false,
            Log::Open(log) => log.is_some(),
            Log::Closed(attr) => attr.is_wanted(),
            Log::Common(attr) => attr.is_wanted(),
        }
    }

    /// Writes a line to whoever reads, without any effect on the outcome of the command.
    #[cold]
    pub fn append(&self, line: &str) {
        match self {
            Log::None | Log::Open(None) => (),
            Log::Open(Some(log)) => log.append(line),
            Log::Closed(attr) => attr.write(line),
            Log::Common(attr) => attr.write(line),
        }
    }
}
