//! A plan for programs: stable keys, and units in their names.

use std::ffi::{CStr, CString};

use runtime_init::Attributes;
use serde_json::{Value, json};

use super::capabilities;
use super::words::{attribute_words, classic_words, namespace_words, propagation_word};
use super::{
    Content, ContentAct, DevicePlan, HookPlan, IdmapPlan, MountPlan, MountSource, Plan,
    ProcessPlan, RootEntry,
};

impl Plan {
    /// What would be done, as one JSON object. A property without a value is `null`; sizes,
    /// times and modes have their unit in the key.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "ociVersion": self.oci_version,
            "bundle": self.bundle.to_string_lossy(),
            "cgroup": self.cgroup_json(),
            "namespaces": self.namespaces_json(),
            "rootfs": self.rootfs_json(),
            "contents": self.contents.iter().map(content).collect::<Vec<_>>(),
            "sysctls": self.sysctls.iter().map(|(path, value)| json!({
                "path": text(path),
                "value": String::from_utf8_lossy(value),
            })).collect::<Vec<_>>(),
            "hooks": self.hooks_json(),
            "process": process(&self.process),
            "sessionKeyring": self.keyring.as_deref().map(text),
            "annotations": self.annotations,
            "warnings": self.warnings,
        })
    }

    fn cgroup_json(&self) -> Value {
        let mut cgroup = json!({ "steps": self.cgroup.words() });
        if let Some(unit) = &self.cgroup.unit {
            cgroup["unit"] = json!(unit);
        }
        cgroup
    }

    fn namespaces_json(&self) -> Value {
        let plan = &self.namespaces;
        let joined: Vec<Value> = plan
            .joined
            .iter()
            .map(|joined| {
                json!({
                    "type": namespace_words(joined.kind).next(),
                    "path": joined.path.to_string_lossy(),
                })
            })
            .collect();
        json!({
            "new": namespace_words(plan.new).collect::<Vec<_>>(),
            "joined": joined,
            "uidMappings": plan.uid_mappings,
            "gidMappings": plan.gid_mappings,
            "timeOffsets": plan.time_offsets.as_deref().map(String::from_utf8_lossy),
            "hostname": plan.hostname.as_deref().map(String::from_utf8_lossy),
            "domainname": plan.domainname.as_deref().map(String::from_utf8_lossy),
        })
    }

    fn rootfs_json(&self) -> Value {
        let rootfs = &self.rootfs;
        json!({
            "path": text(&rootfs.path),
            "readonly": rootfs.readonly,
            "propagation": propagation_word(rootfs.propagation),
            "finalPropagation": rootfs.final_propagation.map(propagation_word),
            "entry": match rootfs.entry {
                RootEntry::Pivot => "pivot_root",
                RootEntry::Move => "move",
                RootEntry::Chroot => "chroot",
            },
        })
    }

    fn hooks_json(&self) -> Value {
        let list = |hooks: &[HookPlan]| hooks.iter().map(hook).collect::<Vec<_>>();
        json!({
            "prestart": list(&self.hooks.prestart),
            "createRuntime": list(&self.hooks.create_runtime),
            "createContainer": list(&self.hooks.create_container),
            "startContainer": list(&self.hooks.start_container),
            "poststart": list(&self.hooks.poststart),
            "poststop": list(&self.hooks.poststop),
        })
    }
}

fn text(text: &CStr) -> String {
    text.to_string_lossy().into_owned()
}

fn texts(texts: &[CString]) -> Vec<String> {
    texts.iter().map(|entry| text(entry)).collect()
}

fn hook(hook: &HookPlan) -> Value {
    json!({
        "path": text(&hook.path),
        "args": texts(&hook.args),
        "env": hook.env.as_deref().map(texts),
        "timeoutSeconds": hook.timeout_secs,
    })
}

fn content(content: &Content) -> Value {
    let mut object = match &content.act {
        ContentAct::Mount(plan) => mount(plan),
        ContentAct::Directory { path, mode } => {
            json!({ "act": "directory", "path": text(path), "modeOctal": octal(*mode) })
        }
        ContentAct::Device(plan) => device(plan),
        ContentAct::Symlink {
            text: link,
            path,
            replace,
        } => {
            json!({ "act": "link", "path": text(path), "text": text(link), "replace": replace })
        }
        ContentAct::Readonly(path) => json!({ "act": "readonly", "path": text(path) }),
        ContentAct::Masked(path) => json!({ "act": "mask", "path": text(path) }),
    };
    object["origin"] = Value::String(content.origin.pointer());
    object["words"] = Value::String(content.words());
    object
}

fn octal(mode: u32) -> String {
    format!("{:04o}", mode & !libc::S_IFMT)
}

fn mount(plan: &MountPlan) -> Value {
    let words = |attributes: Attributes| attribute_words(attributes).collect::<Vec<_>>();
    json!({
        "act": "mount",
        "path": text(&plan.target),
        "source": source(&plan.source),
        "attributes": words(plan.attributes),
        "recursiveAttributes": words(plan.recursive),
        "propagation": plan.propagation.iter().map(|flags| propagation_word(*flags)).collect::<Vec<_>>(),
        "copyUp": plan.copy_up,
    })
}

fn source(source: &MountSource) -> Value {
    match source {
        MountSource::Filesystem {
            kind,
            device,
            options,
        } => json!({
            "kind": "filesystem",
            "type": text(kind),
            "device": device.as_deref().map(text),
            "options": options.iter().map(|(key, value)| json!({
                "name": text(key),
                "value": value.as_deref().map(text),
            })).collect::<Vec<_>>(),
        }),
        MountSource::Bind {
            path,
            recursive,
            idmap,
        } => json!({
            "kind": "bind",
            "path": text(path),
            "recursive": recursive,
            "idmap": idmap.as_ref().map(idmapping),
        }),
        MountSource::Classic {
            kind,
            device,
            flags,
            data,
        } => json!({
            "kind": if flags & libc::MS_REMOUNT != 0 { "remount" } else { "classic" },
            "type": text(kind),
            "device": text(device),
            "flags": classic_words(*flags).collect::<Vec<_>>(),
            "data": text(data),
        }),
        MountSource::Existing => json!({ "kind": "existing" }),
    }
}

fn idmapping(plan: &IdmapPlan) -> Value {
    json!({
        "recursive": plan.recursive,
        "uidMappings": plan.uid_mappings,
        "gidMappings": plan.gid_mappings,
    })
}

fn device(plan: &DevicePlan) -> Value {
    json!({
        "act": if plan.bind { "bindDevice" } else { "device" },
        "path": text(&plan.path),
        "type": match plan.mode & libc::S_IFMT {
            libc::S_IFIFO => "p",
            libc::S_IFBLK => "b",
            _ => "c",
        },
        "major": plan.major,
        "minor": plan.minor,
        "modeOctal": octal(plan.mode),
        "uid": plan.uid,
        "gid": plan.gid,
    })
}

fn process(plan: &ProcessPlan) -> Value {
    json!({
        "args": texts(&plan.args),
        "env": texts(&plan.env),
        "candidates": texts(&plan.candidates),
        "cwd": text(&plan.cwd),
        "terminal": plan.terminal.map(|terminal| json!({
            "rows": terminal.size.map(|size| size.0),
            "columns": terminal.size.map(|size| size.1),
        })),
        "uid": plan.uid,
        "gid": plan.gid,
        "additionalGids": plan.additional_gids,
        "umaskOctal": plan.umask.map(octal),
        "capabilities": capability_sets(plan),
        "rlimits": plan.rlimits.iter().map(|limit| json!({
            "type": limit.name,
            "soft": limit.soft,
            "hard": limit.hard,
        })).collect::<Vec<_>>(),
        "noNewPrivileges": plan.no_new_privileges,
        "oomScoreAdj": plan.oom_score_adj,
        "apparmorProfile": plan.apparmor_profile,
        "selinuxLabel": plan.selinux_label,
        "scheduler": plan.scheduler.map(|scheduler| json!({
            "policy": super::scheduling::policy_name(scheduler.policy),
            "flags": super::scheduling::flag_names(scheduler.flags).collect::<Vec<_>>(),
            "nice": scheduler.nice,
            "priority": scheduler.priority,
            "runtimeNanoseconds": scheduler.runtime_ns,
            "deadlineNanoseconds": scheduler.deadline_ns,
            "periodNanoseconds": scheduler.period_ns,
        })),
        "ioPriority": plan.io_priority.map(|priority| {
            let (class, level) = super::scheduling::io_class(priority);
            json!({ "class": class, "level": level })
        }),
        "personality": plan.personality.map(|domain| if domain == 0 { "LINUX" } else { "LINUX32" }),
        "seccomp": plan.seccomp.as_ref().map(|filter| json!({ "steps": filter.words() })),
        "preserveFds": plan.preserve_fds,
    })
}

fn capability_sets(plan: &ProcessPlan) -> Value {
    let sets = &plan.capabilities.sets;
    json!({
        "bounding": capabilities::names(plan.capabilities.bounding),
        "effective": capabilities::names(sets.effective),
        "permitted": capabilities::names(sets.permitted),
        "inheritable": capabilities::names(sets.inheritable),
        "ambient": capabilities::names(sets.ambient),
    })
}
