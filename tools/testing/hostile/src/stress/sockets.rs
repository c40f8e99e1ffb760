// SPDX-License-Identifier: GPL-2.0

//! Descriptors passed on by processes that may be gone the next moment.

use std::io::IoSlice;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net;
use rustix::net::RecvFlags;
use rustix::net::SendFlags;

/// The most that is sent at once.
const MOST: usize = 2;

pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    net::socketpair(
        net::AddressFamily::UNIX,
        net::SocketType::SEQPACKET,
        net::SocketFlags::CLOEXEC,
        None,
    )
}

pub fn send(socket: impl AsFd, fds: &[BorrowedFd<'_>], flags: SendFlags) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = net::SendAncillaryBuffer::new(&mut space);
    assert!(control.push(net::SendAncillaryMessage::ScmRights(fds)));
    let flags = flags | SendFlags::NOSIGNAL;
    net::sendmsg(socket, &[IoSlice::new(&[0])], &mut control, flags).map(drop)
}

/// Gives no descriptor if there is no other end of the socket any more.
pub fn receive(socket: impl AsFd, flags: RecvFlags) -> Result<Vec<OwnedFd>, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = net::RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        flags,
    )?;
    let fds = control.drain().filter_map(|message| match message {
        net::RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    Ok(fds.flatten().collect())
}
