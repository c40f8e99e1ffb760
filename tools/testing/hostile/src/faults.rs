// SPDX-License-Identifier: GPL-2.0

//! Every allocation of every operation fails once, then descriptors and files run out.

mod attempt;
mod expected;
mod injector;
mod knobs;
mod operations;
mod points;
mod report;
mod series;
mod sites;

use anyhow::anyhow;
use anyhow::Context as _;
use anyhow::Result;
use guest::bpf;
use guest::kernel;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::thread::CpuSet;

use crate::kmemleak::Kmemleak;
use knobs::Knobs;
use operations::Operation;
use points::Points;
use series::Series;

#[derive(clap::Args)]
pub struct Arguments {
    /// Only this operation
    #[arg(long, value_name = "NAME")]
    operation: Option<String>,
    /// Fail only this allocation of it
    #[arg(long, value_name = "N", requires = "operation", value_parser = clap::value_parser!(u32).range(1..))]
    nth: Option<u32>,
    /// Tell where each fault was met
    #[arg(long)]
    points: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let operations = selected(arguments.operation.as_deref())?;
    let _knobs = Knobs::turn()?;
    prepare()?;

    // With a program there, there also is room for the code of others, whose lack would change what is allocated.
    let _program = bpf::prog_load(&operations::XDP, None).context("a program for root")?;
    let points = Points::watch()?;
    operations.iter().try_for_each(attempt::warm_up)?;
    points.read()?;
    let kmemleak = Kmemleak::from_now_on()?;
    let mut rows = Vec::new();
    for (index, operation) in operations.iter().enumerate() {
        let series = Series::new(index, operation, &points, arguments.points)?;
        let row = match arguments.nth {
            Some(nth) => series.run_one(nth),
            None => series.run()?,
        };
        eprintln!("  {row}");
        rows.push(row);
    }
    let others = report::attribute(kmemleak.leaks()?, &mut rows);
    report::tell(&rows)?;
    others
}

/// The operations to perform: all, or the one of that name.
fn selected(name: Option<&str>) -> Result<Vec<Operation>> {
    let all = operations::all();
    let Some(name) = name else {
        return Ok(all);
    };
    let names: Vec<_> = all.iter().map(|operation| operation.name).collect();
    let unknown = format!(
        "no operation is called '{name}'; there are: {}",
        names.join("; ")
    );
    let found = all.into_iter().find(|operation| operation.name == name);
    Ok(vec![found.context(unknown)?])
}

/// What the system must be like for the operations.
fn prepare() -> Result<()> {
    kernel::forbid_unprivileged_bpf().map_err(|failed| anyhow!("{failed:?}"))?;
    // What a processor has in store for itself is among what decides on allocations.
    let mut first = CpuSet::new();
    first.set(0);
    rustix::thread::sched_setaffinity(None, &first).context("sched_setaffinity")?;
    // Containers lock their memory, and inherit this.
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    rustix::process::setrlimit(Resource::Memlock, unlimited).context("RLIMIT_MEMLOCK")
}
