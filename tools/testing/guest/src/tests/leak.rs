// SPDX-License-Identifier: GPL-2.0

//! Whether what is done a thousand times on an instance of BPF FS leaves inodes behind.

use guest::container;
use guest::container::Delegation;
use guest::container::Instance;
use guest::kernel;
use guest::kernel::Log;
use guest::process::Link;

const TIMES: u64 = 1_000;

/// What the rest of the system may come to hold in the meantime.
const NOISE: u64 = 100;

/// Does `part` a thousand times in a container, after `inside` there, and while the manager holds what
/// `outside` gives. Tells what was left behind, or found at unmount.
pub fn look_for<T>(
    inside: impl FnOnce(),
    outside: impl FnOnce() -> T,
    part: impl Fn(&Instance),
) -> Result<(), String> {
    let mut log = Log::from_now_on();
    let within = |instance: Instance, link: Link| {
        inside();
        link.signal();
        link.wait();
        for _ in 0..TIMES {
            part(&instance);
        }
        link.signal();
        link.wait();
    };
    let (before, after) = container::run_with(&Delegation::ANY, within, |link| {
        link.wait();
        let before = kernel::inodes();
        let held = outside();
        link.signal();
        link.wait();
        drop(held);
        let after = kernel::inodes();
        link.signal();
        (before, after)
    });
    let busy = log
        .read()
        .into_iter()
        .find(|message| message.contains("Busy inodes after unmount"));

    let left = after.saturating_sub(before);
    if left <= NOISE && busy.is_none() {
        return Ok(());
    }
    Err(format!(
        "{TIMES} times left {left} inodes; in the log at unmount: {}",
        busy.as_deref().unwrap_or("nothing")
    ))
}
