// SPDX-License-Identifier: GPL-2.0
//! The library, where it meets the kernel.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Attachs;
use bpf_token::Cmds;
use bpf_token::Container;
use bpf_token::Delegation;
use bpf_token::FsContext;
use bpf_token::IdMap;
use bpf_token::Kind;
use bpf_token::Maps;
use bpf_token::Mask;
use bpf_token::Progs;
use bpf_token::Received;
use bpf_token::Request;
use bpf_token::Token;
use libbpf_rs::btf::types::Enum;
use libbpf_rs::btf::Btf;
use rustix::io::Errno;
use rustix::mount::FsOpenFlags;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendAncillaryMessage;
use rustix::net::SendFlags;

use crate::world::said;
use crate::world::World;
use crate::Test;

pub const TESTS: &[(&str, Test)] = &[
    ("library::names_are_the_kernels", names),
    ("library::example", example),
    ("library::unions", unions),
    ("library::handshake_refused", handshake_refused),
    ("library::handshake_broken_off", handshake_broken_off),
    ("library::only_bpffs_is_made", only_bpffs),
    ("library::no_token_here", no_token_here),
    ("library::dropped_container_is_killed", dropped_container),
];

/// Every name of the tables has its value in the running kernel's BTF, and every name there is in
/// the tables, but for what a kernel newer than 7.3 has more.
fn names(_: &World) -> Result<()> {
    fn kind<K: Kind>(btf: &Btf<'_>, name: &str) -> Result<()> {
        let found: Enum<'_> = btf
            .type_by_name(name)
            .with_context(|| format!("no enum {name}"))?;
        let mut seen = Mask::<K>::EMPTY;
        for variant in found.iter() {
            let name = variant.name.context("no name")?.to_string_lossy();
            let Some(name) = name.strip_prefix(K::PREFIX) else {
                continue;
            };
            let value = u32::try_from(variant.value)?;
            // A flag, not a command.
            if name == "COMMON_ATTRS" {
                continue;
            }
            ensure!(Mask::<K>::value(name) == Some(value), "{name} is {value}");
            seen = seen.with(value);
        }
        let newer = Mask::<K>::KNOWN.difference(seen);
        if rustix::system::uname()
            .release()
            .to_bytes()
            .starts_with(b"7.3")
        {
            ensure!(newer.is_empty(), "not in this kernel: {newer}");
        }
        Ok(())
    }
    let btf = Btf::from_vmlinux()?;
    kind::<Cmds>(&btf, "bpf_cmd")?;
    kind::<Maps>(&btf, "bpf_map_type")?;
    kind::<Progs>(&btf, "bpf_prog_type")?;
    kind::<Attachs>(&btf, "bpf_attach_type")
}

/// The program of the library's documentation.
fn example(world: &World) -> Result<()> {
    let said = said(&mut Command::new(&world.example))?.must(0)?;
    ensure!(
        said.out == "loaded an XDP program through a token\n",
        "{}",
        said.out
    );
    Ok(())
}

/// Numbers, names and repeated options add up in the kernel as they do in the library.
fn unions(world: &World) -> Result<()> {
    let options = "--maps hash:0x4:lru_hash --cmds 0x1:0x20:btf_load --progs any:0x1";
    let mounts = said_mounts(world, options)?;
    for option in [
        "delegate_cmds=map_create:prog_load:btf_load,",
        "delegate_maps=hash:array:lru_hash,",
        "delegate_progs=any",
    ] {
        ensure!(mounts.contains(option), "no {option} in {mounts}");
    }
    Ok(())
}

fn said_mounts(world: &World, options: &str) -> Result<String> {
    let said = said(&mut world.contained(options, &["grep", " bpf ", "/proc/mounts"]))?.must(0)?;
    Ok(said.out)
}

/// The container learns why the manager says no.
fn handshake_refused(_: &World) -> Result<()> {
    let (manager, container) = UnixStream::pair()?;
    let request = Request::send(&container)?;
    Received::receive(&manager)?.refuse("not on a Monday")?;
    let error = request.wait().err().context("granted")?.to_string();
    ensure!(error.contains("not on a Monday"), "{error}");

    let request = Request::send(&container)?;
    let unknown: Delegation = "delegate_maps=teleport".parse()?;
    let error = Received::receive(&manager)?
        .grant(&unknown)
        .err()
        .context("granted")?;
    ensure!(error.errno() == Some(Errno::INVAL), "{error}");
    let error = request.wait().err().context("granted")?.to_string();
    ensure!(error.contains("delegate_maps=teleport"), "{error}");
    Ok(())
}

/// Either side notices that the other is gone, or sends something else.
fn handshake_broken_off(_: &World) -> Result<()> {
    let (manager, container) = UnixStream::pair()?;
    let request = Request::send(&container)?;
    drop(manager);
    let error = request.wait().err().context("granted")?.to_string();
    ensure!(error.contains("without an answer"), "{error}");

    let (manager, container) = UnixStream::pair()?;
    drop(container);
    let error = Received::receive(&manager)
        .err()
        .context("received")?
        .to_string();
    ensure!(error.contains("without sending an fs context"), "{error}");

    let (manager, container) = UnixStream::pair()?;
    rustix::io::write(&container, b"F")?;
    let error = Received::receive(&manager)
        .err()
        .context("received")?
        .to_string();
    ensure!(error.contains("something else"), "{error}");
    Ok(())
}

/// A manager lends its capabilities to no other file system, however lenient with options, and to
/// no other descriptor.
fn only_bpffs(_: &World) -> Result<()> {
    let open = |name: &str| rustix::mount::fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC);
    for (what, fd) in [
        // It ignores options that it does not know.
        ("debugfs", open("debugfs")?),
        // It does not.
        ("tmpfs", open("tmpfs")?),
        ("a file", std::fs::File::open("/dev/null")?.into()),
    ] {
        for options in ["delegate_cmds=any", ""] {
            let (manager, container) = UnixStream::pair()?;
            send(&container, &fd)?;
            let delegation: Delegation = options.parse()?;
            let error = Received::receive(&manager)?.grant(&delegation).err();
            let error = error
                .with_context(|| format!("{what} was made"))?
                .to_string();
            ensure!(
                error.contains("no fs context of a BPF FS"),
                "{what}: {error}"
            );
        }
    }
    Ok(())
}

/// What a container sends that does not keep to the library.
fn send(socket: &UnixStream, fd: &OwnedFd) -> Result<()> {
    let fds = [fd.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    ensure!(
        control.push(SendAncillaryMessage::ScmRights(&fds)),
        "no room"
    );
    let data = [IoSlice::new(b"F")];
    rustix::net::sendmsg(socket, &data, &mut control, SendFlags::empty())?;
    Ok(())
}

/// The initial user namespace has no tokens, and a descriptor that is none is not taken for one.
fn no_token_here(_: &World) -> Result<()> {
    let context = FsContext::open()?;
    "delegate_cmds=any".parse::<Delegation>()?.apply(&context)?;
    context.create()?;
    let root = context.mount()?.open_root()?;
    let error = Token::create(root).err().context("a token")?;
    ensure!(error.errno() == Some(Errno::OPNOTSUPP), "{error}");
    let null: OwnedFd = std::fs::File::open("/dev/null")?.into();
    let error = Token::from_fd(null).err().context("a token")?.to_string();
    ensure!(error.contains("is no BPF token"), "{error}");
    Ok(())
}

/// A container does not outlive its handle.
fn dropped_container(_: &World) -> Result<()> {
    let container = Container::new("sleep")
        .args(["1000"])
        .ids([IdMap::root(1000)], [IdMap::root(1000)])
        .spawn()?;
    let pid = container.pid();
    rustix::process::test_kill_process(pid)?;
    drop(container);
    ensure!(
        rustix::process::test_kill_process(pid) == Err(Errno::SRCH),
        "it still runs"
    );
    Ok(())
}
