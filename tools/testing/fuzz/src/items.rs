// SPDX-License-Identifier: GPL-2.0

//! Values of the delegation options, made by chance of names, numbers and what is like them.

use fastrand::Rng;

use crate::names::Names;
use crate::names::KINDS;

pub struct Items<'a> {
    pub names: &'a Names,
    pub rng: Rng,
}

impl Items<'_> {
    pub fn value(&mut self, kind: usize, all_allowed: bool) -> Vec<u8> {
        match self.rng.u8(..100) {
            0 => Vec::new(),
            1 => {
                let length = self.rng.usize(200..320);
                self.long_value(kind, length)
            }
            2 => (0..self.rng.usize(1..40))
                .map(|_| self.rng.u8(..))
                .collect(),
            3..13 => {
                let value = self.items(kind, all_allowed);
                self.mutate(value)
            }
            13..40 => self.items(kind, all_allowed),
            _ => self.good_value(kind, all_allowed),
        }
    }

    /// Items that are all accepted.
    pub fn good_value(&mut self, kind: usize, all_allowed: bool) -> Vec<u8> {
        let count = self.count();
        let items: Vec<_> = (0..count)
            .map(|_| match self.rng.u8(..20) {
                0 if all_allowed => b"any".to_vec(),
                0..13 => self.name(kind),
                _ => self.good_number(),
            })
            .collect();
        items.join(&b':')
    }

    fn count(&mut self) -> usize {
        match self.rng.u8(..10) {
            0..4 => 1,
            4..7 => 2,
            7..9 => 3,
            _ => self.rng.usize(4..12),
        }
    }

    fn items(&mut self, kind: usize, all_allowed: bool) -> Vec<u8> {
        let count = self.count();
        let items: Vec<_> = (0..count).map(|_| self.item(kind, all_allowed)).collect();
        let separator = match self.rng.u8(..60) {
            0 => b"::".as_slice(),
            1 => b",",
            2 => b" ",
            3 => b": ",
            4 => b";",
            _ => b":",
        };
        items.join(separator)
    }

    /// Items up to about a length.
    pub fn long_value(&mut self, kind: usize, length: usize) -> Vec<u8> {
        let mut value = self.name(kind);
        while value.len() < length {
            value.push(b':');
            value.extend(self.name(kind));
        }
        if self.one_in(2) {
            value.truncate(length);
        }
        value
    }

    fn item(&mut self, kind: usize, all_allowed: bool) -> Vec<u8> {
        match self.rng.u8(..100) {
            0..40 => self.name(kind),
            40..45 if all_allowed => b"any".to_vec(),
            45..48 => self
                .pick(&["ANY", "Any", "anyx", "all", "any ", "none"])
                .into(),
            48..75 => self.good_number(),
            75..82 => self.number(),
            82..85 => {
                let name = self.name(kind);
                self.mutate(name)
            }
            85..88 => {
                let other = self.rng.usize(..KINDS.len());
                self.name(other)
            }
            88..90 => {
                let name = self.name(kind);
                [KINDS[kind].prefix.as_bytes(), &name].concat()
            }
            90..94 => self
                .pick(&["common_attrs", "COMMON_ATTRS", "Common_Attrs"])
                .into(),
            94..96 => self
                .pick(&["__max_bpf_cmd", "__MAX_BPF_MAP_TYPE", "max_entries"])
                .into(),
            96 => Vec::new(),
            _ => self.name(kind),
        }
    }

    /// A name, as it is shown or in other cases.
    fn name(&mut self, kind: usize) -> Vec<u8> {
        let index = self.rng.usize(..self.names[kind].names.len());
        let (name, value) = &self.names[kind].names[index];
        // What is no enumerator is an item of its own.
        let mut name = if (0..64).contains(value) {
            name.clone().into_bytes()
        } else {
            b"any".to_vec()
        };
        match self.rng.u8(..6) {
            0 if name != b"any" => name.make_ascii_uppercase(),
            1 if name != b"any" => {
                for byte in &mut name {
                    if self.rng.bool() {
                        byte.make_ascii_uppercase();
                    }
                }
            }
            _ => (),
        }
        name
    }

    fn mask(&mut self) -> u64 {
        match self.rng.u8(..10) {
            0 => 0,
            1..6 => 1 << self.rng.u32(..64),
            6 => self.rng.u64(..),
            7 => self.rng.u64(..) & self.rng.u64(..) & self.rng.u64(..),
            8 => u64::MAX >> self.rng.u32(..64),
            _ => self.rng.u64(..100),
        }
    }

    /// A number in a form that `kstrtou64()` takes.
    fn good_number(&mut self) -> Vec<u8> {
        let mask = self.mask();
        let mut number = match self.rng.u8(..9) {
            0 => format!("{mask}"),
            1 => format!("0{mask:o}"),
            2 => format!("0X{mask:X}"),
            3 => format!("0x{mask:030x}"),
            4 => format!("+{mask:#x}"),
            _ => format!("{mask:#x}"),
        };
        if self.one_in(20) {
            number.push('\n');
        }
        number.into()
    }

    /// A number in another form, or too large.
    fn number(&mut self) -> Vec<u8> {
        let mask = self.mask();
        match self.rng.u8(..16) {
            0 => format!("-{mask}"),
            1 => format!("++{mask}"),
            2 => format!(" {mask}"),
            3 => format!("{mask} "),
            4 => "0x".to_owned(),
            5 => format!("0b{mask:b}"),
            6 => format!("0o{mask:o}"),
            7 => format!("{mask}_000"),
            8 => format!("{mask:x}"),
            9 => format!("0{mask}"),
            10 => format!("{mask}\n\n"),
            11 => format!("{}", u128::from(mask) + u128::from(u64::MAX)),
            12 => format!("0x1{mask:016x}"),
            13 => format!("02{mask:021o}"),
            14 => format!("{mask}e3"),
            _ => format!("9999999999999999999999{mask} x"),
        }
        .into()
    }

    /// Changes a byte or a few.
    fn mutate(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        for _ in 0..self.rng.usize(1..4) {
            let at = self.rng.usize(..=bytes.len());
            let byte = match self.rng.u8(..6) {
                0 => self.rng.u8(..),
                1 => self.rng.u8(1..32),
                2 => self.rng.u8(0x80..),
                _ => self.pick_byte(b":,=+- _0x79afzZ.'\\\n\t"),
            };
            match self.rng.u8(..3) {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => bytes[at] = byte,
                _ if at < bytes.len() => drop(bytes.remove(at)),
                _ => (),
            }
        }
        bytes
    }

    pub fn one_in(&mut self, count: u32) -> bool {
        self.rng.u32(..count) == 0
    }

    pub fn pick<'b>(&mut self, texts: &[&'b str]) -> &'b str {
        texts[self.rng.usize(..texts.len())]
    }

    fn pick_byte(&mut self, bytes: &[u8]) -> u8 {
        bytes[self.rng.usize(..bytes.len())]
    }
}
