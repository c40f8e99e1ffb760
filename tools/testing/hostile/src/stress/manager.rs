// SPDX-License-Identifier: GPL-2.0

//! The manager of one container after the other: it delegates what its container asks for, until that is dead.

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::Relaxed;

use fastrand::Rng;
use guest::container;
use guest::context::Context;
use guest::managed;
use guest::process::Link;
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::net::SendFlags;
use rustix::process;

use super::board::Board;
use super::inside;
use super::mounts::DELEGATIONS;
use super::mounts::MASKS;
use super::processes;
use super::sockets;

/// Keeps a container running for as long as there is to be one.
pub fn run(board: &Board, number: usize, sockets: &[(OwnedFd, OwnedFd)], mut rng: Rng) {
    // Workers of a container that was killed are waited for here.
    process::set_child_subreaper(Some(process::getpid())).expect("PR_SET_CHILD_SUBREAPER");
    while !board.stopped() {
        let rng_inside = rng.fork();
        let (requests, manager) = sockets::pair().expect("socketpair");
        let (link, link_inside) = Link::pair();
        let (mut ours, mut theirs) = (Some((requests, link)), Some((manager, link_inside)));
        let container = processes::spawn(|| {
            ours = None;
            let (manager, link) = theirs.take().expect("the child's copy");
            container::enter(&link);
            // That was forgotten with the change of ids.
            processes::end_with_parent();
            inside::run(board, number, manager.as_fd(), sockets, rng_inside);
        });
        // Without the ends inside, these tell the end of the container.
        drop(theirs);
        let (requests, link) = ours.expect("the parent's copy");
        link.wait();
        container::map_ids(container);
        link.signal();
        board.containers.fetch_add(1, Relaxed);
        board.add_target(number, 0, container);

        serve(&requests, &mut rng);
        while processes::wait(board).is_some() {}
    }
}

/// Whether a descriptor is that of a mount of BPF FS, and not that of a context.
fn is_mounted(fd: &OwnedFd) -> bool {
    const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
    rustix::fs::fstatfs(fd).is_ok_and(|statfs| statfs.f_type == BPF_FS_MAGIC)
}

/// Answers requests, which are a context or a mount, and a socket for the answer, until nobody is left who could ask.
fn serve(requests: &OwnedFd, rng: &mut Rng) {
    loop {
        let request = sockets::receive(requests, RecvFlags::empty()).expect("recvmsg");
        let Ok([context, answer]) = <[OwnedFd; 2]>::try_from(request) else {
            return;
        };
        let chosen = rng.usize(..DELEGATIONS.len());
        if is_mounted(&context) {
            let masks = MASKS[chosen].options();
            let masks = masks
                .each_ref()
                .map(|(option, mask)| (*option, mask.as_str()));
            managed::remount(&managed::pick(&context), &masks).expect("the manager may");
        } else {
            Context::from(context).configure(DELEGATIONS[chosen].options());
        }
        match rustix::net::send(&answer, &[0], SendFlags::NOSIGNAL) {
            // Who asked was killed.
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => (),
            Err(errno) => panic!("send: {errno}"),
        }
    }
}
