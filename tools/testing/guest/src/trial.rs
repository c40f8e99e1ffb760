// SPDX-License-Identifier: GPL-2.0

//! A test that the kernel has a part in: what it complains of is put down to the test that ran.

use libtest_mimic::Failed;
use libtest_mimic::Trial;
use rustix::thread::set_name;

use crate::kernel;

/// A test under its name in the kernel's log, which it must not make the kernel complain in.
///
/// Should the kernel not survive, the last name in the log is that of the test. Its processes have the end of the name
/// for theirs, so that a leak found later (kmemleak) tells where it comes from.
pub fn trial(name: &str, test: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Trial {
    let full_name = name.to_owned();
    Trial::test(name, move || {
        let mut log = kernel::Log::from_now_on();
        kernel::say(&format!("test {full_name}"));
        let end: Vec<u8> = full_name
            .bytes()
            .skip(full_name.len().saturating_sub(15))
            .collect();
        let end = std::ffi::CString::new(end).expect("a name without zeros");
        set_name(&end)?;
        test()?;
        let complaints = log.complaints();
        // The C implementation does leak inodes, and the kernel complains of them at unmount (D3).
        if complaints.is_empty() || !kernel::explains() {
            return Ok(());
        }
        Err(format!("the kernel's log has: {}", complaints.join("\n")).into())
    })
}
