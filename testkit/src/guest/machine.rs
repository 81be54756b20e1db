//! qemu: the machine, its serial line, and its end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::cache::Made;
use super::tool::{text, tool};
use super::{Builder, Ended, GuestError, Image, debian, failed, initramfs, kernel, payload};

/// How long a guest that has said its exit code may take to switch itself off.
const FAREWELL: Duration = Duration::from_secs(3);

/// The lines of the console that tell why a guest did not come to its end.
const LAST_LINES: usize = 40;

/// What a guest is made of; nothing of it is replaced while this lives.
#[derive(Debug)]
pub(super) struct Parts {
    kernel: Made,
    initramfs: Made,
    debian: Option<Made>,
}

/// Makes what is not made yet.
pub(super) fn parts(builder: &Builder) -> Result<Parts, GuestError> {
    let kernel = builder.kernel.made(&builder.cache)?;
    let initramfs = initramfs::made(&builder.cache, builder.kernel, kernel.path())?;
    let debian = match builder.image {
        Image::Busybox => None,
        Image::Debian | Image::Systemd => Some(debian::made(&builder.cache)?),
    };
    Ok(Parts {
        kernel,
        initramfs,
        debian,
    })
}

/// Boots, waits for the end, and fetches the output.
pub(super) fn run(builder: &Builder) -> Result<Ended, GuestError> {
    let parts = parts(builder)?;
    let scratch = scratch(builder)?;
    let file = |name: &str| scratch.path().join(name);
    payload::pack(builder, &file("in"))?;
    payload::make_output_disk(&file("out"))?;
    fs::write(file("console"), "").map_err(failed("write", &file("console")))?;

    let started = Instant::now();
    let mut qemu = qemu(builder, &parts, scratch.path())?;
    let child = qemu
        .spawn()
        .map_err(|error| GuestError(format!("qemu: {error}")))?;
    let mut machine = Machine {
        child,
        console: Console::of(file("console"), builder.watch),
    };
    let code = machine.wait(started, builder.limit)?;
    Ok(Ended {
        code,
        took: started.elapsed(),
        output: payload::unpack(&file("out"))?,
        console: std::mem::take(&mut machine.console.text),
    })
}

/// A directory for the disks of one boot, on the file system of the cache: it is large.
fn scratch(builder: &Builder) -> Result<TempDir, GuestError> {
    let directory = builder.cache.directory()?;
    let scratch = tempfile::Builder::new()
        .prefix("boot-")
        .tempdir_in(directory);
    scratch.map_err(failed("make a temporary directory in", directory))
}

fn qemu(builder: &Builder, parts: &Parts, scratch: &Path) -> Result<Command, GuestError> {
    // It ends with the thread that waits for it, however that ends.
    let mut qemu = tool("setpriv", &["--pdeathsig", "KILL", "qemu-system-x86_64"]);
    // A microvm hangs in one boot of ten.
    qemu.args(["-M", "pc", "-accel", "tcg"]);
    // Debian 12's qemu emulates cmpxchg16b with stale flags: kernels that allocate memory with
    // it die in one boot of three.
    qemu.args(["-cpu", "max,-cx16"]);
    qemu.args([
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-monitor",
        "none",
    ]);
    qemu.args(["-no-reboot", "-smp", &builder.processors.to_string()]);
    qemu.args(["-m", &builder.memory_mib.to_string()]);
    qemu.arg("-serial")
        .arg(format!("file:{}", text(&scratch.join("console"))?));
    qemu.arg("-kernel").arg(kernel::image(parts.kernel.path())?);
    qemu.arg("-initrd")
        .arg(parts.initramfs.path().join("initramfs"));
    let systemd = match builder.image {
        Image::Systemd => {
            "tare.init=systemd systemd.show_status=no systemd.journald.forward_to_console=no"
        }
        _ => "",
    };
    qemu.arg("-append").arg(format!(
        "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on {systemd}"
    ));
    disk(
        &mut qemu,
        "tare-in",
        &scratch.join("in"),
        "readonly=on,cache=unsafe",
    )?;
    disk(&mut qemu, "tare-out", &scratch.join("out"), "cache=unsafe")?;
    if let Some(debian) = &parts.debian {
        disk(
            &mut qemu,
            "tare-root",
            &debian.path().join("image"),
            "snapshot=on",
        )?;
    }
    // What snapshots keep goes there.
    qemu.env("TMPDIR", scratch);
    let log = scratch.join("qemu");
    let log = fs::File::create(&log).map_err(failed("make", &log))?;
    qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    Ok(qemu)
}

fn disk(qemu: &mut Command, serial: &str, path: &Path, options: &str) -> Result<(), GuestError> {
    let path = text(path)?.replace(',', ",,");
    qemu.arg("-drive").arg(format!(
        "id={serial},if=none,format=raw,file={path},{options}"
    ));
    qemu.arg("-device")
        .arg(format!("virtio-blk-pci,drive={serial},serial={serial}"));
    Ok(())
}

/// A running qemu; ended when dropped.
struct Machine {
    child: Child,
    console: Console,
}

impl Machine {
    /// Waits for the exit code on the serial line, and then for the power to go off.
    fn wait(&mut self, started: Instant, limit: Duration) -> Result<i32, GuestError> {
        loop {
            let has_ended = self.child.try_wait();
            let has_ended =
                has_ended.map_err(|error| GuestError(format!("wait for qemu: {error}")))?;
            self.console.read();
            if let Some(code) = self.console.exit_code() {
                self.see_off();
                return Ok(code);
            }
            if let Some(status) = has_ended {
                return Err(self.broken(&format!(
                    "qemu ended ({status}) before the guest's command did"
                )));
            }
            if started.elapsed() > limit {
                return Err(self.broken(&format!(
                    "the guest was not at its end after {} s, and was switched off",
                    limit.as_secs()
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What came out is complete by now; only the power is still on.
    fn see_off(&mut self) {
        let started = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && started.elapsed() < FAREWELL {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.console.read();
    }

    fn broken(&self, what: &str) -> GuestError {
        let log = self.console.path.with_file_name("qemu");
        let log = fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = self.console.text.lines().collect();
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        GuestError(format!(
            "{what}\n-- qemu\n{log}\n-- the last lines of the console\n{}",
            last.join("\n")
        ))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended already; a child that was not waited for keeps its pid.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The serial line, as a file that qemu writes.
struct Console {
    path: PathBuf,
    text: String,
    /// How much of the text was handed on.
    seen: usize,
    watch: fn(&str),
}

impl Console {
    fn of(path: PathBuf, watch: fn(&str)) -> Self {
        Self {
            path,
            text: String::new(),
            seen: 0,
            watch,
        }
    }

    /// Takes what is new, and hands complete lines on.
    fn read(&mut self) {
        let bytes = fs::read(&self.path).unwrap_or_default();
        self.text = String::from_utf8_lossy(&bytes).replace('\r', "");
        while let Some(end) = self.text[self.seen..].find('\n') {
            (self.watch)(&self.text[self.seen..self.seen + end]);
            self.seen += end + 1;
        }
    }

    /// What the job said last, if it has.
    fn exit_code(&self) -> Option<i32> {
        let line = self
            .text
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("@@EXIT rc="));
        line?.split(' ').next()?.parse().ok()
    }
}
