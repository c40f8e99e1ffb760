// SPDX-License-Identifier: GPL-2.0
//! What a BPF FS instance delegates: one grant of each kind.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;
use crate::error::Result;
use crate::fs_context::FsContext;
use crate::grant::Grant;
use crate::info::TokenInfo;
use crate::mask::Attachs;
use crate::mask::Cmds;
use crate::mask::Kind;
use crate::mask::Maps;
use crate::mask::Progs;

/// What a BPF FS instance delegates to the user namespace that owns it.
///
/// Reads and prints as mount options, which are what the kernel reads and `/proc/mounts` shows:
///
/// ```
/// use bpf_token::Delegation;
/// let delegation: Delegation = "delegate_cmds=map_create:prog_load,delegate_maps=ringbuf".parse()?;
/// assert!(delegation.cmds.mask().contains(5));
/// assert!(delegation.progs.is_empty());
/// assert_eq!(delegation.to_string(), "delegate_cmds=map_create:prog_load,delegate_maps=ringbuf");
/// # Ok::<(), bpf_token::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delegation {
    /// Commands of bpf(2).
    pub cmds: Grant<Cmds>,
    /// Map types, for `BPF_MAP_CREATE`.
    pub maps: Grant<Maps>,
    /// Program types, for `BPF_PROG_LOAD`.
    pub progs: Grant<Progs>,
    /// Attach types, for the `expected_attach_type` of `BPF_PROG_LOAD`.
    pub attachs: Grant<Attachs>,
}

impl Delegation {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything, what later kernels add included.
    pub fn any() -> Self {
        let all = TokenInfo {
            cmds: crate::Mask::ANY,
            maps: crate::Mask::ANY,
            progs: crate::Mask::ANY,
            attachs: crate::Mask::ANY,
        };
        all.into()
    }

    /// Adds commands.
    #[must_use]
    pub fn cmds(mut self, grant: impl Into<Grant<Cmds>>) -> Self {
        self.cmds.add(grant.into());
        self
    }

    /// Adds map types.
    #[must_use]
    pub fn maps(mut self, grant: impl Into<Grant<Maps>>) -> Self {
        self.maps.add(grant.into());
        self
    }

    /// Adds program types.
    #[must_use]
    pub fn progs(mut self, grant: impl Into<Grant<Progs>>) -> Self {
        self.progs.add(grant.into());
        self
    }

    /// Adds attach types.
    #[must_use]
    pub fn attachs(mut self, grant: impl Into<Grant<Attachs>>) -> Self {
        self.attachs.add(grant.into());
        self
    }

    /// Whether nothing is delegated; the kernel then makes no tokens (`ENOENT`).
    pub fn is_empty(&self) -> bool {
        self.options().is_empty()
    }

    /// The mount options to set, as keys and values for fsconfig(2).
    pub fn options(&self) -> Vec<(&'static str, String)> {
        fn option<K: Kind>(grant: &Grant<K>) -> Option<(&'static str, String)> {
            (!grant.is_empty()).then(|| (K::OPTION, grant.option_value()))
        }
        let options = [
            option(&self.cmds),
            option(&self.maps),
            option(&self.progs),
            option(&self.attachs),
        ];
        options.into_iter().flatten().collect()
    }

    /// Sets the mount options on the fs context of a BPF FS, which a container may have opened.
    ///
    /// # Errors
    ///
    /// `EPERM` if the caller is not CAP_SYS_ADMIN in the initial user namespace; `EINVAL` for a
    /// name that the running kernel does not know.
    pub fn apply(&self, context: &FsContext) -> Result<()> {
        for (key, value) in self.options() {
            context.set(key, &value)?;
        }
        Ok(())
    }

    fn add_option(&mut self, key: &str, value: &str) -> Result<bool> {
        match key {
            Cmds::OPTION => self.cmds.add(value.parse()?),
            Maps::OPTION => self.maps.add(value.parse()?),
            Progs::OPTION => self.progs.add(value.parse()?),
            Attachs::OPTION => self.attachs.add(value.parse()?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl From<TokenInfo> for Delegation {
    /// The delegation whose tokens grant just this.
    fn from(info: TokenInfo) -> Self {
        Self {
            cmds: info.cmds.into(),
            maps: info.maps.into(),
            progs: info.progs.into(),
            attachs: info.attachs.into(),
        }
    }
}

impl FromStr for Delegation {
    type Err = Error;

    /// Reads mount options separated by `,`; options repeated add up.
    fn from_str(text: &str) -> Result<Self> {
        let mut delegation = Self::new();
        for option in text.split(',').filter(|option| !option.is_empty()) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            if !delegation.add_option(key, value)? {
                return Err(Error::Invalid(format!(
                    "\"{key}\": no delegation option; there are {}, {}, {} and {}",
                    Cmds::OPTION,
                    Maps::OPTION,
                    Progs::OPTION,
                    Attachs::OPTION
                )));
            }
        }
        Ok(delegation)
    }
}

impl fmt::Display for Delegation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn option<K: Kind>(grant: &Grant<K>) -> Option<String> {
            (!grant.is_empty()).then(|| format!("{}={grant}", K::OPTION))
        }
        let options = [
            option(&self.cmds),
            option(&self.maps),
            option(&self.progs),
            option(&self.attachs),
        ];
        f.write_str(&options.into_iter().flatten().collect::<Vec<_>>().join(","))
    }
}
