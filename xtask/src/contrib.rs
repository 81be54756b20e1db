//! What operators are told holds together: README, contrib/, and the names of the programs.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;
use testkit::{Marker, find_program, needs};

use crate::cargo::workspace;

/// The directories of contrib/ with files for operators.
const DIRECTORIES: [&str; 5] = ["containerd", "docker", "kubernetes", "podman", "systemd"];

fn text(path: &str) -> String {
    fs::read_to_string(workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// `containerd/config-1.toml` and so on.
fn files() -> BTreeSet<String> {
    let contrib = workspace().join("contrib");
    let files = DIRECTORIES.iter().flat_map(|directory| {
        let entries = fs::read_dir(contrib.join(directory)).unwrap();
        entries.map(move |entry| {
            let name = entry.unwrap().file_name();
            format!("{directory}/{}", name.to_str().unwrap())
        })
    });
    files.collect()
}

/// The fenced blocks of README's section about engines, but for commands.
fn blocks() -> Vec<String> {
    let readme = text("README.md");
    let (_, section) = readme
        .split_once("## Under containerd, Docker and podman\n")
        .unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let fenced = section.split("```").skip(1).step_by(2);
    fenced
        .filter_map(|block| block.split_once('\n'))
        .filter(|(language, _)| *language != "console")
        .map(|(_, block)| block.to_owned())
        .collect()
}

#[test]
fn what_readme_shows_is_in_contrib() {
    let contents: Vec<String> = files()
        .iter()
        .map(|file| text(&format!("contrib/{file}")))
        .collect();
    let blocks = blocks();
    assert_eq!(blocks.len(), 6, "{blocks:?}");
    for block in blocks {
        assert!(contents.contains(&block), "no file of contrib/ is\n{block}");
    }
}

#[test]
fn contribs_own_readme_names_every_file_and_no_other() {
    let readme = text("contrib/README.md");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `"));
    let named: BTreeSet<String> = rows
        .filter_map(|row| Some(row.split_once('`')?.0.to_owned()))
        .collect();
    assert_eq!(named, files());
}

#[test]
fn dockers_files_are_json_with_one_runtime() {
    let runtime = |file: &str| {
        let json: Value = serde_json::from_str(&text(&format!("contrib/docker/{file}"))).unwrap();
        let runtimes = json["runtimes"].as_object().unwrap();
        assert_eq!(runtimes.len(), 1, "{file}");
        (json["default-runtime"].clone(), runtimes["tare"].clone())
    };
    let path = serde_json::json!({"path": "/usr/bin/tare"});
    let shim = serde_json::json!({"runtimeType": "io.containerd.tare.v1"});
    assert_eq!(runtime("by-path.json"), (Value::Null, path.clone()));
    assert_eq!(runtime("by-shim.json"), (Value::Null, shim));
    assert_eq!(runtime("default.json"), ("tare".into(), path));
}

#[test]
fn containerd_understands_its_file() {
    needs!(Program("containerd"));
    let mut command = Command::new(find_program("containerd").unwrap());
    command.arg("--config");
    command.arg(workspace().join("contrib/containerd/config-1.toml"));
    let dumped = testkit::finish(
        command.args(["config", "dump"]),
        std::time::Duration::from_secs(20),
    );
    let dumped = dumped.success().stdout;
    assert!(
        dumped.contains("runtime_type = \"io.containerd.tare.v1\"\n"),
        "{dumped}"
    );
}

#[test]
fn systemd_understands_the_unit() {
    needs!(Root, Program("systemd-analyze"));
    let directory = Marker::new("unit").directory();
    // The program need not be installed here to judge the rest.
    let unit = text("contrib/systemd/tare@.service").replace("/usr/bin/tare", "/bin/true");
    let path = directory.path().join("tare@web.service");
    fs::write(&path, unit).unwrap();
    let mut command = Command::new("systemd-analyze");
    command.arg("verify").arg(&path);
    let verified = testkit::finish(&mut command, std::time::Duration::from_secs(20));
    let said = verified.success().stderr;
    assert!(!said.contains("tare@"), "{said}");
}

#[test]
fn the_manual_pages_have_names_that_the_programs_have() {
    for program in ["tare", "tare-image", "containerd-shim-tare-v1"] {
        let page = text(&format!("contrib/man/{program}.8"));
        let name = program.replace('-', "\\-");
        assert!(page.contains(&format!(".SH NAME\n{name} \\- ")), "{page}");
    }
}
