// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program that the supervisor loads in the caller's stead: its instructions name descriptors of
//! the caller, which become the supervisor's own.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use super::copy::Copy;
use super::copy::Made;
use crate::command::AttachTarget;
use crate::command::FuncInfo;
use crate::command::LineInfo;
use crate::command::ObjName;
use crate::command::ProgAttr;
use crate::insn::Insn;
use crate::names::AttachType;
use crate::names::ProgType;
use crate::sys;

/// The most instructions that the kernel takes.
const GREATEST: u32 = 1_000_000;
/// The longest license that the kernel reads.
const LICENSE: usize = 128;

/// `ldimm64`, which takes two instructions, and `call`.
const LDIMM64: u8 = 0x18;
const CALL: u8 = 0x85;

// What the source register says of the immediate value.
const PSEUDO_MAP_FD: u8 = 1;
const PSEUDO_MAP_VALUE: u8 = 2;
const PSEUDO_BTF_ID: u8 = 3;
const PSEUDO_MAP_IDX: u8 = 5;
const PSEUDO_MAP_IDX_VALUE: u8 = 6;
const PSEUDO_KFUNC_CALL: u8 = 2;

/// The caller's descriptors, by their numbers there.
#[derive(Default)]
struct Fds(HashMap<RawFd, OwnedFd>);

impl Fds {
    /// The supervisor's descriptor in place of the caller's.
    fn take(&mut self, copy: &Copy<'_>, number: RawFd) -> Result<RawFd, Made> {
        if let Some(fd) = self.0.get(&number) {
            return Ok(fd.as_raw_fd());
        }
        let fd = copy.caller.descriptor(number)?;
        let own = fd.as_raw_fd();
        self.0.insert(number, fd);
        Ok(own)
    }
}

impl Copy<'_> {
    pub(super) fn program(&self) -> Result<Made, Made> {
        let attr = self.attr;
        let [func_infos, line_infos] = [attr.u32_at(88), attr.u32_at(104)];
        let unknown = attr.u32_at(116) != 0
            || attr.u32_at(148) != 0
            || !attr.ends_before(152)
            || (func_infos != 0 && attr.u32_at(76) as usize != size_of::<FuncInfo>())
            || (line_infos != 0 && attr.u32_at(92) as usize != size_of::<LineInfo>())
            || [attr.u32_at(4), func_infos, line_infos]
                .iter()
                .any(|&count| count > GREATEST);
        if unknown {
            return Err(Made::Not("they hold what the supervisor does not know"));
        }
        if attr.u32_at(64) != 0 {
            return Err(Made::Not("the program is for a network device"));
        }
        let mut fds = Fds::default();
        let mut insns: Vec<Insn> =
            self.list(attr.u64_at(8), attr.u32_at(4), |bytes: [u8; 8]| {
                let [code, regs, off0, off1, imm @ ..] = bytes;
                Insn {
                    code,
                    regs,
                    off: i16::from_ne_bytes([off0, off1]),
                    imm: i32::from_ne_bytes(imm),
                }
            })?;
        let used = self.translate(&mut insns, &mut fds)?;
        let func_info = self.list(attr.u64_at(80), func_infos, |bytes| {
            let [insn_off, type_id] = words::<8, 2>(bytes);
            FuncInfo { insn_off, type_id }
        })?;
        let line_info = self.list(attr.u64_at(96), line_infos, |bytes| {
            let [insn_off, file_name_off, line_off, line_col] = words::<16, 4>(bytes);
            LineInfo {
                insn_off,
                file_name_off,
                line_off,
                line_col,
            }
        })?;
        let license = self.license(attr.u64_at(16))?;
        let btf = self.fd_if(attr.fd_at(72) != 0, attr.fd_at(72))?;
        let attach_fd = self.fd_if(attr.fd_at(112) != 0, attr.fd_at(112))?;
        // Places that no instruction names hold any descriptor.
        let fd_array: Vec<BorrowedFd<'_>> = used
            .iter()
            .map(|number| {
                let own = number.and_then(|number| fds.0.get(&number));
                own.map_or(self.token.as_fd(), AsFd::as_fd)
            })
            .collect();
        let mut program = ProgAttr::new(ProgType::new(attr.u32_at(0)), &insns)
            .loaded_for(AttachType::new(attr.u32_at(68)));
        program.license = &license;
        program.flags = attr.flags();
        program.name = ObjName(attr.array(48));
        program.attach = match (&attach_fd, attr.u32_at(108)) {
            (Some(fd), id) => AttachTarget::Program(fd.as_fd(), id),
            (None, id) => AttachTarget::Kernel(id),
        };
        program.btf = btf.as_ref().map(AsFd::as_fd);
        program.func_info = &func_info;
        program.line_info = &line_info;
        program.fd_array = &fd_array;
        let mut log = self.log(attr.u32_at(24), attr.u32_at(28), attr.u64_at(32))?;
        let made = sys::prog_load(&program, Some(self.token.as_fd()), log.as_mut());
        self.give_log(log, attr.u64_at(32), 140);
        Ok(made.into())
    }

    /// Puts the supervisor's descriptors in place of the caller's; returns the numbers in the list of
    /// descriptors that instructions name by their place.
    fn translate(&self, insns: &mut [Insn], fds: &mut Fds) -> Result<Vec<Option<RawFd>>, Made> {
        let mut used = Vec::new();
        let mut at = 0;
        while at < insns.len() {
            let insn = insns[at];
            let source = insn.regs >> 4;
            match (insn.code, source) {
                (LDIMM64, PSEUDO_MAP_FD | PSEUDO_MAP_VALUE) => {
                    insns[at].imm = fds.take(self, insn.imm)?;
                }
                (LDIMM64, PSEUDO_BTF_ID) => {
                    if let Some(next) = insns.get_mut(at + 1).filter(|next| next.imm != 0) {
                        next.imm = fds.take(self, next.imm)?;
                    }
                }
                (LDIMM64, PSEUDO_MAP_IDX | PSEUDO_MAP_IDX_VALUE) => {
                    self.place(insn.imm, fds, &mut used)?;
                }
                (CALL, PSEUDO_KFUNC_CALL) if insn.off != 0 => {
                    self.place(insn.off.into(), fds, &mut used)?;
                }
                _ => {}
            }
            at += if insn.code == LDIMM64 { 2 } else { 1 };
        }
        Ok(used)
    }

    /// Takes what stands at a place of the list of descriptors.
    fn place(&self, place: i32, fds: &mut Fds, used: &mut Vec<Option<RawFd>>) -> Result<(), Made> {
        let list = self.attr.u64_at(120);
        let index = usize::from(u16::try_from(place).map_err(|_| rustix::io::Errno::INVAL)?);
        let mut number = [0; 4];
        self.caller
            .read(list.wrapping_add(4 * index as u64), &mut number)?;
        let number = RawFd::from_ne_bytes(number);
        fds.take(self, number)?;
        if used.len() <= index {
            used.resize(index + 1, None);
        }
        used[index] = Some(number);
        Ok(())
    }

    fn list<const N: usize, T>(
        &self,
        address: u64,
        count: u32,
        read: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, Made> {
        let bytes = self.caller.read_vec(address, count as usize * N)?;
        let item = |item: &[u8]| {
            let mut bytes = [0; N];
            bytes.copy_from_slice(item);
            read(bytes)
        };
        Ok(bytes.chunks_exact(N).map(item).collect())
    }

    fn license(&self, address: u64) -> Result<CString, Made> {
        let mut license = self.caller.read_some(address, LICENSE)?;
        let end = license.iter().position(|&byte| byte == 0);
        license.truncate(end.unwrap_or(LICENSE - 1));
        CString::new(license).map_err(|_| rustix::io::Errno::INVAL.into())
    }
}

fn words<const BYTES: usize, const WORDS: usize>(bytes: [u8; BYTES]) -> [u32; WORDS] {
    std::array::from_fn(|at| {
        let mut word = [0; 4];
        word.copy_from_slice(&bytes[4 * at..4 * at + 4]);
        u32::from_ne_bytes(word)
    })
}
