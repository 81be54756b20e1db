//! What is stored of a container: one JSON file, and in it config.json as it was at create.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::plan::cgroup::{Manager, UnitPlan};

/// The facts that later operations need. Status is not among them: it is observed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Version of this format.
    pub version: u32,
    /// Whether the cgroups are the container's own: until then they are only planned, and may be
    /// somebody else's. Changed in place, so it is a digit and not a word.
    pub cgroups_owned: u8,
    /// The container's name, once more than in the directory's.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root filesystem.
    pub rootfs: PathBuf,
    /// RFC 3339, UTC.
    pub created: String,
    /// User who created it.
    pub owner: u32,
    /// Directories of its cgroups, by controller; written before they are made.
    #[serde(default)]
    pub cgroup_paths: BTreeMap<String, String>,
    /// The unit of systemd whose cgroups they are; written before it is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub systemd_unit: Option<RecordedUnit>,
    /// CLONE_NEW* of every namespace that is not the runtime's own.
    #[serde(default)]
    pub namespaces: u64,
    /// Whether it has a pid namespace that ends with its init process.
    #[serde(default)]
    pub own_pid_namespace: bool,
    /// Whether its root is reached by chroot(2) alone.
    #[serde(default)]
    pub chroot: bool,
    /// Whether it has a session keyring of its own, for further processes to join.
    #[serde(default)]
    pub keyring: bool,
    /// Index of the child's first step after `start`: what a failure is counted from.
    #[serde(default)]
    pub start_step: usize,
    /// The init process in the runtime's pid namespace; 0 until it exists.
    #[serde(default)]
    pub init_process_pid: i32,
    /// In clock ticks after boot: tells a reused number from the process itself.
    #[serde(default)]
    pub init_process_start: u64,
    /// config.json on its way in; [`Stored`] has it apart.
    #[serde(default, skip_serializing)]
    pub(crate) config: Option<Box<RawValue>>,
}

/// A unit of systemd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedUnit {
    /// Such as `tare-box.scope`.
    pub name: String,
    /// Whose unit it is.
    pub manager: Manager,
    /// What tells it from another unit of the same name.
    pub description: String,
}

impl RecordedUnit {
    pub(crate) fn new(unit: &UnitPlan, record: &Record) -> Self {
        Self {
            name: unit.name.clone(),
            manager: unit.manager,
            description: format!("tare container {}, created {}", record.id, record.created),
        }
    }
}

/// The version that this program writes.
pub const VERSION: u32 = 1;

/// Why a state file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Empty, cut off, or not ours.
    #[error("state.json is broken: {0}")]
    Broken(#[from] serde_json::Error),
    /// Complete, but without config.json's bytes.
    #[error("state.json is broken: it has no config")]
    NoConfig,
    /// Written by a later tare.
    #[error(
        "state.json has version {0}, and this tare knows {VERSION}: use the tare that created the container"
    )]
    Version(u32),
}

/// A state file, read.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The facts.
    pub record: Record,
    /// config.json as it was at create.
    pub config: Vec<u8>,
}

impl Stored {
    /// Reads the bytes of a state file.
    ///
    /// # Errors
    ///
    /// [`RecordError`] for anything but a complete record of a known version.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        match serde_json::from_slice::<Record>(bytes) {
            Ok(mut record) if record.version == VERSION => {
                let config = record.config.take().ok_or(RecordError::NoConfig)?;
                let config = Box::<str>::from(config).into_string().into_bytes();
                Ok(Self { record, config })
            }
            Ok(record) => Err(RecordError::Version(record.version)),
            // Another version may have other members; then its number is what there is to say.
            Err(error) => match serde_json::from_slice::<Version>(bytes) {
                Ok(Version { version }) if version != VERSION => Err(RecordError::Version(version)),
                _ => Err(error.into()),
            },
        }
    }

    /// Reads what can be read of a record of any version: enough to take a container away.
    pub(super) fn salvage(bytes: &[u8]) -> Option<Self> {
        let mut record = serde_json::from_slice::<Record>(bytes).ok()?;
        let config = record.config.take()?;
        let config = Box::<str>::from(config).into_string().into_bytes();
        Some(Self { record, config })
    }
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl Record {
    /// A record of a container that has been given nothing yet.
    #[must_use]
    pub fn new(id: &crate::id::ContainerId, bundle: PathBuf, rootfs: PathBuf) -> Self {
        Self {
            version: VERSION,
            cgroups_owned: 0,
            id: id.to_string(),
            bundle,
            rootfs,
            created: crate::time::now(),
            owner: 0,
            cgroup_paths: BTreeMap::new(),
            systemd_unit: None,
            namespaces: 0,
            own_pid_namespace: false,
            chroot: false,
            keyring: false,
            start_step: 0,
            init_process_pid: 0,
            init_process_start: 0,
            config: None,
        }
    }

    /// Where in [`Record::to_bytes`] the digit of `cgroups_owned` is.
    pub(super) const OWNED_AT: usize = br#"{"version":1,"cgroups_owned":"#.len();

    /// The bytes of a state file: the record's members and config.json's bytes as they are.
    ///
    /// # Panics
    ///
    /// Never: a record has only types that JSON can hold.
    #[must_use]
    pub fn to_bytes(&self, config: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(config.len() + 1024);
        serde_json::to_writer(&mut bytes, self).expect("a record is plain data");
        bytes.pop();
        bytes.extend_from_slice(b",\"config\":");
        bytes.extend_from_slice(config);
        bytes.extend_from_slice(b"}");
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            version: VERSION,
            cgroups_owned: 1,
            id: "x".into(),
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            created: "2026-11-25T00:00:00.000000000Z".into(),
            owner: 0,
            cgroup_paths: BTreeMap::from([("memory".into(), "/sys/fs/cgroup/memory/x".into())]),
            systemd_unit: Some(RecordedUnit {
                name: "tare-x.scope".into(),
                manager: Manager::User,
                description: "tare container x".into(),
            }),
            namespaces: 0x2000_0000,
            own_pid_namespace: true,
            chroot: false,
            keyring: true,
            start_step: 40,
            init_process_pid: 7,
            init_process_start: 1234,
            config: None,
        }
    }

    #[test]
    fn a_record_comes_back_with_its_config() {
        let config = br#"{ "ociVersion": "1.2.0", "process": {"args": ["sh"]} }"#;
        let stored = Stored::parse(&record().to_bytes(config)).unwrap();
        assert_eq!(stored.config, config);
        assert_eq!(format!("{:?}", stored.record), format!("{:?}", record()));
    }

    #[test]
    fn the_digit_that_changes_in_place_is_where_it_should_be() {
        let mut bytes = Record {
            cgroups_owned: 0,
            ..record()
        }
        .to_bytes(b"{}");
        assert_eq!(bytes[Record::OWNED_AT], b'0');
        bytes[Record::OWNED_AT] = b'1';
        assert_eq!(Stored::parse(&bytes).unwrap().record.cgroups_owned, 1);
    }

    #[test]
    fn every_cut_of_a_state_file_is_an_error() {
        let bytes = record().to_bytes(b"{}");
        for length in 0..bytes.len() {
            assert!(
                Stored::parse(&bytes[..length]).is_err(),
                "{length} bytes were accepted"
            );
        }
    }

    #[test]
    fn a_later_version_is_refused_by_name() {
        let bytes = br#"{"version": 99, "anything": true, "config": {}}"#;
        let text = Stored::parse(bytes).unwrap_err().to_string();
        assert!(text.contains("version 99"), "{text}");
    }
}
