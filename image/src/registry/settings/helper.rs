//! Credential helpers: programs `docker-credential-NAME` that keep secrets elsewhere.
//!
//! They run by an absolute path, with a clean environment and a deadline, and read nothing but
//! what the protocol gives them.

use std::ffi::{OsStr, OsString};
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Deserialize;

use super::Credential;
use crate::error::{Error, ErrorKind, Result};

/// The most that a helper may answer.
const MAX_ANSWER: usize = 64 << 10;

/// Where helpers are looked for, and what they see.
#[derive(Clone, Debug)]
pub struct HelperEnvironment {
    /// The value of `PATH`. Only its absolute directories count.
    pub search_path: OsString,
    /// All variables that a helper gets, besides `PATH`.
    pub variables: Vec<(OsString, OsString)>,
    /// How long a helper may take: some ask a person.
    pub patience: Duration,
}

impl Default for HelperEnvironment {
    /// No directory, no variable, a minute.
    fn default() -> Self {
        Self {
            search_path: OsString::new(),
            variables: Vec::new(),
            patience: Duration::from_secs(60),
        }
    }
}

impl HelperEnvironment {
    /// The variables that helpers need to reach keyrings and their own configuration.
    #[must_use]
    pub fn from_variables(get: impl Fn(&str) -> Option<OsString>) -> Self {
        const PASSED: [&str; 16] = [
            "HOME",
            "USER",
            "LOGNAME",
            "LANG",
            "TMPDIR",
            "DISPLAY",
            "WAYLAND_DISPLAY",
            "XDG_RUNTIME_DIR",
            "XDG_CONFIG_HOME",
            "XDG_DATA_HOME",
            "DBUS_SESSION_BUS_ADDRESS",
            "GNUPGHOME",
            "GPG_TTY",
            "PASSWORD_STORE_DIR",
            "AWS_PROFILE",
            "GOOGLE_APPLICATION_CREDENTIALS",
        ];
        let variables = PASSED
            .iter()
            .filter_map(|name| Some(((*name).into(), get(name)?)))
            .collect();
        Self {
            search_path: get("PATH").unwrap_or_default(),
            variables,
            ..Self::default()
        }
    }

    /// The absolute path of a helper.
    fn locate(&self, name: &str) -> Result<PathBuf> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_plain) {
            let message = format!("credential helper {name:?}: no name of a program");
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let program = format!("docker-credential-{name}");
        std::env::split_paths(&self.search_path)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(&program))
            .find(|path| is_executable(path))
            .ok_or_else(|| {
                let message = format!("credential helper {program}: not found in PATH");
                Error::new(ErrorKind::NotFound, message)
                    .advise("install it, or remove it from credsStore or credHelpers")
            })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Answer {
    username: String,
    secret: String,
}

/// What the helper `name` knows of `server`.
///
/// # Errors
/// [`ErrorKind::NotFound`] when there is no such program, [`ErrorKind::TimedOut`],
/// [`ErrorKind::Denied`] when it fails.
pub fn get(
    name: &str,
    server: &str,
    environment: &HelperEnvironment,
) -> Result<Option<Credential>> {
    let outcome = run(name, "get", server.as_bytes(), environment)?;
    if !outcome.is_success {
        // The protocol's own words for "there is none".
        if outcome.text.contains("credentials not found") {
            return Ok(None);
        }
        return Err(failed(name, "get", &outcome.text));
    }
    let answer: Answer = serde_json::from_str(&outcome.text)
        .map_err(|_| failed(name, "get", "its answer is malformed"))?;
    if answer.secret.is_empty() && answer.username.is_empty() {
        return Ok(None);
    }
    Ok(Some(if answer.username == "<token>" {
        Credential::IdentityToken(answer.secret)
    } else {
        Credential::Password {
            username: answer.username,
            password: answer.secret,
        }
    }))
}

/// Lets the helper keep a credential.
///
/// # Errors
/// As [`get`].
pub fn store(
    name: &str,
    server: &str,
    credential: &Credential,
    environment: &HelperEnvironment,
) -> Result<()> {
    let (username, secret) = match credential {
        Credential::Password { username, password } => (username.as_str(), password.as_str()),
        Credential::IdentityToken(token) | Credential::RegistryToken(token) => {
            ("<token>", token.as_str())
        }
    };
    let record = serde_json::json!({"ServerURL": server, "Username": username, "Secret": secret});
    let outcome = run(name, "store", record.to_string().as_bytes(), environment)?;
    if outcome.is_success {
        Ok(())
    } else {
        Err(failed(name, "store", &outcome.text))
    }
}

/// Lets the helper forget a server. It is no error when it knows nothing of it.
///
/// # Errors
/// As [`get`].
pub fn erase(name: &str, server: &str, environment: &HelperEnvironment) -> Result<()> {
    let outcome = run(name, "erase", server.as_bytes(), environment)?;
    if outcome.is_success || outcome.text.contains("credentials not found") {
        Ok(())
    } else {
        Err(failed(name, "erase", &outcome.text))
    }
}

struct Outcome {
    is_success: bool,
    text: String,
}

fn run(name: &str, verb: &str, input: &[u8], environment: &HelperEnvironment) -> Result<Outcome> {
    let path = environment.locate(name)?;
    let step = |what: &str| format!("credential helper {}: {what}", path.display());
    let child = Command::new(&path)
        .arg(verb)
        .env_clear()
        .env("PATH", absolute_only(&environment.search_path))
        .envs(
            environment
                .variables
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| Error::system(step("start it"), error))?;
    let mut helper = Helper { child };
    if let Some(mut stdin) = helper.child.stdin.take() {
        // A few hundred bytes: a pipe holds them without a reader. One that ends early has said
        // why on its standard output.
        stdin.write_all(input).ok();
    }
    let deadline = Instant::now() + environment.patience;
    let text = helper
        .read_answer(deadline)
        .map_err(|error| error.within(step(verb)))?;
    let is_success = helper
        .wait(deadline)
        .map_err(|error| error.within(step(verb)))?;
    Ok(Outcome { is_success, text })
}

/// A helper that runs; it is killed when nobody waits for it any more.
struct Helper {
    child: Child,
}

impl Helper {
    fn read_answer(&mut self, deadline: Instant) -> Result<String> {
        let Some(mut stdout) = self.child.stdout.take() else {
            return Ok(String::new());
        };
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            wait_readable(stdout.as_fd(), deadline)?;
            let count = stdout
                .read(&mut buffer)
                .map_err(|error| Error::system("read its answer", error))?;
            answer.extend_from_slice(&buffer[..count]);
            if count == 0 {
                return Ok(String::from_utf8_lossy(&answer).into_owned());
            }
            if answer.len() > MAX_ANSWER {
                let message = format!("it answers more than {MAX_ANSWER} bytes");
                return Err(Error::new(ErrorKind::Corrupt, message));
            }
        }
    }

    fn wait(&mut self, deadline: Instant) -> Result<bool> {
        loop {
            let ended = self
                .child
                .try_wait()
                .map_err(|error| Error::system("wait for it", error))?;
            if let Some(status) = ended {
                return Ok(status.success());
            }
            if Instant::now() >= deadline {
                return Err(timed_out());
            }
            // It has closed its output, so it is about to end.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            // It is ours and not reaped, so its pid is still its own.
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

fn wait_readable(fd: std::os::fd::BorrowedFd<'_>, deadline: Instant) -> Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).unwrap_or_default();
        let mut watched = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        match poll(&mut watched, Some(&timeout)) {
            Ok(0) => return Err(timed_out()),
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::system("wait for its answer", error)),
        }
    }
}

fn timed_out() -> Error {
    Error::new(ErrorKind::TimedOut, "no answer in time, so it is killed")
}

fn failed(name: &str, verb: &str, text: &str) -> Error {
    let words = crate::registry::problem::printable(text.trim(), 200);
    let message = format!("credential helper docker-credential-{name} {verb}: {words}");
    Error::new(ErrorKind::Denied, message)
}

fn absolute_only(search_path: &OsStr) -> OsString {
    let absolute = std::env::split_paths(search_path).filter(|path| path.is_absolute());
    std::env::join_paths(absolute).unwrap_or_default()
}

fn is_executable(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
