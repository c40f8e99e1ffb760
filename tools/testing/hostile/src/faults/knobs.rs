// SPDX-License-Identifier: GPL-2.0

//! What the kernel's fault injection spares by default, and must not spare here.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;

use crate::kmemleak;

/// Under debugfs. Which allocation fails is up to `fail-nth`, which the other knobs do not concern.
const KNOBS: [(&str, &str); 7] = [
    ("failslab/ignore-gfp-wait", "N"),
    ("failslab/cache-filter", "N"),
    ("failslab/verbose", "0"),
    ("fail_page_alloc/ignore-gfp-wait", "N"),
    ("fail_page_alloc/ignore-gfp-highmem", "N"),
    ("fail_page_alloc/min-order", "0"),
    ("fail_page_alloc/verbose", "0"),
];

/// Puts the knobs back at the end.
pub struct Knobs(Vec<(PathBuf, String)>);

impl Knobs {
    pub fn turn() -> Result<Self> {
        kmemleak::mount_debugfs()?;
        let mut knobs = Self(Vec::new());
        for (name, value) in KNOBS {
            let path = PathBuf::from("/sys/kernel/debug").join(name);
            let previous = fs::read_to_string(&path).with_context(|| {
                let path = path.display();
                format!(
                    "{path} is not there: this needs a kernel with CONFIG_FAILSLAB and CONFIG_FAIL_PAGE_ALLOC (make vm \
                     KERNEL=debug)"
                )
            })?;
            fs::write(&path, value).with_context(|| format!("{value} to {}", path.display()))?;
            knobs.0.push((path, previous));
        }
        Ok(knobs)
    }
}

impl Drop for Knobs {
    fn drop(&mut self) {
        for (path, previous) in &self.0 {
            if let Err(error) = fs::write(path, previous) {
                eprintln!("{}: {error}", path.display());
            }
        }
    }
}
