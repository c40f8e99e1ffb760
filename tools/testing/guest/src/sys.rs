// SPDX-License-Identifier: GPL-2.0

//! The system calls that rustix has not, and with them most of the unsafe code of these tests.

use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::sync::atomic::AtomicU32;

use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::UnshareFlags;

use crate::attr;
use crate::attr::Attr;
use crate::log::Log;

/// The commands of `bpf()` in use here: `enum bpf_cmd` of include/uapi/linux/bpf.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Command {
    MapCreate = 0,
    MapUpdateElem = 2,
    ProgLoad = 5,
    ObjPin = 6,
    ObjGet = 7,
    ProgAttach = 8,
    ProgGetNextId = 11,
    MapGetNextId = 12,
    ObjGetInfoByFd = 15,
    RawTracepointOpen = 17,
    BtfLoad = 18,
    BtfGetFdById = 19,
    BtfGetNextId = 23,
    LinkCreate = 28,
    TokenCreate = 36,
}

fn last_error() -> Errno {
    let error = std::io::Error::last_os_error();
    Errno::from_io_error(&error).expect("a failed system call sets errno")
}

/// `bpf(2)`, with common attributes if `command` says so: the one place where tests call it.
///
/// # Safety
///
/// The kernel checks every address that it is given. Where it may write is up to the command and its attributes: that is
/// nothing which Rust relies on.
#[inline]
pub unsafe fn bpf_raw(
    command: i32,
    attr: *mut libc::c_void,
    size: u32,
    common: *mut libc::c_void,
    common_size: u32,
) -> Result<i32, Errno> {
    // SAFETY: As this function's.
    result_of(unsafe { libc::syscall(libc::SYS_bpf, command, attr, size, common, common_size) })
}

fn result_of(result: libc::c_long) -> Result<i32, Errno> {
    i32::try_from(result)
        .ok()
        .filter(|result| *result >= 0)
        .ok_or_else(last_error)
}

fn call(attr: &mut Attr<'_>) -> Result<i32, Errno> {
    let (command, size) = (attr.command() as i32, attr.command().end() as u32);
    // SAFETY: By the invariant of the attributes.
    unsafe { bpf_raw(command, attr.as_mut_ptr(), size, std::ptr::null_mut(), 0) }
}

/// Calls `bpf()` for a command that returns a new descriptor, with a log in the common attributes.
pub fn bpf_fd_with_log(attr: &mut Attr<'_>, log: &Log<'_>) -> Result<OwnedFd, Errno> {
    let mut words = [0; attr::COMMON_SIZE / 4];
    words[attr::common::log_size.at / 4] = log.size;
    words[attr::common::log_level.at / 4] = log.level;
    words[0] = log.address as u32;
    words[1] = (log.address >> 32) as u32;
    let command = attr.command() as i32 | attr::BPF_COMMON_ATTRS;
    let size = attr.command().end() as u32;
    // SAFETY: By the invariant of the attributes; the kernel writes to `words` and to the log, a buffer that is borrowed
    // mutably.
    let fd = unsafe {
        bpf_raw(
            command,
            attr.as_mut_ptr(),
            size,
            words.as_mut_ptr().cast(),
            size_of_val(&words) as u32,
        )
    };
    log.true_size.set(words[attr::common::log_true_size.at / 4]);
    // SAFETY: The kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd?) })
}

/// Calls `bpf()` for a command that returns 0.
pub fn bpf(attr: &mut Attr<'_>) -> Result<(), Errno> {
    assert!(!attr.command().makes_descriptor());
    call(attr).map(drop)
}

/// Calls `bpf()` for a command that returns a new descriptor.
pub fn bpf_fd(attr: &mut Attr<'_>) -> Result<OwnedFd, Errno> {
    assert!(attr.command().makes_descriptor());
    let fd = call(attr)?;
    // SAFETY: The kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Calls `bpf()` for a command that returns a new descriptor, with an attr that others change in the meantime.
///
/// # Safety
///
/// The kernel may read, but not write through whatever addresses are in the attr at any time.
pub(crate) unsafe fn bpf_fd_contested(
    command: Command,
    attr: &[AtomicU32],
) -> Result<OwnedFd, Errno> {
    let (start, size) = (attr.as_ptr().cast_mut().cast(), size_of_val(attr) as u32);
    // SAFETY: As this function's.
    let fd = unsafe { bpf_raw(command as i32, start, size, std::ptr::null_mut(), 0) }?;
    // SAFETY: The kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Counts the hits of a tracepoint, by its number in tracefs, on one processor. A read gives the count.
pub fn count_tracepoint(id: u64, cpu: i32) -> Result<OwnedFd, Errno> {
    const PERF_TYPE_TRACEPOINT: u32 = 2;
    const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
    // The first version of `struct perf_event_attr`: type and size, the number, and what stays zero.
    let mut attr = [0u64; 8];
    attr[0] = u64::from(PERF_TYPE_TRACEPOINT) | ((size_of_val(&attr) as u64) << 32);
    attr[1] = id;
    // SAFETY: The kernel only reads the attributes, which have no address.
    let fd = result_of(unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            attr.as_ptr(),
            -1,
            cpu,
            -1,
            PERF_FLAG_FD_CLOEXEC,
        )
    })?;
    // SAFETY: The kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `BPF_TOKEN_CREATE` with any bytes for an attr: it holds no address, and the kernel only reads it.
pub fn token_create(attr: &[u8]) -> Result<OwnedFd, Errno> {
    let (command, start) = (Command::TokenCreate as i32, attr.as_ptr().cast_mut().cast());
    // SAFETY: The kernel only reads the attributes.
    let fd = unsafe { bpf_raw(command, start, attr.len() as u32, std::ptr::null_mut(), 0) }?;
    // SAFETY: The kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `BPF_TOKEN_CREATE` with an attr at address 0, where nothing is.
pub fn token_create_at_null(len: usize) -> Result<(), Errno> {
    let (command, null) = (Command::TokenCreate as i32, std::ptr::null_mut());
    // SAFETY: Nothing is there.
    unsafe { bpf_raw(command, null, len as u32, null, 0) }.map(drop)
}

/// Tries to map one page of `fd`, shared; a mapping that succeeds is undone at once.
pub fn mmap(fd: RawFd) -> Result<(), Errno> {
    const PAGE: usize = 4096;
    // SAFETY: Without MAP_FIXED the mapping replaces nothing.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            PAGE,
            libc::PROT_READ,
            libc::MAP_SHARED,
            fd,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(last_error());
    }
    // SAFETY: This is the mapping just made, and nothing refers to it.
    unsafe { libc::munmap(address, PAGE) };
    Ok(())
}

/// Makes a program the filter of a socket: `SO_ATTACH_BPF`.
pub fn attach_filter(socket: &OwnedFd, prog: &OwnedFd) -> Result<(), Errno> {
    let prog = prog.as_raw_fd();
    // SAFETY: The kernel reads the number of the program.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_BPF,
            std::ptr::from_ref(&prog).cast(),
            size_of_val(&prog) as libc::socklen_t,
        )
    };
    result_of(result.into()).map(drop)
}

/// `struct statmount`: its fixed part, and room for the strings behind it.
#[repr(C)]
pub struct Statmount {
    _size: u32,
    mnt_opts: u32,
    _others: [u64; 63],
    strings: [u8; 8192],
}

/// The options that `statmount()` tells of a mount, which its unique id names.
pub fn mount_options(unique_id: u64) -> Result<String, Errno> {
    const SYS_STATMOUNT: libc::c_long = 457;
    const MNT_ID_REQ_SIZE_VER0: u64 = 24;
    const STATMOUNT_MNT_OPTS: u64 = 0x80;
    // struct mnt_id_req: its size in 32 bits and 32 of no concern, the mount, what is asked for.
    let request = [MNT_ID_REQ_SIZE_VER0, unique_id, STATMOUNT_MNT_OPTS];
    let mut answer = Box::new(Statmount {
        _size: 0,
        mnt_opts: 0,
        _others: [0; 63],
        strings: [0; 8192],
    });
    // SAFETY: The kernel reads the request and writes no more than the size of the answer.
    let result = unsafe {
        libc::syscall(
            SYS_STATMOUNT,
            request.as_ptr(),
            std::ptr::from_mut(&mut *answer),
            size_of::<Statmount>(),
            0,
        )
    };
    if result != 0 {
        return Err(last_error());
    }
    let options = &answer.strings[answer.mnt_opts as usize..];
    let options = std::ffi::CStr::from_bytes_until_nul(options).expect("the kernel ends strings");
    Ok(options.to_string_lossy().into_owned())
}

/// Maps the ids of a detached mount in the way of a user namespace: `MOUNT_ATTR_IDMAP`.
pub fn map_ids_of_mount(mount: &OwnedFd, namespace: &OwnedFd) -> Result<(), Errno> {
    const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;
    // struct mount_attr: what to set, what to clear, the propagation, the user namespace.
    let attr = [MOUNT_ATTR_IDMAP, 0, 0, namespace.as_raw_fd() as u64];
    // SAFETY: The kernel reads the path and the attributes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            attr.as_ptr(),
            size_of_val(&attr),
        )
    };
    result_of(result).map(drop)
}

/// Registers a classic BPF program of io_uring that passes all requests of the calling task: with
/// `IORING_REGISTER_BPF_FILTER`, for the opcode of a request that does nothing.
pub fn filter_uring_requests() -> Result<(), Errno> {
    const IORING_REGISTER_BPF_FILTER: u32 = 37;
    const IO_URING_BPF_CMD_FILTER: u64 = 1;
    const RETURN_1: u64 = 0x1_0000_0006;
    let filter = [RETURN_1];
    // struct io_uring_bpf: what is asked for; the opcode and flags; the length; the address; nothing more.
    let mut request = [0_u64; 9];
    request[0] = IO_URING_BPF_CMD_FILTER;
    request[2] = filter.len() as u64;
    request[3] = filter.as_ptr() as u64;
    // SAFETY: The kernel reads the request and the filter, and writes a size back into the request.
    let result = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            -1,
            IORING_REGISTER_BPF_FILTER,
            request.as_mut_ptr(),
            1,
        )
    };
    result_of(result).map(drop)
}

/// Moves the calling process to new namespaces.
pub fn unshare(namespaces: UnshareFlags) -> Result<(), Errno> {
    // SAFETY: The descriptor table is never among the namespaces asked for, so no descriptor that Rust owns
    // comes to mean something else.
    unsafe { rustix::thread::unshare_unsafe(namespaces & !UnshareFlags::FILES) }
}

/// Makes a child process, which sees `None` and must end by [`exit`].
pub fn fork() -> Result<Option<Pid>, Errno> {
    assert_eq!(
        std::fs::read_dir("/proc/self/task")
            .expect("/proc is mounted")
            .count(),
        1,
        "only a process of one thread can be forked and go on running Rust"
    );
    // SAFETY: There is no other thread whose locks the child could find held.
    match unsafe { libc::fork() } {
        -1 => Err(last_error()),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// Ends a child process, without what the parent has registered for its own end.
pub fn exit(status: i32) -> ! {
    // SAFETY: Ends the process; there is nothing that could be used after it.
    unsafe { libc::_exit(status) }
}
