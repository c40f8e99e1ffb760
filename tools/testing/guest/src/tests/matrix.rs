// SPDX-License-Identifier: GPL-2.0

//! Rules 5 and 6, D4: every combination of descriptor, capabilities and delegation for each of the four
//! commands, against a model of the rules. The Rust kernel must give the errno of the model and its reason, in
//! the log and in the trace event; the C kernel the errno.

use std::os::fd::AsRawFd;
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;

use guest::bpf;
use guest::bpf::Masks;
use guest::container;
use guest::kernel;
use guest::kernel::Sysctl;
use guest::log;
use guest::process;
use guest::sys::Command;
use libtest_mimic::Trial;

use super::model::capability_sets;
use super::model::model;
use super::model::Delegated;
use super::model::Descriptor;
use super::model::Object;
use super::model::Refusal;
use super::model::Unprivileged;
use super::trial;
use super::usage;
use super::usage::LoadedBtf;
use crate::trace::Trace;

/// A trial for each command and kind of descriptor; for those commands to which it makes a difference, also
/// with BPF allowed to all.
pub fn tests() -> Vec<Trial> {
    let mut trials = Vec::new();
    for command in usage::COMMANDS {
        for descriptor in Descriptor::ALL {
            for sysctl in [Unprivileged::Forbidden, Unprivileged::Allowed] {
                let makes_objects = matches!(command, Command::MapCreate | Command::ProgLoad);
                if sysctl == Unprivileged::Allowed && !makes_objects {
                    continue;
                }
                let name = format!("matrix::{command:?}::{descriptor:?}::unprivileged_{sysctl:?}");
                trials.push(trial(&name, move || check(command, descriptor, sysctl)));
            }
        }
    }
    trials
}

/// What a command is tried on.
struct Attempt<'a> {
    object: Object,
    descriptor: Descriptor,
    token: Option<RawFd>,
    masks: Masks,
    trace: Option<&'a Trace>,
    what: String,
}

impl Attempt<'_> {
    fn expect(&self, btf_id: u32, expected: Option<&Refusal>) {
        let what = &self.what;
        let mut buffer = log::Buffer::of(4096);
        let log = buffer.log(log::LEVEL);
        let result = self.object.try_to(btf_id, self.token, &log).map(drop);
        let true_size = log.true_size.get();
        let Some(refusal) = expected else {
            assert_eq!(result, self.object.admitted(), "{what}");
            assert!(
                self.refusals().is_empty(),
                "{what}: admitted, and traced as refused"
            );
            return;
        };
        assert_eq!(result, Err(refusal.errno), "{what}");

        let logged = self.expected_log(refusal);
        let text = buffer.text();
        assert_eq!(text.as_deref().unwrap_or_default(), logged, "{what}");
        if let Some(text) = text {
            assert_eq!(true_size as usize, text.len() + 1, "{what}: log_true_size");
        }
        if kernel::explains() {
            self.expect_event(refusal);
        }
    }

    fn expected_log(&self, refusal: &Refusal) -> String {
        let is_map = matches!(self.object, Object::Map(..));
        let is_wrong = matches!(self.descriptor, Descriptor::Closed | Descriptor::OtherKind);
        let mut log = String::new();
        if is_map && is_wrong {
            log.push_str("Invalid map_token_fd.\n");
        }
        // BPF_BTF_GET_FD_BY_ID has no log.
        if kernel::explains() && !matches!(self.object, Object::BtfById) {
            log.push_str(&refusal.reason);
            log.push('\n');
        }
        log
    }

    fn refusals(&self) -> Vec<crate::trace::Event> {
        let events = self.trace.map_or(Vec::new(), Trace::read);
        events
            .into_iter()
            .filter(|event| event.name == "bpf_token_refuse")
            .collect()
    }

    fn expect_event(&self, refusal: &Refusal) {
        let what = &self.what;
        let events = self.refusals();
        let [event] = events.as_slice() else {
            panic!("{what}: {} events", events.len());
        };
        let (object_type, attach_type) = match self.object {
            Object::Map(map_type, _) => (map_type as u32, 0),
            Object::Prog(prog_type, _, attach_type, _) => (prog_type as u32, attach_type as u32),
            Object::Btf | Object::BtfById => (0, 0),
        };
        let user_namespace = std::fs::metadata("/proc/self/ns/user").expect("/proc/self/ns/user");
        for (key, expected) in [
            ("userns", user_namespace.ino().to_string()),
            ("cmds", format!("{:#x}", self.masks.cmds)),
            ("maps", format!("{:#x}", self.masks.maps)),
            ("progs", format!("{:#x}", self.masks.progs)),
            ("attachs", format!("{:#x}", self.masks.attachs)),
            ("cmd", (self.object.command().0 as u32).to_string()),
            ("type", object_type.to_string()),
            ("attach_type", attach_type.to_string()),
            ("cap", refusal.cap.to_string()),
            ("err", (-refusal.errno.raw_os_error()).to_string()),
            ("reason", refusal.reason.clone()),
        ] {
            assert_eq!(event.field(key), expected, "{key} of the event: {what}");
        }
    }
}

const NO_MASKS: Masks = Masks {
    cmds: 0,
    maps: 0,
    progs: 0,
    attachs: 0,
};

fn check(command: Command, descriptor: Descriptor, unprivileged: Unprivileged) {
    let allowed = unprivileged == Unprivileged::Allowed;
    let _sysctl = allowed.then(|| Sysctl::set("kernel/unprivileged_bpf_disabled", "0"));
    let trace = kernel::explains().then(Trace::start);
    let loaded = LoadedBtf::new();
    let btf_id = loaded.id();
    let sets = Delegated::of(command);
    let options: Vec<_> = sets.iter().map(|delegated| delegated.options()).collect();
    container::run_each(&options, |index, instance| {
        let delegated = sets[index];
        let token = instance.token();
        let masks = bpf::masks(&token);
        let closed = token.try_clone().expect("dup").as_raw_fd();
        let (fd, masks) = match descriptor {
            Descriptor::None => (None, NO_MASKS),
            Descriptor::Token => (Some(token.as_raw_fd()), masks),
            Descriptor::OtherKind => (Some(instance.root.as_raw_fd()), NO_MASKS),
            Descriptor::Closed => (Some(closed), NO_MASKS),
        };
        for object in Object::of(command) {
            for held in capability_sets() {
                let attempt = Attempt {
                    object,
                    descriptor,
                    token: fd,
                    masks,
                    trace: trace.as_ref(),
                    what: format!("{object:?} with {descriptor:?}, {delegated:?}, {held:?}"),
                };
                let fd = fd.unwrap_or_default();
                let expected = model(object, unprivileged, descriptor, fd, delegated, held);
                process::with_capabilities(held, || attempt.expect(btf_id, expected.as_ref()));
            }
        }
    });
}
