// SPDX-License-Identifier: GPL-2.0

use anyhow::Result;

pub fn run() -> Result<()> {
    anyhow::bail!("not there yet")
}
