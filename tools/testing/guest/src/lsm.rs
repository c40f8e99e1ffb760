// SPDX-License-Identifier: GPL-2.0

//! BPF LSM programs that refuse, for as long as their link is held.

use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use guest::bpf;
use guest::btf;
use guest::insn;
use rustix::io::Errno;

/// A hook by its function, whose BTF id is looked up once.
struct Hook {
    function: &'static str,
    btf_id: OnceLock<u32>,
}

static TOKEN_CREATE: Hook = Hook::new("bpf_lsm_bpf_token_create");
static INODE_PERMISSION: Hook = Hook::new("bpf_lsm_inode_permission");

/// Makes every `BPF_TOKEN_CREATE` of the system fail at the hook `bpf_token_create`.
pub fn refuse_token_create(errno: Errno) -> OwnedFd {
    TOKEN_CREATE.attach(&[insn::mov_imm(0, -errno.raw_os_error()), insn::exit()])
}

/// Makes every check fail that asks for access to an inode and for no read, write or search, as
/// `BPF_TOKEN_CREATE` does; besides it, only `access(path, F_OK)` asks so.
pub fn refuse_access(errno: Errno) -> OwnedFd {
    const MAY_ACCESS: i32 = 0x10;
    INODE_PERMISSION.attach(&[
        insn::load_u64(1, 1, 8),
        insn::mov_imm(0, -errno.raw_os_error()),
        insn::jump_if_equal_u32(1, MAY_ACCESS, 1),
        insn::mov_imm(0, 0),
        insn::exit(),
    ])
}

impl Hook {
    const fn new(function: &'static str) -> Self {
        Self {
            function,
            btf_id: OnceLock::new(),
        }
    }

    fn attach(&self, insns: &[u64]) -> OwnedFd {
        let prog = bpf::Prog {
            prog_type: bpf::ProgType::Lsm,
            attach_type: bpf::AttachType::LsmMac,
            attach_btf_id: *self.btf_id.get_or_init(|| btf::function(self.function)),
            insns,
        };
        let refused = |errno| panic!("{}: {errno}", self.function);
        let prog = bpf::prog_load(&prog, None).unwrap_or_else(refused);
        bpf::attach(&prog).unwrap_or_else(refused)
    }
}
