// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lists of probes.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::Error;

/// What a container may attach programs to with the help of a [`Broker`](crate::Broker).
///
/// A list of items, separated by commas. `*` in a name stands for any characters, `?` for one.
///
/// | item | allows |
/// | --- | --- |
/// | `kprobe` | every function of the kernel, on entry, on return and in between |
/// | `kprobe:NAME` | functions of this name, on entry and on return |
/// | `uprobe` | every file that the container can open, of a file system that is not its own |
/// | `uprobe:PATH` | the file that the host has under this absolute path |
/// | `tracepoint` | every tracepoint |
/// | `tracepoint:GROUP:NAME` | tracepoints of these names |
/// | `any` | all of that |
///
/// ```
/// use bpf_token::Probes;
/// let probes: Probes = "kprobe:vfs_*,tracepoint:sched:*".parse()?;
/// assert_eq!(probes.to_string(), "kprobe:vfs_*,tracepoint:sched:*");
/// # Ok::<(), bpf_token::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probes(Vec<Item>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    /// All functions, or those of a name.
    Kprobe(Option<String>),
    /// All files, or this one.
    Uprobe(Option<PathBuf>),
    /// All tracepoints, or those of a group and a name.
    Tracepoint(Option<(String, String)>),
}

impl Probes {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn add_kprobe(&mut self, name: &str, offset: u64) {
        // What is behind an entry goes by no name.
        self.add(Item::Kprobe((offset == 0).then(|| name.to_owned())));
    }

    pub(crate) fn add_tracepoint(&mut self, group: &str, name: &str) {
        self.add(Item::Tracepoint(Some((group.to_owned(), name.to_owned()))));
    }

    /// Adds the file, or all if a list can't have its path.
    pub(crate) fn add_file(&mut self, path: Option<PathBuf>) {
        let plain = |path: &PathBuf| {
            let text = path.to_str().filter(|text| text.starts_with('/'));
            text.is_some_and(|text| !text.contains([',', ' ']))
        };
        self.add(Item::Uprobe(path.filter(plain)));
    }

    fn add(&mut self, item: Item) {
        if !self.0.contains(&item) {
            self.0.push(item);
        }
    }

    /// Whether a program may be attached so far into a function. What is behind its entry may be
    /// another function, so that takes the item for all.
    pub(crate) fn allow_kprobe(&self, name: &str, offset: u64) -> bool {
        self.0.iter().any(|item| match item {
            Item::Kprobe(None) => true,
            Item::Kprobe(Some(pattern)) => offset == 0 && matches(pattern, name),
            _ => false,
        })
    }

    pub(crate) fn allow_tracepoint(&self, group: &str, name: &str) -> bool {
        self.0.iter().any(|item| match item {
            Item::Tracepoint(None) => true,
            Item::Tracepoint(Some((groups, names))) => {
                matches(groups, group) && matches(names, name)
            }
            _ => false,
        })
    }

    /// Whether every file may be probed.
    pub(crate) fn allow_all_files(&self) -> bool {
        self.0.contains(&Item::Uprobe(None))
    }

    /// The files that are named.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().filter_map(|item| match item {
            Item::Uprobe(path) => path.as_deref(),
            _ => None,
        })
    }

    pub(crate) fn have_kprobes(&self) -> bool {
        self.0.iter().any(|item| matches!(item, Item::Kprobe(_)))
    }

    pub(crate) fn have_uprobes(&self) -> bool {
        self.0.iter().any(|item| matches!(item, Item::Uprobe(_)))
    }

    pub(crate) fn have_tracepoints(&self) -> bool {
        self.0
            .iter()
            .any(|item| matches!(item, Item::Tracepoint(_)))
    }
}

impl FromStr for Probes {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut items = Vec::new();
        for item in text.split(',') {
            items.extend(parse(item).map_err(|problem| Error::Syntax {
                option: "probes",
                item: item.to_owned(),
                problem: problem.to_owned(),
            })?);
        }
        Ok(Self(items))
    }
}

/// Reads an item; what is wrong with it, if something is.
fn parse(item: &str) -> Result<Vec<Item>, &'static str> {
    let (kind, name) = match item.split_once(':') {
        Some((kind, name)) => (kind, Some(name)),
        None => (item, None),
    };
    Ok(vec![match (kind, name) {
        (_, Some("")) => return Err("there is nothing behind the colon"),
        ("kprobe", name) => Item::Kprobe(name.map(str::to_owned)),
        ("uprobe", Some(name)) if !name.starts_with('/') => {
            return Err("a file goes by its absolute path")
        }
        ("uprobe", name) => Item::Uprobe(name.map(PathBuf::from)),
        ("tracepoint", None) => Item::Tracepoint(None),
        ("tracepoint", Some(name)) => match name.split_once(':') {
            Some((group, name)) => Item::Tracepoint(Some((group.to_owned(), name.to_owned()))),
            None => {
                return Err("a tracepoint goes by its group and name, as in sched:sched_switch")
            }
        },
        ("any", None) => {
            return Ok(vec![
                Item::Kprobe(None),
                Item::Uprobe(None),
                Item::Tracepoint(None),
            ])
        }
        _ => {
            return Err("an item is kprobe, uprobe, tracepoint or any, or one of these and a name")
        }
    }])
}

impl fmt::Display for Probes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, item) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            match item {
                Item::Kprobe(None) => f.write_str("kprobe")?,
                Item::Kprobe(Some(name)) => write!(f, "kprobe:{name}")?,
                Item::Uprobe(None) => f.write_str("uprobe")?,
                Item::Uprobe(Some(path)) => write!(f, "uprobe:{}", path.display())?,
                Item::Tracepoint(None) => f.write_str("tracepoint")?,
                Item::Tracepoint(Some((group, name))) => write!(f, "tracepoint:{group}:{name}")?,
            }
        }
        Ok(())
    }
}

/// Whether a name is what a pattern with `*` and `?` says.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Where to go on if the last star stands for one character more.
    let mut again = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                again = Some((p, n));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match again {
                Some((star, from)) => {
                    again = Some((star, from + 1));
                    p = star + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name) in [
            ("vfs_*", "vfs_read"),
            ("*", ""),
            ("*_read", "vfs_read_read"),
            ("v?s*a*", "vfs_read"),
            ("vfs_read", "vfs_read"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("vfs_*", "xvfs_read"),
            ("vfs", "vfs_read"),
            ("", "a"),
            ("*_read", "vfs_readv"),
            ("?", ""),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn items() {
        let probes: Probes = "kprobe:vfs_*,uprobe:/bin/sh,tracepoint:sched:*"
            .parse()
            .unwrap();
        assert!(probes.allow_kprobe("vfs_read", 0));
        assert!(!probes.allow_kprobe("vfs_read", 8));
        assert!(!probes.allow_kprobe("do_exit", 0));
        assert!(!probes.allow_all_files());
        assert_eq!(probes.files().count(), 1);
        assert!(probes.allow_tracepoint("sched", "sched_switch"));
        assert!(!probes.allow_tracepoint("syscalls", "sched_switch"));
        let mut used = Probes::default();
        assert!(used.is_empty());
        for _ in 0..2 {
            used.add_kprobe("vfs_read", 0);
            used.add_tracepoint("sched", "sched_switch");
            used.add_file(Some("/bin/sh".into()));
        }
        let text = "kprobe:vfs_read,tracepoint:sched:sched_switch,uprobe:/bin/sh";
        assert_eq!(used.to_string(), text);
        used.add_kprobe("vfs_read", 4);
        used.add_file(Some("/a,b".into()));
        assert_eq!(used.to_string(), format!("{text},kprobe,uprobe"));
        let any: Probes = "any".parse().unwrap();
        assert_eq!(any.to_string(), "kprobe,uprobe,tracepoint");
        assert!(any.allow_kprobe("do_exit", 8) && any.allow_all_files());
        assert!(any.allow_tracepoint("a", "b"));
        for bad in [
            "",
            "kprobe:",
            "uprobe:sh",
            "tracepoint:sched",
            "probe",
            "any:x",
            "kprobe,,",
        ] {
            assert!(bad.parse::<Probes>().is_err(), "{bad}");
        }
    }
}
