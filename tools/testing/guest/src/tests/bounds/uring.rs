// SPDX-License-Identifier: GPL-2.0

//! A token by way of io_uring: its slots for files, its messages between rings, the credentials that it keeps, and its
//! two uses of BPF.

use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use guest::bpf;
use guest::bpf::AttachType;
use guest::bpf::Prog;
use guest::bpf::ProgType;
use guest::container;
use guest::container::Delegation;
use guest::insn;
use guest::process;
use guest::struct_ops;
use guest::sys;
use guest::uring::Ring;
use guest::uring::OWN_CREDENTIALS;
use libbpf_rs::btf::types::MemberAttr;
use libbpf_rs::btf::types::Struct;
use libbpf_rs::btf::Btf;
use libbpf_rs::HasSize;
use libtest_mimic::Trial;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::io::FdFlags;
use rustix::thread::CapabilitySet;

use super::Commands;
use super::USER;
use crate::tests::tests;

pub fn tests() -> Vec<Trial> {
    tests![
        kept_in_a_slot,
        sent_to_a_ring_outside,
        credentials_of_a_ring,
        filter_of_requests,
        loop_of_a_ring,
    ]
}

/// Rules 4 and 5: a slot holds the file as a descriptor does, is none itself, and gives no more than the file is worth
/// to who takes it out.
fn kept_in_a_slot() {
    const SLOT: u32 = 3;
    let commands = Commands::new();
    container::run(&Delegation::ANY, |instance| {
        let mut ring = Ring::new();
        let token = instance.token();
        ring.put(SLOT, &token);
        drop((token, instance));

        assert_eq!(ring.command(SLOT), Err(Errno::OPNOTSUPP));
        let token = ring.install(SLOT, OWN_CREDENTIALS).expect("a descriptor");
        assert_eq!(rustix::io::fcntl_getfd(&token), Ok(FdFlags::CLOEXEC));
        assert!(token.as_raw_fd() != SLOT as RawFd);
        commands.expect_granted("out of the slot", &token);
        process::drop_capabilities(CapabilitySet::all());
        let token = ring.install(SLOT, OWN_CREDENTIALS).expect("a descriptor");
        commands.expect_refused("out of the slot, without capabilities", &token);
    });
}

/// Rule 5: a message between rings passes a token as a socket does: outside it is worth what it is to anybody there.
fn sent_to_a_ring_outside() {
    let commands = Commands::new();
    process::run(|| {
        let mut outside = Ring::new();
        container::run(&Delegation::ANY, |instance| {
            let mut inside = Ring::new();
            inside.put(0, &instance.token());
            inside
                .send(0, outside.as_raw_fd(), 1)
                .expect("IORING_MSG_SEND_FD");
        });
        let token = outside.install(1, OWN_CREDENTIALS).expect("what was sent");
        assert_eq!(bpf::masks(&token).cmds, u64::MAX);
        process::become_user(USER);
        commands.expect_refused("a user outside", &token);
        let token = outside.install(1, OWN_CREDENTIALS).expect("what was sent");
        commands.expect_refused("a user outside, who took it out of the slot", &token);
    });
}

/// Rules 3 and 5: `bpf()` is no request, so the capabilities that a ring keeps for requests make and use no token.
fn credentials_of_a_ring() {
    let commands = Commands::new();
    container::run(&Delegation::ANY, |instance| {
        let path = container::attach(&instance);
        rustix::fs::fchmod(&instance.root, Mode::empty()).expect("fchmod");
        let token = instance.token();
        let mut ring = Ring::new();
        ring.put(0, &token);
        let of_root = ring.keep_credentials();
        process::drop_capabilities(CapabilitySet::all());

        let opened = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty());
        assert_eq!(opened.err(), Some(Errno::ACCESS));
        let path = CString::new(path).expect("a path without zeros");
        let root = ring.open_directory(&path, of_root);
        let root = root.expect("a request of root");
        assert_eq!(bpf::token_create(&root).err(), Some(Errno::PERM));

        let installed = ring.install(0, of_root);
        assert_eq!(installed.err(), Some(Errno::PERM), "with kept credentials");
        commands.expect_refused("dropped capabilities, kept in a ring", &token);
    });
}

/// Rule 6: io_uring's filters are classic BPF, which takes no token: they need capabilities of the caller's own, in
/// the caller's own user namespace, or that it gains none in future.
fn filter_of_requests() {
    container::run(&Delegation::ANY, |instance| {
        let _token = instance.token();
        process::run(|| {
            process::drop_capabilities(CapabilitySet::all());
            assert_eq!(sys::filter_uring_requests(), Err(Errno::ACCESS));
            rustix::thread::set_no_new_privs(true).expect("PR_SET_NO_NEW_PRIVS");
            assert_eq!(sys::filter_uring_requests(), Ok(()));
        });
    });
}

/// The table by which io_uring calls a program, in the kernel's BTF.
struct LoopOps {
    table: u32,
    value: u32,
    value_size: usize,
    table_in_value: usize,
}

impl LoopOps {
    fn of_the_kernel() -> Self {
        let btf = Btf::from_vmlinux().expect("BTF of the kernel");
        let structure = |name: &str| -> Struct<'_> {
            btf.type_by_name(name)
                .unwrap_or_else(|| panic!("the kernel's BTF has no struct {name}"))
        };
        let value = structure("bpf_struct_ops_io_uring_bpf_ops");
        let data = value
            .iter()
            .find(|member| member.name == Some("data".as_ref()));
        let offset = match data.map(|member| member.attr) {
            Some(MemberAttr::Normal { offset }) => offset / 8,
            other => panic!("the table in its value: {other:?}"),
        };
        Self {
            table: structure("io_uring_bpf_ops").type_id().into(),
            value: value.type_id().into(),
            value_size: value.size(),
            table_in_value: offset as usize,
        }
    }

    /// A program that stops the loop with an error, and does nothing else.
    fn load(&self, token: RawFd) -> Result<OwnedFd, Errno> {
        const NEITHER_CONTINUE_NOR_STOP: i32 = 2;
        let prog = Prog {
            prog_type: ProgType::StructOps,
            // The index of the function in the table stands in place of an attach type.
            attach_type: AttachType::CgroupInetIngress,
            attach_btf_id: self.table,
            insns: &[insn::mov_imm(0, NEITHER_CONTINUE_NOR_STOP), insn::exit()],
        };
        bpf::prog_load(&prog, Some(token))
    }

    fn map_create(&self, token: RawFd) -> Result<OwnedFd, Errno> {
        let btf = bpf::btf_load(&bpf::btf_of_int(), Some(token)).expect("granted");
        struct_ops::map_create(&btf, self.value, self.value_size as u32, Some(token))
    }

    /// Has the ring run the program, for as long as the link is held.
    fn attach(&self, map: &OwnedFd, prog: &OwnedFd, ring: &Ring) -> Result<OwnedFd, Errno> {
        const RING_FD: usize = 8;
        let mut value = vec![0; self.value_size];
        let table = &mut value[self.table_in_value..];
        table[..4].copy_from_slice(&prog.as_raw_fd().to_ne_bytes());
        table[RING_FD..][..4].copy_from_slice(&ring.as_raw_fd().to_ne_bytes());
        struct_ops::update(map, &value)?;
        struct_ops::attach(map)
    }
}

/// Rule 6: a program for io_uring's loop is loaded as any other: it takes a token that delegates its type, the first
/// attach type, for which the first function of a table counts, and the type of the map that is the table.
fn loop_of_a_ring() {
    const MAP: u32 = 26;
    const PROG: u32 = 27;
    const STRUCT_OPS: u32 = 44;
    const ALL: u64 = u64::MAX;
    let without = |bit: u32| !(1 << bit);
    // What is delegated of maps, programs and attach types; whether the map, and whether the program, is granted.
    let cases = [
        ([without(MAP), ALL, ALL], false, true),
        ([ALL, without(PROG), ALL], true, false),
        ([ALL, ALL, without(0)], true, false),
        ([ALL, ALL, 1 << STRUCT_OPS], true, false),
        ([1 << MAP, 1 << PROG, 1], true, true),
    ];
    let keys = ["delegate_maps", "delegate_progs", "delegate_attachs"];
    let options = |(masks, ..): &([u64; 3], bool, bool)| {
        let masks = keys.into_iter().zip(masks);
        masks
            .map(|(key, mask)| (key, format!("{mask:#x}")))
            .chain([("delegate_cmds", "any".to_owned())])
            .collect()
    };
    let instances: Vec<Vec<_>> = cases.iter().map(options).collect();
    let ops = LoopOps::of_the_kernel();
    container::run_each(&instances, |index, instance| {
        let token = instance.token();
        let (_, map_granted, prog_granted) = cases[index];
        let map = ops.map_create(token.as_raw_fd());
        let prog = ops.load(token.as_raw_fd());
        let expected = |granted: bool| (!granted).then_some(Errno::PERM);
        let errno = |result: &Result<OwnedFd, Errno>| result.as_ref().err().copied();
        let what = &instances[index];
        assert_eq!(errno(&map), expected(map_granted), "map, {what:?}");
        assert_eq!(errno(&prog), expected(prog_granted), "program, {what:?}");
        let (Ok(map), Ok(prog)) = (map, prog) else {
            return;
        };
        let ring = Ring::with_loop();
        assert_eq!(ring.enter(), Ok(0));
        let link = ops.attach(&map, &prog, &ring).expect("both were granted");
        assert_eq!(ring.enter(), Err(Errno::INVAL), "the program runs");
        drop(link);
        assert_eq!(ring.enter(), Ok(0));
    });
}
