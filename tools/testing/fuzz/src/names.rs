// SPDX-License-Identifier: GPL-2.0

//! The four enums that are delegated from, as the BTF of a kernel has them, and what shows masks by them.

use std::path::Path;

use anyhow::Context;
use anyhow::Result;
use guest::enums::Enumerators;
pub use guest::enums::ALL as KINDS;
use libbpf_rs::btf::Btf;

pub const CMDS: usize = 0;
pub const MAPS: usize = 1;
pub const PROGS: usize = 2;
pub const ATTACHS: usize = 3;

/// In the order of `KINDS`.
pub type Names = [Enumerators; 4];

/// Reads them from a file with BTF: that of a kernel, or vmlinux.
pub fn read(path: &Path) -> Result<Names> {
    let btf = Btf::from_path(path).with_context(|| format!("no BTF in {}", path.display()))?;
    Ok(KINDS.map(|kind| Enumerators::read(&btf, kind)))
}

/// The options that a mount is shown with.
pub fn shown(names: &Names, masks: [u64; 4]) -> Vec<String> {
    let kinds = KINDS.iter().zip(names).zip(masks);
    let shown = kinds.filter_map(|((kind, names), mask)| names.show(kind, mask));
    shown.collect()
}

/// What the fdinfo of a token shows of its masks.
pub fn fdinfo(names: &Names, masks: [u64; 4]) -> Vec<String> {
    let labels = ["cmds", "maps", "progs", "attachs"];
    let lines = labels.iter().zip(masks).zip(names);
    let lines = lines.map(|((label, mask), names)| match mask & names.known {
        all if all == names.known => format!("allowed_{label}:\tany"),
        _ => format!("allowed_{label}:\t{mask:#x}"),
    });
    lines.collect()
}
