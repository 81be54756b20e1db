//! The container's cgroups as a unit of systemd.
//!
//! ```text
//!  Systemd::connect ──▶ start ──▶ Cgroup::create_in_unit ──▶ the child is born inside
//!   (before any effect)   │            limits, exactly           the resident ends
//!                         └─ one call: StartTransientUnit, until JobRemoved
//!
//!  Systemd::connect ──▶ stop            (delete)
//!                   ──▶ set_properties  (update)
//! ```
//!
//! The unit is delegated: systemd makes the directory and sets what the unit's properties say,
//! tare sets the rest and has the directory to itself. Both say the same, so a daemon-reload
//! changes nothing.
//!
//! The client is of this crate: a few calls of a few types over a socket, where a general
//! library would bring an executor and more code than the rest of the runtime has. Everything
//! has a deadline.

use std::time::Duration;

pub use self::address::UserBus;
use self::address::candidates;
use self::calls::DEADLINE;
use self::connection::Connection;
pub use self::error::SystemdError;
pub(crate) use self::resident::Resident;
use crate::plan::cgroup::{Manager, Property, UnitPlan};

mod address;
mod calls;
mod connection;
mod error;
mod message;
mod resident;
mod started;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use self::started::StartedUnit;

/// How long connecting and being let in may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// An instance of systemd that has let this process in.
#[derive(Debug)]
pub struct Systemd {
    connection: Connection,
}

impl Systemd {
    /// Connects to the manager: by its own socket, or else by the bus.
    ///
    /// # Errors
    ///
    /// [`SystemdError::NotRunning`] and [`SystemdError::NoAddress`] without one; nothing has
    /// happened then.
    pub fn connect(manager: Manager, user: &UserBus) -> Result<Self, SystemdError> {
        let candidates = candidates(manager, user);
        if candidates.is_empty() {
            return Err(SystemdError::NoAddress);
        }
        let mut tried = Vec::new();
        for candidate in candidates {
            match Connection::open(&candidate, CONNECT_DEADLINE) {
                Ok(connection) => return Ok(Self { connection }),
                Err(SystemdError::Call { peer, call, source }) => {
                    tried.push(format!("{call} {peer}: {}", crate::errno::Words(source)))
                }
                // A user without privilege may not use the direct socket, but the bus.
                Err(SystemdError::Closed { peer, .. } | SystemdError::NotAccepted { peer, .. })
                    if candidate.is_direct =>
                {
                    tried.push(format!("{peer}: not for this user"));
                }
                Err(error) => return Err(error),
            }
        }
        Err(SystemdError::NotRunning {
            tried: tried.join("; "),
        })
    }

    /// Starts the unit with this first process; see [`StartedUnit`].
    fn start(
        &mut self,
        unit: &UnitPlan,
        description: &str,
        pid: Option<u32>,
    ) -> Result<(), SystemdError> {
        self.connection.start_unit(unit, description, pid, DEADLINE)
    }

    /// Stops the unit; afterwards it is gone and forgotten. One that is not there is no error.
    ///
    /// # Errors
    ///
    /// [`SystemdError`].
    pub fn stop(&mut self, unit: &str) -> Result<(), SystemdError> {
        self.connection.stop_unit(unit, DEADLINE)?;
        self.connection.reset_failed_unit(unit)
    }

    /// Changes properties of a running unit.
    ///
    /// # Errors
    ///
    /// [`SystemdError::Refused`] with systemd's own words; what was set before stays.
    pub fn set_properties(
        &mut self,
        unit: &str,
        properties: &[Property],
    ) -> Result<(), SystemdError> {
        self.connection
            .set_unit_properties(unit, properties, DEADLINE)
    }

    /// Whether the unit is there and has this description: it is the one that was asked for,
    /// and not another of the same name.
    ///
    /// # Errors
    ///
    /// [`SystemdError`].
    pub fn is_described(&mut self, unit: &str, description: &str) -> Result<bool, SystemdError> {
        let found = self.connection.description_of(unit, DEADLINE)?;
        Ok(found.as_deref() == Some(description))
    }
}

/// Reads bytes as what a manager may send after the greeting: for fuzzing, which calls this
/// with anything.
#[doc(hidden)]
#[must_use]
pub fn read_messages(bytes: &[u8]) -> usize {
    message::count(bytes)
}
