// SPDX-License-Identifier: GPL-2.0

//! The tests, a module for every rule of a token.
//!
//! A test is a function that panics when the kernel does not do what it must; `tests!` lists those of a
//! module under their names.

mod creation;
mod defects;
mod inspection;
mod leak;
mod object;
mod usage;

use libtest_mimic::Failed;
use libtest_mimic::Trial;

use crate::kernel;

/// The trials of the module it stands in.
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        vec![$($crate::tests::trial(concat!(module_path!(), "::", stringify!($name)), $name)),+]
    };
}
use tests;

fn trial(path: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    let name = path.strip_prefix("guest::tests::").unwrap_or(path);
    Trial::test(name, || {
        test();
        Ok(())
    })
}

/// What must hold on every kernel, and what does not hold on the C one.
pub fn all() -> Vec<Trial> {
    let mut log = kernel::Log::from_now_on();
    let mut trials = creation::tests();
    trials.extend(object::tests());
    trials.extend(usage::tests());
    trials.extend(inspection::tests());
    trials.extend(
        defects::ALL
            .iter()
            .map(|defect| Trial::test(defect.name(), || (defect.check)().map_err(Failed::from))),
    );
    trials.push(trial("kernel_log_has_no_warning", move || {
        let alarms = [
            "WARNING:",
            "BUG:",
            "Oops",
            "UBSAN:",
            "rust_kernel: panicked",
            "Busy inodes",
        ];
        let seen: Vec<_> = log
            .read()
            .into_iter()
            .filter(|message| alarms.iter().any(|alarm| message.contains(alarm)))
            .collect();
        assert!(seen.is_empty(), "{}", seen.join("\n"));
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
