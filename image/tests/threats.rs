//! Images whose makers want the host: programs and libraries of the image that something on the
//! host might run, volumes that lead out of it, a container that changes files under a reader.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testkit::{TestBundle, finish, needs};

use self::place::{DEADLINE, Place};

mod place;

/// Imports what `change` makes of a root filesystem with busybox in it.
fn import(place: &Place, name: &str, instructions: &[&str], change: impl FnOnce(&Path)) {
    let bundle = TestBundle::busybox(&place.marker);
    change(&bundle.rootfs());
    let archive = place.path(&format!("{name}.tar"));
    place::pack(&bundle.rootfs(), &archive);
    let archive = archive.display().to_string();
    let mut words = vec!["import", &archive, name];
    for instruction in instructions {
        words.extend(["--change", instruction]);
    }
    place.must(&words);
}

/// What a careless host runs or loads from an image.
const PROGRAMS: [&str; 9] = [
    "bin/tar",
    "bin/gzip",
    "usr/bin/xz",
    "usr/bin/unpigz",
    "usr/bin/nsenter",
    "usr/bin/newuidmap",
    "usr/bin/docker-credential-x",
    "sbin/mount.overlay",
    "tare",
];
const LIBRARIES: [&str; 5] = [
    "lib64/ld-linux-x86-64.so.2",
    "lib/x86_64-linux-gnu/libnss_files.so.2",
    "lib/x86_64-linux-gnu/libnss_evil.so.2",
    "lib/x86_64-linux-gnu/libc.so.6",
    "usr/lib/libgcc_s.so.1",
];

fn plant(root: &Path, canary: &Path) {
    let script = format!("#!/bin/sh\necho ran \"$0\" >> {}\n", canary.display());
    for name in PROGRAMS.iter().chain(&LIBRARIES) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("one")).expect("made");
        fs::remove_file(&path).ok();
        fs::write(&path, &script).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
    }
    fs::write(
        root.join("etc/nsswitch.conf"),
        "passwd: evil\ngroup: evil\n",
    )
    .expect("written");
    let preload = "/lib/x86_64-linux-gnu/libnss_evil.so.2\n";
    fs::write(root.join("etc/ld.so.preload"), preload).expect("written");
}

/// Each line of strace's that is an execve, and each that opens what may be a library.
fn traced(place: &Place, words: &[&str], directory: &Path) -> (Vec<String>, Vec<String>) {
    let trace = place.path("trace");
    let inner = if words[0] == "run" {
        place.run_command(&words[1..])
    } else {
        place.command(words)
    };
    let mut strace = Command::new("strace");
    strace
        .args(["--follow-forks", "--decode-fds=path", "--string-limit=4096"])
        .args(["--trace=execve,execveat,open,openat,openat2", "--output"])
        .arg(&trace)
        .arg(inner.get_program())
        .args(inner.get_args())
        // Whoever looks for programs by PATH or here finds the image's.
        .current_dir(directory)
        .env("PATH", format!("/usr/bin:/bin:{}", directory.display()));
    finish(&mut strace, DEADLINE).succeeded();
    let text = fs::read_to_string(&trace).expect("traced");
    let lines = text.lines().filter(|line| !line.contains(" ENOENT "));
    let (mut executed, mut loaded) = (Vec::new(), Vec::new());
    for line in lines.map(str::to_owned) {
        if line.contains(" exec") {
            executed.push(line);
        } else if line.contains(".so") || line.contains("nsswitch") {
            loaded.push(line);
        }
    }
    (executed, loaded)
}

/// U12: nothing on the host's side executes or loads what an image brings along.
#[test]
fn no_program_and_no_library_of_an_image_is_used_on_the_host() {
    needs!(Root, Program("strace"));
    let place = Place::new("imghelpers");
    let canary = place.path("canary");
    import(&place, "evil", &["USER root"], |root| plant(root, &canary));
    let out = place.path("out");
    place.must(&["unpack", "evil", &out.display().to_string()]);
    let tar = place.path("exported.tar").display().to_string();
    let again = place.path("again").display().to_string();
    let loaded_again = place.path("evil.tar").display().to_string();
    let commands: [&[&str]; 6] = [
        &["import", &loaded_again, "second"],
        &["pull", "--help"],
        &["unpack", "evil", &again],
        &["export", "--output", &tar, "evil"],
        &["diff", "evil", "second"],
        &["run", "evil", "true"],
    ];
    let own = env!("CARGO_BIN_EXE_tare-image");
    let runtime = place::tare().display().to_string();
    for words in commands {
        let (executed, loaded) = traced(&place, words, &out);
        let is_ours = |line: &String| {
            line.contains(&format!("(\"{own}\"")) || line.contains(&format!("(\"{runtime}\""))
        };
        assert!(executed.iter().any(is_ours), "{words:?}: {executed:#?}");
        let others: Vec<_> = executed.iter().filter(|line| !is_ours(line)).collect();
        match words[0] {
            // The runtime's own binary once more, protected; and the container's program.
            "run" => {
                let program = others.iter().filter(|line| line.contains("[\"true\"]"));
                assert_eq!(program.count(), 1, "{executed:#?}");
                let rest = others.iter().filter(|line| !line.contains("[\"true\"]"));
                // From a mount of its own, with nothing that a name leads to.
                let again = format!(", \"\", [\"{runtime}\",");
                for line in rest {
                    assert!(
                        line.contains("execveat(") && line.contains(&again),
                        "{line}"
                    );
                }
            }
            _ => assert!(others.is_empty(), "{words:?}: {others:#?}"),
        }
        // This test's programs are linked dynamically: by the host's loader, from the host.
        for line in loaded {
            let is_hosts = line.contains("AT_FDCWD<")
                && (line.contains("\"/lib/") || line.contains("\"/etc/ld.so.cache\""))
                && !line.contains("libnss_");
            let is_read = ["import", "unpack", "export", "diff", "run"].contains(&words[0])
                && !line.contains("AT_FDCWD<")
                && (line.contains("O_PATH")
                    || line.contains("O_CREAT")
                    || line.contains("O_NOFOLLOW"));
            assert!(is_hosts || is_read, "{words:?}: {line}");
        }
    }
    assert!(!canary.exists(), "{:?}", fs::read_to_string(&canary));
    place.finish();
}

/// U11: a volume at a path that leads out of the image, as text or by a link, is inside of it.
#[test]
fn volumes_lead_nowhere_but_into_the_image() {
    needs!(Root);
    let place = Place::new("imgvolout");
    let outside = place.path("outside");
    fs::create_dir(&outside).expect("made");
    fs::write(outside.join("secret"), "sings").expect("written");
    let path = outside.display().to_string();
    let up = "/../../../../../../../..";
    let links = ["/absolute", "/climbs", "/sub/link/outside"].map(str::to_owned);
    let texts = [format!("{up}{path}"), format!("a/../..{path}")];
    for (name, volumes) in [("links", &links[..]), ("texts", &texts[..])] {
        let volumes = format!("VOLUME {}", serde_json::json!(volumes));
        import(&place, name, &[&volumes], |root| {
            symlink(&outside, root.join("absolute")).expect("linked");
            symlink(format!("..{up}{path}"), root.join("climbs")).expect("linked");
            fs::create_dir_all(root.join("sub")).expect("made");
            symlink(outside.parent().expect("one"), root.join("sub/link")).expect("linked");
        });
        let script = format!(
            "for d in /absolute /climbs /sub/link/outside {path}; do \
               ls -A $d/; echo x > $d/written || exit 1; \
             done"
        );
        let finished = place.run(&[name, "sh", "-c", &script]).success();
        assert!(!finished.stdout.contains("secret"), "{finished}");
        let names = fs::read_dir(&outside).expect("there").count();
        assert_eq!(names, 1, "{finished}");
    }
    place.finish();
}

/// U13: `diff` of a container that swaps a directory and a link all the time names nothing that
/// is outside of it.
#[test]
fn a_container_that_swaps_files_shows_nothing_of_the_host() {
    needs!(Root);
    let place = Place::new("imgswap");
    let outside = place.path("outside");
    fs::create_dir_all(outside.join("secret-directory")).expect("made");
    import(&place, "b", &[], |_| {});
    let script = format!(
        "mkdir -p /w/d; ln -s {} /w/l; \
         while true; do mv /w/d /w/t; mv /w/l /w/d; mv /w/d /w/l; mv /w/t /w/d; done",
        outside.display()
    );
    let id = place.id();
    place
        .run(&["--detach", "b", "sh", "-c", &script])
        .succeeded();
    let rounds = if std::env::var_os("TARE_LONG").is_some() {
        1000
    } else {
        20
    };
    for _ in 0..rounds {
        let finished = place.image(&["diff", &id]);
        assert!(!finished.stdout.contains("secret-directory"), "{finished}");
        let was_changed = finished.stderr.contains("was changed while");
        assert!(finished.code == 0 || was_changed, "{finished}");
    }
    let mut kill = Command::new(place::tare());
    finish(
        kill.args(["delete", "--force", &id]),
        Duration::from_secs(60),
    )
    .succeeded();
    place.must(&["prune"]);
    place.finish();
}
