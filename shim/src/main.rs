//! `containerd-shim-tare-v1`.

fn main() {}
