//! `cargo xtask deb`: a Debian package. The same commit gives the same bytes: sorted, owned by
//! root, and nothing in it is younger than SOURCE_DATE_EPOCH, which is the commit's time unless
//! the environment says otherwise.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cargo::{AARCH64_TARGET, STATIC_TARGET, build_for, target_directory, workspace};
use crate::{Error, nothing_more, take_value};

/// The programs, and the packages of the workspace that they are built from.
const PROGRAMS: [&str; 3] = ["containerd-shim-tare-v1", "tare", "tare-image"];
const PACKAGES: [&str; 3] = ["runtime-cli", "shim", "image"];

/// What is compressed on its way, as Debian's policy wants it, and where it goes.
const COMPRESSED: [(&str, &str); 6] = [
    ("ARCHITECTURE.md", "usr/share/doc/tare/ARCHITECTURE.md.gz"),
    ("README.md", "usr/share/doc/tare/README.md.gz"),
    (
        "contrib/debian/changelog",
        "usr/share/doc/tare/changelog.gz",
    ),
    (
        "contrib/man/containerd-shim-tare-v1.8",
        "usr/share/man/man8/containerd-shim-tare-v1.8.gz",
    ),
    ("contrib/man/tare.8", "usr/share/man/man8/tare.8.gz"),
    (
        "contrib/man/tare-image.8",
        "usr/share/man/man8/tare-image.8.gz",
    ),
];

/// What goes as it is.
const PLAIN: [(&str, &str); 3] = [
    ("contrib/README.md", "usr/share/doc/tare/examples/README.md"),
    ("contrib/debian/copyright", "usr/share/doc/tare/copyright"),
    (
        "contrib/debian/lintian-overrides",
        "usr/share/lintian/overrides/tare",
    ),
];

/// The directories of contrib/ that are examples.
const EXAMPLES: [&str; 5] = ["containerd", "docker", "kubernetes", "podman", "systemd"];

const DESCRIPTION: &str = "\
Description: container runtime in Rust that takes runc's place
 tare runs containers as the Open Container Initiative specifies them: for
 containerd, Docker and podman, or by itself from a bundle. It comes with
 containerd's shim for it, io.containerd.tare.v1, which starts containers in
 its own process, and with tare-image, which pulls, keeps, unpacks and runs
 images without a daemon.
 .
 How engines are told to use it: /usr/share/doc/tare/examples.
";

/// Builds the programs and the package; says where it is.
pub(crate) fn deb(arguments: &[String]) -> Result<bool, Error> {
    let mut arguments = arguments.to_vec();
    let target = take_value(&mut arguments, "--target")?;
    let output = take_value(&mut arguments, "--output")?;
    nothing_more(&arguments)?;
    let target = target.as_deref().unwrap_or(STATIC_TARGET);
    let output = output.map_or_else(|| target_directory().join("debian"), PathBuf::from);
    println!("{}", build(target, &output)?.display());
    Ok(true)
}

/// Builds the package for a target into a directory.
pub(crate) fn build(target: &str, output: &Path) -> Result<PathBuf, Error> {
    let architecture = architecture(target)?;
    let epoch = epoch()?;
    let binaries = build_for(target, &PACKAGES)?;
    package(&binaries, architecture, epoch, output)
}

/// Debian's name of the target's machine.
fn architecture(target: &str) -> Result<&'static str, Error> {
    match target {
        "x86_64-unknown-linux-musl" => Ok("amd64"),
        AARCH64_TARGET => Ok("arm64"),
        _ => Err(format!(
            "no package for {target}: x86_64-unknown-linux-musl and {AARCH64_TARGET} are built, which are static"
        )
        .into()),
    }
}

/// The time that is the age of everything in the package, in seconds after 1970.
fn epoch() -> Result<u64, Error> {
    let said = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(said) => said,
        Err(_) => {
            let mut git = Command::new("git");
            git.current_dir(workspace())
                .args(["log", "-1", "--format=%ct"]);
            output_of(&mut git).map_err(|error| {
                format!("the time of the commit: {error}; without git set SOURCE_DATE_EPOCH")
            })?
        }
    };
    let said = said.trim();
    said.parse()
        .map_err(|_| format!("SOURCE_DATE_EPOCH: {said:?} are no seconds after 1970").into())
}

/// Makes the package of the programs in a directory.
pub(crate) fn package(
    binaries: &Path,
    architecture: &str,
    epoch: u64,
    output: &Path,
) -> Result<PathBuf, Error> {
    make_directory(output)?;
    let root = output.join(format!("tree-{architecture}"));
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    stage(binaries, &root)?;
    write_control(&root, architecture)?;
    let version = env!("CARGO_PKG_VERSION");
    let package = output.join(format!("tare_{version}_{architecture}.deb"));
    let mut dpkg_deb = Command::new("dpkg-deb");
    dpkg_deb
        .args(["--root-owner-group", "-Zgzip", "-z9", "--build"])
        .args([&root, &package])
        .env("SOURCE_DATE_EPOCH", epoch.to_string());
    output_of(&mut dpkg_deb)?;
    fs::remove_dir_all(&root)?;
    Ok(package)
}

/// Puts the files of the package where they belong below `root`.
fn stage(binaries: &Path, root: &Path) -> Result<(), Error> {
    for program in PROGRAMS {
        let destination = root.join("usr/bin").join(program);
        put(&destination, &read(&binaries.join(program))?, 0o755)?;
    }
    for (source, destination) in COMPRESSED {
        let compressed = compress(&read(&workspace().join(source))?)?;
        put(&root.join(destination), &compressed, 0o644)?;
    }
    for (source, destination) in PLAIN {
        put(
            &root.join(destination),
            &read(&workspace().join(source))?,
            0o644,
        )?;
    }
    for directory in EXAMPLES {
        let source = workspace().join("contrib").join(directory);
        for entry in fs::read_dir(&source)? {
            let entry = entry?;
            let examples = root.join("usr/share/doc/tare/examples").join(directory);
            put(
                &examples.join(entry.file_name()),
                &read(&entry.path())?,
                0o644,
            )?;
        }
    }
    Ok(())
}

/// Writes the package's own description, and the digests of its files.
fn write_control(root: &Path, architecture: &str) -> Result<(), Error> {
    let mut files = files_below(root, root)?;
    files.sort();
    let mut md5sum = Command::new("md5sum");
    md5sum.current_dir(root).args(&files);
    let digests = output_of(&mut md5sum)?;
    let sizes = files.iter().map(|file| fs::metadata(root.join(file)));
    let mut kib = 0;
    for size in sizes {
        kib += size?.len().div_ceil(1024);
    }
    let control = format!(
        "Package: tare\nVersion: {}\nSection: admin\nPriority: optional\nArchitecture: {architecture}\n\
         Maintainer: tare-rs <tare-rs@users.noreply.github.com>\nInstalled-Size: {kib}\n\
         Suggests: containerd, docker.io, podman, criu, uidmap\nHomepage: {}\n{DESCRIPTION}",
        env!("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_REPOSITORY"),
    );
    put(&root.join("DEBIAN/md5sums"), digests.as_bytes(), 0o644)?;
    put(&root.join("DEBIAN/control"), control.as_bytes(), 0o644)
}

/// The regular files below a directory, as paths from `root`.
fn files_below(directory: &Path, root: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        match path.is_dir() {
            true => files.extend(files_below(&path, root)?),
            false => files.push(path.strip_prefix(root)?.to_owned()),
        }
    }
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| format!("read {}: {error}", path.display()).into())
}

/// A file with this mode, and its directories with 0755, whatever the umask.
fn put(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    make_directory(path.parent().unwrap_or(path))?;
    fs::write(path, content)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

fn make_directory(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_directory(parent)?;
    }
    fs::DirBuilder::new().mode(0o755).create(path)?;
    Ok(fs::set_permissions(
        path,
        fs::Permissions::from_mode(0o755),
    )?)
}

/// gzip(1) without a name and a time.
fn compress(content: &[u8]) -> Result<Vec<u8>, Error> {
    let mut gzip = Command::new("gzip")
        .args(["-9", "--no-name"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let input = gzip.stdin.take().ok_or("gzip has no standard input")?;
    let output = std::thread::scope(|scope| {
        let writer = scope.spawn(move || (&input).write_all(content));
        let output = gzip.wait_with_output();
        // One that ends early is judged by its status.
        writer.join().map(drop).ok();
        output
    })?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(format!("gzip: {}", output.status).into()),
    }
}

/// What a command prints, if it succeeds.
fn output_of(command: &mut Command) -> Result<String, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    let text = |bytes| String::from_utf8_lossy(bytes).trim_end().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout) + "\n"),
        false => Err(format!("{program}: {}: {}", output.status, text(&output.stderr)).into()),
    }
}

#[cfg(test)]
mod tests {
    use testkit::{Marker, needs};

    use super::*;

    /// A package with any two programs in the place of tare's.
    fn packaged(directory: &Path) -> PathBuf {
        for program in PROGRAMS {
            fs::copy("/bin/busybox", directory.join(program)).unwrap();
        }
        let architecture = output_of(Command::new("dpkg").arg("--print-architecture")).unwrap();
        package(
            directory,
            architecture.trim(),
            1_700_000_000,
            &directory.join("out"),
        )
        .unwrap()
    }

    #[test]
    fn the_changelog_is_about_this_version() {
        let changelog = fs::read_to_string(workspace().join("contrib/debian/changelog")).unwrap();
        let expected = format!("tare ({}) ", env!("CARGO_PKG_VERSION"));
        assert!(changelog.starts_with(&expected), "{changelog}");
    }

    #[test]
    fn a_target_that_is_not_static_has_no_package() {
        assert_eq!(architecture(AARCH64_TARGET).unwrap(), "arm64");
        assert!(architecture("x86_64-unknown-linux-gnu").is_err());
    }

    #[test]
    fn the_same_content_is_the_same_package_and_belongs_to_root() {
        needs!(Program("dpkg-deb"), Program("busybox"));
        let marker = Marker::new("debsame");
        let [first, second] = [marker.directory(), marker.directory()];
        let first = packaged(first.path());
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let second = packaged(second.path());
        assert!(fs::read(&first).unwrap() == fs::read(second).unwrap());
        let list = output_of(Command::new("dpkg-deb").arg("--contents").arg(first)).unwrap();
        for line in list.lines() {
            assert!(line.contains(" root/root "), "{line}");
            assert!(line.contains(" 2023-11-14 "), "{line}");
        }
        let modes: Vec<&str> = list.lines().map(|line| &line[..10]).collect();
        let executable = modes.iter().filter(|mode| **mode == "-rwxr-xr-x").count();
        assert_eq!(executable, PROGRAMS.len(), "{list}");
        assert!(
            list.contains("./usr/bin/containerd-shim-tare-v1\n"),
            "{list}"
        );
        assert!(
            list.contains("./usr/share/doc/tare/examples/docker/by-path.json\n"),
            "{list}"
        );
    }

    #[test]
    fn what_is_installed_is_removed_again() {
        needs!(Root, Program("dpkg"), Program("busybox"));
        let marker = Marker::new("debroot");
        let directory = marker.directory();
        let package = packaged(directory.path());
        let root = directory.path().join("root");
        for name in [
            "var/lib/dpkg/info",
            "var/lib/dpkg/updates",
            "usr/bin",
            "usr/share",
        ] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
        let dpkg = |arguments: &[&str]| {
            let mut command = Command::new("dpkg");
            command.arg(format!("--root={}", root.display()));
            command.arg("--log=/dev/null").args(arguments);
            output_of(&mut command).unwrap()
        };
        dpkg(&["--install", package.to_str().unwrap()]);
        assert!(root.join("usr/bin/tare").exists());
        assert_eq!(dpkg(&["--verify", "tare"]).trim(), "");
        dpkg(&["--purge", "tare"]);
        let left = files_below(&root, &root).unwrap();
        let is_dpkgs = |path: &PathBuf| path.starts_with("var/lib/dpkg");
        assert!(left.iter().all(is_dpkgs), "{left:?}");
    }
}
