// SPDX-License-Identifier: GPL-2.0

//! Tokens: made, looked at, duplicated, passed on and closed.

use std::io::IoSlice;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use guest::bpf;
use guest::bpf::Masks;
use guest::container::Delegation;
use guest::container::Instance;
use guest::restrict;
use rustix::io::Errno;
use rustix::net;

use super::By;
use super::Injector;
use super::Makes;
use super::Operation;

/// More than there are descriptors in use: each is received once, in vain or not.
const MESSAGES: usize = 32;

const ANY: Masks = Masks::ALL;

/// What a token is restricted to.
const LESS: Masks = Masks::each(0x8000_0000_0000_0007);

pub fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            "BPF_TOKEN_CREATE",
            Makes::File,
            any(|instance, injector| {
                if let Ok(token) = injector.inject(|| bpf::token_create(&instance.root)) {
                    assert_eq!(bpf::masks(&token), ANY, "of a token that was made");
                }
            }),
        ),
        Operation::new(
            "BPF_TOKEN_CREATE restricted",
            Makes::File,
            any(|instance, injector| {
                if let Ok(token) = injector.inject(|| restrict::token(&instance.root, &LESS)) {
                    assert_eq!(bpf::masks(&token), LESS, "of a token that was made");
                }
            }),
        ),
        Operation::new(
            "BPF_TOKEN_CREATE of a token",
            Makes::File,
            any(|instance, injector| {
                let source = instance.token();
                if let Ok(token) = injector.inject(|| restrict::token(&source, &LESS)) {
                    assert_eq!(bpf::masks(&token), LESS, "of a token that was made");
                }
            }),
        ),
        Operation::refused(
            "BPF_TOKEN_CREATE of nothing, log",
            Errno::NOENT,
            any(|instance, injector| {
                let source = instance.token();
                super::inject_logged(injector, "nothing is delegated", |log| {
                    let (flags, none) = (restrict::BPF_F_TOKEN_RESTRICT, Masks::NONE);
                    restrict::token_logged(flags, source.as_raw_fd(), &none, log)
                });
            }),
        ),
        Operation::refused(
            "BPF_TOKEN_CREATE refused, log",
            Errno::NOENT,
            By::container(Delegation::NOTHING, |instance, injector| {
                let root = instance.root.as_raw_fd();
                super::inject_logged(injector, "the BPF file system delegates nothing", |log| {
                    bpf::token_create_logged(0, root, log)
                });
            }),
        ),
        Operation::new(
            "BPF_OBJ_GET_INFO_BY_FD",
            Makes::Nothing,
            any(|instance, injector| {
                let token = instance.token();
                let mut info = [0; 32];
                let result = injector.inject(|| bpf::info_by_fd(&token, &mut info));
                if result.is_ok() {
                    assert_eq!(info, [0xff; 32], "struct bpf_token_info");
                }
            }),
        ),
        Operation::new(
            "fdinfo",
            Makes::File,
            any(|instance, injector| {
                let token = instance.token();
                let name = format!("fdinfo/{}", token.as_raw_fd());
                if let Some(text) = super::inject_reading(injector, &super::own_proc(), &name) {
                    assert!(text.contains("allowed_attachs:\tany"), "{text}");
                }
            }),
        ),
        Operation::new(
            "dup",
            Makes::Descriptor,
            any(|instance, injector| {
                let token = instance.token();
                let _ = injector.inject(|| rustix::io::dup(&token));
            }),
        ),
        Operation::new(
            "SCM_RIGHTS sent",
            Makes::Nothing,
            any(|instance, injector| {
                let token = instance.token();
                let (one, _other) = sockets();
                let _ = injector.inject(|| send(&one, token.as_fd()));
            }),
        ),
        Operation::new(
            "SCM_RIGHTS received",
            Makes::Descriptor,
            any(|instance, injector| {
                let (one, other) = sockets();
                let token = instance.token();
                for _ in 0..MESSAGES {
                    send(&one, token.as_fd()).expect("sendmsg");
                }
                if let Ok(token) = injector.inject(|| receive(&other)) {
                    assert_eq!(bpf::masks(&token), ANY, "of a token that was received");
                }
            }),
        ),
        Operation::new(
            "close",
            Makes::Nothing,
            any(|instance, injector| {
                let mut token = Some(instance.token());
                let _ = injector.inject(|| {
                    drop(token.take());
                    Ok(())
                });
            }),
        ),
    ]
}

fn any(part: fn(&Instance, &mut Injector)) -> By {
    By::container(Delegation::ANY, part)
}

fn sockets() -> (OwnedFd, OwnedFd) {
    net::socketpair(
        net::AddressFamily::UNIX,
        net::SocketType::SEQPACKET,
        net::SocketFlags::CLOEXEC,
        None,
    )
    .expect("socketpair")
}

fn send(socket: &OwnedFd, fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let fds = [fd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = net::SendAncillaryBuffer::new(&mut space);
    assert!(control.push(net::SendAncillaryMessage::ScmRights(&fds)));
    let data = [IoSlice::new(&[0])];
    net::sendmsg(socket, &data, &mut control, net::SendFlags::NOSIGNAL).map(drop)
}

/// A descriptor for which there is no number is dropped, and the message is marked as cut.
fn receive(socket: &OwnedFd) -> Result<OwnedFd, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = net::RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut data = [IoSliceMut::new(&mut byte)];
    let flags = net::RecvFlags::CMSG_CLOEXEC | net::RecvFlags::DONTWAIT;
    let received = net::recvmsg(socket, &mut data, &mut control, flags)?;
    let fd = control.drain().find_map(|message| match message {
        net::RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let cut = received.flags.contains(net::ReturnFlags::CTRUNC);
    assert_eq!(fd.is_none(), cut, "without the descriptor, MSG_CTRUNC");
    fd.ok_or(Errno::MFILE)
}
