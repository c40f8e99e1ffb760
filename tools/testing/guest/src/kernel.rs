// SPDX-License-Identifier: GPL-2.0

//! What the running kernel is, holds and logs.

use std::fmt;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::OnceLock;

use libtest_mimic::Failed;
use procfs::ConfigSetting;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Implementation {
    C,
    Rust,
}

impl Implementation {
    pub fn of_running_kernel() -> Result<Self, Failed> {
        let config = procfs::kernel_config()
            .map_err(|error| format!("cannot read the kernel's configuration: {error}"))?;
        Ok(match config.get("CONFIG_BPF_TOKEN_RUST") {
            Some(ConfigSetting::Yes) => Self::Rust,
            _ => Self::C,
        })
    }
}

/// Whether the running kernel says why it refuses: the Rust implementation does, the C one never.
pub fn explains() -> bool {
    static RUNNING: OnceLock<Implementation> = OnceLock::new();
    let running = RUNNING.get_or_init(|| {
        Implementation::of_running_kernel().expect("a kernel with CONFIG_IKCONFIG_PROC")
    });
    *running == Implementation::Rust
}

/// Whether the verifier does something against speculation: only where the processor's mitigations are compiled in.
pub fn minds_speculation() -> bool {
    let config = procfs::kernel_config().expect("a kernel with CONFIG_IKCONFIG_PROC");
    config.get("CONFIG_CPU_MITIGATIONS") == Some(&ConfigSetting::Yes)
}

impl fmt::Display for Implementation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::C => "C",
            Self::Rust => "Rust",
        })
    }
}

pub fn release() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

/// Makes BPF a matter of capabilities, on which most refusals under test rest.
pub fn forbid_unprivileged_bpf() -> Result<(), Failed> {
    const SYSCTL: &str = "/proc/sys/kernel/unprivileged_bpf_disabled";
    if fs::read_to_string(SYSCTL)?.trim() == "0" {
        fs::write(SYSCTL, "2")?;
    }
    Ok(())
}

/// Lets every message of ours into the kernel's log: by default, all but ten in five seconds are dropped.
pub fn admit_all_messages() -> Result<(), Failed> {
    Ok(fs::write("/proc/sys/kernel/printk_devkmsg", "on\n")?)
}

/// Writes a line to the kernel's log, as an error, which consoles show that are to show few messages.
pub fn say(message: &str) {
    fs::write("/dev/kmsg", format!("<3>{message}")).expect("/dev/kmsg");
}

/// A value of /proc/sys that is put back at the end.
pub struct Sysctl {
    path: String,
    previous: String,
}

impl Sysctl {
    pub fn set(name: &str, value: &str) -> Self {
        let path = format!("/proc/sys/{name}");
        let previous = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        fs::write(&path, value).unwrap_or_else(|error| panic!("{value} to {path}: {error}"));
        Self { path, previous }
    }
}

impl Drop for Sysctl {
    fn drop(&mut self) {
        fs::write(&self.path, &self.previous)
            .unwrap_or_else(|error| panic!("{} back to {}: {error}", self.previous, self.path));
    }
}

/// How many inodes the kernel holds, of all file systems. An inode counts until it is destroyed, and not for
/// the RCU grace period that its memory outlives it by.
pub fn inodes() -> u64 {
    fs::read_to_string("/proc/sys/fs/inode-nr")
        .expect("/proc/sys/fs/inode-nr")
        .split_whitespace()
        .next()
        .and_then(|count| count.parse().ok())
        .expect("a number comes first in /proc/sys/fs/inode-nr")
}

/// Whether a message of the kernel log says that something is wrong with the kernel.
pub fn is_complaint(message: &str) -> bool {
    const ALARMS: [&str; 9] = [
        "WARNING:",
        "BUG:",
        "Oops",
        "UBSAN:",
        "ODEBUG:",
        "INFO: ",
        "rust_kernel: panicked",
        "Busy inodes",
        "refcount_t:",
    ];
    ALARMS.iter().any(|alarm| message.contains(alarm))
}

/// The kernel log from a certain moment on.
pub struct Log(File);

impl Log {
    pub fn from_now_on() -> Self {
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")
            .expect("/dev/kmsg");
        file.seek(SeekFrom::End(0))
            .expect("seek to the end of the kernel log");
        Self(file)
    }

    /// What the kernel complained of since then, or since the log was last read.
    pub fn complaints(&mut self) -> Vec<String> {
        let messages = self.read().into_iter();
        messages.filter(|message| is_complaint(message)).collect()
    }

    /// The messages since then, or since they were last read.
    pub fn read(&mut self) -> Vec<String> {
        let mut messages = Vec::new();
        let mut record = [0; 8192];
        loop {
            match self.0.read(&mut record) {
                Ok(len) => {
                    let record = String::from_utf8_lossy(&record[..len]);
                    let (_, message) = record.split_once(';').expect("a record of the kernel log");
                    messages.extend(message.lines().next().map(str::to_owned));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return messages,
                // Records were overwritten before they were read.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => continue,
                Err(error) => panic!("/dev/kmsg: {error}"),
            }
        }
    }
}
