// SPDX-License-Identifier: GPL-2.0
//! `bpftoken check`.

use std::fs;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::Result;
use bpf_token::libbpf;
use bpf_token::libbpf::TokenPath;
use bpf_token::Token;
use bpf_token::TokenInfo;
use serde::Serialize;

use crate::cli::CheckArgs;
use crate::output;
use crate::trial;

/// The exit status when a token lacks something.
const LACKS: u8 = 3;

#[derive(Serialize)]
struct Report {
    object: String,
    needs: TokenInfo,
    /// The same as options of `bpftoken run`, and of mount(8).
    run_options: String,
    mount_options: String,
    /// Whether loading was tried: with all of `needs`, and without each single item of it.
    tried: bool,
    note: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<TokenInfo>,
}

pub fn check(args: &CheckArgs) -> Result<ExitCode> {
    let name = args.obj.display().to_string();
    let bytes = fs::read(&args.obj).with_context(|| name.clone())?;
    let object = libbpf::open_bytes(&bytes, TokenPath::None)
        .with_context(|| format!("{name}: libbpf cannot read it as a BPF object"))?;
    let enough = libbpf::needs(&object);
    drop(object);

    let why_not = if args.no_trial {
        Some("--no-trial")
    } else if !rustix::process::geteuid().is_root() {
        Some("that takes root")
    } else {
        None
    };
    let (needs, note) = match why_not {
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
    let missing = match &args.token {
        Some(dir) => Some(needs.difference(&Token::from_bpffs(dir)?.info()?)),
        None => None,
    };
    let report = Report {
        object: name,
        needs,
        run_options: output::options(&needs),
        mount_options: output::mount_options(&needs),
        tried: why_not.is_none(),
        note,
        missing,
    };
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print(&text(&report))?;
    }
    Ok(match missing {
        Some(missing) if !missing.is_empty() => ExitCode::from(LACKS),
        _ => ExitCode::SUCCESS,
    })
}

fn text(report: &Report) -> String {
    let mut text = format!(
        "{} needs\n{}{}\n\nbpftoken run {} -- CMD\nmount -t bpf -o {} bpf DIR\n",
        output::styled(output::HEAD, &report.object),
        output::masks(&report.needs),
        output::styled(output::FAINT, &report.note),
        report.run_options,
        report.mount_options,
    );
    match &report.missing {
        Some(missing) if missing.is_empty() => {
            text.push_str(&format!(
                "\n{}\n",
                output::styled(output::GOOD, "the token grants all of it")
            ));
        }
        Some(missing) => {
            let head = output::styled(output::BAD, "the token lacks");
            text.push_str(&format!("\n{head}\n{}", output::masks(missing)));
        }
        None => {}
    }
    text
}
