//! Who the process is: user, groups, capabilities, owner of its standard streams.

use crate::failure::At;
use crate::interpreter::Init;
use crate::program::{Call, CapabilityMasks, Failure, RawFd};
use crate::sys::{self, Errno};

impl Init<'_> {
    /// Becomes user and group 0 of the user namespace.
    pub(crate) fn become_root(&mut self, set_groups: bool) -> Result<(), Failure> {
        sys::setresgid(0).at(Call::Setgid)?;
        if set_groups {
            sys::setgroups(&[]).at(Call::Setgroups)?;
        }
        sys::setresuid(0).at(Call::Setuid)
    }

    pub(crate) fn set_groups(&mut self, groups: &[u32]) -> Result<(), Failure> {
        sys::setgroups(groups).at(Call::Setgroups)
    }

    /// Takes the ids and keeps the permitted capabilities, which a step to come reduces.
    pub(crate) fn become_user(&mut self, uid: u32, gid: u32) -> Result<(), Failure> {
        sys::prctl(libc::PR_SET_KEEPCAPS, 1, 0).at(Call::Prctl)?;
        sys::setresgid(gid).at(Call::Setgid)?;
        sys::setresuid(uid).at(Call::Setuid)?;
        sys::prctl(libc::PR_SET_KEEPCAPS, 0, 0)
            .at(Call::Prctl)
            .map(drop)
    }

    /// Drops what is not in `mask` from the bounding set, up to the last that the kernel knows.
    pub(crate) fn limit_capabilities(&mut self, mask: u64) -> Result<(), Failure> {
        for capability in 0..64_usize {
            if mask >> capability & 1 == 1 {
                continue;
            }
            match sys::prctl(libc::PR_CAPBSET_DROP, capability, 0) {
                Ok(_) => {}
                Err(Errno(libc::EINVAL)) => break,
                // Without CAP_SETPCAP only what is there can't be dropped.
                Err(errno) => match sys::prctl(libc::PR_CAPBSET_READ, capability, 0) {
                    Ok(0) => {}
                    _ => return Err(errno).at(Call::CapBsetDrop),
                },
            }
        }
        Ok(())
    }

    pub(crate) fn set_capabilities(&mut self, masks: &CapabilityMasks) -> Result<(), Failure> {
        sys::capset(masks).at(Call::Capset)?;
        let ambient = |act: i32, capability: usize| {
            sys::prctl(
                libc::PR_CAP_AMBIENT,
                usize::try_from(act).unwrap_or_default(),
                capability,
            )
            .at(Call::CapAmbient)
        };
        ambient(libc::PR_CAP_AMBIENT_CLEAR_ALL, 0)?;
        (0..64)
            .filter(|capability| masks.ambient >> capability & 1 == 1)
            .try_for_each(|capability| ambient(libc::PR_CAP_AMBIENT_RAISE, capability).map(drop))
    }

    /// Gives the standard streams to the user, so that it can open `/dev/stdout` and the like.
    ///
    /// Not `/dev/null`, which everyone shares; and where the kernel refuses (a read-only
    /// filesystem, an owner that the user namespace has no id for) the stream stays as it is.
    pub(crate) fn own_stdio(&mut self, uid: u32) -> Result<(), Failure> {
        (0..3).try_for_each(|stream| own_stream(stream, uid))
    }
}

fn own_stream(stream: RawFd, uid: u32) -> Result<(), Failure> {
    let status = match sys::fstat(stream) {
        Err(Errno(libc::EBADF)) => return Ok(()),
        status => status.at(Call::Fstat)?,
    };
    if status.uid == uid || status.is_device(libc::S_IFCHR, 1, 3) {
        return Ok(());
    }
    match sys::chown(stream, uid, u32::MAX) {
        Err(Errno(libc::EINVAL | libc::EPERM | libc::EROFS)) => Ok(()),
        done => done.at(Call::Fchown),
    }
}
