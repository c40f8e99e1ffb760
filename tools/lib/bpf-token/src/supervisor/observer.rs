// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who is told of every call, before it is made.

use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use rustix::net::SendFlags;

use crate::error::Error;
use crate::error::Result;
use crate::handshake;
use crate::handshake::Deadline;
use crate::info::TokenInfo;

/// A thread's number, and four masks.
const SIZE: usize = 8 + 4 * 8;

/// The supervisor's end of the socket.
#[derive(Debug)]
pub(crate) struct Observer(OwnedFd);

impl Observer {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Tells of a call and waits until the observer lets it be made. Returns whether he is there.
    pub(super) fn tell(&mut self, tid: i32, needs: TokenInfo) -> bool {
        let mut message = [0; SIZE];
        message[..4].copy_from_slice(&tid.to_ne_bytes());
        let bits = needs.masks().map(|mask| mask.bits);
        for (to, bits) in message[8..].chunks_exact_mut(8).zip(bits) {
            to.copy_from_slice(&bits.to_ne_bytes());
        }
        let send = || rustix::net::send(&self.0, &message, SendFlags::NOSIGNAL);
        let mut answer = [0];
        let mut receive = || handshake::receive(self.0.as_fd(), &mut answer, Deadline::NEVER);
        handshake::retry(send)
            .and_then(|_| receive())
            .is_ok_and(|it| it.bytes > 0)
    }
}

impl AsRawFd for Observer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A call of bpf(2) that is about to be made under [`Exec::observer`](crate::Exec::observer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Observed {
    /// The thread that makes it, by its number in the supervisor's process namespace.
    pub tid: i32,
    /// What a token must grant for it: a command, and the types.
    pub needs: TokenInfo,
}

impl Observed {
    /// Waits for a call. None once the supervisor has ended.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn receive(socket: impl AsFd) -> Result<Option<Self>> {
        fn receive(socket: BorrowedFd<'_>) -> Result<Option<Observed>> {
            let mut message = [0; SIZE];
            let received = handshake::receive(socket, &mut message, Deadline::NEVER)
                .map_err(|errno| Error::sys("hear of a call", errno))?;
            match received.bytes {
                0 => Ok(None),
                SIZE => {
                    let number = |at: usize| {
                        let mut bytes = [0; 8];
                        bytes.copy_from_slice(&message[at..at + 8]);
                        u64::from_ne_bytes(bytes)
                    };
                    Ok(Some(Observed {
                        tid: number(0) as u32 as i32,
                        needs: TokenInfo::from_bits([
                            number(8),
                            number(16),
                            number(24),
                            number(32),
                        ]),
                    }))
                }
                other => Err(Error::Handshake(format!("a call in {other} bytes"))),
            }
        }
        receive(socket.as_fd())
    }

    /// Lets it be made.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn proceed(self, socket: impl AsFd) -> Result<()> {
        crate::launch::tell(socket, 1)
    }
}
