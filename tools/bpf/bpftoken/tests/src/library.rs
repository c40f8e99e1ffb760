// SPDX-License-Identifier: GPL-2.0
//! The library, where it meets the kernel.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Container;
use bpf_token::Delegation;
use bpf_token::Errno;
use bpf_token::Error;
use bpf_token::FsContext;
use bpf_token::IdMap;
use bpf_token::Kernel;
use bpf_token::Kind;
use bpf_token::MapType;
use bpf_token::Process;
use bpf_token::Received;
use bpf_token::Request;
use bpf_token::Token;
use libbpf_rs::btf::types::Enum;
use libbpf_rs::btf::Btf;
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
    ("library::names_of_another_kernel", other_names),
    ("library::inherited_descriptor", inherited),
    ("library::info_of_fdinfo", info_of_fdinfo),
];

/// The first argument of this program when the kernel has no info of tokens for it.
pub const NO_INFO: &str = "token-without-info";

/// Every name of the tables has its value in the running kernel's BTF, and every name there is in
/// the tables, but for what a kernel newer than 7.3 has more.
fn names(_: &World) -> Result<()> {
    let btf = Btf::from_vmlinux()?;
    for kind in Kind::ALL {
        let found: Enum<'_> = btf
            .type_by_name(kind.enumeration)
            .with_context(|| format!("no enum {}", kind.enumeration))?;
        let mut seen = 0;
        for variant in found.iter() {
            let name = variant.name.context("no name")?.to_string_lossy();
            let Some(name) = name.strip_prefix(kind.prefix) else {
                continue;
            };
            let value = u32::try_from(variant.value)?;
            // A flag, not a command.
            if name == "COMMON_ATTRS" {
                continue;
            }
            ensure!(kind.value(name) == Some(value), "{name} is {value}");
            seen |= 1 << value;
        }
        let known = Kernel::running().known(kind);
        ensure!(
            known == Some(seen),
            "{}: {known:?}, not {seen:#x}",
            kind.enumeration
        );
        let release = rustix::system::uname();
        if release.release().to_bytes().starts_with(b"7.3") {
            ensure!(seen == kind.known(), "{}: {seen:#x}", kind.enumeration);
        }
    }
    Ok(())
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
    ensure!(matches!(error, Error::NotInKernel { .. }), "{error}");
    let error = request.wait().err().context("granted")?.to_string();
    ensure!(error.contains("no map type \"teleport\""), "{error}");
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
            let error = Received::receive(&manager).and_then(|it| it.grant(&delegation));
            let error = error
                .err()
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
    ensure!(error.errno() == Some(Errno::EOPNOTSUPP), "{error}");
    let null: OwnedFd = std::fs::File::open("/dev/null")?.into();
    let error = Token::from_fd(null).err().context("a token")?.to_string();
    ensure!(error.contains("is not a BPF token"), "{error}");
    Ok(())
}

/// A container does not outlive its handle.
fn dropped_container(_: &World) -> Result<()> {
    let container = Container::new("sleep")
        .args(["1000"])
        .ids([IdMap::root(1000)], [IdMap::root(1000)])
        .spawn()?;
    let pid = container.pid();
    let command = Process::open(pid)?;
    drop(container);
    let error = command.signal(0).err().context("it still runs")?;
    ensure!(error.errno() == Some(Errno::ESRCH), "{error}");
    Ok(())
}

/// A name that the running kernel lacks is refused before the kernel is given its bit.
fn other_names(_: &World) -> Result<()> {
    let context = FsContext::open()?;
    let newer = Delegation::new().maps(MapType::new(60));
    let error = newer.apply(&context).err().context("applied")?;
    ensure!(
        error.to_string() == "this kernel has no map type \"60\"",
        "{error}"
    );
    // A number is taken as it is.
    "delegate_maps=0x1000000000000000"
        .parse::<Delegation>()?
        .apply(&context)?;
    Ok(())
}

/// A descriptor that was passed on is taken up by its number.
fn inherited(_: &World) -> Result<()> {
    let file = std::fs::File::open("/dev/null")?;
    let number = file.as_raw_fd();
    let taken = bpf_token::inherited_fd(number)?;
    ensure!(taken.as_raw_fd() != number, "the same descriptor");
    let error = Token::inherited(number).err().context("a token")?;
    ensure!(matches!(error, Error::NotAToken { .. }), "{error}");
    drop(file);
    let error = bpf_token::inherited_fd(number).err().context("open")?;
    ensure!(error.errno() == Some(Errno::EBADF), "{error}");
    Ok(())
}

/// Where the kernel has no info of tokens, as before Linux 6.17, fdinfo tells the same.
fn info_of_fdinfo(world: &World) -> Result<()> {
    let options = "--cmds any --maps hash:ringbuf --progs 0x40 --attachs xdp";
    let own = crate::world::path(&world.own);
    said(&mut world.contained(options, &[own, NO_INFO]))?.must(0)?;
    Ok(())
}

/// Asks for the info of a token, before and after the kernel refuses it as an older one does.
pub fn without_info() -> Result<()> {
    let token = Token::from_bpffs("/sys/fs/bpf")?;
    let by_kernel = token.info()?;
    ensure!(asks(&token), "this kernel has no info of tokens");
    refuse_info()?;
    ensure!(!asks(&token), "it still has");
    ensure!(token.info()? == by_kernel, "{by_kernel:?} is another");
    Ok(())
}

/// Whether BPF_OBJ_GET_INFO_BY_FD takes a token.
fn asks(token: &Token) -> bool {
    let mut info = [0u64; 4];
    let mut size = std::mem::size_of_val(&info) as u32;
    let fd = token.as_fd().as_raw_fd();
    // SAFETY: The buffer has this size.
    unsafe { libbpf_sys::bpf_obj_get_info_by_fd(fd, info.as_mut_ptr().cast(), &mut size) == 0 }
}

/// From now on, BPF_OBJ_GET_INFO_BY_FD is EINVAL for this process.
fn refuse_info() -> Result<()> {
    const COMMAND: u32 = 15;
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let jump = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let ret = libc::BPF_RET | libc::BPF_K;
    let insn = |code: u32, (jt, jf): (u8, u8), k: u32| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let arguments = std::mem::offset_of!(libc::seccomp_data, args);
    let mut filter = [
        insn(load, (0, 0), 0),
        insn(jump, (0, 3), libc::SYS_bpf as u32),
        insn(load, (0, 0), arguments as u32),
        insn(jump, (0, 1), COMMAND),
        insn(ret, (0, 0), libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32),
        insn(ret, (0, 0), libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    rustix::thread::set_no_new_privs(true)?;
    // SAFETY: The program has this length, and is copied.
    let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) };
    ensure!(done == 0, "prctl: {}", std::io::Error::last_os_error());
    Ok(())
}
