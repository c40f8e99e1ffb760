// SPDX-License-Identifier: GPL-2.0

//! The tests, a module for every rule of a token.
//!
//! A test is a function that panics when the kernel does not do what it must; `tests!` lists those of a
//! module under their names.

mod bounds;
mod chains;
mod consumed;
mod cookie;
mod creation;
mod defects;
mod derived;
mod display;
mod events;
mod inspection;
mod inventory;
mod later;
mod leak;
mod lengths;
mod logs;
mod matrix;
mod model;
mod mount_command;
mod narrower;
mod object;
mod options;
mod policy;
mod race;
mod reasons;
mod refused_options;
mod security;
mod taken_back;
mod types;
mod usage;
mod verifier;

use guest::kernel;
use libtest_mimic::Failed;
use libtest_mimic::Trial;

/// The trials of the module it stands in.
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        vec![$($crate::tests::trial(concat!(module_path!(), "::", stringify!($name)), $name)),+]
    };
}
use tests;

fn trial(path: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    let name = path.strip_prefix("guest::tests::").unwrap_or(path);
    guest::trial::trial(name, || {
        test();
        Ok(())
    })
}

/// Whether a text has a number as large as a kernel address in it.
fn tells_an_address(text: &str) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_hexdigit();
    text.as_bytes()
        .chunk_by(|a, b| is_digit(a) == is_digit(b))
        .any(|run| run.len() >= 16 && is_digit(&run[0]))
}

/// What must hold on every kernel, and what does not hold on the C one.
pub fn all() -> Vec<Trial> {
    let mut trials = options::tests();
    trials.extend(refused_options::tests());
    trials.extend(display::tests());
    trials.extend(mount_command::tests());
    trials.extend(creation::tests());
    trials.extend(object::tests());
    trials.extend(usage::tests());
    trials.extend(matrix::tests());
    trials.extend(types::tests());
    trials.extend(lengths::tests());
    trials.extend(logs::tests());
    trials.extend(later::tests());
    trials.extend(verifier::tests());
    trials.extend(consumed::tests());
    trials.extend(events::tests());
    trials.extend(security::tests());
    trials.extend(inspection::tests());
    trials.extend(bounds::tests());
    trials.extend(narrower::tests_of_both());
    trials.extend(cookie::tests_of_both());
    // What goes beyond upstream: section 10.
    if kernel::explains() {
        trials.extend(mount_command::tests_of_remount());
        trials.extend(narrower::tests());
        trials.extend(derived::tests());
        trials.extend(taken_back::tests());
        trials.extend(cookie::tests());
        trials.extend(inventory::tests());
        trials.extend(reasons::tests());
        trials.extend(chains::tests());
        trials.extend(race::tests());
        trials.extend(policy::tests());
    }
    trials.extend(defects::ALL.iter().map(|defect| {
        guest::trial::trial(&defect.name(), || (defect.check)().map_err(Failed::from))
    }));
    trials
}

/// The defects of the C implementation, each a trial that passes if the kernel has it.
pub fn expected_defects() -> Vec<Trial> {
    let trial = |defect: &'static defects::Defect| {
        Trial::test(defect.name(), || match (defect.check)() {
            Ok(()) => Err("this kernel does not have the defect".into()),
            Err(seen) => {
                eprintln!("as expected of the C kernel: {}: {seen}", defect.name());
                Ok(())
            }
        })
    };
    defects::ALL.iter().map(trial).collect()
}
