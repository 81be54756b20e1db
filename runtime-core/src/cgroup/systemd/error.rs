//! What can go wrong between tare and systemd.

use nix::errno::Errno;

use crate::errno::Words;

/// Why systemd did not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SystemdError {
    /// Nobody listens on any of its sockets.
    #[error(
        "systemd is not running here: {tried}: leave the systemd cgroup driver out, or use it where systemd is the service manager"
    )]
    NotRunning {
        /// What was tried, and why it failed.
        tried: String,
    },

    /// There is no address to try.
    #[error(
        "the user's systemd can't be found: neither a session bus nor a runtime directory is known (set XDG_RUNTIME_DIR or DBUS_SESSION_BUS_ADDRESS; `loginctl enable-linger` starts a user's systemd without a session)"
    )]
    NoAddress,

    /// A system call on the connection failed.
    #[error("systemd ({peer}): {call}: {}", Words(*.source))]
    Call {
        /// The socket.
        peer: String,
        /// Such as `connect`.
        call: &'static str,
        /// What the kernel said.
        source: Errno,
    },

    /// The other side has hung up.
    #[error("systemd ({peer}) closed the connection while it was waited for {what}")]
    Closed {
        /// The socket.
        peer: String,
        /// What was waited for.
        what: String,
    },

    /// It does not let this user in.
    #[error("systemd ({peer}) does not accept user {uid}: it said {answer:?}")]
    NotAccepted {
        /// The socket.
        peer: String,
        /// The effective user id.
        uid: u32,
        /// Its answer.
        answer: String,
    },

    /// What came is no D-Bus.
    #[error("systemd ({peer}) does not speak D-Bus as specified: {what}")]
    Protocol {
        /// The socket.
        peer: String,
        /// What is wrong.
        what: &'static str,
    },

    /// The deadline passed.
    #[error(
        "timed out after {secs} s waiting for systemd ({peer}) to {what}: it may be busy or hung (`systemctl list-jobs` shows what it is at)"
    )]
    Timeout {
        /// The socket.
        peer: String,
        /// What was waited for.
        what: String,
        /// How long.
        secs: u64,
    },

    /// It said no.
    #[error("systemd refused to {what}: {message} ({name}){hint}")]
    Refused {
        /// What was asked for.
        what: String,
        /// Its D-Bus error.
        name: String,
        /// Its own words.
        message: String,
        /// The likely cause, and what to do.
        hint: &'static str,
    },

    /// It tried, and failed.
    #[error(
        "systemd did not {what}: its job ended with {result:?} (`journalctl -u {unit}` may say why)"
    )]
    Job {
        /// What was asked for.
        what: String,
        /// Of which unit.
        unit: String,
        /// `canceled`, `timeout`, `failed`, `dependency` or `skipped`.
        result: String,
    },

    /// The unit's processes are not where its name says.
    #[error(
        "systemd has put the unit {unit} into the cgroup {found:?} and not into {planned:?}: this process may see another part of the cgroup tree than systemd does"
    )]
    Elsewhere {
        /// The unit.
        unit: String,
        /// Where its first process is.
        found: String,
        /// Where it should be.
        planned: String,
    },

    /// More than a message may have.
    #[error(
        "systemd can't be asked to {what}: its properties (the device rules?) are longer than 16 MiB"
    )]
    TooLong {
        /// What was to be asked for.
        what: String,
    },
}

/// The D-Bus errors that are no surprise.
pub(super) const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";
pub(super) const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

/// What is likely behind a refusal, and what to do.
pub(super) fn hint(name: &str) -> &'static str {
    match name {
        UNIT_EXISTS => {
            "; another container or service has this unit: choose another name in cgroupsPath, or stop it"
        }
        "org.freedesktop.DBus.Error.AccessDenied"
        | "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired" => {
            "; this user may not manage units: be root, or have polkit allow org.freedesktop.systemd1.manage-units"
        }
        "org.freedesktop.DBus.Error.PropertyReadOnly"
        | "org.freedesktop.DBus.Error.UnknownProperty" => {
            "; this version of systemd does not know the property: leave out what asks for it, or use a newer systemd"
        }
        "org.freedesktop.systemd1.Masked" | "org.freedesktop.systemd1.UnitMasked" => {
            "; `systemctl unmask` it"
        }
        _ => "",
    }
}

impl SystemdError {
    /// What the kernel said, if it is at the bottom of it.
    pub(in crate::cgroup) fn errno(&self) -> Option<Errno> {
        match self {
            Self::Call { source, .. } => Some(*source),
            _ => None,
        }
    }

    /// Whether it was waited for in vain.
    pub(in crate::cgroup) fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }

    /// Whether there is no systemd to be asked.
    pub(crate) fn is_not_running(&self) -> bool {
        matches!(self, Self::NotRunning { .. } | Self::NoAddress)
    }

    /// Whether it refused with this D-Bus error.
    pub(super) fn is_refusal(&self, error: &str) -> bool {
        matches!(self, Self::Refused { name, .. } if name == error)
    }
}
