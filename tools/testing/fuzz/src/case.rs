// SPDX-License-Identifier: GPL-2.0

//! What is done in a guest, and what is seen of it: one case and one sight to a line of a file.

use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::io::BufWriter;
use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use anyhow::Result;
use serde::de::DeserializeOwned;
use serde::Deserialize;
use serde::Serialize;

use crate::bytes;
use crate::bytes::Bytes;
use crate::names::Names;

/// The first line of a file of cases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    pub seed: u64,
    pub names: Names,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Case {
    /// Options set one by one on a context of `fsopen(2)`, then mounted in a container.
    Context(Vec<Setting>),
    /// Options in the data of `mount(2)`, in the initial user namespace.
    Mount(Bytes),
    /// The same, and then options in the data of a remount.
    Remount(Bytes, Bytes),
    Call(Call),
    /// A descriptor opened again, by way of /proc/self/fd.
    Reopen(Reopen),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    pub by: Setter,
    pub key: Bytes,
    pub value: Value,
}

/// Who calls `fsconfig(2)`. In each case the container comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Setter {
    /// Root of the container, which has CAP_SYS_ADMIN only there.
    Container,
    /// Root of the initial user namespace.
    Manager,
    /// The same without CAP_SYS_ADMIN.
    Unprivileged,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    Text(Bytes),
    Flag,
    Blob(Bytes),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(i32)]
pub enum Command {
    MapCreate = 0,
    ProgLoad = 5,
    ObjGetInfoByFd = 15,
    BtfLoad = 18,
    BtfGetFdById = 19,
    TokenCreate = 36,
}

/// Where and with what privileges a process calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// In the initial user namespace, and not in the container.
    pub outside: bool,
    /// With `kernel.unprivileged_bpf_disabled`.
    pub disabled: bool,
    /// Which of CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and CAP_SYS_ADMIN it has, bit by bit.
    pub caps: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    pub command: Command,
    pub caller: Caller,
    /// The attributes; zeros follow.
    #[serde(with = "bytes::hex")]
    pub attr: Vec<u8>,
    pub size: u32,
    pub common: Option<Common>,
    /// What the buffer of an info holds before.
    pub fill: u8,
}

/// The common attributes of a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Common {
    #[serde(with = "bytes::hex")]
    pub attr: Vec<u8>,
    pub size: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reopen {
    pub caller: Caller,
    pub fd: u32,
    pub flags: u32,
}

impl Call {
    /// A word of the attributes.
    pub fn word(&self, offset: usize) -> u32 {
        Attr::of(&self.attr, self.size).u32(offset)
    }
}

/// Attributes as the kernel has them: as many bytes as were given, then zeros.
pub struct Attr<'a>(&'a [u8]);

impl<'a> Attr<'a> {
    pub fn of(bytes: &'a [u8], size: u32) -> Self {
        Self(&bytes[..bytes.len().min(size as usize)])
    }

    pub fn u32(&self, offset: usize) -> u32 {
        self.number(offset, 4) as u32
    }

    pub fn u64(&self, offset: usize) -> u64 {
        self.number(offset, 8)
    }

    fn number(&self, offset: usize, size: usize) -> u64 {
        let bytes = (offset..offset + size).rev().map(|at| self.0.get(at));
        bytes.fold(0, |number, byte| {
            (number << 8) | u64::from(byte.copied().unwrap_or(0))
        })
    }

    pub fn is_zero_from(&self, offset: usize) -> bool {
        self.0.iter().skip(offset).all(|byte| *byte == 0)
    }
}

/// An errno, or 0.
pub type Errno = i32;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Line {
    Saw(usize, Saw),
    /// Comes last, and says what the kernel has come to: /proc/sys/kernel/tainted before and after.
    End(u64, u64),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Saw {
    Context(ContextSaw),
    Mount(MountSaw),
    Call(CallSaw),
    Reopen(Errno),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContextSaw {
    pub settings: Vec<SettingSaw>,
    pub create: Errno,
    /// If there was one.
    pub mount: Option<Mounted>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SettingSaw {
    pub errno: Errno,
    pub messages: Vec<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mounted {
    /// From the file system type on.
    pub mountinfo: Bytes,
    pub statmount: Bytes,
    pub token: Result<Token, Errno>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Token {
    pub info: [u64; 4],
    /// All but the mount and the inode.
    pub fdinfo: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MountSaw {
    pub errno: Errno,
    /// The kernel log's.
    pub messages: Vec<Bytes>,
    pub mountinfo: Option<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallSaw {
    pub errno: Errno,
    /// What is in the log, if anything was written there.
    pub log: Option<Bytes>,
    /// Whether bytes behind it were written.
    pub overrun: bool,
    /// The attributes after the command, in words of 32 bits, of which only those that have changed are told.
    pub written: Vec<(u32, u32)>,
    pub common_written: Vec<(u32, u32)>,
    /// The buffer of a token's info.
    #[serde(with = "bytes::hex")]
    pub info: Vec<u8>,
    pub token: Option<NewToken>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewToken {
    pub token: Token,
    pub mode: u32,
    pub links: u32,
    pub close_on_exec: bool,
}

/// A file of cases.
pub struct Cases {
    pub header: Header,
    pub cases: Vec<Case>,
}

impl Cases {
    pub fn read(path: &Path) -> Result<Self> {
        let mut lines = lines(path)?;
        let header = lines
            .next()
            .with_context(|| format!("{} is empty", path.display()))??;
        let header = parse(&header).with_context(|| path.display().to_string())?;
        let cases = lines
            .map(|line| parse(&line?))
            .collect::<Result<_>>()
            .with_context(|| path.display().to_string())?;
        Ok(Self { header, cases })
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let mut file = Writer(BufWriter::new(create(path)?));
        file.line(&self.header)?;
        for case in &self.cases {
            file.line(case)?;
        }
        file.0.flush().with_context(|| path.display().to_string())
    }
}

/// What a guest saw, in the order of its cases as far as it got, and how it ended, if it did.
pub struct Sights {
    pub sights: Vec<(usize, Saw)>,
    pub end: Option<(u64, u64)>,
}

pub fn read_sights(path: &Path) -> Result<Sights> {
    let mut sights = Vec::new();
    let mut end = None;
    for line in lines(path)? {
        let line = line?;
        match parse(&line) {
            Ok(Line::Saw(index, saw)) => sights.push((index, saw)),
            Ok(Line::End(before, after)) => end = Some((before, after)),
            // The last line of a guest that did not end may be cut.
            Err(error) if end.is_some() => return Err(error),
            Err(_) => break,
        }
    }
    sights.sort_by_key(|(index, _)| *index);
    Ok(Sights { sights, end })
}

fn lines(path: &Path) -> Result<impl Iterator<Item = Result<String>> + use<'_>> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let lines = BufReader::new(file).lines();
    Ok(lines.map(|line| line.with_context(|| path.display().to_string())))
}

fn parse<T: DeserializeOwned>(line: &str) -> Result<T> {
    serde_json::from_str(line).with_context(|| format!("not understood: {line}"))
}

pub fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| path.display().to_string())
}

/// Writes lines.
pub struct Writer<W: Write>(pub W);

impl<W: Write> Writer<W> {
    pub fn line(&mut self, line: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut self.0, line)?;
        Ok(self.0.write_all(b"\n")?)
    }
}
