//! From what was said to what will be done: the one list of a plan's parts.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::Path;

use super::devices::{self, DeviceFacts};
use super::idmap::Ids;
use super::mounts::{self, MountFacts};
use super::place::Place;
use super::process::{self, ProcessFacts};
use super::text::quoted;
use super::{Content, HooksPlan, Plan, PlanOptions, ProcessPlan};
use super::{cgroup, hooks, namespaces, net_devices, paths, rootfs, sysctl};
use crate::host::Host;
use crate::id::ContainerId;
use crate::spec::{Linux, Process, Spec};
use crate::violation::Violations;

/// The most steps of one container: their number crosses to the parent in 16 bits.
const STEPS_MAX: usize = 60_000;

/// The document's sections in the order of the specification, for sorting violations.
const SECTIONS: [&str; 9] = [
    "ociVersion",
    "root",
    "process",
    "hostname",
    "domainname",
    "mounts",
    "hooks",
    "annotations",
    "linux",
];

impl Plan {
    /// Resolves a whole config.json.
    ///
    /// Pure: the same arguments give the same plan. `bundle` is absolute.
    ///
    /// # Errors
    ///
    /// Every broken rule, in the specification's order of sections.
    pub fn new(
        spec: &Spec<'_>,
        bundle: &Path,
        id: &ContainerId,
        host: &Host,
        options: &PlanOptions,
    ) -> Result<Self, Violations> {
        let mut violations = Violations::default();
        let nothing = Linux::default();
        let linux = spec.linux.as_ref().unwrap_or(&nothing);
        let plan = compile(spec, linux, bundle, id, host, options, &mut violations);
        if violations.is_empty() {
            return Ok(plan);
        }
        violations
            .0
            .sort_by_key(|violation| section(&violation.pointer));
        Err(violations)
    }
}

fn section(pointer: &str) -> usize {
    let key = pointer.split('/').nth(1).unwrap_or_default();
    SECTIONS
        .iter()
        .position(|section| *section == key)
        .unwrap_or(0)
}

fn compile<'a>(
    spec: &'a Spec<'a>,
    linux: &'a Linux<'a>,
    bundle: &'a Path,
    id: &'a ContainerId,
    host: &'a Host,
    options: &'a PlanOptions,
    violations: &mut Violations,
) -> Plan {
    let (mut namespaces, mappings) = namespaces::plan(linux, host, violations);
    let ids = Ids {
        uids: &mappings.uids,
        gids: &mappings.gids,
    };
    let oci_version = version(spec, violations);
    let cgroup = cgroup::plan(spec, id, host, options.cgroup_driver, violations);
    let rootfs = rootfs::plan(spec, linux, bundle, &namespaces, options, violations);

    let facts = ProcessFacts {
        host,
        linux,
        namespaces: &namespaces,
        ids,
        options,
        keeps_groups: process::keeps_groups(spec),
    };
    let (process, mut warnings) = first_process(spec, facts, violations);
    let facts = MountFacts {
        bundle,
        host,
        namespaces: &namespaces,
        ids,
        linux,
        cgroup: &cgroup,
        propagation: rootfs.propagation,
    };
    let contents = contents(spec, facts, &mut warnings, violations);
    let sysctls = sysctl::plan(linux, &namespaces, violations);
    let hooks = hooks::plan(spec.hooks.as_ref(), violations);
    let annotations = annotations(spec, violations);
    namespaces::names(spec, &mut namespaces, violations);
    let net_devices = net_devices::plan(linux, &namespaces, host, violations);
    refuse_unsupported(linux, host, violations);
    bound_steps(contents.len() + sysctls.len(), &hooks, violations);
    Plan {
        oci_version,
        bundle: bundle.to_path_buf(),
        annotations,
        namespaces,
        net_devices,
        rootfs,
        contents,
        sysctls,
        cgroup,
        hooks,
        process,
        keyring: keyring(id, options),
        warnings,
    }
}

fn first_process(
    spec: &Spec<'_>,
    facts: ProcessFacts<'_>,
    violations: &mut Violations,
) -> (ProcessPlan, Vec<String>) {
    let place = Place::ROOT.key("process");
    let mut warnings = Vec::new();
    let nothing = Process::default();
    // A missing process has one fault, not one for each of its missing properties.
    let mut unread = Violations::default();
    let (process, violations) = match spec.process.as_ref() {
        Some(process) => (process, violations),
        None => {
            violations.add(place, "is missing");
            (&nothing, &mut unread)
        }
    };
    let plan = process::plan(process, facts, place, violations, &mut warnings);
    (plan, warnings)
}

fn contents(
    spec: &Spec<'_>,
    facts: MountFacts<'_>,
    warnings: &mut Vec<String>,
    violations: &mut Violations,
) -> Vec<Content> {
    let mounts = mounts::plan(spec, facts, violations);
    let mut contents = mounts.contents;
    let MountFacts {
        host,
        namespaces,
        ids,
        linux,
        ..
    } = facts;
    if mounts.foreign_dev {
        // Someone else's /dev is taken as it is, like runc does.
        let listed = linux
            .devices
            .as_ref()
            .is_some_and(|devices| !devices.is_empty());
        if listed {
            warnings.push("linux.devices are not made: /dev is a bind mount".to_owned());
        }
    } else {
        let facts = DeviceFacts {
            host,
            namespaces,
            ids,
        };
        devices::plan(linux, facts, &mut contents, violations);
    }
    contents.extend(mounts.late);
    paths::plan(linux, namespaces, &mut contents, violations);
    warnings.extend(mounts.warnings);
    contents
}

/// SemVer 2.0.0, of the specification's first major version.
fn version(spec: &Spec<'_>, violations: &mut Violations) -> String {
    let place = Place::ROOT.key("ociVersion");
    let Some(version) = spec.oci_version.as_deref() else {
        violations.add(place, "is missing");
        return String::new();
    };
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let mut numbers = core.split('.').map(str::parse::<u32>);
    let three = [
        numbers.next(),
        numbers.next(),
        numbers.next(),
        numbers.next(),
    ];
    match three {
        [Some(Ok(1)), Some(Ok(_)), Some(Ok(_)), None] => {}
        [Some(Ok(_)), Some(Ok(_)), Some(Ok(_)), None] => violations.add(
            place,
            format!(
                "{} is not supported; this runtime knows 1.x",
                quoted(version)
            ),
        ),
        _ => violations.add(
            place,
            format!("{} is no version of the form 1.2.0", quoted(version)),
        ),
    }
    version.to_owned()
}

fn annotations(spec: &Spec<'_>, violations: &mut Violations) -> BTreeMap<String, String> {
    let place = Place::ROOT.key("annotations");
    let mut annotations = BTreeMap::new();
    for (key, value) in spec.annotations.iter().flatten() {
        if key.is_empty() {
            violations.add(place, "has an empty key");
        }
        annotations.insert(key.to_string(), value.to_string());
    }
    annotations
}

/// Properties that this version refuses by name, so that none is silently ignored.
fn refuse_unsupported(linux: &Linux<'_>, host: &Host, violations: &mut Violations) {
    let place = Place::ROOT.key("linux");
    let unsupported = [("intelRdt", linux.intel_rdt.is_some())];
    for (key, asked) in unsupported {
        if asked {
            violations.add(place.key(key), "is not supported yet");
        }
    }
    let label = linux.mount_label.as_deref().unwrap_or_default();
    if !label.is_empty() && !host.selinux {
        violations.add(
            place.key("mountLabel"),
            format!(
                "{} can't be applied: SELinux is not enabled on this host",
                quoted(label)
            ),
        );
    }
}

fn bound_steps(steps: usize, hooks: &HooksPlan, violations: &mut Violations) {
    let HooksPlan {
        prestart,
        create_runtime,
        create_container,
        start_container,
        poststart,
        poststop,
    } = hooks;
    let hooks = [
        prestart,
        create_runtime,
        create_container,
        start_container,
        poststart,
        poststop,
    ];
    let steps = steps + hooks.iter().map(|hooks| hooks.len()).sum::<usize>();
    if steps > STEPS_MAX {
        violations.add(
            "",
            format!("asks for {steps} mounts, devices, paths, sysctls and hooks; {STEPS_MAX} are possible"),
        );
    }
}

fn keyring(id: &ContainerId, options: &PlanOptions) -> Option<CString> {
    if options.no_new_keyring {
        return None;
    }
    let mut name = String::with_capacity(5 + id.as_str().len());
    name.push_str("_ses.");
    name.push_str(id.as_str());
    CString::new(name).ok()
}
