// SPDX-License-Identifier: GPL-2.0
//! `bpftoken restrict`.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::anyhow;
use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Container;
use bpf_token::Errno;
use bpf_token::Error;
use bpf_token::Step;
use bpf_token::Token;
use bpf_token::TOKEN_FD_ENV;
use bpf_token::TOKEN_PATH_ENV;

use crate::cli::Lists;
use crate::run;

/// What the token is passed on as.
const NUMBER: i32 = 3;

pub fn restrict(
    keep: &Lists,
    source: Option<&Path>,
    net: bool,
    command: Vec<OsString>,
) -> Result<ExitCode> {
    let keep = keep.delegation()?;
    if keep.is_empty() {
        bail!(
            "nothing is named that the command may do: give --cmds, --maps, --progs and --attachs as it \
             needs them, or --for FILE of a BPF object"
        );
    }
    for warning in keep.warnings() {
        anstream::eprintln!("bpftoken: warning: {warning}");
    }
    let source = match Token::discover(source)? {
        bpf_token::Discovery::NotFound { reason } => {
            bail!("there is no token here to make a narrower one of: {reason}")
        }
        found => found.into_token().context("no token")?,
    };
    let token = source.restrict(&keep)?;
    let mut command = command.into_iter();
    let program = command.next().context("no command")?;
    let container = Container::new(program)
        .args(command)
        .user(false)
        .network(net)
        .without_bpffs()
        .env(TOKEN_FD_ENV, NUMBER.to_string())
        // libbpf is not to look for a token of its own, which it would not get.
        .env(TOKEN_PATH_ENV, "")
        .pass_fd(token.into(), NUMBER);
    run::wait(container).map_err(explain)
}

/// Adds what to do to an error of making the command's namespaces.
fn explain(error: anyhow::Error) -> anyhow::Error {
    let Some(Error::Container { step, .. }) = error.downcast_ref() else {
        return error;
    };
    let errno = error.downcast_ref().and_then(Error::errno);
    match (step, errno) {
        (Step::Hide, Some(Errno::EBUSY)) => anyhow!(
            "{error}: a BPF FS that gives tokens here can't be unmounted, as another user namespace \
             mounted it; have it mounted in this one, as \"bpftoken run\" and \"bpftoken mount\" do"
        ),
        (Step::Proc, Some(Errno::EPERM)) => anyhow!(
            "{error}: the kernel makes a new /proc only where the old one is whole, with nothing \
             mounted over parts of it"
        ),
        _ => error,
    }
}
