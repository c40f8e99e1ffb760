// SPDX-License-Identifier: GPL-2.0

//! Arguments of steps, as words of a line. The last one is what remains of the line.

use anyhow::anyhow;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bitflags::Flags;
use clap::ValueEnum;

use crate::attributes::Attributes;
use crate::bytes::Bytes;
use crate::step::Actor;
use crate::step::Caps;
use crate::step::Kind;
use crate::step::OpenFlags;
use crate::step::SLOTS;

/// What a step is about.
pub trait Argument: Sized {
    fn read(word: &str) -> Result<Self>;
    fn text(&self) -> String;
}

macro_rules! arguments {
    ($($type:ty: $read:expr, $text:expr;)*) => {
        $(impl Argument for $type {
            fn read(word: &str) -> Result<Self> {
                $read(word)
            }

            fn text(&self) -> String {
                $text(self)
            }
        })*
    };
}

arguments! {
    u32: number, u32::to_string;
    bool: yes_or_no, |is_so: &bool| u8::from(*is_so).to_string();
    Bytes: |word| Ok(Bytes::parse(word)), Bytes::to_string;
    Attributes: Attributes::parse, Attributes::to_string;
    Actor: one_of, name;
    Kind: one_of, name;
    Caps: flags, names;
    OpenFlags: flags, names;
}

/// The number of a slot or of a place.
fn number(word: &str) -> Result<u32> {
    let number = word.parse();
    let number: u32 = number.with_context(|| format!("{word:?} is no number"))?;
    ensure!(number < SLOTS, "{number} is not below {SLOTS}");
    Ok(number)
}

fn yes_or_no(word: &str) -> Result<bool> {
    ensure!(["0", "1"].contains(&word), "{word:?} is neither 0 nor 1");
    Ok(word == "1")
}

/// One of a few, by its name.
pub fn one_of<T: ValueEnum>(word: &str) -> Result<T> {
    T::from_str(word, false).map_err(|_| {
        let names = T::value_variants().iter().map(name);
        let names = names.collect::<Vec<_>>().join(", ");
        anyhow!("{word:?} is none of {names}")
    })
}

pub fn name<T: ValueEnum>(of: &T) -> String {
    let value = of.to_possible_value();
    value.expect("clap hides none").get_name().to_owned()
}

/// Flags by their names, with commas.
fn flags<T: Flags>(word: &str) -> Result<T> {
    let nothing = nothing::<T>();
    let names = word.split(',').filter(|name| *name != nothing);
    let mut flags = T::empty();
    for name in names {
        let flag = T::from_name(&name.to_ascii_uppercase());
        flags.insert(flag.with_context(|| format!("there is no flag {name:?}"))?);
    }
    Ok(flags)
}

fn names<T: Flags>(flags: &T) -> String {
    let names: Vec<_> = flags.iter_names().map(|(name, _)| name).collect();
    match names.as_slice() {
        [] => nothing::<T>(),
        _ => names.join(",").to_ascii_lowercase(),
    }
}

/// What no flag at all is called.
fn nothing<T: Flags>() -> String {
    let mut known = T::FLAGS.iter();
    let empty = known.find(|flag| flag.value().is_empty());
    let name = empty.map_or("none", |flag| flag.name());
    name.to_ascii_lowercase()
}

/// As many words of a line as are wanted.
pub fn words<const N: usize>(line: &str) -> Result<[&str; N]> {
    let words = line.splitn(N.max(1), ' ').filter(|word| !word.is_empty());
    let words: Vec<_> = words.collect();
    let count = words.len();
    let exact = words.try_into();
    exact.map_err(|_| anyhow!("there are {count} words where there must be {N}"))
}
