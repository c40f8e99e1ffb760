// SPDX-License-Identifier: GPL-2.0

//! A process of a sequence: does the steps that it is told, and says what each came to.

use std::ffi::CString;
use std::fs;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;

use guest::bpf;
use guest::kernel;
use guest::process::Link;
use guest::sys;
use guest::sys::Command;
use rustix::event::epoll;
use rustix::event::EventfdFlags;
use rustix::fs::AtFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::StatxFlags;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount;
use rustix::net;
use rustix::pipe::PipeFlags;
use rustix::process::Pid;
use rustix::process::WaitOptions;
use rustix::thread::CapabilitySet;
use rustix::thread::UnshareFlags;

use crate::attributes::Attributes;
use crate::bytes::unescaped;
use crate::bytes::Bytes;
use crate::kcov::Kcov;
use crate::kcov::Kcovs;
use crate::memory::Memory;
use crate::outcome::Outcome;
use crate::step::Act;
use crate::step::Caps;
use crate::step::Kind;
use crate::step::Step;
use crate::step::FIRST;
use crate::step::SLOTS;

/// Says that a descriptor follows, and for which slot.
pub const TAKE: &str = "take";

const DISABLED: &str = "/proc/sys/kernel/unprivileged_bpf_disabled";

/// What `kernel.unprivileged_bpf_disabled` is to be.
pub fn set_disabled(disabled: bool) -> std::io::Result<()> {
    fs::write(DISABLED, if disabled { "2" } else { "0" })
}

/// Makes a place for each mount that may be attached.
pub fn make_places() {
    for place in 0..SLOTS {
        fs::create_dir(path_of(place)).expect("mkdir");
    }
}

fn path_of(place: u32) -> String {
    format!("/tmp/{place}")
}

pub struct Actor<'a> {
    link: Link,
    memory: &'a mut Memory,
    kcov: Option<&'a Kcov>,
    slots: [Option<OwnedFd>; SLOTS as usize],
    has_own_mounts: bool,
    /// The kernel's, from the first mount on that may write there.
    log: Option<kernel::Log>,
}

type Done = Result<String, Errno>;

impl<'a> Actor<'a> {
    pub fn new(link: Link, memory: &'a mut Memory, kcov: Option<&'a Kcov>) -> Self {
        Self {
            link,
            memory,
            kcov,
            slots: Default::default(),
            has_own_mounts: false,
            log: None,
        }
    }

    /// Serves until the other side is done.
    pub fn serve(mut self) {
        if let Some(kcov) = self.kcov {
            kcov.enable();
        }
        while let Some(message) = self.link.receive() {
            let text = String::from_utf8(message).expect("text");
            if let Some(slot) = text.strip_prefix(TAKE) {
                let fd = self.link.recv_fd();
                self.put(slot.trim().parse().expect("a slot"), fd);
                self.link.send(Outcome::ok("").text().as_bytes());
                continue;
            }
            let step: Step = text.parse().expect("a step");
            let outcome = self.outcome(&step.act);
            self.link.send(outcome.text().as_bytes());
            if let (Act::Pass { slot, .. }, true) = (&step.act, outcome.is_ok()) {
                self.link
                    .send_fd(self.slot(*slot).expect("it was there before"));
            }
        }
        // Before the link closes: the next one may begin then.
        if let Some(kcov) = self.kcov {
            kcov.disable();
        }
    }

    fn slot(&self, slot: u32) -> Result<&OwnedFd, Errno> {
        self.slots[slot as usize].as_ref().ok_or(Errno::BADF)
    }

    fn put(&mut self, slot: u32, fd: OwnedFd) {
        self.slots[slot as usize] = None;
        let number = (FIRST + slot) as i32;
        let numbered = rustix::io::fcntl_dupfd_cloexec(fd, number).expect("dup");
        assert_eq!(numbered.as_raw_fd(), number, "the number is free");
        self.slots[slot as usize] = Some(numbered);
    }

    fn keep(&mut self, slot: u32, fd: OwnedFd) -> Done {
        self.put(slot, fd);
        said_nothing()
    }

    fn outcome(&mut self, act: &Act) -> Outcome {
        if let Act::Bpf { to, attributes } = act {
            return self.bpf(*to, attributes);
        }
        if let (Act::MountData { .. }, None) = (act, &self.log) {
            self.log = Some(kernel::Log::from_now_on());
        }
        let mut outcome = match self.act(act) {
            Ok(told) => Outcome::ok(&told),
            Err(errno) => Outcome::errno(errno.raw_os_error()),
        };
        outcome.messages = match act {
            Act::Create { context } | Act::Reconfigure { context } => self.messages(*context),
            Act::MountData { .. } | Act::Remount { .. } => self.logged(),
            _ => act
                .option()
                .map_or_else(Vec::new, |(context, _)| self.messages(context)),
        };
        outcome
    }

    fn messages(&self, context: u32) -> Vec<Bytes> {
        self.slot(context).map_or_else(|_| Vec::new(), messages)
    }

    /// What the kernel log says of BPF FS.
    fn logged(&mut self) -> Vec<Bytes> {
        let Some(log) = &mut self.log else {
            return Vec::new();
        };
        let messages = log.read().into_iter();
        let ours = messages.filter(|message| message.starts_with("bpf: "));
        ours.map(|message| Bytes(unescaped(message.as_bytes())))
            .collect()
    }

    fn act(&mut self, act: &Act) -> Done {
        match act {
            Act::Open { to } => {
                let context = mount::fsopen("bpf", mount::FsOpenFlags::FSOPEN_CLOEXEC)?;
                self.keep(*to, context)
            }
            Act::Set {
                context,
                key,
                value,
            } => {
                mount::fsconfig_set_string(self.slot(*context)?.as_fd(), &**key, &**value)?;
                said_nothing()
            }
            Act::SetBinary {
                context,
                key,
                value,
            } => {
                mount::fsconfig_set_binary(self.slot(*context)?.as_fd(), &**key, value)?;
                said_nothing()
            }
            Act::SetFlag { context, key } => {
                mount::fsconfig_set_flag(self.slot(*context)?.as_fd(), &**key)?;
                said_nothing()
            }
            Act::SetPath {
                context,
                key,
                slot,
                value,
            } => {
                let context = self.slot(*context)?.as_fd();
                mount::fsconfig_set_path(context, &**key, &**value, self.slot(*slot)?)?;
                said_nothing()
            }
            Act::SetFd { context, key, slot } => {
                let context = self.slot(*context)?.as_fd();
                mount::fsconfig_set_fd(context, &**key, self.slot(*slot)?)?;
                said_nothing()
            }
            Act::Create { context } => {
                mount::fsconfig_create(self.slot(*context)?)?;
                said_nothing()
            }
            Act::Mount { context, to } => {
                let flags = mount::FsMountFlags::FSMOUNT_CLOEXEC;
                let none = mount::MountAttrFlags::empty();
                let mounted = mount::fsmount(self.slot(*context)?, flags, none)?;
                self.keep(*to, mounted)
            }
            Act::Root { mount, to } => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let root = rustix::fs::openat(self.slot(*mount)?, ".", flags, Mode::empty())?;
                self.keep(*to, root)
            }
            Act::Pick { root, to } => {
                let flags =
                    mount::FsPickFlags::FSPICK_CLOEXEC | mount::FsPickFlags::FSPICK_EMPTY_PATH;
                let picked = mount::fspick(self.slot(*root)?, "", flags)?;
                self.keep(*to, picked)
            }
            Act::Reconfigure { context } => {
                mount::fsconfig_reconfigure(self.slot(*context)?)?;
                said_nothing()
            }
            Act::Attach { mount, place } => {
                self.isolate()?;
                let flags = mount::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
                mount::move_mount(self.slot(*mount)?, "", CWD, path_of(*place), flags)?;
                said_nothing()
            }
            Act::Detach { place } => {
                self.isolate()?;
                mount::unmount(path_of(*place), mount::UnmountFlags::DETACH)?;
                said_nothing()
            }
            Act::MountData { place, data } => {
                self.isolate()?;
                let data = CString::new(&**data).map_err(|_| Errno::INVAL)?;
                let flags = mount::MountFlags::empty();
                mount::mount("none", path_of(*place), "bpf", flags, Some(&*data))?;
                said_nothing()
            }
            Act::Remount { place, data } => {
                self.isolate()?;
                let data = CString::new(&**data).map_err(|_| Errno::INVAL)?;
                mount::mount_remount(path_of(*place), mount::MountFlags::empty(), &*data)?;
                said_nothing()
            }
            Act::Line { place } => line(&path_of(*place)),
            Act::Bpf { .. } => said_nothing(),
            Act::Pass { slot, .. } => self.slot(*slot).and_then(|_| said_nothing()),
            Act::Close { slot } => {
                self.slot(*slot)?;
                self.slots[*slot as usize] = None;
                said_nothing()
            }
            Act::Hold { caps } => {
                hold(*caps)?;
                said_nothing()
            }
            Act::Fork {} => {
                self.fork();
                said_nothing()
            }
            Act::Tell { slot } => tell(self.slot(*slot)?),
            Act::Show { root } => show(self.slot(*root)?),
            Act::Reopen { slot, flags } => {
                let path = format!("/proc/self/fd/{}", self.slot(*slot)?.as_raw_fd());
                let flags = OFlags::from_bits_retain(flags.bits() as u32);
                let flags = flags | OFlags::NONBLOCK | OFlags::CLOEXEC;
                rustix::fs::open(path, flags, Mode::RUSR).map(drop)?;
                said_nothing()
            }
            Act::Make { kind, of, to } => {
                let made = self.make(*kind, *of)?;
                self.keep(*to, made)
            }
            Act::Filter { prog } => {
                let (socket, _other) = net::socketpair(
                    net::AddressFamily::UNIX,
                    net::SocketType::DGRAM,
                    net::SocketFlags::CLOEXEC,
                    None,
                )?;
                sys::attach_filter(&socket, self.slot(*prog)?)?;
                said_nothing()
            }
            Act::Disable { disabled } => match set_disabled(*disabled) {
                Ok(()) => said_nothing(),
                Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
            },
        }
    }

    /// Mounts that go away with the process.
    fn isolate(&mut self) -> Result<(), Errno> {
        if !self.has_own_mounts {
            sys::unshare(UnshareFlags::NEWNS)?;
            self.has_own_mounts = true;
        }
        Ok(())
    }

    fn make(&self, kind: Kind, of: u32) -> Result<OwnedFd, Errno> {
        let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &str, flags| rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::RWXU);
        match kind {
            Kind::Directory => {
                let root = self.slot(of)?;
                match rustix::fs::mkdirat(root, "directory", Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => (),
                    Err(errno) => return Err(errno),
                }
                rustix::fs::openat(root, "directory", directory, Mode::empty())
            }
            Kind::Path => {
                let path = format!("/proc/self/fd/{}", self.slot(of)?.as_raw_fd());
                open(&path, OFlags::PATH)
            }
            Kind::Tree => open("/tmp", directory),
            Kind::File => open("/tmp/file", OFlags::RDWR | OFlags::CREATE),
            Kind::Pipe => rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map(|(reader, _)| reader),
            Kind::Socket => net::socket_with(
                net::AddressFamily::UNIX,
                net::SocketType::STREAM,
                net::SocketFlags::CLOEXEC,
                None,
            ),
            Kind::Epoll => epoll::create(epoll::CreateFlags::CLOEXEC),
            Kind::Event => rustix::event::eventfd(0, EventfdFlags::CLOEXEC),
            Kind::UserNamespace => open("/proc/self/ns/user", OFlags::RDONLY),
        }
    }

    fn bpf(&mut self, to: u32, attributes: &Attributes) -> Outcome {
        let (made, mut outcome) = self.memory.bpf(attributes);
        if attributes.command == Command::ObjGetInfoByFd && !is_object(attributes.fd()) {
            outcome.info = self.memory.info();
        }
        if !outcome.is_ok() || !attributes.command.makes_descriptor() {
            return outcome;
        }
        // SAFETY: The kernel has just made this descriptor for us.
        let made = unsafe { OwnedFd::from_raw_fd(made) };
        if attributes.command == Command::TokenCreate {
            outcome.told = tell(&made).unwrap_or_else(|errno| format!("nothing: {errno}"));
        }
        self.put(to, made);
        outcome
    }

    fn fork(&mut self) {
        if let Some(kcov) = self.kcov {
            kcov.disable();
        }
        if let Some(child) = sys::fork().expect("fork") {
            rustix::process::waitpid(Some(child), WaitOptions::empty()).expect("waitpid");
            sys::exit(0);
        }
        if let Some(kcov) = self.kcov {
            kcov.enable();
        }
    }
}

fn said_nothing() -> Done {
    Ok(String::new())
}

/// Holds of the four capabilities what is asked for and permitted.
fn hold(caps: Caps) -> Result<(), Errno> {
    let mut sets = rustix::thread::capabilities(None)?;
    for (cap, set) in [
        (Caps::BPF, CapabilitySet::BPF),
        (Caps::PERFMON, CapabilitySet::PERFMON),
        (Caps::NET_ADMIN, CapabilitySet::NET_ADMIN),
        (Caps::SYS_ADMIN, CapabilitySet::SYS_ADMIN),
    ] {
        let is_held = caps.contains(cap) && sets.permitted.contains(set);
        sets.effective.set(set, is_held);
    }
    rustix::thread::set_capabilities(None, sets)
}

/// Whether a descriptor is of an object whose info has ids and addresses.
fn is_object(fd: u32) -> bool {
    let link = fs::read_link(format!("/proc/self/fd/{fd}"));
    link.is_ok_and(|link| link.to_string_lossy().starts_with("anon_inode:"))
}

/// What a context's log says.
fn messages(context: &OwnedFd) -> Vec<Bytes> {
    let mut messages = Vec::new();
    let mut message = [0; 4096];
    // What is no context is not read for long, and ends in an error as the log does.
    while let Ok(length @ 1..) = rustix::io::read(context, &mut message) {
        messages.push(Bytes(message[..length].to_vec()));
        if messages.len() == 16 {
            break;
        }
    }
    messages
}

/// The line of mountinfo of a path, from the type of the file system on: what comes before has numbers.
fn line(path: &str) -> Done {
    let table = fs::read_to_string("/proc/self/mountinfo");
    let table = table.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let is_ours = |line: &&str| line.split(' ').nth(4) == Some(path);
    let line = table.lines().rfind(is_ours).ok_or(Errno::NOENT)?;
    let (_, shown) = line.split_once(" - ").ok_or(Errno::IO)?;
    Ok(shown.to_owned())
}

/// What is to be seen of a token, but for its mount and inode; of anything else, that it is none.
fn tell(fd: &OwnedFd) -> Done {
    let fdinfo = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()));
    let fdinfo = fdinfo.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let mut info = [0; 32];
    if !fdinfo.contains("allowed_cmds") {
        let told = bpf::info_by_fd(fd, &mut info);
        // Of an object of another kind, ids and addresses.
        return told.map(|_| "no token".to_owned());
    }
    let is_by_chance = |line: &&str| line.starts_with("mnt_id:") || line.starts_with("ino:");
    let lines: Vec<_> = fdinfo.lines().filter(|line| !is_by_chance(line)).collect();
    let length = bpf::info_by_fd(fd, &mut info)?;
    let masks = info.chunks(8).map(|mask| {
        let mask = mask.try_into().expect("eight bytes");
        format!("{:#x}", u64::from_le_bytes(mask))
    });
    let stat = rustix::fs::fstat(fd)?;
    let close_on_exec = rustix::io::fcntl_getfd(fd)?.contains(rustix::io::FdFlags::CLOEXEC);
    Ok(format!(
        "{} mode={:o} links={} cloexec={close_on_exec} length={length} {}",
        masks.collect::<Vec<_>>().join(","),
        stat.st_mode,
        stat.st_nlink,
        lines.join(" ").replace('\t', " ")
    ))
}

fn show(root: &OwnedFd) -> Done {
    const STATX_MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    let stat = rustix::fs::statx(root, "", AtFlags::EMPTY_PATH, STATX_MNT_ID_UNIQUE)?;
    sys::mount_options(stat.stx_mnt_id)
}

/// Makes the calling process one that starts actors, each time it is told the index of one and given its link.
pub fn supervise(link: &Link, kcovs: &Kcovs) {
    let mut memory = Memory::map().expect("memory");
    let mut started = Vec::new();
    while let Some(message) = link.receive() {
        let end = Link::from(link.recv_fd());
        let kcov = kcovs.get(usize::from(message[0]));
        start(end, &mut memory, kcov, &mut started);
    }
}

/// Starts an actor. Those that were `started` and have ended are waited for first.
pub fn start(link: Link, memory: &mut Memory, kcov: Option<&Kcov>, started: &mut Vec<Pid>) {
    started.retain(|pid| {
        let ended = rustix::process::waitpid(Some(*pid), WaitOptions::NOHANG);
        ended.expect("waitpid of a child").is_none()
    });
    let Some(pid) = sys::fork().expect("fork") else {
        // Not where those that are started once tell it: at their ends.
        std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
        Actor::new(link, memory, kcov).serve();
        sys::exit(0);
    };
    started.push(pid);
}
