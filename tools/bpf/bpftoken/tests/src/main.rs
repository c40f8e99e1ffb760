// SPDX-License-Identifier: GPL-2.0
//! Tests of `bpftoken` and of the library `bpf-token`.
//!
//! Runs as root in the initial user namespace; with neither a chroot nor a container around it.
//! Expects `bpftoken` and `bpf-token-example` beside itself. The tests run one after the other:
//! they look at what all processes have.

mod check;
mod convert;
mod examples;
mod exec;
mod handshake;
mod hostile;
mod inventory;
mod kubernetes;
mod launch;
mod library;
mod managers;
mod narrow;
mod nri;
mod observe;
mod oci;
mod pages;
mod probes;
mod profile;
mod reasons;
mod restrict;
mod run;
mod terminal;
mod user;
mod watch;
mod world;

use std::process::ExitCode;

use guest::kernel;
use libtest_mimic::Arguments;
use libtest_mimic::Trial;

use crate::world::World;

/// A test: what it needs is the world.
type Test = fn(&World) -> anyhow::Result<()>;

/// The groups of tests that `make integration` runs, as they take minutes: with real managers and loaders, and of what else is
/// launched many times. Their names begin with `integration::`.
const INTEGRATION: [&str; 10] = [
    "check", "convert", "exec", "managers", "nri", "oci", "pages", "probes", "profile", "watch",
];

fn trial(name: &str, test: impl Fn(&World) -> anyhow::Result<()> + Send + 'static) -> Trial {
    let name = match name.split_once("::") {
        Some((group, _)) if INTEGRATION.contains(&group) => format!("integration::{name}"),
        _ => name.to_owned(),
    };
    guest::trial::trial(&name, move || {
        let world = World::get().map_err(|error| format!("{error:#}"))?;
        test(world).map_err(|error| format!("{error:#}").into())
    })
}

fn main() -> ExitCode {
    if let Some(code) = world::role()
        .or_else(hostile::role)
        .or_else(launch::role)
        .or_else(terminal::role)
        .or_else(restrict::role)
        .or_else(exec::role)
        .or_else(probes::role)
    {
        return code;
    }
    if let Err(failed) = kernel::admit_all_messages() {
        let reason = failed.message().unwrap_or("failed");
        eprintln!("bpftoken-tests: {reason}: this needs root in a guest");
        return ExitCode::FAILURE;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let tables: [&[(&str, Test)]; 20] = [
        managers::TESTS,
        kubernetes::TESTS,
        nri::TESTS,
        convert::TESTS,
        library::TESTS,
        run::TESTS,
        observe::TESTS,
        narrow::TESTS,
        inventory::TESTS,
        restrict::TESTS,
        user::TESTS,
        hostile::TESTS,
        handshake::TESTS,
        reasons::TESTS,
        launch::TESTS,
        pages::TESTS,
        examples::TESTS,
        terminal::TESTS,
        watch::TESTS,
        probes::TESTS,
    ];
    let mut trials: Vec<Trial> = tables
        .into_iter()
        .flatten()
        .map(|(name, test)| trial(name, test))
        .collect();
    trials.extend(check::trials());
    trials.extend(oci::trials());
    trials.extend(exec::trials());
    trials.extend(profile::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}
