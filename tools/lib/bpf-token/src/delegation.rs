// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a BPF FS instance delegates: one grant of each kind.

use std::fmt;
use std::str::FromStr;

use crate::errno::Errno;
use crate::error::Error;
use crate::error::Feature;
use crate::error::Result;
use crate::fs_context::FsContext;
use crate::grant;
use crate::grant::Grant;
use crate::grant::Items;
use crate::info::TokenInfo;
use crate::kernel::Kernel;
use crate::kernel::Missing;
use crate::kind::Enumerator;
use crate::kind::Kind;
use crate::mask;
use crate::mask::Mask;
use crate::names::AttachType;
use crate::names::Cmd;
use crate::names::MapType;
use crate::names::ProgType;

/// What a BPF FS instance delegates to the user namespace that owns it.
///
/// Each program is loaded for an attach type, also one whose type has no choice of them: that is 0,
/// `cgroup_inet_ingress`. So a delegation of program types is of use only with attach types.
///
/// ```
/// use bpf_token::{AttachType, Cmd, Delegation, ProgType};
/// let delegation = Delegation::new()
///     .cmds(Cmd::PROG_LOAD)
///     .progs([ProgType::XDP, ProgType::SOCKET_FILTER])
///     .attachs([AttachType::XDP, AttachType::CGROUP_INET_INGRESS]);
/// assert!(delegation.warnings().is_empty());
/// # Ok::<(), bpf_token::Error>(())
/// ```
///
/// Reads and prints as mount options, which are what the kernel reads and `/proc/mounts` shows:
///
/// ```
/// use bpf_token::{Cmd, Delegation};
/// let delegation: Delegation = "delegate_cmds=map_create:prog_load,delegate_maps=ringbuf".parse()?;
/// assert!(delegation.cmds.mask().contains(Cmd::PROG_LOAD));
/// assert!(delegation.progs.is_empty());
/// assert_eq!(delegation.to_string(), "delegate_cmds=map_create:prog_load,delegate_maps=ringbuf");
/// # Ok::<(), bpf_token::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default)
)]
#[non_exhaustive]
pub struct Delegation {
    /// Commands of bpf(2).
    pub cmds: Grant<Cmd>,
    /// Map types, for `BPF_MAP_CREATE`.
    pub maps: Grant<MapType>,
    /// Program types, for `BPF_PROG_LOAD`.
    pub progs: Grant<ProgType>,
    /// Attach types, for the `expected_attach_type` of `BPF_PROG_LOAD`.
    pub attachs: Grant<AttachType>,
    /// A number by which policies of the host know for whom they decide; each token has it. 0 is
    /// none.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_zero"))]
    pub cookie: u64,
}

/// The mount option of the cookie.
pub(crate) const COOKIE: &str = "delegate_cookie";

#[cfg(feature = "serde")]
#[allow(clippy::trivially_copy_pass_by_ref)]
pub(crate) fn is_zero(cookie: &u64) -> bool {
    *cookie == 0
}

/// Reads a cookie as the kernel does, for this option.
pub(crate) fn parse_cookie(option: &'static str, text: &str) -> Result<u64> {
    grant::parse_number(text.trim()).map_err(|_| Error::Syntax {
        option,
        item: text.to_owned(),
        problem: "a cookie is a number of at most 64 bits, in decimal, 0x hex or 0 octal"
            .to_owned(),
    })
}

impl Delegation {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything, what later kernels add included.
    pub fn any() -> Self {
        TokenInfo::from_bits([u64::MAX; 4]).into()
    }

    /// Adds commands.
    #[must_use]
    pub fn cmds(mut self, grant: impl Into<Grant<Cmd>>) -> Self {
        self.cmds.add(grant.into());
        self
    }

    /// Adds map types.
    #[must_use]
    pub fn maps(mut self, grant: impl Into<Grant<MapType>>) -> Self {
        self.maps.add(grant.into());
        self
    }

    /// Adds program types.
    #[must_use]
    pub fn progs(mut self, grant: impl Into<Grant<ProgType>>) -> Self {
        self.progs.add(grant.into());
        self
    }

    /// Adds attach types.
    #[must_use]
    pub fn attachs(mut self, grant: impl Into<Grant<AttachType>>) -> Self {
        self.attachs.add(grant.into());
        self
    }

    /// Sets the cookie, a number by which policies of the host know for whom they decide.
    #[must_use]
    pub fn cookie(mut self, cookie: u64) -> Self {
        self.cookie = cookie;
        self
    }

    /// The four kinds with what is delegated of each.
    pub(crate) fn each(&self) -> [(&'static Kind, &Items); 4] {
        [
            (Cmd::KIND, &self.cmds.items),
            (MapType::KIND, &self.maps.items),
            (ProgType::KIND, &self.progs.items),
            (AttachType::KIND, &self.attachs.items),
        ]
    }

    /// Adds the items of a mount option's value; a cookie there is only one of.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] if there is no such option, [`Error::Syntax`] for an item that no kernel
    /// accepts, and for a second cookie.
    pub fn add_option(&mut self, option: &str, value: &str) -> Result<()> {
        if option == COOKIE {
            return self.add_cookie(parse_cookie(COOKIE, value)?);
        }
        let mut each = self.each_mut().into_iter();
        let found = each.find(|(kind, _)| kind.option == option);
        let (kind, items) = found.ok_or_else(|| Error::Option {
            option: option.to_owned(),
        })?;
        items.add(Items::parse(kind, value)?);
        Ok(())
    }

    fn add_cookie(&mut self, cookie: u64) -> Result<()> {
        if self.cookie != 0 && self.cookie != cookie {
            return Err(Error::Syntax {
                option: COOKIE,
                item: cookie.to_string(),
                problem: format!("there is another one, {}; give one", self.cookie),
            });
        }
        self.cookie = cookie;
        Ok(())
    }

    /// Whether nothing is delegated; the kernel then makes no tokens (`ENOENT`).
    pub fn is_empty(&self) -> bool {
        self.each().iter().all(|(_, items)| items.is_empty())
    }

    /// The mount options to set, as keys and values for fsconfig(2).
    pub fn options(&self) -> Vec<(&'static str, String)> {
        let set = self.each().into_iter().filter(|(_, it)| !it.is_empty());
        let masks = set.map(|(kind, items)| (kind.option, items.option_value()));
        masks.chain(self.cookie_option()).collect()
    }

    fn cookie_option(&self) -> Option<(&'static str, String)> {
        (self.cookie != 0).then(|| (COOKIE, self.cookie.to_string()))
    }

    /// The lists in names, for people and for command lines: what is not delegated is left out.
    pub fn named_options(&self) -> Vec<(&'static Kind, String)> {
        let set = self.each().into_iter().filter(|(_, it)| !it.is_empty());
        set.map(|(kind, items)| (kind, items.names(kind).join(":")))
            .collect()
    }

    /// What is in both, with the cookie of this one.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self {
            cmds: self.cmds.items.intersection(&other.cmds.items).into(),
            maps: self.maps.items.intersection(&other.maps.items).into(),
            progs: self.progs.items.intersection(&other.progs.items).into(),
            attachs: self.attachs.items.intersection(&other.attachs.items).into(),
            cookie: self.cookie,
        }
    }

    /// What is in this and not in the other, which may be a limit; a cookie that is another one, too.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        Self {
            cmds: self.cmds.items.difference(&other.cmds.items).into(),
            maps: self.maps.items.difference(&other.maps.items).into(),
            progs: self.progs.items.difference(&other.progs.items).into(),
            attachs: self.attachs.items.difference(&other.attachs.items).into(),
            cookie: if self.cookie == other.cookie {
                0
            } else {
                self.cookie
            },
        }
    }

    /// The same with other bits.
    pub(crate) fn map_bits(mut self, map: impl Fn(&Kind, u64) -> u64) -> Self {
        for (kind, items) in self.each_mut() {
            items.bits = map(kind, items.bits);
            items.named &= items.bits;
        }
        self
    }

    fn each_mut(&mut self) -> [(&'static Kind, &mut Items); 4] {
        [
            (Cmd::KIND, &mut self.cmds.items),
            (MapType::KIND, &mut self.maps.items),
            (ProgType::KIND, &mut self.progs.items),
            (AttachType::KIND, &mut self.attachs.items),
        ]
    }

    /// What the running kernel lacks of what was asked for by name.
    ///
    /// The kernel itself does not tell: it is given masks, and takes any. Without BTF in the kernel
    /// nothing is known to be missing.
    ///
    /// # Errors
    ///
    /// [`Error::NotInKernel`].
    pub fn check(&self, kernel: &Kernel) -> Result<()> {
        let mut missing = Vec::new();
        for (kind, items) in self.each() {
            missing.extend(kernel.missing(kind, items));
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::NotInKernel { missing })
    }

    /// The bits of the four lists, with what only the running kernel has a name for.
    ///
    /// # Errors
    ///
    /// [`Error::NotInKernel`].
    pub(crate) fn bits(&self, kernel: &Kernel) -> Result<[u64; 4]> {
        self.check(kernel)?;
        let mut bits = [0; 4];
        let mut missing = Vec::new();
        for (bits, (kind, items)) in bits.iter_mut().zip(self.each()) {
            *bits = items.bits;
            for name in &items.newer {
                match kernel.value(kind, name) {
                    Some(value) => *bits |= mask::bit(value),
                    None => missing.push(Missing {
                        kind,
                        name: name.clone(),
                    }),
                }
            }
        }
        if missing.is_empty() {
            return Ok(bits);
        }
        Err(Error::NotInKernel { missing })
    }

    /// What is of no use in this delegation.
    pub fn warnings(&self) -> Vec<Warning> {
        const TAKE_TOKENS: [Cmd; 4] = [
            Cmd::MAP_CREATE,
            Cmd::PROG_LOAD,
            Cmd::BTF_LOAD,
            Cmd::BTF_GET_FD_BY_ID,
        ];
        let mut warnings = Vec::new();
        let cmds = self.cmds.mask();
        if !self.progs.is_empty() && self.attachs.is_empty() {
            warnings.push(Warning::NoAttachTypes);
        }
        if !cmds.is_any() {
            let others = cmds.difference(Mask::from_iter(TAKE_TOKENS));
            // What this program does not know may take one in a newer kernel.
            let others = others.intersection(Mask::KNOWN);
            if !others.is_empty() {
                warnings.push(Warning::TakeNoToken(others));
            }
        }
        for (empty, cmd, kind) in [
            (self.maps.is_empty(), Cmd::MAP_CREATE, MapType::KIND),
            (self.progs.is_empty(), Cmd::PROG_LOAD, ProgType::KIND),
        ] {
            if !empty && !cmds.contains(cmd) {
                warnings.push(Warning::WithoutCommand { cmd, kind });
            }
        }
        warnings
    }

    /// Sets the mount options on the fs context of a BPF FS, which a container may have opened.
    ///
    /// # Errors
    ///
    /// [`Error::NotInKernel`] for a name that the running kernel lacks; [`Error::Unsupported`] for a
    /// cookie if it has none; `EPERM` if the caller lacks CAP_SYS_ADMIN in the initial user
    /// namespace.
    pub fn apply(&self, context: &FsContext) -> Result<()> {
        self.check(Kernel::running())?;
        if let Some((option, value)) = self.cookie_option() {
            if !context.has_cookies() {
                return Err(Error::Unsupported(Feature::Cookies));
            }
            context.set(option, value)?;
        }
        for (kind, items) in self.each() {
            if items.is_empty() {
                continue;
            }
            let set = context.set(kind.option, items.option_value());
            // A kernel without BTF could not be asked for its names before.
            set.map_err(|error| match (error.errno(), items.suggestion(kind)) {
                (Some(Errno::EINVAL), Some(line)) => error.and(&line),
                _ => error,
            })?;
        }
        Ok(())
    }
}

/// What is of no use in a [`Delegation`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// Program types without attach types: no program can be loaded.
    NoAttachTypes,
    /// Commands that take no token.
    TakeNoToken(Mask<Cmd>),
    /// Types without the command that uses them.
    WithoutCommand {
        /// The command.
        cmd: Cmd,
        /// The kind of the types.
        kind: &'static Kind,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAttachTypes => f.write_str(
                "program types without attach types: no program can be loaded; each is loaded for \
                 an attach type, of which cgroup_inet_ingress, 0, is that of programs that have no \
                 choice",
            ),
            Self::TakeNoToken(cmds) => write!(
                f,
                "the kernel takes a token for map_create, prog_load, btf_load and \
                 btf_get_fd_by_id only: to delegate {cmds} changes nothing"
            ),
            Self::WithoutCommand { cmd, kind } => write!(
                f,
                "{}s without the command {cmd}: they are of no use",
                kind.noun
            ),
        }
    }
}

impl From<TokenInfo> for Delegation {
    /// The delegation whose tokens grant just this, and have its cookie.
    fn from(info: TokenInfo) -> Self {
        Self {
            cmds: info.cmds.into(),
            maps: info.maps.into(),
            progs: info.progs.into(),
            attachs: info.attachs.into(),
            cookie: info.cookie,
        }
    }
}

impl FromStr for Delegation {
    type Err = Error;

    /// Reads mount options separated by `,`; options repeated add up.
    ///
    /// A list may be separated by `,` too: what follows one and is a name or number of its kind
    /// belongs to it.
    fn from_str(text: &str) -> Result<Self> {
        let mut delegation = Self::new();
        let mut last: Option<&'static Kind> = None;
        for option in text.split(',').filter(|option| !option.is_empty()) {
            let (key, value) = match (option.split_once('='), last) {
                (Some(option), _) => option,
                (None, Some(kind)) if Items::is_one_of(kind, option) => (kind.option, option),
                (None, _) => (option, ""),
            };
            delegation.add_option(key, value)?;
            last = Kind::ALL.into_iter().find(|kind| kind.option == key);
        }
        Ok(delegation)
    }
}

impl fmt::Display for Delegation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let option = |(kind, value): (&Kind, String)| format!("{}={value}", kind.option);
        let masks = self.named_options().into_iter().map(option);
        let cookie = self.cookie_option().map(|(key, it)| format!("{key}={it}"));
        let options: Vec<String> = masks.chain(cookie).collect();
        f.write_str(&options.join(","))
    }
}

#[cfg(test)]
mod tests;
