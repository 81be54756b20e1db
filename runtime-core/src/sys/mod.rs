//! System calls that nix lacks, one function each: the only unsafe code of this crate.

pub(crate) mod bpf;
pub(crate) mod pidfd;
