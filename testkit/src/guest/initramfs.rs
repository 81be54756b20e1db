//! What a guest starts from: busybox, the kernel's modules, and the scripts of its first
//! process.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::cache::{Cache, Made};
use super::kernel::{Kernel, version};
use super::tool::{run, text, tool};
use super::{GuestError, failed};

const LIMIT: Duration = Duration::from_secs(120);

/// The first process: it finds the root file system.
const EARLY: &str = include_str!("early.sh");

/// The first process of the images without systemd.
const INIT: &str = include_str!("init.sh");

/// What runs the command, in every image.
const JOB: &str = include_str!("job.sh");

/// Modules that are there with those that they need, and loaded on demand. What a kernel has
/// built in, or lacks, is passed over.
const MODULES: &[&str] = &[
    // The machine.
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_console",
    "ext4",
    "autofs4",
    "binfmt_misc",
    // File systems and disks.
    "overlay",
    "fuse",
    "loop",
    "squashfs",
    "erofs",
    "null_blk",
    "bfq",
    // Networks.
    "veth",
    "bridge",
    "br_netfilter",
    "dummy",
    "macvlan",
    "ipvlan",
    "vxlan",
    "tun",
    // Firewalls, as engines and CRIU use them.
    "nf_tables",
    "nft_compat",
    "nft_chain_nat",
    "nft_ct",
    "nft_masq",
    "nft_nat",
    "nft_limit",
    "nft_reject_inet",
    "nf_conntrack",
    "nf_conntrack_netlink",
    "nfnetlink_log",
    "xt_MASQUERADE",
    "xt_conntrack",
    "xt_comment",
    "xt_addrtype",
    "xt_mark",
    "ip_tables",
    "ip6_tables",
    "iptable_nat",
    "iptable_filter",
    "ip6table_filter",
    // Sockets as CRIU asks for them.
    "netlink_diag",
    "unix_diag",
    "inet_diag",
    "tcp_diag",
    "udp_diag",
    "raw_diag",
    "af_packet_diag",
    "xfrm_user",
];

/// The archive `initramfs` for a kernel.
pub(super) fn made(cache: &Cache, kernel: Kernel, unpacked: &Path) -> Result<Made, GuestError> {
    let name = format!("initramfs-{}", kernel.name());
    let inputs = inputs(unpacked)?;
    cache.made(&name, &inputs, |directory| {
        let root = directory.join("root");
        lay_out(&root)?;
        copy_modules(unpacked, &root)?;
        let archive = directory.join("initramfs");
        let script = "cd \"$1\" && find . | cpio -o -H newc --quiet -R 0:0 > \"$2\"";
        let mut cpio = tool("sh", &["-c", script, "sh", text(&root)?, text(&archive)?]);
        run(&mut cpio, LIMIT)?;
        fs::remove_dir_all(&root).map_err(failed("remove", &root))
    })
}

fn inputs(unpacked: &Path) -> Result<String, GuestError> {
    let version = version(unpacked)?;
    let busybox = Path::new("/bin/busybox");
    let busybox = busybox
        .metadata()
        .map_err(failed("find (the package busybox-static has it)", busybox))?;
    let time = busybox.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let size = busybox.len();
    Ok(format!(
        "1 {version} busybox {size} {time:?} {MODULES:?}\n{EARLY}{INIT}{JOB}"
    ))
}

fn lay_out(root: &Path) -> Result<(), GuestError> {
    let directories = [
        "bin", "sbin", "usr/bin", "usr/sbin", "etc", "root", "proc", "sys", "dev", "run", "tmp",
        "mnt", "var", "new",
    ];
    for name in directories {
        let path = root.join(name);
        fs::create_dir_all(&path).map_err(failed("make", &path))?;
    }
    let busybox = root.join("bin/busybox");
    fs::copy("/bin/busybox", &busybox).map_err(failed("copy busybox to", &busybox))?;
    for applet in crate::bundle::applets() {
        let link = root.join("bin").join(applet);
        if applet != "busybox" {
            symlink("busybox", &link).map_err(failed("link", &link))?;
        }
    }
    // Where the kernel looks for it.
    let modprobe = root.join("sbin/modprobe");
    symlink("../bin/busybox", &modprobe).map_err(failed("link", &modprobe))?;
    write(
        root,
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
        0o644,
    )?;
    write(root, "etc/group", "root:x:0:\nnogroup:x:65534:\n", 0o644)?;
    write(root, "init", EARLY, 0o755)?;
    write(root, "usr/sbin/guest-init", INIT, 0o755)?;
    write(root, "usr/sbin/guest-job", JOB, 0o755)
}

fn write(root: &Path, name: &str, content: &str, mode: u32) -> Result<(), GuestError> {
    let path = root.join(name);
    fs::write(&path, content).map_err(failed("write", &path))?;
    fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(failed("chmod", &path))
}

/// Copies the modules that the kernel has of [`MODULES`], unpacked and without debugging
/// symbols: busybox reads them so.
fn copy_modules(unpacked: &Path, root: &Path) -> Result<(), GuestError> {
    let version = version(unpacked)?;
    let directory = format!("lib/modules/{version}");
    for module in needed_modules(text(unpacked)?, &version)? {
        let Some((_, below)) = module.split_once(&format!("{directory}/")) else {
            continue;
        };
        let copy = root.join(&directory).join(below);
        let parent = copy.parent().unwrap_or(root);
        fs::create_dir_all(parent).map_err(failed("make", parent))?;
        fs::copy(&module, &copy).map_err(failed("copy to", &copy))?;
    }
    for name in [
        "modules.builtin",
        "modules.builtin.modinfo",
        "modules.order",
    ] {
        let copy = root.join(&directory).join(name);
        fs::copy(unpacked.join(&directory).join(name), &copy).map_err(failed("copy to", &copy))?;
    }
    let script = "cd \"$1\" && find . -name '*.xz' -exec xz -d {} + \
                  && find . -name '*.ko' -exec strip --strip-debug {} +";
    let modules = root.join(&directory);
    run(
        &mut tool("sh", &["-c", script, "sh", text(&modules)?]),
        LIMIT,
    )?;
    run(&mut tool("depmod", &["-b", text(root)?, &version]), LIMIT).map(drop)
}

/// The files of [`MODULES`] and of what they depend on.
fn needed_modules(unpacked: &str, version: &str) -> Result<Vec<String>, GuestError> {
    let mut files = Vec::new();
    for module in MODULES {
        let show = ["-d", unpacked, "-S", version, "--show-depends", module];
        let Ok(shown) = run(&mut tool("modprobe", &show), LIMIT) else {
            continue;
        };
        let paths = shown
            .lines()
            .filter_map(|line| line.strip_prefix("insmod "));
        files.extend(paths.filter_map(|path| path.split(' ').next().map(str::to_owned)));
    }
    files.sort_unstable();
    files.dedup();
    if files.is_empty() {
        return Err(GuestError(format!(
            "modprobe finds no module of Linux {version} below {unpacked}"
        )));
    }
    Ok(files)
}
