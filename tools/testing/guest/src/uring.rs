// SPDX-License-Identifier: GPL-2.0

//! A ring of io_uring, and the requests by which files get into it and out.

use std::ffi::CStr;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use io_uring::opcode;
use io_uring::squeue;
use io_uring::types;
use io_uring::types::DestinationSlot;
use io_uring::IoUring;
use rustix::fs::OFlags;
use rustix::io::Errno;

/// With the credentials of the task that submits a request.
pub const OWN_CREDENTIALS: u16 = 0;

pub struct Ring(IoUring);

impl Ring {
    /// A ring with a few slots for files.
    pub fn new() -> Self {
        let ring = IoUring::new(4).expect("io_uring_setup");
        ring.submitter()
            .register_files_sparse(4)
            .expect("IORING_REGISTER_FILES2");
        Self(ring)
    }

    /// A ring that a BPF program can drive.
    pub fn with_loop() -> Self {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun();
        Self(builder.build(4).expect("io_uring_setup"))
    }

    pub fn put(&self, slot: u32, file: &OwnedFd) {
        self.0
            .submitter()
            .register_files_update(slot, &[file.as_raw_fd()])
            .expect("IORING_REGISTER_FILES_UPDATE");
    }

    /// Has the ring keep the credentials of the calling task.
    pub fn keep_credentials(&self) -> u16 {
        self.0
            .submitter()
            .register_personality()
            .expect("IORING_REGISTER_PERSONALITY")
    }

    /// A descriptor of the file in a slot.
    pub fn install(&mut self, slot: u32, credentials: u16) -> Result<OwnedFd, Errno> {
        let request = opcode::FixedFdInstall::new(types::Fixed(slot), 0).build();
        self.complete_with_fd(request.personality(credentials))
    }

    /// Sends the file in a slot to the slot of another ring.
    pub fn send(&mut self, slot: u32, ring: RawFd, target: u32) -> Result<(), Errno> {
        const IORING_MSG_RING_CQE_SKIP: u32 = 1;
        let target = DestinationSlot::try_from_slot_target(target).expect("a slot's number");
        let request = opcode::MsgRingSendFd::new(types::Fd(ring), types::Fixed(slot), target, 0)
            .opcode_flags(IORING_MSG_RING_CQE_SKIP)
            .build();
        self.complete(request).map(drop)
    }

    pub fn open_directory(&mut self, path: &CStr, credentials: u16) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let request = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr())
            .flags(flags.bits() as i32)
            .build();
        self.complete_with_fd(request.personality(credentials))
    }

    /// The command 0 of the file in a slot.
    pub fn command(&mut self, slot: u32) -> Result<(), Errno> {
        let request = opcode::UringCmd16::new(types::Fixed(slot), 0).build();
        self.complete(request).map(drop)
    }

    /// Enters the kernel to wait for nothing.
    pub fn enter(&self) -> Result<usize, Errno> {
        // SAFETY: Without an argument.
        let entered = unsafe { self.0.submitter().enter::<libc::sigset_t>(0, 0, 1, None) };
        entered.map_err(|error| Errno::from_io_error(&error).expect("an errno"))
    }

    fn complete_with_fd(&mut self, request: squeue::Entry) -> Result<OwnedFd, Errno> {
        let fd = self.complete(request)?;
        // SAFETY: The kernel has just made this descriptor for us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    fn complete(&mut self, request: squeue::Entry) -> Result<i32, Errno> {
        // SAFETY: What a request has the address of outlives the call, which returns when the request is completed.
        unsafe { self.0.submission().push(&request) }.expect("an empty queue");
        self.0.submit_and_wait(1).expect("io_uring_enter");
        let completion = self.0.completion().next().expect("a request completed");
        match completion.result() {
            result if result < 0 => Err(Errno::from_raw_os_error(-result)),
            result => Ok(result),
        }
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self::new()
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
