//! The program `conformance`, for tests that run it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The program as it is used: static, since it runs in root filesystems that have nothing else.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("static");
        let status = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--package",
                "conformance",
                "--target",
                &target,
            ])
            .arg("--target-dir")
            .arg(&directory)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "the static program can't be built: rustup target add {target}"
        );
        directory.join(target).join("debug/conformance")
    })
}
