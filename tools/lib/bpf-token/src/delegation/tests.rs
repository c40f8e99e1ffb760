// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is read and written is the same, and what is of no use is told.

use super::*;

#[test]
fn options_add_up_and_are_read_back() {
    let text = "delegate_maps=hash,delegate_progs=any,delegate_maps=0x4:quantum";
    let delegation: Delegation = text.parse().unwrap();
    assert_eq!(
        delegation.to_string(),
        "delegate_maps=hash:array:quantum,delegate_progs=any"
    );
    assert_eq!(
        delegation.options()[0],
        ("delegate_maps", "0x6:quantum".to_owned())
    );
    let commas = "delegate_cmds=map_create,prog_load:0x2,delegate_maps=array,any";
    let delegation: Delegation = commas.parse().unwrap();
    assert_eq!(
        delegation.to_string(),
        "delegate_cmds=map_create:map_lookup_elem:prog_load,delegate_maps=any"
    );
    let error = "delegate_cmds=map_create,rw".parse::<Delegation>();
    assert!(error.unwrap_err().to_string().starts_with("\"rw\": no"));
    let error = "delegate_cmd=map_create".parse::<Delegation>();
    let error = error.unwrap_err().to_string();
    assert!(error.contains("is \"delegate_cmds\" meant?"), "{error}");
    let error = "delegate_all=any".parse::<Delegation>().unwrap_err();
    assert!(error.to_string().contains("delegate_all"), "{error}");
    assert!(error.to_string().contains("delegate_attachs"), "{error}");
}

/// Every delegation in the examples of the documentation is of use.
#[test]
fn examples_are_of_use() {
    let sources = [
        include_str!("../container.rs"),
        include_str!("../handshake.rs"),
        include_str!("../fs_context.rs"),
        include_str!("../target.rs"),
        include_str!("../lib.rs"),
        include_str!("../../examples/load.rs"),
        include_str!("../../README.md"),
    ];
    let mut seen = 0;
    for text in sources.join("\n").split('"') {
        // A line break in a string of an example.
        let text: String = text
            .replace("///", "")
            .split("\\\n")
            .map(str::trim)
            .collect();
        let Ok(delegation) = text.parse::<Delegation>() else {
            continue;
        };
        if !delegation.is_empty() {
            seen += 1;
            let warnings = delegation.warnings();
            let of_cmds = |warning: &Warning| matches!(warning, Warning::TakeNoToken(_));
            assert!(warnings.iter().all(of_cmds), "{text}: {warnings:?}");
        }
    }
    assert!(seen >= 4, "only {seen} examples");
}

#[test]
fn a_cookie_is_one_number() {
    for (text, cookie) in [
        ("0x10", 16),
        ("010", 8),
        ("18446744073709551615", u64::MAX),
        ("0", 0),
    ] {
        let text = format!("delegate_maps=hash,delegate_cookie={text}");
        let delegation: Delegation = text.parse().unwrap();
        assert_eq!(delegation.cookie, cookie);
        assert_eq!(
            delegation.to_string().parse::<Delegation>().unwrap(),
            delegation
        );
    }
    let delegation = Delegation::new().maps(MapType::HASH).cookie(7);
    assert_eq!(delegation.options()[1], ("delegate_cookie", "7".to_owned()));
    assert!(Delegation::new().cookie(7).is_empty());
    for (text, reason) in [
        ("delegate_cookie=18446744073709551616", "at most 64 bits"),
        ("delegate_cookie=-1", "at most 64 bits"),
        ("delegate_cookie=", "at most 64 bits"),
        ("delegate_cookie=7,delegate_cookie=8", "another one, 7"),
        ("delegate_cooky=7", "is \"delegate_cookie\" meant?"),
    ] {
        let error = text.parse::<Delegation>().expect_err(text).to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn what_stays_of_a_delegation() {
    let stays = |now: &str, keep: &str| {
        let (now, keep): (Delegation, Delegation) = (now.parse().unwrap(), keep.parse().unwrap());
        now.intersection(&keep).to_string()
    };
    let now = "delegate_maps=hash:quantum,delegate_progs=any,delegate_cookie=7";
    for (keep, left) in [
        (
            "delegate_maps=hash:array",
            "delegate_maps=hash,delegate_cookie=7",
        ),
        (
            "delegate_maps=any",
            "delegate_maps=hash:quantum,delegate_cookie=7",
        ),
        (
            "delegate_progs=xdp:teleport",
            "delegate_progs=xdp:teleport,delegate_cookie=7",
        ),
        ("delegate_cmds=any,delegate_cookie=8", "delegate_cookie=7"),
    ] {
        assert_eq!(stays(now, keep), left, "{keep}");
    }
}

#[test]
fn what_is_beyond_a_limit() {
    let beyond = |asked: &str, limit: &str| {
        let (asked, limit): (Delegation, Delegation) =
            (asked.parse().unwrap(), limit.parse().unwrap());
        asked.difference(&limit).to_string()
    };
    let limit = "delegate_maps=hash:array:quantum,delegate_progs=any";
    for (asked, left) in [
        ("delegate_maps=hash:quantum,delegate_progs=xdp:teleport", ""),
        ("delegate_maps=hash:ringbuf", "delegate_maps=ringbuf"),
        ("delegate_maps=teleport", "delegate_maps=teleport"),
        ("delegate_cmds=map_create", "delegate_cmds=map_create"),
        ("delegate_progs=any", ""),
    ] {
        assert_eq!(beyond(asked, limit), left, "{asked}");
    }
    assert!(!beyond("delegate_maps=any", limit).is_empty());
}

#[test]
fn what_is_of_no_use_is_told() {
    let warnings = |text: &str| -> Vec<String> {
        let delegation: Delegation = text.parse().unwrap();
        delegation
            .warnings()
            .iter()
            .map(Warning::to_string)
            .collect()
    };
    assert!(warnings("delegate_cmds=any,delegate_progs=any,delegate_attachs=any").is_empty());
    let [one] = &warnings("delegate_cmds=prog_load,delegate_progs=xdp")[..] else {
        panic!("not one warning");
    };
    assert!(one.contains("cgroup_inet_ingress"), "{one}");
    let [one] = &warnings("delegate_cmds=map_create:link_create,delegate_maps=hash")[..] else {
        panic!("not one warning");
    };
    assert!(
        one.contains("delegate link_create changes nothing"),
        "{one}"
    );
    let [one] = &warnings("delegate_maps=hash")[..] else {
        panic!("not one warning");
    };
    assert!(
        one.contains("map types without the command map_create"),
        "{one}"
    );
}
