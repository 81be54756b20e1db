//! An ordinary user's images and containers.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use testkit::{Finished, finish, needs};

use self::place::{DEADLINE, Place, tare};

mod place;

const LIMIT: Duration = Duration::from_secs(60);

/// A user account with subordinate ids, which is removed again.
struct Account {
    name: String,
    place: Place,
}

impl Account {
    fn new(topic: &str) -> Self {
        let place = Place::new(topic);
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(place.directory.path(), open).expect("it is ours");
        let name = format!("ti{}{topic}", std::process::id());
        let home = place.path("home");
        let mut add = Command::new("useradd");
        add.args(["--create-home", "--home-dir"])
            .arg(&home)
            .arg(&name);
        finish(&mut add, LIMIT).succeeded();
        let account = Self { name, place };
        for (program, copy) in [
            (
                PathBuf::from(env!("CARGO_BIN_EXE_tare-image")),
                "tare-image",
            ),
            (tare().to_owned(), "tare"),
        ] {
            fs::copy(program, account.place.path(copy)).expect("a program can be copied");
        }
        let run = account.place.path("run");
        fs::create_dir(&run).expect("it is ours");
        let mut chown = Command::new("chown");
        finish(chown.arg(&account.name).arg(&run), LIMIT).succeeded();
        account
    }

    /// `tare-image WORDS` as the user.
    fn image(&self, words: &[&str]) -> Finished {
        finish(&mut self.command(words), DEADLINE)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args([
                "--reuid",
                &self.name,
                "--regid",
                &self.name,
                "--init-groups",
                "--",
            ])
            .arg(self.place.path("tare-image"))
            .arg("--quiet")
            .args(words)
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", self.place.path("home"))
            .env("XDG_RUNTIME_DIR", self.place.path("run"))
            .current_dir("/");
        command
    }

    fn finish(self) {
        finish(Command::new("userdel").arg(&self.name), LIMIT).succeeded();
        self.place.finish();
    }
}

#[test]
fn a_users_images_are_in_the_users_home_with_all_their_owners() {
    needs!(
        Root,
        UserNamespaces,
        Program("useradd"),
        Program("setpriv"),
        Program("newuidmap")
    );
    let account = Account::new("imguser");
    // A file that isn't root's, and a set-user-id program.
    let tree = account.place.path("tree");
    fs::create_dir_all(tree.join("bin")).expect("it is ours");
    fs::copy("/bin/busybox", tree.join("bin/busybox")).expect("busybox is there");
    fs::copy("/bin/busybox", tree.join("bin/other")).expect("busybox is there");
    std::os::unix::fs::chown(tree.join("bin/other"), Some(7), Some(8)).expect("root can");
    let mode = fs::Permissions::from_mode(0o4755);
    fs::set_permissions(tree.join("bin/other"), mode).expect("root can");
    let archive = account.place.path("tree.tar");
    place::pack(&tree, &archive);
    let text = archive.display().to_string();
    account.image(&["import", &text, "b"]).succeeded();
    let home = account.place.path("home/.local/share/tare/image");
    assert!(home.join("index.json").exists());

    let words = [
        "run",
        "--name",
        &account.place.id(),
        "b",
        "/bin/busybox",
        "sh",
        "-c",
    ];
    let script = "/bin/busybox stat -c '%u %g %a' /bin/other; /bin/busybox id -u; \
                  echo x > /new && /bin/busybox cat /new; /bin/busybox rm /bin/other && echo gone";
    let finished = account.image(&[&words[..], &[script]].concat());
    assert_eq!(finished.stdout, "7 8 4755\n0\nx\ngone\n", "{finished}");
    // Where nobody has logged in, there is no directory of a session.
    let mut without_session = account.command(&["run", "b", "/bin/busybox", "echo", "still"]);
    let finished = finish(without_session.env_remove("XDG_RUNTIME_DIR"), DEADLINE);
    assert_eq!(finished.success().stdout, "still\n");
    let mut detached = account.command(&["run", "--detach", "b", "/bin/busybox"]);
    let finished = finish(detached.env_remove("XDG_RUNTIME_DIR"), DEADLINE);
    assert!(
        finished.stderr.contains("XDG_RUNTIME_DIR is not set"),
        "{finished}"
    );
    // On the host no file of it is root's, and none lets anyone become somebody of the host.
    let mut open = vec![home.clone()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("root can").flatten() {
            let metadata = entry.metadata().expect("root can");
            assert_ne!(metadata.uid(), 0, "{}", entry.path().display());
            if metadata.is_dir() {
                open.push(entry.path());
            }
        }
    }
    let finished = account.image(&["mount", "b"]);
    assert!(
        finished.stderr.contains("can't mount for other processes"),
        "{finished}"
    );
    let said = account.image(&["remove", "b"]).success().stdout;
    assert!(said.contains("untagged b:latest"), "{said}");
    let layers = fs::read_dir(home.join("snapshots/layers"))
        .expect("it is there")
        .count();
    assert_eq!(layers, 0);
    account.finish();
}

#[test]
fn a_user_without_subordinate_ids_is_told_what_is_missing() {
    needs!(Root, UserNamespaces, Program("useradd"), Program("setpriv"));
    let account = Account::new("imgnosub");
    let mut usermod = Command::new("usermod");
    let range = fs::read_to_string("/etc/subuid").expect("useradd has written it");
    let line = range
        .lines()
        .find(|line| line.starts_with(&format!("{}:", account.name)));
    let mut fields = line.expect("useradd gives some").split(':').skip(1);
    let first: u32 = fields.next().expect("a number").parse().expect("a number");
    let count: u32 = fields.next().expect("a number").parse().expect("a number");
    let whole = format!("{first}-{}", first + count - 1);
    usermod.args([
        "--del-subuids",
        &whole,
        "--del-subgids",
        &whole,
        &account.name,
    ]);
    finish(&mut usermod, LIMIT).succeeded();
    let finished = account.image(&["prune"]);
    assert_eq!(
        (finished.code, finished.stderr.lines().count()),
        (1, 1),
        "{finished}"
    );
    assert!(
        finished.stderr.contains("/etc/subuid has no ids"),
        "{finished}"
    );
    account.finish();
}
