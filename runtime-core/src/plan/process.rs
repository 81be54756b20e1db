//! `process`, and what of `linux` belongs to a process: of the container's first one, and of
//! every later one (`exec`).

use std::ffi::CString;

use super::idmap::Ids;
use super::namespaces::{self, USER};
use super::place::Place;
use super::text::{c_string, c_strings, quoted, unknown};
use super::{
    CapabilityPlan, NamespacesPlan, PlanOptions, ProcessPlan, TerminalPlan, affinity, capabilities,
    memory_policy, rlimits, scheduling, seccomp,
};
use crate::host::Host;
use crate::spec::{ConsoleSize, Linux, Process, Spec, User};
use crate::violation::Violations;

/// Where programs are looked for when the process has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The kernel's -1: in setresuid(2) and its like "leave as it is".
const NO_ID: u32 = u32::MAX;

/// The annotation by which podman's `--group-add keep-groups` asks for the caller's own
/// supplementary groups, as crun has it: its presence counts.
pub(crate) const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

/// What a process is resolved against.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProcessFacts<'a> {
    pub(super) host: &'a Host,
    pub(super) linux: &'a Linux<'a>,
    pub(super) namespaces: &'a NamespacesPlan,
    pub(super) ids: Ids<'a>,
    pub(super) options: &'a PlanOptions,
    /// Whether processes have the supplementary groups of the runtime's caller.
    pub(super) keeps_groups: bool,
}

impl ProcessPlan {
    /// Resolves a further process of a container whose config.json is `spec`.
    /// Also gives the warnings: what was asked for and can't be given.
    ///
    /// # Errors
    ///
    /// Every broken rule; pointers are those of the process's own document, and begin with
    /// `/linux` for the container's.
    pub fn new(
        process: &Process<'_>,
        spec: &Spec<'_>,
        host: &Host,
        options: &PlanOptions,
    ) -> Result<(Self, Vec<String>), Violations> {
        let mut violations = Violations::default();
        let mut warnings = Vec::new();
        let without = Linux::default();
        let linux = spec.linux.as_ref().unwrap_or(&without);
        let (namespaces, mappings) = namespaces::plan(linux, host, &mut violations);
        let ids = Ids {
            uids: &mappings.uids,
            gids: &mappings.gids,
        };
        let facts = ProcessFacts {
            host,
            linux,
            namespaces: &namespaces,
            ids,
            options,
            keeps_groups: keeps_groups(spec),
        };
        let plan = plan(process, facts, Place::ROOT, &mut violations, &mut warnings);
        if violations.is_empty() {
            Ok((plan, warnings))
        } else {
            Err(violations)
        }
    }
}

/// Whether config.json asks for the supplementary groups of the runtime's caller.
pub(super) fn keeps_groups(spec: &Spec<'_>) -> bool {
    let mut annotations = spec.annotations.iter().flatten();
    annotations.any(|(key, _)| **key == *KEEP_GROUPS)
}

/// Whether setgroups(2) works where the process runs: a user without privilege has to give it up
/// to map its own group alone, and whoever made a namespace that is joined has decided for it.
fn may_set_groups(facts: ProcessFacts<'_>) -> bool {
    if !facts.namespaces.has(USER) {
        return facts.host.may_set_groups;
    }
    let is_new = facts.namespaces.new & USER != 0;
    let maps_own_alone =
        matches!(facts.ids.gids, [one] if one.size == 1 && one.host_id == facts.host.egid);
    // What the runtime's own namespace has given up, those below it can't have.
    facts.host.may_set_groups && (!facts.host.is_rootless() || is_new && !maps_own_alone)
}

/// Resolves a process whose document is at `place`.
pub(super) fn plan(
    process: &Process<'_>,
    facts: ProcessFacts<'_>,
    place: Place<'_>,
    violations: &mut Violations,
    warnings: &mut Vec<String>,
) -> ProcessPlan {
    let args = args(process, place.key("args"), violations);
    let env = env(process, facts.options, place.key("env"), violations);
    let (uid, gid, mut additional_gids, umask) =
        user(process.user.as_ref(), facts, place.key("user"), violations);
    if facts.keeps_groups && !additional_gids.is_empty() {
        warnings.push(format!(
            "user.additionalGids are not added: {KEEP_GROUPS} keeps the caller's groups as they are"
        ));
        additional_gids.clear();
    }
    let oom_score_adj = process.oom_score_adj;
    ProcessPlan {
        candidates: candidates(args.first(), &env),
        cwd: cwd(process, place.key("cwd"), violations),
        terminal: terminal(process, place.key("consoleSize"), violations),
        uid,
        gid,
        additional_gids,
        set_groups: !facts.keeps_groups && may_set_groups(facts),
        umask,
        capabilities: capability_plan(process, facts, place, violations, warnings),
        rlimits: rlimits::plan(
            process.rlimits.as_deref().unwrap_or_default(),
            place.key("rlimits"),
            violations,
        ),
        no_new_privileges: process.no_new_privileges.unwrap_or(false),
        oom_score_adj: oom_score(oom_score_adj, place.key("oomScoreAdj"), violations),
        apparmor_profile: label(
            process.apparmor_profile.as_deref(),
            facts.host.apparmor,
            "AppArmor",
            place.key("apparmorProfile"),
            violations,
        ),
        selinux_label: label(
            process.selinux_label.as_deref(),
            facts.host.selinux,
            "SELinux",
            place.key("selinuxLabel"),
            violations,
        ),
        scheduler: process.scheduler.as_ref().and_then(|scheduler| {
            scheduling::scheduler(scheduler, place.key("scheduler"), violations)
        }),
        io_priority: process.io_priority.as_ref().and_then(|priority| {
            scheduling::io_priority(priority, place.key("ioPriority"), violations)
        }),
        personality: personality(facts.linux, violations),
        memory_policy: memory_policy::plan(facts.linux, violations),
        exec_affinity: affinity::plan(
            process.exec_cpu_affinity.as_ref(),
            place.key("execCPUAffinity"),
            violations,
        ),
        seccomp: seccomp::plan(facts.linux.seccomp.as_ref(), facts.host.machine, violations),
        preserve_fds: facts.options.preserve_fds,
        args,
        env,
    }
}

fn args(process: &Process<'_>, place: Place<'_>, violations: &mut Violations) -> Vec<CString> {
    let args = process.args.as_deref().unwrap_or_default();
    match args.first() {
        None => violations.add(place, "is missing or empty; the first one is the program"),
        Some(program) if program.is_empty() => {
            violations.add(place.index(0), "is empty; it must be a program");
        }
        Some(_) => {}
    }
    c_strings(args, place, violations)
}

fn env(
    process: &Process<'_>,
    options: &PlanOptions,
    place: Place<'_>,
    violations: &mut Violations,
) -> Vec<CString> {
    let env = process.env.as_deref().unwrap_or_default();
    for (index, entry) in env.iter().enumerate() {
        // As runc: execve(2) would take it, and no program could read it.
        let has_name = entry
            .split_once('=')
            .is_some_and(|(name, _)| !name.is_empty());
        if !has_name && !violations.is_full() {
            let rule = format!(
                "invalid environment variable {}: NAME=VALUE is one",
                quoted(entry)
            );
            violations.add(place.index(index), rule);
        }
    }
    let mut strings = c_strings(env, place, violations);
    for (index, extra) in options.extra_env.iter().enumerate() {
        strings.push(c_string(extra, place.index(env.len() + index), violations));
    }
    strings
}

/// Where the program may be. A PATH entry that is empty or relative would make it depend on
/// the working directory, and is skipped.
fn candidates(program: Option<&CString>, env: &[CString]) -> Vec<CString> {
    let Some(program) = program.map(|program| program.to_bytes()) else {
        return Vec::new();
    };
    if program.is_empty() {
        return Vec::new();
    }
    if program.contains(&b'/') {
        return vec![CString::new(program).unwrap_or_default()];
    }
    let path = env
        .iter()
        .rev()
        .find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="));
    path.unwrap_or(DEFAULT_PATH.as_bytes())
        .split(|byte| *byte == b':')
        .filter(|directory| directory.first() == Some(&b'/'))
        .filter_map(|directory| {
            let mut candidate = Vec::with_capacity(directory.len() + program.len() + 2);
            candidate.extend_from_slice(directory);
            candidate.push(b'/');
            candidate.extend_from_slice(program);
            CString::new(candidate).ok()
        })
        .collect()
}

fn cwd(process: &Process<'_>, place: Place<'_>, violations: &mut Violations) -> CString {
    let cwd = process.cwd.as_deref().unwrap_or_default();
    if cwd.is_empty() {
        violations.add(place, "is missing or empty");
    } else if !cwd.starts_with('/') {
        violations.add(place, format!("{} is not an absolute path", quoted(cwd)));
    }
    c_string(cwd, place, violations)
}

fn terminal(
    process: &Process<'_>,
    place: Place<'_>,
    violations: &mut Violations,
) -> Option<TerminalPlan> {
    if !process.terminal.unwrap_or(false) {
        return None;
    }
    let size = process.console_size.as_ref();
    Some(TerminalPlan {
        size: size.and_then(|size| console_size(size, place, violations)),
    })
}

fn console_size(
    size: &ConsoleSize<'_>,
    place: Place<'_>,
    violations: &mut Violations,
) -> Option<(u16, u16)> {
    let (Some(height), Some(width)) = (size.height, size.width) else {
        violations.add(place, "needs both height and width");
        return None;
    };
    let mut fits = |key, count: u64| {
        let fits = u16::try_from(count).ok();
        if fits.is_none() {
            violations.add(
                place.key(key),
                format!("{count} is more than 65535 characters"),
            );
        }
        fits
    };
    let (height, width) = (fits("height", height), fits("width", width));
    height.zip(width)
}

/// Uid, gid, supplementary groups, umask.
fn user(
    user: Option<&User<'_>>,
    facts: ProcessFacts<'_>,
    place: Place<'_>,
    violations: &mut Violations,
) -> (u32, u32, Vec<u32>, Option<u32>) {
    let uid = user.and_then(|user| user.uid).unwrap_or(0);
    let gid = user.and_then(|user| user.gid).unwrap_or(0);
    let groups = user
        .and_then(|user| user.additional_gids.as_deref())
        .unwrap_or_default();
    let umask = user.and_then(|user| user.umask);
    if uid == NO_ID {
        violations.add(place.key("uid"), "4294967295 is no user");
    } else if !facts.ids.has_user(uid) {
        violations.add(
            place.key("uid"),
            format!("user {uid} is not mapped in linux.uidMappings"),
        );
    }
    check_group(gid, facts, place.key("gid"), violations);
    check_groups(groups, facts, place.key("additionalGids"), violations);
    if let Some(umask) = umask.filter(|umask| *umask > 0o777) {
        violations.add(
            place.key("umask"),
            format!("{umask} is more than 511 (octal 777)"),
        );
    }
    (uid, gid, groups.to_vec(), umask)
}

fn check_groups(
    groups: &[u32],
    facts: ProcessFacts<'_>,
    place: Place<'_>,
    violations: &mut Violations,
) {
    // An unprivileged user maps its own group only after giving up setgroups(2) for the
    // namespace (user_namespaces(7)).
    let single = matches!(facts.ids.gids, [only] if only.size == 1);
    if single && facts.host.euid != 0 && !groups.is_empty() {
        violations.add(
            place,
            "can't be set by an unprivileged user with a single mapped group",
        );
        return;
    }
    for (index, group) in groups.iter().enumerate() {
        if violations.is_full() {
            break;
        }
        check_group(*group, facts, place.index(index), violations);
    }
}

fn check_group(group: u32, facts: ProcessFacts<'_>, place: Place<'_>, violations: &mut Violations) {
    if group == NO_ID {
        violations.add(place, "4294967295 is no group");
    } else if !facts.ids.has_group(group) {
        violations.add(
            place,
            format!("group {group} is not mapped in linux.gidMappings"),
        );
    }
}

fn capability_plan(
    process: &Process<'_>,
    facts: ProcessFacts<'_>,
    place: Place<'_>,
    violations: &mut Violations,
    warnings: &mut Vec<String>,
) -> CapabilityPlan {
    let grantable = capabilities::grantable(facts.host, facts.namespaces.has(USER));
    let place = place.key("capabilities");
    capabilities::plan(
        process.capabilities.as_ref(),
        grantable,
        place,
        violations,
        warnings,
    )
}

fn oom_score(score: Option<i64>, place: Place<'_>, violations: &mut Violations) -> Option<i32> {
    let score = score?;
    let fits = i32::try_from(score)
        .ok()
        .filter(|score| (-1000..=1000).contains(score));
    if fits.is_none() {
        violations.add(place, format!("{score} is not between -1000 and 1000"));
    }
    fits
}

fn label(
    label: Option<&str>,
    enabled: bool,
    module: &str,
    place: Place<'_>,
    violations: &mut Violations,
) -> Option<String> {
    let label = label.filter(|label| !label.is_empty())?;
    if !enabled {
        violations.add(
            place,
            format!(
                "{} can't be applied: {module} is not enabled on this host",
                quoted(label)
            ),
        );
    }
    if label.contains('\0') {
        violations.add(place, "has a NUL byte");
    }
    Some(label.to_owned())
}

fn personality(linux: &Linux<'_>, violations: &mut Violations) -> Option<u32> {
    let personality = linux.personality.as_ref()?;
    let linux = Place::ROOT.key("linux");
    let place = linux.key("personality");
    if personality
        .flags
        .as_ref()
        .is_some_and(|flags| !flags.is_empty())
    {
        violations.add(
            place.key("flags"),
            "must be empty: the specification has none",
        );
    }
    match personality.domain.as_deref().unwrap_or_default() {
        "LINUX" => Some(0),
        "LINUX32" => Some(8),
        domain => {
            let known = ["LINUX", "LINUX32"].into_iter();
            violations.add(place.key("domain"), unknown("domain", domain, known));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(program: &str, env: &[&str]) -> Vec<String> {
        let env: Vec<CString> = env
            .iter()
            .map(|entry| CString::new(*entry).unwrap())
            .collect();
        let program = CString::new(program).unwrap();
        let found = candidates(Some(&program), &env);
        found
            .into_iter()
            .map(|path| path.into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_program_with_a_slash_is_itself() {
        assert_eq!(found("./x", &["PATH=/bin"]), ["./x"]);
        assert_eq!(found("/bin/x", &[]), ["/bin/x"]);
    }

    #[test]
    fn a_program_is_looked_for_in_the_last_path_and_never_in_the_working_directory() {
        assert_eq!(
            found("x", &["PATH=/a", "PATH=/b::.:c:/d/", "XPATH=/e"]),
            ["/b/x", "/d//x"]
        );
        assert_eq!(found("x", &["PATH="]), Vec::<String>::new());
        assert_eq!(found("x", &[]).len(), 6);
    }
}
