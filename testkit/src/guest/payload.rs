//! Files that go into a guest and come out of it: tar archives on disks without a file system.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::tool::{run, text, tool};
use super::{Builder, GuestError, Image, failed};

const LIMIT: Duration = Duration::from_secs(120);

/// Room for what comes out; the file is sparse.
const OUTPUT_BYTES: u64 = 1 << 30;

/// `./as-user COMMAND...`: runs it as the user `guest`, as a service of the user's own systemd, so
/// that it is in a cgroup that belongs to the user. Of the environment it gets what tests need.
const AS_USER: &str = "\
#!/bin/sh
chmod -R a+rX /guest/in
exec setpriv --reuid guest --regid guest --init-groups env HOME=/home/guest USER=guest \\
    XDG_RUNTIME_DIR=/run/user/1000 DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus \\
    systemd-run --user --quiet --collect --wait --pipe --working-directory=/guest/in \\
    --property=Delegate=yes --setenv=PATH --setenv=HOME --setenv=USER --setenv=XDG_RUNTIME_DIR \\
    --setenv=DBUS_SESSION_BUS_ADDRESS --setenv=TARE_GUEST --setenv=TARE_UNDER_TEST \\
    --setenv=REQUIRE_KERNEL --setenv=INSTA_UPDATE \"$@\"
";

/// Writes the archive with the command and the files.
pub(super) fn pack(builder: &Builder, archive: &Path) -> Result<(), GuestError> {
    let directory = temporary(archive)?;
    let directory = directory.path();
    let open = Permissions::from_mode(0o755);
    fs::set_permissions(directory, open).map_err(failed("chmod", directory))?;
    let command = format!("#!/bin/sh\n{}\n", builder.command);
    if builder.image == Image::Systemd {
        script(directory, "as-user", AS_USER)?;
    }
    if builder.as_user {
        script(directory, "users-command", &command)?;
        script(
            directory,
            "command",
            "#!/bin/sh\nexec ./as-user ./users-command\n",
        )?;
    } else {
        script(directory, "command", &command)?;
    }
    for (name, path) in &builder.files {
        let link = directory.join(name);
        let parent = link.parent().unwrap_or(directory);
        fs::create_dir_all(parent).map_err(failed("make", parent))?;
        let target = path.canonicalize().map_err(failed("find", path))?;
        symlink(&target, &link).map_err(failed("link", &link))?;
    }
    let mut tar = tool("tar", &["--create", "--dereference", "--numeric-owner"]);
    tar.args(["--owner=0", "--group=0", "--file", text(archive)?]);
    run(tar.args(["--directory", text(directory)?, "."]), LIMIT).map(drop)
}

fn script(directory: &Path, name: &str, content: &str) -> Result<(), GuestError> {
    let path = directory.join(name);
    fs::write(&path, content).map_err(failed("write", &path))?;
    fs::set_permissions(&path, Permissions::from_mode(0o755)).map_err(failed("chmod", &path))
}

/// Makes the empty disk that output is packed onto.
pub(super) fn make_output_disk(path: &Path) -> Result<(), GuestError> {
    let file = File::create(path).map_err(failed("make", path))?;
    file.set_len(OUTPUT_BYTES).map_err(failed("enlarge", path))
}

/// Unpacks what came out.
pub(super) fn unpack(disk: &Path) -> Result<TempDir, GuestError> {
    let directory = tempfile::Builder::new().prefix("tt-guest-").tempdir();
    let directory = directory.map_err(failed("make a temporary directory for", disk))?;
    let mut tar = tool("tar", &["--extract", "--no-same-owner"]);
    tar.args([
        "--file",
        text(disk)?,
        "--directory",
        text(directory.path())?,
    ]);
    run(&mut tar, LIMIT)?;
    Ok(directory)
}

fn temporary(beside: &Path) -> Result<TempDir, GuestError> {
    let parent = beside.parent().unwrap_or(beside);
    TempDir::new_in(parent).map_err(failed("make a temporary directory in", parent))
}
