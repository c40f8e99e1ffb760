// SPDX-License-Identifier: GPL-2.0

//! Bytes as one word of text: what is no printable character, the backslash and the space as `\x` and two digits; `-` if
//! there are none.

use std::ops::Deref;

use serde::de::Error;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Bytes {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        for (at, byte) in self.iter().enumerate() {
            match byte {
                b'\\' | b' ' => write!(f, "\\x{byte:02x}")?,
                b'-' if at == 0 && self.len() == 1 => f.write_str("\\x2d")?,
                b'!'..=b'~' => write!(f, "{}", char::from(*byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}

impl Bytes {
    /// The reverse; what is no such escape stands for itself.
    pub fn parse(word: &str) -> Self {
        match word {
            "-" => Self::default(),
            _ => Self(unescaped(word.as_bytes())),
        }
    }
}

/// Bytes of which some are `\x` and two digits. So does /dev/kmsg show what was logged.
pub fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let [byte, tail @ ..] = rest {
        let escape = rest.strip_prefix(b"\\x").and_then(|rest| rest.get(..2));
        let code = escape
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(code.unwrap_or(*byte));
        rest = if code.is_some() { &rest[4..] } else { tail };
    }
    bytes
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer).map_err(D::Error::custom)?;
        Ok(Self::parse(&text))
    }
}
