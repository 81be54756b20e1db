//! An image's labels and facts as annotations of its containers.
//!
//! image-spec, conversion.md, "Annotation Fields".

use std::collections::BTreeMap;

use crate::document::ImageConfig;

/// Beginnings of annotations that make a runtime or its callers do something: an image's
/// publisher must not command the host.
const COMMANDS: [&str; 20] = [
    "PODMAN_",
    "cdi.k8s.io/",
    "container.apparmor.security.",
    "cri-o.io/",
    "dev.gvisor.",
    "devices.",
    "io.containerd.",
    "io.containers.",
    "io.cri-containerd.",
    "io.cri-o.",
    "io.katacontainers.",
    "io.kubernetes.",
    "io.podman.",
    "krun.",
    "module.wasm.",
    "org.criu.",
    "org.opencontainers.runc.",
    "org.systemd.property.",
    "run.oci.",
    "seccomp.security.",
];

/// The annotations, and the labels that were left out since they would be commands.
pub(super) fn annotations(config: &ImageConfig) -> (BTreeMap<String, String>, Vec<String>) {
    let mut annotations = facts(config);
    let mut left_out = Vec::new();
    for (name, value) in &config.config.labels {
        if name.is_empty() || COMMANDS.iter().any(|command| name.starts_with(command)) {
            left_out.push(name.clone());
        } else {
            // A label is what the image's maker wanted, so it wins over a fact.
            annotations.insert(name.clone(), value.clone());
        }
    }
    (annotations, left_out)
}

fn facts(config: &ImageConfig) -> BTreeMap<String, String> {
    let platform = &config.platform;
    let all = [
        ("os", Some(platform.os.clone())),
        ("architecture", Some(platform.architecture.clone())),
        ("variant", platform.variant.clone()),
        ("os.version", platform.os_version.clone()),
        ("os.features", Some(platform.os_features.join(","))),
        ("author", config.author.clone()),
        ("created", config.created.clone()),
        ("stopSignal", config.config.stop_signal.clone()),
        ("exposedPorts", Some(config.config.exposed_ports.join(","))),
    ];
    all.into_iter()
        .filter_map(|(name, value)| Some((name, value.filter(|value| !value.is_empty())?)))
        .map(|(name, value)| (format!("org.opencontainers.image.{name}"), value))
        .collect()
}
