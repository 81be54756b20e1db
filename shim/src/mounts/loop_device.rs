//! `loop`: a filesystem in a file; with `direct-io`, past the host's page cache.

use std::fs::{File, OpenOptions};

use nix::errno::Errno;
use runtime_core::errno::{Words, of_io};
use runtime_core::mount::MountOptions;

use super::sys;
use crate::failure::Failure;

/// How often a free device may be taken by somebody else before it is ours.
const TRIES: usize = 100;

/// A loop device with a file behind it. Once it is mounted the mount keeps it; the kernel frees
/// it with the last of its users.
#[derive(Debug)]
pub(super) struct LoopDevice {
    path: String,
    /// Open, so that it lives until it is mounted.
    _device: File,
}

/// Takes the words out of the options, and gives `source` a device if it was there.
pub(super) fn take(
    options: &mut MountOptions<'_>,
    source: &str,
) -> Result<Option<LoopDevice>, Failure> {
    let before = options.data.len();
    options.data.retain(|(_, word)| *word != "loop");
    if options.data.len() == before {
        return Ok(None);
    }
    let with_loop = options.data.len();
    options.data.retain(|(_, word)| *word != "direct-io");
    let manner = sys::LoopManner {
        is_read_only: options.attributes.set & libc::MOUNT_ATTR_RDONLY != 0,
        is_direct: options.data.len() != with_loop,
    };
    LoopDevice::new(source, manner).map(Some)
}

impl LoopDevice {
    fn new(source: &str, manner: sys::LoopManner) -> Result<Self, Failure> {
        let open = |path: &str| {
            OpenOptions::new()
                .read(true)
                .write(!manner.is_read_only)
                .open(path)
                .map_err(|error| Failure::call(format_args!("open {path}"), of_io(&error)))
        };
        let file = open(source)?;
        let control = open("/dev/loop-control")?;
        for _ in 0..TRIES {
            let number = sys::free_loop_device(&control)
                .map_err(|errno| Failure::call("LOOP_CTL_GET_FREE on /dev/loop-control", errno))?;
            let path = format!("/dev/loop{number}");
            let device = open(&path)?;
            match sys::configure_loop_device(&device, &file, manner) {
                Ok(()) => {
                    return Ok(Self {
                        path,
                        _device: device,
                    });
                }
                Err(Errno::EBUSY) => {}
                Err(errno) => {
                    return Err(Failure::call(
                        format_args!("LOOP_CONFIGURE of {path} with {source}"),
                        errno,
                    ));
                }
            }
        }
        let text = format!(
            "no loop device is free after {TRIES} tries: {}",
            Words(Errno::EBUSY)
        );
        Err(Failure::unknown(text))
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }
}
