// SPDX-License-Identifier: GPL-2.0

//! Ten thousand delegated mounts and a hundred thousand tokens at the same time: whether the last thousand take as
//! much time and memory each as the first, and whether everything is given back.
//!
//! What grows for another reason is kept out: ten processes hold the tokens, with descriptor tables that are large
//! enough from the start, and the directories to be mounted on are there before. Times are of the guest's clock, which
//! counts instructions under QEMU's `-icount` with one CPU; on a real clock they are as noisy as the machine.

mod inside;
mod memory;
mod results;

use anyhow::Context as _;
use anyhow::Result;
use guest::container;
use guest::container::Delegation;
use guest::context::Context;
use guest::kernel::Sysctl;
use guest::managed;
use guest::process::Link;
use rustix::process::Resource;
use rustix::process::Rlimit;

use crate::baseline::Baseline;
use crate::shared;
use memory::Memory;
use results::Results;

const MOUNTS: usize = 10_000;
/// Mounted before those, and not measured: they use up the memory that lies free in the caches since the boot, which costs
/// less than new memory does.
const FIRST_OF_ALL: usize = 1_000;
const HOLDERS: usize = 10;
/// Of each holder: one of every mount.
const TOKENS: usize = MOUNTS;

/// Of the first and the last thousand, and of what all of them together take, in what may be left.
const THOUSAND: usize = 1_000;

const DELEGATION: Delegation<'static> = Delegation::of(
    "map_create:prog_load:btf_load",
    "hash:array:ringbuf",
    "socket_filter:kprobe:xdp",
    "xdp:cgroup_device",
);

pub fn run() -> Result<()> {
    let results = shared::zeroed::<Results>()?;
    let mut memory = Memory::open()?;
    let baseline = Baseline::take(false)?;
    memory.shrink()?;
    let before = memory.bytes()?;

    {
        let _limits = [
            Sysctl::set("fs/file-max", "1000000"),
            Sysctl::set("fs/mount-max", "100000"),
        ];
        allow_descriptors(inside::DESCRIPTORS)?;
        container::two_sides(|link| inside::run(&link, &mut memory, results), delegate);
    }

    let left = baseline.settle()?;
    memory.shrink()?;
    let bytes_left = memory.bytes()?.saturating_sub(before);
    let outcome = results.report(&left, bytes_left);
    baseline.check()?;
    outcome
}

/// The manager's part.
fn delegate(link: Link) {
    for _ in 0..FIRST_OF_ALL + MOUNTS {
        Context::from(link.recv_fd()).configure(DELEGATION.options());
        link.signal();
    }
    // Then the container asks for remounts, by the directories.
    while link.wait_or_end() {
        let context = managed::pick(&link.recv_fd());
        managed::remount(&context, &[("delegate_maps", "array")]).expect("privileged");
        link.signal();
    }
}

/// Of this process and those forked from it.
fn allow_descriptors(number: usize) -> Result<()> {
    let number = Some(number as u64);
    let limit = Rlimit {
        current: number,
        maximum: number,
    };
    rustix::process::setrlimit(Resource::Nofile, limit).context("RLIMIT_NOFILE")
}
