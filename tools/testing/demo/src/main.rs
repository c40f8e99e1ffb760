// SPDX-License-Identifier: GPL-2.0
//! Shows an unprivileged container load and run real BPF through a token.
//!
//! Run as root: it is the manager then, and starts itself again as the container, which starts
//! itself as a client. Exits with 0 only if every step came out as it should.

mod client;
mod container;
mod load;
mod loader;
mod manager;
mod neighbours;
mod story;
mod tracing;
mod worker;

use std::process::ExitCode;

use anyhow::bail;

/// The number of standard input, which leads a started process to the one that started it.
const STDIN: i32 = 0;

/// The first argument of the program when it is the container.
const CONTAINER: &str = "container";
/// The first argument of the program when it is the client.
const CLIENT: &str = "client";
/// The first argument of the program when it is a worker of the container.
const WORKER: &str = "worker";
/// The first argument of the program when it is one of two containers.
const NEIGHBOUR: &str = "neighbour";

fn main() -> ExitCode {
    let role = std::env::args().nth(1);
    let result = match role.as_deref() {
        None => manager::run(),
        Some(CONTAINER) => container::run(),
        Some(CLIENT) => client::run(),
        Some(WORKER) => worker::run(),
        Some(NEIGHBOUR) => neighbours::run(std::env::args().nth(2)),
        Some(other) => Err(anyhow::anyhow!(
            "\"{other}\": the demo takes no arguments; run it as root"
        )),
    };
    let result = result.and_then(|()| match story::unexpected() {
        0 => Ok(()),
        count => bail!("{count} steps did not come out as they should"),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo {}: {error:#}", role.as_deref().unwrap_or("manager"));
            ExitCode::FAILURE
        }
    }
}
