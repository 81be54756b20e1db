//! R01: the runtime's binary is out of every container's reach.

use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::PathBuf;

use serde_json::json;

use super::{Area, attacks, exec, text, with_capabilities};
use crate::bundle::{Bundle, PROBE};
use crate::case::{Case, Trouble, Verdict, equal, failed, holds};
use crate::runtime::Runtime;
use crate::scene::Scene;

const AREA: Area = Area("binary");
const ORIGIN: &str = "CVE-2019-5736";

/// What a container that is nearly the host may do; ptrace among it.
const PRIVILEGED: [&str; 6] = [
    "CAP_SYS_PTRACE",
    "CAP_SYS_ADMIN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_KILL",
    "CAP_FOWNER",
];

pub(super) fn cases() -> Vec<Case> {
    vec![
        AREA.case("binary-of-who-enters", "R01", "A program that a container got hold of through /proc/PID/exe while it was entered can't be written to.", ORIGIN, |scene, _| {
            let copy = Copied::new(scene);
            let bundle = attacks::start(scene, lured(with_capabilities(scene.bundle(), &PRIVILEGED)), &["exe"])?;
            for _ in 0..if scene.stage().is_long { 200 } else { 15 } {
                for program in [&[PROBE, "inside", "exit", "0"][..], &["/script"], &["/link", "list"]] {
                    // What they do is theirs; that the binary stays what it is is the point.
                    drop(copy.runtime.call(&[&["exec", bundle.id()], program].concat()));
                }
            }
            attacks::was_in_vain(&attacks::stop(scene, &bundle)?)?;
            copy.is_as_it_was()
        }),
        AREA.case("binary-as-entry", "R01", "An entry point that is /proc/self/exe changes nothing of the runtime.", ORIGIN, |scene, _| {
            let copy = Copied::new(scene);
            for args in [json!(["/proc/self/exe", "--version"]), json!(["/script"]), json!(["/link", "list"])] {
                let bundle = lured(with_capabilities(scene.bundle(), &PRIVILEGED)).set("/process/args", args);
                bundle.save();
                for _ in 0..if scene.stage().is_long { 50 } else { 3 } {
                    let run = ["run", "--bundle", &text(bundle.path()), bundle.id()];
                    drop(copy.runtime.call(&run));
                    drop(copy.runtime.call(&["delete", "--force", bundle.id()]));
                }
            }
            copy.is_as_it_was()
        }),
        AREA.case("binary-of-a-waiting-init", "R01", "What an init that waits for start executes can't be written to, not even by the host's root and not when init is gone.", ORIGIN, |scene, _| {
            let copy = Copied::new(scene);
            let bundle = scene.bundle();
            bundle.save();
            let created = created_by(scene, &copy, &bundle)?;
            let held = hold(&format!("/proc/{created}/exe"))?;
            can_not_be_written(&held)?;
            drop(copy.runtime.call(&["delete", "--force", bundle.id()]));
            can_not_be_written(&held)?;
            copy.is_as_it_was()
        }),
        AREA.case("binary-without-a-pid-namespace", "R01", "In the host's pid namespace, too, a container without CAP_SYS_PTRACE gets no hold of who enters it.", ORIGIN, |scene, _| {
            let copy = Copied::new(scene);
            let bundle = super::without_namespace(scene.bundle(), "pid");
            let bundle = attacks::start(scene, bundle, &["undumpable-of", &copy.name()])?;
            for _ in 0..if scene.stage().is_long { 200 } else { 15 } {
                drop(copy.runtime.call(&["exec", bundle.id(), PROBE, "inside", "exit", "0"]));
            }
            drop(exec(scene, &[], &bundle, &["exit", "0"]));
            attacks::was_in_vain(&attacks::stop(scene, &bundle)?)?;
            copy.is_as_it_was()
        }),
    ]
}

/// A copy of the runtime that may be lost, with the scene's state root.
struct Copied {
    path: PathBuf,
    runtime: Runtime,
    bytes: Vec<u8>,
}

impl Copied {
    fn new(scene: &Scene<'_>) -> Self {
        let path = scene.directory().join("runtime-copy");
        std::fs::copy(scene.runtime().path(), &path).expect("the runtime can be copied");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
            .expect("a mode can be set");
        let bytes = std::fs::read(&path).expect("it can be read");
        let runtime = scene.runtime().at(&path);
        Self {
            path,
            runtime,
            bytes,
        }
    }

    fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    fn is_as_it_was(&self) -> Verdict {
        let now = std::fs::read(&self.path).unwrap_or_default();
        holds(
            now == self.bytes,
            "the runtime's binary as it was",
            "other bytes",
        )?;
        let mode =
            std::fs::metadata(&self.path).map(|metadata| metadata.permissions().mode() & 0o7777);
        equal("its mode", &mode.ok(), &Some(0o755))
    }
}

/// The same with programs that are the runtime's, as far as the kernel is asked.
fn lured(bundle: Bundle) -> Bundle {
    let script = bundle.rootfs().join("script");
    std::fs::write(&script, "#!/proc/self/exe\n").expect("a file can be written");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))
        .expect("a mode can be set");
    symlink("/proc/self/exe", bundle.rootfs().join("link")).expect("a link can be made");
    bundle
}

fn created_by(scene: &Scene<'_>, copy: &Copied, bundle: &Bundle) -> Result<i32, Trouble> {
    let path = text(bundle.path());
    let words = ["create", "--bundle", &path, bundle.id()];
    let finished = scene.detached_as(copy.runtime.command(&words), &words);
    equal("exit status of create", &finished.code, &0)?;
    Ok(scene.runtime().pid(bundle.id()))
}

fn hold(path: &str) -> Result<std::fs::File, Trouble> {
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path);
    opened.or_else(|error| failed("init executes something", format!("{path}: {error}")))
}

/// Its first byte can't be written over itself.
fn can_not_be_written(file: &std::fs::File) -> Verdict {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::FileExt;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut byte = [0];
    let read = std::fs::File::open(&path).and_then(|file| file.read_at(&mut byte, 0));
    holds(read.is_ok(), "a file that can be read", &read)?;
    let written = std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|file| file.write_at(&byte, 0));
    holds(written.is_err(), "a file that can't be written to", written)
}
