// SPDX-License-Identifier: GPL-2.0
//! What the annotations of a container ask for, and whether it may have that.
//!
//! The annotations are the container's word.

use std::collections::BTreeMap;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Delegation;
use bpf_token::Format;
use bpf_token::Kernel;
use bpf_token::Kind;
use bpf_token::Warning;
use bpf_token::ANNOTATION_PREFIX;
use bpf_token::DEFAULT_BPFFS;
use bpf_token::TARGET_ANNOTATION;

use crate::log::Log;

pub type Annotations = BTreeMap<String, String>;

/// The delegation that they ask for, if any, within this limit. What is to be known of it, of the
/// container of this name, goes to the log.
pub fn wanted(
    annotations: &Annotations,
    limit: Option<&str>,
    container: &str,
    log: &Log,
) -> Result<Option<Delegation>> {
    let all = annotations.iter();
    let mut delegation = bpf_token::from_annotations(all.map(|(key, value)| (&**key, &**value)))?;
    if delegation.is_empty() {
        let names = Kind::ALL.map(|kind| format!("{ANNOTATION_PREFIX}{}", kind.option));
        log.say(&format!(
            "{container} gets no BPF FS: it has none of the annotations {}",
            names.join(", ")
        ));
        return Ok(None);
    }
    for warning in delegation.warnings() {
        log.say(&format!(
            "warning: {container}: {}{warning}",
            annotation_of(&warning)
        ));
    }
    delegation.check(Kernel::running())?;
    if let Some(limit) = limit {
        // Who writes annotations does not choose for whom he is taken.
        delegation.cookie = check_limit(&delegation, limit)?;
    }
    Ok(Some(delegation))
}

/// Which annotation a warning is about.
fn annotation_of(warning: &Warning) -> String {
    let option = |option: &str| format!("{ANNOTATION_PREFIX}{option}");
    match warning {
        Warning::NoAttachTypes => {
            format!("annotation {} is missing: ", option("delegate_attachs"))
        }
        Warning::WithoutCommand { cmd, .. } => {
            format!("annotation {} lacks {cmd}: ", option("delegate_cmds"))
        }
        _ => String::new(),
    }
}

/// Reads a limit.
pub fn limit(text: &str) -> Result<Delegation> {
    let format = Format::of(text).context("--at-most: no delegation in any format")?;
    format.read(text).context("--at-most")
}

/// Refuses what is beyond the limit; returns the cookie of that, which is the container's.
fn check_limit(delegation: &Delegation, text: &str) -> Result<u64> {
    let limit = limit(text)?;
    let beyond = delegation.difference(&limit);
    ensure!(
        beyond.is_empty() && beyond.cookie == 0,
        "the container asks for more than --at-most allows: {beyond}"
    );
    Ok(limit.cookie)
}

/// The directory to mount on, below the root.
pub fn target(annotations: &Annotations) -> Result<PathBuf> {
    let annotation = annotations.get(TARGET_ANNOTATION);
    let path = Path::new(annotation.map_or(DEFAULT_BPFFS, String::as_str));
    let mut parts = path.components();
    let mut below = PathBuf::new();
    let absolute = parts.next() == Some(Component::RootDir);
    for part in parts {
        match part {
            Component::Normal(name) if absolute => below.push(name),
            _ => bail!(
                "{TARGET_ANNOTATION}={}: not an absolute path without ..",
                path.display()
            ),
        }
    }
    ensure!(
        absolute && below != Path::new(""),
        "{TARGET_ANNOTATION}={}: not the absolute path of a directory in the container",
        path.display()
    );
    Ok(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_has_the_cookie_of_the_limit() {
        let check = |asked: &str, limit: &str| {
            let asked: Delegation = asked.parse().unwrap();
            check_limit(&asked, limit).map_err(|error| error.to_string())
        };
        let limit = "delegate_maps=array:hash,delegate_cookie=7";
        assert_eq!(check("delegate_maps=array", limit), Ok(7));
        assert_eq!(check("delegate_maps=array,delegate_cookie=7", limit), Ok(7));
        let error = check("delegate_maps=array,delegate_cookie=8", limit).unwrap_err();
        assert!(error.ends_with("allows: delegate_cookie=8"), "{error}");
        let none = "delegate_maps=array";
        assert!(check("delegate_maps=array,delegate_cookie=8", none).is_err());
        assert_eq!(check("delegate_maps=array", none), Ok(0));
        let annotation = format!("{ANNOTATION_PREFIX}delegate_maps");
        let annotations = [(annotation, "array".to_owned())].into();
        let log = Log::open(None).unwrap();
        let wanted = wanted(&annotations, Some(limit), "a container", &log).unwrap();
        assert_eq!(wanted.unwrap().cookie, 7);
    }

    #[test]
    fn targets_stay_below_the_root() {
        let target = |path: &str| {
            let annotations = [(TARGET_ANNOTATION.to_owned(), path.to_owned())].into();
            target(&annotations).map_err(|error| error.to_string())
        };
        assert_eq!(target("/sys/fs/bpf"), Ok("sys/fs/bpf".into()));
        assert_eq!(target("//mnt/./bpf/"), Ok("mnt/bpf".into()));
        for path in ["/", "", "mnt", "/../etc", "/mnt/../../etc", "../etc", "/."] {
            let error = target(path).expect_err(path);
            assert!(error.contains("org.bpf-token.target="), "{error}");
        }
        let none = super::target(&Annotations::new()).unwrap();
        assert_eq!(none, Path::new("sys/fs/bpf"));
    }
}
