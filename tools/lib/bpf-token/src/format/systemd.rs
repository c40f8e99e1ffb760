// SPDX-License-Identifier: MIT OR Apache-2.0
//! The settings of systemd.exec(5), which has had them since systemd 258.
//!
//! systemd passes over an item that it does not know, with a warning. It knows just the names of the
//! enumerators that its own copy of `linux/bpf.h` has, in its own spelling and in no other case; no
//! numbers; `any` alone; and no blanks around the commas (seen with systemd 262).

use crate::delegation::Delegation;
use crate::error::Error;
use crate::error::Result;
use crate::format::unknown;
use crate::grant::Items;
use crate::kind;
use crate::kind::Enumerator;
use crate::kind::Kind;
use crate::mask::values;
use crate::names::ProgType;

/// The settings, in the order of [`Kind::ALL`].
const SETTINGS: [&str; 4] = [
    "BPFDelegateCommands",
    "BPFDelegateMaps",
    "BPFDelegatePrograms",
    "BPFDelegateAttachments",
];

/// What a unit needs besides, so that it is in a user namespace with a BPF FS of its own.
const NAMESPACES: [&str; 4] = [
    "PrivateUsers=yes",
    "PrivateMounts=yes",
    "DelegateNamespaces=mnt",
    "PrivateBPF=yes",
];

/// What systemd 262 does not know although its `linux/bpf.h` has it: the comment that follows it
/// there hides it from systemd's list of names.
const UNKNOWN: ProgType = ProgType::SYSCALL;

pub(super) fn write(delegation: &Delegation) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for (setting, (kind, items)) in SETTINGS.iter().zip(delegation.each()) {
        if items.is_empty() {
            continue;
        }
        if kind == ProgType::KIND
            && items.bits != u64::MAX
            && items.bits & (1 << UNKNOWN.value()) != 0
        {
            let name = unit_name(
                kind,
                UNKNOWN
                    .value()
                    .try_into()
                    .map_or("", |at: usize| kind.names[at]),
            );
            lines.push(format!(
                "# systemd 262 does not know {name}, and passes over it."
            ));
        }
        lines.push(format!("{setting}={}", value(kind, items)?));
    }
    if lines.is_empty() {
        return Ok(lines);
    }
    let namespaces = NAMESPACES.map(str::to_owned).into_iter();
    Ok(namespaces.chain(lines).collect())
}

fn value(kind: &Kind, items: &Items) -> Result<String> {
    if items.bits == u64::MAX {
        return Ok("any".to_owned());
    }
    let rest = items.bits & !kind.known();
    if rest != 0 {
        return Err(Error::Invalid(format!(
            "{}: systemd has names only, and none for {rest:#x}",
            kind.option
        )));
    }
    let known = values(items.bits).map(|value| kind.label(value));
    let mut names = Vec::new();
    for name in known.chain(items.newer.iter().cloned()) {
        let unit = unit_name(kind, &name);
        if snake_case(&unit, kind) != name && kind.value(&name).is_none() {
            return Err(Error::Invalid(format!(
                "{}: systemd's spelling of \"{name}\" would be that of another one",
                kind.option
            )));
        }
        names.push(unit);
    }
    Ok(names.join(","))
}

/// `xdp` as `BPFProgTypeXdp`: the enumerator's words, each with a capital.
fn unit_name(kind: &Kind, name: &str) -> String {
    let enumerator = format!("{}{name}", kind.prefix).to_ascii_lowercase();
    let words = enumerator.split('_').filter(|word| !word.is_empty());
    let capital = |word: &str| format!("{}{}", word[..1].to_ascii_uppercase(), &word[1..]);
    let name: String = words.map(capital).collect();
    name.replacen("Bpf", "BPF", 1)
}

/// What a name in systemd's spelling is otherwise: the inverse of [`unit_name`], which loses
/// underscores before digits.
fn snake_case(unit: &str, kind: &Kind) -> String {
    let prefix = unit_name(kind, "");
    let mut name = String::new();
    for c in unit.strip_prefix(&prefix).unwrap_or(unit).chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

pub(super) fn read(text: &str) -> Result<Delegation> {
    let mut delegation = Delegation::new();
    // A line goes on after a backslash, systemd.syntax(7).
    let text = text.replace("\\\n", "");
    for line in text.lines() {
        let Some((setting, value)) = line.trim().split_once('=') else {
            continue;
        };
        let (setting, value) = (setting.trim(), value.trim());
        let Some(at) = SETTINGS.iter().position(|other| *other == setting) else {
            if setting.starts_with("BPFDelegate") {
                return Err(unknown("setting of a delegation", setting, SETTINGS));
            }
            continue;
        };
        let kind = Kind::ALL[at];
        for item in value.split([',', ':']).filter(|_| !value.is_empty()) {
            delegation.add_option(kind.option, &item_of(kind, item.trim())?)?;
        }
    }
    Ok(delegation)
}

/// An item in the spelling of the mount options.
fn item_of(kind: &'static Kind, item: &str) -> Result<String> {
    if item == "any" {
        return Ok(item.to_owned());
    }
    let mut names = kind.all_names();
    if let Some(name) = names.find(|name| unit_name(kind, name) == item) {
        return Ok(name.to_owned());
    }
    let prefix = unit_name(kind, "");
    let rest = item.strip_prefix(&prefix).unwrap_or_default();
    if rest.starts_with(|c: char| c.is_ascii_uppercase())
        && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        return Ok(snake_case(item, kind));
    }
    let all: Vec<String> = kind
        .names
        .iter()
        .map(|name| unit_name(kind, name))
        .collect();
    let close = match (
        kind.value(item),
        kind::closest(item, all.iter().map(String::as_str)),
    ) {
        (Some(value), _) => format!("; is \"{}\" meant?", unit_name(kind, &kind.label(value))),
        (None, Some(close)) => format!("; is \"{close}\" meant?"),
        (None, None) => String::new(),
    };
    Err(Error::Syntax {
        option: kind.option,
        item: item.to_owned(),
        problem: format!(
            "neither \"any\" nor a {} in systemd's spelling, such as \"{}\"{close}",
            kind.noun,
            unit_name(kind, kind.names[1])
        ),
    })
}
