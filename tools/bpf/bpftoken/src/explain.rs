// SPDX-License-Identifier: GPL-2.0
//! What to do about an error of which the kernel only says the errno.

use anyhow::anyhow;
use bpf_token::Action;
use bpf_token::Errno;
use bpf_token::Error;
use bpf_token::Step;

/// Adds what to do to an error of giving a container a delegation.
pub fn explain(error: Error) -> anyhow::Error {
    let hint = match (&error, error.errno()) {
        (Error::Sys { action, .. }, Some(errno)) => match (action, errno) {
            (Action::SetOption { .. }, Errno::EPERM) => {
                "only CAP_SYS_ADMIN in the initial user namespace may delegate: run it as root, \
                 with --user for the container's user"
            }
            (Action::SetOption { .. }, Errno::EINVAL) => {
                "this kernel has no BPF delegation (Linux 6.9 has), or not these names"
            }
            _ => return error.into(),
        },
        (
            Error::Container {
                step: Step::Enter | Step::Make,
                ..
            },
            Some(Errno::EPERM),
        ) => {
            "it takes root, or user namespaces for everybody (user.max_user_namespaces), and no \
             chroot"
        }
        _ => return error.into(),
    };
    anyhow!("{error}; {hint}")
}
