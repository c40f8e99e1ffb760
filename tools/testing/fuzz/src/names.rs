// SPDX-License-Identifier: GPL-2.0

//! The four enums that are delegated from, as the BTF of a kernel has them, and how C shows a mask by them.

use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use libbpf_rs::btf::types::Enum;
use libbpf_rs::btf::Btf;
use serde::Deserialize;
use serde::Serialize;

/// One of the four mount options, and the enum that it takes names from.
pub struct Kind {
    pub option: &'static str,
    /// What a message calls one enumerator.
    pub noun: &'static str,
    enum_name: &'static str,
    pub prefix: &'static str,
    max: &'static str,
}

impl Kind {
    /// The noun with its article.
    pub fn one(&self) -> String {
        let article = if self.noun.starts_with('a') {
            "an"
        } else {
            "a"
        };
        format!("{article} {}", self.noun)
    }
}

/// In the order of `struct bpf_mount_opts`.
pub const KINDS: [Kind; 4] = [
    Kind {
        option: "delegate_cmds",
        noun: "bpf() command",
        enum_name: "bpf_cmd",
        prefix: "BPF_",
        max: "__MAX_BPF_CMD",
    },
    Kind {
        option: "delegate_maps",
        noun: "map type",
        enum_name: "bpf_map_type",
        prefix: "BPF_MAP_TYPE_",
        max: "__MAX_BPF_MAP_TYPE",
    },
    Kind {
        option: "delegate_progs",
        noun: "program type",
        enum_name: "bpf_prog_type",
        prefix: "BPF_PROG_TYPE_",
        max: "__MAX_BPF_PROG_TYPE",
    },
    Kind {
        option: "delegate_attachs",
        noun: "attach type",
        enum_name: "bpf_attach_type",
        prefix: "BPF_",
        max: "__MAX_BPF_ATTACH_TYPE",
    },
];

pub const CMDS: usize = 0;
pub const MAPS: usize = 1;
pub const PROGS: usize = 2;
pub const ATTACHS: usize = 3;

/// The enumerators of one enum: their names without the prefix, in its order, aliases too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Enumerators {
    pub names: Vec<(String, i64)>,
    /// The bits that have an enumerator.
    pub known: u64,
}

pub type Names = [Enumerators; 4];

/// Reads them from a file with BTF: that of a kernel, or vmlinux.
pub fn read(path: &Path) -> Result<Names> {
    let btf = Btf::from_path(path).with_context(|| format!("no BTF in {}", path.display()))?;
    let read = |kind: &Kind| Enumerators::read(&btf, kind);
    let [cmds, maps, progs, attachs] = &KINDS;
    Ok([read(cmds)?, read(maps)?, read(progs)?, read(attachs)?])
}

impl Enumerators {
    fn read(btf: &Btf<'_>, kind: &Kind) -> Result<Self> {
        let of_enum: Enum<'_> = btf
            .type_by_name(kind.enum_name)
            .with_context(|| format!("the BTF has no enum {}", kind.enum_name))?;
        let mut names = Vec::new();
        let mut max = None;
        for member in of_enum.iter() {
            let name = member.name.unwrap_or_default().to_string_lossy();
            if name == kind.max {
                max = Some(member.value);
            }
            if let Some(bare) = name.strip_prefix(kind.prefix) {
                names.push((bare.to_ascii_lowercase(), member.value));
            }
        }
        let max = max.with_context(|| format!("the BTF has no {}", kind.max))?;
        let known = (1 << max) - 1;
        Ok(Self { names, known })
    }

    /// The value of a name, in whatever case.
    pub fn value_of(&self, name: &[u8]) -> Option<i64> {
        let is_name = |found: &&(String, i64)| found.0.as_bytes().eq_ignore_ascii_case(name);
        self.names.iter().find(is_name).map(|(_, value)| *value)
    }

    /// The name that an enumerator is shown by, or its number.
    pub fn name_of(&self, value: u32) -> String {
        let found = self
            .names
            .iter()
            .find(|(_, found)| *found == i64::from(value));
        found.map_or_else(|| value.to_string(), |(name, _)| name.clone())
    }

    /// The words of a mask: `any`, or names in the order of the enum and then the rest.
    fn words(&self, mask: u64) -> String {
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

    /// What a reason shows of a mask.
    pub fn describe(&self, kind: usize, mask: u64) -> String {
        format!("{}={}", KINDS[kind].option, self.words(mask))
    }
}

/// The options that a mount is shown with: `seq_print_delegate_opts()` of kernel/bpf/inode.c. Bits without an
/// enumerator are not shown.
pub fn shown(names: &Names, masks: [u64; 4]) -> Vec<String> {
    let mut shown = Vec::new();
    for (kind, (enumerators, mask)) in names.iter().zip(masks).enumerate() {
        let known = mask & enumerators.known;
        if known != 0 {
            shown.push(enumerators.describe(kind, known));
        }
    }
    shown
}

/// What the fdinfo of a token shows of its masks.
pub fn fdinfo(names: &Names, masks: [u64; 4]) -> Vec<String> {
    let labels = ["cmds", "maps", "progs", "attachs"];
    let lines = labels.iter().zip(masks).zip(names);
    lines
        .map(|((label, mask), names)| {
            if mask & names.known == names.known {
                format!("allowed_{label}:\tany")
            } else {
                format!("allowed_{label}:\t{mask:#x}")
            }
        })
        .collect()
}
