//! runc-spec(8): a config.json to begin with.

use serde_json::Value;

use super::{Area, text};
use crate::case::{Case, Trouble, Verdict, equal, failed, holds};
use crate::run::{Finished, LIMIT, finish};
use crate::scene::Scene;
use crate::schema::Schemas;

const AREA: Area = Area("spec");
const PLACE: &str = "runc-spec(8)";

pub(super) fn cases() -> Vec<Case> {
    vec![
        AREA.case(
            "spec",
            PLACE,
            "spec writes a config.json that the schema accepts.",
            &["spec"],
            |scene| {
                let config = written(scene, &[])?;
                let problems = Schemas::default().problems("config-schema.json", &config);
                equal("problems", &problems, &Vec::new())
            },
        ),
        AREA.case(
            "spec-runs",
            PLACE,
            "A container can be run with it.",
            &["spec"],
            |scene| {
                let config = written(scene, &[])?;
                let bundle = scene.bundle().with_config(config);
                let bundle = bundle
                    .set("/process/terminal", false)
                    .does(&["print", "it runs"]);
                super::equal_output(&scene.run(&bundle), "it runs")
            },
        ),
        AREA.case(
            "spec-bundle",
            PLACE,
            "--bundle is the directory that it is written to.",
            &["spec --bundle"],
            |scene| in_a_directory(scene, "--bundle"),
        ),
        AREA.case(
            "spec-bundle-short",
            PLACE,
            "-b is --bundle.",
            &["spec -b"],
            |scene| in_a_directory(scene, "-b"),
        ),
        AREA.case(
            "spec-rootless",
            PLACE,
            "--rootless is for a container of a user: a user namespace with mappings.",
            &["spec --rootless"],
            |scene| {
                let config = written(scene, &["--rootless"])?;
                let has_user = config["linux"]["namespaces"]
                    .as_array()
                    .is_some_and(|list| list.iter().any(|entry| entry["type"] == "user"));
                let has_maps = ["uidMappings", "gidMappings"].iter().all(|name| {
                    config["linux"][name]
                        .as_array()
                        .is_some_and(|list| !list.is_empty())
                });
                holds(
                    has_user && has_maps,
                    "a user namespace with mappings",
                    &config["linux"],
                )
            },
        ),
        AREA.case(
            "spec-twice",
            PLACE,
            "A config.json that is there is not overwritten.",
            &["spec"],
            |scene| {
                written(scene, &[])?;
                let file = scene.directory().join("config.json");
                std::fs::write(&file, "{}").expect("a file can be written");
                let again = call(scene, &[]);
                holds(again.code == 1, "exit 1", again.brief())?;
                equal(
                    "the file",
                    &std::fs::read_to_string(file).ok(),
                    &Some("{}".to_owned()),
                )
            },
        ),
    ]
}

fn call(scene: &Scene<'_>, flags: &[&str]) -> Finished {
    let mut command = scene.runtime().command(&[&["spec"], flags].concat());
    finish(command.current_dir(scene.directory()), b"", LIMIT)
}

fn written(scene: &Scene<'_>, flags: &[&str]) -> Result<Value, Trouble> {
    let finished = call(scene, flags);
    holds(finished.code == 0, "exit 0", finished.brief())?;
    let config = std::fs::read_to_string(scene.directory().join("config.json")).unwrap_or_default();
    serde_json::from_str(&config).or_else(|_| failed("JSON in config.json", config))
}

fn in_a_directory(scene: &Scene<'_>, flag: &str) -> Verdict {
    let directory = scene.directory().join("there");
    std::fs::create_dir(&directory).expect("a directory can be made");
    let finished = call(scene, &[flag, &text(&directory)]);
    holds(finished.code == 0, "exit 0", finished.brief())?;
    holds(
        directory.join("config.json").is_file(),
        "config.json there",
        finished.brief(),
    )
}
