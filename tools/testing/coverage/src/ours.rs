// SPDX-License-Identifier: GPL-2.0

//! Which lines of the kernel tree are ours.

use std::collections::HashMap;
use std::collections::HashSet;

/// Whole files, and the lines of others that our patches add.
pub struct Ours {
    files: HashSet<String>,
    lines: HashMap<String, HashSet<u32>>,
}

/// The path in the tree of a file, as a compiler that ran below the tree has it.
pub fn in_tree(file: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    // The tree is built at /linux: see kernel.sh.
    match parts.first() {
        Some(&"linux") => parts[1..].join("/"),
        _ => parts.join("/"),
    }
}

impl Ours {
    /// Reads the list: `FILE` where all of it is ours, or `FILE:LINE`.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut ours = Self {
            files: HashSet::new(),
            lines: HashMap::new(),
        };
        for entry in list.lines() {
            match entry.split_once(':') {
                None => drop(ours.files.insert(entry.into())),
                Some((file, line)) => {
                    let line = line
                        .parse()
                        .map_err(|_| format!("{entry}: it should be FILE:LINE"))?;
                    ours.lines.entry(file.into()).or_default().insert(line);
                }
            }
        }
        Ok(ours)
    }

    /// Whether all of a file of the tree is ours.
    pub fn has_file(&self, file: &str) -> bool {
        self.files.contains(file)
    }

    /// Whether a line is.
    pub fn has(&self, file: &str, line: u32) -> bool {
        line != 0
            && (self.has_file(file)
                || self
                    .lines
                    .get(file)
                    .is_some_and(|lines| lines.contains(&line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(
            in_tree("/linux/build/../kernel/bpf/inode.c"),
            "kernel/bpf/inode.c"
        );
        assert_eq!(in_tree("../rust/kernel/fs.rs"), "rust/kernel/fs.rs");
    }

    #[test]
    fn files_and_lines() {
        let ours = Ours::parse("a.rs\nb.c:3\n").expect("a list");
        assert!(ours.has("a.rs", 1) && ours.has("b.c", 3));
        assert!(!ours.has("b.c", 4) && !ours.has("c.c", 3) && !ours.has("a.rs", 0));
        assert!(Ours::parse("b.c:x").is_err());
    }
}
