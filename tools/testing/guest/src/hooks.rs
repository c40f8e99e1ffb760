// SPDX-License-Identifier: GPL-2.0

//! The LSM hooks of a BPF token, watched and made to refuse by `bpf/token_hooks.bpf.c`.

use guest::bpf::Masks;
use libbpf_rs::Link;
use libbpf_rs::MapCore;
use libbpf_rs::MapFlags;
use libbpf_rs::Object;
use libbpf_rs::ObjectBuilder;
use rustix::io::Errno;

/// The hooks, as `enum hook` numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    TokenCreate,
    TokenFree,
    TokenCmd,
    TokenCapable,
    MapCreate,
    ProgLoad,
}

impl Hook {
    pub const ALL: [Self; 6] = [
        Self::TokenCreate,
        Self::TokenFree,
        Self::TokenCmd,
        Self::TokenCapable,
        Self::MapCreate,
        Self::ProgLoad,
    ];
}

/// `struct seen`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub count: u64,
    /// The commands or capabilities that the hook was asked about.
    pub args: u64,
    /// What the token allowed, at last.
    pub masks: Masks,
}

/// The programs on all hooks, for as long as it lives.
pub struct Watch {
    object: Object,
    _links: Vec<Link>,
}

impl Watch {
    pub fn start() -> Self {
        const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/token_hooks.bpf.o"));
        let opened = ObjectBuilder::default()
            .open_memory(OBJECT)
            .expect("an object");
        let object = opened.load().expect("root loads programs");
        let links = object
            .progs_mut()
            .map(|prog| prog.attach_lsm().expect("an LSM hook"))
            .collect();
        Self {
            object,
            _links: links,
        }
    }

    /// Looks at the tokens of one user namespace from now on, where the hook `refused` refuses. A process that
    /// was forked from the one that started the watch can do so, too.
    pub fn look_at(&self, userns: u32, refused: Option<(Hook, Errno)>) {
        self.order(userns, refused, u64::MAX);
    }

    /// The same, where the hook refuses only what is in the set `args`, of commands or capabilities.
    pub fn refuse_args(&self, userns: u32, hook: Hook, errno: Errno, args: u64) {
        self.order(userns, Some((hook, errno)), args);
    }

    fn order(&self, userns: u32, refused: Option<(Hook, Errno)>, args: u64) {
        // `struct orders`, whose size is a multiple of its alignment.
        let mut words = [0_i32; 8];
        words[0] = userns as i32;
        if let Some((hook, errno)) = refused {
            words[1 + hook as usize] = errno.raw_os_error();
        }
        let words = words.into_iter().flat_map(i32::to_ne_bytes);
        let orders: Vec<u8> = args.to_ne_bytes().into_iter().chain(words).collect();
        for hook in Hook::ALL {
            self.update("seen", hook as u32, &[0; size_of::<Seen>()]);
        }
        self.update("orders", 0, &orders);
    }

    pub fn seen(&self, hook: Hook) -> Seen {
        let key = (hook as u32).to_ne_bytes();
        let value = self.map("seen").lookup(&key, MapFlags::ANY);
        let value = value
            .expect("lookup")
            .expect("an array has all its entries");
        let word = |index: usize| {
            u64::from_ne_bytes(value[8 * index..][..8].try_into().expect("eight bytes"))
        };
        Seen {
            count: word(0),
            args: word(1),
            masks: Masks {
                cmds: word(2),
                maps: word(3),
                progs: word(4),
                attachs: word(5),
            },
        }
    }

    fn update(&self, map: &str, key: u32, value: &[u8]) {
        let updated = self
            .map(map)
            .update(&key.to_ne_bytes(), value, MapFlags::ANY);
        updated.expect("update");
    }

    fn map(&self, name: &str) -> libbpf_rs::Map<'_> {
        let mut maps = self.object.maps();
        maps.find(|map| map.name() == name)
            .unwrap_or_else(|| panic!("the object has no map {name}"))
    }
}
