//! Debian's archive, by an apt configuration of our own: other suites than the machine's are
//! within reach, and nothing of the machine's configuration is altered.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::tool::{run, text, tool};
use super::{GuestError, failed};

/// Generous for a slow mirror.
const LIMIT: Duration = Duration::from_secs(600);

/// Where Debian's package puts the keys of the archive.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One mirror of Debian's archive, and the suites that are asked for.
#[derive(Debug)]
pub(super) struct Archive {
    directory: PathBuf,
    sources: String,
}

/// The archive's mirrors as sources in one-line style, derived from where this machine gets its
/// own packages: an address that is within reach.
pub(super) fn sources(suites: &[&str]) -> Result<String, GuestError> {
    let format = "$(REPO_URI) $(RELEASE) $(COMPONENT)";
    let mut indexes = tool("apt-get", &["indextargets", "--format", format]);
    let known = run(indexes.arg("Created-By: Packages"), LIMIT)?;
    let suites = suites.iter().map(|suite| source(&known, suite));
    suites.collect()
}

/// The line for a suite, with the address of the machine's own suite of that kind.
fn source(known: &str, suite: &str) -> Result<String, GuestError> {
    let is_security = suite.ends_with("-security");
    let address = known.lines().find_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let &[address, release, "main"] = words.as_slice() else {
            return None;
        };
        // Other archives have a component of that name, too; theirs don't end so.
        let is_debian = ["debian", "debian-security"]
            .iter()
            .any(|name| address.trim_end_matches('/').ends_with(&format!("/{name}")));
        (is_debian && release.ends_with("-security") == is_security).then_some(address)
    });
    let address = address.ok_or_else(|| {
        GuestError(format!(
            "guests are made of Debian's packages, and this machine's apt sources name no mirror \
             that could have {suite}: add one to them"
        ))
    })?;
    let signed = match Path::new(KEYRING).exists() {
        true => format!("[signed-by={KEYRING}] "),
        false => String::new(),
    };
    Ok(format!("deb {signed}{address} {suite} main\n"))
}

impl Archive {
    /// Reads the lists of the suites that these sources name into the directory.
    pub(super) fn open(directory: &Path, sources: &str) -> Result<Self, GuestError> {
        let archive = Self {
            directory: directory.to_owned(),
            sources: sources.to_owned(),
        };
        for name in ["lists/partial", "cache/archives/partial", "parts"] {
            let path = directory.join(name);
            fs::create_dir_all(&path).map_err(failed("make", &path))?;
        }
        for (name, content) in [("sources.list", sources), ("status", "")] {
            let path = directory.join(name);
            fs::write(&path, content).map_err(failed("write", &path))?;
        }
        archive.apt("apt-get", &["--quiet", "update"])?;
        Ok(archive)
    }

    /// The newest version of the package that a meta package depends on, and that is named so.
    pub(super) fn dependency(&self, meta: &str, prefix: &str) -> Result<String, GuestError> {
        let shown = self.apt("apt-cache", &["show", "--no-all-versions", meta])?;
        let depends = shown
            .lines()
            .find_map(|line| line.strip_prefix("Depends: "));
        let names = depends.unwrap_or_default().split(", ");
        let mut names = names.filter_map(|name| name.split(' ').next());
        let name = names.find(|name| name.starts_with(prefix));
        let name = name.map(str::to_owned);
        name.ok_or_else(|| {
            GuestError(format!(
                "{meta} depends on no package {prefix}… in\n{}",
                self.sources
            ))
        })
    }

    /// Downloads a package and unpacks its files into a directory.
    pub(super) fn unpack(&self, package: &str, into: &Path) -> Result<(), GuestError> {
        let deb = self.directory.join("deb");
        fs::create_dir_all(&deb).map_err(failed("make", &deb))?;
        let mut download = self.command("apt-get", &["--quiet", "download", package])?;
        run(download.current_dir(&deb), LIMIT)?;
        let files = fs::read_dir(&deb).map_err(failed("list", &deb))?;
        for file in files {
            let file = file.map_err(failed("list", &deb))?.path();
            run(&mut tool("dpkg", &["-x", text(&file)?, text(into)?]), LIMIT)?;
        }
        fs::remove_dir_all(&deb).map_err(failed("remove", &deb))
    }

    fn apt(&self, program: &str, arguments: &[&str]) -> Result<String, GuestError> {
        run(&mut self.command(program, arguments)?, LIMIT)
    }

    /// apt with sources, state and cache of our own; keys, passwords and proxies are the
    /// machine's.
    fn command(&self, program: &str, arguments: &[&str]) -> Result<Command, GuestError> {
        let directory = text(&self.directory)?;
        let mut command = tool(program, &[]);
        for (option, name) in [
            ("Dir::Etc::SourceList", "sources.list"),
            ("Dir::Etc::SourceParts", "parts"),
            ("Dir::Etc::Preferences", "none"),
            ("Dir::Etc::PreferencesParts", "parts"),
            ("Dir::State", ""),
            ("Dir::State::Lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
        ] {
            command.args(["-o", &format!("{option}={directory}/{name}")]);
        }
        // It downloads as root: the target directory is not open to the user _apt.
        command.args(["-o", "APT::Sandbox::User=root"]);
        command.args(arguments).env("LC_ALL", "C");
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &str = "https://else.example/repository/ stable main\n\
                         http://mirror.example/debian/ bookworm main\n\
                         http://mirror.example/debian/ bookworm-updates main\n\
                         http://mirror.example/debian-security/ bookworm-security main\n";

    #[test]
    fn other_suites_come_from_the_machines_own_mirror() {
        let line = source(KNOWN, "bookworm-backports").expect("a mirror");
        assert!(line.ends_with(" http://mirror.example/debian/ bookworm-backports main\n"));
        let line = source(KNOWN, "bookworm-security").expect("a mirror");
        assert!(line.ends_with(" http://mirror.example/debian-security/ bookworm-security main\n"));
    }

    #[test]
    fn a_machine_without_debians_mirror_is_told_so() {
        let error = source("http://ubuntu.example/ubuntu noble main", "bookworm");
        let error = error.expect_err("there is none").to_string();
        assert!(
            error.contains("no mirror that could have bookworm"),
            "{error}"
        );
    }
}
