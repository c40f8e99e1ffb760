// SPDX-License-Identifier: GPL-2.0

//! What addresses there are for attributes: names for them, and those that are let pass.

use guest::attr::PAGE;

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
    const EDGE: u64 = memory::END as u64 - 16;
    let is_none = !(PAGE as u64..1 << 47).contains(&address);
    let is_allowed = match field {
        "log_buf" | "btf_log_buf" => address == memory::LOG as u64,
        "info" => {
            address == EDGE || (memory::INFO..memory::INFO + PAGE).contains(&(address as usize))
        }
        _ => (memory::START..memory::END).contains(&(address as usize)),
    };
    if is_none || is_allowed {
        address
    } else {
        address | NOWHERE
    }
}
