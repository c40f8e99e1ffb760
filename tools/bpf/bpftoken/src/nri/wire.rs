// SPDX-License-Identifier: GPL-2.0
//! The wire between a runtime and its plugin: messages of ttrpc, on two connections that share a socket.
//!
//! The runtime calls the plugin on one connection, the plugin calls the runtime on the other. What is
//! written to a connection comes in frames, whose bounds need not be those of messages.

use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

/// A connection that shares the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    Plugin = 1,
    Runtime = 2,
}

impl Connection {
    fn of(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Plugin),
            2 => Some(Self::Runtime),
            _ => None,
        }
    }
}

/// What a message is.
pub const REQUEST: u8 = 1;
pub const RESPONSE: u8 = 2;

#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    pub connection: Connection,
    pub stream: u32,
    pub kind: u8,
    pub data: Vec<u8>,
}

const FRAME_HEADER: usize = 8;
const MESSAGE_HEADER: usize = 10;

/// The most that a frame and a message hold, by their protocols.
const FRAME_SIZE: usize = 1 << 24;
const MESSAGE_SIZE: usize = 4 << 20;

/// The most that is put into a frame: the other side reads a frame at once, into a buffer of this size.
const OWN_FRAME_SIZE: usize = 4096;

/// The socket, and what has been read of messages that are not complete.
pub struct Wire<S> {
    socket: S,
    parts: [Vec<u8>; 2],
}

impl<S: Read + Write> Wire<S> {
    pub fn new(socket: S) -> Self {
        Self {
            socket,
            parts: [Vec::new(), Vec::new()],
        }
    }

    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// The next message; nothing if the other side has closed the socket.
    pub fn receive(&mut self) -> Result<Option<Message>> {
        loop {
            for connection in [Connection::Plugin, Connection::Runtime] {
                if let Some(message) = take(&mut self.parts[connection as usize - 1], connection)? {
                    return Ok(Some(message));
                }
            }
            if !self.read_frame()? {
                return Ok(None);
            }
        }
    }

    /// Reads a frame; one of an unknown connection is dropped. Returns whether there was one.
    fn read_frame(&mut self) -> Result<bool> {
        let mut header = [0; FRAME_HEADER];
        if let Err(error) = self.socket.read_exact(&mut header) {
            return match error.kind() {
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => Ok(false),
                ErrorKind::WouldBlock => Err(error).context("the runtime says nothing"),
                _ => Err(error).context("read from the runtime"),
            };
        }
        let number = number(&header);
        let size = self::number(&header[4..]) as usize;
        ensure!(size <= FRAME_SIZE, "a frame of {size} bytes is no frame");
        let mut data = vec![0; size];
        let read = self.socket.read_exact(&mut data);
        read.context("read from the runtime")?;
        if let Some(connection) = Connection::of(number) {
            self.parts[connection as usize - 1].append(&mut data);
        }
        Ok(true)
    }

    pub fn send(&mut self, message: &Message) -> Result<()> {
        let mut text = Vec::with_capacity(MESSAGE_HEADER + message.data.len());
        let size = u32::try_from(message.data.len()).context("a message too long")?;
        text.extend(size.to_be_bytes());
        text.extend(message.stream.to_be_bytes());
        text.extend([message.kind, 0]);
        text.extend(&message.data);
        for part in text.chunks(OWN_FRAME_SIZE) {
            let mut frame = Vec::with_capacity(FRAME_HEADER + part.len());
            frame.extend((message.connection as u32).to_be_bytes());
            frame.extend((part.len() as u32).to_be_bytes());
            frame.extend(part);
            let written = self.socket.write_all(&frame);
            written.context("write to the runtime")?;
        }
        Ok(())
    }
}

/// Takes a message, if it is complete.
fn take(part: &mut Vec<u8>, connection: Connection) -> Result<Option<Message>> {
    if part.len() < MESSAGE_HEADER {
        return Ok(None);
    }
    let size = number(part) as usize;
    ensure!(
        size <= MESSAGE_SIZE,
        "a message of {size} bytes is no message"
    );
    let end = MESSAGE_HEADER + size;
    if part.len() < end {
        return Ok(None);
    }
    let message = Message {
        connection,
        stream: number(&part[4..]),
        kind: part[8],
        data: part[MESSAGE_HEADER..end].to_vec(),
    };
    part.drain(..end);
    Ok(Some(message))
}

/// The number that these bytes begin with; there are four at least.
fn number(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .take(4)
        .fold(0, |number, byte| (number << 8) | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn message(connection: Connection, stream: u32, data: Vec<u8>) -> Message {
        Message {
            connection,
            stream,
            kind: REQUEST,
            data,
        }
    }

    /// All that comes of these bytes.
    fn read(bytes: Vec<u8>) -> Result<Vec<Message>> {
        let mut wire = Wire::new(Cursor::new(bytes));
        std::iter::from_fn(|| wire.receive().transpose()).collect()
    }

    fn written(messages: &[Message]) -> Vec<u8> {
        let mut wire = Wire::new(Cursor::new(Vec::new()));
        for message in messages {
            wire.send(message).unwrap();
        }
        wire.socket.into_inner()
    }

    fn frame(connection: u32, data: &[u8]) -> Vec<u8> {
        let size = (data.len() as u32).to_be_bytes();
        [&connection.to_be_bytes(), &size, data].concat()
    }

    #[test]
    fn what_is_written_is_read() {
        let messages = [
            message(Connection::Plugin, 1, b"abc".to_vec()),
            message(Connection::Runtime, 3, Vec::new()),
            message(Connection::Plugin, 5, vec![7; 3 * OWN_FRAME_SIZE]),
        ];
        assert_eq!(read(written(&messages)).unwrap(), messages);
    }

    #[test]
    fn frames_are_as_long_as_the_other_side_reads_at_once() {
        let bytes = written(&[message(Connection::Plugin, 1, vec![0; 5000])]);
        assert_eq!(number(&bytes[4..]), 4096);
        assert_eq!(bytes.len(), 5000 + MESSAGE_HEADER + 2 * FRAME_HEADER);
    }

    /// Bounds of frames are no bounds of messages, and connections do not mix.
    #[test]
    fn messages_come_in_parts() {
        let first = message(Connection::Plugin, 1, b"first".to_vec());
        let second = message(Connection::Runtime, 2, b"second".to_vec());
        let text = |message: &Message| {
            let bytes = written(std::slice::from_ref(message));
            bytes[FRAME_HEADER..].to_vec()
        };
        let (one, two) = (text(&first), text(&second));
        let mut bytes = Vec::new();
        for at in 0..one.len().max(two.len()) {
            for (number, text) in [(1, &one), (2, &two)] {
                bytes.extend(frame(number, text.get(at..=at).unwrap_or_default()));
            }
        }
        assert_eq!(read(bytes).unwrap(), [first, second]);
    }

    #[test]
    fn other_connections_are_passed_over() {
        let known = message(Connection::Plugin, 1, b"a".to_vec());
        let mut bytes = frame(3, b"what a later protocol has to say");
        bytes.extend(written(std::slice::from_ref(&known)));
        assert_eq!(read(bytes).unwrap(), [known]);
    }

    #[test]
    fn nothing_is_as_long_as_it_says() {
        let frame_of_4_gb = [&1u32.to_be_bytes()[..], &u32::MAX.to_be_bytes()].concat();
        assert!(read(frame_of_4_gb).is_err());
        let mut header = [0; MESSAGE_HEADER];
        header[..4].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(read(frame(1, &header)).is_err());
        let cut = frame(1, b"cut off")[..10].to_vec();
        assert!(read(cut).is_err());
        assert_eq!(read(Vec::new()).unwrap(), []);
    }
}
