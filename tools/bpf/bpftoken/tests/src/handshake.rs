// SPDX-License-Identifier: GPL-2.0
//! Messages of a container whose root wants out, to the manager that it asks for a BPF FS.

use std::fs;
use std::fs::File;
use std::io::IoSlice;
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Errno;
use bpf_token::Error;
use bpf_token::Received;
use bpf_token::Request;
use rustix::net::AddressFamily;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendAncillaryMessage;
use rustix::net::SendFlags;
use rustix::net::SocketFlags;
use rustix::net::SocketType;

use crate::hostile::delegation;
use crate::hostile::soon;
use crate::world::said;
use crate::world::World;
use crate::Test;

pub const TESTS: &[(&str, Test)] = &[
    ("handshake::silence_has_a_limit", silence),
    ("handshake::deaf_container", deaf),
    ("handshake::too_much_in_a_message", too_much),
    ("handshake::slow_close_is_not_waited_for", slow_close),
];

fn silence(_: &World) -> Result<()> {
    let limit = Duration::from_millis(300);
    let (manager, container) = UnixStream::pair()?;
    let received = soon("receive", || Received::receive_within(&manager, limit))?;
    ensure!(matches!(received, Err(Error::TimedOut { .. })));
    let request = Request::send(&container)?;
    let answer = soon("wait", || request.wait_within(limit))?;
    ensure!(matches!(answer, Err(Error::TimedOut { .. })));
    Ok(())
}

/// A container that does not read what it is sent.
fn deaf(_: &World) -> Result<()> {
    let (manager, container) = UnixStream::pair()?;
    manager.set_nonblocking(true)?;
    while (&manager).write(&[0; 4096]).is_ok() {}
    manager.set_nonblocking(false)?;
    let _request = Request::send(&container)?;
    let received = Received::receive(&manager)?;
    let error = soon("grant", || received.grant(&delegation()))?.err();
    let error = error.context("answered")?;
    ensure!(error.errno() == Some(Errno::EAGAIN), "{error}");
    Ok(())
}

/// Messages that are too long, and descriptors that are too many.
fn too_much(_: &World) -> Result<()> {
    let null: OwnedFd = File::open("/dev/null")?.into();
    for (data, count) in [(&b"FFFFFFFF"[..], 1), (b"F", 2), (b"F", 200), (b"", 1)] {
        let (manager, container) = packets()?;
        let before = fs::read_dir("/proc/self/fd")?.count();
        let fds = vec![null.as_fd(); count];
        send(&container, data, &fds)?;
        let received = Received::receive(&manager);
        let error = received.err().with_context(|| format!("{count} taken"))?;
        ensure!(error.to_string().contains("something else"), "{error}");
        let end = Instant::now() + Duration::from_secs(5);
        while fs::read_dir("/proc/self/fd")?.count() > before {
            ensure!(Instant::now() < end, "descriptors were kept");
        }
    }
    Ok(())
}

/// Two sockets that keep messages apart.
fn packets() -> Result<(OwnedFd, OwnedFd)> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    Ok(rustix::net::socketpair(
        family,
        kind,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

fn send(socket: &OwnedFd, data: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    ensure!(
        control.push(SendAncillaryMessage::ScmRights(fds)),
        "no room"
    );
    let data = [IoSlice::new(data)];
    rustix::net::sendmsg(socket, &data, &mut control, SendFlags::empty())?;
    Ok(())
}

/// A descriptor whose last close waits for a peer that does not read, for an hour.
fn slow_close(_: &World) -> Result<()> {
    said(Command::new("ip").args(["link", "set", "lo", "up"]))?.must(0)?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let stream = std::net::TcpStream::connect(listener.local_addr()?)?;
    let peer = listener.accept()?;
    let hour = Some(Duration::from_secs(3600));
    rustix::net::sockopt::set_socket_linger(&stream, hour)?;
    stream.set_nonblocking(true)?;
    while (&stream).write(&[0; 65536]).is_ok() {}
    stream.set_nonblocking(false)?;
    let (manager, container) = packets()?;
    send(&container, b"F", &[stream.as_fd()])?;
    drop(stream);
    let refused = soon("close", || {
        let received = Received::receive_within(&manager, Duration::from_secs(1));
        received.and_then(|received| received.grant(&delegation()))
    })?;
    let error = refused.err().context("taken")?;
    ensure!(error.to_string().contains("no fs context"), "{error}");
    drop(peer);
    Ok(())
}
