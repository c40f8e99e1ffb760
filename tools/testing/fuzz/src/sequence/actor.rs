// SPDX-License-Identifier: GPL-2.0

//! A process of a sequence: does the steps that it is told, and says what each came to.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;

use guest::bpf;
use guest::process::Link;
use guest::sys;
use rustix::fs::AtFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::StatxFlags;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount;
use rustix::net;
use rustix::process::Pid;
use rustix::process::WaitOptions;
use rustix::thread::CapabilitySet;
use rustix::thread::UnshareFlags;

use crate::layout::memory;
use crate::memory::Memory;
use crate::sequence::attributes::Attributes;
use crate::sequence::kcov::Kcov;
use crate::sequence::kcov::Kcovs;
use crate::sequence::outcome::Outcome;
use crate::sequence::step::Act;
use crate::sequence::step::Caps;
use crate::sequence::step::Step;
use crate::sequence::step::FIRST;
use crate::sequence::step::PLACES;
use crate::sequence::step::SLOTS;

/// Says that a descriptor follows, and for which slot.
pub const TAKE: &str = "take";

const DISABLED: &str = "/proc/sys/kernel/unprivileged_bpf_disabled";

/// What `kernel.unprivileged_bpf_disabled` is to be.
pub fn set_disabled(disabled: bool) -> std::io::Result<()> {
    fs::write(DISABLED, if disabled { "2" } else { "0" })
}

/// Makes a place for each mount that may be attached.
pub fn make_places() {
    for place in 0..PLACES {
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
            let done = self.act(&step.act);
            let outcome = match &done {
                Ok(told) => Outcome::ok(told),
                Err(errno) => Outcome::errno(errno.raw_os_error()),
            };
            self.link.send(outcome.text().as_bytes());
            if let (Act::Pass { slot, .. }, Ok(_)) = (&step.act, &done) {
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
                mount::fsconfig_set_string(self.slot(*context)?, key.as_str(), value.as_str())?;
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
            Act::Bpf { to, attributes } => self.bpf(*to, attributes),
            Act::Pass { slot, .. } => self.slot(*slot).and_then(|_| said_nothing()),
            Act::Close { slot } => {
                self.slot(*slot)?;
                self.slots[*slot as usize] = None;
                said_nothing()
            }
            Act::Caps(caps) => {
                hold(*caps)?;
                said_nothing()
            }
            Act::Fork => {
                self.fork();
                said_nothing()
            }
            Act::Tell { slot } => tell(self.slot(*slot)?),
            Act::Show { root } => show(self.slot(*root)?),
            Act::Reopen { slot } => {
                let path = format!("/proc/self/fd/{}", self.slot(*slot)?.as_raw_fd());
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                rustix::fs::open(path, flags, Mode::empty()).map(drop)?;
                said_nothing()
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
            Act::Disabled(disabled) => match set_disabled(*disabled) {
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

    fn bpf(&mut self, to: u32, attributes: &Attributes) -> Done {
        let bytes = attributes.bytes();
        // A log at level 1, of all the room there is.
        let log = [memory::LOG as u32, 0, memory::LOG_SIZE as u32, 1, 0, 0];
        let log: Vec<u8> = log.iter().flat_map(|word| word.to_le_bytes()).collect();
        let common = attributes
            .common
            .then_some((log.as_slice(), log.len() as u32));
        let made = self
            .memory
            .bpf(attributes.command as i32, &bytes, attributes.size(), common)
            .map_err(Errno::from_raw_os_error)?;
        if !attributes.command.makes_descriptor() {
            return said_nothing();
        }
        // SAFETY: The kernel has just made this descriptor for us.
        let made = unsafe { OwnedFd::from_raw_fd(made) };
        let told = tell(&made);
        self.put(to, made);
        match attributes.command {
            sys::Command::TokenCreate => told,
            _ => said_nothing(),
        }
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
    const FOUR: [CapabilitySet; 4] = [
        CapabilitySet::BPF,
        CapabilitySet::PERFMON,
        CapabilitySet::NET_ADMIN,
        CapabilitySet::SYS_ADMIN,
    ];
    let mut sets = rustix::thread::capabilities(None)?;
    for (bit, cap) in FOUR.into_iter().enumerate() {
        let is_held = caps.0 & (1 << bit) != 0 && sets.permitted.contains(cap);
        sets.effective.set(cap, is_held);
    }
    rustix::thread::set_capabilities(None, sets)
}

/// What is to be seen of a token; of anything else, that it is none.
fn tell(fd: &OwnedFd) -> Done {
    let fdinfo = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()));
    let fdinfo = fdinfo.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let is_ours = |line: &&str| line.starts_with("allowed_");
    let lines: Vec<_> = fdinfo.lines().filter(is_ours).collect();
    let mut info = [0; 32];
    if lines.is_empty() {
        let told = bpf::info_by_fd(fd, &mut info);
        // Of an object of another kind, ids and addresses.
        return told.map(|_| "no token".to_owned());
    }
    let length = bpf::info_by_fd(fd, &mut info)?;
    let masks: Vec<_> = info
        .chunks(8)
        .map(|mask| {
            format!(
                "{:#x}",
                u64::from_le_bytes(mask.try_into().expect("eight bytes"))
            )
        })
        .collect();
    let stat = rustix::fs::fstat(fd)?;
    let lines = lines.join(" ").replace('\t', "");
    Ok(format!(
        "{} mode={:o} length={length} {lines}",
        masks.join(","),
        stat.st_mode
    ))
}

fn show(root: &OwnedFd) -> Done {
    const STATX_MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    let stat = rustix::fs::statx(root, "", AtFlags::EMPTY_PATH, STATX_MNT_ID_UNIQUE)?;
    let options = sys::mount_options(stat.stx_mnt_id)?;
    let delegated: Vec<_> = options
        .split(',')
        .filter(|option| option.starts_with("delegate_"))
        .collect();
    Ok(delegated.join(","))
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
