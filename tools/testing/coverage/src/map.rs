// SPDX-License-Identifier: GPL-2.0

//! The blocks of a kernel that come from our lines.

use std::collections::HashMap;
use std::fmt;
use std::fmt::Write;
use std::fs;

use crate::binary;
use crate::binary::Binary;
use crate::binary::Frame;
use crate::blocks;
use crate::names;
use crate::ours;
use crate::ours::Ours;

/// Where a block comes from. Lines move with each edit above them, so a place has the line's text and not its number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, as this repository has it, or upstream if it is patched.
    pub file: String,
    /// The function.
    pub function: String,
    /// The line.
    pub text: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.file, self.function, self.text)
    }
}

/// A block of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Where its first instruction of ours comes from.
    pub place: Place,
    /// The number of that line.
    pub line: u32,
    /// The functions that its first instruction of ours is inlined into, with the lines, the outermost last.
    pub inside: String,
    /// The addresses of its instructions.
    pub instructions: Vec<u64>,
}

/// The blocks, and where they are.
#[derive(Debug, PartialEq, Eq)]
pub struct Map {
    /// The addresses of the functions, as QEMU's `-dfilter` takes them.
    pub filter: String,
    /// The blocks by address.
    pub blocks: Vec<Block>,
}

/// What is so near is one range: QEMU looks through all ranges for each block that it translates.
const NEAR: u64 = 4096;

fn filter(functions: &[binary::Function<'_>]) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for function in functions {
        match ranges.last_mut() {
            Some((_, end)) if function.start <= *end + NEAR => *end = function.end,
            _ => ranges.push((function.start, function.end)),
        }
    }
    let ranges: Vec<String> = ranges
        .iter()
        .map(|(start, end)| format!("{start:#x}..{:#x}", end - 1))
        .collect();
    ranges.join(",")
}

/// The lines of the tree's files.
struct Sources<'a> {
    tree: &'a str,
    files: HashMap<String, Vec<String>>,
}

impl Sources<'_> {
    fn line(&mut self, file: &str, line: u32) -> Result<String, String> {
        if !self.files.contains_key(file) {
            let path = format!("{}/{file}", self.tree);
            let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
            let lines = text.lines().map(|line| line.trim().into()).collect();
            self.files.insert(file.into(), lines);
        }
        let number = (line as usize).wrapping_sub(1);
        self.files[file].get(number).cloned().ok_or_else(|| {
            format!("{file} has no line {line}, of which the kernel has instructions")
        })
    }
}

/// Where the repository has a file of the tree.
fn in_repository(file: &str) -> String {
    match file.strip_prefix("kernel/bpf/token/") {
        Some(name) => format!("rust/bpf_token/{name}"),
        None => file.into(),
    }
}

/// Splits off the innermost frame of ours, with those that it is inlined into. What a line of a patch calls, and has inlined,
/// is upstream's.
fn of_ours<'a>(frames: &'a [Frame], ours: &Ours) -> Option<(&'a Frame, &'a [Frame])> {
    let at = frames.iter().enumerate().position(|(depth, frame)| {
        let file = ours::in_tree(&frame.file);
        ours.has(&file, frame.line) && (depth == 0 || ours.has_file(&file))
    })?;
    Some((&frames[at], &frames[at + 1..]))
}

fn inside(frames: &[Frame]) -> String {
    let frames: Vec<String> = frames
        .iter()
        .map(|frame| format!("{}:{}", names::short(&frame.function), frame.line))
        .collect();
    frames.join(" < ")
}

impl Map {
    /// Finds the blocks in the kernel `vmlinux`, which `image` was made from, whose sources are below `tree`. `list` has the
    /// lines that are ours.
    pub fn of(vmlinux: &str, image: &str, tree: &str, list: &str) -> Result<Self, String> {
        let read = |path: &str| fs::read(path).map_err(|error| format!("{path}: {error}"));
        let (kernel, booted) = (read(vmlinux)?, read(image)?);
        let told = |path: &str| {
            let path = path.to_string();
            move |error: String| format!("{path}: {error}")
        };
        if binary::text(&kernel).map_err(told(vmlinux))?
            != binary::text(&booted).map_err(told(image))?
        {
            return Err(format!("{vmlinux} is not what {image} was made from"));
        }
        let ours = Ours::parse(list)?;
        let binary = Binary::parse(&kernel).map_err(told(vmlinux))?;
        let mut sources = Sources {
            tree,
            files: HashMap::new(),
        };
        let functions = binary.functions(|file, line| ours.has(&ours::in_tree(file), line))?;
        let mut found = Vec::new();
        for function in &functions {
            blocks_of(&binary, function, &ours, &mut sources, &mut found)?;
        }
        if found.is_empty() {
            return Err(format!("{vmlinux} has no block of our lines"));
        }
        Ok(Self {
            filter: filter(&functions),
            blocks: found,
        })
    }

    /// The map as text: a line with the filter, and one for each block.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.filter);
        for block in &self.blocks {
            let Place {
                file,
                function,
                text: source,
            } = &block.place;
            let addresses: Vec<String> = block
                .instructions
                .iter()
                .map(|address| format!("{address:x}"))
                .collect();
            let (addresses, line, inside) = (addresses.join(","), block.line, &block.inside);
            let _ = writeln!(
                text,
                "{addresses}\t{inside}\t{file}\t{line}\t{function}\t{source}"
            );
        }
        text
    }

    /// Reads what [`Map::text`] wrote.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        let filter = lines.next().unwrap_or_default().into();
        let blocks =
            lines.map(|line| parse_block(line).ok_or_else(|| format!("no line of a map: {line}")));
        Ok(Self {
            filter,
            blocks: blocks.collect::<Result<_, _>>()?,
        })
    }
}

fn parse_block(line: &str) -> Option<Block> {
    let mut parts = line.splitn(6, '\t');
    let addresses = parts.next()?;
    let instructions = addresses
        .split(',')
        .map(|address| u64::from_str_radix(address, 16));
    let instructions = instructions.collect::<Result<_, _>>().ok()?;
    let inside = parts.next()?.into();
    let file = parts.next()?.into();
    let line = parts.next()?.parse().ok()?;
    let place = Place {
        file,
        function: parts.next()?.into(),
        text: parts.next()?.into(),
    };
    Some(Block {
        place,
        line,
        inside,
        instructions,
    })
}

fn blocks_of(
    binary: &Binary<'_>,
    function: &binary::Function<'_>,
    ours: &Ours,
    sources: &mut Sources<'_>,
    found: &mut Vec<Block>,
) -> Result<(), String> {
    // The line before: the compiler makes some blocks of our functions for no line at all.
    let mut last: Option<(Place, u32, String)> = None;
    for block in blocks::split(function.start, function.code) {
        let mut place = None;
        let mut of_our_function = false;
        for &address in &block.instructions {
            let frames = binary.frames(address)?;
            if frames.iter().any(|frame| names::is_test(&frame.function)) {
                return Ok(());
            }
            of_our_function |= frames
                .last()
                .is_some_and(|frame| ours.has_file(&ours::in_tree(&frame.file)));
            if let (None, Some((frame, outer))) = (&place, of_ours(&frames, ours)) {
                let file = ours::in_tree(&frame.file);
                let text = sources.line(&file, frame.line)?;
                let function = names::short(&frame.function);
                let found = Place {
                    file: in_repository(&file),
                    function,
                    text,
                };
                place = Some((found, frame.line, inside(outer)));
            }
        }
        if place.is_none() && of_our_function {
            place.clone_from(&last);
        }
        let Some((place, line, inside)) = place else {
            continue;
        };
        last = Some((place.clone(), line, inside.clone()));
        // A guest in which one of these ran has failed.
        if !block.calls.iter().any(|&address| binary.panics(address)) {
            found.push(Block {
                place,
                line,
                inside,
                instructions: block.instructions,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let place = Place {
            file: "a.rs".into(),
            function: "f".into(),
            text: "let x\t= y;".into(),
        };
        let map = Map {
            filter: "0x1..0x2".into(),
            blocks: vec![Block {
                place,
                line: 7,
                inside: "g:3".into(),
                instructions: vec![0xffff_ffff_8100_0000, 0xffff_ffff_8100_0004],
            }],
        };
        assert_eq!(Map::parse(&map.text()), Ok(map));
        assert!(Map::parse("filter\nx\t\ta.rs\t1\tf\tline\n").is_err());
    }

    #[test]
    fn near_functions_are_one_range() {
        let function = |start, end| binary::Function {
            start,
            end,
            code: &[],
        };
        let functions = [
            function(0x1000, 0x1100),
            function(0x1200, 0x1300),
            function(0x9000, 0x9100),
        ];
        assert_eq!(filter(&functions), "0x1000..0x12ff,0x9000..0x90ff");
    }
}
