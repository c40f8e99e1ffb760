// SPDX-License-Identifier: GPL-2.0
//! Loading with libbpf, and what libbpf says meanwhile.

use std::sync::Mutex;

use anyhow::Result;
use bpf_token::libbpf::TokenPath;
use libbpf_rs::Object;
use libbpf_rs::PrintLevel;

use crate::story;

/// The tracing program.
pub const EXEC: (&str, &[u8]) = (
    "exec.bpf.o",
    include_bytes!(concat!(env!("OUT_DIR"), "/exec.bpf.o")),
);
/// The networking program.
pub const PACKETS: (&str, &[u8]) = (
    "packets.bpf.o",
    include_bytes!(concat!(env!("OUT_DIR"), "/packets.bpf.o")),
);

static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn listen(level: PrintLevel, text: String) {
    // Without BPF, libbpf takes the kernel for one that counts BPF memory as locked memory; that is
    // not the cause.
    if level == PrintLevel::Warn && !text.contains("bump RLIMIT_MEMLOCK") {
        if let Ok(mut said) = SAID.lock() {
            said.push(text);
        }
    }
}

/// Loads an object by libbpf's own rules, which find the token in /sys/fs/bpf.
pub fn load((_, bytes): (&str, &[u8])) -> Result<Object> {
    libbpf_rs::set_print(Some((PrintLevel::Warn, listen)));
    SAID.lock().expect("nobody panics with it").clear();
    Ok(bpf_token::libbpf::open_bytes(bytes, TokenPath::Default)?.load()?)
}

/// Tells of a load that must fail for lack of permission.
pub fn load_refused(object: (&str, &[u8])) {
    let name = object.0;
    match load(object) {
        Ok(_) => story::outcome(false, &format!("{name} loaded")),
        Err(error) => {
            // EPERM is errno 1 on every machine; libbpf-rs keeps the number in its text only.
            let text = error.to_string().replace("(os error 1)", "(EPERM)");
            let refused = text.contains("(EPERM)");
            story::outcome(
                refused,
                &format!("{name} does not load: {text}. libbpf says:"),
            );
            let said = SAID.lock().expect("nobody panics with it");
            let line = said.first().map_or("(nothing)", |line| line.trim_end());
            story::evidence(line.trim_start_matches("libbpf: "));
            for reason in said.iter().flat_map(|text| kernel_log(text)) {
                story::evidence(&format!("the kernel: {reason}"));
            }
        }
    }
}

/// The lines of the kernel's log, if this is the warning in which libbpf quotes it.
fn kernel_log(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .skip_while(|line| !line.contains("BEGIN PROG LOAD LOG"))
        .skip(1)
        .take_while(|line| !line.contains("END PROG LOAD LOG"))
        .filter(|line| !line.starts_with("processed "))
}
