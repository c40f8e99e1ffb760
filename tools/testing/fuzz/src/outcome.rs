// SPDX-License-Identifier: GPL-2.0

//! What a step came to, as a line of text: an errno, what was told of a mount or a token, what was logged, and what changed in
//! memory; or that the process is gone.

use std::io;

use anyhow::Context;
use anyhow::Result;
use serde::Deserialize;
use serde::Serialize;

use crate::bytes::Bytes;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outcome {
    /// The process was killed.
    #[serde(skip_serializing_if = "is_default")]
    pub gone: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub errno: i32,
    #[serde(skip_serializing_if = "is_default")]
    pub told: String,
    /// Of the context's log, or of the kernel's.
    #[serde(skip_serializing_if = "is_default")]
    pub messages: Vec<Bytes>,
    /// What is in the log of a command, if anything was written there.
    #[serde(skip_serializing_if = "is_default")]
    pub log: Option<Bytes>,
    /// Whether bytes behind it were written.
    #[serde(skip_serializing_if = "is_default")]
    pub overrun: bool,
    /// The attributes after the command, in words of 32 bits, of which only those that have changed are told.
    #[serde(skip_serializing_if = "is_default")]
    pub written: Vec<(u32, u32)>,
    #[serde(skip_serializing_if = "is_default")]
    pub common_written: Vec<(u32, u32)>,
    /// The buffer of a token's info.
    #[serde(skip_serializing_if = "is_default")]
    pub info: Bytes,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Outcome {
    pub fn ok(told: &str) -> Self {
        Self {
            told: told.to_owned(),
            ..Self::default()
        }
    }

    pub fn errno(errno: i32) -> Self {
        Self {
            errno,
            ..Self::default()
        }
    }

    pub fn gone() -> Self {
        Self {
            gone: true,
            ..Self::default()
        }
    }

    pub fn is_ok(&self) -> bool {
        self.errno == 0 && !self.gone
    }

    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("no map has keys that are not strings")
    }

    pub fn parse(line: &str) -> Result<Self> {
        serde_json::from_str(line).with_context(|| format!("not understood: {line}"))
    }

    /// For people.
    pub fn explained(&self) -> String {
        let mut text = match (self.gone, self.errno) {
            (true, _) => "gone".to_owned(),
            (_, 0) => format!("ok {}", self.told),
            (_, errno) => io::Error::from_raw_os_error(errno).to_string(),
        };
        let rest = Self {
            errno: 0,
            told: String::new(),
            gone: false,
            ..self.clone()
        };
        if rest != Self::default() {
            text.push_str(&format!(" {}", rest.text()));
        }
        text.trim_end().to_owned()
    }
}

/// Says why something is not as it must be.
pub fn expect(is_so: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if is_so {
        Ok(())
    } else {
        Err(why())
    }
}
