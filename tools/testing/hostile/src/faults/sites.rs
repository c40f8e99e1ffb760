// SPDX-License-Identifier: GPL-2.0

//! The places that allocate, as an operation's faults show them.
//!
//! Now and then an allocation needs another one, of pages for its cache. The numbers of those after it shift then, and
//! the next attempt passes over one of them. That shows where kmemleak's allocation for an object has failed, but the
//! object's own never has.

use std::collections::BTreeMap;

/// Where the number of the allocation is one, or two, before that of what it brings about.
const BEFORE: [u32; 6] = [1, 2, 1, 2, 1, 2];

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

/// The callers of each allocation.
#[derive(Default)]
pub struct Sites(BTreeMap<Vec<String>, Site>);

impl Sites {
    /// Notes where the nth allocation failed.
    pub fn note(&mut self, nth: u32, stack: &[String]) {
        let inner = stack.iter().rposition(|function| brings_about(function));
        let mut callers = stack[inner.map_or(0, |inner| inner + 1)..].to_vec();
        // The slab allocator decides on the fault here, and needs memory itself there.
        let Some(allocator) = callers.first_mut() else {
            return;
        };
        *allocator = name(allocator).to_owned();
        if !SLAB.contains(&allocator.as_str()) {
            return;
        }
        let site = self.0.entry(callers).or_default();
        match inner {
            None => site.itself = true,
            Some(_) => site.brought_about = Some(nth),
        }
    }

    /// The callers of an allocation that was passed over, and the numbers that it may have.
    pub fn passed_over(&self) -> Option<(Vec<String>, impl Iterator<Item = u32>)> {
        self.0.iter().find_map(|(callers, site)| {
            let nth = site.brought_about.filter(|_| !site.itself)?;
            let numbers = BEFORE
                .into_iter()
                .map(move |before| nth.saturating_sub(before));
            Some((callers.clone(), numbers.filter(|nth| *nth > 0)))
        })
    }

    /// Whether the allocation of these callers has failed itself.
    pub fn met(&self, callers: &[String]) -> bool {
        self.0.get(callers).is_some_and(|site| site.itself)
    }

    /// Looks no more for the allocation of these callers.
    pub fn give_up(&mut self, callers: &[String]) {
        self.0.remove(callers);
    }
}
