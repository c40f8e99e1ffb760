// SPDX-License-Identifier: GPL-2.0

//! The defects of the C implementation that the Rust one has not: section 5 of the design.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::leak;
use crate::bpf;
use crate::bpf::MapType;
use crate::container;
use crate::container::Delegation;
use crate::container::Instance;
use crate::kernel::Sysctl;
use crate::process;
use crate::process::Child;

/// A check for one defect.
pub struct Defect {
    id: &'static str,
    title: &'static str,
    /// Tells how the kernel shows the defect. Panics if it does neither right nor what the defect is.
    pub check: fn() -> Result<(), String>,
}

impl Defect {
    pub fn name(&self) -> String {
        format!("defects::{}::{}", self.id, self.title)
    }
}

pub const ALL: &[Defect] = &[
    Defect {
        id: "D3",
        title: "no_descriptor_left",
        check: no_descriptor_left,
    },
    Defect {
        id: "D3",
        title: "no_file_left",
        check: no_file_left,
    },
    Defect {
        id: "D6",
        title: "opened_again",
        check: opened_again,
    },
];

fn no_descriptor_left() -> Result<(), String> {
    let part = |instance: &Instance| fails_with(instance, Errno::MFILE);
    leak::look_for(process::exhaust_descriptors, || (), part)
}

/// Only holders of CAP_SYS_ADMIN in the initial user namespace may go beyond fs.file-max.
fn no_file_left() -> Result<(), String> {
    let part = |instance: &Instance| fails_with(instance, Errno::NFILE);
    leak::look_for(|| (), || Sysctl::set("fs/file-max", "0"), part)
}

fn fails_with(instance: &Instance, errno: Errno) {
    assert_eq!(bpf::token_create(&instance.root).err(), Some(errno));
}

/// Opening a token again, through /proc/self/fd, is refused or gives a file that is no token. What the C
/// kernel opens there passes for a token but has none, and any use of it dereferences NULL.
fn opened_again() -> Result<(), String> {
    let outcome = Child::spawn(|| {
        container::run(&Delegation::ANY, |instance| {
            let token = instance.token();
            let path = format!("/proc/self/fd/{}", token.as_raw_fd());
            match rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
                Ok(again) => is_no_token(&again),
                Err(errno) => assert_eq!(errno, Errno::NXIO),
            }
            bpf::map_create(MapType::Hash, Some(token.as_raw_fd()))
                .expect("the token still grants");
        });
    })
    .wait();
    match outcome {
        Err(message) if message.contains("killed by signal 9") => {
            Err(format!("using the file opened again: {message}"))
        }
        Err(message) => panic!("{message}"),
        Ok(()) => Ok(()),
    }
}

fn is_no_token(file: &OwnedFd) {
    let info = bpf::info_by_fd(file, &mut [0; 32]);
    assert_eq!(info, Err(Errno::INVAL), "BPF_OBJ_GET_INFO_BY_FD");
    let map = bpf::map_create(MapType::Hash, Some(file.as_raw_fd()));
    assert_eq!(map.err(), Some(Errno::INVAL), "BPF_MAP_CREATE");
    let fdinfo = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()));
    let fdinfo = fdinfo.expect("fdinfo");
    assert!(!fdinfo.contains("allowed_"), "{fdinfo}");
}
