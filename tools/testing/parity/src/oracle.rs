// SPDX-License-Identifier: GPL-2.0
//! Upstream's answers; `c/oracle.h` describes them.

use crate::{capability::Capability, request::Request, world::World};
use core::ffi::c_int;

#[repr(C)]
struct CWorld {
    init_caps: u64,
    own_caps: u64,
    allowed: [u64; 4],
    descriptor: u32,
    disabled: u32,
    cmd_agreed: bool,
    cap_agreed: bool,
}

impl From<&World> for CWorld {
    /// Upstream's token delegates for good, so it has what is left.
    fn from(world: &World) -> Self {
        let allowed = world.allowed & world.present;
        Self {
            init_caps: world.init_caps,
            own_caps: world.own_caps,
            allowed: [
                allowed.cmds.bits(),
                allowed.maps.bits(),
                allowed.progs.bits(),
                allowed.attachs.bits(),
            ],
            descriptor: world.descriptor as u32,
            disabled: world.disabled,
            cmd_agreed: world.cmd_agreed,
            cap_agreed: world.cap_agreed,
        }
    }
}

#[repr(C)]
struct Question {
    cmd: u32,
    token_given: bool,
    object_type: u32,
    attach_type: u32,
    insn_cnt: u32,
    prog_flags: u32,
}

/// What upstream answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Answer {
    pub(crate) err: c_int,
    pub(crate) used: bool,
    pub(crate) missing: i32,
    pub(crate) by_module: bool,
}

unsafe extern "C" {
    fn oracle_answer(world: &CWorld, question: &Question, answer: &mut Answer);
    fn oracle_capable(world: &CWorld, by_token: bool, cap: c_int, answer: &mut Answer) -> bool;
    fn oracle_attach(
        world: &CWorld,
        by_token: bool,
        prog_type: u32,
        attach_type: u32,
        answer: &mut Answer,
    ) -> c_int;
    safe fn oracle_has_map_type(map_type: u32) -> bool;
    fn oracle_option(caps: u64, which: c_int, value: *mut u8, masks: &mut [u64; 4]) -> c_int;
    fn oracle_show(which: c_int, mask: u64, text: *mut u8, size: usize) -> usize;
}

/// Decides a command.
pub(crate) fn answer(world: &World, request: &Request, token_given: bool) -> Answer {
    let question = Question {
        cmd: request.cmd,
        token_given,
        object_type: request.object_type,
        attach_type: request.attach_type,
        insn_cnt: request.insn_cnt,
        prog_flags: request.prog_flags,
    };
    let mut answer = Answer::default();
    // SAFETY: The structs are C's, and live for the call.
    unsafe { oracle_answer(&world.into(), &question, &mut answer) };
    answer
}

/// Asks for one capability.
pub(crate) fn capable(world: &World, by_token: bool, cap: Capability) -> (bool, Answer) {
    let mut answer = Answer::default();
    // SAFETY: The structs are C's, and live for the call.
    let capable = unsafe { oracle_capable(&world.into(), by_token, cap.as_raw(), &mut answer) };
    (capable, answer)
}

/// Asks whether a program may be attached.
pub(crate) fn attach(world: &World, by_token: bool, prog: u32, attach: u32) -> (c_int, Answer) {
    let mut answer = Answer::default();
    // SAFETY: The structs are C's, and live for the call.
    let err = unsafe { oracle_attach(&world.into(), by_token, prog, attach, &mut answer) };
    (err, answer)
}

/// Whether a map of this type can be made at all, before anything of a token is looked at.
pub(crate) fn has_map_type(map_type: u32) -> bool {
    oracle_has_map_type(map_type)
}

/// Sets one option of a mount. `value` has no zero in it.
pub(crate) fn option(caps: u64, which: u32, value: &[u8], masks: &mut [u64; 4]) -> c_int {
    let mut value = [value, b"\0"].concat();
    // SAFETY: The value ends with a zero; C writes zeros of its own over separators.
    unsafe { oracle_option(caps, which as c_int, value.as_mut_ptr(), masks) }
}

/// Shows a mask as `/proc/mounts` does.
pub(crate) fn show(which: u32, mask: u64) -> String {
    let mut text = vec![0; 4096];
    // SAFETY: C writes at most that much.
    let length = unsafe { oracle_show(which as c_int, mask, text.as_mut_ptr(), text.len()) };
    text.truncate(length);
    String::from_utf8(text).expect("ASCII")
}
