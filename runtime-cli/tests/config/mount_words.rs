//! The 61 option words of `mounts`: each alone, and on a mount that has its contrary.

use std::collections::BTreeSet;

use testkit::needs;

use crate::container::Container;
use crate::mountinfo::{MountEntry, MountInfo};

/// Two trees in a private mount namespace, each with a mount below: one as mounts are, one with
/// every restriction.
const TREES: &str = "\
    for tree in plain restricted; do mkdir -p $B/$tree; mount -t tmpfs $tree $B/$tree; \
    mkdir $B/$tree/sub; mount -t tmpfs $tree-sub $B/$tree/sub; done; \
    all=ro,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow; \
    mount -o remount,bind,$all $B/restricted/sub; mount -o remount,bind,$all $B/restricted";

const PLAIN: &[&str] = &["rw", "relatime"];
const RESTRICTED: &[&str] = &[
    "ro",
    "nosuid",
    "nodev",
    "noexec",
    "noatime",
    "nodiratime",
    "nosymfollow",
];

/// Words about single attributes: the word, what mountinfo shows more for it, and what no more.
/// With an `r` before it each works on the mounts below as well.
const ATTRIBUTES: [(&str, &[&str], &[&str]); 20] = [
    ("ro", &["ro"], &["rw"]),
    ("rw", &["rw"], &["ro"]),
    ("nosuid", &["nosuid"], &[]),
    ("suid", &[], &["nosuid"]),
    ("nodev", &["nodev"], &[]),
    ("dev", &[], &["nodev"]),
    ("noexec", &["noexec"], &[]),
    ("exec", &[], &["noexec"]),
    ("noatime", &["noatime"], &["relatime"]),
    ("atime", &["relatime"], &["noatime"]),
    ("nodiratime", &["nodiratime"], &[]),
    ("diratime", &[], &["nodiratime"]),
    ("relatime", &["relatime"], &["noatime"]),
    ("norelatime", &[], &[]),
    ("strictatime", &[], &["relatime", "noatime"]),
    ("nostrictatime", &["relatime"], &["noatime"]),
    ("nosymfollow", &["nosymfollow"], &[]),
    ("symfollow", &[], &["nosymfollow"]),
    ("defaults", &[], &[]),
    ("loud", &[], &[]),
];

fn expected(start: &[&str], more: &[&str], less: &[&str]) -> BTreeSet<String> {
    let mut options: BTreeSet<String> = start.iter().map(|word| (*word).to_owned()).collect();
    options.retain(|word| !less.contains(&word.as_str()));
    options.extend(more.iter().map(|word| (*word).to_owned()));
    options
}

#[test]
fn every_attribute_word_changes_a_bind_mount_and_only_that_one() {
    needs!(Root);
    let mut container = sleeper("attributewords");
    for (word, ..) in ATTRIBUTES {
        for tree in ["plain", "restricted"] {
            let target = format!("/m/{tree}-{word}");
            container = container.mount("", tree, &target, &["rbind", word]);
        }
    }
    let (inside, outside) = both_views(&container);
    for (word, more, less) in ATTRIBUTES {
        for (tree, start) in [("plain", PLAIN), ("restricted", RESTRICTED)] {
            let top = format!("/m/{tree}-{word}");
            for mounts in [&inside, &outside] {
                assert_eq!(
                    mounts.at(&top).options,
                    expected(start, more, less),
                    "{word} on a {tree} mount"
                );
                assert_eq!(
                    mounts.at(&format!("{top}/sub")).options,
                    expected(start, &[], &[]),
                    "{word} leaves what is below a {tree} mount"
                );
            }
        }
    }
}

#[test]
fn every_recursive_word_changes_the_mounts_below_as_well() {
    needs!(Root);
    let recursive = || {
        let plain = ["defaults", "loud"];
        ATTRIBUTES
            .into_iter()
            .filter(move |(word, ..)| !plain.contains(word))
    };
    assert_eq!(recursive().count(), 18);
    let mut container = sleeper("recursivewords");
    for (word, ..) in recursive() {
        for tree in ["plain", "restricted"] {
            let target = format!("/m/{tree}-r{word}");
            container = container.mount("", tree, &target, &["rbind", &format!("r{word}")]);
        }
    }
    let (inside, outside) = both_views(&container);
    for (word, more, less) in recursive() {
        for (tree, start) in [("plain", PLAIN), ("restricted", RESTRICTED)] {
            for below in ["", "/sub"] {
                let point = format!("/m/{tree}-r{word}{below}");
                for mounts in [&inside, &outside] {
                    assert_eq!(
                        mounts.at(&point).options,
                        expected(start, more, less),
                        "r{word} on {point}"
                    );
                }
            }
        }
    }
}

/// The mounts of a container among [`TREES`], as it sees them and as the host does.
fn both_views(container: &Container) -> (MountInfo, MountInfo) {
    let run = container.in_private_mounts(TREES, &["run", "--detach"]);
    run.succeeded();
    let outside = container.mounts();
    let inside = container.exec("cat /proc/1/mountinfo");
    (MountInfo::parse(&inside), outside)
}

/// The container of a test that sleeps.
fn sleeper(topic: &str) -> Container {
    Container::new(topic).args(&["sleep", "1000"])
}

#[test]
fn attribute_words_make_a_new_filesystem_what_they_say() {
    needs!(Root);
    let mut container = sleeper("newfilesystem");
    for (word, ..) in ATTRIBUTES {
        container = container
            .mount("tmpfs", "x", &format!("/m/{word}"), &[word])
            .mount(
                "tmpfs",
                "x",
                &format!("/m/r{word}"),
                &[&recursive_name(word)],
            );
    }
    container.detached();
    let mounts = container.mounts();
    for (word, more, less) in ATTRIBUTES {
        // A new mount has nothing to lose, and access times are relative unless said otherwise.
        let wanted = expected(PLAIN, more, less);
        assert_eq!(mounts.at(&format!("/m/{word}")).options, wanted, "{word}");
        assert_eq!(mounts.at(&format!("/m/r{word}")).options, wanted, "r{word}");
    }
}

/// `defaults` and `loud` have no recursive form.
fn recursive_name(word: &str) -> String {
    match word {
        "defaults" | "loud" => word.to_owned(),
        word => format!("r{word}"),
    }
}

#[test]
fn of_contrary_words_the_last_counts() {
    needs!(Root);
    let pairs = [
        ("ro", "rw"),
        ("nosuid", "suid"),
        ("nodev", "dev"),
        ("noexec", "exec"),
        ("noatime", "atime"),
        ("nodiratime", "diratime"),
        ("nosymfollow", "symfollow"),
        ("strictatime", "nostrictatime"),
        ("strictatime", "relatime"),
        ("sync", "async"),
        ("lazytime", "nolazytime"),
        ("mand", "nomand"),
        ("iversion", "noiversion"),
        ("silent", "loud"),
    ];
    let mut container = sleeper("contrarywords");
    for (yes, no) in pairs {
        let target = format!("/m/{yes}-{no}");
        container = container.mount("tmpfs", "x", &target, &[yes, no]);
    }
    container.detached();
    let mounts = container.mounts();
    for (yes, no) in pairs {
        let mount = mounts.at(&format!("/m/{yes}-{no}"));
        assert_eq!(mount.options, expected(PLAIN, &[], &[]), "{yes}, {no}");
        assert!(!mount.filesystem_options.contains(yes), "{yes}, {no}");
    }
}

#[test]
fn words_about_the_filesystem_reach_it() {
    needs!(Root);
    let container = sleeper("filesystemwords")
        .mount("tmpfs", "x", "/m/sync", &["sync"])
        .mount("tmpfs", "x", "/m/dirsync", &["dirsync"])
        .mount("tmpfs", "x", "/m/lazytime", &["lazytime"])
        .mount("tmpfs", "x", "/m/mand", &["mand"])
        .mount(
            "tmpfs",
            "x",
            "/m/data",
            &["size=4096k", "nr_inodes=77", "mode=711"],
        );
    container.detached();
    let mounts = container.mounts();
    let has = |point: &str, word: &str| {
        let mount = mounts.at(&format!("/m/{point}"));
        assert!(mount.filesystem_options.contains(word), "{mount:?}");
    };
    for word in ["sync", "dirsync", "lazytime", "mand"] {
        has(word, word);
    }
    for word in ["size=4096k", "nr_inodes=77", "mode=711"] {
        has("data", word);
    }
}

#[test]
fn words_that_no_file_shows_reach_mount_2() {
    needs!(Root, Program("strace"));
    let container = Container::new("tracedwords")
        .mount(
            "tmpfs",
            "x",
            "/m/iversion",
            &["iversion", "nosuid", "size=4096k"],
        )
        .mount("tmpfs", "x", "/m/silent", &["silent"])
        .script("grep -c ' /m/' /proc/self/mountinfo");
    let trace = container.path("trace");
    container.bundle().save();
    let bundle = container.path("");
    let command = container
        .runtime
        .command(&["run", "--bundle", &bundle, container.id()]);
    let mut strace = std::process::Command::new("strace");
    strace.args(["-f", "-qq", "-e", "trace=mount,fsconfig", "-o", &trace]);
    strace.arg(command.get_program()).args(command.get_args());
    let run = testkit::finish(&mut strace, std::time::Duration::from_secs(60)).success();
    assert_eq!(run.stdout, "2\n", "{run}");
    let trace = std::fs::read_to_string(trace).expect("strace writes it");
    assert!(trace.contains("MS_I_VERSION"), "{trace}");
    assert!(trace.contains("MS_SILENT"), "{trace}");
}

#[test]
fn propagation_words_are_what_mountinfo_shows() {
    needs!(Root);
    let words = [
        ("shared", "shared", "private"),
        ("rshared", "shared", "shared"),
        ("slave", "private", "private"),
        ("rslave", "private", "private"),
        ("private", "private", "private"),
        ("rprivate", "private", "private"),
        ("unbindable", "unbindable", "private"),
        ("runbindable", "unbindable", "unbindable"),
    ];
    let mut container = sleeper("propagationwords").set("/linux/rootfsPropagation", "private");
    for (word, ..) in words {
        container = container.mount("", "plain", &format!("/m/{word}"), &["rbind", word]);
    }
    let (inside, outside) = both_views(&container);
    for (word, top, below) in words {
        for mounts in [&inside, &outside] {
            assert_eq!(
                mounts.at(&format!("/m/{word}")).propagation(),
                top,
                "{word}"
            );
            let sub = mounts.at(&format!("/m/{word}/sub"));
            assert_eq!(sub.propagation(), below, "{word}, below");
        }
    }
}

#[test]
fn a_bind_mount_of_a_shared_tree_is_its_slave_unless_said_otherwise() {
    needs!(Root);
    let setup = "mkdir $B/shared; mount -t tmpfs shared $B/shared; mount --make-shared $B/shared";
    // While it runs in the foreground the mount namespace of the host's side is alive.
    let container = Container::new("slavewords")
        .mount("", "shared", "/m/none", &["bind"])
        .mount("", "shared", "/m/slave", &["bind", "slave"])
        .mount("", "shared", "/m/rslave", &["rbind", "rslave"])
        .mount("", "shared", "/m/shared", &["bind", "shared"])
        .mount("", "shared", "/m/private", &["bind", "private"])
        .script("cat /proc/self/mountinfo");
    let run = container.in_private_mounts(setup, &["run"]).success();
    let mounts = MountInfo::parse(&run.stdout);
    for (point, word) in [
        ("none", "slave"),
        ("slave", "slave"),
        ("rslave", "slave"),
        ("shared", "shared,slave"),
        ("private", "private"),
    ] {
        let mount = mounts.at(&format!("/m/{point}"));
        assert_eq!(mount.propagation(), word, "{mount:?}");
    }
}

#[test]
fn both_propagation_words_of_one_mount_count() {
    needs!(Root);
    let container = sleeper("twopropagations")
        .mount("tmpfs", "x", "/m", &["shared", "slave"])
        .mount("tmpfs", "x", "/n", &["unbindable", "shared"]);
    container.detached();
    let mounts = container.mounts();
    // slave(2) of a peer group without other peers is private.
    assert_eq!(mounts.at("/m").propagation(), "private");
    assert_eq!(mounts.at("/n").propagation(), "shared");
}

#[test]
fn a_bind_mount_takes_no_words_of_a_filesystem_and_warns_of_those_it_can_not_follow() {
    needs!(Root);
    let refused = Container::new("bindwords")
        .mount("", "/tmp", "/m", &["bind", "size=1m"])
        .refused();
    assert!(
        refused.contains("bind mounts cannot have any filesystem-specific options applied"),
        "{refused}"
    );
    let container = Container::new("bindwords")
        .mount("", "/tmp", "/m", &["bind", "sync"])
        .script("true");
    let run = container.run().success();
    assert!(run.stderr.contains("sync"), "{run}");
}

#[test]
fn a_remount_changes_the_filesystem_or_only_the_mount() {
    needs!(Root);
    let container = sleeper("remount")
        .mount("tmpfs", "x", "/fs", &["size=1m"])
        .mount("tmpfs", "x", "/fs", &["remount", "size=2m", "ro"])
        .mount("tmpfs", "x", "/one", &["size=1m", "nosuid", "noexec"])
        .mount("", "/one", "/one", &["bind", "remount", "exec", "ro"]);
    container.detached();
    let mounts = container.mounts();
    let is_read_only = |mount: &MountEntry| mount.filesystem_options.contains("ro");
    let fs = mounts.at("/fs");
    assert!(is_read_only(fs), "{fs:?}");
    assert!(fs.filesystem_options.contains("size=2048k"), "{fs:?}");
    let one = mounts.at("/one");
    assert_eq!(
        one.options,
        expected(&["ro", "nosuid", "relatime"], &[], &[])
    );
    assert!(!is_read_only(one), "only the mount is read-only: {one:?}");
}

#[test]
fn features_lists_exactly_the_words_that_work_here() {
    let container = Container::new("features");
    let run = container.runtime.call(&["features"]).success();
    let features: serde_json::Value = serde_json::from_str(&run.stdout).expect("it is JSON");
    let listed: BTreeSet<&str> = features["mountOptions"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(serde_json::Value::as_str)
        .collect();
    let mut tested: BTreeSet<String> = BTreeSet::new();
    for (word, ..) in ATTRIBUTES {
        tested.insert(word.to_owned());
        tested.insert(recursive_name(word));
    }
    let others = "async bind dirsync idmap iversion lazytime mand noiversion nolazytime nomand \
        private rbind remount ridmap rprivate rshared rslave runbindable shared silent slave sync \
        tmpcopyup unbindable";
    tested.extend(others.split_whitespace().map(str::to_owned));
    let tested: BTreeSet<&str> = tested.iter().map(String::as_str).collect();
    assert_eq!(listed, tested);
}
