// SPDX-License-Identifier: GPL-2.0
//! `bpftoken load`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::Result;
use bpf_token::libbpf;
use bpf_token::libbpf::TokenPath;
use bpf_token::report;
use bpf_token::report::Load;
use bpf_token::Discovery;
use bpf_token::Token;
use libbpf_rs::MapCore;
use libbpf_rs::Object;

use crate::cli::LoadArgs;
use crate::output;

pub fn load(args: &LoadArgs) -> Result<ExitCode> {
    let name = args.file.display().to_string();
    let bytes = fs::read(&args.file).with_context(|| name.clone())?;
    let path = match &args.token {
        None => TokenPath::Default,
        Some(dir) if dir.as_os_str().is_empty() => TokenPath::None,
        Some(dir) => TokenPath::BpfFs(dir),
    };
    // libbpf finds the token by the same rules, unless it was passed on.
    let token = Token::discover(args.token.as_deref())?;
    let path = match &token {
        Discovery::Passed { token, .. } => TokenPath::Token(token),
        _ => path,
    };
    let object = libbpf::open_bytes(&bytes, path).with_context(|| name.clone())?;
    let mut object = libbpf::load(object, path).with_context(|| name.clone())?;

    let mut report = Load::default();
    report.version = report::VERSION;
    report.object = name;
    match &token {
        Discovery::Found { path, .. } => report.token = Some(path.clone()),
        Discovery::Passed { number, .. } => report.descriptor = Some(*number),
        Discovery::NotFound { .. } => {}
    }
    if let Some(dir) = &args.pin {
        pin(&mut object, dir)?;
    }
    let at = |name: String| {
        let path = args.pin.as_ref().map(|dir| dir.join(pin_name(&name)));
        (name, path)
    };
    report.maps = map_names(&object).into_iter().map(at).collect();
    report.programs = program_names(&object).into_iter().map(at).collect();
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print(&text(&report))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn map_names(object: &Object) -> Vec<String> {
    let maps = object.maps();
    maps.map(|map| map.name().to_string_lossy().into_owned())
        .collect()
}

fn program_names(object: &Object) -> Vec<String> {
    let programs = object.progs();
    programs
        .map(|program| program.name().to_string_lossy().into_owned())
        .collect()
}

/// A BPF FS has no names with dots, which libbpf gives to maps of its own.
fn pin_name(name: &str) -> String {
    name.replace('.', "_")
}

/// Pins of an object that is not pinned whole: they are removed again.
struct Pins(Vec<PathBuf>);

impl Drop for Pins {
    fn drop(&mut self) {
        for path in &self.0 {
            // The error that is reported is the one of the pin that failed.
            let _ = fs::remove_file(path);
        }
    }
}

/// Pins every map and program by its name, or nothing.
fn pin(object: &mut Object, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let mut pins = Pins(Vec::new());
    let failed = |path: &Path| format!("pin {}, which must be in a BPF FS", path.display());
    for mut map in object.maps_mut() {
        let path = dir.join(pin_name(&map.name().to_string_lossy()));
        map.pin(&path).with_context(|| failed(&path))?;
        pins.0.push(path);
    }
    for mut program in object.progs_mut() {
        let path = dir.join(pin_name(&program.name().to_string_lossy()));
        program.pin(&path).with_context(|| failed(&path))?;
        pins.0.push(path);
    }
    pins.0.clear();
    Ok(())
}

fn text(report: &Load) -> String {
    let through = match (&report.token, report.descriptor) {
        (Some(path), _) => format!("through a token from {}", path.display()),
        (None, Some(number)) => format!("through the token that is descriptor {number}"),
        (None, None) => "without a token".to_owned(),
    };
    let object = output::styled(output::HEAD, &report.object);
    let mut text = format!("{object} loaded {through}\n");
    let rows = |kind: &str, parts: &BTreeMap<String, Option<PathBuf>>| -> Vec<_> {
        let row = |(name, path): (&String, &Option<PathBuf>)| {
            let path = path
                .as_ref()
                .map_or(String::new(), |path| path.display().to_string());
            vec![
                (output::FAINT, format!("  {kind}")),
                (anstyle::Style::new(), name.clone()),
                (output::FAINT, path),
            ]
        };
        parts.iter().map(row).collect()
    };
    let mut all = rows("map", &report.maps);
    all.extend(rows("program", &report.programs));
    text.push_str(&output::table(&all));
    let pinned = report
        .maps
        .values()
        .chain(report.programs.values())
        .flatten()
        .next();
    if pinned.is_none() {
        text.push_str("unloaded again: --pin DIR keeps it\n");
    }
    text
}
