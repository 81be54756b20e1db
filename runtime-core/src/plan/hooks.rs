//! `hooks`.

use super::place::Place;
use super::text::{c_string, c_strings, quoted};
use super::{HookPlan, HooksPlan};
use crate::spec::{Hook, Hooks};
use crate::violation::Violations;

/// The names of all hooks, in the order of the lifecycle.
pub const HOOK_NAMES: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// Resolves all hooks.
pub(super) fn plan(hooks: Option<&Hooks<'_>>, violations: &mut Violations) -> HooksPlan {
    let Some(hooks) = hooks else {
        return HooksPlan::default();
    };
    let place = Place::ROOT.key("hooks");
    let mut list = |name, hooks: Option<&Vec<Hook<'_>>>| {
        let hooks = hooks.map_or(&[][..], Vec::as_slice);
        plan_list(hooks, place.key(name), violations)
    };
    HooksPlan {
        prestart: list("prestart", hooks.prestart.as_ref()),
        create_runtime: list("createRuntime", hooks.create_runtime.as_ref()),
        create_container: list("createContainer", hooks.create_container.as_ref()),
        start_container: list("startContainer", hooks.start_container.as_ref()),
        poststart: list("poststart", hooks.poststart.as_ref()),
        poststop: list("poststop", hooks.poststop.as_ref()),
    }
}

fn plan_list(hooks: &[Hook<'_>], place: Place<'_>, violations: &mut Violations) -> Vec<HookPlan> {
    let mut plan = Vec::with_capacity(hooks.len());
    for (index, hook) in hooks.iter().enumerate() {
        if violations.is_full() {
            break;
        }
        plan.push(plan_one(hook, place.index(index), violations));
    }
    plan
}

fn plan_one(hook: &Hook<'_>, place: Place<'_>, violations: &mut Violations) -> HookPlan {
    let path = hook.path.as_deref().unwrap_or_default();
    if !path.starts_with('/') {
        violations.add(
            place.key("path"),
            format!("{} is not an absolute path", quoted(path)),
        );
    }
    let path = c_string(path, place.key("path"), violations);
    let args = match hook.args.as_deref() {
        None | Some([]) => vec![path.clone()],
        Some(args) => c_strings(args, place.key("args"), violations),
    };
    let env = hook
        .env
        .as_deref()
        .map(|env| c_strings(env, place.key("env"), violations));
    HookPlan {
        path,
        args,
        env,
        timeout_secs: timeout(hook, place.key("timeout"), violations),
    }
}

fn timeout(hook: &Hook<'_>, place: Place<'_>, violations: &mut Violations) -> Option<u32> {
    let timeout = hook.timeout?;
    if timeout <= 0 {
        violations.add(place, format!("{timeout} is not more than 0 seconds"));
        return None;
    }
    Some(u32::try_from(timeout).unwrap_or(u32::MAX))
}
