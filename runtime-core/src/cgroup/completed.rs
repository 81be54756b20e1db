//! Limits together with what they depend on, for a reader who does not know what holds.

use nix::errno::Errno;

use super::{Cgroup, CgroupError, Member, Version, v2};
use crate::plan::cgroup::{Cpu, Limit, Memory, Resources, Setting};

impl Cgroup {
    /// The limits, which have been set, and with them those that the kernel keeps in the same
    /// file or counts together: a period has its quota, and swap the memory beside it.
    ///
    /// # Errors
    ///
    /// [`CgroupError::Call`] and [`CgroupError::Content`] when a file does not tell.
    pub(crate) fn completed(&self, resources: &Resources) -> Result<Resources, CgroupError> {
        let mut all = resources.clone();
        if let Some(member) = self.of_controller("cpu") {
            complete_quota(member, &mut all.cpu)?;
            if all.cpu.idle == Some(false) && member.version == Version::V2 {
                // What it has now that it is awake.
                let file = "cpu.weight".to_owned();
                let value = member.directory.read(&file)?.trim_end().to_owned();
                all.unified.insert(0, Setting { file, value });
            }
        }
        if let Some(member) = self.of_controller("memory") {
            complete_memory(member, &mut all.memory)?;
        }
        Ok(all)
    }
}

fn complete_quota(member: &Member, cpu: &mut Cpu) -> Result<(), CgroupError> {
    if cpu.quota_us.is_none() && cpu.period_us.is_none() {
        return Ok(());
    }
    let (file, content) = match member.version {
        Version::V2 => ("cpu.max", member.directory.read("cpu.max")?),
        Version::V1 => {
            let quota = member.directory.read("cpu.cfs_quota_us")?;
            let period = member.directory.read("cpu.cfs_period_us")?;
            let quota = quota.trim_end().replace("-1", "max");
            ("cpu.cfs_quota_us", format!("{quota} {period}"))
        }
    };
    let mut words = content.split_whitespace();
    let quota = words.next().and_then(v2::limit);
    let period = words.next().and_then(|word| word.parse().ok());
    let (Some(quota), Some(period)) = (quota, period) else {
        return Err(CgroupError::Content {
            path: member.directory.path().join(file),
            content: content.clone(),
        });
    };
    (cpu.quota_us, cpu.period_us) = (Some(quota), Some(period));
    Ok(())
}

/// cgroup v1 counts swap as the specification does.
fn complete_memory(member: &Member, memory: &mut Memory) -> Result<(), CgroupError> {
    let (Version::V2, None, Some(Limit::At(_))) = (
        member.version,
        memory.limit_bytes,
        memory.memory_and_swap_bytes,
    ) else {
        return Ok(());
    };
    match member.directory.try_read("memory.max") {
        Ok(content) => memory.limit_bytes = v2::limit(&content),
        Err(Errno::ENOENT) => {}
        Err(source) => {
            return Err(CgroupError::Call {
                call: "read",
                path: member.directory.path().join("memory.max"),
                source,
            });
        }
    }
    Ok(())
}
