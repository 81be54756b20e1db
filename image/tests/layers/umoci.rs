//! One image of several layers, unpacked by umoci and by us: the same tree, whichever of our
//! ways it takes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testkit::{finish, needs};

use crate::archive::{Archive, Header};
use crate::debian::debian;
use crate::scene::Scene;
use crate::tree::{self, Tree};
use crate::whiteouts::without_links;

const LIMIT: Duration = Duration::from_secs(300);

/// What changes a Debian in every way.
fn second() -> Vec<u8> {
    let owned = |kind: u8, name: &str, mode: u32| Header {
        mode,
        uid: 1000,
        gid: 33,
        ..Header::new(kind, name)
    };
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    Archive::new()
        .file("etc/.wh.passwd-", "")
        .file("usr/share/.wh.doc", "")
        .file("usr/share/perl5/.wh..wh..opq", "")
        .file("usr/share/perl5/Mine.pm", "1;")
        .directory_of_mode("usr/share/doc", 0o750)
        .file("usr/share/doc/mine", "instead of all others")
        .hard_link("usr/bin/dash-too", "usr/bin/dash")
        .hard_link("usr/bin/link-too", "usr/bin/awk")
        .file("bin/tool", "through a link of the layer below")
        .pax(b'x', &[("mtime", b"1500000000.123456789")])
        .with(owned(b'0', "opt/special", 0o6755), b"#!/bin/true\n")
        .pax(b'x', &[("SCHILY.xattr.security.capability", capability)])
        .file("opt/capable", "")
        .pax(b'x', &[("SCHILY.xattr.user.note", b"of a file")])
        .header(&owned(b'0', "opt/noted", 0o600))
        .header(&owned(b'5', "opt/sticky", 0o1777))
        .symlink("opt/dangling", "../nowhere")
        .device("dev/mine", b'3', (1, 3))
        .device("dev/block", b'4', (7, 200))
        .fifo("opt/pipe")
        .file("etc/apt", "a file in place of a directory")
        .directory("etc/debian_version")
        .file(
            "etc/debian_version/inside",
            "a directory in place of a file",
        )
        .end()
}

/// What takes some of that back.
fn third() -> Vec<u8> {
    Archive::new()
        .file("opt/.wh.noted", "")
        .file("usr/share/doc/.wh..wh..opq", "")
        .file("etc/debian_version/.wh.inside", "")
        .hard_link("opt/special-too", "opt/special")
        .file("usr/share/perl5/Another.pm", "1;")
        .file("usr/share/doc/only", "")
        .end()
}

fn umoci(words: &[&str]) {
    finish(Command::new("umoci").args(words), LIMIT).succeeded();
}

fn image(root: &Path, words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tare-image"));
    command.arg("--quiet").arg("--root").arg(root).args(words);
    finish(&mut command, LIMIT).success().stdout
}

/// umoci's root has the time of its last change.
fn comparable(root: &Path) -> Tree {
    let mut tree = without_links(tree::read(root));
    tree.remove(".");
    tree
}

#[test]
fn umoci_unpacks_the_same_tree() {
    needs!(Root, Program("umoci"), Program("mmdebstrap"));
    let scene = Scene::new();
    let path = |name: &str| scene.root().join(name).display().to_string();
    let layout = path("layout");
    let name = format!("{layout}:three");
    umoci(&["init", "--layout", &layout]);
    umoci(&["new", "--image", &name]);
    let first = debian().display().to_string();
    umoci(&["raw", "add-layer", "--image", &name, &first]);
    for (file, archive) in [("second", second()), ("third", third())] {
        std::fs::write(path(file), archive).expect("written");
        umoci(&["raw", "add-layer", "--image", &name, &path(file)]);
    }
    umoci(&["unpack", "--image", &name, &path("bundle")]);
    let expected = comparable(&scene.root().join("bundle/rootfs"));
    assert!(expected.len() > 5000 && expected.contains_key("./opt/special-too"));

    let root = scene.root().join("store");
    let loaded = image(&root, &["load", "--input", &layout]);
    let digest = loaded.trim().trim_start_matches("loaded ");
    image(&root, &["unpack", digest, &path("copied")]);
    tree::assert_same(&expected, &comparable(&scene.root().join("copied")));
    let mounted = image(&root, &["mount", digest]);
    let merged = comparable(Path::new(mounted.trim()));
    let [copied_root, mounted_root] = [path("copied"), mounted.trim().to_owned()]
        .map(|root| tree::attributes_of_root(Path::new(&root)));
    image(&root, &["unmount", mounted.trim()]);
    tree::assert_same(&expected, &merged);
    assert_eq!(copied_root, mounted_root);
}
