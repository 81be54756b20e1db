//! config.md#linux-mount-options: each of the 61 words.
//!
//! A row is a word, a mount that shows it, and what mountinfo says of that mount inside. Words that
//! take something away (`rw`, `suid`, `rdev`) come after the word that sets it, or act on a mount
//! that has it. A few have no trace in mountinfo (`silent`, `iversion`): that such a mount is made
//! is all that can be seen, and it is not made when the word goes to a file system as data.

use nix::mount::MsFlags;
use serde_json::Value;

use super::{Area, has, has_beginning, mount_at};
use crate::bundle::Bundle;
use crate::case::{Case, Trouble, Verdict, holds};
use crate::scene::Scene;

const AREA: Area = Area("mount-words");
const PLACE: &str = "config.md#linux-mount-options";

/// Where the mounts are inside.
const TARGET: &str = "/seen";
const BELOW: &str = "/seen/below";

/// What is looked at.
#[derive(Clone, Copy)]
enum Seen {
    /// The options of the mount.
    Mount,
    /// The options of its file system.
    FileSystem,
    /// Its propagation.
    Propagation,
}
use Seen::{FileSystem, Mount, Propagation};

/// One word.
struct Word {
    word: &'static str,
    /// MUST, SHOULD or MAY.
    level: &'static str,
    /// The options of the mount that shows it.
    options: &'static [&'static str],
    seen: Seen,
    /// What is there.
    with: &'static [&'static str],
    /// What is not.
    without: &'static [&'static str],
}

const fn word(
    word: &'static str,
    options: &'static [&'static str],
    seen: Seen,
    with: &'static [&'static str],
    without: &'static [&'static str],
) -> Word {
    Word {
        word,
        level: "MUST",
        options,
        seen,
        with,
        without,
    }
}

const fn may(
    word: &'static str,
    options: &'static [&'static str],
    seen: Seen,
    with: &'static [&'static str],
    without: &'static [&'static str],
) -> Word {
    Word {
        word,
        level: "MAY",
        options,
        seen,
        with,
        without,
    }
}

const fn should(
    word: &'static str,
    options: &'static [&'static str],
    seen: Seen,
    with: &'static [&'static str],
    without: &'static [&'static str],
) -> Word {
    Word {
        word,
        level: "SHOULD",
        options,
        seen,
        with,
        without,
    }
}

/// Words of a mount of its own: a tmpfs.
const OF_A_FILESYSTEM: [Word; 31] = [
    word("async", &["sync", "async"], FileSystem, &[], &["sync"]),
    word(
        "atime",
        &["noatime", "atime"],
        Mount,
        &["relatime"],
        &["noatime"],
    ),
    word(
        "defaults",
        &["defaults"],
        Mount,
        &["rw", "relatime"],
        &["nosuid", "nodev", "noexec"],
    ),
    word("dev", &["nodev", "dev"], Mount, &[], &["nodev"]),
    word(
        "diratime",
        &["nodiratime", "diratime"],
        Mount,
        &[],
        &["nodiratime"],
    ),
    word("dirsync", &["dirsync"], FileSystem, &["dirsync"], &[]),
    word("exec", &["noexec", "exec"], Mount, &[], &["noexec"]),
    word("iversion", &["iversion"], Mount, &["rw"], &[]),
    word("lazytime", &["lazytime"], FileSystem, &["lazytime"], &[]),
    word("loud", &["silent", "loud"], Mount, &["rw"], &[]),
    may("mand", &["mand"], Mount, &["rw"], &[]),
    word("noatime", &["noatime"], Mount, &["noatime"], &[]),
    word("nodev", &["nodev"], Mount, &["nodev"], &[]),
    word("nodiratime", &["nodiratime"], Mount, &["nodiratime"], &[]),
    word("noexec", &["noexec"], Mount, &["noexec"], &[]),
    word(
        "noiversion",
        &["iversion", "noiversion"],
        Mount,
        &["rw"],
        &[],
    ),
    word(
        "nolazytime",
        &["lazytime", "nolazytime"],
        FileSystem,
        &[],
        &["lazytime"],
    ),
    may("nomand", &["mand", "nomand"], FileSystem, &[], &["mand"]),
    word(
        "norelatime",
        &["norelatime", "strictatime"],
        Mount,
        &["rw"],
        &["relatime", "noatime"],
    ),
    word(
        "nostrictatime",
        &["strictatime", "nostrictatime"],
        Mount,
        &["relatime"],
        &[],
    ),
    word("nosuid", &["nosuid"], Mount, &["nosuid"], &[]),
    should(
        "nosymfollow",
        &["nosymfollow"],
        Mount,
        &["nosymfollow"],
        &[],
    ),
    word("relatime", &["relatime"], Mount, &["relatime"], &[]),
    word("ro", &["ro"], Mount, &["ro"], &["rw"]),
    word("rw", &["ro", "rw"], Mount, &["rw"], &["ro"]),
    word("silent", &["silent"], Mount, &["rw"], &[]),
    word(
        "strictatime",
        &["strictatime"],
        Mount,
        &[],
        &["relatime", "noatime"],
    ),
    word("suid", &["nosuid", "suid"], Mount, &[], &["nosuid"]),
    should(
        "symfollow",
        &["nosymfollow", "symfollow"],
        Mount,
        &[],
        &["nosymfollow"],
    ),
    word("sync", &["sync"], FileSystem, &["sync"], &[]),
    // Kept last: a second mount at the same place.
    word("remount", &["remount", "ro"], Mount, &["ro"], &["rw"]),
];

/// Words about propagation, of a bind of a shared mount: what is seen at it.
const OF_PROPAGATION: [Word; 4] = [
    word(
        "private",
        &["bind", "private"],
        Propagation,
        &[],
        &["shared:", "master:", "unbindable"],
    ),
    word(
        "shared",
        &["bind", "shared"],
        Propagation,
        &["shared:"],
        &[],
    ),
    word(
        "slave",
        &["bind", "slave"],
        Propagation,
        &["master:"],
        &["shared:"],
    ),
    word(
        "unbindable",
        &["bind", "unbindable"],
        Propagation,
        &["unbindable"],
        &["shared:"],
    ),
];

/// The same with all mounts below: what is seen at the one below.
const OF_PROPAGATION_BELOW: [Word; 4] = [
    word(
        "rprivate",
        &["rbind", "rprivate"],
        Propagation,
        &[],
        &["shared:", "master:", "unbindable"],
    ),
    word(
        "rshared",
        &["rbind", "rshared"],
        Propagation,
        &["shared:"],
        &[],
    ),
    word(
        "rslave",
        &["rbind", "rslave"],
        Propagation,
        &["master:"],
        &["shared:"],
    ),
    word(
        "runbindable",
        &["rbind", "runbindable"],
        Propagation,
        &["unbindable"],
        &["shared:"],
    ),
];

/// Words that set something for all mounts below, which lack it before.
const OF_ALL_BELOW: [(Word, MsFlags); 18] = [
    (
        should("ratime", &["rbind", "ratime"], Mount, &[], &["noatime"]),
        MsFlags::MS_NOATIME,
    ),
    (
        should("rdev", &["rbind", "rdev"], Mount, &[], &["nodev"]),
        MsFlags::MS_NODEV,
    ),
    (
        should(
            "rdiratime",
            &["rbind", "rdiratime"],
            Mount,
            &[],
            &["nodiratime"],
        ),
        MsFlags::MS_NODIRATIME,
    ),
    (
        should("rexec", &["rbind", "rexec"], Mount, &[], &["noexec"]),
        MsFlags::MS_NOEXEC,
    ),
    (
        should("rnoatime", &["rbind", "rnoatime"], Mount, &["noatime"], &[]),
        MsFlags::empty(),
    ),
    (
        should("rnodev", &["rbind", "rnodev"], Mount, &["nodev"], &[]),
        MsFlags::empty(),
    ),
    (
        should(
            "rnodiratime",
            &["rbind", "rnodiratime"],
            Mount,
            &["nodiratime"],
            &[],
        ),
        MsFlags::empty(),
    ),
    (
        should("rnoexec", &["rbind", "rnoexec"], Mount, &["noexec"], &[]),
        MsFlags::empty(),
    ),
    // Relatime is what the kernel does without another word: that the mount is made is what shows.
    (
        should(
            "rnorelatime",
            &["rbind", "rnorelatime"],
            Mount,
            &["rw"],
            &["noatime"],
        ),
        MsFlags::empty(),
    ),
    (
        should(
            "rnostrictatime",
            &["rbind", "rnostrictatime"],
            Mount,
            &["relatime"],
            &[],
        ),
        MsFlags::MS_STRICTATIME,
    ),
    (
        should("rnosuid", &["rbind", "rnosuid"], Mount, &["nosuid"], &[]),
        MsFlags::empty(),
    ),
    (
        should(
            "rnosymfollow",
            &["rbind", "rnosymfollow"],
            Mount,
            &["nosymfollow"],
            &[],
        ),
        MsFlags::empty(),
    ),
    (
        should(
            "rrelatime",
            &["rbind", "rrelatime"],
            Mount,
            &["relatime"],
            &["noatime"],
        ),
        MsFlags::MS_NOATIME,
    ),
    (
        should("rro", &["rbind", "rro"], Mount, &["ro"], &["rw"]),
        MsFlags::empty(),
    ),
    (
        should("rrw", &["rbind", "rrw"], Mount, &["rw"], &["ro"]),
        MsFlags::MS_RDONLY,
    ),
    (
        should(
            "rstrictatime",
            &["rbind", "rstrictatime"],
            Mount,
            &[],
            &["relatime", "noatime"],
        ),
        MsFlags::empty(),
    ),
    (
        should("rsuid", &["rbind", "rsuid"], Mount, &[], &["nosuid"]),
        MsFlags::MS_NOSUID,
    ),
    (
        should(
            "rsymfollow",
            &["rbind", "rsymfollow"],
            Mount,
            &[],
            &["nosymfollow"],
        ),
        NOSYMFOLLOW,
    ),
];

/// MS_NOSYMFOLLOW of mount(2).
const NOSYMFOLLOW: MsFlags = MsFlags::from_bits_retain(256);

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(OF_A_FILESYSTEM.into_iter().map(of_a_filesystem));
    cases.extend(
        OF_PROPAGATION
            .into_iter()
            .map(|row| of_a_tree(row, MsFlags::empty(), TARGET)),
    );
    cases.extend(
        OF_PROPAGATION_BELOW
            .into_iter()
            .map(|row| of_a_tree(row, MsFlags::empty(), BELOW)),
    );
    cases.extend(
        OF_ALL_BELOW
            .into_iter()
            .map(|(row, before)| of_a_tree(row, before, BELOW)),
    );
    cases.extend([
        case("bind", "MUST", bind),
        case("rbind", "MUST", rbind),
        case("tmpcopyup", "MAY", tmpcopyup),
    ]);
    cases
}

fn case(word: &str, level: &str, check: impl Fn(&Scene<'_>) -> Verdict + 'static) -> Case {
    let sentence = format!("Runtimes {level} implement the mount option {word}.");
    AREA.case(format!("mount-word-{word}"), PLACE, &sentence, check)
        .of("mounts[].options[]")
}

fn of_a_filesystem(row: Word) -> Case {
    case(row.word, row.level, move |scene| {
        let mut bundle = scene.bundle();
        if row.options.contains(&"remount") {
            bundle = bundle.mount(TARGET, "tmpfs", "tmpfs", &[]);
        }
        let report = scene.report(&bundle.mount(TARGET, "tmpfs", "tmpfs", row.options))?;
        is_seen(&row, &report, TARGET)
    })
}

fn of_a_tree(row: Word, before: MsFlags, target: &'static str) -> Case {
    case(row.word, row.level, move |scene| {
        let bundle = tree(scene, before)?;
        let report = scene.report(&bundle.mount(TARGET, "bind", "tree", row.options))?;
        is_seen(&row, &report, target)
    })
}

fn is_seen(row: &Word, report: &Value, target: &str) -> Verdict {
    let mount = mount_at(report, target)?;
    let (list, found): (_, fn(&Value, &str) -> bool) = match row.seen {
        Mount => (&mount["options"], has),
        FileSystem => (&mount["super"], has),
        Propagation => (&mount["optional"], has_beginning),
    };
    for word in row.with {
        holds(found(list, word), &format!("{word} at {target}"), list)?;
    }
    for word in row.without {
        holds(!found(list, word), &format!("no {word} at {target}"), list)?;
    }
    Ok(())
}

/// A bundle with two shared mounts, one below the other, at `tree`; the lower one has these flags.
fn tree(scene: &Scene<'_>, flags: MsFlags) -> Result<Bundle, Trouble> {
    let bundle = scene.bundle();
    let top = bundle.path().join("tree");
    let below = top.join("below");
    scene.tmpfs(&top)?;
    scene.change_mount(&top, MsFlags::MS_SHARED)?;
    std::fs::write(top.join("file"), "of the top").expect("a file can be written");
    scene.tmpfs(&below)?;
    scene.change_mount(&below, MsFlags::MS_SHARED)?;
    std::fs::write(below.join("file"), "of below").expect("a file can be written");
    if !flags.is_empty() {
        scene.change_mount(&below, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | flags)?;
    }
    Ok(bundle)
}

fn bind(scene: &Scene<'_>) -> Verdict {
    let bundle = tree(scene, MsFlags::empty())?.mount(TARGET, "bind", "tree", &["bind"]);
    let tried = scene.tries(bundle, &["read:/seen/file", "read:/seen/below/file"])?;
    super::is("the file", &tried["read:/seen/file"], "of the top")?;
    super::is(
        "a file of the mount below",
        &tried["read:/seen/below/file"],
        "ENOENT",
    )
}

fn rbind(scene: &Scene<'_>) -> Verdict {
    let bundle = tree(scene, MsFlags::empty())?.mount(TARGET, "bind", "tree", &["rbind"]);
    let tried = scene.tries(bundle, &["read:/seen/file", "read:/seen/below/file"])?;
    super::is("the file", &tried["read:/seen/file"], "of the top")?;
    super::is(
        "a file of the mount below",
        &tried["read:/seen/below/file"],
        "of below",
    )
}

fn tmpcopyup(scene: &Scene<'_>) -> Verdict {
    let bundle = scene.bundle();
    std::fs::write(bundle.rootfs().join("etc/file"), "of the image")
        .expect("a file can be written");
    let host = bundle.rootfs().join("etc/new");
    let bundle = bundle.mount("/etc", "tmpfs", "tmpfs", &["tmpcopyup"]);
    let tried = scene.tries(bundle, &["read:/etc/file", "write:/etc/new"])?;
    super::is("the file", &tried["read:/etc/file"], "of the image")?;
    super::is("writing another", &tried["write:/etc/new"], "ok")?;
    holds(!host.exists(), "nothing new below the tmpfs", host)
}
