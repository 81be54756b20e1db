//! config.md#posix-platform-hooks and the lifecycle's sentences about them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::hook_table::{HOOKS, Hook, bundle, names, note};
use super::{Area, is};
use crate::bundle::Bundle;
use crate::case::{Case, Trouble, Verdict, equal, holds};
use crate::scene::Scene;

const AREA: Area = Area("hooks");
const PLACE: &str = "config.md#posix-platform-hooks";
const LIFECYCLE: &str = "runtime.md#lifecycle";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for hook in HOOKS {
        cases.extend([
            state(hook),
            given(hook),
            namespaces(hook),
            listed_order(hook),
            failure(hook),
            timeout(hook),
        ]);
        cases.extend([
            relative_path(hook),
            without_a_path(hook),
            timeout_of_nothing(hook),
        ]);
    }
    cases.extend([
        AREA.case("hooks-order", LIFECYCLE, "prestart, createRuntime, createContainer, startContainer, the program, poststart, poststop.", order)
            .of("hooks"),
        AREA.case("hooks-env-unset", PLACE, "env has the semantics of environ, and is optional.", env_unset),
        AREA.case("hook-that-is-missing", PLACE, "path is that of an executable.", |scene| {
            scene.is_refused(&scene.bundle().set("/hooks/prestart", json!([{ "path": "/no/such/hook" }]))).map(drop)
        }),
        AREA.case("hooks-poststop-goes-on", LIFECYCLE, "If a poststop hook fails, the runtime must log a warning, and the remaining hooks and the lifecycle continue.", poststop_goes_on),
        AREA.case("hooks-create-failure-runs-poststop", LIFECYCLE, "If a hook before start fails, the runtime must stop the container, and continue at step 12: poststop hooks run.", poststop_after_failure),
        AREA.case("hooks-poststart-before-start-returns", "config.md#poststart", "poststart hooks are called after the program is executed, and before start returns.", poststart_before_return),
    ]);
    cases
}

/// Everything that a container goes through. The program ends by itself.
fn whole_life(scene: &Scene<'_>, bundle: &Bundle) -> Verdict {
    scene.start(bundle)?;
    scene.until_status(bundle, "stopped")?;
    scene.succeeds(&["delete", bundle.id()]).map(drop)
}

fn after_a_life(scene: &Scene<'_>, hook: Hook) -> Result<(Value, Bundle), Trouble> {
    let bundle = bundle(scene).set("/annotations/of", "this case");
    // poststart's process must still run for its status.
    let bundle = match hook.word {
        "poststart" => bundle.does(&["wait"]),
        _ => bundle,
    };
    let bundle = hook.add(bundle.clone(), hook.entry(scene, &bundle, &[]));
    scene.start(&bundle)?;
    if hook.word == "poststart" {
        scene.succeeds(&["kill", bundle.id(), "KILL"])?;
    }
    scene.until_status(&bundle, "stopped")?;
    scene.succeeds(&["delete", bundle.id()])?;
    Ok((note(&bundle, hook)?, bundle))
}

fn case(
    hook: Hook,
    what: &str,
    place: &str,
    sentence: &str,
    check: impl Fn(&Scene<'_>) -> Verdict + 'static,
) -> Case {
    AREA.case(
        format!("hook-{}-{what}", hook.name()),
        place,
        sentence,
        check,
    )
    .of(&format!("hooks.{}", hook.word))
}

fn state(hook: Hook) -> Case {
    let place = format!("config.md#{}", hook.heading);
    case(
        hook,
        "state",
        &place,
        "The state of the container must be passed to hooks over stdin.",
        move |scene| {
            let (note, bundle) = after_a_life(scene, hook)?;
            let state = &note["state"];
            is("id", &state["id"], bundle.id())?;
            is(
                "bundle",
                &state["bundle"],
                bundle.path().display().to_string(),
            )?;
            is("annotations", &state["annotations"]["of"], "this case")?;
            let status = state["status"].as_str().unwrap_or_default();
            holds(
                hook.statuses.contains(&status),
                &format!("a status of {:?}", hook.statuses),
                status,
            )?;
            let pid = state["pid"].as_i64().unwrap_or(0);
            holds(pid > 0 || status == "stopped", "a pid", state)?;
            let problems = super::schema::state_problems(state);
            holds(
                problems.is_empty(),
                "a state as the schema has it",
                problems,
            )
        },
    )
    .of(&format!("hooks.{}[]", hook.word))
}

/// path, args and env are what the hook has.
fn given(hook: Hook) -> Case {
    case(
        hook,
        "args-and-env",
        PLACE,
        "path, args and env have the semantics of execv and environ.",
        move |scene| {
            let (note, _) = after_a_life(scene, hook)?;
            is("args[0]", &note["arguments"][0], "hook-program")?;
            is("args[4]", &note["arguments"][4], hook.word)?;
            is("env", &note["environment"]["OF"], "the hook")
        },
    )
    .of(&format!("hooks.{}[].path", hook.word))
    .of(&format!("hooks.{}[].args", hook.word))
    .of(&format!("hooks.{}[].args[]", hook.word))
    .of(&format!("hooks.{}[].env", hook.word))
    .of(&format!("hooks.{}[].env[]", hook.word))
}

fn namespaces(hook: Hook) -> Case {
    let place = format!("config.md#{}", hook.heading);
    let where_ = if hook.is_in_its_namespaces {
        "container"
    } else {
        "runtime"
    };
    case(
        hook,
        "namespace",
        &place,
        &format!(
            "{} hooks must be executed in the {where_} namespace.",
            hook.word
        ),
        move |scene| {
            let own = std::fs::read_link("/proc/self/ns/uts")
                .map(|link| link.display().to_string())
                .unwrap_or_default();
            let (note, _) = after_a_life(scene, hook)?;
            let seen = note["namespaces"]["uts"].as_str().unwrap_or_default();
            if hook.is_in_its_namespaces {
                // Where /proc is not mounted yet, nothing can be seen of namespaces but that.
                return holds(
                    seen != own,
                    "other namespaces than the runtime's",
                    &note["namespaces"],
                );
            }
            equal("its namespace", &seen.to_owned(), &own)
        },
    )
}

fn listed_order(hook: Hook) -> Case {
    case(
        hook,
        "order",
        PLACE,
        "Hooks must be called in the listed order.",
        move |scene| {
            let mut bundle = bundle(scene);
            for number in ["1", "2", "3"] {
                let mut entry = hook.entry(scene, &bundle, &[]);
                entry["args"][4] = json!(number);
                bundle = hook.add(bundle, entry);
            }
            whole_life(scene, &bundle)?;
            let mut names = names(&bundle);
            names.retain(|name| name != "program");
            equal(
                "hooks",
                &names,
                &["1", "2", "3"].map(str::to_owned).to_vec(),
            )
        },
    )
}

/// What fails during `create` leaves no container; during `start`, a stopped one at most.
fn fails(scene: &Scene<'_>, bundle: &Bundle, hook: Hook) -> Verdict {
    match hook.during {
        "create" => scene.is_refused(bundle).map(drop),
        "start" => {
            scene.create(bundle)?;
            let started = scene.runtime().call(&["start", bundle.id()]);
            holds(
                started.code != 0 && !started.is_late,
                "an error of `start`",
                started.brief(),
            )?;
            scene.until("the container is stopped or gone", || {
                let status = scene.runtime().status(bundle.id());
                status.is_empty() || status == "stopped"
            })
        }
        _ => {
            scene.start(bundle)?;
            scene.until_status(bundle, "stopped")?;
            // A warning; deleted it is all the same.
            drop(scene.runtime().call(&["delete", bundle.id()]));
            holds(
                scene.runtime().state(bundle.id()).is_none(),
                "no container after delete",
                "there is one",
            )
        }
    }
}

fn failure(hook: Hook) -> Case {
    let sentence = match hook.during {
        "delete" => {
            "If a poststop hook fails, the runtime must log a warning, and the lifecycle continues."
        }
        _ => {
            "If a hook fails, the runtime must generate an error, stop the container, and continue at step 12."
        }
    };
    case(hook, "failure", LIFECYCLE, sentence, move |scene| {
        let bundle = bundle(scene);
        let bundle = if hook.word == "poststart" {
            bundle.does(&["wait"])
        } else {
            bundle
        };
        let bundle = hook.add(bundle.clone(), hook.entry(scene, &bundle, &["exit", "3"]));
        fails(scene, &bundle, hook)?;
        note(&bundle, hook)?;
        let program = names(&bundle).iter().any(|name| name == "program");
        holds(
            !program || matches!(hook.word, "poststop"),
            "the program does not run",
            names(&bundle),
        )
    })
}

fn timeout(hook: Hook) -> Case {
    case(
        hook,
        "timeout",
        PLACE,
        "timeout is the number of seconds before aborting the hook.",
        move |scene| {
            let bundle = bundle(scene);
            let bundle = if hook.word == "poststart" {
                bundle.does(&["wait"])
            } else {
                bundle
            };
            let mut entry = hook.entry(scene, &bundle, &["sleep", "5"]);
            entry["timeout"] = json!(1);
            let bundle = hook.add(bundle, entry);
            let started = Instant::now();
            fails(scene, &bundle, hook)?;
            let taken = started.elapsed();
            note(&bundle, hook)?;
            holds(
                taken < Duration::from_secs(4),
                "an end before the hook's own",
                taken,
            )?;
            holds(
                !names(&bundle).iter().any(|name| name == "slept"),
                "the hook is aborted",
                names(&bundle),
            )
        },
    )
    .of(&format!("hooks.{}[].timeout", hook.word))
}

fn relative_path(hook: Hook) -> Case {
    refused(
        hook,
        "relative-path",
        "path must be absolute.",
        &json!({ "path": "probe" }),
    )
}

fn without_a_path(hook: Hook) -> Case {
    refused(
        hook,
        "without-a-path",
        "path is required.",
        &json!({ "args": ["probe"] }),
    )
}

fn timeout_of_nothing(hook: Hook) -> Case {
    refused(
        hook,
        "timeout-of-zero",
        "If set, timeout must be greater than zero.",
        &json!({ "path": "/bin/true", "timeout": 0 }),
    )
}

fn refused(hook: Hook, what: &str, sentence: &str, entry: &Value) -> Case {
    let entry = entry.clone();
    case(hook, what, PLACE, sentence, move |scene| {
        let bundle = hook.add(scene.bundle(), entry.clone());
        scene.is_refused(&bundle).map(drop)
    })
}

fn order(scene: &Scene<'_>) -> Verdict {
    let mut bundle = bundle(scene);
    for hook in HOOKS {
        bundle = hook.add(bundle.clone(), hook.entry(scene, &bundle, &[]));
    }
    whole_life(scene, &bundle)?;
    let mut seen = names(&bundle);
    // poststart is called once the program is executed: which of the two writes first is open.
    let program = seen.iter().position(|name| name == "program");
    let poststart = seen.iter().position(|name| name == "poststart");
    if let (Some(program), Some(poststart)) = (program, poststart)
        && poststart + 1 == program
    {
        seen.swap(poststart, program);
    }
    let expected = [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "program",
        "poststart",
        "poststop",
    ];
    equal("the order", &seen, &expected.map(str::to_owned).to_vec())
}

/// What is not set must not be a failure.
fn env_unset(scene: &Scene<'_>) -> Verdict {
    let mut bundle = bundle(scene);
    for hook in HOOKS {
        let mut entry = hook.entry(scene, &bundle, &[]);
        if let Some(entry) = entry.as_object_mut() {
            entry.remove("env");
        }
        bundle = hook.add(bundle, entry);
    }
    whole_life(scene, &bundle)?;
    equal("hooks and the program", &names(&bundle).len(), &7)
}

fn poststop() -> Hook {
    HOOKS[5]
}

fn poststop_goes_on(scene: &Scene<'_>) -> Verdict {
    let bundle = bundle(scene);
    let failing = poststop().entry(scene, &bundle, &["exit", "1"]);
    let fine = poststop().entry(scene, &bundle, &[]);
    let bundle = poststop().add(poststop().add(bundle, failing), fine);
    scene.start(&bundle)?;
    scene.until_status(&bundle, "stopped")?;
    let deleted = scene.runtime().call(&["delete", bundle.id()]);
    let runs = names(&bundle)
        .iter()
        .filter(|name| *name == "poststop")
        .count();
    equal("poststop hooks that ran", &runs, &2)?;
    holds(
        deleted.code == 0,
        "a warning, not an error",
        deleted.brief(),
    )
}

fn poststop_after_failure(scene: &Scene<'_>) -> Verdict {
    let create_runtime = HOOKS[1];
    let bundle = bundle(scene);
    let failing = create_runtime.entry(scene, &bundle, &["exit", "1"]);
    let fine = poststop().entry(scene, &bundle, &[]);
    let bundle = poststop().add(create_runtime.add(bundle, failing), fine);
    scene.is_refused(&bundle)?;
    equal(
        "hooks",
        &names(&bundle),
        &["createRuntime", "poststop"].map(str::to_owned).to_vec(),
    )
}

fn poststart_before_return(scene: &Scene<'_>) -> Verdict {
    let poststart = HOOKS[4];
    let bundle = scene.bundle().does(&["wait"]);
    let slow = poststart.entry(scene, &bundle, &["sleep", "1"]);
    let bundle = poststart.add(bundle, slow);
    scene.start(&bundle)?;
    equal(
        "notes when start returns",
        &names(&bundle),
        &["poststart", "slept"].map(str::to_owned).to_vec(),
    )?;
    note(&bundle, poststart).map(drop)
}
