// SPDX-License-Identifier: GPL-2.0

//! A BPF LSM policy, as a manager has one that gives each container a cookie: `bpf/cookie_policy.bpf.c`, which limits what
//! a container may do with its tokens beyond what these delegate.
//!
//! It needs a kernel whose `struct bpf_token` has a cookie: on another one, it cannot be loaded.

#![expect(missing_docs, reason = "for the test programs of this workspace only")]

use libbpf_rs::btf::types::Func;
use libbpf_rs::btf::types::Typedef;
use libbpf_rs::btf::Btf;
use libbpf_rs::Error;
use libbpf_rs::ErrorExt;
use libbpf_rs::ErrorKind;
use libbpf_rs::Link;
use libbpf_rs::MapCore;
use libbpf_rs::MapFlags;
use libbpf_rs::Object;
use libbpf_rs::ObjectBuilder;

/// What a program names as its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// For fentry, fexit, fmod_ret and LSM programs.
    Function(&'a str),
    /// For tp_btf programs.
    Tracepoint(&'a str),
}

impl Target<'_> {
    /// The number of the target in the BTF of the kernel, which is what `attach_btf_id` of a program names.
    pub fn btf_id(self) -> Result<u32, Error> {
        let btf = Btf::from_vmlinux()?;
        let id = match self {
            Self::Function(name) => btf.type_by_name::<Func<'_>>(name).map(|it| it.type_id()),
            Self::Tracepoint(name) => {
                let name = format!("btf_trace_{name}");
                btf.type_by_name::<Typedef<'_>>(&name)
                    .map(|it| it.type_id())
            }
        };
        let missing = || Error::from(std::io::Error::from(std::io::ErrorKind::NotFound));
        id.map(u32::from)
            .ok_or_else(missing)
            .with_context(|| format!("the kernel's BTF has no {self:?}"))
    }
}

/// The policy, in force for as long as it lives.
pub struct Policy {
    object: Object,
    _links: Vec<Link>,
}

impl Policy {
    pub fn start() -> Result<Self, Error> {
        const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/cookie_policy.bpf.o"));
        let object = ObjectBuilder::default().open_memory(OBJECT)?.load()?;
        let links = object
            .progs_mut()
            .map(|prog| prog.attach_lsm())
            .collect::<Result<_, _>>()?;
        Ok(Self {
            object,
            _links: links,
        })
    }

    /// Limits the container with this cookie, from now on, to so many maps at a time.
    pub fn limit_maps(&self, cookie: u64, most: u64) -> Result<(), Error> {
        let counted = self.update("counts", &cookie.to_ne_bytes(), &[0; 8], MapFlags::NO_EXIST);
        match counted {
            // It has been limited before, and its maps are counted.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => (),
            other => other?,
        }
        self.update(
            "limits",
            &cookie.to_ne_bytes(),
            &most.to_ne_bytes(),
            MapFlags::ANY,
        )
    }

    /// Lets the container with this cookie, once it is limited, name this target.
    pub fn allow_target(&self, cookie: u64, target: Target<'_>) -> Result<(), Error> {
        let key = [cookie, target.btf_id()?.into()].map(u64::to_ne_bytes);
        self.update("targets", key.as_flattened(), &[1], MapFlags::ANY)
    }

    fn update(&self, map: &str, key: &[u8], value: &[u8], flags: MapFlags) -> Result<(), Error> {
        let mut maps = self.object.maps();
        let map = maps.find(|found| found.name() == map);
        map.expect("a map of the object").update(key, value, flags)
    }
}
