//! A plan for people: every step in the order in which it happens.

use super::capabilities;
use super::words::{
    hook_words, mapping_words, namespace_words, propagation_word, shown, shown_text,
};
use super::{HookPlan, Plan, ProcessPlan, RootEntry};

impl Plan {
    /// What would be done, one line for each step, in order, under headings.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (heading, lines) in self.sections() {
            if lines.is_empty() {
                continue;
            }
            text.push_str(heading);
            text.push('\n');
            for line in lines {
                text.push_str("  ");
                text.push_str(&line);
                text.push('\n');
            }
        }
        text
    }

    /// Headings and their lines; the order is that of create, start, delete.
    pub(super) fn sections(&self) -> Vec<(&'static str, Vec<String>)> {
        let hooks = &self.hooks;
        vec![
            ("cgroup", self.cgroup.words()),
            ("namespaces", self.namespace_lines()),
            (
                "hooks in the runtime's namespaces",
                [
                    hook_lines("prestart", &hooks.prestart),
                    hook_lines("createRuntime", &hooks.create_runtime),
                ]
                .concat(),
            ),
            ("root filesystem", self.rootfs_lines()),
            (
                "hooks in the container's namespaces",
                hook_lines("createContainer", &hooks.create_container),
            ),
            ("entering the root", self.entry_lines()),
            ("process", self.process_lines()),
            (
                "at start",
                [
                    hook_lines("startContainer", &hooks.start_container),
                    vec![run_words(&self.process)],
                    hook_lines("poststart", &hooks.poststart),
                ]
                .concat(),
            ),
            ("at delete", hook_lines("poststop", &hooks.poststop)),
            ("annotations", self.annotation_lines()),
            (
                "warnings",
                self.warnings
                    .iter()
                    .map(|line| shown_text(line.into()).into_owned())
                    .collect(),
            ),
        ]
    }

    fn namespace_lines(&self) -> Vec<String> {
        let plan = &self.namespaces;
        let mut lines = Vec::new();
        let new: Vec<&str> = namespace_words(plan.new).collect();
        if !new.is_empty() {
            lines.push(format!("new: {}", new.join(", ")));
        }
        for joined in &plan.joined {
            let kind = namespace_words(joined.kind).next().unwrap_or_default();
            let path = shown_text(joined.path.to_string_lossy()).into_owned();
            lines.push(format!("join {kind}: {path}"));
        }
        let joined: u64 = plan.joined.iter().map(|joined| joined.kind).sum();
        let inherited: Vec<&str> = namespace_words(!(plan.new | joined)).collect();
        if !inherited.is_empty() {
            lines.push(format!("the runtime's own: {}", inherited.join(", ")));
        }
        lines.extend(self.net_devices.iter().map(|device| {
            let name = shown_text((&device.name).into());
            format!(
                "move network device {name} inside, as {}",
                shown_text((&device.inside).into())
            )
        }));
        lines.extend(
            plan.uid_mappings
                .iter()
                .map(|mapping| mapping_words("user", mapping)),
        );
        lines.extend(
            plan.gid_mappings
                .iter()
                .map(|mapping| mapping_words("group", mapping)),
        );
        for offset in plan
            .time_offsets
            .iter()
            .flat_map(|lines| lines.split(|b| *b == b'\n'))
        {
            let offset = String::from_utf8_lossy(offset);
            if let [clock, secs, nanosecs] = offset.split(' ').collect::<Vec<_>>()[..] {
                lines.push(format!(
                    "shift the {clock} clock by {secs} s and {nanosecs} ns"
                ));
            }
        }
        lines.extend(named("host name", plan.hostname.as_deref()));
        lines.extend(named("domain name", plan.domainname.as_deref()));
        lines
    }

    fn rootfs_lines(&self) -> Vec<String> {
        let rootfs = &self.rootfs;
        let mut lines = Vec::new();
        if rootfs.entry != RootEntry::Chroot {
            lines.push(format!(
                "make all mounts {}",
                propagation_word(rootfs.propagation)
            ));
        }
        lines.push(format!("take {} as the root", shown(&rootfs.path)));
        lines.extend(self.contents.iter().map(super::Content::full_words));
        lines.extend(self.sysctls.iter().map(|(path, value)| {
            let value = shown_text(String::from_utf8_lossy(value));
            format!("set the sysctl {} to {value}", shown(path))
        }));
        lines
    }

    fn entry_lines(&self) -> Vec<String> {
        let rootfs = &self.rootfs;
        let mut lines = Vec::new();
        if rootfs.readonly {
            lines.push("make the root read-only".to_owned());
        }
        lines.push(
            match rootfs.entry {
                RootEntry::Pivot => "make it / and let the host's tree go (pivot_root)",
                RootEntry::Move => "make it / by moving it there, without pivot_root",
                RootEntry::Chroot => "enter it by chroot only: there is no mount namespace",
            }
            .to_owned(),
        );
        if let Some(flags) = rootfs.final_propagation {
            lines.push(format!("make / {}", propagation_word(flags)));
        }
        lines
    }

    fn process_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        match &self.keyring {
            Some(name) => lines.push(format!("new session keyring {}", shown(name))),
            None => lines.push("keep the caller's session keyring".to_owned()),
        }
        lines.extend(self.process.words());
        lines
    }

    fn annotation_lines(&self) -> Vec<String> {
        self.annotations
            .iter()
            .map(|(key, value)| {
                format!("{} = {}", shown_text(key.into()), shown_text(value.into()))
            })
            .collect()
    }
}

fn named(what: &str, name: Option<&[u8]>) -> Option<String> {
    let name = String::from_utf8_lossy(name?);
    Some(format!("set the {what} to {}", shown_text(name)))
}

fn hook_lines(name: &str, hooks: &[HookPlan]) -> Vec<String> {
    hooks
        .iter()
        .map(|hook| format!("{name}: {}", hook_words(hook)))
        .collect()
}

fn run_words(process: &ProcessPlan) -> String {
    let args: Vec<_> = process.args.iter().map(|arg| shown(arg)).collect();
    format!("run {}", args.join(" "))
}

impl ProcessPlan {
    /// Everything about the process but its program, one line each.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let mut lines = Vec::new();
        lines.extend(self.terminal.map(|terminal| match terminal.size {
            Some((rows, columns)) => format!("a terminal of {rows} rows and {columns} columns"),
            None => "a terminal".to_owned(),
        }));
        lines.extend(self.rlimits.iter().map(|limit| {
            format!(
                "limit {} to {} (hard {})",
                limit.name,
                amount(limit.soft),
                amount(limit.hard)
            )
        }));
        self.scheduling_lines(&mut lines);
        self.confinement_lines(&mut lines);
        lines.push(self.user_line());
        lines.push(self.capability_line());
        lines.push(format!("work in {}", shown(&self.cwd)));
        if self.preserve_fds > 0 {
            lines.push(format!("keep {} descriptors from 3 on", self.preserve_fds));
        }
        lines
    }

    fn scheduling_lines(&self, lines: &mut Vec<String>) {
        if let Some(score) = self.oom_score_adj {
            lines.push(format!("adjust its OOM score by {score}"));
        }
        if let Some(scheduler) = &self.scheduler {
            lines.push(format!(
                "scheduler {}: nice {}, priority {}",
                super::scheduling::policy_name(scheduler.policy),
                scheduler.nice,
                scheduler.priority
            ));
        }
        if let Some(priority) = self.io_priority {
            let (class, level) = super::scheduling::io_class(priority);
            lines.push(format!("I/O priority {class}, level {level}"));
        }
        lines.extend(self.memory_policy.as_ref().map(|policy| policy.words()));
    }

    fn confinement_lines(&self, lines: &mut Vec<String>) {
        if let Some(profile) = &self.apparmor_profile {
            lines.push(format!("AppArmor profile {}", shown_text(profile.into())));
        }
        if let Some(label) = &self.selinux_label {
            lines.push(format!("SELinux label {}", shown_text(label.into())));
        }
        match self.personality {
            Some(0) => lines.push("the personality of 64-bit Linux".to_owned()),
            Some(_) => lines.push("the personality of 32-bit Linux".to_owned()),
            None => {}
        }
        if self.no_new_privileges {
            lines.push("no new privileges by setuid programs".to_owned());
        }
        match &self.seccomp {
            Some(filter) => lines.extend(filter.words()),
            None => lines.push("no filter of system calls".to_owned()),
        }
    }

    fn user_line(&self) -> String {
        let mut line = format!("run as {}:{}", self.uid, self.gid);
        if !self.additional_gids.is_empty() {
            let groups: Vec<String> = self.additional_gids.iter().map(u32::to_string).collect();
            line.push_str(&format!(", also in groups {}", groups.join(", ")));
        }
        if let Some(umask) = self.umask {
            line.push_str(&format!(", umask {umask:04o}"));
        }
        line
    }

    fn capability_line(&self) -> String {
        let sets = &self.capabilities.sets;
        let effective = capabilities::names(sets.effective);
        let mut line = match effective.len() {
            0 => "with no capabilities".to_owned(),
            1 => format!("with 1 capability: {}", effective[0]),
            count => format!("with {count} capabilities: {}", effective.join(", ")),
        };
        let bounding = self.capabilities.bounding;
        for (set, mask) in [
            ("bounding", bounding),
            ("permitted", sets.permitted),
            ("inheritable", sets.inheritable),
            ("ambient", sets.ambient),
        ] {
            let empty = matches!(set, "inheritable" | "ambient") && mask == 0;
            if !empty && mask != sets.effective {
                let names = capabilities::names(mask);
                let names = if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(", ")
                };
                line.push_str(&format!("; {set}: {names}"));
            }
        }
        line
    }
}

fn amount(limit: u64) -> String {
    if limit == u64::MAX {
        "unlimited".to_owned()
    } else {
        limit.to_string()
    }
}
