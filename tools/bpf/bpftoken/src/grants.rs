// SPDX-License-Identifier: GPL-2.0
//! What a command line delegates: lists, what objects need, and profiles, all added up.

use anyhow::bail;
use anyhow::Result;
use bpf_token::Delegation;

use crate::check;
use crate::cli::Grants;
use crate::cli::Lists;

impl Grants {
    /// The delegation; to delegate nothing is an error.
    pub fn delegation(&self) -> Result<Delegation> {
        let delegation = self.lists.delegation()?;
        if delegation.is_empty() {
            bail!(
                "nothing to delegate: give --cmds, --maps, --progs and --attachs as the programs need them, \
                 or --for FILE of a BPF object; \"bpftoken check --obj FILE\" prints what that needs"
            );
        }
        for warning in delegation.warnings() {
            anstream::eprintln!("bpftoken: warning: {warning}");
        }
        Ok(delegation.cookie(self.cookie.unwrap_or_default()))
    }
}

impl Lists {
    /// All that is named.
    pub fn delegation(&self) -> Result<Delegation> {
        let mut delegation = Delegation::new()
            .cmds(self.cmds.clone().unwrap_or_default())
            .maps(self.maps.clone().unwrap_or_default())
            .progs(self.progs.clone().unwrap_or_default())
            .attachs(self.attachs.clone().unwrap_or_default());
        for object in &self.objects {
            delegation = with(delegation, check::needs(object)?.into());
        }
        for profile in &self.like {
            delegation = with(delegation, profile.delegation()?);
        }
        Ok(delegation)
    }
}

/// Both together.
fn with(one: Delegation, other: Delegation) -> Delegation {
    one.cmds(other.cmds)
        .maps(other.maps)
        .progs(other.progs)
        .attachs(other.attachs)
}
