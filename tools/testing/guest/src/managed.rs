// SPDX-License-Identifier: GPL-2.0

//! A container whose manager does, step by step, what the container asks of it: makes instances of BPF FS, and changes
//! what they delegate.

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::mount;
use rustix::mount::FsPickFlags;

use crate::container;
use crate::container::Delegation;
use crate::container::Instance;
use crate::context::Context;
use crate::process::Link;

/// Mount options and their values.
type Options<'a> = &'a [(&'a str, &'a str)];

/// The manager, as its container sees it.
pub struct Manager(Link);

/// Runs `inside` in a container with an instance that delegates and a manager that serves it.
pub fn run(delegation: &Delegation<'_>, inside: impl FnOnce(Instance, &Manager)) {
    run_with(delegation, inside, |_| {
        panic!("nothing was to be done with it")
    });
}

/// The same, where the manager does `act` with a descriptor each time it is asked to by [`Manager::act`].
pub fn run_with(
    delegation: &Delegation<'_>,
    inside: impl FnOnce(Instance, &Manager),
    act: impl Fn(OwnedFd) -> Result<(), Errno>,
) {
    let inside = |instance: Instance, link: Link| inside(instance, &Manager(link));
    container::run_with(delegation, inside, |link| serve(&link, &act));
}

impl Manager {
    /// Has the manager reconfigure an instance by a context of its own, with all of these options.
    pub fn remount(&self, instance: &Instance, options: Options<'_>) -> Result<(), Errno> {
        self.ask("remount", &instance.mount, options)
    }

    /// Has the manager set options on a context.
    pub fn set(&self, context: &Context, options: Options<'_>) -> Result<(), Errno> {
        self.ask("set", context, options)
    }

    /// Has the manager do `FSCONFIG_CMD_CREATE` to a context: the container itself may not.
    pub fn create(&self, context: &Context) {
        self.ask("create", context, &[])
            .expect("FSCONFIG_CMD_CREATE");
    }

    /// Has the manager do `FSCONFIG_CMD_RECONFIGURE` to a context.
    pub fn reconfigure(&self, context: &Context) -> Result<(), Errno> {
        self.ask("reconfigure", context, &[])
    }

    /// Has the manager do with a descriptor what the test has it for.
    pub fn act(&self, fd: impl AsFd) -> Result<(), Errno> {
        self.ask("act", fd, &[])
    }

    /// One more instance.
    pub fn instance(&self, options: Options<'_>) -> Instance {
        let context = Context::of_bpffs();
        self.set(&context, options).expect("accepted");
        self.create(&context);
        Instance::of_context(&context)
    }

    fn ask(&self, what: &str, fd: impl AsFd, options: Options<'_>) -> Result<(), Errno> {
        let options = options
            .iter()
            .map(|(key, value)| format!("\n{key}={value}"));
        let request: String = std::iter::once(what.to_owned()).chain(options).collect();
        self.0.send(request.as_bytes());
        self.0.send_fd(fd);
        let answer = self.0.receive().expect("the manager answers");
        let errno = i32::from_ne_bytes(answer.try_into().expect("an errno"));
        match errno {
            0 => Ok(()),
            errno => Err(Errno::from_raw_os_error(errno)),
        }
    }
}

/// A context to reconfigure the file system of a mount with.
pub fn pick(mount: &OwnedFd) -> Context {
    let flags = FsPickFlags::FSPICK_EMPTY_PATH | FsPickFlags::FSPICK_CLOEXEC;
    Context::from(mount::fspick(mount, "", flags).expect("fspick"))
}

/// Sets options on a context and reconfigures the file system; gives the first errno.
pub fn remount(context: &Context, options: Options<'_>) -> Result<(), Errno> {
    set_all(context, options)?;
    context.reconfigure()
}

fn set_all(context: &Context, options: Options<'_>) -> Result<(), Errno> {
    options
        .iter()
        .try_for_each(|(key, value)| context.set(key, *value))
}

/// The manager's part, until the container is done.
fn serve(link: &Link, act: &impl Fn(OwnedFd) -> Result<(), Errno>) {
    while let Some(request) = link.receive() {
        let request = String::from_utf8(request).expect("text");
        let result = answer(&request, link.recv_fd(), act);
        let errno = result.map_or_else(Errno::raw_os_error, |()| 0);
        link.send(&errno.to_ne_bytes());
    }
}

fn answer(
    request: &str,
    fd: OwnedFd,
    act: &impl Fn(OwnedFd) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let (what, options) = request.split_once('\n').unwrap_or((request, ""));
    let options: Vec<_> = options
        .lines()
        .map(|line| line.split_once('=').expect("a key and a value"))
        .collect();
    match what {
        "remount" => remount(&pick(&fd), &options),
        "set" => set_all(&Context::from(fd), &options),
        "create" => {
            Context::from(fd).create();
            Ok(())
        }
        "reconfigure" => Context::from(fd).reconfigure(),
        "act" => act(fd),
        other => panic!("asked to {other}"),
    }
}
