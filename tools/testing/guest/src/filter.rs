// SPDX-License-Identifier: GPL-2.0

//! A pair of sockets, of which one has a BPF program for a filter: the shortest way to see one run.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net;

use crate::sys;

pub struct Filtered {
    sender: OwnedFd,
    receiver: OwnedFd,
}

impl Filtered {
    pub fn by(prog: &OwnedFd) -> Self {
        let (sender, receiver) = net::socketpair(
            net::AddressFamily::UNIX,
            net::SocketType::DGRAM,
            net::SocketFlags::CLOEXEC,
            None,
        )
        .expect("socketpair");
        sys::attach_filter(&receiver, prog).expect("SO_ATTACH_BPF");
        Self { sender, receiver }
    }

    /// Whether what is sent does not arrive.
    pub fn drops(&self) -> bool {
        let sent = net::send(&self.sender, b"message", net::SendFlags::NOSIGNAL);
        assert_eq!(sent, Ok(7), "a filter is no matter of the sender");
        let received = net::recv(&self.receiver, &mut [0; 16], net::RecvFlags::DONTWAIT);
        match received {
            Ok(_) => false,
            Err(Errno::AGAIN) => true,
            Err(errno) => panic!("recv: {errno}"),
        }
    }
}
