// SPDX-License-Identifier: MIT OR Apache-2.0
//! The instance options of Incus and of LXD: a key and a value a line, as `config set` takes them and,
//! with `: `, as `config show` prints them.

use crate::delegation::Delegation;
use crate::error::Error;
use crate::error::Result;
use crate::format::unknown;
use crate::format::unquoted;
use crate::kind::Kind;

/// The options of one manager.
pub(super) struct Keys {
    /// What the keys of a delegation begin with.
    prefix: &'static str,
    /// The rest of the key of each list, in the order of [`Kind::ALL`].
    lists: [&'static str; 4],
    /// What separates the items of a list, by the manager's documentation.
    separator: char,
    /// The key that turns delegation on, if there is one.
    switch: Option<&'static str>,
    /// Keys that begin so and delegate nothing.
    others: &'static [&'static str],
}

/// Incus, by its "BPF token delegation": lists are separated by commas.
pub(super) const INCUS: Keys = Keys {
    prefix: "security.bpffs.",
    lists: [
        "delegate_cmds",
        "delegate_maps",
        "delegate_progs",
        "delegate_attachs",
    ],
    separator: ',',
    switch: None,
    others: &["path"],
};

/// LXD, by its "Privilege delegation using BPF Token": lists are those of the mount options.
pub(super) const LXD: Keys = Keys {
    prefix: "security.delegate_bpf",
    lists: [".cmd_types", ".map_types", ".prog_types", ".attach_types"],
    separator: ':',
    switch: Some("security.delegate_bpf"),
    others: &[],
};

impl Keys {
    pub(super) fn write(&self, delegation: &Delegation) -> Vec<String> {
        let separator = self.separator.to_string();
        let line = |(kind, value): (&Kind, String)| {
            let at = Kind::ALL.iter().position(|other| *other == kind);
            let list = at.map_or("", |at| self.lists[at]);
            format!("{}{list}={}", self.prefix, value.replace(':', &separator))
        };
        let lines: Vec<String> = delegation.named_options().into_iter().map(line).collect();
        if lines.is_empty() {
            return lines;
        }
        let switch = self.switch.map(|switch| format!("{switch}=true"));
        switch.into_iter().chain(lines).collect()
    }

    pub(super) fn read(&self, text: &str) -> Result<Delegation> {
        let mut delegation = Delegation::new();
        for line in text.lines() {
            let line = line.trim().trim_start_matches("- ");
            let Some((key, value)) = line.split_once(['=', ':']) else {
                continue;
            };
            // Before the key there may be the command that sets it.
            let key = key.split_whitespace().last().unwrap_or_default();
            let (key, value) = (unquoted(key), unquoted(value));
            let Some(rest) = key.strip_prefix(self.prefix) else {
                continue;
            };
            if self.others.contains(&rest) {
                continue;
            }
            if Some(key) == self.switch {
                // What LXD takes for true, as its strconv does.
                if !["true", "1", "yes", "on"].contains(&value.to_ascii_lowercase().as_str()) {
                    return Err(Error::Invalid(format!(
                        "{key} is \"{value}\": with anything but \"true\", nothing is delegated"
                    )));
                }
                continue;
            }
            let Some(at) = self.lists.iter().position(|list| *list == rest) else {
                let keys = self.lists.map(|list| format!("{}{list}", self.prefix));
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                return Err(unknown("option of a delegation", key, keys));
            };
            if !value.is_empty() {
                delegation.add_option(Kind::ALL[at].option, value)?;
            }
        }
        Ok(delegation)
    }
}
