// SPDX-License-Identifier: GPL-2.0

//! The four enums that are delegated from, as the running kernel's BTF has them, and the names and the
//! display that follow from them by C's rule. Nothing here comes from the tables of the implementation
//! under test.

use std::sync::OnceLock;

use crate::btf;

pub struct Kind {
    /// The mount option.
    pub option: &'static str,
    /// What a message calls one enumerator, with its article.
    pub noun: &'static str,
    enum_name: &'static str,
    pub prefix: &'static str,
    max: &'static str,
    enumerators: OnceLock<Vec<(String, i64)>>,
}

pub static CMDS: Kind = Kind::new(
    "delegate_cmds",
    "a bpf() command",
    "bpf_cmd",
    "BPF_",
    "__MAX_BPF_CMD",
);
pub static MAPS: Kind = Kind::new(
    "delegate_maps",
    "a map type",
    "bpf_map_type",
    "BPF_MAP_TYPE_",
    "__MAX_BPF_MAP_TYPE",
);
pub static PROGS: Kind = Kind::new(
    "delegate_progs",
    "a program type",
    "bpf_prog_type",
    "BPF_PROG_TYPE_",
    "__MAX_BPF_PROG_TYPE",
);
pub static ATTACHS: Kind = Kind::new(
    "delegate_attachs",
    "an attach type",
    "bpf_attach_type",
    "BPF_",
    "__MAX_BPF_ATTACH_TYPE",
);

pub static ALL: [&Kind; 4] = [&CMDS, &MAPS, &PROGS, &ATTACHS];

impl Kind {
    const fn new(
        option: &'static str,
        noun: &'static str,
        enum_name: &'static str,
        prefix: &'static str,
        max: &'static str,
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

    fn enumerators(&self) -> &[(String, i64)] {
        self.enumerators
            .get_or_init(|| btf::enumerators(self.enum_name))
    }

    /// The bits that have an enumerator.
    pub fn known(&self) -> u64 {
        let max = self.enumerators().iter().find(|(name, _)| name == self.max);
        let (_, max) = max.unwrap_or_else(|| panic!("{} has no {}", self.enum_name, self.max));
        (1 << max) - 1
    }

    /// The names, with aliases, in the order of the enum, each with the bit that it stands for.
    pub fn names(&self) -> impl Iterator<Item = (String, u64)> + use<'_> {
        self.enumerators().iter().filter_map(|(name, value)| {
            let name = name.strip_prefix(self.prefix)?;
            // BPF_COMMON_ATTRS is a flag of bpf(2), and not a command.
            (*value < 64).then(|| (name.to_ascii_lowercase(), 1 << value))
        })
    }

    /// The bit of a name.
    pub fn bit(&self, name: &str) -> u64 {
        let found = self.names().find(|(found, _)| found == name);
        let (_, bit) = found.unwrap_or_else(|| panic!("{} has no {name}", self.enum_name));
        bit
    }

    /// What a mask is shown as: `seq_print_delegate_opts()` of kernel/bpf/inode.c. Of aliases, the first
    /// is shown; of bits without an enumerator, none.
    pub fn show(&self, mask: u64) -> Option<String> {
        let mut rest = mask & self.known();
        if rest == 0 {
            return None;
        }
        if rest == self.known() {
            return Some(format!("{}=any", self.option));
        }
        let mut shown = Vec::new();
        for (name, bit) in self.names() {
            if rest & bit != 0 {
                rest &= !bit;
                shown.push(name);
            }
        }
        if rest != 0 {
            shown.push(format!("{rest:#x}"));
        }
        Some(format!("{}={}", self.option, shown.join(":")))
    }
}
