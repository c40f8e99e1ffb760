// SPDX-License-Identifier: GPL-2.0

//! Processes of a test: the part of it that runs in one of its own, and a link between two of them.

use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;

use rustix::io::Errno;
use rustix::net;
use rustix::pipe::PipeFlags;
use rustix::process::Gid;
use rustix::process::Pid;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::Uid;
use rustix::process::WaitOptions;
use rustix::thread::CapabilitySet;
use rustix::thread::CapabilitySets;

use crate::sys;

/// A child process that runs a part of a test.
pub struct Child {
    pid: Pid,
    panic_message: File,
}

impl Child {
    /// Runs `part` in a child. A panic there is told by [`Child::join`].
    pub fn spawn(part: impl FnOnce()) -> Self {
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).expect("pipe");
        if let Some(pid) = sys::fork().expect("fork") {
            return Self {
                pid,
                panic_message: reader.into(),
            };
        }

        drop(reader);
        let writer = File::from(writer);
        std::panic::set_hook(Box::new(move |panic| {
            // Without the parent there is nobody to tell.
            let _ = (&writer).write_all(panic.to_string().as_bytes());
        }));
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(part));
        sys::exit(i32::from(outcome.is_err()));
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for the end of the child, and tells what went wrong there, if anything.
    pub fn wait(mut self) -> Result<(), String> {
        let mut message = String::new();
        self.panic_message
            .read_to_string(&mut message)
            .expect("pipe from the child");
        let (_, status) = rustix::process::waitpid(Some(self.pid), WaitOptions::empty())
            .expect("waitpid")
            .expect("a child that has ended");
        match (status.exit_status(), status.terminating_signal()) {
            (Some(0), _) => Ok(()),
            (_, Some(signal)) => Err(format!("the child was killed by signal {signal} {message}")),
            _ => Err(format!("the child {message}")),
        }
    }

    /// Waits for the end of the child, and panics if it did.
    pub fn join(self) {
        if let Err(message) = self.wait() {
            panic!("{message}");
        }
    }
}

/// Runs `part` in a child, so that what it does to itself ends with it.
pub fn run(part: impl FnOnce()) {
    Child::spawn(part).join();
}

/// Runs `there` in a child with one end of a link, and `here` with the id of the child and the other end.
///
/// Both ends are closed when their side is done, so neither side waits for one that has failed.
pub fn run_beside<T>(there: impl FnOnce(Link), here: impl FnOnce(Pid, Link) -> T) -> T {
    let mut ends = Some(Link::pair());
    let child = Child::spawn(|| {
        let (_, link) = ends.take().expect("the child's copy");
        there(link);
    });

    let (link, _) = ends.take().expect("the parent's copy");
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| here(child.pid(), link)));
    // What went wrong there is the cause of a link hung up here, so it is told first.
    child.join();
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// No message is longer.
const LONGEST: usize = 32768;

/// One end of a connection between two processes, that carries descriptors and turns.
pub struct Link(OwnedFd);

impl Link {
    pub fn pair() -> (Self, Self) {
        let (one, other) = net::socketpair(
            net::AddressFamily::UNIX,
            net::SocketType::SEQPACKET,
            net::SocketFlags::CLOEXEC,
            None,
        )
        .expect("socketpair");
        (Self(one), Self(other))
    }

    /// Lets the other side go on past its [`Link::wait`].
    pub fn signal(&self) {
        net::send(&self.0, &[0], net::SendFlags::NOSIGNAL).expect("the other process listens");
    }

    pub fn wait(&self) {
        let (received, _) = net::recv(&self.0, &mut [0; 1], net::RecvFlags::empty()).expect("recv");
        assert_eq!(received, 1, "the other process hung up");
    }

    /// Waits until the other side signals or is done, and tells whether it signalled.
    pub fn wait_or_end(&self) -> bool {
        let (received, _) = net::recv(&self.0, &mut [0; 1], net::RecvFlags::empty()).expect("recv");
        received == 1
    }

    /// Waits until the other side is done.
    pub fn wait_for_end(&self) {
        let (received, _) = net::recv(&self.0, &mut [0; 1], net::RecvFlags::empty()).expect("recv");
        assert_eq!(received, 0, "nothing more is sent");
    }

    /// Sends a message of a few bytes.
    pub fn send(&self, message: &[u8]) {
        net::send(&self.0, message, net::SendFlags::NOSIGNAL).expect("the other process listens");
    }

    /// Waits for a message, or until the other side is done.
    pub fn receive(&self) -> Option<Vec<u8>> {
        let mut message = vec![0; LONGEST];
        let (received, _) =
            net::recv(&self.0, &mut message[..], net::RecvFlags::empty()).expect("recv");
        message.truncate(received);
        (received > 0).then_some(message)
    }

    /// The same to a process that may have been killed.
    pub fn try_send(&self, message: &[u8]) -> Result<(), Errno> {
        net::send(&self.0, message, net::SendFlags::NOSIGNAL).map(drop)
    }

    /// Waits for a message of a process that may have been killed.
    pub fn try_receive(&self) -> Option<Vec<u8>> {
        let mut message = vec![0; LONGEST];
        let (received, _) =
            net::recv(&self.0, &mut message[..], net::RecvFlags::empty()).unwrap_or_default();
        message.truncate(received);
        (received > 0).then_some(message)
    }

    /// Has the other side see an end, and waits for its own.
    pub fn finish(self) {
        // Of a process that is gone, there is no more to wait for.
        let _ = net::shutdown(&self.0, net::Shutdown::Write);
        while self.try_receive().is_some() {}
    }

    /// Passes a descriptor with `SCM_RIGHTS`.
    pub fn send_fd(&self, fd: impl AsFd) {
        let fds = [fd.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = net::SendAncillaryBuffer::new(&mut space);
        assert!(control.push(net::SendAncillaryMessage::ScmRights(&fds)));
        let data = [std::io::IoSlice::new(&[0])];
        net::sendmsg(&self.0, &data, &mut control, net::SendFlags::NOSIGNAL)
            .expect("the other process listens");
    }

    pub fn recv_fd(&self) -> OwnedFd {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = net::RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut data = [std::io::IoSliceMut::new(&mut byte)];
        net::recvmsg(
            &self.0,
            &mut data,
            &mut control,
            net::RecvFlags::CMSG_CLOEXEC,
        )
        .expect("recvmsg");
        control
            .drain()
            .find_map(|message| match message {
                net::RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
                _ => None,
            })
            .expect("the other process hung up before it passed a descriptor")
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Link {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

/// Makes the calling process, which must be root, one of an ordinary user, without capabilities.
pub fn become_user(id: u32) {
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    rustix::thread::set_thread_groups(&[]).expect("setgroups");
    rustix::thread::set_thread_res_gid(gid, gid, gid).expect("setresgid");
    rustix::thread::set_thread_res_uid(uid, uid, uid).expect("setresuid");
}

/// Takes `dropped` out of the effective capabilities of the calling process.
pub fn drop_capabilities(dropped: CapabilitySet) {
    let mut sets = rustix::thread::capabilities(None).expect("capget");
    sets.effective.remove(dropped);
    rustix::thread::set_capabilities(None, sets).expect("capset");
}

/// Runs `part` with no effective capabilities but `held`, of those that the calling process is permitted.
pub fn with_capabilities<T>(held: CapabilitySet, part: impl FnOnce() -> T) -> T {
    /// Gives back what the thread had, even where a test fails: what else it cleans up needs that.
    struct Before(CapabilitySets);
    impl Drop for Before {
        fn drop(&mut self) {
            rustix::thread::set_capabilities(None, self.0).expect("capset");
        }
    }
    let before = Before(rustix::thread::capabilities(None).expect("capget"));
    let mut sets = before.0;
    sets.effective &= held;
    rustix::thread::set_capabilities(None, sets).expect("capset");
    part()
}

/// Leaves no descriptor to the calling process but those it has.
pub fn exhaust_descriptors() {
    let limit = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Nofile, limit).expect("setrlimit");
    assert_eq!(
        rustix::io::dup(std::io::stdin()).err(),
        Some(Errno::MFILE),
        "no descriptor is left"
    );
}
