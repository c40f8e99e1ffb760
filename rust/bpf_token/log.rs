// SPDX-License-Identifier: GPL-2.0

//! The log that a caller of `bpf(2)` can ask for.
//!
//! C header: [`include/linux/bpf_verifier.h`](srctree/include/linux/bpf_verifier.h).

use kernel::{
    bindings,
    ffi::{
        c_char,
        c_int, //
    },
    prelude::*, //
};

/// A log that is being written.
///
/// # Invariants
///
/// `bpf_vlog_init` made the log.
pub(crate) struct VerifierLog<'a>(&'a mut bindings::bpf_verifier_log);

impl<'a> VerifierLog<'a> {
    /// Borrows a log from C code.
    ///
    /// # Safety
    ///
    /// `log` must satisfy the type invariant.
    #[inline]
    pub(crate) unsafe fn new(log: &'a mut bindings::bpf_verifier_log) -> Self {
        // INVARIANT: The caller vouches for it.
        Self(log)
    }

    /// Writes a line as C's `bpf_log()` does: what does not fit, or does not reach userspace, makes
    /// the command fail in the end.
    #[cold]
    pub(crate) fn write_line(&mut self, line: &str) {
        self.print(line, line.len() as c_int);
    }

    /// Writes the first `length` bytes of a line, and a line feed.
    fn print(&mut self, line: &str, length: c_int) {
        // SAFETY: By the type invariant; what is read of `line` is in it.
        unsafe {
            bindings::bpf_log(
                self.0,
                c"%.*s\n".as_char_ptr(),
                length.min(line.len() as c_int),
                line.as_ptr(),
            )
        };
    }

    /// Writes a line without any effect on the outcome of the command: as much of it as there is
    /// room for, or the whole of it where the log has lost lines already, and keeps the last ones.
    #[cold]
    pub(crate) fn append(&mut self, line: &str) {
        let log = &mut *self.0;
        let lossy = log.level & bindings::BPF_LOG_FIXED == 0 && log.len_max > log.len_total;
        // A line feed and the final zero need room too.
        let room = match lossy {
            true => u64::MAX,
            false => u64::from(log.len_total).saturating_sub(log.end_pos + 2),
        };
        let length = room.min(line.len() as u64) as c_int;
        // A log without a buffer only counts.
        if log.level == 0 || log.ubuf.is_null() || length <= 0 {
            return;
        }
        let buffer = log.ubuf;
        self.print(line, length);
        // `bpf_log` marks a buffer that faulted by forgetting it, for the command to fail by.
        self.0.ubuf = buffer;
    }
}

/// The log of one command, as far as that command got with it.
pub(crate) enum Log<'a> {
    /// The command is writing it, and will finish it.
    Open(VerifierLog<'a>),
    /// The command has not begun it, or has finished it and written nothing but what [`Log::write`]
    /// is given to come first.
    Closed(LogAttr<'a>),
    /// The command has none of its own; the common attributes may ask for one.
    Common(CommonLog<'a>),
}

impl Log<'_> {
    /// Whether there is anybody to read.
    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        match self {
            Log::Open(_) => true,
            Log::Closed(attr) => attr.is_wanted(),
            Log::Common(log) => log.common.log_buf != 0,
        }
    }

    /// Writes a line to whoever reads, without any effect on the outcome of the command. Where the
    /// log is not open, `first` comes before it.
    #[cold]
    pub(crate) fn write(&mut self, first: Option<&str>, line: &str) {
        match self {
            Log::Open(log) => log.append(line),
            Log::Closed(attr) => attr.write(first, line),
            Log::Common(log) => log.write(line),
        }
    }
}

/// Where the caller of a command wants a log, if at all.
///
/// # Invariants
///
/// `bpf_log_attr_init` made it, or `bpf_log_attr_create_vlog`.
pub(crate) struct LogAttr<'a>(&'a mut bindings::bpf_log_attr);

impl<'a> LogAttr<'a> {
    /// Borrows the attributes of a log from C code.
    ///
    /// # Safety
    ///
    /// `attr` must satisfy the type invariant.
    #[inline]
    pub(crate) unsafe fn new(attr: &'a mut bindings::bpf_log_attr) -> Self {
        // INVARIANT: The caller vouches for it.
        Self(attr)
    }

    /// Whether there is anybody to read.
    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        !self.0.ubuf.is_null() && self.0.level != 0
    }

    /// Takes back from the common attributes where the caller wants the log, which what makes an
    /// open log leaves out.
    pub(crate) fn reopen(&mut self, common: &bindings::bpf_common_attr) {
        self.0.ubuf = common.log_buf as *mut c_char;
        self.0.size = common.log_size;
        self.0.level = common.log_level;
    }

    /// Makes `first`, if there is one, and `line` the whole log, and never makes the command fail.
    #[cold]
    fn write(&mut self, first: Option<&str>, line: &str) {
        let Ok(mut log) = KBox::init(
            pin_init::init_zeroed::<bindings::bpf_verifier_log>(),
            GFP_KERNEL,
        ) else {
            return;
        };
        let attr = &mut *self.0;
        // SAFETY: The log is ours, and any level, buffer and size will do. INVARIANT:
        // `bpf_vlog_init` made the log. By the type invariant, the attributes can be finalised.
        // What that returns is how the log fared, not how the command did.
        unsafe {
            if bindings::bpf_vlog_init(&mut *log, attr.level, attr.ubuf, attr.size) != 0 {
                return;
            }
            let mut lines = VerifierLog(&mut log);
            if let Some(first) = first {
                lines.write_line(first);
            }
            lines.append(line);
            bindings::bpf_log_attr_finalize(attr, &mut *log);
        }
    }
}

/// The log that the common attributes of a command ask for, when the command has not made one.
///
/// # Invariants
///
/// Userspace has `size` bytes of `common` at `ucommon`.
pub(crate) struct CommonLog<'a> {
    common: &'a mut bindings::bpf_common_attr,
    ucommon: bindings::bpfptr_t,
    size: u32,
}

impl<'a> CommonLog<'a> {
    /// Keeps what is needed to write the log.
    ///
    /// # Safety
    ///
    /// The arguments must satisfy the type invariant.
    #[inline]
    pub(crate) unsafe fn new(
        common: &'a mut bindings::bpf_common_attr,
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

    /// Makes `line` the whole log, and never makes the command fail.
    #[cold]
    fn write(&mut self, line: &str) {
        let mut attr = pin_init::zeroed::<bindings::bpf_log_attr>();
        let user = self.ucommon;
        // SAFETY: By the type invariant; the command itself has no fields for a log.
        let err = unsafe {
            bindings::bpf_log_attr_init(&mut attr, 0, 0, 0, 0, user, self.common, user, self.size)
        };
        if err == 0 {
            // INVARIANT: `bpf_log_attr_init` made it.
            LogAttr(&mut attr).write(None, line);
        }
    }
}
