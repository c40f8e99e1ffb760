// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loads an XDP program in a container, through a token. Run as root.

use bpf_token::{AttachType, Container, Delegation, IdMap, Insn, ProgAttr, ProgType, Token};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::args().len() > 1 {
        // In the container: root inside, uid 1000 outside, and nothing but a delegated BPF FS.
        let token = Token::from_bpffs("/sys/fs/bpf")?;
        // XDP_PASS, 2, lets every packet pass.
        let program = [Insn::mov64_imm(0, 2), Insn::exit()];
        let program = ProgAttr::new(ProgType::XDP, &program).loaded_for(AttachType::XDP);
        program.load(Some(&token))?;
        println!("loaded an XDP program through a token");
        return Ok(());
    }
    // Without attach types no program can be loaded: each is loaded for one.
    let delegation: Delegation =
        "delegate_cmds=prog_load,delegate_progs=xdp,delegate_attachs=xdp".parse()?;
    let me = std::fs::File::open("/proc/self/exe")?;
    let inside = Container::new("load").file(me.into()).args(["inside"]);
    let inside = inside.ids([IdMap::root(1000)], [IdMap::root(1000)]);
    let status = inside.bpffs(delegation, "/sys/fs/bpf").spawn()?.wait()?;
    assert_eq!(status.code(), Some(0));
    Ok(())
}
