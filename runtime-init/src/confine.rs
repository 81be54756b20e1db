//! What confines the process: labels, no_new_privs, the seccomp filter, its personality, the CPUs
//! and the memory nodes that it uses.

use core::ffi::CStr;

use libc::sock_filter;

use crate::failure::{At, refuse};
use crate::interpreter::Init;
use crate::namespaces::write_whole;
use crate::paths;
use crate::program::{Call, Failure, Phase};
use crate::sys;

impl Init<'_> {
    /// Opens `self/attr/<file>` of the verified procfs, so that no path of the container's can
    /// stand in for it.
    pub(crate) fn open_label(&mut self, file: &CStr) -> Result<(), Failure> {
        let path = paths::Path::of(&[b"self/attr/", file.to_bytes()]).at(Call::Open)?;
        let file = paths::open_in_proc(self.proc, path.as_c_str(), libc::O_WRONLY);
        self.label = Some(file.at(Call::Open)?);
        Ok(())
    }

    pub(crate) fn write_label(&mut self, label: &[u8]) -> Result<(), Failure> {
        match self.label.take() {
            Some(file) => write_whole(file.raw(), label),
            None => refuse(Call::Write, libc::EBADF),
        }
    }

    pub(crate) fn set_personality(&mut self, persona: u32) -> Result<(), Failure> {
        sys::personality(persona).at(Call::Personality)
    }

    pub(crate) fn set_affinity(&mut self, cpus: &[u64]) -> Result<(), Failure> {
        sys::set_affinity(cpus).at(Call::SchedSetaffinity)
    }

    pub(crate) fn set_memory_policy(&mut self, mode: u32, nodes: &[u64]) -> Result<(), Failure> {
        sys::set_memory_policy(mode, nodes).at(Call::SetMempolicy)
    }

    pub(crate) fn set_limit(&mut self, resource: u32, soft: u64, hard: u64) -> Result<(), Failure> {
        sys::set_limit(resource, soft, hard).at(Call::Prlimit)
    }

    pub(crate) fn give_up_new_privileges(&mut self) -> Result<(), Failure> {
        sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0)
            .at(Call::Prctl)
            .map(drop)
    }

    pub(crate) fn load_filter(
        &mut self,
        program: &[sock_filter],
        flags: u32,
    ) -> Result<(), Failure> {
        sys::seccomp(program, flags).at(Call::Seccomp).map(drop)
    }

    /// Loads a filter that asks somebody, and gives the descriptor for that to the parent.
    pub(crate) fn load_filter_to_ask(
        &mut self,
        program: &[sock_filter],
        flags: u32,
    ) -> Result<(), Failure> {
        let listener = sys::seccomp_with_listener(program, flags).at(Call::Seccomp)?;
        self.tell_with(Phase::Filtered, &listener)
    }
}
