//! Everything that config.json may ask for, on the real kernel: each effect is looked at from
//! inside of the container and, where it can be seen, from outside, and after every container
//! nothing of it may be left. One module for each part of config.json.

mod apparmor;
mod capabilities;
mod container;
mod devices;
mod differential;
mod hooks;
mod idmap;
mod mount_words;
mod mountinfo;
mod mounts;
mod names;
mod namespaces;
mod net_devices;
mod paths;
mod process;
mod resources;
mod resources_v2;
mod scheduling;
mod seccomp;
mod seccomp_notify;
mod sysctl;
mod terminal;
