// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a supervisor asks of the broker, and what that answers.

use rustix::io::Errno;

/// The longest name of a function, with the NUL, `KSYM_NAME_LEN`.
pub(crate) const NAME: usize = 512;
/// The longest message.
pub(crate) const LONGEST: usize = HEAD + NAME;
const HEAD: usize = 24;

/// What a program is to be attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Nothing yet: the supervisor asks what there is.
    Hello = 1,
    /// The function that is named.
    Kprobe = 2,
    /// The file whose descriptor comes with the message.
    Uprobe = 3,
    /// The tracepoint of this id, which is the offset.
    Tracepoint = 4,
}

/// A request. The descriptors that come with it are the file, then the thread.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) kind: Kind,
    /// Whether the program runs when the function returns.
    pub(crate) on_return: bool,
    /// Whether it is about one thread, whose pidfd comes with the message.
    pub(crate) has_thread: bool,
    pub(crate) cpu: i32,
    pub(crate) offset: u64,
    pub(crate) name: Vec<u8>,
}

impl Request {
    pub(crate) fn hello() -> Self {
        Self {
            kind: Kind::Hello,
            on_return: false,
            has_thread: false,
            cpu: 0,
            offset: 0,
            name: Vec::new(),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let flags = [
            self.kind as u8,
            self.on_return.into(),
            self.has_thread.into(),
            0,
        ];
        let mut bytes = flags.to_vec();
        bytes.extend(self.cpu.to_ne_bytes());
        bytes.extend(self.offset.to_ne_bytes());
        bytes.extend((self.name.len() as u64).to_ne_bytes());
        bytes.extend(&self.name);
        bytes
    }

    /// Reads what somebody sent; none if it is no request.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (head, name) = bytes.split_first_chunk::<HEAD>()?;
        let number = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&head[at..at + 8]);
            u64::from_ne_bytes(number)
        };
        let kind = match head[0] {
            1 => Kind::Hello,
            2 => Kind::Kprobe,
            3 => Kind::Uprobe,
            4 => Kind::Tracepoint,
            _ => return None,
        };
        let is = |at: usize| match head[at] {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        };
        let is_named = kind == Kind::Kprobe;
        let well_formed = head[3] == 0
            && number(16) == name.len() as u64
            && name.is_empty() != is_named
            && name.len() < NAME
            && !name.contains(&0);
        well_formed.then_some(Self {
            kind,
            on_return: is(1)?,
            has_thread: is(2)?,
            cpu: i32::from_ne_bytes([head[4], head[5], head[6], head[7]]),
            offset: number(8),
            name: name.to_vec(),
        })
    }
}

/// An answer. With a request that is granted, a descriptor comes: the event, or the files that tracefs
/// would have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) errno: Option<Errno>,
    /// How the kernel numbers kprobes and uprobes; 0 for none.
    pub(crate) kinds: [u32; 2],
    /// Why not.
    pub(crate) reason: String,
}

/// The longest answer.
pub(crate) const ANSWER: usize = 12 + REASON;
/// The longest reason; what is longer is cut.
const REASON: usize = 1024;

impl Answer {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let errno = self.errno.map_or(0, Errno::raw_os_error);
        let mut bytes = errno.to_ne_bytes().to_vec();
        self.kinds
            .iter()
            .for_each(|kind| bytes.extend(kind.to_ne_bytes()));
        bytes.extend(self.reason.bytes().take(REASON));
        bytes
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (head, reason) = bytes.split_first_chunk::<12>()?;
        let number =
            |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let errno = number(0) as i32;
        Some(Self {
            errno: (errno != 0).then(|| Errno::from_raw_os_error(errno)),
            kinds: [number(4), number(8)],
            reason: String::from_utf8_lossy(reason).into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        let good = Request {
            kind: Kind::Kprobe,
            on_return: true,
            has_thread: false,
            cpu: -1,
            offset: 7,
            name: b"vfs_read".to_vec(),
        };
        let bytes = good.bytes();
        assert_eq!(Request::read(&bytes), Some(good));
        assert_eq!(
            Request::read(&Request::hello().bytes()),
            Some(Request::hello())
        );
        for (at, value) in [
            (0, 0),
            (0, 5),
            (0, 3),
            (1, 2),
            (2, 2),
            (3, 1),
            (16, 9),
            (23, 1),
            (24, 0),
        ] {
            let mut bad = bytes.clone();
            bad[at] = value;
            assert_eq!(Request::read(&bad), None, "{at}");
        }
        assert_eq!(Request::read(&bytes[..23]), None);
        assert_eq!(Request::read(&bytes[..24]), None);
        assert_eq!(Request::read(&[]), None);
        let mut long = bytes;
        long.resize(HEAD + NAME, b'a');
        long[16..24].copy_from_slice(&(NAME as u64).to_ne_bytes());
        assert_eq!(Request::read(&long), None);
    }

    #[test]
    fn answers() {
        let answer = Answer {
            errno: Some(Errno::ACCESS),
            kinds: [8, 9],
            reason: "no".to_owned(),
        };
        assert_eq!(Answer::read(&answer.bytes()), Some(answer));
        assert_eq!(Answer::read(&[0; 11]), None);
    }
}
