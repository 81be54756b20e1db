//! Arrays in the kernel's form, which the steps borrow and the plan does not have.

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_char};

use crate::hooks::LONGEST_HOOK;
use crate::plan::{ContentAct, HookPlan, MountSource, Plan, ProcessPlan};
use crate::sys::pointers;

/// A filesystem parameter: a name and a value, or a flag.
pub(super) type Parameter<'a> = (&'a CStr, Option<&'a CStr>);

/// Arrays that the steps borrow and that the plan does not have in the kernel's form.
#[derive(Debug)]
pub(crate) struct Arrays<'a> {
    /// Filesystem parameters by index in `plan.contents`.
    pub(super) parameters: Vec<(usize, Vec<Parameter<'a>>)>,
    pub(super) create_hooks: Vec<HookArrays<'a>>,
    pub(super) start_hooks: Vec<HookArrays<'a>>,
    pub(super) process: ProcessArrays<'a>,
}

#[derive(Debug)]
pub(super) struct HookArrays<'a> {
    pub(super) path: &'a CStr,
    pub(super) argv: Vec<*const c_char>,
    pub(super) envp: Vec<*const c_char>,
    pub(super) timeout_ms: u32,
}

/// The arrays of one process.
#[derive(Debug)]
pub(crate) struct ProcessArrays<'a> {
    pub(super) argv: Vec<*const c_char>,
    pub(super) envp: Vec<*const c_char>,
    pub(super) candidates: Vec<&'a CStr>,
    pub(super) label: Option<Label<'a>>,
}

/// The security label of the program, and the file below `/proc/self/attr` that takes it.
#[derive(Debug)]
pub(super) struct Label<'a> {
    pub(super) file: &'static CStr,
    /// What is written, in one piece.
    pub(super) bytes: Cow<'a, [u8]>,
    pub(super) module: &'static str,
    pub(super) name: &'a str,
}

impl<'a> Label<'a> {
    /// AppArmor wants a command before the name (its `aa_change_onexec`), SELinux the bare
    /// context (setexeccon(3)).
    fn of(plan: &'a ProcessPlan) -> Option<Self> {
        if let Some(profile) = plan.apparmor_profile.as_deref() {
            return Some(Self {
                file: c"apparmor/exec",
                bytes: format!("exec {profile}").into_bytes().into(),
                module: "AppArmor",
                name: profile,
            });
        }
        plan.selinux_label.as_deref().map(|label| Self {
            file: c"exec",
            bytes: label.as_bytes().into(),
            module: "SELinux",
            name: label,
        })
    }
}

impl<'a> ProcessArrays<'a> {
    /// The arrays for `plan`, with `home` added to its environment if it has none.
    pub(crate) fn new(plan: &'a ProcessPlan, home: Option<&'a CStr>) -> Self {
        let mut envp: Vec<_> = plan.env.iter().map(|variable| variable.as_ptr()).collect();
        envp.extend(home.map(CStr::as_ptr));
        envp.push(std::ptr::null());
        Self {
            argv: pointers(&plan.args),
            envp,
            candidates: plan.candidates.iter().map(CString::as_c_str).collect(),
            label: Label::of(plan),
        }
    }
}

impl<'a> Arrays<'a> {
    /// The arrays for `plan`; hooks without an environment get `hook_environment`.
    pub(crate) fn new(
        plan: &'a Plan,
        home: Option<&'a CStr>,
        hook_environment: &'a [CString],
    ) -> Self {
        let parameters = plan
            .contents
            .iter()
            .enumerate()
            .filter_map(|(index, content)| {
                let ContentAct::Mount(mount) = &content.act else {
                    return None;
                };
                let MountSource::Filesystem { options, .. } = &mount.source else {
                    return None;
                };
                let options = options
                    .iter()
                    .map(|(key, value)| (key.as_c_str(), value.as_deref()));
                Some((index, options.collect()))
            });
        let hooks = |hooks: &'a [HookPlan], default: &'a [CString]| {
            hooks
                .iter()
                .map(|hook| HookArrays::new(hook, default))
                .collect()
        };
        Self {
            parameters: parameters.collect(),
            create_hooks: hooks(&plan.hooks.create_container, hook_environment),
            start_hooks: hooks(&plan.hooks.start_container, &plan.process.env),
            process: ProcessArrays::new(&plan.process, home),
        }
    }

    pub(super) fn parameters(&self, index: usize) -> &[Parameter<'a>] {
        let found = self.parameters.binary_search_by_key(&index, |(of, _)| *of);
        found.map_or(&[], |position| self.parameters[position].1.as_slice())
    }
}

impl<'a> HookArrays<'a> {
    pub(super) fn new(hook: &'a HookPlan, default_environment: &'a [CString]) -> Self {
        let limit_ms = hook.timeout_secs.map(|secs| secs.saturating_mul(1000));
        let longest_ms = u32::try_from(LONGEST_HOOK.as_millis()).unwrap_or(u32::MAX);
        Self {
            path: &hook.path,
            argv: pointers(&hook.args),
            envp: pointers(hook.env.as_deref().unwrap_or(default_environment)),
            timeout_ms: limit_ms.unwrap_or(longest_ms),
        }
    }
}
