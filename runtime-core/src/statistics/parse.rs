//! The texts of the kernel's files as numbers: pure, and total on any text.
//!
//! Lines and words that are not understood are passed over, since kernels add such; only a file
//! that is one value has nothing to pass over, and gives nothing then.

use super::v1::BlockIoEntry;
use super::v2::IoDevice;
use super::{Limit, NetworkInterface, Pressure, RdmaDevice, Stall};

/// A number that is the whole file.
#[must_use]
pub fn value(text: &str) -> Option<u64> {
    number(text.trim_ascii_end())
}

/// A number that is the whole file and may be negative.
#[must_use]
pub fn signed(text: &str) -> Option<i64> {
    let text = text.trim_ascii_end();
    if text.starts_with('+') {
        return None;
    }
    text.parse().ok()
}

/// A number, or `max`.
#[must_use]
pub fn limit(text: &str) -> Option<Limit> {
    match text.trim_ascii_end() {
        "max" => Some(Limit::Unlimited),
        text => number(text).map(Limit::At),
    }
}

/// Numbers with blanks between them: `cpuacct.usage_percpu`.
#[must_use]
pub fn numbers(text: &str) -> Vec<u64> {
    text.split_ascii_whitespace().filter_map(number).collect()
}

/// Numbers of processors or memory nodes, such as `0-2,7`, ascending as the kernel writes them.
#[must_use]
pub fn list(text: &str) -> Option<Vec<u16>> {
    let mut all = Vec::new();
    for range in text
        .trim_ascii_end()
        .split(',')
        .filter(|range| !range.is_empty())
    {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let first = u16::try_from(number(first)?).ok()?;
        let last = u16::try_from(number(last)?).ok()?;
        let ascends = all.last().is_none_or(|before| *before < first);
        if !ascends || first > last {
            return None;
        }
        all.extend(first..=last);
    }
    Some(all)
}

/// `cpuacct.usage_all`: of each processor the nanoseconds in user mode and in the kernel.
#[must_use]
pub fn usage_by_mode(text: &str) -> (Vec<u64>, Vec<u64>) {
    let of_line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let _processor = number(words.next()?)?;
        Some((number(words.next()?)?, number(words.next()?)?))
    };
    text.lines().filter_map(of_line).unzip()
}

/// `cpu.pressure` and its like (Documentation/accounting/psi.rst).
#[must_use]
pub fn pressure(text: &str) -> Pressure {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        match line.split_once(' ') {
            Some(("some", rest)) => pressure.some = stall(rest),
            Some(("full", rest)) => pressure.full = stall(rest),
            _ => {}
        }
    }
    pressure
}

fn stall(text: &str) -> Option<Stall> {
    let of_key = |key: &str| {
        let mut words = text.split_ascii_whitespace();
        words.find_map(|word| word.split_once('=').filter(|(name, _)| *name == key))
    };
    let percent = |key: &str| {
        let (_, text) = of_key(key)?;
        text.parse()
            .ok()
            .filter(|percent: &f64| percent.is_finite())
    };
    Some(Stall {
        percent_10s: percent("avg10")?,
        percent_60s: percent("avg60")?,
        percent_300s: percent("avg300")?,
        total_us: number(of_key("total")?.1)?,
    })
}

/// `io.stat` of cgroup v2. A kernel that has nothing to say of a device may end its line late,
/// so a device starts wherever its number stands.
#[must_use]
pub fn io_devices(text: &str) -> Vec<IoDevice> {
    let mut devices: Vec<IoDevice> = Vec::new();
    for word in text.split_ascii_whitespace() {
        if let Some((major, minor)) = device_number(word) {
            devices.push(IoDevice {
                major,
                minor,
                ..IoDevice::default()
            });
        } else if let Some(device) = devices.last_mut() {
            count_io(device, word);
        }
    }
    devices.retain(|device| !device.is_empty());
    devices
}

fn count_io(device: &mut IoDevice, word: &str) {
    let Some((key, text)) = word.split_once('=') else {
        return;
    };
    let place = match key {
        "rbytes" => &mut device.read_bytes,
        "wbytes" => &mut device.written_bytes,
        "rios" => &mut device.reads,
        "wios" => &mut device.writes,
        "dbytes" => &mut device.discarded_bytes,
        "dios" => &mut device.discards,
        _ => return,
    };
    *place = number(text);
}

/// A file of `blkio`: `8:0 Read 5`, or `8:0 5`; the sum over all devices is left out.
#[must_use]
pub fn block_io_entries(text: &str) -> Vec<BlockIoEntry> {
    let of_line = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().take(4).collect();
        let (device, operation, count) = match words[..] {
            [device, count] => (device, None, count),
            [device, operation, count] => (device, Some(operation.to_owned()), count),
            _ => return None,
        };
        let (major, minor) = device_number(device)?;
        Some(BlockIoEntry {
            major,
            minor,
            device: None,
            operation,
            value: number(count)?,
        })
    };
    text.lines().filter_map(of_line).collect()
}

fn device_number(word: &str) -> Option<(u64, u64)> {
    let (major, minor) = word.split_once(':')?;
    Some((number(major)?, number(minor)?))
}

/// `rdma.current` and `rdma.max`: `mlx4_0 hca_handle=2 hca_object=max`.
#[must_use]
pub fn rdma_devices(text: &str) -> Vec<RdmaDevice> {
    let of_line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let mut device = RdmaDevice {
            device: words.next()?.to_owned(),
            hca_handles: None,
            hca_objects: None,
        };
        for (key, text) in words.filter_map(|word| word.split_once('=')) {
            match key {
                "hca_handle" => device.hca_handles = limit(text),
                "hca_object" => device.hca_objects = limit(text),
                _ => {}
            }
        }
        Some(device)
    };
    text.lines().filter_map(of_line).collect()
}

/// `/proc/PID/net/dev` (proc_pid_net(5)). A name is any bytes that a container has chosen; what
/// is not text in it is replaced.
#[must_use]
pub fn network_interfaces(bytes: &[u8]) -> Vec<NetworkInterface> {
    let lines = bytes.split(|byte| *byte == b'\n').skip(2);
    lines.filter_map(network_interface).collect()
}

fn network_interface(line: &[u8]) -> Option<NetworkInterface> {
    // After the name there are only blanks and digits.
    let colon = line.iter().rposition(|byte| *byte == b':')?;
    let (name, counters) = line.split_at(colon);
    let counters = numbers(std::str::from_utf8(&counters[1..]).ok()?);
    let &[
        rx_bytes,
        rx_packets,
        rx_errors,
        rx_dropped,
        _,
        _,
        _,
        _,
        tx_bytes,
        tx_packets,
        tx_errors,
        tx_dropped,
        ..,
    ] = counters.as_slice()
    else {
        return None;
    };
    Some(NetworkInterface {
        name: String::from_utf8_lossy(name.trim_ascii_start()).into_owned(),
        rx_bytes,
        rx_packets,
        rx_errors,
        rx_dropped,
        tx_bytes,
        tx_packets,
        tx_errors,
        tx_dropped,
    })
}

/// Digits and nothing else.
pub(super) fn number(text: &str) -> Option<u64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}
