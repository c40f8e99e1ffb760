// SPDX-License-Identifier: GPL-2.0

//! The places that allocate, as an operation's faults show them.
//!
//! Now and then an allocation needs another one, of pages for its cache. The numbers of those after it shift then, and
//! the next attempt may pass over one of them. So a number is tried again when it was that of a place known before;
//! and what was passed over all the same shows where kmemleak's allocation for an object has failed, but the object's
//! own never has.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// How far the number of an allocation may be from that of what it brings about, the likeliest first.
const AROUND: [i32; 8] = [-1, -2, -3, 0, -4, 1, -5, 2];

/// How often these are tried, as the next attempt may be one of those that shift.
const ROUNDS: usize = 3;

/// What the code under test is called in a chain of callers.
const OURS: [&str; 3] = ["bpf_token", "bpf_delegation", "bpf_admit"];

/// The slab allocator, as it is called.
const SLAB: [&str; 6] = [
    "kmem_cache_alloc_noprof",
    "kmem_cache_alloc_lru_noprof",
    "kmem_cache_alloc_node_noprof",
    "__kmalloc_cache_noprof",
    "__kmalloc_noprof",
    "__kmalloc_node_track_caller_noprof",
];

/// Whether the function allocates memory for the sake of another allocation.
fn brings_about(function: &str) -> bool {
    ["__create_object", "___slab_alloc"].contains(&name(function))
}

/// A function without the offset in it.
fn name(function: &str) -> &str {
    function.split('+').next().unwrap_or_default()
}

/// A chain of callers, the innermost first, without the offsets in them.
pub fn told(stack: &[String]) -> String {
    let names: Vec<_> = stack.iter().map(|function| name(function)).collect();
    names.join(" < ")
}

/// What of an allocation has failed.
#[derive(Default)]
struct Site {
    itself: bool,
    /// The number at which something that it brought about failed.
    brought_about: Option<u32>,
}

/// The places that an operation's faults were met in.
#[derive(Default)]
pub struct Sites {
    known: BTreeSet<Vec<String>>,
    /// By their callers, the allocations from slabs.
    objects: BTreeMap<Vec<String>, Site>,
}

impl Sites {
    /// Notes where the nth allocation failed, and tells whether the place is a new one.
    pub fn note(&mut self, nth: u32, stack: &[String]) -> bool {
        let inner = stack.iter().rposition(|function| brings_about(function));
        let mut callers = stack[inner.map_or(0, |inner| inner + 1)..].to_vec();
        if let Some(allocator) = callers.first_mut() {
            // The slab allocator decides on the fault in one place of it, and needs memory itself in another.
            *allocator = name(allocator).to_owned();
            if SLAB.contains(&allocator.as_str()) {
                let site = self.objects.entry(callers).or_default();
                match inner {
                    None => site.itself = true,
                    Some(_) => site.brought_about = Some(nth),
                }
            }
        }
        self.known.insert(stack.to_vec())
    }

    /// The callers of an allocation that was passed over, and the numbers that it may have.
    pub fn passed_over(&self) -> Option<(Vec<String>, impl Iterator<Item = u32>)> {
        self.objects.iter().find_map(|(callers, site)| {
            let nth = site.brought_about.filter(|_| !site.itself)?;
            let numbers = std::iter::repeat_n(AROUND, ROUNDS)
                .flatten()
                .filter_map(move |distance| nth.checked_add_signed(distance));
            Some((callers.clone(), numbers.filter(|nth| *nth > 0)))
        })
    }

    /// Whether the allocation of these callers has failed itself.
    pub fn met(&self, callers: &[String]) -> bool {
        self.objects.get(callers).is_some_and(|site| site.itself)
    }

    /// Looks no more for the allocation of these callers.
    pub fn give_up(&mut self, callers: &[String]) {
        self.objects.remove(callers);
    }
}

/// Whether the code under test is among the callers.
pub fn is_ours(callers: &[String]) -> bool {
    let ours = |caller: &String| OURS.iter().any(|name| caller.contains(name));
    callers.iter().any(ours)
}
