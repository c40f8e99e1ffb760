// SPDX-License-Identifier: GPL-2.0
//! Where a program that a container manager calls says what it has to say.

use std::fs::File;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use anyhow::Result;

/// A file besides standard error, which managers may have for /dev/null.
pub struct Log(Option<File>);

impl Log {
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else {
            return Ok(Self(None));
        };
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("--log {}", path.display()))?;
        Ok(Self(Some(file)))
    }

    /// Says a line that is no error of this program.
    pub fn say(&self, text: &str) {
        let text = printable(text);
        eprintln!("bpftoken: {text}");
        self.append(&text);
    }

    /// Says it in the file only.
    pub fn append(&self, text: &str) {
        if let Some(mut file) = self.0.as_ref() {
            // A full disk is no reason to start a container, or not to.
            let _ = file.write_all(format!("bpftoken: {text}\n").as_bytes());
        }
    }
}

/// A text in one line that moves no cursor.
pub fn printable(text: &str) -> String {
    let shown = |c: char| -> String {
        if c.is_control() {
            c.escape_default().collect()
        } else {
            c.into()
        }
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_container_move_no_cursor() {
        assert_eq!(printable("a\n\x1b[2J"), "a\\n\\u{1b}[2J");
    }
}
