// SPDX-License-Identifier: GPL-2.0

//! Descriptors of every kind, by the numbers of [`crate::layout`].

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

use guest::bpf;
use guest::bpf::MapType;
use guest::bpf::ProgType;
use guest::container;
use guest::container::Instance;
use guest::context::Context;
use guest::insn;
use rustix::event::epoll;
use rustix::event::EventfdFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::CWD;
use rustix::net;
use rustix::pipe::PipeFlags;

use crate::layout::Descriptor;
use crate::layout::DELEGATED;
use crate::layout::DESCRIPTORS;
use crate::layout::FIRST_FD;

/// Makes them in a container, in their order: tokens of all instances but the last, which delegates nothing.
pub fn make(instances: &[Instance], initial_root: OwnedFd) -> Vec<OwnedFd> {
    container::mount_tmpfs();
    let [delegating @ .., undelegated] = instances else {
        panic!("there are instances");
    };
    assert_eq!(delegating.len(), DELEGATED.len());
    let token = bpf::token_create(&delegating[0].root).expect("the first delegates all");
    let mut initial_root = Some(initial_root);
    let mut make = |descriptor: Descriptor| match descriptor {
        Descriptor::TokenOfAll
        | Descriptor::TokenOfLittle
        | Descriptor::TokenOfOther
        | Descriptor::TokenOfCommands
        | Descriptor::TokenOfTypes => delegating[descriptor as usize].token(),
        Descriptor::Root => copy(&delegating[0].root),
        Descriptor::UndelegatedRoot => copy(&undelegated.root),
        Descriptor::InitialRoot => initial_root.take().expect("there is one"),
        Descriptor::Directory => {
            let root = &delegating[0].root;
            rustix::fs::mkdirat(root, "directory", Mode::RWXU).expect("mkdir");
            container::open_directory(root, "directory")
        }
        Descriptor::OtherRoot => open("/tmp", OFlags::RDONLY | OFlags::DIRECTORY),
        Descriptor::RootPath => open(&path_of(&delegating[0].root), OFlags::PATH),
        Descriptor::TokenPath => open(&path_of(&token), OFlags::PATH),
        Descriptor::File => open("/tmp/file", OFlags::RDWR | OFlags::CREATE),
        Descriptor::Pipe => {
            let (reader, _) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).expect("pipe");
            reader
        }
        Descriptor::Socket => {
            let (family, kind) = (net::AddressFamily::UNIX, net::SocketType::STREAM);
            net::socket(family, kind, None).expect("socket")
        }
        Descriptor::Map => bpf::map_create(MapType::Array, Some(token.as_raw_fd())).expect("a map"),
        Descriptor::Prog => {
            let prog = bpf::Prog {
                prog_type: ProgType::SocketFilter,
                attach_type: bpf::AttachType::CgroupInetIngress,
                attach_btf_id: 0,
                insns: &insn::RETURN_0,
            };
            bpf::prog_load(&prog, Some(token.as_raw_fd())).expect("a program")
        }
        Descriptor::Btf => {
            bpf::btf_get_fd_by_id(1, Some(token.as_raw_fd())).expect("the kernel's BTF")
        }
        Descriptor::Context => copy(&Context::of_bpffs()),
        Descriptor::Epoll => epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll"),
        Descriptor::Event => rustix::event::eventfd(0, EventfdFlags::CLOEXEC).expect("eventfd"),
        Descriptor::UserNamespace => open("/proc/self/ns/user", OFlags::RDONLY),
    };
    DESCRIPTORS.into_iter().map(&mut make).collect()
}

fn open(path: &str, flags: OFlags) -> OwnedFd {
    rustix::fs::openat(CWD, path, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn path_of(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn copy(fd: &impl std::os::fd::AsFd) -> OwnedFd {
    rustix::io::fcntl_dupfd_cloexec(fd, 0).expect("dup")
}

/// Gives each its number.
pub fn number(descriptors: Vec<OwnedFd>) -> Vec<OwnedFd> {
    let number = |(number, descriptor): (u32, OwnedFd)| {
        let numbered = rustix::io::fcntl_dupfd_cloexec(descriptor, number as i32).expect("dup");
        assert_eq!(numbered.as_raw_fd(), number as i32, "the number is free");
        numbered
    };
    (FIRST_FD..).zip(descriptors).map(number).collect()
}
