// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is written is read back, whatever it is; and each spelling is that of its documentation.

use proptest::prelude::*;

use super::*;
use crate::mask::bit;

/// Any set of bits: none, all, those with names, any.
fn bits() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(u64::MAX),
        proptest::collection::vec(0..40u32, 0..6)
            .prop_map(|all| all.into_iter().fold(0, |bits, value| bits | bit(value))),
        any::<u64>(),
    ]
}

/// Names that a newer kernel could have.
fn newer() -> impl Strategy<Value = Vec<String>> {
    let name = "[a-z][a-z0-9]{2,7}(_[a-z][a-z0-9]{0,5}){0,2}";
    proptest::collection::vec(name, 0..3)
}

fn delegation() -> impl Strategy<Value = Delegation> {
    let one = || (bits(), newer());
    let cookie = prop_oneof![Just(0), 1..10u64, any::<u64>()];
    (one(), one(), one(), one(), cookie).prop_map(|(cmds, maps, progs, attachs, cookie)| {
        let mut delegation = Delegation::new().cookie(cookie);
        for (kind, (bits, names)) in Kind::ALL.into_iter().zip([cmds, maps, progs, attachs]) {
            let add = |item: &str, delegation: &mut Delegation| {
                // A name that is none, such as one with a prefix, is not what is asked about here.
                let _ = delegation.add_option(kind.option, item);
            };
            add(&bits.to_string(), &mut delegation);
            for name in names {
                add(&name, &mut delegation);
            }
        }
        delegation
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(delegation in delegation()) {
        for format in Format::ALL {
            if format == Format::Systemd {
                continue;
            }
            let mut delegation = delegation.clone();
            if matches!(format, Format::Incus | Format::Lxd) {
                delegation.cookie = 0;
            }
            let text = format.write(&delegation).unwrap();
            prop_assert_eq!(format.read(&text).unwrap(), delegation.clone(), "{}", text);
            if !delegation.is_empty() {
                prop_assert_eq!(Format::of(&text), Some(format), "{}", text);
            }
        }
    }

    /// systemd has no word for some; what it has a word for is read back.
    #[test]
    fn systemd_reads_back_what_it_can_say(delegation in delegation()) {
        let delegation = delegation.cookie(0);
        let all_named = delegation.each().iter().all(|(kind, items)| {
            let any = items.bits == u64::MAX;
            (any && items.newer.is_empty()) || (!any && items.bits & !kind.known() == 0)
        });
        match Format::Systemd.write(&delegation) {
            Ok(text) if all_named => {
                prop_assert_eq!(Format::Systemd.read(&text).unwrap(), delegation, "{}", text);
            }
            Ok(text) => prop_assert!(text.contains("=any\n"), "{}", text),
            Err(error) => prop_assert!(!all_named, "{}", error),
        }
    }

    /// No text makes a reader panic.
    #[test]
    fn any_text_can_be_read(text in ".{0,200}", words in "([A-Za-z_.=:,\"{} \n-]{0,6}(BPFDelegateMaps|security.bpffs.|delegate_bpf|--maps|BPF|org.bpf-token.|any)){0,8}") {
        for format in Format::ALL {
            let _ = format.read(&text);
            let _ = format.read(&words);
        }
        let _ = Format::of(&text);
    }
}

#[test]
fn spellings_are_those_of_the_documentation() {
    let text = "delegate_cmds=map_create:prog_load,delegate_maps=array,delegate_attachs=any";
    let delegation: Delegation = text.parse().unwrap();
    let written = |format: Format| format.write(&delegation).unwrap();
    assert_eq!(
        written(Format::Run),
        "--cmds map_create:prog_load --maps array --attachs any\n"
    );
    assert_eq!(written(Format::Mount), format!("{text}\n"));
    assert_eq!(
        written(Format::Systemd),
        "PrivateUsers=yes\nPrivateMounts=yes\nDelegateNamespaces=mnt\nPrivateBPF=yes\n\
         BPFDelegateCommands=BPFMapCreate,BPFProgLoad\nBPFDelegateMaps=BPFMapTypeArray\n\
         BPFDelegateAttachments=any\n"
    );
    assert_eq!(
        written(Format::Incus),
        "security.bpffs.delegate_cmds=map_create,prog_load\nsecurity.bpffs.delegate_maps=array\n\
         security.bpffs.delegate_attachs=any\n"
    );
    assert_eq!(
        written(Format::Lxd),
        "security.delegate_bpf=true\nsecurity.delegate_bpf.cmd_types=map_create:prog_load\n\
         security.delegate_bpf.map_types=array\nsecurity.delegate_bpf.attach_types=any\n"
    );
    let oci: Value = serde_json::from_str(&written(Format::Oci)).unwrap();
    assert_eq!(
        oci["annotations"]["org.bpf-token.delegate_cmds"],
        "map_create:prog_load"
    );
    let json: Value = serde_json::from_str(&written(Format::Json)).unwrap();
    assert_eq!(json["cmds"][1], "prog_load");
}

/// A format that has no setting for a cookie says so, and writes none that leaves it out.
#[test]
fn a_cookie_is_written_or_refused() {
    let delegation: Delegation = "delegate_maps=array,delegate_cookie=0x10".parse().unwrap();
    let written = |format: Format| format.write(&delegation);
    assert_eq!(written(Format::Run).unwrap(), "--maps array --cookie 16\n");
    assert_eq!(
        written(Format::Mount).unwrap(),
        "delegate_maps=array,delegate_cookie=16\n"
    );
    for format in [Format::Oci, Format::Json] {
        let text = written(format).unwrap();
        assert_eq!(format.read(&text).unwrap().cookie, 16, "{text}");
    }
    for format in [Format::Systemd, Format::Incus, Format::Lxd] {
        let error = written(format).unwrap_err().to_string();
        assert!(error.contains(format.name()), "{error}");
        assert!(error.contains("bpftoken mount --cookie"), "{error}");
    }
}

/// What the managers' own documentation shows, and what people have beside it.
#[test]
fn what_others_wrote_is_read() {
    for (text, wanted) in [
        (
            "lxc config set c security.delegate_bpf=true\n\
             lxc config set c security.delegate_bpf.cmd_types=prog_load:map_create\n\
             lxc config set c security.delegate_bpf.map_types=ringbuf",
            "delegate_cmds=map_create:prog_load,delegate_maps=ringbuf",
        ),
        (
            "config:\n  security.bpffs.delegate_maps: hash,array\n  security.bpffs.path: /mnt\n  \
             security.nesting: \"true\"\n  security.bpffs.delegate_attachs: any",
            "delegate_maps=hash:array,delegate_attachs=any",
        ),
        (
            "# a unit\n[Service]\nExecStart=/bin/x a=b\nBPFDelegateCommands=BPFProgLoad,\\\n\
             BPFProgTestRun\nBPFDelegatePrograms=BPFProgTypeLwtSeg6local",
            "delegate_cmds=prog_load:prog_test_run,delegate_progs=lwt_seg6local",
        ),
        (
            "-o rw,relatime,mode=1777,delegate_progs=xdp,sk_lookup",
            "delegate_progs=xdp:sk_lookup",
        ),
        (
            r#"{ "ociVersion": "1.0.2", "annotations": { "x": "y", "org.bpf-token.target": "/mnt",
                 "org.bpf-token.delegate_maps": "array,hash" } }"#,
            "delegate_maps=hash:array",
        ),
        (r#"{ "maps": ["array,hash"] }"#, "delegate_maps=hash:array"),
        (
            "--maps=array,hash --cmds any",
            "delegate_cmds=any,delegate_maps=hash:array",
        ),
    ] {
        let format = Format::of(text).expect(text);
        let read = format.read(text).map(|it| it.to_string());
        assert_eq!(
            read.map_err(|error| error.to_string()),
            Ok(wanted.to_owned())
        );
    }
    assert_eq!(Format::of("map_create"), None);
}

#[test]
fn what_is_wrong_is_told_with_what_is_near() {
    for (format, text, reason) in [
        (
            Format::Systemd,
            "BPFDelegateMap=any",
            "is \"BPFDelegateMaps\" meant?",
        ),
        (
            Format::Systemd,
            "BPFDelegateMaps=array",
            "is \"BPFMapTypeArray\" meant?",
        ),
        (
            Format::Systemd,
            "BPFDelegateMaps=BPFMaptypeArray",
            "is \"BPFMapTypeArray\" meant?",
        ),
        (
            Format::Systemd,
            "BPFDelegateMaps=0x2",
            "in systemd's spelling",
        ),
        (
            Format::Incus,
            "security.bpffs.delegate_cmd=any",
            "is \"security.bpffs.delegate_cmds\" meant?",
        ),
        (
            Format::Incus,
            "security.bpffs.delegate_cmds=map-create",
            "is \"map_create\" meant?",
        ),
        (
            Format::Lxd,
            "security.delegate_bpf.cmds=any",
            "there are security.delegate_bpf.cmd_types",
        ),
        (
            Format::Lxd,
            "security.delegate_bpf=false",
            "nothing is delegated",
        ),
        (
            Format::Oci,
            r#"{"org.bpf-token.delegate_map": "any"}"#,
            "is \"org.bpf-token.delegate_maps\" meant?",
        ),
        (
            Format::Oci,
            r#"{"org.bpf-token.delegate_maps": 1}"#,
            "no string",
        ),
        (Format::Oci, "{", "no JSON object"),
        (Format::Json, r#"{"map": []}"#, "is \"maps\" meant?"),
        (Format::Json, r#"{"maps": "array"}"#, "sequence"),
        (Format::Run, "--prog xdp", "is \"--progs\" meant?"),
        (Format::Run, "--progs", "no list follows"),
        (
            Format::Mount,
            "delegate_prog=xdp",
            "is \"delegate_progs\" meant?",
        ),
        (Format::Mount, "delegate_progs=xdp,sk_lokup", "\"sk_lokup\""),
    ] {
        let error = format.read(text).expect_err(text).to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
    let error = "sytemd".parse::<Format>().unwrap_err().to_string();
    assert!(error.contains("is \"systemd\" meant?"), "{error}");
    let bits: Delegation = "delegate_maps=0x4000000000000000".parse().unwrap();
    let error = Format::Systemd.write(&bits).unwrap_err().to_string();
    assert!(error.contains("none for 0x4000000000000000"), "{error}");
}
