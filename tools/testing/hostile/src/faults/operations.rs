// SPDX-License-Identifier: GPL-2.0

//! The operations that meet faults.

mod commands;
mod mounting;
mod tokens;

use std::ffi::CString;
use std::os::fd::OwnedFd;

use guest::container::Delegation;
use guest::container::Instance;
use guest::context::Context;
use guest::log;
use guest::log::Log;
use guest::process::Link;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::injector::Injector;
pub use commands::XDP;

/// An operation, of which a part meets a fault.
pub struct Operation {
    pub name: &'static str,
    /// The errno when it meets none.
    pub errno: Option<Errno>,
    pub makes: Makes,
    pub by: By,
}

/// What an operation needs of what there are limits on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Makes {
    Nothing,
    /// A descriptor of a file that is there.
    Descriptor,
    /// A file, and a descriptor of it.
    File,
}

/// Who does it, with what.
pub enum By {
    /// The container, with an instance of BPF FS.
    Container(Delegation<'static>, Part<Instance>),
    /// The container, with contexts from which the manager makes super blocks.
    Mounter(Part<Contexts>),
    /// The manager, with a context that the container has opened.
    Manager(Part<Context>),
}

/// What is done with that; it lets something meet the fault once.
type Part<T> = Box<dyn Fn(&T, &mut Injector)>;

impl By {
    fn container(
        delegation: Delegation<'static>,
        part: impl Fn(&Instance, &mut Injector) + 'static,
    ) -> Self {
        Self::Container(delegation, Box::new(part))
    }

    fn mounter(part: impl Fn(&Contexts, &mut Injector) + 'static) -> Self {
        Self::Mounter(Box::new(part))
    }

    fn manager(part: impl Fn(&Context, &mut Injector) + 'static) -> Self {
        Self::Manager(Box::new(part))
    }
}

/// Contexts of BPF FS from which the manager makes super blocks, as the container asks for them.
pub struct Contexts(Link);

impl Contexts {
    pub fn of(manager: Link) -> Self {
        Self(manager)
    }

    fn next(&self) -> Context {
        let context = Context::of_bpffs();
        self.0.signal();
        self.0.send_fd(&context);
        self.0.wait();
        context
    }

    /// The manager's part, until the container is done.
    pub fn serve(container: &Link) {
        while container.wait_or_end() {
            Context::from(container.recv_fd()).configure([("delegate_cmds", "any")]);
            container.signal();
        }
    }
}

impl Operation {
    fn new(name: &'static str, makes: Makes, by: By) -> Self {
        Self {
            name,
            errno: None,
            makes,
            by,
        }
    }

    /// The same operation, refused.
    fn refused(name: &'static str, errno: Errno, by: By) -> Self {
        Self {
            name,
            errno: Some(errno),
            makes: Makes::Nothing,
            by,
        }
    }
}

pub fn all() -> Vec<Operation> {
    let mut all = mounting::operations();
    all.extend(tokens::operations());
    all.extend(commands::operations());
    all
}

/// The line that C's map creation writes before there is a reason to be told.
const BEFORE_THE_REASON: &str = "Invalid map_token_fd.\n";

/// Makes a call with a log meet the fault. The log says why the call is refused; only a fault may silence it.
fn inject_logged<T>(
    injector: &mut Injector,
    reason: &str,
    call: impl Fn(&Log<'_>) -> Result<T, Errno>,
) {
    let mut buffer = log::Buffer::of(4096);
    let log = buffer.log(log::LEVEL);
    let _ = injector.inject(|| call(&log));
    let text = buffer.text().unwrap_or_default();
    if text.contains(reason) {
        return;
    }
    assert!(injector.met(), "no fault, and {text:?} in the log");
    assert!(
        ["", BEFORE_THE_REASON].contains(&&*text),
        "{text:?} in the log"
    );
}

/// The directory of the process in /proc.
fn own_proc() -> OwnedFd {
    let pid = rustix::process::getpid().as_raw_nonzero();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(format!("/proc/{pid}"), flags, Mode::empty()).expect("/proc")
}

/// Makes the reading of a whole file in a directory meet the fault, and gives its text if it was read.
fn inject_reading(injector: &mut Injector, directory: &OwnedFd, name: &str) -> Option<String> {
    let name = CString::new(name).expect("no zero in it");
    let mut buffer = [0; 16384];
    let result = injector.inject(|| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, &name, flags, Mode::empty())?;
        let mut end = 0;
        loop {
            match rustix::io::read(&file, &mut buffer[end..])? {
                0 => return Ok(end),
                len => end += len,
            }
        }
    });
    let len = result.ok()?;
    Some(String::from_utf8_lossy(&buffer[..len]).into_owned())
}
