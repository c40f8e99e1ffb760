// SPDX-License-Identifier: GPL-2.0
//! What to do about an error of which the kernel only says the errno.

use anyhow::anyhow;
use bpf_token::Delegation;
use bpf_token::Error;
use bpf_token::Grant;
use bpf_token::Kind;
use rustix::io::Errno;

/// Adds what to do to an error of giving a container this delegation.
pub fn explain(error: Error, delegation: &Delegation) -> anyhow::Error {
    let hint = match (&error, error.errno()) {
        (Error::Sys { what, .. }, Some(Errno::PERM)) if what.starts_with("set delegate_") => {
            "only CAP_SYS_ADMIN in the initial user namespace may delegate: run it as root, with \
             --user for the container's user"
                .to_owned()
        }
        (Error::Sys { what, .. }, Some(Errno::INVAL)) if what.starts_with("set delegate_") => {
            unknown(delegation)
        }
        (Error::Container { step, .. }, Some(Errno::PERM))
            if step.starts_with("enter") || step.starts_with("make the process") =>
        {
            "it takes root, or user namespaces for everybody (user.max_user_namespaces), and no \
             chroot"
                .to_owned()
        }
        _ => return error.into(),
    };
    anyhow!("{error}; {hint}")
}

/// The names that the kernel decided on, of which one is wrong, with what may be meant.
fn unknown(delegation: &Delegation) -> String {
    let mut unknown = names(&delegation.cmds);
    unknown.extend(names(&delegation.maps));
    unknown.extend(names(&delegation.progs));
    unknown.extend(names(&delegation.attachs));
    if unknown.is_empty() {
        return "this kernel has no BPF delegation (Linux 6.9 has)".to_owned();
    }
    format!("this kernel has no {}", unknown.join(", no "))
}

fn names<K: Kind>(grant: &Grant<K>) -> Vec<String> {
    let said = |name: &str| match closest(name, K::NAMES) {
        Some(close) => format!("{} \"{name}\" (is \"{close}\" meant?)", K::NOUN),
        None => format!("{} \"{name}\"", K::NOUN),
    };
    grant.newer().map(said).collect()
}

/// The name that takes the fewest edits, if these are few.
fn closest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let best = known.iter().min_by_key(|other| distance(name, other))?;
    (distance(name, best) <= 2.max(name.len() / 4)).then_some(*best)
}

/// The Levenshtein distance: how many bytes to insert, delete or replace.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_names_are_suggested() {
        let maps = bpf_token::Maps::NAMES;
        assert_eq!(closest("ring_buf", maps), Some("ringbuf"));
        assert_eq!(closest("lpmtrie", maps), Some("lpm_trie"));
        assert_eq!(closest("teleport", maps), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
