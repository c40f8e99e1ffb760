// SPDX-License-Identifier: GPL-2.0

//! What addresses there are for attributes: names for them, and those that are let pass.

use crate::layout::memory;

/// How many programs there are.
pub fn programs() -> u64 {
    memory::programs().len() as u64
}

pub fn program(index: u64) -> u64 {
    (memory::INSNS + index as usize * memory::INSNS_STEP) as u64
}

/// How many instructions a program has.
pub fn length(index: u64) -> u64 {
    memory::programs()[index as usize].len() as u64
}

const NAMED: [(&str, usize); 5] = [
    ("LICENSE", memory::LICENSE),
    ("OTHER_LICENSE", memory::OTHER_LICENSE),
    ("BTF", memory::BTF),
    ("INFO", memory::INFO),
    ("LOG", memory::LOG),
];

pub fn name(address: u64) -> Option<String> {
    let mut named = NAMED.iter();
    let named = named.find(|(_, at)| *at as u64 == address);
    let named = named.map(|(name, _)| (*name).to_owned());
    named.or_else(|| {
        let index = (0..programs()).find(|index| program(*index) == address);
        index.map(|index| format!("PROG{index}"))
    })
}

pub fn address(name: &str) -> Option<u64> {
    if let Some(index) = name.strip_prefix("PROG") {
        let index = index.parse().ok()?;
        return (index < programs()).then(|| program(index));
    }
    let mut named = NAMED.iter();
    let named = named.find(|(known, _)| *known == name);
    named.map(|(_, at)| *at as u64)
}

/// The address itself, if it is of the arena and may stand in such a field, or is none at all; another that is none, if not.
pub fn allowed(address: u64, field: &str) -> u64 {
    const NOWHERE: u64 = 1 << 63;
    let is_page_0 = address < 4096;
    let is_named = name(address).is_some();
    let written = match field {
        "log_buf" | "btf_log_buf" => Some(memory::LOG as u64),
        "info" => Some(memory::INFO as u64),
        _ => None,
    };
    if is_page_0 || written.map_or(is_named, |only| address == only) {
        address
    } else {
        address | NOWHERE
    }
}
