// SPDX-License-Identifier: GPL-2.0
//! The comparisons.

mod capable;
mod causes;
mod commands;
mod line;
mod options;
mod remount;
mod show;

use crate::{
    admission::admit,
    bindings,
    decision::Decision,
    error::from_err_ptr,
    request::{BtfGetFdById, BtfLoad, MapCreate, ProgLoad, Request},
    world::World,
};
use std::{
    mem,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

pub(crate) const MAP_CREATE: u32 = bindings::bpf_cmd_BPF_MAP_CREATE;
pub(crate) const PROG_LOAD: u32 = bindings::bpf_cmd_BPF_PROG_LOAD;
pub(crate) const BTF_LOAD: u32 = bindings::bpf_cmd_BPF_BTF_LOAD;
pub(crate) const BTF_GET_FD_BY_ID: u32 = bindings::bpf_cmd_BPF_BTF_GET_FD_BY_ID;

/// What the policy decides: the errno as C returns it, whether the token is used, and why.
pub(crate) fn decide(world: &World, request: &Request, given: bool) -> (i32, bool, Decision) {
    world.enter();
    let mut decision = Decision::new();
    let fd = given.then_some(3);
    let token = match request.cmd {
        MAP_CREATE => {
            let map = bindings::bpf_attr__bindgen_ty_1 {
                map_type: request.object_type,
                // SAFETY: Zeros are attributes.
                ..unsafe { mem::zeroed() }
            };
            admit(MapCreate(&map), fd, &mut decision)
        }
        PROG_LOAD => {
            let prog = bindings::bpf_attr__bindgen_ty_4 {
                prog_type: request.object_type,
                expected_attach_type: request.attach_type,
                insn_cnt: request.insn_cnt,
                prog_flags: request.prog_flags,
                // SAFETY: Zeros are attributes.
                ..unsafe { mem::zeroed() }
            };
            admit(ProgLoad(&prog), fd, &mut decision)
        }
        BTF_LOAD => admit(BtfLoad, fd, &mut decision),
        BTF_GET_FD_BY_ID => admit(BtfGetFdById, fd, &mut decision),
        cmd => panic!("command {cmd} takes no token"),
    };
    match from_err_ptr(token) {
        Ok(token) => (0, !token.is_null(), decision),
        Err(err) => (err.to_errno(), false, decision),
    }
}

/// Does `work` with each of `items`, on all processors, until it fails.
pub(crate) fn in_parallel<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    struct Next(AtomicUsize);
    /// Leaves nothing to the others when one fails.
    struct Stop<'a>(&'a Next);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            if thread::panicking() {
                self.0 .0.store(usize::MAX / 2, Ordering::Relaxed);
            }
        }
    }

    let next = Next(AtomicUsize::new(0));
    let processors = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(|| {
                let _stop = Stop(&next);
                while let Some(item) = items.get(next.0.fetch_add(1, Ordering::Relaxed)) {
                    work(item);
                }
            });
        }
    });
}
