//! `blockIO`: what is decided about it.

use std::fmt;

use serde::Serialize;

/// `blockIO`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BlockIo {
    /// 10 to 1000, as cgroup v1 counts.
    pub weight: Option<u16>,
    /// 10 to 1000; v1 only.
    pub leaf_weight: Option<u16>,
    /// Of single devices.
    pub device_weights: Vec<DeviceWeight>,
    /// Upper bounds of single devices.
    pub throttles: Vec<Throttle>,
}

/// A block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceNumber {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// `MAJOR:MINOR`, as cgroup files take it.
impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// One of `blockIO.weightDevice`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceWeight {
    /// Whose.
    pub device: DeviceNumber,
    /// 10 to 1000.
    pub weight: Option<u16>,
    /// 10 to 1000; v1 only.
    pub leaf_weight: Option<u16>,
}

/// One of the four `blockIO.throttle…Device` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Throttle {
    /// Whose.
    pub device: DeviceNumber,
    /// What is counted.
    pub kind: ThrottleKind,
    /// Bytes or operations in a second; 0 is no bound.
    pub rate_per_second: u64,
}

/// What a throttle counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ThrottleKind {
    /// Bytes read.
    ReadBytes,
    /// Bytes written.
    WrittenBytes,
    /// Read operations.
    ReadOperations,
    /// Write operations.
    WriteOperations,
}

impl ThrottleKind {
    /// The file in a v1 `blkio` directory.
    pub(crate) fn legacy_file(self) -> &'static str {
        match self {
            Self::ReadBytes => "blkio.throttle.read_bps_device",
            Self::WrittenBytes => "blkio.throttle.write_bps_device",
            Self::ReadOperations => "blkio.throttle.read_iops_device",
            Self::WriteOperations => "blkio.throttle.write_iops_device",
        }
    }

    /// The key in `io.max`.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::ReadBytes => "rbps",
            Self::WrittenBytes => "wbps",
            Self::ReadOperations => "riops",
            Self::WriteOperations => "wiops",
        }
    }

    /// In words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::ReadBytes => "bytes read a second",
            Self::WrittenBytes => "bytes written a second",
            Self::ReadOperations => "reads a second",
            Self::WriteOperations => "writes a second",
        }
    }
}
