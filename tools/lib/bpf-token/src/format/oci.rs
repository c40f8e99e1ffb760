// SPDX-License-Identifier: MIT OR Apache-2.0
//! Annotations of an OCI container, which `bpftoken oci-hook` reads.

use serde_json::json;
use serde_json::Map;
use serde_json::Value;

use crate::delegation::Delegation;
use crate::delegation::COOKIE;
use crate::error::Error;
use crate::error::Result;
use crate::format::ended;
use crate::format::object;
use crate::format::unknown;
use crate::kind::Kind;

/// What the annotations of a delegation begin with; the name of the mount option follows.
pub const ANNOTATION_PREFIX: &str = "org.bpf-token.";

/// The annotation that names the directory to mount the BPF FS on; `/sys/fs/bpf` without it.
pub const TARGET_ANNOTATION: &str = "org.bpf-token.target";

pub(super) fn write(delegation: &Delegation) -> String {
    let annotation = |(kind, value): (&Kind, String)| {
        let key = format!("{ANNOTATION_PREFIX}{}", kind.option);
        (key, Value::String(value))
    };
    let all = delegation.named_options().into_iter().map(annotation);
    let cookie = (delegation.cookie != 0).then(|| {
        let value = Value::String(delegation.cookie.to_string());
        (format!("{ANNOTATION_PREFIX}{COOKIE}"), value)
    });
    let all: Map<String, Value> = all.chain(cookie).collect();
    ended(super::json(&json!({ "annotations": all })))
}

/// Reads a `config.json`, a part of one that has `annotations`, or the annotations alone.
pub(super) fn read(text: &str) -> Result<Delegation> {
    let mut object = object(text)?;
    let annotations = match object.remove("annotations") {
        None => object,
        Some(Value::Object(annotations)) => annotations,
        Some(_) => {
            let error = "\"annotations\" is no object of strings";
            return Err(Error::Invalid(error.to_owned()));
        }
    };
    let mut texts = Vec::new();
    for (key, value) in &annotations {
        match value {
            Value::String(value) => texts.push((key.as_str(), value.as_str())),
            _ if key.starts_with(ANNOTATION_PREFIX) => {
                return Err(Error::Invalid(format!("{key}: its value is no string")));
            }
            _ => {}
        }
    }
    from_annotations(texts)
}

/// The delegation that the annotations of a container ask for; those of others are passed over.
///
/// ```
/// let annotations = [("org.bpf-token.delegate_maps", "array,ringbuf"), ("run.oci.handler", "krun")];
/// let delegation = bpf_token::from_annotations(annotations)?;
/// assert_eq!(delegation.to_string(), "delegate_maps=array:ringbuf");
/// # Ok::<(), bpf_token::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Invalid`] for an annotation that begins as ours do and is none; [`Error::Syntax`] for an
/// item that no kernel accepts.
pub fn from_annotations<'a>(
    annotations: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Delegation> {
    let mut delegation = Delegation::new();
    for (key, value) in annotations {
        let Some(option) = key.strip_prefix(ANNOTATION_PREFIX) else {
            continue;
        };
        if key == TARGET_ANNOTATION {
            continue;
        }
        if option != COOKIE && !Kind::ALL.iter().any(|kind| kind.option == option) {
            let keys = Kind::ALL.map(|kind| format!("{ANNOTATION_PREFIX}{}", kind.option));
            let keys = keys.iter().map(String::as_str);
            let cookie = format!("{ANNOTATION_PREFIX}{COOKIE}");
            let keys: Vec<&str> = keys.chain([&*cookie, TARGET_ANNOTATION]).collect();
            return Err(unknown("annotation of a delegation", key, keys));
        }
        delegation.add_option(option, value)?;
    }
    Ok(delegation)
}
