// SPDX-License-Identifier: GPL-2.0

//! Calls of `bpf()` in a guest: from within a container, and from outside of it.

use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;

use guest::attr::info;
use guest::container;
use guest::container::Instance;
use guest::context::Context;
use guest::kernel::Sysctl;
use guest::process;
use guest::process::Link;
use guest::rules::set_of;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::CWD;

use crate::case::Call;
use crate::case::CallSaw;
use crate::case::Command;
use crate::case::Errno;
use crate::case::Reopen;
use crate::case::Saw;
use crate::descriptors;
use crate::layout::Descriptor;
use crate::layout::DELEGATED;
use crate::memory::Memory;
use crate::names::KINDS;
use crate::run::Act;
use crate::run::Output;
use crate::sights;

pub fn run(acts: &[(usize, Act<'_>)], output: &Output) {
    for disabled in [true, false] {
        let value = if disabled { "2" } else { "0" };
        let _sysctl = Sysctl::set("kernel/unprivileged_bpf_disabled", value);
        let of_now = |act: &&(usize, Act<'_>)| act.1.caller().disabled == disabled;
        let (outside, inside): (Vec<_>, Vec<_>) = acts
            .iter()
            .filter(of_now)
            .copied()
            .partition(|(_, act)| act.caller().outside);
        if !inside.is_empty() || !outside.is_empty() {
            both_sides(&inside, &outside, output);
        }
    }
}

/// What the instances delegate, that of the undelegated root last.
fn instances() -> Vec<Vec<(&'static str, String)>> {
    let keys = KINDS.each_ref().map(|kind| kind.option);
    let options = |values: &[&str; 4]| {
        let options = keys.into_iter().zip(values);
        options
            .map(|(key, value)| (key, (*value).to_owned()))
            .collect()
    };
    DELEGATED.iter().map(options).chain([Vec::new()]).collect()
}

/// Makes the calls from inside, then those from outside with the same descriptors.
fn both_sides(inside: &[(usize, Act<'_>)], outside: &[(usize, Act<'_>)], output: &Output) {
    let (mine, theirs) = Link::pair();
    let initial = initial_root();
    mine.send_fd(&initial.root);
    let options = instances();
    let mut made = Vec::new();
    container::run_each(&options, |index, instance| {
        made.push(instance);
        if index + 1 == options.len() {
            let descriptors = descriptors::make(&std::mem::take(&mut made), theirs.recv_fd());
            for descriptor in &descriptors {
                theirs.send_fd(descriptor);
            }
            perform(inside, descriptors, output);
        }
    });
    process::run(|| {
        let count = crate::layout::DESCRIPTORS.len();
        let descriptors = (0..count).map(|_| mine.recv_fd()).collect();
        perform(outside, descriptors, output);
    });
}

/// The root of a BPF FS of the initial user namespace.
fn initial_root() -> Instance {
    let context = Context::of_bpffs();
    context.configure(KINDS.iter().map(|kind| (kind.option, "any")));
    Instance::of_context(&context)
}

fn perform(acts: &[(usize, Act<'_>)], descriptors: Vec<OwnedFd>, output: &Output) {
    // Others would be found by numbers made by chance. A writer stays open below them.
    let mut writer = output.writer();
    let _descriptors = descriptors::number(descriptors);
    let mut memory = Memory::map().expect("memory");
    for (index, act) in acts {
        let saw = process::with_capabilities(set_of(act.caller().caps), || match act {
            Act::Call(call) => Saw::Call(make(call, &mut memory)),
            Act::Reopen(reopen) => Saw::Reopen(open_again(reopen)),
        });
        writer.saw(*index, saw);
    }
}

fn make(call: &Call, memory: &mut Memory) -> CallSaw {
    let outcome = memory.call(call);
    let gives_descriptor = call.command != Command::ObjGetInfoByFd;
    // SAFETY: The kernel has just made this descriptor for us.
    let made = |fd: i32| gives_descriptor.then(|| unsafe { OwnedFd::from_raw_fd(fd) });
    let made = outcome.result.map(made);
    let token = match &made {
        Ok(Some(token)) if call.command == Command::TokenCreate => {
            Some(sights::of_new_token(token))
        }
        _ => None,
    };
    let asked = Descriptor::of(call.word(info::bpf_fd.at));
    let is_info_of_token = !gives_descriptor
        && asked.is_none_or(|asked| asked.delegated().is_some() || asked == Descriptor::TokenPath);
    CallSaw {
        errno: made.err().unwrap_or(0),
        log: outcome.log,
        overrun: outcome.overrun,
        written: outcome.written,
        common_written: outcome.common_written,
        info: if is_info_of_token {
            memory.info()
        } else {
            Vec::new()
        },
        token,
    }
}

/// Opens, and closes at once: on the C kernel nothing else may be done with what is opened of a token.
fn open_again(reopen: &Reopen) -> Errno {
    let path = format!("/proc/self/fd/{}", reopen.fd);
    let flags = OFlags::from_bits_retain(reopen.flags) | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = rustix::fs::openat(CWD, path, flags, Mode::RUSR);
    opened.map_or_else(rustix::io::Errno::raw_os_error, |_| 0)
}
