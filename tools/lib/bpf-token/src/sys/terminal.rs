// SPDX-License-Identifier: MIT OR Apache-2.0
//! A seccomp filter that keeps a process from typing into its terminal.

use rustix::io::Result;

use super::result;

// The filter compares what the two halves of a 64-bit argument are only on these.
#[cfg(target_endian = "big")]
compile_error!("the offset of the low half of an argument is that of little endian");

/// `AUDIT_ARCH_*` of linux/audit.h.
#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;
#[cfg(target_arch = "riscv64")]
const NATIVE: u32 = 0xc000_00f3;

/// ioctl(2) of x32, which x86-64 may have; no system call elsewhere.
const X32_IOCTL: u32 = 0x4000_0000 | 514;
/// ioctl(2) of the 32-bit architectures that these may run.
const COMPAT_IOCTL: u32 = 54;

// Offsets in `struct seccomp_data`; of the argument, the kernel takes the low half.
const NR: u32 = 0;
const ARCH: u32 = 4;
const REQUEST: u32 = 24;

/// Refuses TIOCSTI and TIOCLINUX, by which a process types what others read, with `EPERM`. For the
/// process and all that come from it; needs CAP_SYS_ADMIN in its user namespace.
pub(crate) fn forbid_typing() -> Result<()> {
    let filter = [
        load(ARCH),
        unless_equal(NATIVE, 4),
        load(NR),
        if_equal(libc::SYS_ioctl as u32, 4),
        if_equal(X32_IOCTL, 3),
        end(libc::SECCOMP_RET_ALLOW),
        load(NR),
        unless_equal(COMPAT_IOCTL, 3),
        load(REQUEST),
        if_equal(libc::TIOCSTI as u32, 2),
        if_equal(libc::TIOCLINUX as u32, 1),
        end(libc::SECCOMP_RET_ALLOW),
        end(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: The program is as long as it says, and only read.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            std::ptr::from_ref(&program),
        )
    };
    result(ret).map(drop)
}

/// Loads the word at this offset.
pub(super) const fn load(offset: u32) -> libc::sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

/// Ends the filter with this action.
pub(super) const fn end(action: u32) -> libc::sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, action)
}

const fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

/// Skips so many statements if the value is this one.
const fn if_equal(k: u32, skip: u8) -> libc::sock_filter {
    libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: skip,
        jf: 0,
        k,
    }
}

/// Skips so many statements unless the value is this one.
pub(super) const fn unless_equal(k: u32, skip: u8) -> libc::sock_filter {
    libc::sock_filter {
        jt: 0,
        jf: skip,
        ..if_equal(k, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process of its own, for a filter can't be taken off.
    #[test]
    fn only_typing_is_forbidden() {
        // SAFETY: The child makes system calls, and ends.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let request = |request: u64| {
                // SAFETY: No terminal is behind this descriptor, so nothing is read or written.
                let ret = unsafe { libc::syscall(libc::SYS_ioctl, -1, request, 0) };
                result(ret).unwrap_err()
            };
            let (push, size) = (libc::TIOCSTI, libc::TIOCGWINSZ);
            let before = request(push) == rustix::io::Errno::BADF;
            let done = forbid_typing().is_ok();
            let refused = [push, push | (1 << 32), libc::TIOCLINUX]
                .map(|it| request(it) == rustix::io::Errno::PERM);
            let others = request(size) == rustix::io::Errno::BADF;
            let good = before && done && refused == [true; 3] && others;
            // SAFETY: Always sound.
            unsafe { libc::_exit(i32::from(!good)) }
        }
        let mut status = -1;
        // SAFETY: The status is writable.
        unsafe { libc::waitpid(pid, &mut status, 0) };
        assert_eq!(status, 0);
    }
}
