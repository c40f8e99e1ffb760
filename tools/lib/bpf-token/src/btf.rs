// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's own BTF, as far as it is needed here: enums, and ids by name.
//! `Documentation/bpf/btf.rst`.

use std::ops::Range;

/// Kinds of types, `BTF_KIND_*`.
pub(crate) const ENUM: u32 = 6;
pub(crate) const TYPEDEF: u32 = 8;
pub(crate) const FUNC: u32 = 12;

/// BTF in memory, and where its sections are.
pub(crate) struct Btf {
    bytes: Vec<u8>,
    types: Range<usize>,
    strings: Range<usize>,
}

/// A type: its id and kind, where its name is among the strings, and what follows its header.
struct Type<'a> {
    id: u32,
    kind: u32,
    name: u32,
    rest: &'a [u8],
}

impl Btf {
    /// The BTF of the running kernel; none if it has no BTF, or none that can be read.
    pub(crate) fn of_kernel() -> Option<Self> {
        Self::parse(std::fs::read("/sys/kernel/btf/vmlinux").ok()?)
    }

    pub(crate) fn parse(bytes: Vec<u8>) -> Option<Self> {
        const MAGIC: usize = 0xeb9f;
        let number = |at| Some(word(&bytes, at)? as usize);
        if number(0)? & 0xffff != MAGIC {
            return None;
        }
        // Sections begin behind the header.
        let section = |at: usize| {
            let start = number(4)?.checked_add(number(at)?)?;
            let range = start..start.checked_add(number(at + 4)?)?;
            bytes.get(range.clone()).map(|_| range)
        };
        let (types, strings) = (section(8)?, section(16)?);
        Some(Self {
            bytes,
            types,
            strings,
        })
    }

    /// The types, until one that is cut off or of a kind that is not known.
    fn types(&self) -> impl Iterator<Item = Type<'_>> {
        let mut rest = &self.bytes[self.types.clone()];
        (1..).map_while(move |id| {
            let info = word(rest, 4)?;
            let (kind, count) = ((info >> 24) & 0x1f, (info & 0xffff) as usize);
            let length = match kind {
                1 | 14 | 17 => 4,
                2 | 7..=12 | 16 | 18 => 0,
                3 => 12,
                4 | 5 | 15 | 19 => 12 * count,
                6 | 13 => 8 * count,
                _ => return None,
            };
            let name = word(rest, 0)?;
            let (own, next) = rest.get(12..)?.split_at_checked(length)?;
            rest = next;
            Some(Type {
                id,
                kind,
                name,
                rest: own,
            })
        })
    }

    fn string(&self, at: u32) -> Option<&[u8]> {
        let strings = &self.bytes[self.strings.clone()];
        strings.get(at as usize..)?.split(|&b| b == 0).next()
    }

    /// The id of the type of this kind and name.
    pub(crate) fn id(&self, kind: u32, name: &str) -> Option<u32> {
        let mut types = self.types();
        let name = Some(name.as_bytes());
        let found = types.find(|ty| ty.kind == kind && self.string(ty.name) == name)?;
        Some(found.id)
    }

    /// The enumerators of each of these enums, as names and values.
    pub(crate) fn enums<const N: usize>(&self, names: [&str; N]) -> [Vec<(String, u32)>; N] {
        let mut found = names.map(|_| Vec::new());
        for ty in self.types().filter(|ty| ty.kind == ENUM) {
            let own = self.string(ty.name);
            let position = names.iter().position(|name| own == Some(name.as_bytes()));
            if let Some(at) = position {
                let enumerators = ty.rest.chunks_exact(8).filter_map(|one| {
                    let name = self.string(word(one, 0)?)?;
                    Some((String::from_utf8_lossy(name).into_owned(), word(one, 4)?))
                });
                found[at] = enumerators.collect();
                if found.iter().all(|enumerators| !enumerators.is_empty()) {
                    break;
                }
            }
        }
        found
    }
}

/// The 32-bit word at this offset, in the machine's byte order.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BTF with an int, an enum of two, and a function.
    fn small() -> Vec<u8> {
        let strings = b"\0int\0colour\0red\0blue\0run\0";
        let types: [u32; 14] = [
            1,
            1 << 24,
            4,
            0x0100_0020, // int
            5,
            (6 << 24) | 2,
            4,
            12,
            3,
            16,
            7, // enum colour { red = 3, blue = 7 }
            21,
            12 << 24,
            0, // run
        ];
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, 56, 56, strings.len() as u32] {
            bytes.extend(u32::to_ne_bytes(word));
        }
        bytes.extend(types.iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn enums_and_ids_are_found() {
        let btf = Btf::parse(small()).unwrap();
        let [colours, none] = btf.enums(["colour", "int"]);
        assert_eq!(colours, [("red".to_owned(), 3), ("blue".to_owned(), 7)]);
        assert!(none.is_empty());
        assert_eq!(btf.id(FUNC, "run"), Some(3));
        assert_eq!(btf.id(TYPEDEF, "run"), None);
    }

    #[test]
    fn what_is_cut_off_is_no_btf() {
        let whole = small();
        for length in 0..whole.len() {
            if let Some(btf) = Btf::parse(whole[..length].to_vec()) {
                let _ = btf.id(FUNC, "run");
            }
        }
        assert!(Btf::parse(b"no BTF".to_vec()).is_none());
    }
}
