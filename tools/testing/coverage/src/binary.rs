// SPDX-License-Identifier: GPL-2.0

//! A kernel with its debug information.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::HashSet;

use addr2line::gimli;
use addr2line::gimli::EndianSlice;
use addr2line::gimli::LittleEndian;
use addr2line::Context;
use object::Object;
use object::ObjectSection;
use object::ObjectSymbol;
use object::SymbolKind;

use crate::names;

/// A place in the source: a frame of the calls, inlined or not, that an instruction belongs to.
pub struct Frame {
    /// The path of the function.
    pub function: String,
    /// The file, as the compiler was told it.
    pub file: String,
    /// The line, 0 if the compiler made the instruction for none.
    pub line: u32,
}

/// A function: its address, its end and its machine code.
pub struct Function<'a> {
    /// Its first address.
    pub start: u64,
    /// The address behind it.
    pub end: u64,
    /// Its machine code.
    pub code: &'a [u8],
}

/// An ELF file of machine code for x86-64.
pub struct Binary<'a> {
    file: object::File<'a>,
    context: Context<EndianSlice<'a, LittleEndian>>,
    panics: HashSet<u64>,
}

fn section<'a>(file: &object::File<'a>, name: &str) -> Result<&'a [u8], String> {
    match file.section_by_name(name) {
        Some(section) => section.data().map_err(|error| format!("{name}: {error}")),
        None => Ok(&[]),
    }
}

/// The code of `.text` in the ELF file `bytes`.
pub fn text(bytes: &[u8]) -> Result<&[u8], String> {
    let file = object::File::parse(bytes).map_err(|error| error.to_string())?;
    match section(&file, ".text")? {
        [] => Err("it has no .text".into()),
        text => Ok(text),
    }
}

impl<'a> Binary<'a> {
    /// Reads the ELF file `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let file = object::File::parse(bytes).map_err(|error| error.to_string())?;
        let load = |id: gimli::SectionId| {
            section(&file, id.name()).map(|data| EndianSlice::new(data, LittleEndian))
        };
        let dwarf = gimli::Dwarf::load(load)?;
        let context = Context::from_dwarf(dwarf).map_err(|error| error.to_string())?;
        let panics = file
            .symbols()
            .filter(|symbol| {
                let name = symbol.name().unwrap_or_default();
                names::panics(&addr2line::demangle_auto(name.into(), None))
            })
            .map(|symbol| symbol.address())
            .collect();
        Ok(Self {
            file,
            context,
            panics,
        })
    }

    /// Returns the functions that have an instruction for a line that `wanted` accepts.
    pub fn functions(
        &self,
        wanted: impl Fn(&str, u32) -> bool,
    ) -> Result<Vec<Function<'a>>, String> {
        // Of several names of one function, any does.
        let mut sizes = BTreeMap::new();
        for symbol in self.file.symbols() {
            if symbol.kind() == SymbolKind::Text && symbol.size() > 0 {
                sizes.insert(symbol.address(), symbol.size());
            }
        }
        let mut found = BTreeMap::new();
        let rows = self
            .context
            .find_location_range(0, u64::MAX)
            .map_err(|error| error.to_string())?;
        for (address, _, location) in rows {
            let (Some(file), Some(line)) = (location.file, location.line) else {
                continue;
            };
            let Some((&start, &size)) = sizes.range(..=address).next_back() else {
                continue;
            };
            if address < start + size && wanted(file, line) {
                found.insert(start, size);
            }
        }
        found
            .into_iter()
            .map(|(start, size)| {
                let code = self
                    .file
                    .sections()
                    .find_map(|section| section.data_range(start, size).ok().flatten())
                    .ok_or_else(|| format!("no section has a function at {start:#x}"))?;
                Ok(Function {
                    start,
                    end: start + size,
                    code,
                })
            })
            .collect()
    }

    /// Whether the function at `address` is one that a Rust program panics by.
    pub fn panics(&self, address: u64) -> bool {
        self.panics.contains(&address)
    }

    /// Returns the frames of an instruction, the innermost first.
    pub fn frames(&self, address: u64) -> Result<Vec<Frame>, String> {
        let told = |error: gimli::Error| format!("the debug information of {address:#x}: {error}");
        let mut frames = Vec::new();
        let mut found = self
            .context
            .find_frames(address)
            .skip_all_loads()
            .map_err(told)?;
        while let Some(frame) = found.next().map_err(told)? {
            let function = match &frame.function {
                Some(name) => name
                    .demangle()
                    .map_or_else(|_| String::new(), Cow::into_owned),
                None => String::new(),
            };
            let location = frame.location.as_ref();
            frames.push(Frame {
                function,
                file: location
                    .and_then(|location| location.file)
                    .unwrap_or_default()
                    .into(),
                line: location.and_then(|location| location.line).unwrap_or(0),
            });
        }
        Ok(frames)
    }
}
