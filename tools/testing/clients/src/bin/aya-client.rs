// SPDX-License-Identifier: GPL-2.0
//! Loads all programs of a BPF object, given as a file, with aya as it is on crates.io.

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use aya::programs::Program;
use aya::Ebpf;

fn main() -> Result<()> {
    let file = std::env::args().nth(1).context("usage: aya-client FILE")?;
    let mut object = Ebpf::load_file(&file)?;
    for (name, program) in object.programs_mut() {
        match program {
            Program::SocketFilter(program) => program.load(),
            Program::Xdp(program) => program.load(),
            Program::KProbe(program) => program.load(),
            Program::TracePoint(program) => program.load(),
            other => bail!("{name}: {:?} is not tried here", other.prog_type()),
        }
        .with_context(|| name.to_owned())?;
        println!("loaded {name}");
    }
    Ok(())
}
