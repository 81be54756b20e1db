//! config.md#process: terminal and consoleSize; the console of config-linux.md#default-devices.

use serde_json::{Value, json};

use super::{Area, is};
use crate::bundle::Bundle;
use crate::case::{Case, Trouble, Verdict, failed, holds};
use crate::listener::{Listener, read_terminal};
use crate::scene::Scene;

const AREA: Area = Area("terminal");
const PLACE: &str = "config.md#process";

pub(super) fn cases() -> Vec<Case> {
    vec![
        AREA.case(
            "terminal",
            PLACE,
            "With terminal a pseudoterminal is the process's standard streams.",
            terminal,
        )
        .of("process.terminal"),
        AREA.case(
            "terminal-false",
            PLACE,
            "terminal defaults to false.",
            no_terminal,
        ),
        AREA.case(
            "console-size",
            PLACE,
            "consoleSize is the size of the terminal in characters.",
            size,
        )
        .of("process.consoleSize")
        .of("process.consoleSize.height")
        .of("process.consoleSize.width"),
        AREA.case(
            "console-size-without-a-terminal",
            PLACE,
            "Runtimes must ignore consoleSize if terminal is false or unset.",
            size_without_a_terminal,
        ),
        AREA.refuses(
            "console-size-without-a-width",
            PLACE,
            "width is required.",
            "/process/consoleSize",
            json!({ "height": "tall" }),
        ),
        AREA.case(
            "device-console",
            "config-linux.md#default-devices",
            "/dev/console is set up if terminal is enabled, by binding the pseudoterminal.",
            console,
        ),
        AREA.case(
            "device-console-without-a-terminal",
            "config-linux.md#default-devices",
            "/dev/console is set up if terminal is enabled.",
            |scene| {
                let report = scene.report(&scene.bundle())?;
                is("/dev/console", &report["terminal"]["console"], Value::Null)
            },
        ),
        AREA.case(
            "terminal-is-the-controlling-one",
            PLACE,
            "A pseudoterminal pair is allocated for the process: /dev/tty is it.",
            controlling,
        ),
    ]
}

/// What the process writes to its terminal, whose master is sent to a console socket.
fn text(scene: &Scene<'_>, bundle: &Bundle) -> Result<String, Trouble> {
    bundle.save();
    let listener = Listener::new(&scene.directory().join("console"))?;
    let socket = listener.path().display().to_string();
    let path = bundle.path().display().to_string();
    let created = scene.detached(&[
        "create",
        "--bundle",
        &path,
        "--console-socket",
        &socket,
        bundle.id(),
    ]);
    holds(created.code == 0, "`create` succeeds", created.brief())?;
    let mut message = listener.receive()?;
    let Some(terminal) = message.descriptors.pop() else {
        return failed("the terminal's descriptor", message.text);
    };
    scene.succeeds(&["start", bundle.id()])?;
    Ok(read_terminal(terminal))
}

fn report(scene: &Scene<'_>, bundle: &Bundle) -> Result<Value, Trouble> {
    let text = text(scene, &bundle.clone().set("/process/terminal", true))?;
    serde_json::from_str(text.trim()).or_else(|_| failed("the report over the terminal", text))
}

fn terminal(scene: &Scene<'_>) -> Verdict {
    let report = report(scene, &scene.bundle())?;
    is(
        "streams are terminals",
        &report["terminal"]["is_terminal"],
        json!([true, true, true]),
    )?;
    let name = report["terminal"]["name"].as_str().unwrap_or_default();
    holds(
        name.starts_with("/dev/pts/") || name == "/dev/console",
        "a terminal of /dev/pts",
        name,
    )
}

fn no_terminal(scene: &Scene<'_>) -> Verdict {
    let report = scene.report(&scene.bundle())?;
    is(
        "streams are terminals",
        &report["terminal"]["is_terminal"],
        json!([false, false, false]),
    )
}

fn size(scene: &Scene<'_>) -> Verdict {
    let bundle = scene
        .bundle()
        .set("/process/consoleSize", json!({ "height": 31, "width": 97 }));
    is(
        "rows and columns",
        &report(scene, &bundle)?["terminal"]["size"],
        json!([31, 97]),
    )
}

fn size_without_a_terminal(scene: &Scene<'_>) -> Verdict {
    let bundle = scene
        .bundle()
        .set("/process/consoleSize", json!({ "height": 31, "width": 97 }));
    is(
        "size",
        &scene.report(&bundle)?["terminal"]["size"],
        Value::Null,
    )
}

fn console(scene: &Scene<'_>) -> Verdict {
    let report = report(scene, &scene.bundle())?;
    let console = &report["terminal"]["console"];
    is("kind", &console["kind"], "c")?;
    // Unix98 pty slaves have the majors 136 to 143.
    let major = console["major"].as_u64().unwrap_or(0);
    holds(
        (136..=143).contains(&major),
        "a pseudoterminal at /dev/console",
        console,
    )
}

fn controlling(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle().does(&["try", "open:/dev/tty"]);
    let text = text(scene, &bundle.set("/process/terminal", true))?;
    let tried: Value = serde_json::from_str(text.trim()).unwrap_or_default();
    is("opening /dev/tty", &tried["open:/dev/tty"], "ok")
}
