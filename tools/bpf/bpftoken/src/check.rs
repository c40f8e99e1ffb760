// SPDX-License-Identifier: GPL-2.0
//! `bpftoken check`.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::Result;
use bpf_token::libbpf;
use bpf_token::libbpf::TokenPath;
use bpf_token::report;
use bpf_token::report::Check;
use bpf_token::Delegation;
use bpf_token::Format;
use bpf_token::Token;
use bpf_token::TokenInfo;
use libbpf_rs::OpenObject;

use crate::attach;
use crate::cli::CheckArgs;
use crate::output;
use crate::trial;

/// The exit status when a token lacks something.
const LACKS: u8 = 3;

pub fn check(args: &CheckArgs) -> Result<ExitCode> {
    let name = args.obj.display().to_string();
    let bytes = fs::read(&args.obj).with_context(|| name.clone())?;
    let object = open(&bytes, &name)?;
    let enough = libbpf::needs(&object);
    let programs = libbpf::programs(&object);
    drop(object);

    let why_not = if args.no_trial {
        Some("--no-trial")
    } else if !bpf_token::may_delegate() {
        Some("that takes CAP_SYS_ADMIN in the initial user namespace")
    } else {
        None
    };
    let mut report = Check::default();
    report.version = report::VERSION;
    report.tried = why_not.is_none();
    (report.needs, report.note) = match why_not {
        Some(why) => (
            enough,
            format!(
                "read from the object, not tried ({why}): it is enough, and may be more than needed"
            ),
        ),
        None => {
            let needs = trial::minimise(&args.obj, enough).with_context(|| name.clone())?;
            let note = "tried: it loads with this, and does not without any single item of it";
            (needs, note.to_owned())
        }
    };
    report.object = name;
    add_options(&mut report)?;
    for (program, prog_type, attach_type) in programs {
        if let Some(needs) = attach::needs(prog_type, attach_type) {
            let mut attach = report::Attach::default();
            attach.program = program;
            attach.needs = needs.to_owned();
            report.attach.push(attach);
        }
    }
    if let Some(dir) = &args.token {
        compare(&mut report, &bytes, dir, args.no_trial)?;
    }
    output::print(&written(&report, args.format, args.json, How::Plain)?)?;
    let lacks = match (report.loads, &report.missing) {
        (Some(loads), _) => !loads,
        (None, Some(missing)) => !missing.is_empty(),
        (None, None) => false,
    };
    Ok(if lacks {
        ExitCode::from(LACKS)
    } else {
        ExitCode::SUCCESS
    })
}

/// Adds the options for what is needed.
pub fn add_options(report: &mut Check) -> Result<()> {
    let delegation = Delegation::from(report.needs);
    report.run_options = Format::Run.write(&delegation)?.trim().to_owned();
    let unit = Format::Systemd.write(&delegation)?;
    report.unit_lines = unit.lines().map(str::to_owned).collect();
    Ok(())
}

/// How a command is to be run.
#[derive(Clone, Copy)]
pub enum How {
    /// It uses a token by itself.
    Plain,
    /// By `bpftoken exec`.
    Exec,
}

/// The report as it is asked for.
pub fn written(report: &Check, format: Option<Format>, json: bool, how: How) -> Result<String> {
    Ok(match format {
        Some(Format::Run) => format!("{}\n", run_options(report)),
        Some(format) => format.write(&Delegation::from(report.needs))?,
        None if json => format!("{}\n", serde_json::to_string_pretty(report)?),
        None => text(report, how),
    })
}

/// The options of `bpftoken run` and `bpftoken mount`.
fn run_options(report: &Check) -> String {
    match &report.probes {
        Some(probes) => format!("{} --probes '{probes}'", report.run_options),
        None => report.run_options.clone(),
    }
}

fn open(bytes: &[u8], name: &str) -> Result<OpenObject> {
    libbpf::open_bytes(bytes, TokenPath::None)
        .with_context(|| format!("{name}: libbpf cannot read it as a BPF object"))
}

/// What an object needs to load: the least, if that may be tried, else what can be read from it.
pub fn needs(file: &Path) -> Result<TokenInfo> {
    let name = file.display().to_string();
    let bytes = fs::read(file).with_context(|| name.clone())?;
    let enough = libbpf::needs(&open(&bytes, &name)?);
    if !bpf_token::may_delegate() {
        return Ok(enough);
    }
    trial::minimise(file, enough).context(name)
}

/// Compares with a token: by loading the object with it if that may be tried, else by what it lacks.
fn compare(report: &mut Check, bytes: &[u8], dir: &Path, no_trial: bool) -> Result<()> {
    let info = Token::from_bpffs(dir)?.info()?;
    report.missing = Some(report.needs.difference(&info));
    if no_trial {
        return Ok(());
    }
    let path = TokenPath::BpfFs(dir);
    match libbpf::open_bytes(bytes, path).and_then(|object| libbpf::load(object, path)) {
        Ok(_) => {
            report.loads = Some(true);
            // What it lacks of what was read from the object is not needed.
            report.missing = Some(TokenInfo::default());
        }
        Err(error) => {
            report.loads = Some(false);
            report.why_not = Some(output::with_log(&error));
        }
    }
    Ok(())
}

fn text(report: &Check, how: How) -> String {
    let mut text = format!(
        "{} needs\n{}{}\n\n",
        output::styled(output::HEAD, &report.object),
        output::masks(&report.needs),
        output::styled(output::FAINT, &report.note),
    );
    if !report.attach.is_empty() {
        let head = output::styled(output::HEAD, "and to attach, besides a token");
        text.push_str(&format!("{head}\n"));
        let row = |attach: &report::Attach| {
            let program = (output::FAINT, format!("  {}", attach.program));
            vec![program, (anstyle::Style::new(), attach.needs.clone())]
        };
        text.push_str(&output::table(
            &report.attach.iter().map(row).collect::<Vec<_>>(),
        ));
        text.push('\n');
    }
    let (exec, inside) = match how {
        How::Plain => ("", ""),
        How::Exec => ("--exec ", "  bpftoken exec -- CMD    # in the container\n"),
    };
    text.push_str(&format!(
        "{}\n  bpftoken run --user USER {exec}{options} -- CMD\n{}\n  bpftoken mount --pid PID \
         {options}\n{inside}{}\n  {}\n",
        output::styled(output::FAINT, "a new container"),
        output::styled(output::FAINT, "a running one"),
        output::styled(output::FAINT, "a unit of systemd 258 or later"),
        report.unit_lines.join("\n  "),
        options = run_options(report),
    ));
    match (report.loads, &report.missing) {
        (Some(true), _) => {
            let good = output::styled(output::GOOD, "it loads with the token");
            text.push_str(&format!("\n{good}\n"));
            return text;
        }
        (Some(false), _) => {
            let bad = output::styled(output::BAD, "it does not load with the token");
            let why = report.why_not.as_deref().unwrap_or_default();
            text.push_str(&format!("\n{bad}: {why}\n"));
        }
        (None, _) => {}
    }
    match &report.missing {
        Some(missing) if !missing.is_empty() => {
            let head = output::styled(output::BAD, "the token lacks");
            text.push_str(&format!("\n{head}\n{}", output::masks(missing)));
        }
        Some(_) if report.loads.is_none() => {
            let good = output::styled(output::GOOD, "the token grants all of it");
            text.push_str(&format!("\n{good}\n"));
        }
        _ => {}
    }
    text
}
