// SPDX-License-Identifier: GPL-2.0
//! The modules of the crate that are not safe code, as far as the policy uses them. There is one token.

/// The token, and what its instance delegates.
pub(crate) mod token {
    use crate::{
        bindings,
        delegation::Delegation,
        standin::lsm::BpfToken,
        user_namespace::UserNamespace, //
    };
    use core::ptr;

    #[derive(Clone, Copy)]
    pub(crate) struct Token(Delegation);

    impl Token {
        pub(crate) fn new(allowed: Delegation) -> Self {
            Self(allowed)
        }

        pub(crate) fn into_raw(this: &Self) -> *mut bindings::bpf_token {
            ptr::from_ref(this).cast_mut().cast()
        }

        pub(crate) fn allowed(&self) -> &Delegation {
            &self.0
        }

        pub(crate) fn userns(&self) -> &UserNamespace {
            &UserNamespace::OfToken
        }

        pub(crate) fn cookie(&self) -> u64 {
            7
        }

        pub(crate) fn as_bpf_token(&self) -> &BpfToken {
            &BpfToken
        }
    }
}

/// The file of the token.
pub(crate) mod file {
    use crate::{
        delegation::{
            Delegation,
            Permits, //
        },
        fs::LocalFile,
        kind::{
            AttachType,
            Cmd,
            MapType,
            ProgType, //
        },
        mask::Mask,
        standin::token::Token,
        world::{
            self,
            Descriptor, //
        },
    };

    pub(crate) struct Permitted<'a> {
        pub(crate) token: &'a Token,
        present: Delegation,
    }

    impl<'a> Permitted<'a> {
        pub(crate) fn by_file(file: &'a LocalFile) -> Option<Self> {
            let world = world::now();
            (world.descriptor == Descriptor::Token).then(|| Self {
                token: &file.token,
                present: world.present,
            })
        }
    }

    impl Permits for Permitted<'_> {
        fn cmds(&self) -> Mask<Cmd> {
            self.token.allowed().cmds & self.present.cmds
        }
        fn maps(&self) -> Mask<MapType> {
            self.token.allowed().maps & self.present.maps
        }
        fn progs(&self) -> Mask<ProgType> {
            self.token.allowed().progs & self.present.progs
        }
        fn attachs(&self) -> Mask<AttachType> {
            self.token.allowed().attachs & self.present.attachs
        }
    }
}

/// The security modules.
pub(crate) mod lsm {
    use crate::{capability::Capability, world};

    pub(crate) struct BpfToken;

    pub(crate) fn token_cmd(_token: &BpfToken, _cmd: u32) -> bool {
        world::now().cmd_agreed
    }

    pub(crate) fn token_capable(_token: &BpfToken, _cap: Capability) -> bool {
        world::now().cap_agreed
    }
}

/// The sysctl.
pub(crate) mod sysctl {
    use crate::world;

    pub(crate) fn unprivileged_bpf_disabled() -> bool {
        world::now().disabled != 0
    }
}

/// Nobody traces.
pub(crate) mod events {
    use crate::{request::Request, standin::lsm::BpfToken};

    pub(crate) fn used(_token: &BpfToken, _request: &Request) {}
}

/// An instance of the BPF file system.
pub(crate) mod bpffs {
    use crate::{bindings::bpf_mount_opts, present::Present};
    use std::cell::UnsafeCell;

    pub(crate) struct SuperBlock(pub(crate) UnsafeCell<bpf_mount_opts>);

    pub(crate) struct BpfFs<'a>(&'a SuperBlock);

    impl<'a> BpfFs<'a> {
        pub(crate) fn from_super_block(sb: &'a SuperBlock) -> Option<Self> {
            Some(Self(sb))
        }

        pub(crate) fn present(&self) -> &'a Present {
            // SAFETY: The layout is that of the options, which nobody else writes to.
            unsafe { &*Present::in_opts(self.0 .0.get()) }
        }
    }
}
