// SPDX-License-Identifier: MIT OR Apache-2.0
//! The spellings of a delegation: each manager has its own words for the same four lists.

mod keys;
mod oci;
mod systemd;

use std::fmt;
use std::str::FromStr;

use serde_json::Map;
use serde_json::Value;

use crate::delegation;
use crate::delegation::Delegation;
use crate::error::Error;
use crate::error::Result;
use crate::kind;
use crate::kind::Kind;

pub use oci::from_annotations;
pub use oci::ANNOTATION_PREFIX;
pub use oci::TARGET_ANNOTATION;

/// A spelling of a delegation, as a manager wants it written.
///
/// | format | spelling | its documentation |
/// | --- | --- | --- |
/// | `run` | `--cmds map_create:prog_load` | `bpftoken-run(1)` |
/// | `mount` | `delegate_cmds=map_create:prog_load` | `bpf_parse_param()` in `kernel/bpf/inode.c`, Linux 6.9 |
/// | `systemd` | `BPFDelegateCommands=BPFMapCreate,BPFProgLoad` | `systemd.exec(5)`, systemd 258 |
/// | `incus` | `security.bpffs.delegate_cmds=map_create,prog_load` | Incus, "BPF token delegation" |
/// | `lxd` | `security.delegate_bpf.cmd_types=map_create:prog_load` | LXD, "Privilege delegation using BPF Token" |
/// | `oci` | `"org.bpf-token.delegate_cmds": "map_create:prog_load"` | OCI runtime specification, "Annotations", for the form of the key |
/// | `json` | `"cmds": ["map_create", "prog_load"]` | [`report`](crate::report) |
///
/// ```
/// use bpf_token::Format;
/// let unit = "[Service]\nExecStart=/usr/bin/watch\nBPFDelegateMaps=BPFMapTypeArray,BPFMapTypeRingbuf\n";
/// let delegation = Format::Systemd.read(unit)?;
/// assert_eq!(Format::Run.write(&delegation)?, "--maps array:ringbuf\n");
/// assert_eq!(Format::Incus.write(&delegation)?, "security.bpffs.delegate_maps=array,ringbuf\n");
/// # Ok::<(), bpf_token::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Options of `bpftoken run` and `bpftoken mount`.
    Run,
    /// Mount options of a BPF FS.
    Mount,
    /// Lines of a unit's `[Service]` section.
    Systemd,
    /// Instance options of Incus.
    Incus,
    /// Instance options of LXD.
    Lxd,
    /// Annotations of an OCI container, as `config.json` has them.
    Oci,
    /// The four lists, as `bpftoken --json` prints them.
    Json,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Run,
        Self::Mount,
        Self::Systemd,
        Self::Incus,
        Self::Lxd,
        Self::Oci,
        Self::Json,
    ];

    /// Its name, such as `systemd`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Mount => "mount",
            Self::Systemd => "systemd",
            Self::Incus => "incus",
            Self::Lxd => "lxd",
            Self::Oci => "oci",
            Self::Json => "json",
        }
    }

    /// The format that a text is in, by the words that only this format has.
    pub fn of(text: &str) -> Option<Self> {
        let has = |word: &str| text.contains(word);
        Some(match text {
            _ if has(ANNOTATION_PREFIX) || has("\"annotations\"") => Self::Oci,
            _ if text.trim_start().starts_with('{') => Self::Json,
            _ if has("BPFDelegate") => Self::Systemd,
            _ if has("security.bpffs.") => Self::Incus,
            _ if has("security.delegate_bpf") => Self::Lxd,
            _ if has("--") => Self::Run,
            _ if has("delegate_") => Self::Mount,
            _ => return None,
        })
    }

    /// The delegation in this format, each line ended. What is not delegated is left out.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for what the format has no word for: systemd has names only, and none for
    /// bits that nothing is named after; systemd, Incus and LXD have none for a cookie.
    pub fn write(self, delegation: &Delegation) -> Result<String> {
        let lines = match self {
            Self::Run => {
                let option = |(kind, value): (&Kind, String)| format!("--{} {value}", kind.key);
                let options = delegation.named_options().into_iter().map(option);
                let cookie = (delegation.cookie != 0)
                    .then(|| format!("{COOKIE_OPTION} {}", delegation.cookie));
                return Ok(ended(options.chain(cookie).collect::<Vec<_>>().join(" ")));
            }
            Self::Mount => return Ok(ended(delegation.to_string())),
            Self::Systemd | Self::Incus | Self::Lxd if delegation.cookie != 0 => {
                return Err(Error::Invalid(format!(
                    "{}: {self} has no setting for it; mount the BPF FS with \"bpftoken mount --cookie\"",
                    delegation::COOKIE
                )));
            }
            Self::Systemd => systemd::write(delegation)?,
            Self::Incus => keys::INCUS.write(delegation),
            Self::Lxd => keys::LXD.write(delegation),
            Self::Oci => return Ok(oci::write(delegation)),
            Self::Json => return Ok(ended(json(&serde_json::json!(delegation)))),
        };
        Ok(lines.into_iter().map(ended).collect())
    }

    /// The delegation that a text in this format asks for.
    ///
    /// The text may hold other settings too, as a unit, an instance's configuration or a
    /// `config.json` does. Lists are separated by `:` or `,` in all formats.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a setting of a delegation that there is not, with the one that it is
    /// close to, and for what is no JSON; [`Error::Syntax`] for an item that no kernel accepts.
    pub fn read(self, text: &str) -> Result<Delegation> {
        match self {
            Self::Run => read_options(text),
            Self::Mount => read_mount(text),
            Self::Systemd => systemd::read(text),
            Self::Incus => keys::INCUS.read(text),
            Self::Lxd => keys::LXD.read(text),
            Self::Oci => oci::read(text),
            Self::Json => read_json(text),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|format| format.name() == text);
        found.ok_or_else(|| unknown("format", text, Self::ALL.map(Self::name)))
    }
}

/// A line or text with a line feed at its end, unless it is empty.
fn ended(mut text: String) -> String {
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

fn json(value: &Value) -> String {
    // A value without maps of other keys than strings always has a text.
    format!("{value:#}")
}

/// The error for a word that none of these is.
fn unknown<'a>(what: &str, word: &str, all: impl IntoIterator<Item = &'a str> + Clone) -> Error {
    let close = match kind::closest(word, all.clone()) {
        Some(close) => format!(" (is \"{close}\" meant?)"),
        None => String::new(),
    };
    let all: Vec<&str> = all.into_iter().collect();
    Error::Invalid(format!(
        "\"{word}\": no {what}{close}; there are {}",
        all.join(", ")
    ))
}

/// The option of `bpftoken run` for a cookie.
const COOKIE_OPTION: &str = "--cookie";

fn read_options(text: &str) -> Result<Delegation> {
    let mut delegation = Delegation::new();
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        let (option, value) = match word.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None => (word, None),
        };
        let kind = Kind::ALL
            .into_iter()
            .find(|kind| option.strip_prefix("--") == Some(kind.key));
        let (mount_option, what) = match kind {
            Some(kind) => (kind.option, "list"),
            None if option == COOKIE_OPTION => (delegation::COOKIE, "number"),
            None => {
                let options = Kind::ALL.map(|kind| format!("--{}", kind.key));
                let options = options.iter().map(String::as_str).chain([COOKIE_OPTION]);
                let options: Vec<&str> = options.collect();
                return Err(unknown("option of a delegation", option, options));
            }
        };
        let value = value.or_else(|| words.next());
        let value =
            value.ok_or_else(|| Error::Invalid(format!("{option}: no {what} follows it")))?;
        delegation.add_option(mount_option, unquoted(value))?;
    }
    Ok(delegation)
}

/// Options of any mount, of which a BPF FS shows some.
const OTHER_OPTIONS: [&str; 12] = [
    "rw",
    "ro",
    "relatime",
    "noatime",
    "nodiratime",
    "nosuid",
    "nodev",
    "noexec",
    "nosymfollow",
    "mode",
    "uid",
    "gid",
];

fn read_mount(text: &str) -> Result<Delegation> {
    let text = text.trim();
    let options = text.strip_prefix("-o").unwrap_or(text).trim();
    let other = |option: &&str| {
        let key = option.split('=').next().unwrap_or_default();
        OTHER_OPTIONS.contains(&key)
    };
    let ours: Vec<&str> = options.split(',').filter(|it| !other(it)).collect();
    ours.join(",").parse()
}

fn object(text: &str) -> Result<Map<String, Value>> {
    let object = serde_json::from_str(text);
    object.map_err(|error| Error::Invalid(format!("no JSON object: {error}")))
}

fn read_json(text: &str) -> Result<Delegation> {
    let object = object(text)?;
    let keys = Kind::ALL.map(|kind| kind.key).into_iter().chain(["cookie"]);
    let keys: Vec<&str> = keys.collect();
    if let Some(key) = object.keys().find(|key| !keys.contains(&key.as_str())) {
        return Err(unknown("list of a delegation", key, keys));
    }
    let delegation = Delegation::deserialize_from(object);
    delegation.map_err(|error| Error::Invalid(error.to_string()))
}

impl Delegation {
    fn deserialize_from(object: Map<String, Value>) -> serde_json::Result<Self> {
        serde_json::from_value(Value::Object(object))
    }
}

/// A value without the quotation marks around it.
fn unquoted(value: &str) -> &str {
    let value = value.trim();
    let inside = |mark: char| value.strip_prefix(mark)?.strip_suffix(mark);
    inside('"').or_else(|| inside('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests;
