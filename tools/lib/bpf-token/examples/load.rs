// SPDX-License-Identifier: GPL-2.0
//! Loads an XDP program in a container, through a token. Run as root.

use bpf_token::{Container, IdMap, Insn, ProgAttr, Token};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::args().len() > 1 {
        // In the container: root inside, uid 1000 outside, and nothing but a delegated BPF FS.
        let token = Token::from_bpffs("/sys/fs/bpf")?;
        // BPF_PROG_TYPE_XDP is 6; to return XDP_PASS, 2, lets every packet pass.
        ProgAttr::new(6, &[Insn::mov64_imm(0, 2), Insn::exit()]).load(Some(&token))?;
        println!("loaded an XDP program through a token");
        return Ok(());
    }
    let delegation = "delegate_cmds=prog_load,delegate_progs=xdp,delegate_attachs=any".parse()?;
    let me = std::fs::File::open("/proc/self/exe")?;
    let inside = Container::new("load").file(me.into()).args(["inside"]);
    let inside = inside.ids([IdMap::root(1000)], [IdMap::root(1000)]);
    let status = inside.bpffs(delegation, "/sys/fs/bpf").spawn()?.wait()?;
    assert_eq!(status.exit_status(), Some(0));
    Ok(())
}
