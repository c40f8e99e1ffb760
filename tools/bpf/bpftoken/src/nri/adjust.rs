// SPDX-License-Identifier: GPL-2.0
//! What a container of a pod is given: the hook of `bpftoken oci-hook`, and the annotations for it.

use std::path::Path;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::ANNOTATION_PREFIX;

use crate::annotations;
use crate::annotations::Annotations;
use crate::log::Log;
use crate::nri::api::Container;
use crate::nri::api::ContainerAdjustment;
use crate::nri::api::CreateContainerRequest;
use crate::nri::api::Hook;
use crate::nri::api::Hooks;
use crate::nri::api::PodSandbox;

/// What is the same for each container.
pub struct Rules<'a> {
    /// The hook, as the runtime finds it.
    pub hook: &'a Path,
    pub at_most: Option<&'a str>,
    /// The log of the hook, as the runtime finds it.
    pub log: Option<&'a Path>,
}

impl Rules<'_> {
    /// What the container is given, if it asks for something.
    pub fn adjust(
        &self,
        request: CreateContainerRequest,
        log: &Log,
    ) -> Result<Option<ContainerAdjustment>> {
        let pod = request.pod.unwrap_or_default();
        let container = request.container.unwrap_or_default();
        let name = format!(
            "container {} of pod {}/{}",
            container.name, pod.namespace, pod.name
        );
        let annotations = annotations_of(&pod, &container);
        if annotations.is_empty() {
            return Ok(None);
        }
        self.check(&annotations, &container, &name, log)
            .context(name)
    }

    fn check(
        &self,
        annotations: &Annotations,
        container: &Container,
        name: &str,
        log: &Log,
    ) -> Result<Option<ContainerAdjustment>> {
        if annotations::wanted(annotations, self.at_most, name, log)?.is_none() {
            return Ok(None);
        }
        annotations::target(annotations)?;
        // The hook asks the kernel; this is told to who creates the pod.
        let namespaces = container.linux.iter().flat_map(|linux| &linux.namespaces);
        ensure!(
            container.linux.is_none() || namespaces.clone().any(|one| one.kind == "user"),
            "it has no user namespace of its own, and a token works in no other: \
             \"hostUsers: false\" gives the pod one"
        );
        Ok(Some(ContainerAdjustment {
            annotations: annotations.clone(),
            hooks: Some(Hooks {
                create_runtime: vec![self.hook()?],
            }),
        }))
    }

    fn hook(&self) -> Result<Hook> {
        let text = |path: &Path| {
            let text = path.to_str().map(str::to_owned);
            text.with_context(|| format!("{}: not UTF-8", path.display()))
        };
        let mut args = vec!["bpftoken".to_owned(), "oci-hook".to_owned()];
        if let Some(limit) = self.at_most {
            args.push(format!("--at-most={limit}"));
        }
        if let Some(log) = self.log {
            args.push(format!("--log={}", text(log)?));
        }
        Ok(Hook {
            path: text(self.hook)?,
            args,
        })
    }
}

/// The annotations that count for a container: its own; before those, the pod's that are for this
/// container by the name in front (`NAME/org.bpf-token.delegate_maps`); before those, the pod's.
fn annotations_of(pod: &PodSandbox, container: &Container) -> Annotations {
    let ours = |key: &&String| key.starts_with(ANNOTATION_PREFIX);
    let by_name = pod.annotations.iter().filter_map(|(key, value)| {
        let (name, key) = key.split_once('/')?;
        let ours = name == container.name && key.starts_with(ANNOTATION_PREFIX);
        ours.then(|| (key.to_owned(), value.clone()))
    });
    let all = |annotations: &Annotations| -> Annotations {
        let ours = annotations.iter().filter(|(key, _)| ours(key));
        ours.map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    let mut found = all(&pod.annotations);
    found.extend(by_name);
    found.extend(all(&container.annotations));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nri::api::LinuxContainer;
    use crate::nri::api::LinuxNamespace;

    const MAPS: &str = "org.bpf-token.delegate_maps";

    fn map(pairs: &[(&str, &str)]) -> Annotations {
        let pairs = pairs.iter().copied();
        pairs
            .map(|(key, value)| (key.into(), value.into()))
            .collect()
    }

    fn request(pod: &[(&str, &str)], container: &[(&str, &str)]) -> CreateContainerRequest {
        let user = LinuxNamespace {
            kind: "user".to_owned(),
        };
        CreateContainerRequest {
            pod: Some(PodSandbox {
                name: "p".to_owned(),
                namespace: "n".to_owned(),
                annotations: map(pod),
            }),
            container: Some(Container {
                name: "c".to_owned(),
                annotations: map(container),
                linux: Some(LinuxContainer {
                    namespaces: vec![user],
                }),
            }),
        }
    }

    fn adjust(
        request: CreateContainerRequest,
        at_most: Option<&str>,
    ) -> Result<Option<ContainerAdjustment>> {
        let rules = Rules {
            hook: Path::new("/bpftoken"),
            at_most,
            log: Some(Path::new("/log")),
        };
        rules.adjust(request, &Log::open(None)?)
    }

    #[test]
    fn the_nearest_annotation_counts() {
        let one = format!("c/{MAPS}");
        let other = format!("d/{MAPS}");
        for (pod, container, wanted) in [
            (vec![(MAPS, "array")], vec![], Some("array")),
            (vec![(MAPS, "array"), (&one, "hash")], vec![], Some("hash")),
            (
                vec![(&one, "hash")],
                vec![(MAPS, "ringbuf")],
                Some("ringbuf"),
            ),
            (vec![(&other, "hash")], vec![], None),
            (vec![("other", "x")], vec![("other", "x")], None),
        ] {
            let made = adjust(request(&pod, &container), None).unwrap();
            let made = made.map(|made| made.annotations);
            assert_eq!(made, wanted.map(|value| map(&[(MAPS, value)])), "{pod:?}");
        }
    }

    #[test]
    fn the_hook_knows_the_limit() {
        let ask = || request(&[(MAPS, "array")], &[]);
        let made = adjust(ask(), Some("delegate_maps=array:hash")).unwrap();
        let hooks = made.unwrap().hooks.unwrap().create_runtime;
        let args = [
            "bpftoken",
            "oci-hook",
            "--at-most=delegate_maps=array:hash",
            "--log=/log",
        ];
        assert_eq!(hooks.len(), 1);
        assert_eq!(hooks[0].path, "/bpftoken");
        assert_eq!(hooks[0].args, args);
        let error = adjust(ask(), Some("delegate_maps=hash")).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.starts_with("container c of pod n/p: "), "{error}");
        assert!(error.contains("--at-most"), "{error}");
    }

    #[test]
    fn a_pod_without_a_user_namespace_is_told_so() {
        let mut ask = request(&[(MAPS, "array")], &[]);
        ask.container.as_mut().unwrap().linux = Some(LinuxContainer::default());
        let error = format!("{:#}", adjust(ask.clone(), None).unwrap_err());
        assert!(error.contains("hostUsers: false"), "{error}");
        // One that asks for nothing needs none.
        ask.pod = None;
        assert_eq!(adjust(ask, None).unwrap(), None);
    }

    #[test]
    fn a_bad_target_is_told_before_the_container_is_made() {
        let ask = request(&[(MAPS, "array"), ("org.bpf-token.target", "/..")], &[]);
        assert!(adjust(ask, None).is_err());
    }
}
