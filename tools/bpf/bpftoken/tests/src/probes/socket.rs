// SPDX-License-Identifier: GPL-2.0
//! Root of the container takes the supervisor's socket, and tells the broker what it likes.

use std::fs;
use std::fs::File;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::net::RecvFlags;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendAncillaryMessage;
use rustix::net::SendFlags;
use rustix::net::SocketAddrUnix;
use rustix::net::SocketType;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::PidfdGetfdFlags;

use super::raw;

const HELLO: u8 = 1;
const KPROBE: u8 = 2;
const UPROBE: u8 = 3;
const TRACEPOINT: u8 = 4;

/// The supervisor's descriptor that leads to the broker.
fn steal() -> Result<OwnedFd> {
    for entry in fs::read_dir("/proc")?.filter_map(Result::ok) {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
            continue;
        };
        let name = fs::read_to_string(entry.path().join("comm"));
        if name.is_ok_and(|name| name == "bpf-token-exec\n") {
            let pid = Pid::from_raw(pid).context("pid 0")?;
            let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
            for number in 3..64 {
                let link = fs::read_link(entry.path().join(format!("fd/{number}")));
                if link.is_ok_and(|link| link.to_string_lossy().starts_with("socket:")) {
                    let none = PidfdGetfdFlags::empty();
                    return Ok(rustix::process::pidfd_getfd(pidfd, number, none)?);
                }
            }
        }
    }
    anyhow::bail!("no supervisor with a socket")
}

/// Finds that the broker on this socket does not listen to this process.
pub fn unheard(path: &str) -> Result<()> {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None)?;
    match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
        Err(Errno::ACCESS) => return Ok(()),
        connected => connected?,
    }
    let hello = message([HELLO, 0, 0, 0], 0, 0, b"");
    // One that does not listen may have closed its end already.
    let _ = rustix::net::send(&socket, &hello, SendFlags::NOSIGNAL);
    let mut answer = [0; 2048];
    match rustix::net::recv(&socket, &mut answer, RecvFlags::empty()) {
        Ok((0, _)) | Err(Errno::CONNRESET) => Ok(()),
        answered => bail!("an answer of {answered:?}"),
    }
}

/// A request: its kind and flags, then processor, offset and the length of the name.
fn message(flags: [u8; 4], cpu: i32, offset: u64, name: &[u8]) -> Vec<u8> {
    let mut message = flags.to_vec();
    message.extend(cpu.to_ne_bytes());
    message.extend(offset.to_ne_bytes());
    message.extend((name.len() as u64).to_ne_bytes());
    message.extend(name);
    message
}

/// The errno that comes back.
fn ask(socket: &OwnedFd, message: &[u8], fds: &[BorrowedFd<'_>]) -> Result<i32> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    ensure!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(fds)));
    rustix::net::sendmsg(
        socket,
        &[IoSlice::new(message)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    // The descriptor of an event that it grants is dropped by the kernel.
    let mut answer = [0; 2048];
    let (length, _) = rustix::net::recv(socket, &mut answer[..], rustix::net::RecvFlags::empty())?;
    ensure!(length >= 12, "an answer of {length} bytes");
    Ok(i32::from_ne_bytes([
        answer[0], answer[1], answer[2], answer[3],
    ]))
}

pub fn attack(how: Option<&str>) -> Result<()> {
    let socket = steal()?;
    let own = Pid::from_raw(i32::try_from(std::process::id())?).context("pid 0")?;
    let thread = rustix::process::pidfd_open(own, PidfdFlags::empty())?;
    let sh = File::open("/bin/sh")?;
    let path = rustix::fs::openat(CWD, c"/bin/sh", OFlags::PATH, Mode::empty())?;
    let memory = rustix::fs::memfd_create(c"sh", rustix::fs::MemfdFlags::CLOEXEC)?;
    rustix::io::write(&memory, &fs::read("/bin/sh")?)?;
    let (pipe, _writer) = rustix::pipe::pipe()?;
    let written = File::options().write(true).open("/dev/null")?;
    let dir = File::open("/bin")?;
    let vfs_read = message([KPROBE, 0, 0, 0], 0, 0, b"vfs_read");
    let file = message([UPROBE, 0, 0, 0], 0, 4096, b"");
    let with_thread = message([KPROBE, 0, 1, 0], -1, 0, b"vfs_read");
    let sched = raw::id("sched/sched_switch")?;
    let [sh, path, memory, pipe, written, dir, thread] = [
        sh.as_fd(),
        path.as_fd(),
        memory.as_fd(),
        pipe.as_fd(),
        written.as_fd(),
        dir.as_fd(),
        thread.as_fd(),
    ];
    for (name, message, fds, errno) in [
        ("what is listed", vfs_read.clone(), &[][..], 0),
        ("a file", file.clone(), &[sh], 0),
        ("a thread", with_thread.clone(), &[thread], 0),
        (
            "a tracepoint",
            message([TRACEPOINT, 0, 0, 0], 0, sched, b""),
            &[],
            0,
        ),
        (
            "a second hello",
            message([HELLO, 0, 0, 0], 0, 0, b""),
            &[],
            libc::EINVAL,
        ),
        (
            "another function",
            message([KPROBE, 0, 0, 0], 0, 0, b"do_exit"),
            &[],
            libc::EACCES,
        ),
        (
            "an offset",
            message([KPROBE, 0, 0, 0], 0, 4, b"vfs_read"),
            &[],
            libc::EACCES,
        ),
        (
            "no name",
            message([KPROBE, 0, 0, 0], 0, 0, b""),
            &[],
            libc::EINVAL,
        ),
        (
            "two names",
            message([KPROBE, 0, 0, 0], 0, 0, b"vfs_read\0x"),
            &[],
            libc::EINVAL,
        ),
        (
            "a long name",
            message([KPROBE, 0, 0, 0], 0, 0, &[b'v'; 512]),
            &[],
            libc::EINVAL,
        ),
        (
            "another kind",
            message([9, 0, 0, 0], 0, 0, b""),
            &[],
            libc::EINVAL,
        ),
        (
            "other flags",
            message([KPROBE, 2, 0, 0], 0, 0, b"vfs_read"),
            &[],
            libc::EINVAL,
        ),
        ("half a request", vfs_read[..12].to_vec(), &[], libc::EINVAL),
        ("a byte", vec![0], &[], libc::EINVAL),
        ("a file too many", vfs_read.clone(), &[sh], libc::EINVAL),
        ("no file", file.clone(), &[], libc::EINVAL),
        ("no thread", with_thread.clone(), &[], libc::EINVAL),
        ("a file for a thread", with_thread, &[sh], libc::EBADF),
        (
            "a file that was only found",
            file.clone(),
            &[path],
            libc::EACCES,
        ),
        ("a file in memory", file.clone(), &[memory], libc::EACCES),
        ("a pipe", file.clone(), &[pipe], libc::EACCES),
        ("a directory", file.clone(), &[dir], libc::EINVAL),
        (
            "what is open for writing",
            file.clone(),
            &[written],
            libc::EACCES,
        ),
        ("a thread for a file", file.clone(), &[thread], libc::EACCES),
        (
            "another tracepoint",
            message([TRACEPOINT, 0, 0, 0], 0, 1, b""),
            &[],
            libc::EACCES,
        ),
        (
            "any processor",
            message([KPROBE, 0, 0, 0], i32::MIN, 0, b"vfs_read"),
            &[],
            libc::EINVAL,
        ),
        (
            "far behind in a file",
            message([UPROBE, 0, 0, 0], 0, 1 << 62, b""),
            &[sh],
            libc::EINVAL,
        ),
        ("again", vfs_read.clone(), &[], 0),
    ] {
        let answer = ask(&socket, &message, fds)?;
        ensure!(answer == errno, "{name}: errno {answer} instead of {errno}");
    }
    // What is too much for any supervisor ends it.
    let answer = match how {
        Some("long") => ask(
            &socket,
            &message([KPROBE, 0, 0, 0], 0, 0, &[b'v'; 60_000]),
            &[],
        ),
        _ => ask(&socket, &file, &[sh, sh, sh]),
    };
    ensure!(answer? == libc::EINVAL, "too much");
    ensure!(ask(&socket, &vfs_read, &[]).is_err(), "it goes on");
    Ok(())
}
