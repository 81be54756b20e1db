//! R07: the console is a terminal of the container's own, whatever an image has there.

use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use super::swapper::{Swapper, for_a_while};
use super::{Area, Ground, links, text, without_mount};
use crate::bundle::Bundle;
use crate::case::{Case, Verdict, holds};
use crate::listener::{Listener, read_terminal};
use crate::scene::Scene;

const AREA: Area = Area("console");
const ORIGIN: &str = "CVE-2025-52565, CVE-2026-88264";

/// Places that a console has to do with.
const PLACES: [&str; 5] = ["dev/console", "dev/ptmx", "dev/pts", "dev/tty", "dev"];

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = PLACES
        .into_iter()
        .map(|place| {
            AREA.case(
                format!("console-with-a-link-at-{}", place.replace('/', "-")),
                "R07",
                &format!(
                    "With a terminal, a link at /{place} of the image leads nowhere on the host."
                ),
                ORIGIN,
                move |scene, ground| {
                    for target in [
                        ground.file("console"),
                        "/nowhere".to_owned(),
                        format!("/proc/1/root{}", ground.file("console")),
                    ] {
                        for own_dev in [true, false] {
                            let bundle = scene.bundle();
                            let bundle = if own_dev {
                                bundle
                            } else {
                                without_mount(bundle, "/dev")
                            };
                            links::plant(&bundle, place, &target);
                            look(scene, ground, &bundle)?;
                        }
                    }
                    Ok(())
                },
            )
        })
        .collect();
    cases.extend([
        AREA.case("console-with-links-as-terminals", "R07", "A volume at /dev/pts full of links is no terminal.", ORIGIN, |scene, ground| {
            let volume = volume_of_links(scene, ground);
            let bundle = without_mount(scene.bundle(), "/dev/pts").mount("/dev/pts", "bind", &volume, &["bind"]);
            look(scene, ground, &bundle)
        }),
        AREA.case("race-of-the-console", "R07", "A terminal's name that becomes a link meanwhile leads nowhere on the host.", ORIGIN, |scene, ground| {
            let volume = scene.directory().join("volume");
            std::fs::create_dir_all(volume.join("pts")).expect("a directory can be made");
            let [one, other] = ["console", "other"].map(|name| volume.join(name));
            symlink(ground.file("console"), &one).expect("a link can be made");
            std::fs::write(&other, "").expect("a file can be written");
            let swapper = Swapper::start(one, other);
            let bundle = without_mount(scene.bundle(), "/dev").mount("/dev", "bind", &text(&volume), &["bind"]);
            for_a_while(scene, || look(scene, ground, &bundle))?;
            swapper.has_run()
        }),
        AREA.case("console-is-of-the-containers-own", "R07", "The console is a terminal of the container's devpts, and its master is the one that was sent.", ORIGIN, |scene, _| {
            let report = on_a_terminal(scene, &scene.bundle())?;
            let console = &report["terminal"]["console"];
            let major = console["major"].as_u64().unwrap_or(0);
            holds((136..=143).contains(&major), "a pseudoterminal at /dev/console", console)?;
            holds(report["terminal"]["is_terminal"] == json!([true, true, true]), "streams on it", &report["terminal"])
        }),
    ]);
    cases
}

fn volume_of_links(scene: &Scene<'_>, ground: &Ground) -> String {
    let volume = scene.directory().join("volume");
    std::fs::create_dir(&volume).expect("a directory can be made");
    for number in 0..10 {
        symlink(ground.file("console"), volume.join(number.to_string()))
            .expect("a link can be made");
    }
    text(&volume)
}

/// A container with a terminal is created, started and removed; whether it works is the image's to
/// say, that the host stays as it was is the point.
fn look(scene: &Scene<'_>, ground: &Ground, bundle: &Bundle) -> Verdict {
    drop(on_a_terminal(scene, bundle));
    super::remove(scene, bundle);
    ground.check()
}

fn on_a_terminal(scene: &Scene<'_>, bundle: &Bundle) -> Result<Value, crate::case::Trouble> {
    let bundle = bundle.clone().set("/process/terminal", true);
    bundle.save();
    let path = scene.directory().join("socket");
    std::fs::remove_file(&path).ok();
    let listener = Listener::new(&path)?;
    let words = [
        "create",
        "--bundle",
        &text(bundle.path()),
        "--console-socket",
        &text(&path),
        bundle.id(),
    ];
    let created = scene.detached(&words);
    holds(created.code == 0, "`create` succeeds", created.brief())?;
    let mut message = listener.receive()?;
    scene.succeeds(&["start", bundle.id()])?;
    let said = message
        .descriptors
        .pop()
        .map(read_terminal)
        .unwrap_or_default();
    serde_json::from_str(said.trim())
        .or_else(|_| crate::case::failed("the report over the terminal", said))
}
