//! The kernel's own cgroups, on this host.
