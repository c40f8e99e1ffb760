// SPDX-License-Identifier: MIT OR Apache-2.0
//! The steps of setting a container up.

use std::fmt;

/// A step of setting a container up, or of giving it a BPF FS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Step {
    /// To make the process and its namespaces.
    Make,
    /// To close what the container has no use for.
    Close,
    /// To wait for the manager.
    Manager,
    /// To shut others out of the process.
    Seal,
    /// To keep the container from typing into its terminal.
    Terminal,
    /// To enter the namespaces.
    Enter,
    /// To become root of the user namespace.
    Ids,
    /// To make the mounts private.
    Propagation,
    /// To mount /proc.
    Proc,
    /// To make a session keyring.
    Keyring,
    /// To open the target.
    Target,
    /// A delegated BPF FS is mounted on the target already.
    Taken,
    /// What stands in for tracefs, for a broker of probes, is mounted on the target already.
    Served,
    /// No delegated BPF FS is mounted on the target.
    NotThere,
    /// To unmount what is on the target.
    Unmount,
    /// To copy the mount namespace.
    Copy,
    /// To take each BPF FS out of reach.
    Hide,
    /// To open an fs context.
    Open,
    /// To send the fs context to the manager.
    Send,
    /// To make the mount.
    Mount,
    /// To mount the file system on its target.
    Attach,
    /// The target was mounted over or moved meanwhile.
    Hidden,
    /// To make the command's process.
    Fork,
    /// To pass descriptors on.
    Fds,
    /// To execute the command.
    Exec,
}

impl Step {
    const ALL: [(Self, &'static str); 25] = [
        (Self::Make, "make the process and its namespaces"),
        (Self::Close, "close what the container has no use for"),
        (Self::Manager, "wait for the manager"),
        (Self::Seal, "shut others out of the process"),
        (
            Self::Terminal,
            "keep the container from typing into its terminal",
        ),
        (Self::Enter, "enter the namespaces"),
        (Self::Ids, "become root of the user namespace"),
        (Self::Propagation, "make the mounts private"),
        (Self::Proc, "mount /proc"),
        (Self::Keyring, "make a session keyring"),
        (Self::Target, "open the target"),
        (
            Self::Taken,
            "a delegated BPF FS is mounted on the target already",
        ),
        (Self::Served, "probes are served on the target already"),
        (
            Self::NotThere,
            "no delegated BPF FS is mounted on the target",
        ),
        (Self::Unmount, "unmount what is on the target"),
        (Self::Copy, "copy the mount namespace"),
        (Self::Hide, "take each BPF FS out of reach"),
        (Self::Open, "fsopen bpf"),
        (Self::Send, "send the fs context to the manager"),
        (Self::Mount, "fsmount"),
        (Self::Attach, "mount the file system on its target"),
        (
            Self::Hidden,
            "the target was mounted over or moved meanwhile",
        ),
        (Self::Fork, "make the command's process"),
        (Self::Fds, "pass descriptors on"),
        (Self::Exec, "execute the command"),
    ];

    /// The step of this number, as the new process tells it.
    pub(crate) fn of(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).map(|&(step, _)| step)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(Self::ALL[*self as usize].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_their_texts() {
        for (number, (step, text)) in Step::ALL.iter().enumerate() {
            assert_eq!(*step as usize, number);
            assert_eq!(step.to_string(), *text);
        }
        assert_eq!(Step::of(Step::ALL.len() as u8), None);
    }
}
