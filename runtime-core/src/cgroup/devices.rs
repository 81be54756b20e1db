//! Device rules: v1's `devices` files, or a program on the cgroup2 directory.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;

use super::directory::Directory;
use super::error::{CgroupError, Hint};
use super::{Cgroup, Member, Version};
use crate::plan::cgroup::{DeviceRules, device_program};
use crate::sys::bpf;

/// The name of our programs, by which they are found again; 15 bytes at most.
const PROGRAM_NAME: &str = "tare_devices";

/// Room for what the kernel's verifier says, asked for only after a refusal.
const LOG_SIZE: usize = 64 * 1024;

impl Cgroup {
    /// Sets which devices may be used, in the place of what was set before.
    pub(super) fn apply_devices(&self, rules: &DeviceRules) -> Result<(), CgroupError> {
        let member = self.of_needed_controller("devices")?;
        match member.version {
            Version::V1 => member.list_devices(rules),
            Version::V2 => member.attach_devices(rules),
        }
    }
}

impl Member {
    fn list_devices(&self, rules: &DeviceRules) -> Result<(), CgroupError> {
        let list = rules.list().map_err(|_| CgroupError::Devices {
            path: self.directory.path().to_owned(),
            call: "a rule takes away a part of another, which cgroup v1 can't express",
            log: String::new(),
            source: Errno::EINVAL,
        })?;
        let (all, other) = match list.default_allow {
            true => ("devices.allow", "devices.deny"),
            false => ("devices.deny", "devices.allow"),
        };
        write_rule(&self.directory, all, "a")?;
        for exception in &list.exceptions {
            write_rule(&self.directory, other, &exception.to_string())?;
        }
        Ok(())
    }

    /// Loads the program and puts it in the place of our former one in a single step, so that
    /// at no moment other rules hold.
    fn attach_devices(&self, rules: &DeviceRules) -> Result<(), CgroupError> {
        let program = self.load_program(rules)?;
        let failed = |call| move |source| self.devices_error(call, String::new(), source);
        let cgroup = self.directory.as_fd();
        let former = self
            .former_programs()
            .map_err(failed("look for former programs"))?;
        let replaced = former.first().map(AsFd::as_fd);
        bpf::attach_device_program(cgroup, program.as_fd(), replaced)
            .map_err(failed("attach the program"))?;
        for program in former.iter().skip(1) {
            bpf::detach_device_program(cgroup, program.as_fd())
                .map_err(failed("detach a former program"))?;
        }
        Ok(())
    }

    fn load_program(&self, rules: &DeviceRules) -> Result<OwnedFd, CgroupError> {
        let program = device_program::assemble(rules);
        let source = match bpf::load_device_program(&program, PROGRAM_NAME, &mut []) {
            Ok(program) => return Ok(program),
            Err(source) => source,
        };
        let mut log = vec![0; LOG_SIZE];
        let log = match bpf::load_device_program(&program, PROGRAM_NAME, &mut log) {
            Ok(program) => return Ok(program),
            Err(_) => String::from_utf8_lossy(&log)
                .trim_matches(['\0', '\n'])
                .to_owned(),
        };
        Err(self.devices_error("load the program", log, source))
    }

    /// Programs that an earlier call has attached.
    fn former_programs(&self) -> Result<Vec<OwnedFd>, Errno> {
        if self.made {
            return Ok(Vec::new());
        }
        let mut ours = bpf::attached_device_programs(self.directory.as_fd())?;
        ours.retain(|program| {
            bpf::program_name(program.as_fd()).is_ok_and(|name| name == PROGRAM_NAME)
        });
        Ok(ours)
    }

    fn devices_error(&self, call: &'static str, log: String, source: Errno) -> CgroupError {
        CgroupError::Devices {
            path: self.directory.path().to_owned(),
            call,
            log,
            source,
        }
    }
}

fn write_rule(directory: &Directory, file: &str, rule: &str) -> Result<(), CgroupError> {
    directory.try_write(file, rule).map_err(|source| {
        let hint = match source {
            Errno::EPERM if file == "devices.allow" => {
                Hint::cause("the parent cgroup does not allow this device")
            }
            Errno::EINVAL if rule == "a" => Hint::cause("the cgroup has sub-cgroups already"),
            _ => Hint::None,
        };
        directory.refused(file, rule, hint, source)
    })
}
