// SPDX-License-Identifier: GPL-2.0

//! What a step came to, as text: `ok` and what was told, or an errno; or that the process is gone.

use std::io;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ok(String),
    Errno(i32),
    Gone,
}

impl Outcome {
    pub fn ok(told: &str) -> Self {
        Self::Ok(told.to_owned())
    }

    pub fn errno(errno: i32) -> Self {
        Self::Errno(errno)
    }

    pub fn text(&self) -> String {
        match self {
            Self::Ok(told) if told.is_empty() => "ok".to_owned(),
            Self::Ok(told) => format!("ok {told}"),
            Self::Errno(errno) => format!("errno {errno}"),
            Self::Gone => "gone".to_owned(),
        }
    }

    pub fn parse(line: &str) -> Self {
        match line.split_once(' ') {
            None if line == "ok" => Self::ok(""),
            Some(("ok", told)) => Self::ok(told),
            Some(("errno", errno)) => errno.parse().map_or(Self::Gone, Self::Errno),
            _ => Self::Gone,
        }
    }

    /// For people.
    pub fn explained(&self) -> String {
        match self {
            Self::Errno(errno) => io::Error::from_raw_os_error(*errno).to_string(),
            _ => self.text(),
        }
    }
}
