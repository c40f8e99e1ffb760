// SPDX-License-Identifier: GPL-2.0
//! Why a command was refused: what the library finds out is what a kernel with reasons tells.

use std::process::ExitCode;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::btf_by_id;
use bpf_token::load_btf;
use bpf_token::AttachType;
use bpf_token::Insn;
use bpf_token::MapAttr;
use bpf_token::MapType;
use bpf_token::Mask;
use bpf_token::ProgAttr;
use bpf_token::ProgType;
use bpf_token::Reason;
use bpf_token::Token;
use rustix::thread::CapabilitySet;
use serde_json::json;
use serde_json::Value;

use crate::world::path;
use crate::world::said;
use crate::world::World;
use crate::Test;

pub const TESTS: &[(&str, Test)] = &[
    ("reasons::same_words", same_words),
    ("reasons::verifier_log", verifier_log),
];

/// The first argument of this program when it tells of every refusal, in JSON.
pub const ROLE: &str = "refusals";

fn all(token: Option<&Token>) -> Vec<Value> {
    let mut all = Vec::new();
    let mut note = |what: String, made: bpf_token::Result<_>, found: Option<Reason>| {
        let Err(error) = made else {
            return;
        };
        all.push(json!({
            "what": what,
            "errno": error.errno().and_then(bpf_token::Errno::name),
            "told": error.reason().as_str(),
            "by_kernel": error.reason().is_from_kernel(),
            "found": found.map(|reason| reason.as_str().to_owned()),
        }));
    };
    for map_type in Mask::<MapType>::KNOWN.iter() {
        let map = MapAttr::new(map_type, 4, 4, 1);
        note(
            format!("map {map_type}"),
            map.create(token),
            map.why_refused(token),
        );
    }
    let insns = [Insn::mov64_imm(0, 0), Insn::exit()];
    for prog_type in Mask::<ProgType>::KNOWN.iter() {
        for attach_type in [AttachType::CGROUP_INET_INGRESS, AttachType::XDP] {
            let program = ProgAttr::new(prog_type, &insns).loaded_for(attach_type);
            let what = format!("program {prog_type} for {attach_type}");
            note(what, program.load(token), program.why_refused(token));
        }
    }
    note("BTF".to_owned(), load_btf(&[0; 4], token), None);
    note("BTF by id".to_owned(), btf_by_id(1, token), None);
    all
}

/// What the process lacks, in turn, of the capabilities that decide.
const DROPPED: [&[CapabilitySet]; 5] = [
    &[],
    &[CapabilitySet::NET_ADMIN, CapabilitySet::SYS_ADMIN],
    &[CapabilitySet::PERFMON, CapabilitySet::SYS_ADMIN],
    &[CapabilitySet::BPF, CapabilitySet::SYS_ADMIN],
    &[CapabilitySet::SYS_ADMIN],
];

/// Tells all, with a token made before, for each of [`DROPPED`] in turn.
fn tell() -> Result<Value> {
    let discovery = Token::discover(None)?;
    let full = rustix::thread::capabilities(None)?;
    let mut told = Vec::new();
    for dropped in DROPPED {
        let mut sets = full;
        for capability in dropped {
            sets.effective -= *capability;
        }
        rustix::thread::set_capabilities(None, sets)?;
        told.push(Value::from(all(discovery.token())));
    }
    Ok(told.into())
}

pub fn role() -> ExitCode {
    match tell() {
        Ok(all) => {
            println!("{all}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// In containers with different delegations and capabilities, each refusal has a reason; where it is
/// the kernel's, the library finds out the same.
fn same_words(world: &World) -> Result<()> {
    let mut by_kernel = 0;
    let mut compared = 0;
    let own = path(&world.own);
    for options in [
        "--cmds any --maps hash:array --progs xdp --attachs any",
        "--cmds map_create:prog_load --maps any --progs any --attachs xdp",
        "--cmds btf_load --maps any --progs any --attachs any",
        "--cmds any --maps any --progs any --attachs any",
        "--cmds any --progs any",
    ] {
        let said = said(&mut world.contained(options, &[own, ROLE]))?.must(0)?;
        let told: Vec<Vec<Value>> = serde_json::from_str(&said.out)?;
        ensure!(told.len() == DROPPED.len(), "{} lists", told.len());
        for (refusals, dropped) in told.iter().zip(DROPPED) {
            for refusal in refusals
                .iter()
                .filter(|refusal| refusal["errno"] == "EPERM")
            {
                let told = refusal["told"].as_str().context("no reason")?;
                let at = || format!("{options} without {dropped:?}: {refusal}");
                ensure!(told.contains(" needs CAP_"), at());
                let Some(found) = refusal["found"].as_str() else {
                    continue;
                };
                ensure!(told == found, at());
                compared += 1;
                by_kernel += usize::from(refusal["by_kernel"] == true);
            }
        }
    }
    ensure!(compared > 400, "only {compared} refusals");
    let kernel_tells = World::has_reasons()?;
    ensure!(
        (by_kernel == compared) == kernel_tells,
        "{by_kernel} of {compared} by the kernel"
    );
    Ok(())
}

/// A long log is told by its end, whole if asked for; and one that does not fit says how long it is.
fn verifier_log(_: &World) -> Result<()> {
    // No return value after many instructions.
    let mut insns = vec![Insn::mov64_imm(1, 0); 3000];
    insns.push(Insn::exit());
    let program = ProgAttr::new(ProgType::SOCKET_FILTER, &insns);
    let error = program.load(None).err().context("it loads")?;
    ensure!(error.to_string().lines().count() == 1, "{error}");
    ensure!(error.to_string().len() < 300, "{error}");
    ensure!(error.to_string().contains("Unreadable register"), "{error}");
    ensure!(error.reason().lines().count() > 2000, "{error}");

    let mut log = bpf_token::Log::new(1000);
    let error = program
        .load_with_log(None, &mut log)
        .err()
        .context("it loads")?;
    ensure!(error.errno() == Some(bpf_token::Errno::ENOSPC), "{error}");
    ensure!(log.true_size() > 50_000, "{}", log.true_size());
    let mut log = bpf_token::Log::new(log.true_size());
    program
        .load_with_log(None, &mut log)
        .err()
        .context("it loads")?;
    ensure!(log.text().contains("R0 !read_ok"), "{}", log.text());
    let insns = [Insn::mov64_imm(0, 0), Insn::exit()];
    ProgAttr::new(ProgType::SOCKET_FILTER, &insns).load_with_log(None, &mut log)?;
    ensure!(log.text().contains("processed 2 insns"), "{}", log.text());
    Ok(())
}
