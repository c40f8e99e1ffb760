// SPDX-License-Identifier: GPL-2.0

//! The list of the blocks that the tests need not run, each with the reason.

use std::collections::BTreeMap;
use std::fmt;

use crate::map::Place;

/// How much of a line is not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No block of it is run.
    All,
    /// Some blocks are, and others are not.
    Part,
    /// Which blocks are differs from run to run.
    Varies,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Part => "part",
            Self::Varies => "varies",
        })
    }
}

/// The list: lines `= REASON`, each followed by the lines of source that it holds for: `all FILE: FUNCTION: TEXT` if no block of
/// that line runs, `part FILE: FUNCTION: TEXT` if some do, `varies FILE: FUNCTION: TEXT` if that differs from run to run.
#[derive(Debug)]
pub struct List(BTreeMap<Place, (Missing, String)>);

fn entry(line: &str) -> Option<(Missing, Place)> {
    let (word, rest) = line.split_once(' ')?;
    let missing = match word {
        "all" => Missing::All,
        "part" => Missing::Part,
        "varies" => Missing::Varies,
        _ => return None,
    };
    let (file, rest) = rest.split_once(": ")?;
    let (function, text) = rest.split_once(": ")?;
    Some((
        missing,
        Place {
            file: file.into(),
            function: function.into(),
            text: text.into(),
        },
    ))
}

impl List {
    /// Reads the list.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut entries = BTreeMap::new();
        let mut reason = String::new();
        for (number, line) in text.lines().enumerate() {
            let told = |what: &str| format!("line {}: {what}: {line}", number + 1);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(why) = line.strip_prefix("= ") {
                reason = why.into();
                continue;
            }
            let (missing, place) = entry(line).ok_or_else(|| {
                told("it should be \"= REASON\", or all, part or varies, and FILE: FUNCTION: TEXT")
            })?;
            if reason.is_empty() {
                return Err(told("no reason stands before it"));
            }
            if entries.insert(place, (missing, reason.clone())).is_some() {
                return Err(told("it stands there twice"));
            }
        }
        Ok(Self(entries))
    }

    /// What is said of a line.
    pub fn get(&self, place: &Place) -> Option<&(Missing, String)> {
        self.0.get(place)
    }

    /// The lines of the list.
    pub fn entries(&self) -> impl Iterator<Item = (&Place, Missing)> {
        self.0.iter().map(|(place, (missing, _))| (place, *missing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_reasons() {
        let list = List::parse("# x\n= no memory\nall a.rs: f: let x = y?;\n").expect("a list");
        let place = Place {
            file: "a.rs".into(),
            function: "f".into(),
            text: "let x = y?;".into(),
        };
        assert_eq!(list.get(&place), Some(&(Missing::All, "no memory".into())));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, what) in [
            ("all a.rs: f: x\n", "line 1: no reason"),
            ("= why\nsome a.rs: f: x\n", "line 2: it should be"),
            ("= why\nall a.rs\n", "line 2: it should be"),
            (
                "= why\nall a.rs: f: x\npart a.rs: f: x\n",
                "line 3: it stands there twice",
            ),
        ] {
            let error = List::parse(text).expect_err(text);
            assert!(error.contains(what), "{error}");
        }
    }
}
