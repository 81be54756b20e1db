//! What a container uses: the counters of its cgroups and of its network interfaces, and word of
//! processes that were killed for want of memory.
//!
//! ```text
//!  Container::statistics ──▶ v1 or v2 ──▶ files ──▶ parse       one openat(2) for each file,
//!                       └──▶ network ───────────────▶ parse     one buffer for all
//!
//!  Container::watch_oom ──▶ OomWatch: one descriptor to poll, and what has happened since
//! ```
//!
//! [`ProcessCgroups`] gives the same of what another runtime has started.
//!
//! A number is there if the kernel has it, and None if it has not: nothing is made up, and a
//! controller that is missing is no error. [`parse`] is pure.

use std::collections::BTreeMap;
use std::path::Path;

use self::files::{Buffer, Files};
use crate::cgroup::{Cgroup, CgroupError, Place};
use crate::container::{Container, is_gone};
use crate::error::{Error, ErrorKind};
use crate::runtime::procfs;

pub use self::counters::Counters;
pub use self::network::NetworkInterface;
pub use self::of_process::ProcessCgroups;
pub use self::oom::OomWatch;
pub use crate::plan::cgroup::Limit;

mod counters;
mod files;
mod network;
mod of_process;
mod oom;
pub mod parse;
pub mod v1;
pub mod v2;

#[cfg(test)]
mod tests;

/// What a container uses, as its cgroups' version counts it.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, which is read and thrown away"
)]
pub enum Statistics {
    /// Of cgroup v1's controllers, on hybrid hosts too.
    V1(v1::Statistics),
    /// Of cgroup v2's controllers.
    V2(v2::Statistics),
}

/// `pids.*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pids {
    /// `pids.current`: processes and threads.
    pub current: Option<u64>,
    /// `pids.max`.
    pub limit: Option<Limit>,
}

/// Huge pages of one size, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HugePages {
    /// The size as the kernel names it, such as `2MB`.
    pub page_size: String,
    /// In use now.
    pub usage: Option<u64>,
    /// The bound.
    pub limit: Option<Limit>,
    /// The most that was ever in use; cgroup v1 only.
    pub max_usage: Option<u64>,
    /// How often there was no page for want of a higher limit.
    pub failures: Option<u64>,
}

/// `rdma.*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rdma {
    /// `rdma.current`.
    pub current: Vec<RdmaDevice>,
    /// `rdma.max`.
    pub limit: Vec<RdmaDevice>,
}

/// Resources of one RDMA device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RdmaDevice {
    /// The device's name.
    pub device: String,
    /// `hca_handle`.
    pub hca_handles: Option<Limit>,
    /// `hca_object`.
    pub hca_objects: Option<Limit>,
}

/// Time in which processes waited for a resource (Documentation/accounting/psi.rst).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// In which some of them waited.
    pub some: Option<Stall>,
    /// In which all of them did; of processors from Linux 5.13 on.
    pub full: Option<Stall>,
}

/// A share of time, and the time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stall {
    /// `avg10`: percent of the last ten seconds.
    pub percent_10s: f64,
    /// `avg60`: percent of the last minute.
    pub percent_60s: f64,
    /// `avg300`: percent of the last five minutes.
    pub percent_300s: f64,
    /// `total`, in microseconds.
    pub total_us: u64,
}

impl Statistics {
    /// The interfaces in its network namespace; None when it has none of its own, or has ended.
    #[must_use]
    pub fn network(&self) -> Option<&[NetworkInterface]> {
        match self {
            Self::V1(statistics) => statistics.network.as_deref(),
            Self::V2(statistics) => statistics.network.as_deref(),
        }
    }
}

impl Pids {
    fn read(files: &mut Files<'_>) -> Result<Self, CgroupError> {
        Ok(Self {
            current: files.value("pids.current")?,
            limit: files.limit("pids.max")?,
        })
    }
}

impl Rdma {
    fn read(files: &mut Files<'_>) -> Result<Self, CgroupError> {
        let mut devices = |file| files.table(file, parse::rdma_devices);
        Ok(Self {
            current: devices("rdma.current")?.unwrap_or_default(),
            limit: devices("rdma.max")?.unwrap_or_default(),
        })
    }
}

impl Container {
    /// What it uses now, the processes in cgroups below its own included where the kernel counts
    /// them there.
    ///
    /// Reads some forty small files, and no more of a host with many containers than of one
    /// with this one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotRunning`], or [`ErrorKind::NotFound`] when it has been deleted, if its
    /// cgroups are gone or go meanwhile; [`ErrorKind::Unsupported`] when it has none of its own
    /// (rootless); [`ErrorKind::Cgroup`] when a file can't be read or says what is not
    /// understood.
    pub fn statistics(&self) -> Result<Statistics, Error> {
        self.require_cgroup("read the statistics of")?;
        let counted = unless_gone(self.counted())?.flatten();
        let mut statistics = counted.ok_or_else(|| self.vanished())?;
        *statistics.network_mut() = self.network()?;
        Ok(statistics)
    }

    /// Tells of processes that the kernel kills for want of memory, from now on; None when no
    /// controller of its cgroups counts memory.
    ///
    /// # Errors
    ///
    /// As [`statistics`](Self::statistics).
    pub fn watch_oom(&self) -> Result<Option<OomWatch>, Error> {
        self.require_cgroup("watch the memory of")?;
        let init = self.init_process()?;
        let watch = self.places().and_then(|places| match places.is_empty() {
            true => Ok(None),
            false => OomWatch::new(places, init).map(Some),
        });
        let watch = unless_gone(watch)?.flatten();
        watch.ok_or_else(|| self.vanished())
    }

    fn places(&self) -> Result<Vec<Place>, CgroupError> {
        Cgroup::open(&self.record().cgroup_paths).map(Cgroup::into_places)
    }

    /// The counters of its cgroups; None when there are none any more.
    fn counted(&self) -> Result<Option<Statistics>, CgroupError> {
        let places = self.places()?;
        let statistics = count(&places, &mut Buffer::default())?;
        // A directory that is missing because the container is being deleted says nothing.
        let is_whole = are_all_of(&self.record().cgroup_paths, &places)
            || matches!(self.init_process(), Ok(Some(_)));
        Ok(statistics.filter(|_| is_whole))
    }

    fn network(&self) -> Result<Option<Vec<NetworkInterface>>, Error> {
        let own_namespace = self.record().namespaces & libc::CLONE_NEWNET as u64 != 0;
        match self.init_process()? {
            Some(init) if own_namespace => network::interfaces_of(&procfs()?, &init)
                .map_err(|errno| Error::call(format!("read /proc/{}/net/dev", init.pid()), errno)),
            _ => Ok(None),
        }
    }

    /// The error for cgroups that are gone.
    fn vanished(&self) -> Error {
        match self.runtime().root().look(self.id()) {
            Err(error) => error.into(),
            Ok(_) => Error::text(
                ErrorKind::NotRunning,
                format!("container with id {} is not running", self.id()),
            ),
        }
    }
}

/// Whether every recorded directory was found.
fn are_all_of(recorded: &BTreeMap<String, String>, places: &[Place]) -> bool {
    let mut recorded = recorded.values().map(Path::new);
    recorded.all(|path| places.iter().any(|place| place.path() == path))
}

/// The counters of these directories; None without any, or when one of them has been removed.
fn count(places: &[Place], buffer: &mut Buffer) -> Result<Option<Statistics>, CgroupError> {
    let statistics = match places.first() {
        None => return Ok(None),
        Some(place) if place.is_v1() => Statistics::V1(v1::read(places, buffer)?),
        Some(place) => Statistics::V2(v2::read(&mut Files::new(place, buffer))?),
    };
    // A file that is missing in a directory that has been removed says nothing.
    Ok(places.iter().all(Place::is_there).then_some(statistics))
}

/// What was read, unless the cgroup has been removed meanwhile.
fn unless_gone<T>(read: Result<T, CgroupError>) -> Result<Option<T>, Error> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Statistics {
    fn network_mut(&mut self) -> &mut Option<Vec<NetworkInterface>> {
        match self {
            Self::V1(statistics) => &mut statistics.network,
            Self::V2(statistics) => &mut statistics.network,
        }
    }
}
