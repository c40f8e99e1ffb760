// SPDX-License-Identifier: GPL-2.0

//! Attributes of a command as text: fields by their names in `union bpf_attr`, then what is beyond them.

use std::fmt;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use guest::attr;
use guest::attr::Field;
use guest::attr::Kind;
use guest::sys::Command;

use crate::sequence::arena;
use crate::sequence::step::FIRST;
use crate::sequence::step::SLOTS;

/// The commands of sequences.
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

#[derive(Clone, Debug, PartialEq)]
pub struct Attributes {
    pub command: Command,
    /// Those that are not 0.
    pub fields: Vec<(Field, u64)>,
    /// Bytes behind the fields that are known, by their offsets
    pub beyond: Vec<(u32, u8)>,
    /// What the kernel is told, if that is not the end of the last field or byte.
    pub size: Option<u32>,
    /// Whether there are common attributes, with a log.
    pub common: bool,
}

impl Attributes {
    pub fn new(command: Command) -> Self {
        Self {
            command,
            fields: Vec::new(),
            beyond: Vec::new(),
            size: None,
            common: false,
        }
    }

    pub fn get(&self, field: Field) -> u64 {
        let set = self.fields.iter().find(|(set, _)| set.at == field.at);
        set.map_or(0, |(_, value)| *value)
    }

    pub fn set(&mut self, field: Field, value: u64) {
        self.fields.retain(|(set, _)| set.at != field.at);
        if value != 0 {
            self.fields.push((field, value));
            self.fields.sort_by_key(|(field, _)| field.at);
        }
    }

    /// The slots that are among its descriptors.
    pub fn slots(&self) -> Vec<u32> {
        let descriptors = self.fields.iter();
        let descriptors = descriptors.filter(|(field, _)| field.kind == Kind::Descriptor);
        descriptors.filter_map(|(_, fd)| slot(*fd)).collect()
    }

    pub fn size(&self) -> u32 {
        self.size.unwrap_or_else(|| self.bytes().len() as u32)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.command.end()];
        for (field, value) in &self.fields {
            let size = field.size.min(8);
            bytes[field.at..][..size].copy_from_slice(&value.to_le_bytes()[..size]);
        }
        for (at, byte) in &self.beyond {
            let at = *at as usize;
            bytes.resize(bytes.len().max(at + 1), 0);
            bytes[at] = *byte;
        }
        bytes
    }

    /// Takes back what would come out by chance: addresses that are not of the arena, and descriptors that are this
    /// program's own.
    pub fn repair(&mut self) {
        for (field, value) in &mut self.fields {
            match field.kind {
                Kind::Address => *value = arena::allowed(*value, field.name),
                Kind::Descriptor if (3..u64::from(FIRST)).contains(value) => {
                    *value = u64::from(FIRST) + *value % u64::from(SLOTS);
                }
                _ => (),
            }
        }
    }

    pub fn parse<'a>(command: &str, words: impl Iterator<Item = &'a str>) -> Result<Self> {
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
        if word == "common" {
            self.common = true;
            return Ok(());
        }
        let (name, value) = word.split_once('=').context("there is no =")?;
        if name == "size" {
            self.size = Some(number(value)? as u32);
        } else if let Some(at) = name.strip_prefix('@') {
            let at = at.parse()?;
            ensure!((at as usize) < 2 * attr::PAGE, "this is too far");
            self.beyond.push((at, number(value)? as u8));
        } else {
            let mut fields = self.command.fields().iter();
            let field = fields.find(|field| field.name == name);
            let field = field.context("there is no such field")?;
            let value = arena::address(value).map_or_else(|| number(value), Ok)?;
            let most = u64::MAX >> (64 - 8 * field.size.min(8));
            ensure!(value <= most, "this is more than the field holds");
            self.set(*field, value);
        }
        Ok(())
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
        for (field, value) in &self.fields {
            write!(f, " {}=", field.name)?;
            match (field.kind, slot(*value), arena::name(*value)) {
                (Kind::Descriptor, Some(slot), _) => write!(f, "slot{slot}")?,
                (Kind::Address, _, Some(name)) => f.write_str(&name)?,
                _ if *value < 4097 => write!(f, "{value}")?,
                _ => write!(f, "{value:#x}")?,
            }
        }
        for (at, byte) in &self.beyond {
            write!(f, " @{at}={byte}")?;
        }
        if let Some(size) = self.size {
            write!(f, " size={size}")?;
        }
        f.write_str(if self.common { " common" } else { "" })
    }
}
