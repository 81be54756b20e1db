//! What systemd's manager is asked to do: org.freedesktop.systemd1(5).

use std::time::Duration;

use super::connection::Connection;
use super::error::{NO_SUCH_UNIT, SystemdError, UNIT_EXISTS, hint};
use super::message::{Call, Incoming};
use super::wire::Encoder;
use crate::plan::cgroup::{Property, UnitPlan, Value};

pub(super) const SYSTEMD: &str = "org.freedesktop.systemd1";
pub(super) const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const PATH: &str = "/org/freedesktop/systemd1";

/// How long one request may take, its job included.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// How many jobs of the unit may be over before the answer says which one is ours.
const EARLY_JOBS: usize = 16;

/// How a job ended, or that no such thing as its unit is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    Now,
    Before,
}

impl Connection {
    /// Starts the transient unit, with `pid` as its first process, and waits until it is
    /// there with all its properties.
    pub(super) fn start_unit(
        &mut self,
        unit: &UnitPlan,
        description: &str,
        pid: Option<u32>,
        limit: Duration,
    ) -> Result<(), SystemdError> {
        self.wait_for(&format!("start the unit {}", unit.name), limit);
        if !self.is_direct() {
            // Without a subscriber systemd tells a bus nothing.
            self.send_call(&manager_call("Subscribe", "", false), Encoder::default())?;
        }
        match self.try_start(unit, description, pid) {
            // A unit of that name that has failed is in the way until it is forgotten.
            Err(error) if error.is_refusal(UNIT_EXISTS) => {
                self.reset_failed_unit(&unit.name)?;
                self.try_start(unit, description, pid)
            }
            started => started,
        }
    }

    fn try_start(
        &mut self,
        unit: &UnitPlan,
        description: &str,
        pid: Option<u32>,
    ) -> Result<(), SystemdError> {
        let property = |name: &'static str, value| Property {
            name: name.into(),
            value,
        };
        let described = property("Description", Value::Text(description.to_owned()));
        let first = pid.map(|pid| property("PIDs", Value::Numbers(vec![pid])));
        let all = [&described]
            .into_iter()
            .chain(&first)
            .chain(&unit.properties);
        let mut body = Encoder::default();
        body.string(&unit.name);
        body.string("fail");
        body.properties(all);
        // No auxiliary units.
        body.array(8, [(); 0], |_, ()| {});
        let what = format!("start the unit {}", unit.name);
        let call = manager_call("StartTransientUnit", "ssa(sv)a(sa(sv))", true);
        let serial = self.send_call(&call, body)?;
        self.await_job(serial, &unit.name, &what)
    }

    /// Stops the unit and waits until it is gone; one that is not there is no error.
    pub(super) fn stop_unit(
        &mut self,
        unit: &str,
        limit: Duration,
    ) -> Result<Stopped, SystemdError> {
        let what = format!("stop the unit {unit}");
        self.wait_for(&what, limit);
        if !self.is_direct() {
            self.send_call(&manager_call("Subscribe", "", false), Encoder::default())?;
        }
        let mut body = Encoder::default();
        body.string(unit);
        body.string("replace");
        let serial = self.send_call(&manager_call("StopUnit", "ss", true), body)?;
        match self.await_job(serial, unit, &what) {
            Ok(()) => Ok(Stopped::Now),
            Err(error) if error.is_refusal(NO_SUCH_UNIT) => Ok(Stopped::Before),
            Err(error) => Err(error),
        }
    }

    /// Forgets that the unit has failed; one that is not there is no error.
    pub(super) fn reset_failed_unit(&mut self, unit: &str) -> Result<(), SystemdError> {
        let mut body = Encoder::default();
        body.string(unit);
        let serial = self.send_call(&manager_call("ResetFailedUnit", "s", true), body)?;
        match self.await_reply(serial, &format!("reset the failed unit {unit}")) {
            Err(error) if error.is_refusal(NO_SUCH_UNIT) => Ok(()),
            reply => reply.map(drop),
        }
    }

    /// Changes properties of a running unit, until it is gone.
    pub(super) fn set_unit_properties(
        &mut self,
        unit: &str,
        properties: &[Property],
        limit: Duration,
    ) -> Result<(), SystemdError> {
        let what = format!("set properties of the unit {unit}");
        self.wait_for(&what, limit);
        let mut body = Encoder::default();
        body.string(unit);
        // Not in a file that survives a restart of the host.
        body.u32(1);
        body.properties(properties);
        let call = manager_call("SetUnitProperties", "sba(sv)", true);
        let serial = self.send_call(&call, body)?;
        self.await_reply(serial, &what).map(drop)
    }

    /// The description of a unit; of one that is not there, its name.
    pub(super) fn description_of(
        &mut self,
        unit: &str,
        limit: Duration,
    ) -> Result<Option<String>, SystemdError> {
        let what = format!("describe the unit {unit}");
        self.wait_for(&what, limit);
        let path = unit_path(unit);
        let call = Call {
            path: &path,
            interface: "org.freedesktop.DBus.Properties",
            ..manager_call("Get", "ss", true)
        };
        let mut body = Encoder::default();
        body.string("org.freedesktop.systemd1.Unit");
        body.string("Description");
        let serial = self.send_call(&call, body)?;
        match self.await_reply(serial, &what) {
            Err(error) if error.is_refusal(NO_SUCH_UNIT) => Ok(None),
            reply => reply,
        }
    }

    /// Waits for the answer; the text in it, if it has one.
    fn await_reply(&mut self, serial: u32, what: &str) -> Result<Option<String>, SystemdError> {
        loop {
            match self.receive()? {
                Incoming::Returned { reply_to, text } if reply_to == serial => return Ok(text),
                Incoming::Refused {
                    reply_to,
                    name,
                    message,
                } if reply_to == serial => return Err(refused(what, name, message)),
                _ => {}
            }
        }
    }

    /// Waits for the answer, which names a job, and for the end of that job. Its end may be
    /// told first.
    fn await_job(&mut self, serial: u32, unit: &str, what: &str) -> Result<(), SystemdError> {
        let mut ours: Option<String> = None;
        let mut over: Vec<(String, String)> = Vec::new();
        loop {
            match self.receive()? {
                Incoming::Returned { reply_to, text } if reply_to == serial => {
                    ours = Some(text.ok_or_else(|| SystemdError::Protocol {
                        peer: self.peer().to_owned(),
                        what: "an answer without a job",
                    })?);
                }
                Incoming::Refused {
                    reply_to,
                    name,
                    message,
                } if reply_to == serial => return Err(refused(what, name, message)),
                Incoming::JobRemoved {
                    job,
                    unit: of,
                    result,
                } if of == unit && over.len() < EARLY_JOBS => over.push((job, result)),
                _ => {}
            }
            let ended = over.iter().find(|(job, _)| Some(job) == ours.as_ref());
            match ended {
                Some((_, result)) if result == "done" => return Ok(()),
                Some((_, result)) => {
                    return Err(SystemdError::Job {
                        what: what.to_owned(),
                        unit: unit.to_owned(),
                        result: result.clone(),
                    });
                }
                None => {}
            }
        }
    }
}

fn refused(what: &str, name: String, message: String) -> SystemdError {
    SystemdError::Refused {
        what: what.to_owned(),
        hint: hint(&name),
        name,
        message,
    }
}

/// A call of the manager. The destination is ignored on a direct connection.
fn manager_call<'a>(member: &'a str, signature: &'a str, wants_reply: bool) -> Call<'a> {
    Call {
        destination: Some(SYSTEMD),
        path: PATH,
        interface: MANAGER,
        member,
        signature,
        wants_reply,
    }
}

/// The object of a unit: its name with every byte but letters and digits escaped.
fn unit_path(unit: &str) -> String {
    let mut path = format!("{PATH}/unit/");
    for (index, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || byte.is_ascii_digit() && index > 0 {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}
