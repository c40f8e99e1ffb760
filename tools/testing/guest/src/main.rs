// SPDX-License-Identifier: GPL-2.0

//! Tests of the kernel's BPF token.
//!
//! Runs as root inside a guest, one test after the other: several tests change what belongs to the whole
//! system (`fs.file-max`, LSM programs) or count what the whole system holds (inodes).
//!
//! Every test states what the Rust implementation must do. Tests under `defects::` are those that the C
//! implementation fails; with `--expect-defects`, only these run, and each passes if the kernel does show
//! the defect.

mod hooks;
mod lsm;
mod tests;
mod trace;

use std::process::ExitCode;

use guest::kernel;
use guest::kernel::Implementation;
use libtest_mimic::{Arguments, Failed};

fn run() -> Result<ExitCode, Failed> {
    let (own, harness): (Vec<_>, Vec<_>) =
        std::env::args().partition(|argument| argument == "--expect-defects");
    let expect_defects = !own.is_empty();
    let mut arguments = Arguments::from_iter(harness);
    arguments.test_threads = Some(1);

    if !rustix::process::geteuid().is_root() {
        return Err("needs root in the initial user namespace of a guest".into());
    }
    let implementation = Implementation::of_running_kernel()?;
    println!(
        "kernel {}, BPF token in {implementation}",
        kernel::release()
    );
    if expect_defects && implementation == Implementation::Rust {
        return Err("--expect-defects is for the C kernel: the Rust one has none of them".into());
    }
    // Remembered from here on: tests ask for it in processes that may open nothing.
    kernel::explains();
    kernel::forbid_unprivileged_bpf()?;
    kernel::admit_all_messages()?;

    let trials = if expect_defects {
        tests::expected_defects()
    } else {
        tests::all()
    };
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}

fn main() -> ExitCode {
    run().unwrap_or_else(|failed| {
        eprintln!("guest: {}", failed.message().unwrap_or("failed"));
        ExitCode::FAILURE
    })
}
