//! Where systemd listens: its own socket first, then the bus.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::plan::cgroup::Manager;

/// systemd's own socket, for root: no bus is between, and none has to be running.
const SYSTEM_DIRECT: &str = "/run/systemd/private";

/// The system bus.
const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";

/// How to reach the systemd of a user; the library reads no environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserBus {
    /// `DBUS_SESSION_BUS_ADDRESS`.
    pub session_bus_address: Option<String>,
    /// `XDG_RUNTIME_DIR`.
    pub runtime_directory: Option<PathBuf>,
}

impl UserBus {
    /// What an environment (`NAME=value` each) that the caller hands over says.
    #[must_use]
    pub fn of_environment(environment: &[CString]) -> Self {
        let value = |name: &str| {
            let mut values = environment.iter().filter_map(|variable| {
                let rest = variable.to_bytes().strip_prefix(name.as_bytes())?;
                rest.strip_prefix(b"=")
            });
            let value = values.next().filter(|value| !value.is_empty())?;
            Some(OsStr::from_bytes(value).to_owned())
        };
        let address = value("DBUS_SESSION_BUS_ADDRESS");
        Self {
            session_bus_address: address.and_then(|address| address.into_string().ok()),
            runtime_directory: value("XDG_RUNTIME_DIR").map(PathBuf::from),
        }
    }
}

/// A socket that may be systemd's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) socket: Socket,
    /// Whether systemd itself is at the other end; else a bus is.
    pub(super) is_direct: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Socket {
    Path(PathBuf),
    /// A name in the abstract namespace (unix(7)).
    Abstract(Vec<u8>),
}

impl std::fmt::Display for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
        }
    }
}

/// The sockets to be tried, in order.
pub(super) fn candidates(manager: Manager, user: &UserBus) -> Vec<Candidate> {
    let at = |path: &Path, is_direct| Candidate {
        socket: Socket::Path(path.to_owned()),
        is_direct,
    };
    if manager == Manager::System {
        return vec![
            at(SYSTEM_DIRECT.as_ref(), true),
            at(SYSTEM_BUS.as_ref(), false),
        ];
    }
    let directory = user.runtime_directory.as_deref();
    let directory = directory.filter(|directory| directory.is_absolute());
    let address = user.session_bus_address.as_deref().unwrap_or_default();
    let direct = directory.map(|directory| at(&directory.join("systemd/private"), true));
    let session = parse(address).into_iter().map(|socket| Candidate {
        socket,
        is_direct: false,
    });
    let bus = directory.map(|directory| at(&directory.join("bus"), false));
    let mut all: Vec<Candidate> = direct.into_iter().chain(session).chain(bus).collect();
    all.dedup();
    all
}

/// The UNIX sockets of a list of server addresses
/// (<https://dbus.freedesktop.org/doc/dbus-specification.html#addresses>).
fn parse(list: &str) -> Vec<Socket> {
    let sockets = list.split(';').filter_map(|address| {
        let options = address.strip_prefix("unix:")?;
        options.split(',').find_map(|option| {
            let (key, value) = option.split_once('=')?;
            let value = unescape(value)?;
            match key {
                "path" if value.first() == Some(&b'/') => {
                    Some(Socket::Path(OsString::from_vec(value).into()))
                }
                "abstract" if !value.is_empty() => Some(Socket::Abstract(value)),
                _ => None,
            }
        })
    });
    sockets.collect()
}

/// `%20` is a blank.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push(u8::try_from(high << 4 | low).ok()?);
    }
    (!bytes.contains(&0)).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(manager: Manager, address: Option<&str>, directory: Option<&str>) -> Vec<String> {
        let user = UserBus {
            session_bus_address: address.map(str::to_owned),
            runtime_directory: directory.map(PathBuf::from),
        };
        let shown =
            |c: &Candidate| format!("{}{}", c.socket, if c.is_direct { " direct" } else { "" });
        candidates(manager, &user).iter().map(shown).collect()
    }

    #[test]
    fn the_managers_own_socket_comes_before_the_bus() {
        assert_eq!(
            shown(Manager::System, Some("unix:path=/x"), Some("/run/user/0")),
            ["/run/systemd/private direct", "/run/dbus/system_bus_socket"]
        );
        assert_eq!(
            shown(
                Manager::User,
                Some("unix:path=/run/user/1/bus"),
                Some("/run/user/1")
            ),
            ["/run/user/1/systemd/private direct", "/run/user/1/bus"]
        );
        assert_eq!(
            shown(
                Manager::User,
                Some("tcp:host=x;unix:abstract=/tmp/a%20b,guid=0;unix:path=/y"),
                None
            ),
            ["@/tmp/a b", "/y"]
        );
    }

    #[test]
    fn an_environment_tells_where_the_users_systemd_is() {
        let environment = [
            c"XDG_RUNTIME_DIRS=/no",
            c"XDG_RUNTIME_DIR=/run/user/1",
            c"DBUS_SESSION_BUS_ADDRESS=",
        ];
        let user = UserBus::of_environment(&environment.map(ToOwned::to_owned));
        assert_eq!(user.runtime_directory, Some("/run/user/1".into()));
        assert_eq!(user.session_bus_address, None);
    }

    #[test]
    fn addresses_that_are_no_sockets_are_none() {
        for address in [
            "",
            "unix:",
            "unix:path=",
            "unix:path=x",
            "unix:path=/a%0",
            "unix:path=/a%zz",
            "unix:path=/a%00b",
            "autolaunch:",
        ] {
            assert!(
                shown(Manager::User, Some(address), None).is_empty(),
                "{address}"
            );
        }
        assert!(shown(Manager::User, None, Some("relative")).is_empty());
    }
}
