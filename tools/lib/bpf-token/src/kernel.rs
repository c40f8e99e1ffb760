// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the running kernel knows of what can be delegated: another one than Linux 7.3 may know less,
//! or more.

use std::fmt;
use std::sync::OnceLock;

use crate::btf::Btf;
use crate::grant::Items;
use crate::info::AnyMask;
use crate::kind::Kind;
use crate::mask::values;

/// The commands and types that a kernel knows, by its BTF.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    /// Names and values, in the order of [`Kind::ALL`]; none if they are not known.
    enums: Option<[Vec<(String, u32)>; 4]>,
}

impl Kernel {
    /// The running kernel. Its BTF is read once.
    pub fn running() -> &'static Self {
        static RUNNING: OnceLock<Kernel> = OnceLock::new();
        RUNNING.get_or_init(|| Btf::of_kernel().map_or_else(Self::default, |btf| Self::new(&btf)))
    }

    fn new(btf: &Btf) -> Self {
        let mut enums = btf.enums(Kind::ALL.map(|kind| kind.enumeration));
        for (names, kind) in enums.iter_mut().zip(Kind::ALL) {
            // Also in the enum: the number of values, and flags.
            names.retain(|(name, value)| name.starts_with(kind.prefix) && *value < u64::BITS);
            for (name, _) in names.iter_mut() {
                *name = name[kind.prefix.len()..].to_ascii_lowercase();
            }
        }
        let found = enums.iter().all(|names| !names.is_empty());
        Self {
            enums: found.then_some(enums),
        }
    }

    /// The bits of all values of a kind that this kernel has; none if it has no BTF to tell.
    ///
    /// ```
    /// use bpf_token::{Cmd, Enumerator, Kernel};
    /// if let Some(known) = Kernel::running().known(Cmd::KIND) {
    ///     println!("this kernel has {} commands", known.count_ones());
    /// }
    /// ```
    pub fn known(&self, kind: &Kind) -> Option<u64> {
        let names = self.names(kind)?;
        Some(names.iter().fold(0, |bits, (_, value)| bits | (1 << value)))
    }

    /// The value of a name that Linux 7.3 does not have.
    pub(crate) fn value(&self, kind: &Kind, name: &str) -> Option<u32> {
        let names = self.names(kind)?;
        let found = names.iter().find(|(other, _)| other == name);
        found.map(|&(_, value)| value)
    }

    fn names(&self, kind: &Kind) -> Option<&[(String, u32)]> {
        let at = Kind::ALL.iter().position(|other| *other == kind)?;
        Some(&self.enums.as_ref()?[at])
    }

    /// A set as this kernel shows it in `/proc/mounts`: `any` if all that it knows is in the set.
    pub fn show(&self, mask: AnyMask) -> String {
        match self.known(mask.kind) {
            Some(known) if mask.bits & known == known => "any".to_owned(),
            _ => mask.to_string(),
        }
    }

    /// What was asked for by name and this kernel lacks.
    pub(crate) fn missing(&self, kind: &'static Kind, items: &Items) -> Vec<Missing> {
        let (Some(known), Some(names)) = (self.known(kind), self.names(kind)) else {
            return Vec::new();
        };
        let old = values(items.named & !known).map(|value| kind.label(value));
        let new = items.newer.iter().filter(|name| {
            let same = |(other, _): &(String, u32)| other == *name;
            !names.iter().any(same)
        });
        old.chain(new.cloned())
            .map(|name| Missing { kind, name })
            .collect()
    }
}

/// A name that the running kernel does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missing {
    /// The kind that the name would be one of.
    pub kind: &'static Kind,
    /// The name.
    pub name: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} \"{}\"", self.kind.noun, self.name)?;
        match self.kind.value(&self.name) {
            Some(_) => f.write_str(" (Linux 7.3 has it)"),
            None => f.write_str(&self.kind.suggestion(&self.name)),
        }
    }
}

#[cfg(test)]
impl Kernel {
    /// A kernel that has the first three of each kind.
    pub(crate) fn old() -> Self {
        let enums = Kind::ALL.map(|kind| {
            let names = kind.names.iter().take(3).zip(0..);
            names
                .map(|(name, value)| ((*name).to_owned(), value))
                .collect()
        });
        Self { enums: Some(enums) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delegation::Delegation;
    use crate::info::TokenInfo;

    #[test]
    fn names_that_the_kernel_lacks_are_told() {
        let check = |text: &str| {
            let delegation: Delegation = text.parse().unwrap();
            delegation
                .check(&Kernel::old())
                .map_err(|error| error.to_string())
        };
        assert_eq!(
            check("delegate_maps=hash:0xffffffffff,delegate_progs=any"),
            Ok(())
        );
        let error = check("delegate_maps=hash:rhash:ring_buf,delegate_progs=kprobe").unwrap_err();
        assert_eq!(
            error,
            "this kernel has no map type \"rhash\" (Linux 7.3 has it), no map type \"ring_buf\" \
             (is \"ringbuf\" meant?)"
        );
        let delegation: Delegation = "delegate_maps=rhash:teleport".parse().unwrap();
        assert!(delegation.check(&Kernel::default()).is_ok());
    }

    #[test]
    fn any_is_what_the_kernel_knows() {
        let shown = |kernel: &Kernel| {
            let info = TokenInfo::from_bits([7, 6, u64::MAX, 0]);
            info.masks().map(|mask| kernel.show(mask))
        };
        assert_eq!(shown(&Kernel::old()), ["any", "hash:array", "any", ""]);
        let [cmds, ..] = shown(&Kernel::default());
        assert_eq!(cmds, "map_create:map_lookup_elem:map_update_elem");
    }
}
