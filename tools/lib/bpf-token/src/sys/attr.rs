// SPDX-License-Identifier: MIT OR Apache-2.0
//! The arguments of bpf(2), `include/uapi/linux/bpf.h`.

/// A prefix of `union bpf_attr` as one command uses it: `repr(C)`, without padding.
///
/// # Safety
///
/// Every byte of a value must be initialised.
pub(super) unsafe trait Attr {}

#[repr(C)]
pub(super) struct TokenCreate {
    pub(super) flags: u32,
    pub(super) bpffs_fd: i32,
}

/// As [`TokenCreate`], with the sets that `BPF_F_TOKEN_RESTRICT` reads.
#[repr(C)]
pub(super) struct TokenRestrict {
    pub(super) flags: u32,
    pub(super) bpffs_fd: i32,
    pub(super) allowed: [u64; 4],
}

#[repr(C)]
#[derive(Default)]
pub(super) struct MapCreate {
    pub(super) map_type: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) map_flags: u32,
    pub(super) inner_map_fd: i32,
    pub(super) numa_node: u32,
    pub(super) map_name: [u8; 16],
    pub(super) map_ifindex: u32,
    pub(super) btf_fd: i32,
    pub(super) btf_key_type_id: u32,
    pub(super) btf_value_type_id: u32,
    pub(super) btf_vmlinux_value_type_id: u32,
    pub(super) map_extra: u64,
    pub(super) value_type_btf_obj_fd: i32,
    pub(super) map_token_fd: i32,
    pub(super) excl_prog_hash: u64,
    pub(super) excl_prog_hash_size: u32,
    pub(super) pad: u32,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct ProgLoad {
    pub(super) prog_type: u32,
    pub(super) insn_cnt: u32,
    pub(super) insns: u64,
    pub(super) license: u64,
    pub(super) log_level: u32,
    pub(super) log_size: u32,
    pub(super) log_buf: u64,
    pub(super) kern_version: u32,
    pub(super) prog_flags: u32,
    pub(super) prog_name: [u8; 16],
    pub(super) prog_ifindex: u32,
    pub(super) expected_attach_type: u32,
    pub(super) prog_btf_fd: u32,
    pub(super) func_info_rec_size: u32,
    pub(super) func_info: u64,
    pub(super) func_info_cnt: u32,
    pub(super) line_info_rec_size: u32,
    pub(super) line_info: u64,
    pub(super) line_info_cnt: u32,
    pub(super) attach_btf_id: u32,
    pub(super) attach_prog_fd: u32,
    pub(super) core_relo_cnt: u32,
    pub(super) fd_array: u64,
    pub(super) core_relos: u64,
    pub(super) core_relo_rec_size: u32,
    pub(super) log_true_size: u32,
    pub(super) prog_token_fd: i32,
    pub(super) fd_array_cnt: u32,
    pub(super) signature: u64,
    pub(super) signature_size: u32,
    pub(super) keyring_id: i32,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct BtfLoad {
    pub(super) btf: u64,
    pub(super) btf_log_buf: u64,
    pub(super) btf_size: u32,
    pub(super) btf_log_size: u32,
    pub(super) btf_log_level: u32,
    pub(super) btf_log_true_size: u32,
    pub(super) btf_flags: u32,
    pub(super) btf_token_fd: i32,
}

#[repr(C)]
pub(super) struct GetFdById {
    pub(super) id: u32,
    pub(super) next_id: u32,
    pub(super) open_flags: u32,
    pub(super) token_fd: i32,
}

#[repr(C)]
pub(super) struct GetInfo {
    pub(super) bpf_fd: i32,
    pub(super) info_len: u32,
    pub(super) info: u64,
}

/// `struct bpf_common_attr`.
#[repr(C)]
pub(super) struct CommonAttr {
    pub(super) log_buf: u64,
    pub(super) log_size: u32,
    pub(super) log_level: u32,
    pub(super) log_true_size: u32,
    pub(super) pad: u32,
}

// SAFETY: Integers only, and no padding between or after them.
unsafe impl Attr for TokenCreate {}
// SAFETY: As above.
unsafe impl Attr for TokenRestrict {}
// SAFETY: As above.
unsafe impl Attr for MapCreate {}
// SAFETY: As above.
unsafe impl Attr for ProgLoad {}
// SAFETY: As above.
unsafe impl Attr for BtfLoad {}
// SAFETY: As above.
unsafe impl Attr for GetFdById {}
// SAFETY: As above.
unsafe impl Attr for GetInfo {}

const _: () = {
    assert!(size_of::<TokenRestrict>() == 40);
    assert!(size_of::<MapCreate>() == 96);
    assert!(size_of::<ProgLoad>() == 168);
    assert!(size_of::<BtfLoad>() == 40);
};

#[repr(C)]
pub(super) struct Words(pub(super) [i32; 16]);

// SAFETY: Integers only.
unsafe impl Attr for Words {}
