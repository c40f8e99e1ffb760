// SPDX-License-Identifier: GPL-2.0

//! A command of `bpf()` with its attributes, as bytes and as text: fields by their names in `union bpf_attr`, then what is
//! beyond them; after a `+`, the common attributes.

use std::fmt;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use guest::attr;
use guest::attr::common;
use guest::attr::Field;
use guest::attr::Kind;
use guest::sys::Command;

use crate::arena;
use crate::step::FIRST;
use crate::step::SLOTS;

/// The commands of steps.
pub const COMMANDS: [(Command, &str); 8] = [
    (Command::MapCreate, "map_create"),
    (Command::ProgLoad, "prog_load"),
    (Command::BtfLoad, "btf_load"),
    (Command::BtfGetFdById, "btf_get_fd_by_id"),
    (Command::TokenCreate, "token_create"),
    (Command::ObjGetInfoByFd, "obj_get_info_by_fd"),
    (Command::ProgAttach, "prog_attach"),
    (Command::LinkCreate, "link_create"),
];

/// Attributes, and the size that the kernel is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Attr {
    /// Zeros follow.
    pub bytes: Vec<u8>,
    pub size: u32,
}

impl Attr {
    pub fn new(length: usize) -> Self {
        Self {
            bytes: vec![0; length],
            size: length as u32,
        }
    }

    /// What the kernel has: as many bytes as it is told, then zeros.
    pub fn given(&self) -> &[u8] {
        &self.bytes[..self.bytes.len().min(self.size as usize)]
    }

    /// A field, as the kernel has it.
    pub fn get(&self, field: Field) -> u64 {
        number_at(self.given(), field)
    }

    pub fn u32(&self, field: Field) -> u32 {
        self.get(field) as u32
    }

    pub fn is_zero_from(&self, offset: usize) -> bool {
        self.given().iter().skip(offset).all(|byte| *byte == 0)
    }

    /// Sets a field, whether or not the kernel is told of it.
    pub fn set(&mut self, field: Field, value: u64) {
        let size = field.size.min(8);
        if self.bytes.len() < field.at + field.size {
            self.bytes.resize(field.at + field.size, 0);
        }
        self.bytes[field.at..][..size].copy_from_slice(&value.to_le_bytes()[..size]);
    }

    /// Leaves out zeros at the end, down to a length.
    pub fn trim(&mut self, shortest: usize) {
        let used = self.bytes.iter().rposition(|byte| *byte != 0);
        let used = used.map_or(0, |at| at + 1);
        self.bytes.resize(used.max(shortest), 0);
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, fields: &[Field], before: &str) -> fmt::Result {
        let mut rest = self.bytes.clone();
        for field in fields {
            let value = number_at(&self.bytes, *field);
            rest[field.at..][..field.size.min(8)].fill(0);
            if value == 0 {
                continue;
            }
            write!(f, " {before}{}=", field.name)?;
            match (field.kind, slot(value), arena::name(value)) {
                (Kind::Descriptor, Some(slot), _) => write!(f, "slot{slot}")?,
                (Kind::Address, _, Some(name)) => f.write_str(&name)?,
                _ if value < 4097 => write!(f, "{value}")?,
                _ => write!(f, "{value:#x}")?,
            }
        }
        for (at, byte) in rest.iter().enumerate().filter(|(_, byte)| **byte != 0) {
            write!(f, " {before}@{at}={byte}")?;
        }
        Ok(())
    }

    fn word(&mut self, fields: &[Field], word: &str) -> Result<()> {
        let (name, value) = word.split_once('=').context("there is no =")?;
        if name == "size" {
            self.size = number(value)? as u32;
        } else if let Some(at) = name.strip_prefix('@') {
            let at: usize = at.parse()?;
            ensure!(at < 2 * attr::PAGE, "this is too far");
            self.bytes.resize(self.bytes.len().max(at + 1), 0);
            self.bytes[at] = number(value)? as u8;
            self.size = self.size.max(at as u32 + 1);
        } else {
            let field = fields.iter().find(|field| field.name == name);
            let field = field.context("there is no such field")?;
            let value = arena::address(value).map_or_else(|| number(value), Ok)?;
            let most = u64::MAX >> (64 - 8 * field.size.min(8));
            ensure!(value <= most, "this is more than the field holds");
            self.set(*field, value);
        }
        Ok(())
    }
}

fn number_at(bytes: &[u8], field: Field) -> u64 {
    let places = (field.at..field.at + field.size.min(8)).rev();
    places.fold(0, |number, at| {
        (number << 8) | u64::from(bytes.get(at).copied().unwrap_or(0))
    })
}

#[derive(Clone, Debug, PartialEq)]
pub struct Attributes {
    pub command: Command,
    pub attr: Attr,
    pub common: Option<Attr>,
    /// What the buffer of an info holds before.
    pub fill: u8,
}

impl Attributes {
    pub fn new(command: Command) -> Self {
        Self {
            command,
            attr: Attr::new(command.end()),
            common: None,
            fill: 0,
        }
    }

    pub fn get(&self, field: Field) -> u64 {
        self.attr.get(field)
    }

    pub fn u32(&self, field: Field) -> u32 {
        self.attr.u32(field)
    }

    pub fn set(&mut self, field: Field, value: u64) {
        self.attr.set(field, value);
    }

    pub fn flags(&self) -> u32 {
        let field = self.command.flags_field();
        field.map_or(0, |field| self.u32(field))
    }

    /// The descriptor of its token, or of what it asks for or makes a token of.
    pub fn fd(&self) -> u32 {
        let field = self.command.token_field();
        field.map_or(0, |field| self.u32(field))
    }

    /// The slots that are among its descriptors.
    pub fn slots(&self) -> Vec<u32> {
        let fields = self.command.fields().iter();
        let descriptors = fields.filter(|field| field.kind == Kind::Descriptor);
        let descriptors = descriptors.map(|field| number_at(&self.attr.bytes, *field));
        descriptors.filter_map(slot).collect()
    }

    /// Whether nothing is odd about its size, or behind its fields.
    pub fn is_plain(&self) -> bool {
        self.attr.size as usize == self.command.end() && self.attr.is_zero_from(self.command.end())
    }

    /// Takes back what would come out by chance: addresses of this program that are not of the arena, and descriptors that
    /// are its own.
    pub fn repair(&mut self) {
        self.attr.trim(self.command.end());
        for field in self.command.fields() {
            let value = number_at(&self.attr.bytes, *field);
            match field.kind {
                Kind::Address => self.attr.set(*field, arena::allowed(value, field.name)),
                Kind::Descriptor if (3..u64::from(FIRST)).contains(&value) => {
                    let slot = value % u64::from(SLOTS);
                    self.attr.set(*field, u64::from(FIRST) + slot);
                }
                _ => (),
            }
        }
        if let Some(common) = &mut self.common {
            common.trim(attr::COMMON_SIZE);
            let log = common::log_buf;
            let address = number_at(&common.bytes, log);
            common.set(log, arena::allowed(address, log.name));
        }
    }

    pub fn parse(text: &str) -> Result<Self> {
        let mut words = text.split_ascii_whitespace();
        let command = words.next().unwrap_or_default();
        let known = COMMANDS.iter().find(|(_, name)| *name == command);
        let (command, _) = known.with_context(|| format!("{command:?} is no command"))?;
        let mut attributes = Self::new(*command);
        for word in words {
            attributes
                .word(word)
                .with_context(|| format!("{word:?} is no attribute of {command:?}"))?;
        }
        attributes.repair();
        Ok(attributes)
    }

    fn word(&mut self, word: &str) -> Result<()> {
        if let Some(word) = word.strip_prefix('+') {
            let common = self.common.get_or_insert(Attr::new(attr::COMMON_SIZE));
            return common.word(common::FIELDS, word);
        }
        if let Some(fill) = word.strip_prefix("fill=") {
            self.fill = number(fill)? as u8;
            return Ok(());
        }
        self.attr.word(self.command.fields(), word)
    }
}

/// The slot whose descriptor has this number.
pub fn slot(fd: u64) -> Option<u32> {
    let slot = u32::try_from(fd).ok()?.checked_sub(FIRST)?;
    (slot < SLOTS).then_some(slot)
}

fn number(text: &str) -> Result<u64> {
    if let Some(slot) = text.strip_prefix("slot") {
        return Ok(u64::from(FIRST) + slot.parse::<u64>()?);
    }
    Ok(match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16)?,
        None => text.parse()?,
    })
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut commands = COMMANDS.iter();
        let known = commands.find(|(command, _)| *command == self.command);
        let (_, name) = known.expect("all are known");
        f.write_str(name)?;
        self.attr.write(f, self.command.fields(), "")?;
        // Behind the bytes, which may say what it is.
        if self.attr.size as usize != self.attr.bytes.len() {
            write!(f, " size={}", self.attr.size)?;
        }
        if self.fill != 0 {
            write!(f, " fill={}", self.fill)?;
        }
        if let Some(common) = &self.common {
            common.write(f, common::FIELDS, "+")?;
            write!(f, " +size={}", common.size)?;
        }
        Ok(())
    }
}
