//! Which criu, and with which of containerd's options.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use runtime_core::checkpoint::{self, CgroupsMode};

use crate::failure::{Code, Failure};
use crate::options::{CheckpointOptions, Options};

/// The criu of a container's options, or of containerd's PATH.
#[derive(Clone, Debug)]
pub(super) struct Criu {
    program: Option<PathBuf>,
    image_path: PathBuf,
    work_path: PathBuf,
}

impl Criu {
    pub(super) fn new(options: &Options, environment: &[CString]) -> Self {
        let program = match options.criu_path.as_str() {
            "" => on_path(environment),
            path => Some(PathBuf::from(path)),
        };
        Self {
            program,
            image_path: PathBuf::from(&options.criu_image_path),
            work_path: PathBuf::from(&options.criu_work_path),
        }
    }

    fn program(&self) -> Result<&Path, Failure> {
        self.program.as_deref().ok_or_else(|| {
            let text = "criu is not on containerd's PATH: install it to checkpoint and restore";
            Failure::new(Code::UNIMPLEMENTED, text)
        })
    }

    /// Calls `dump` with the options of a checkpoint.
    pub(super) fn with_dump(
        &self,
        images: &Path,
        options: &CheckpointOptions,
        bundle: &Path,
        dump: impl FnOnce(&checkpoint::CheckpointOptions<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let work_path = work_path(options, bundle);
        let mut asked = checkpoint::CheckpointOptions::new(self.program()?, images);
        asked.work_path = Some(&work_path);
        asked.leave_running = !options.exit;
        asked.tcp_established = options.open_tcp;
        asked.ext_unix_sk = options.external_unix_sockets;
        asked.shell_job = options.terminal;
        asked.file_locks = options.file_locks;
        asked.cgroups_mode = cgroups_mode(&options.cgroups_mode)?;
        for namespace in &options.empty_namespaces {
            if namespace != "network" {
                let text = format!("empty_namespaces: {namespace:?}: only network can be left out");
                return Err(Failure::invalid(text));
            }
            asked.empty_network = true;
        }
        dump(&asked)
    }

    /// Where a restore finds what it needs.
    pub(super) fn restoring(&self, images: &Path, bundle: &Path) -> Result<Restoring, Failure> {
        let or = |given: &Path, other: PathBuf| match given.as_os_str().is_empty() {
            true => other,
            false => given.to_owned(),
        };
        Ok(Restoring {
            program: self.program()?.to_owned(),
            images: or(&self.image_path, images.to_owned()),
            work_path: or(&self.work_path, bundle.join("criu-work")),
        })
    }
}

/// The paths of one restore.
#[derive(Debug)]
pub(super) struct Restoring {
    program: PathBuf,
    images: PathBuf,
    work_path: PathBuf,
}

impl Restoring {
    /// What containerd asks of every restore.
    pub(super) fn options(&self) -> checkpoint::RestoreOptions<'_> {
        let mut options = checkpoint::RestoreOptions::new(&self.program, &self.images);
        options.work_path = Some(&self.work_path);
        options.tcp_established = true;
        options.ext_unix_sk = true;
        options.file_locks = true;
        options
    }
}

/// Puts criu's log where containerd's users look for it.
pub(super) fn keep_log(options: &CheckpointOptions, bundle: &Path, log: &Path) {
    // The failure that it explains is reported in any case.
    std::fs::copy(work_path(options, bundle).join("dump.log"), log).ok();
}

fn work_path(options: &CheckpointOptions, bundle: &Path) -> PathBuf {
    match options.work_path.as_str() {
        "" => bundle.join("criu-work"),
        path => PathBuf::from(path),
    }
}

fn cgroups_mode(word: &str) -> Result<CgroupsMode, Failure> {
    match word {
        "" | "soft" => Ok(CgroupsMode::Soft),
        "full" => Ok(CgroupsMode::Full),
        "strict" => Ok(CgroupsMode::Strict),
        "ignore" => Ok(CgroupsMode::Ignore),
        _ => {
            let text = format!("cgroups_mode: {word:?}: soft, full, strict or ignore");
            Err(Failure::invalid(text))
        }
    }
}

/// `criu` in the directories of the environment's PATH.
fn on_path(environment: &[CString]) -> Option<PathBuf> {
    let path = environment
        .iter()
        .find_map(|variable| variable.to_bytes().strip_prefix(b"PATH="))?;
    std::env::split_paths(std::ffi::OsStr::from_bytes(path))
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join("criu"))
        .find(|program| program.is_file())
}
