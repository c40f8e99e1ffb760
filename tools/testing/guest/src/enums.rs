// SPDX-License-Identifier: GPL-2.0

//! The four enums that are delegated from, as the BTF of a kernel has them, and the names and the display that follow from
//! them by C's rule. Nothing here comes from the tables of the implementation under test.

use std::sync::OnceLock;

use libbpf_rs::btf::Btf;

use crate::btf;

/// One of the four mount options, and the enum that it takes names from.
pub struct Kind {
    pub option: &'static str,
    /// What a message calls one enumerator.
    pub noun: &'static str,
    enum_name: &'static str,
    pub prefix: &'static str,
    max: &'static str,
    enumerators: OnceLock<Enumerators>,
}

pub static CMDS: Kind = Kind::new(
    ["delegate_cmds", "bpf() command"],
    ["bpf_cmd", "BPF_", "__MAX_BPF_CMD"],
);
pub static MAPS: Kind = Kind::new(
    ["delegate_maps", "map type"],
    ["bpf_map_type", "BPF_MAP_TYPE_", "__MAX_BPF_MAP_TYPE"],
);
pub static PROGS: Kind = Kind::new(
    ["delegate_progs", "program type"],
    ["bpf_prog_type", "BPF_PROG_TYPE_", "__MAX_BPF_PROG_TYPE"],
);
pub static ATTACHS: Kind = Kind::new(
    ["delegate_attachs", "attach type"],
    ["bpf_attach_type", "BPF_", "__MAX_BPF_ATTACH_TYPE"],
);

/// In the order of `struct bpf_mount_opts`.
pub static ALL: [&Kind; 4] = [&CMDS, &MAPS, &PROGS, &ATTACHS];

impl Kind {
    const fn new(
        [option, noun]: [&'static str; 2],
        [enum_name, prefix, max]: [&'static str; 3],
    ) -> Self {
        Self {
            option,
            noun,
            enum_name,
            prefix,
            max,
            enumerators: OnceLock::new(),
        }
    }

    /// The noun with its article.
    pub fn one(&self) -> String {
        let vowel = self.noun.starts_with('a');
        format!("{} {}", if vowel { "an" } else { "a" }, self.noun)
    }

    /// Those of the running kernel.
    fn enumerators(&self) -> &Enumerators {
        self.enumerators
            .get_or_init(|| Enumerators::read(&btf::vmlinux(), self))
    }

    /// The bits that have an enumerator.
    pub fn known(&self) -> u64 {
        self.enumerators().known
    }

    /// The names, with aliases, in the order of the enum, each with the bit that it stands for.
    pub fn names(&self) -> impl Iterator<Item = (String, u64)> + use<'_> {
        let names = self.enumerators().names.iter();
        // BPF_COMMON_ATTRS is a flag of bpf(2), and not a command.
        let names = names.filter(|(_, value)| *value < 64);
        names.map(|(name, value)| (name.clone(), 1 << value))
    }

    /// The bit of a name.
    pub fn bit(&self, name: &str) -> u64 {
        let found = self.names().find(|(found, _)| found == name);
        let (_, bit) = found.unwrap_or_else(|| panic!("{} has no {name}", self.enum_name));
        bit
    }

    /// What a mask is shown as on the running kernel.
    pub fn show(&self, mask: u64) -> Option<String> {
        self.enumerators().show(self, mask)
    }
}

/// The enumerators of one enum.
#[derive(Clone)]
pub struct Enumerators {
    /// Their names without the prefix, in the order of the enum, aliases too.
    pub names: Vec<(String, i64)>,
    /// The bits that have an enumerator.
    pub known: u64,
}

impl Enumerators {
    pub fn read(btf: &Btf<'_>, kind: &Kind) -> Self {
        let all = btf::enumerators_of(btf, kind.enum_name);
        let max = all.iter().find(|(name, _)| name == kind.max);
        let (_, max) = max.unwrap_or_else(|| panic!("{} has no {}", kind.enum_name, kind.max));
        let known = (1 << max) - 1;
        let names = all.iter().filter_map(|(name, value)| {
            let bare = name.strip_prefix(kind.prefix)?;
            Some((bare.to_ascii_lowercase(), *value))
        });
        let names = names.collect();
        Self { names, known }
    }

    /// The value of a name, in whatever case.
    pub fn value_of(&self, name: &[u8]) -> Option<i64> {
        let is_name = |(found, _): &&(String, i64)| found.as_bytes().eq_ignore_ascii_case(name);
        self.names.iter().find(is_name).map(|(_, value)| *value)
    }

    /// The name that an enumerator is shown by, or its number.
    pub fn name_of(&self, value: u32) -> String {
        let is_value = |(_, found): &&(String, i64)| *found == i64::from(value);
        let found = self.names.iter().find(is_value);
        found.map_or_else(|| value.to_string(), |(name, _)| name.clone())
    }

    /// The words of a mask: `any`, or names in the order of the enum and then the rest. Of aliases, the first is shown.
    pub fn words(&self, mask: u64) -> String {
        if mask & self.known == self.known {
            return "any".to_owned();
        }
        let mut rest = mask;
        let mut words = Vec::new();
        for (name, value) in &self.names {
            if (0..64).contains(value) && rest & (1 << value) != 0 {
                rest &= !(1 << value);
                words.push(name.clone());
            }
        }
        if rest != 0 || words.is_empty() {
            words.push(format!("{rest:#x}"));
        }
        words.join(":")
    }

    /// The option that a mount is shown with: `seq_print_delegate_opts()` of kernel/bpf/inode.c. Bits without an enumerator
    /// are not shown.
    pub fn show(&self, kind: &Kind, mask: u64) -> Option<String> {
        let known = mask & self.known;
        (known != 0).then(|| format!("{}={}", kind.option, self.words(known)))
    }
}
