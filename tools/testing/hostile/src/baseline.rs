// SPDX-License-Identifier: GPL-2.0

//! The state of the kernel before, and whether it is back there after.

use std::fs;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use guest::container;
use guest::container::Delegation;
use guest::kernel::Log;

use crate::counts::drop_caches;
use crate::counts::Counts;
use crate::kmemleak::Kmemleak;
use crate::probes::Life;
use crate::probes::Probes;

/// How long work items, RCU grace periods and the collection of sockets in flight may take in an emulated guest.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long nothing must become less to be taken for steady.
const QUIET: Duration = Duration::from_secs(4);

/// The state before.
pub struct Baseline {
    counts: Counts,
    mounts: String,
    probes: Option<Probes>,
    kmemleak: Option<Kmemleak>,
    log: Log,
}

impl Baseline {
    /// Notes how things are, with kprobes on what begins and ends from now on if `probing`. What is made before is not
    /// to be closed until the check.
    pub fn take(probing: bool) -> Result<Self> {
        let probes = probing.then(Probes::start).transpose()?;
        let kmemleak = Kmemleak::exists()?
            .then(Kmemleak::from_now_on)
            .transpose()?;
        let log = Log::from_now_on();
        first_use(probes.as_ref())?;
        Ok(Self {
            counts: steady_counts()?,
            mounts: mounts()?,
            probes,
            kmemleak,
            log,
        })
    }

    /// Waits until everything is back, prints what was looked at, and fails if something is left.
    pub fn check(mut self) -> Result<()> {
        let beyond = self.settle()?;
        let mut left: Vec<_> = beyond
            .into_iter()
            .map(|(kind, more)| format!("{kind}: {more} more than before"))
            .collect();
        drop_caches()?;
        println!("before: {}\nafter: {}", self.counts, Counts::now()?);
        for Life { kind, made, ended } in self.lives()? {
            println!("{kind}: {made} made, {ended} ended");
        }
        if mounts()? != self.mounts {
            left.push("the mounts of the initial namespace are not what they were".to_owned());
        }
        if let Some(kmemleak) = &self.kmemleak {
            let leaks = kmemleak.leaks()?;
            println!("kmemleak: {} leaks", leaks.len());
            left.extend(leaks.into_iter().map(|leak| leak.report));
        } else {
            println!("kmemleak: not in this kernel");
        }
        left.extend(self.log.complaints());
        ensure!(left.is_empty(), "not as before:\n{}", left.join("\n"));
        println!("all is back where it was");
        Ok(())
    }

    /// Waits until there is no more of anything than before, and tells what there still is more of.
    pub fn settle(&self) -> Result<Vec<(&'static str, u64)>> {
        let start = Instant::now();
        loop {
            drop_caches()?;
            let mut left = Counts::now()?.beyond(&self.counts);
            for Life { kind, made, ended } in self.lives()? {
                if made != ended {
                    left.push((kind, made.abs_diff(ended)));
                }
            }
            if left.is_empty() || start.elapsed() > PATIENCE {
                return Ok(left);
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    fn lives(&self) -> Result<Vec<Life>> {
        self.probes.as_ref().map_or(Ok(Vec::new()), Probes::lives)
    }
}

/// Uses once what the kernel keeps an inode of from then on.
fn first_use(probes: Option<&Probes>) -> Result<()> {
    container::run(&Delegation::ANY, |instance| {
        container::attach(&instance);
        instance.token();
    });
    if let Some(probes) = probes {
        probes.lives()?;
    }
    mounts().map(drop)
}

/// Counts when nothing becomes less any more: what others are about to give up, such as those who booted the system,
/// would make room for a leak.
fn steady_counts() -> Result<Counts> {
    let start = Instant::now();
    let mut before = Counts::now()?;
    loop {
        thread::sleep(QUIET);
        drop_caches()?;
        let now = Counts::now()?;
        let fallen = before.beyond(&now);
        if fallen.is_empty() {
            return Ok(before);
        }
        ensure!(
            start.elapsed() < PATIENCE,
            "the system does not come to rest: {fallen:?} less than {} s ago",
            QUIET.as_secs()
        );
        before = now;
    }
}

fn mounts() -> Result<String> {
    const PATH: &str = "/proc/self/mountinfo";
    fs::read_to_string(PATH).context(PATH)
}
