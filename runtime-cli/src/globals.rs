//! What is said before the command: where state is, where the log goes.

use std::env;
use std::fs;
use std::path::{Component, Path, PathBuf};

use runtime_core::{CgroupDriver, Rootless, Runtime, UserBus};

use crate::command_line::Parsed;
use crate::environment;
use crate::failure::{Failure, While};
use crate::flags;
use crate::log::{Format, Log};

/// The global flags, understood.
#[derive(Debug)]
pub(crate) struct Globals {
    /// Where records go.
    pub(crate) log: Log,
    root: Option<PathBuf>,
    rootless: Rootless,
    cgroup_driver: CgroupDriver,
}

/// The directory below which each container has its own.
#[derive(Debug)]
pub(crate) struct StateRoot {
    /// Absolute.
    pub(crate) path: PathBuf,
    /// Whether the user named it.
    pub(crate) given: bool,
}

impl Globals {
    /// Reads the flags that say where the log goes; a failure of the others goes there.
    pub(crate) fn open_log(parsed: &Parsed<'_>) -> Result<Log, Failure> {
        let format = match parsed.text(&flags::LOG_FORMAT) {
            None | Some("text") => Format::Text,
            Some("json") => Format::Json,
            Some(other) => return Err(Failure::new(format_args!("invalid log-format: {other}"))),
        };
        Log::open(
            parsed.path(&flags::LOG),
            format,
            parsed.is_on(&flags::DEBUG),
        )
    }

    /// Reads the other flags.
    pub(crate) fn new(parsed: &Parsed<'_>) -> Result<Self, Failure> {
        Ok(Self {
            log: Log::default(),
            root: parsed.text(&flags::ROOT).map(absolute_root).transpose()?,
            rootless: parse_rootless(parsed.text(&flags::ROOTLESS_GLOBAL))?,
            cgroup_driver: if parsed.is_on(&flags::SYSTEMD_CGROUP) {
                CgroupDriver::Systemd
            } else {
                CgroupDriver::Filesystem
            },
        })
    }

    /// Where the state of containers is: `--root`, `$XDG_RUNTIME_DIR/tare` for a user,
    /// `/run/tare` for root.
    pub(crate) fn state_root(&self) -> Result<StateRoot, Failure> {
        if let Some(path) = &self.root {
            return Ok(StateRoot {
                path: path.clone(),
                given: true,
            });
        }
        let runtime_directory = env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
        let of_user = nix::unistd::geteuid().as_raw() != 0
            || (runtime_directory.is_some() && is_user_in_own_namespace());
        let path = match (of_user, runtime_directory) {
            (false, _) => PathBuf::from("/run/tare"),
            (true, Some(directory)) => Path::new(&directory).join("tare"),
            (true, None) => {
                return Err(Failure::new(
                    "no place for container state: XDG_RUNTIME_DIR is not set (set it, or give --root DIR)",
                ));
            }
        };
        Ok(StateRoot { path, given: false })
    }

    /// The library's handle on the containers of the state root.
    pub(crate) fn runtime(&self) -> Result<Runtime, Failure> {
        let root = self.state_root()?;
        self.log
            .debug(&format!("state root {}", root.path.display()));
        Ok(Runtime::new(root.path)
            .with_rootless(self.rootless)
            .with_cgroup_driver(self.cgroup_driver)
            .with_user_bus(user_bus()))
    }

    /// The same for a command that may run hooks, which inherit this process's environment.
    pub(crate) fn runtime_with_environment(&self) -> Result<Runtime, Failure> {
        Ok(self.runtime()?.with_environment(environment::all()))
    }
}

/// How to reach the user's systemd, as the environment says it.
fn user_bus() -> UserBus {
    UserBus {
        session_bus_address: env::var("DBUS_SESSION_BUS_ADDRESS").ok(),
        runtime_directory: env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from),
    }
}

/// Whether user 0 is only so in a user namespace, and does not say that it is root there. conmon
/// passes no `USER` on, so without one it is somebody else.
fn is_user_in_own_namespace() -> bool {
    if env::var_os("USER").is_some_and(|name| name == "root") {
        return false;
    }
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !is_initial_map(&map)
}

/// Whether a uid_map maps every id to itself, as only the initial user namespace's does.
fn is_initial_map(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

fn absolute_root(text: &str) -> Result<PathBuf, Failure> {
    if text.is_empty() {
        return Err(Failure::new("--root: the path is empty"));
    }
    let path = absolute(text)?;
    if path == Path::new("/") {
        return Err(Failure::new(
            "--root: / can't be the state root, every directory in it would be a container",
        ));
    }
    Ok(path)
}

/// An absolute path without `.` and `..`, by its text alone.
pub(crate) fn absolute(text: &str) -> Result<PathBuf, Failure> {
    let path = std::path::absolute(text).doing(format_args!("make {text} absolute"))?;
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            other => clean.push(other),
        }
    }
    Ok(clean)
}

fn parse_rootless(text: Option<&str>) -> Result<Rootless, Failure> {
    match text {
        None | Some("auto") => Ok(Rootless::Auto),
        Some("true") => Ok(Rootless::Yes),
        Some("false") => Ok(Rootless::No),
        Some(other) => Err(Failure::new(format_args!(
            "invalid value {other:?} for --rootless: true, false or auto"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_cleans_to_the_root_directory_is_refused() {
        for bad in ["", "/", "//", "/x/..", "/../", "/./"] {
            assert!(absolute_root(bad).is_err(), "{bad:?} was accepted");
        }
        assert_eq!(absolute_root("/a/../b/./c//").unwrap(), Path::new("/b/c"));
    }

    #[test]
    fn a_relative_root_starts_at_the_current_directory() {
        let current = std::env::current_dir().unwrap();
        assert_eq!(absolute_root("x/y").unwrap(), current.join("x/y"));
    }

    #[test]
    fn only_the_map_of_everything_is_the_initial_one() {
        assert!(is_initial_map("         0          0 4294967295\n"));
        assert!(!is_initial_map("         0       1000          1\n"));
        assert!(!is_initial_map(""));
    }

    #[test]
    fn rootless_is_one_of_three_words() {
        assert!(matches!(parse_rootless(None), Ok(Rootless::Auto)));
        assert!(matches!(parse_rootless(Some("true")), Ok(Rootless::Yes)));
        assert!(parse_rootless(Some("yes")).is_err());
    }
}
