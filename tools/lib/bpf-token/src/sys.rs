// SPDX-License-Identifier: GPL-2.0
//! The system calls that rustix does not have: bpf(2), clone(2), execveat(2). All of the crate's unsafe code.

use std::ffi::CStr;
use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::ptr;

use rustix::io::Errno;
use rustix::io::Result;
use rustix::process::Pid;

use crate::command::Insn;
use crate::command::MapAttr;
use crate::command::ProgAttr;

/// `BPF_F_TOKEN_FD`, the same flag in `map_flags`, `prog_flags`, `btf_flags` and `open_flags`.
const BPF_F_TOKEN_FD: u32 = 1 << 16;
/// `BPF_COMMON_ATTRS`: a `struct bpf_common_attr` follows the attributes.
const BPF_COMMON_ATTRS: u32 = 1 << 16;

const BPF_MAP_CREATE: u32 = 0;
const BPF_PROG_LOAD: u32 = 5;
const BPF_OBJ_GET_INFO_BY_FD: u32 = 15;
const BPF_BTF_LOAD: u32 = 18;
const BPF_BTF_GET_FD_BY_ID: u32 = 19;
const BPF_TOKEN_CREATE: u32 = 36;

/// A prefix of `union bpf_attr` as one command uses it: `repr(C)`, without padding.
///
/// # Safety
///
/// Every byte of a value must be initialised.
unsafe trait Attr {}

#[repr(C)]
struct TokenCreate {
    flags: u32,
    bpffs_fd: i32,
}

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: i32,
    numa_node: u32,
    map_name: [u8; 16],
    map_ifindex: u32,
    btf_fd: i32,
    btf_key_type_id: u32,
    btf_value_type_id: u32,
    btf_vmlinux_value_type_id: u32,
    map_extra: u64,
    value_type_btf_obj_fd: i32,
    map_token_fd: i32,
}

#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
    attach_prog_fd: u32,
    core_relo_cnt: u32,
    fd_array: u64,
    core_relos: u64,
    core_relo_rec_size: u32,
    log_true_size: u32,
    prog_token_fd: i32,
    fd_array_cnt: u32,
}

#[repr(C)]
#[derive(Default)]
struct BtfLoad {
    btf: u64,
    btf_log_buf: u64,
    btf_size: u32,
    btf_log_size: u32,
    btf_log_level: u32,
    btf_log_true_size: u32,
    btf_flags: u32,
    btf_token_fd: i32,
}

#[repr(C)]
struct GetFdById {
    id: u32,
    next_id: u32,
    open_flags: u32,
    token_fd: i32,
}

#[repr(C)]
struct GetInfo {
    bpf_fd: i32,
    info_len: u32,
    info: u64,
}

#[repr(C)]
struct CommonAttr {
    log_buf: u64,
    log_size: u32,
    log_level: u32,
    log_true_size: u32,
    pad: u32,
}

// SAFETY: Integers only, and no padding between or after them.
unsafe impl Attr for TokenCreate {}
// SAFETY: As above.
unsafe impl Attr for MapCreate {}
// SAFETY: As above.
unsafe impl Attr for ProgLoad {}
// SAFETY: As above.
unsafe impl Attr for BtfLoad {}
// SAFETY: As above.
unsafe impl Attr for GetFdById {}
// SAFETY: As above.
unsafe impl Attr for GetInfo {}

const _: () = {
    assert!(size_of::<MapCreate>() == 80);
    assert!(size_of::<ProgLoad>() == 152);
    assert!(size_of::<BtfLoad>() == 40);
};

/// # Safety
///
/// Every address in `attr` must be that of memory that the command may read or write.
unsafe fn bpf<A: Attr>(cmd: u32, attr: &mut A, log: Option<&mut [u8]>) -> Result<i32> {
    let mut common = log.map(|log| CommonAttr {
        log_buf: log.as_mut_ptr() as u64,
        log_size: log.len() as u32,
        log_level: 1,
        log_true_size: 0,
        pad: 0,
    });
    let (cmd, common, size) = match &mut common {
        Some(common) => (
            cmd | BPF_COMMON_ATTRS,
            ptr::from_mut(common),
            size_of::<CommonAttr>(),
        ),
        None => (cmd, ptr::null_mut(), 0),
    };
    // SAFETY: `attr` and `common` are valid for their sizes, and so are the buffers that they name.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            libc::c_ulong::from(cmd),
            ptr::from_mut(attr),
            size_of::<A>(),
            common,
            size,
        )
    };
    result(ret)
}

/// # Safety
///
/// As [`bpf`], and the command must be one that returns a new descriptor.
unsafe fn bpf_fd<A: Attr>(cmd: u32, attr: &mut A, log: Option<&mut [u8]>) -> Result<OwnedFd> {
    // SAFETY: By this function's contract.
    let fd = unsafe { bpf(cmd, attr, log) }?;
    // SAFETY: The command returned a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn result(ret: libc::c_long) -> Result<i32> {
    match i32::try_from(ret) {
        Ok(ret) if ret >= 0 => Ok(ret),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

/// The flag and descriptor fields for a token.
fn token_fields(token: Option<BorrowedFd<'_>>) -> (u32, i32) {
    token.map_or((0, 0), |token| (BPF_F_TOKEN_FD, token.as_raw_fd()))
}

fn raw(fd: Option<BorrowedFd<'_>>) -> i32 {
    fd.map_or(0, |fd| fd.as_raw_fd())
}

/// `BPF_TOKEN_CREATE`.
pub(crate) fn token_create(bpffs: BorrowedFd<'_>) -> Result<OwnedFd> {
    let mut attr = TokenCreate {
        flags: 0,
        bpffs_fd: bpffs.as_raw_fd(),
    };
    // SAFETY: No address in the attributes; the command returns a descriptor.
    unsafe { bpf_fd(BPF_TOKEN_CREATE, &mut attr, None) }
}

/// `BPF_OBJ_GET_INFO_BY_FD` on a token: the masks of commands, map, program and attach types.
pub(crate) fn token_info(token: BorrowedFd<'_>) -> Result<[u64; 4]> {
    let mut info = [0u64; 4];
    let mut attr = GetInfo {
        bpf_fd: token.as_raw_fd(),
        info_len: size_of_val(&info) as u32,
        info: info.as_mut_ptr() as u64,
    };
    // SAFETY: `info` is writable for the length given, and any bits are a valid value of it.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr, None) }?;
    Ok(info)
}

/// `BPF_MAP_CREATE`, with the log of the common attributes if a buffer is given.
pub(crate) fn map_create(
    map: &MapAttr<'_>,
    token: Option<BorrowedFd<'_>>,
    log: Option<&mut [u8]>,
) -> Result<OwnedFd> {
    let (flag, token) = token_fields(token);
    let mut attr = MapCreate {
        map_type: map.map_type,
        key_size: map.key_size,
        value_size: map.value_size,
        max_entries: map.max_entries,
        map_flags: map.flags | flag,
        inner_map_fd: raw(map.inner_map),
        map_name: map.name.0,
        btf_fd: raw(map.btf),
        btf_key_type_id: map.btf_key_type_id,
        btf_value_type_id: map.btf_value_type_id,
        btf_vmlinux_value_type_id: map.btf_vmlinux_value_type_id,
        map_extra: map.extra,
        map_token_fd: token,
        ..MapCreate::default()
    };
    // SAFETY: No address in the attributes but that of the log; the command returns a descriptor.
    unsafe { bpf_fd(BPF_MAP_CREATE, &mut attr, log) }
}

/// `BPF_PROG_LOAD`, with the verifier's log if a buffer is given.
pub(crate) fn prog_load(
    prog: &ProgAttr<'_>,
    token: Option<BorrowedFd<'_>>,
    log: Option<&mut [u8]>,
) -> Result<OwnedFd> {
    let (flag, token) = token_fields(token);
    let insns: &[Insn] = prog.insns;
    let mut attr = ProgLoad {
        prog_type: prog.prog_type,
        insn_cnt: insns.len() as u32,
        insns: insns.as_ptr() as u64,
        license: prog.license.as_ptr() as u64,
        prog_flags: prog.flags | flag,
        prog_name: prog.name.0,
        expected_attach_type: prog.expected_attach_type,
        attach_btf_id: prog.attach_btf_id,
        prog_token_fd: token,
        ..ProgLoad::default()
    };
    if let Some(log) = log {
        attr.log_level = 1;
        attr.log_size = log.len() as u32;
        attr.log_buf = log.as_mut_ptr() as u64;
    }
    // SAFETY: The instructions are readable for the count given, the license ends with a NUL, and the log is writable
    // for the size given; the command returns a descriptor.
    unsafe { bpf_fd(BPF_PROG_LOAD, &mut attr, None) }
}

/// `BPF_BTF_LOAD`, with the log of the BTF verifier if a buffer is given.
pub(crate) fn btf_load(
    btf: &[u8],
    token: Option<BorrowedFd<'_>>,
    log: Option<&mut [u8]>,
) -> Result<OwnedFd> {
    let (flag, token) = token_fields(token);
    let mut attr = BtfLoad {
        btf: btf.as_ptr() as u64,
        btf_size: btf.len() as u32,
        btf_flags: flag,
        btf_token_fd: token,
        ..BtfLoad::default()
    };
    if let Some(log) = log {
        attr.btf_log_level = 1;
        attr.btf_log_size = log.len() as u32;
        attr.btf_log_buf = log.as_mut_ptr() as u64;
    }
    // SAFETY: The BTF is readable and the log writable for the sizes given; the command returns a descriptor.
    unsafe { bpf_fd(BPF_BTF_LOAD, &mut attr, None) }
}

/// `BPF_BTF_GET_FD_BY_ID`.
pub(crate) fn btf_get_fd_by_id(id: u32, token: Option<BorrowedFd<'_>>) -> Result<OwnedFd> {
    let (open_flags, token_fd) = token_fields(token);
    let mut attr = GetFdById {
        id,
        next_id: 0,
        open_flags,
        token_fd,
    };
    // SAFETY: No address in the attributes; the command returns a descriptor.
    unsafe { bpf_fd(BPF_BTF_GET_FD_BY_ID, &mut attr, None) }
}

/// Runs `child` in a new process, in new namespaces as the `CLONE_NEW*` flags say, and returns its process id.
///
/// As after fork(2) in a program with threads, `child` must neither allocate nor take locks.
pub(crate) fn clone(namespaces: libc::c_int, child: impl FnOnce() -> i32) -> Result<Pid> {
    let flags = libc::c_long::from(namespaces | libc::SIGCHLD);
    // SAFETY: Without CLONE_VM and a new stack this is fork(2): the child has its own copy of everything.
    let ret = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    let pid = result(ret)?;
    if pid == 0 {
        let status = child();
        // SAFETY: Always sound; no exit handlers of the parent run.
        unsafe { libc::_exit(status) }
    }
    Pid::from_raw(pid).ok_or(Errno::IO)
}

/// A program to execute: its file, arguments and environment, allocated before the new process exists.
pub(crate) struct Exec {
    candidates: Vec<CString>,
    file: Option<OwnedFd>,
    _argv: Vec<CString>,
    _envp: Vec<CString>,
    argv_ptrs: Vec<*const libc::c_char>,
    envp_ptrs: Vec<*const libc::c_char>,
}

impl Exec {
    /// Executes `file` if there is one, else the first of the paths that exists.
    pub(crate) fn new(
        candidates: Vec<CString>,
        file: Option<OwnedFd>,
        argv: Vec<CString>,
        envp: Vec<CString>,
    ) -> Self {
        let pointers = |strings: &[CString]| {
            strings
                .iter()
                .map(|s| s.as_ptr())
                .chain([ptr::null()])
                .collect()
        };
        // INVARIANT: The arrays end with a null pointer and point into the strings, which stay where they are.
        Self {
            argv_ptrs: pointers(&argv),
            envp_ptrs: pointers(&envp),
            candidates,
            file,
            _argv: argv,
            _envp: envp,
        }
    }

    /// Replaces the process by the program; returns only if that failed.
    pub(crate) fn exec(&self) -> Errno {
        if let Some(file) = &self.file {
            return self.execveat(file.as_raw_fd(), c"", libc::AT_EMPTY_PATH);
        }
        let mut last = Errno::NOENT;
        for path in &self.candidates {
            match self.execveat(libc::AT_FDCWD, path, 0) {
                Errno::NOENT | Errno::NOTDIR => {}
                errno => last = errno,
            }
        }
        last
    }

    fn execveat(&self, dir: i32, path: &CStr, flags: i32) -> Errno {
        // SAFETY: The path ends with a NUL, and the arrays with a null pointer, by the type's invariant.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_execveat,
                dir,
                path.as_ptr(),
                self.argv_ptrs.as_ptr(),
                self.envp_ptrs.as_ptr(),
                flags,
            )
        };
        result(ret).err().unwrap_or(Errno::IO)
    }
}

/// Makes `fd` also descriptor `number`, kept on exec.
pub(crate) fn place_fd(fd: BorrowedFd<'_>, number: i32) -> Result<()> {
    if fd.as_raw_fd() == number {
        return rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty());
    }
    // SAFETY: Only called in a new process that is about to execute a program: nothing there owns `number`.
    result(unsafe { libc::syscall(libc::SYS_dup3, fd.as_raw_fd(), number, 0) }).map(drop)
}

/// Closes a descriptor that a new process inherited and whose owner lives on in the parent.
pub(crate) fn close_inherited(fd: BorrowedFd<'_>) {
    // SAFETY: Only called in a new process, which ends or executes a program without ever dropping the owner.
    unsafe { libc::close(fd.as_raw_fd()) };
}

/// Sets the BPF FS that libbpf takes a token from. `path` must live until the object is open.
#[cfg(feature = "libbpf")]
pub(crate) fn set_token_path(
    mut options: ptr::NonNull<libbpf_sys::bpf_object_open_opts>,
    path: &CStr,
) {
    // SAFETY: The options belong to an `ObjectBuilder` that the caller has and nobody else uses.
    unsafe { options.as_mut() }.bpf_token_path = path.as_ptr();
}

/// Runs a command with arguments that name nothing; a descriptor that it returns is closed at once.
///
/// Every word must be -1, 0 or 1: what they may be taken for is the address of nothing.
pub(crate) fn harmless(cmd: u32, words: &[i32]) -> Result<()> {
    const BPF_ENABLE_STATS: u32 = 32;
    assert!(words.iter().all(|&word| matches!(word, -1..=1)));
    let mut attr = Words([0; 16]);
    attr.0[..words.len()].copy_from_slice(words);
    if cmd == BPF_ENABLE_STATS {
        // SAFETY: No address in the attributes; the command returns a descriptor.
        return unsafe { bpf_fd(cmd, &mut attr, None) }.map(drop);
    }
    // SAFETY: The kernel can access no memory at the addresses that these words may be taken for.
    unsafe { bpf(cmd, &mut attr, None) }.map(drop)
}

#[repr(C)]
struct Words([i32; 16]);

// SAFETY: Integers only.
unsafe impl Attr for Words {}

/// The BTF id of what a program of this attach type names, in the kernel's BTF; 0 if there is none.
pub(crate) fn vmlinux_btf_id(name: &CStr, attach_type: u32) -> u32 {
    #[cfg(feature = "libbpf")]
    {
        // SAFETY: The name ends with a NUL; libbpf only reads it.
        let id = unsafe { libbpf_sys::libbpf_find_vmlinux_btf_id(name.as_ptr(), attach_type) };
        u32::try_from(id).unwrap_or(0)
    }
    #[cfg(not(feature = "libbpf"))]
    {
        let _ = (name, attach_type);
        0
    }
}

/// The types of a map and, for a map of maps, of the maps in it.
#[cfg(feature = "libbpf")]
pub(crate) fn map_types(map: ptr::NonNull<libbpf_sys::bpf_map>) -> (u32, Option<u32>) {
    // SAFETY: The map is that of an open object, which the caller has; an inner map lives as long as it.
    unsafe {
        let own = libbpf_sys::bpf_map__type(map.as_ptr());
        let inner = ptr::NonNull::new(libbpf_sys::bpf_map__inner_map(map.as_ptr()));
        (
            own,
            inner.map(|inner| libbpf_sys::bpf_map__type(inner.as_ptr())),
        )
    }
}

/// The program type and the expected attach type of a program.
#[cfg(feature = "libbpf")]
pub(crate) fn program_types(program: ptr::NonNull<libbpf_sys::bpf_program>) -> (u32, u32) {
    // SAFETY: The program is that of an open object, which the caller has.
    unsafe {
        (
            libbpf_sys::bpf_program__type(program.as_ptr()),
            libbpf_sys::bpf_program__expected_attach_type(program.as_ptr()),
        )
    }
}
