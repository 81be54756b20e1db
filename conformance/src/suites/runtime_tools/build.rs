//! The tools' program, built once for each version of the tools and kept for the next run.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::run::finish;

/// The program's source, file by file.
const SOURCES: [(&str, &str); 2] = [
    ("main.go", include_str!("../../../runtime-tools/main.go")),
    (
        "resources.go",
        include_str!("../../../runtime-tools/resources.go"),
    ),
];
/// Where Debian has Go libraries.
const LIBRARIES: &str = "/usr/share/gocode";
/// What changes with the libraries' version.
const VERSION: &str = "/var/lib/dpkg/info/golang-github-opencontainers-runtime-tools-dev.md5sums";
/// How long a build may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// The program.
///
/// # Errors
///
/// Why there is none: no Go, no libraries, or what the compiler says.
pub(super) fn tools() -> Result<PathBuf, String> {
    static TOOLS: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    TOOLS.get_or_init(find_or_build).clone()
}

fn find_or_build() -> Result<PathBuf, String> {
    let libraries = Path::new(LIBRARIES).join("src/github.com/opencontainers/runtime-tools");
    if !libraries.is_dir() {
        return Err(
            "the package golang-github-opencontainers-runtime-tools-dev is not there".to_owned(),
        );
    }
    let go = crate::theatre::find(Path::new("go"))
        .map_err(|_| "the package golang-go is not there".to_owned())?;
    let cache = cache()?;
    let program = cache.join(format!("runtime-tools-{:016x}", key()));
    if program.is_file() {
        return Ok(program);
    }
    build(&go, &cache, &program).map(|()| program)
}

/// A directory that nobody else can write: what is in it is executed as root.
fn cache() -> Result<PathBuf, String> {
    let owner = nix::unistd::geteuid().as_raw();
    let cache = std::env::temp_dir().join(format!("conformance-cache-{owner}"));
    // It may be there from the last time.
    std::fs::DirBuilder::new().mode(0o700).create(&cache).ok();
    let status = std::fs::symlink_metadata(&cache)
        .map_err(|error| format!("make {}: {error}", cache.display()))?;
    let is_ours = status.is_dir() && status.uid() == owner && status.mode() & 0o022 == 0;
    match is_ours {
        true => Ok(cache),
        false => Err(format!(
            "{} belongs to somebody else or can be written by others: remove it",
            cache.display()
        )),
    }
}

fn key() -> u64 {
    let mut hasher = DefaultHasher::new();
    SOURCES.hash(&mut hasher);
    std::fs::read(VERSION).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

fn build(go: &Path, cache: &Path, program: &Path) -> Result<(), String> {
    let source = tempfile::tempdir_in(cache).map_err(|error| format!("a directory: {error}"))?;
    for (name, text) in SOURCES {
        std::fs::write(source.path().join(name), text)
            .map_err(|error| format!("write {name}: {error}"))?;
    }
    let made = source.path().join("program");
    let mut command = Command::new(go);
    command
        .args(["build", "-p", "2", "-o"])
        .arg(&made)
        .current_dir(source.path())
        .envs([
            ("GO111MODULE", "off"),
            ("GOPATH", LIBRARIES),
            ("GOFLAGS", ""),
            ("GOENV", "off"),
            ("CGO_ENABLED", "0"),
        ])
        .env("GOCACHE", cache.join("go"));
    let built = finish(&mut command, b"", PATIENCE);
    if built.code != 0 {
        return Err(format!("go build: {}", built.brief()));
    }
    // By rename: somebody else may build, too.
    std::fs::rename(&made, program).map_err(|error| format!("keep the program: {error}"))
}
