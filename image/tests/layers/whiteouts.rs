//! U06: what a layer removes, in every order, by both ways of unpacking.

use proptest::prelude::*;
use testkit::needs;

use crate::archive::{Archive, Header};
use crate::overlay::{merged, unpack};
use crate::scene::Scene;
use crate::tree::{Tree, assert_same};

/// The tree of all layers, applied one over the other; then the same as an overlay shows it.
#[track_caller]
fn both_ways(archives: &[Vec<u8>]) -> Tree {
    let over = Scene::new();
    // An overlay's root that nobody names is what the layer's implied root is.
    over.apply(&root()).expect("applied");
    for archive in archives {
        over.apply(archive).expect("applied over");
    }
    let scene = Scene::new();
    let with_root = [&[root()], archives].concat();
    let layers = unpack(&scene, &with_root).expect("applied alone");
    let (over, merged) = (
        without_links(over.tree()),
        without_links(merged(&scene, &layers)),
    );
    assert_same(&over, &merged);
    over
}

fn root() -> Vec<u8> {
    Archive::new().directory("./").end()
}

/// An overlay counts the links of each layer's file by itself.
pub(crate) fn without_links(tree: Tree) -> Tree {
    let strip = |line: String| match line.find(" link ") {
        Some(at) => {
            let rest = line[at + 6..].split_once(' ').map_or("", |(_, rest)| rest);
            format!("{} {rest}", &line[..at])
        }
        None => line,
    };
    tree.into_iter()
        .map(|(name, line)| (name, strip(line)))
        .collect()
}

fn lower() -> Vec<u8> {
    Archive::new()
        .directory_of_mode("d", 0o750)
        .file("d/one", "lower")
        .file("d/two", "lower")
        .directory_of_mode("d/sub", 0o711)
        .file("d/sub/deep", "lower")
        .file("f", "lower")
        .symlink("l", "d")
        .end()
}

fn names(tree: &Tree) -> Vec<&str> {
    tree.keys()
        .filter_map(|name| name.strip_prefix("./"))
        .collect()
}

#[test]
fn files_of_the_same_layer_stay_in_whatever_order() {
    needs!(Root);
    let part = |archive: Archive, number| match number {
        0 => archive.file("d/.wh..wh..opq", ""),
        1 => archive.file("d/one", "upper"),
        2 => archive.file("d/sub/new", "upper"),
        _ => archive.directory_of_mode("d", 0o700),
    };
    for first in 0..4 {
        for second in (0..4).filter(|n| *n != first) {
            for third in (0..4).filter(|n| ![first, second].contains(n)) {
                let fourth = 6 - first - second - third;
                let upper = [first, second, third, fourth]
                    .into_iter()
                    .fold(Archive::new(), part);
                let tree = both_ways(&[lower(), upper.end()]);
                assert_eq!(names(&tree), ["d", "d/one", "d/sub", "d/sub/new", "f", "l"]);
                assert!(tree["./d"].starts_with("40700 "), "{}", tree["./d"]);
                assert!(
                    tree["./d/sub"].starts_with("40755 0:0 0.0"),
                    "{}",
                    tree["./d/sub"]
                );
            }
        }
    }
}

#[test]
fn a_whiteout_hides_lower_names_only() {
    needs!(Root);
    for (upper, left) in [
        (Archive::new().file(".wh.d", ""), "f l"),
        (
            Archive::new().file(".wh.f", "").file(".wh.l", ""),
            "d d/one d/sub d/sub/deep d/two",
        ),
        (Archive::new().file("d/.wh.sub", ""), "d d/one d/two f l"),
        (
            Archive::new().file(".wh.d", "").file("d/new", ""),
            "d d/new f l",
        ),
        (
            Archive::new().file("d/new", "").file(".wh.d", ""),
            "d d/new f l",
        ),
        (Archive::new().file(".wh.d", "").directory("d"), "d f l"),
        (Archive::new().directory("d").file(".wh.d", ""), "d f l"),
        (
            Archive::new()
                .file("f", "")
                .file(".wh.f", "")
                .directory("f"),
            "d d/one d/sub d/sub/deep d/two f l",
        ),
        (
            Archive::new()
                .file(".wh.d", "")
                .file("d", "")
                .directory("d"),
            "d f l",
        ),
        (Archive::new().file("d", "").directory("d"), "d f l"),
        (
            Archive::new().file(".wh..wh..opq", "").file("d/new", ""),
            "d d/new",
        ),
        (
            Archive::new()
                .file("d/sub/new", "")
                .file(".wh..wh..opq", ""),
            "d d/sub d/sub/new",
        ),
        (
            Archive::new().file(".wh.missing", "").file("m/.wh.n", ""),
            "d d/one d/sub d/sub/deep d/two f l m",
        ),
        (
            Archive::new()
                .directory(".wh..wh.plnk")
                .file(".wh..wh.plnk/1.2", "")
                .file(".wh..wh.aufs", ""),
            "d d/one d/sub d/sub/deep d/two f l",
        ),
    ] {
        let tree = both_ways(&[lower(), upper.end()]);
        assert_eq!(names(&tree).join(" "), left);
    }
}

#[test]
fn malformed_whiteouts_are_refused_and_nothing_above_is_removed() {
    needs!(Root);
    for name in [
        ".wh.",
        ".wh..",
        ".wh...",
        "d/.wh..",
        ".wh./x",
        ".wh.d/x",
        "d/.wh.",
        ".wh.a/.wh.b",
    ] {
        let scene = Scene::new();
        scene.apply(&lower()).expect("applied");
        let before = scene.tree();
        assert!(
            scene.apply(&Archive::new().file(name, "").end()).is_err(),
            "{name}"
        );
        assert_same(&before, &scene.tree());
        scene.assert_untouched();
        assert!(
            Scene::new()
                .apply_alone(&Archive::new().file(name, "").end())
                .is_err()
        );
    }
}

/// A device 0:0 in an archive would remove lower files that no whiteout names.
#[test]
fn an_archives_own_device_0_0_is_no_whiteout() {
    needs!(Root);
    let archive = Archive::new().device("f", b'3', (0, 0)).end();
    let error = Scene::new().apply_alone(&archive).expect_err("refused");
    assert!(error.to_string().contains("0:0"), "{error}");
    let opaque: [(&str, &[u8]); 2] = [
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.overlay.redirect", b"/etc"),
    ];
    let upper = Archive::new().pax(b'x', &opaque).directory("d").end();
    let tree = both_ways(&[lower(), upper]);
    assert!(names(&tree).contains(&"d/one"));
}

#[test]
fn links_to_lower_files_and_files_below_lower_links() {
    needs!(Root);
    for upper in [
        Archive::new().hard_link("new", "d/sub/deep"),
        Archive::new()
            .hard_link("d/sub/new", "f")
            .hard_link("d/other", "f"),
        Archive::new()
            .hard_link("new", "later")
            .file("later", "upper"),
        Archive::new()
            .hard_link("new", "d/one")
            .file("d/one", "upper"),
        Archive::new()
            .hard_link("new", "d/one")
            .file("d/.wh.one", ""),
        Archive::new()
            .hard_link("new", "d/one")
            .file("new", "replaced"),
        Archive::new().hard_link("new", "l/one"),
        Archive::new()
            .file("l/new", "below a lower link")
            .file("l/sub/x", ""),
        Archive::new()
            .file("l/new", "")
            .file("d/other", "")
            .directory_of_mode("d", 0o701),
    ] {
        both_ways(&[lower(), upper.end()]);
    }
    let missing = Archive::new().hard_link("new", "nowhere").end();
    assert!(Scene::new().apply(&missing).is_err());
    assert!(unpack(&Scene::new(), &[lower(), missing]).is_err());
    let through_file = Archive::new().file("f/x", "").end();
    assert!(unpack(&Scene::new(), &[lower(), through_file]).is_err());
}

/// A default access list: rwx for all, and for user 77.
fn default_acl() -> Vec<u8> {
    let entry = |tag: u16, id: u32| [&tag.to_le_bytes()[..], &[7, 0], &id.to_le_bytes()].concat();
    let entries = [
        (1, u32::MAX),
        (2, 77),
        (4, u32::MAX),
        (16, u32::MAX),
        (32, u32::MAX),
    ];
    let entries = entries.iter().flat_map(|(tag, id)| entry(*tag, *id));
    [&[2, 0, 0, 0][..], &entries.collect::<Vec<_>>()].concat()
}

#[test]
fn what_is_copied_up_keeps_its_attributes_and_gets_no_others() {
    needs!(Root);
    let marked = |archive: Archive| archive.pax(b'x', &[("SCHILY.xattr.trusted.mark", b"own")]);
    let lower = Archive::new().directory("d").directory("d/sub");
    let lower = marked(lower).symlink("d/link", "nowhere");
    let lower = marked(lower).device("d/device", b'3', (1, 3));
    let lower = marked(lower).fifo("d/fifo");
    let lower = marked(lower).file("d/sub/file", "lower").end();
    let links = |archive: Archive| {
        ["link", "device", "fifo", "sub/file"]
            .iter()
            .fold(archive, |archive, name| {
                archive.hard_link(
                    &format!("new-{}", name.replace('/', "-")),
                    &format!("d/{name}"),
                )
            })
            .end()
    };
    let acl = ("SCHILY.xattr.system.posix_acl_default", &default_acl()[..]);
    let plain = links(Archive::new());
    let under_acl = links(Archive::new().pax(b'x', &[acl]).directory("d"));
    for upper in [plain, under_acl] {
        let tree = both_ways(&[lower.clone(), upper]);
        for name in ["./new-link", "./new-device", "./new-fifo", "./new-sub-file"] {
            let line = &tree[name];
            assert!(line.contains(" trusted.mark=own"), "{name}: {line}");
            assert!(!line.contains("posix_acl"), "{name}: {line}");
        }
        assert!(
            !tree["./d/sub"].contains("posix_acl"),
            "{}",
            tree["./d/sub"]
        );
    }
}

#[derive(Clone, Debug)]
enum Step {
    File(String, u8),
    Directory(String, u32),
    Symlink(String, String),
    HardLink(String, String),
    Whiteout(String),
    Opaque(String),
}

fn name() -> impl Strategy<Value = String> {
    proptest::collection::vec("[abc]", 1..4).prop_map(|parts| parts.join("/"))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (name(), any::<u8>()).prop_map(|(name, content)| Step::File(name, content)),
        3 => (name(), 0o700_u32..0o777).prop_map(|(name, mode)| Step::Directory(name, mode)),
        // No parent of anything: what goes through lower links is tested by itself, and depends
        // on the order when the same layer removes the link.
        1 => (name(), name())
            .prop_map(|(name, target)| Step::Symlink(format!("{name}/link"), target)),
        1 => (name(), name()).prop_map(|(name, target)| Step::HardLink(name, target)),
        2 => name().prop_map(Step::Whiteout),
        1 => name().prop_map(|name| Step::Whiteout(format!("{name}/link"))),
        1 => name().prop_map(Step::Opaque),
    ]
}

fn archive(steps: &[Step]) -> Vec<u8> {
    let add = |archive: Archive, step: &Step| match step {
        Step::File(name, content) => archive.file(name, &content.to_string()),
        Step::Directory(name, mode) => archive.directory_of_mode(name, *mode),
        Step::Symlink(name, target) => archive.symlink(name, target),
        Step::HardLink(name, target) => archive.hard_link(name, target),
        Step::Whiteout(name) => {
            let (parent, name) = name.rsplit_once('/').unwrap_or((".", name));
            archive.header(&Header::new(b'0', format!("{parent}/.wh.{name}")))
        }
        Step::Opaque(name) => archive.file(&format!("{name}/.wh..wh..opq"), ""),
    };
    steps.iter().fold(Archive::new(), add).end()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if std::env::var_os("TARE_LONG").is_some() { 3000 } else { 150 },
        ..ProptestConfig::default()
    })]

    /// Whenever both ways of unpacking accept the layers, they mean the same tree.
    #[test]
    fn both_ways_of_unpacking_agree(
        layers in proptest::collection::vec(proptest::collection::vec(step(), 1..7), 1..4)
    ) {
        if testkit::missing(&[testkit::Fact::Root]) {
            return Ok(());
        }
        let archives: Vec<Vec<u8>> = layers.iter().map(|steps| archive(steps)).collect();
        let over = Scene::new();
        over.apply(&root()).expect("applied");
        let is_accepted = archives.iter().all(|archive| over.apply(archive).is_ok());
        let scene = Scene::new();
        let alone = unpack(&scene, &[&[root()], &archives[..]].concat());
        if let (true, Ok(layers)) = (is_accepted, alone) {
            assert_same(&without_links(over.tree()), &without_links(merged(&scene, &layers)));
        }
    }
}
