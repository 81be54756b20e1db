//! The counters of a container's network interfaces, read from outside of its namespace.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::files::Buffer;
use super::parse;
use crate::process::Process;
use crate::procfs::Procfs;

/// How much of the table is read: a container may make as many interfaces as it likes.
const LONGEST_TABLE: usize = 1 << 20;

/// Counters of one interface, as seen from inside of its namespace (proc_pid_net(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkInterface {
    /// Its name in the container.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Errors while receiving.
    pub rx_errors: u64,
    /// Packets received and dropped.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Errors while sending.
    pub tx_errors: u64,
    /// Packets dropped instead of sent.
    pub tx_dropped: u64,
}

/// The interfaces in the process's network namespace: those that are in the first MiB of the
/// kernel's table, which are some nine thousand. None when the process has ended.
///
/// The procfs shows them to everybody who may see the process, so no thread has to enter the
/// namespace. The pidfd was there before the file is opened, and its process lives after: so
/// the number was that process's in between.
pub(super) fn interfaces_of(
    procfs: &Procfs,
    process: &Process,
) -> Result<Option<Vec<NetworkInterface>>, Errno> {
    let file = procfs.file(format!("{}/net/dev", process.pid()), OFlag::O_RDONLY);
    if process.ended_within(Duration::ZERO)? {
        return Ok(None);
    }
    let file = match file {
        // It is ending, and has let go of its namespaces.
        Err(Errno::ENOENT | Errno::ESRCH) => return Ok(None),
        file => file?,
    };
    let mut table = Buffer::default();
    let is_whole = table.read(file.as_fd(), LONGEST_TABLE)?;
    let lines = match is_whole {
        true => table.bytes(),
        false => whole_lines(table.bytes()),
    };
    Ok(Some(parse::network_interfaces(lines)))
}

fn whole_lines(table: &[u8]) -> &[u8] {
    let end = table.iter().rposition(|byte| *byte == b'\n');
    &table[..end.unwrap_or(0)]
}
