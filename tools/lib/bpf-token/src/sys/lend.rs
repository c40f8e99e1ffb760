// SPDX-License-Identifier: MIT OR Apache-2.0
//! A token for code that only knows how to make one from a BPF FS, which libbpf is.
//!
//! The code runs in a thread whose `BPF_TOKEN_CREATE` is held by a seccomp filter, and answered with a
//! descriptor of the token. Only that thread has the filter, and it ends with it.

use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::ptr;
use std::sync::mpsc;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::io::Result;

use super::result;
use super::terminal::end;
use super::terminal::load;
use super::terminal::unless_equal;
use crate::kind::Enumerator;
use crate::names::Cmd;

// Offsets in `struct seccomp_data`; of the argument, the kernel takes the low half.
const NR: u32 = 0;
const CMD: u32 = 16;

/// `SECCOMP_IOCTL_NOTIF_RECV`, `_SEND` and `_ADDFD`.
const RECEIVE: libc::c_ulong = ioctl(3, size_of::<libc::seccomp_notif>(), 0);
const ANSWER: libc::c_ulong = ioctl(3, size_of::<libc::seccomp_notif_resp>(), 1);
const GIVE: libc::c_ulong = ioctl(1, size_of::<libc::seccomp_notif_addfd>(), 3);

const fn ioctl(direction: u32, size: usize, number: u32) -> libc::c_ulong {
    ((direction << 30) | ((size as u32) << 16) | ((b'!' as u32) << 8) | number) as libc::c_ulong
}

/// Runs `call` in a thread of its own; where it makes a token, it gets this one.
pub(crate) fn lend<T: Send>(token: BorrowedFd<'_>, call: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let (send, receive) = mpsc::channel();
        let borrower = scope.spawn(move || {
            let listener = hold_token_creation();
            let holds = listener.is_ok();
            // The other end waits for it.
            let _ = send.send(listener);
            holds.then(call)
        });
        let listener = receive.recv().map_err(|_| Errno::IO)??;
        answer(&listener, token)?;
        match borrower.join() {
            Ok(done) => done.ok_or(Errno::IO),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Holds each `BPF_TOKEN_CREATE` of this thread, for whom the descriptor tells of it.
fn hold_token_creation() -> Result<OwnedFd> {
    let filter = [
        load(NR),
        unless_equal(libc::SYS_bpf as u32, 3),
        load(CMD),
        unless_equal(Cmd::TOKEN_CREATE.value(), 1),
        end(libc::SECCOMP_RET_USER_NOTIF),
        end(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr().cast_mut(),
    };
    // Without privilege the kernel wants this; the thread executes no program.
    rustix::thread::set_no_new_privs(true)?;
    // SAFETY: The program is as long as it says, and only read.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            ptr::from_ref(&program),
        )
    };
    // SAFETY: The call succeeded, so this is a new descriptor, which nothing else owns.
    result(ret).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives the token to each who is held, until the thread has ended.
fn answer(listener: &OwnedFd, token: BorrowedFd<'_>) -> Result<()> {
    loop {
        let mut fds = [PollFd::new(listener, PollFlags::IN)];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        }
        if !fds[0].revents().contains(PollFlags::IN) {
            return Ok(());
        }
        // SAFETY: All zeros is a value of it, and the one that the kernel asks for.
        let mut held: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: The kernel writes one of these.
        match unsafe { control(listener, RECEIVE, &mut held) } {
            Ok(_) => {}
            // It was interrupted meanwhile.
            Err(Errno::NOENT | Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        }
        let mut given = libc::seccomp_notif_addfd {
            id: held.id,
            flags: libc::SECCOMP_ADDFD_FLAG_SEND as u32,
            srcfd: token.as_raw_fd() as u32,
            newfd: 0,
            newfd_flags: libc::O_CLOEXEC as u32,
        };
        // SAFETY: The kernel reads one of these.
        if let Err(errno) = unsafe { control(listener, GIVE, &mut given) } {
            let mut refused = libc::seccomp_notif_resp {
                id: held.id,
                val: 0,
                error: -errno.raw_os_error(),
                flags: 0,
            };
            // Who is interrupted needs no answer.
            // SAFETY: The kernel reads one of these.
            let _ = unsafe { control(listener, ANSWER, &mut refused) };
        }
    }
}

/// # Safety
///
/// The request must be one about a `T`, of which any bits are a value.
unsafe fn control<T>(listener: &OwnedFd, request: libc::c_ulong, argument: &mut T) -> Result<i32> {
    // SAFETY: By this function's contract.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_ioctl,
            listener.as_fd().as_raw_fd(),
            request,
            ptr::from_mut(argument),
        )
    };
    result(ret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys;

    /// Any descriptor can stand for a token here; only the thread gets it, and only that way.
    #[test]
    fn a_descriptor_comes_in_place_of_a_token() {
        let lent = std::fs::File::open("/dev/null").unwrap();
        let root = std::fs::File::open("/").unwrap();
        let make = || sys::token_create(root.as_fd(), None);
        let got = lend(lent.as_fd(), make).unwrap().unwrap();
        let (got, lent) = (rustix::fs::fstat(&got), rustix::fs::fstat(&lent));
        let rdev = |found: rustix::io::Result<rustix::fs::Stat>| found.unwrap().st_rdev;
        assert_eq!(rdev(got), rdev(lent));
        assert!(make().is_err());
    }
}
