//! Archives that try to get out: U01 to U04 of the published ways. The canary beside the root
//! must be as before, and what was made must be below the root.

use std::fs;
use std::os::unix::fs::MetadataExt;

use image::ErrorKind;
use image::error::Result;
use image::layer::Applied;
use testkit::needs;

use crate::archive::{Archive, Header};
use crate::scene::{Scene, alone, apply_to, over};
use crate::tree;

/// Applies in both ways, each over an empty root; checks the canary.
#[track_caller]
fn apply_in_both_ways(make: impl Fn(&str) -> Vec<u8>) -> [Result<Applied>; 2] {
    [over(), alone()].map(|options| {
        let scene = Scene::new();
        let applied = apply_to(&scene.root(), &make(&scene.canary()), &options);
        scene.assert_untouched();
        applied
    })
}

#[test]
fn a_link_of_the_same_layer_is_never_followed() {
    needs!(Root);
    for target in [
        "{canary}",
        "../canary",
        "../../../../../../{canary}",
        "/",
        ".",
        "b",
    ] {
        for through in [
            "a/file",
            "a/directory/new",
            "a/link",
            "a/.wh.file",
            "a/.wh..wh..opq",
        ] {
            let applied = apply_in_both_ways(|canary| {
                Archive::new()
                    .directory("b")
                    .symlink("a", &target.replace("{canary}", canary))
                    .file(through, "written")
                    .end()
            });
            for applied in applied {
                let error = applied.expect_err(through);
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                assert!(
                    error
                        .to_string()
                        .contains("symbolic link of the same layer"),
                    "{error}"
                );
            }
        }
    }
}

#[test]
fn links_of_lower_layers_are_followed_inside_of_the_root() {
    needs!(Root);
    for (target, leads_to) in [
        ("{canary}", "{canary}"),
        ("../../../{canary}", "{canary}"),
        ("/usr/lib", "usr/lib"),
        ("usr/lib", "usr/lib"),
        ("usr/../usr/./lib", "usr/lib"),
        ("second", "usr/lib"),
    ] {
        let scene = Scene::new();
        let fill = |text: &str| text.replace("{canary}", &scene.canary());
        let lower = Archive::new()
            .directory("usr/lib")
            .symlink("second", "/usr/lib")
            .symlink("lib", &fill(target));
        scene.apply(&lower.end()).expect("lower");
        let upper = Archive::new()
            .file("lib/file", "written")
            .file("lib/deep/file", "written")
            .hard_link("lib/hard", "lib/file")
            .file("lib/.wh.nothing", "");
        scene
            .apply(&upper.end())
            .unwrap_or_else(|error| panic!("{target}: {error}"));
        let place = scene.root().join(fill(leads_to).trim_start_matches('/'));
        assert_eq!(
            fs::read_to_string(place.join("deep/file")).expect("there"),
            "written"
        );
        assert_eq!(fs::metadata(place.join("hard")).expect("there").nlink(), 2);
        assert!(scene.metadata("lib").is_symlink());
        scene.assert_untouched();
    }
}

#[test]
fn links_in_a_circle_end() {
    needs!(Root);
    let scene = Scene::new();
    scene
        .apply(&Archive::new().symlink("a", "b").symlink("b", "a").end())
        .expect("applied");
    let error = scene
        .apply(&Archive::new().file("a/x", "").end())
        .expect_err("a circle");
    assert!(error.to_string().contains("ELOOP"), "{error}");
}

#[test]
fn names_that_climb_up_are_refused() {
    needs!(Root);
    for name in [
        "../canary/file",
        "a/../../canary/file",
        "/../canary/new",
        "..",
        "a/..",
    ] {
        let files: [&dyn Fn() -> Archive; 4] = [
            &|| Archive::new().file(name, "x"),
            &|| Archive::new().directory(name),
            &|| Archive::new().hard_link("x", name),
            &|| {
                Archive::new()
                    .pax(b'x', &[("path", name.as_bytes())])
                    .file("y", "x")
            },
        ];
        for make in files {
            for applied in apply_in_both_ways(|_| make().end()) {
                let error = applied.expect_err(name);
                assert!(error.to_string().contains("climbs"), "{name}: {error}");
            }
        }
    }
}

#[test]
fn absolute_names_are_below_the_root() {
    needs!(Root);
    let scene = Scene::new();
    let name = format!("{}/file", scene.canary());
    let archive = Archive::new()
        .file(&name, "in root")
        .hard_link("hard", &name);
    scene.apply(&archive.end()).expect("applied");
    assert_eq!(scene.read("hard"), "in root");
    assert_eq!(scene.read(name.trim_start_matches('/')), "in root");
    scene.assert_untouched();
}

/// U02: whatever an entry for the root says, it stays a directory and the same one.
#[test]
fn the_root_stays_the_same_directory() {
    needs!(Root);
    for name in [".", "./", "/", "/.", ".//", "./."] {
        for kind in *b"0123456" {
            let scene = Scene::new();
            let inode = scene.metadata(".").ino();
            let header = Header {
                mode: 0o700,
                link: b"../canary".to_vec(),
                ..Header::new(kind, name)
            };
            let applied = scene.apply(&Archive::new().header(&header).end());
            assert_eq!(applied.is_ok(), kind == b'5', "{name} {kind}");
            assert_eq!(scene.metadata(".").ino(), inode);
            assert!(scene.metadata(".").is_dir());
            scene.assert_untouched();
        }
        let scene = Scene::new();
        let archive = Archive::new()
            .directory_of_mode(name, 0)
            .file("a", "in it")
            .end();
        scene.apply(&archive).expect("applied");
        assert_eq!((scene.mode("."), scene.read("a").as_str()), (0, "in it"));
    }
}

/// U03: attributes are those of the entry, never of what a link leads to.
#[test]
fn attributes_never_go_through_a_link() {
    needs!(Root);
    let after: [(&str, &dyn Fn(Archive) -> Archive); 5] = [
        ("directory", &|archive| {
            archive.directory_of_mode("a", 0o7777)
        }),
        ("file", &|archive| archive.file("a", "overwritten")),
        ("hard link", &|archive| {
            archive.file("b", "b").hard_link("a", "b")
        }),
        ("device", &|archive| archive.device("a", b'3', (1, 3))),
        ("link", &|archive| {
            let records: [(&str, &[u8]); 3] = [
                ("uid", b"1234"),
                ("mtime", b"7"),
                ("SCHILY.xattr.trusted.mark", b"on the link"),
            ];
            archive.pax(b'x', &records).symlink("a", "elsewhere")
        }),
    ];
    for target in ["file", "directory", "link", "missing"] {
        for (what, make) in after {
            for options in [over(), alone()] {
                let scene = Scene::new();
                let link = format!("{}/{target}", scene.canary());
                let archive = make(Archive::new().symlink("a", &link));
                apply_to(&scene.root(), &archive.end(), &options)
                    .unwrap_or_else(|error| panic!("{target} {what}: {error}"));
                scene.assert_untouched();
                if what == "link" {
                    let attributes = tree::attributes(&scene.root().join("a"));
                    assert_eq!(attributes["trusted.mark"], b"on the link");
                    assert_eq!(scene.metadata("a").uid(), 1234);
                }
            }
        }
    }
}

/// U01: a hard link to a link is a link, and what is written to it later is written elsewhere.
#[test]
fn a_hard_link_that_is_overwritten_is_replaced() {
    needs!(Root);
    for (before, name) in [("symlink", "{canary}/file"), ("file", "")] {
        for options in [over(), alone()] {
            let scene = Scene::new();
            let target = name.replace("{canary}", &scene.canary());
            let first = match before {
                "symlink" => Archive::new().symlink("a", &target),
                _ => Archive::new().file("a", "first"),
            };
            let archive = first.hard_link("b", "a").file("b", "second").end();
            apply_to(&scene.root(), &archive, &options).expect("applied");
            assert_eq!(scene.read("b"), "second");
            assert_eq!(scene.metadata("a").nlink(), 1);
            if before == "file" {
                assert_eq!(scene.read("a"), "first");
            }
            scene.assert_untouched();
        }
    }
}

/// U04: the target of a hard link is looked for below the root, through no link of this layer.
#[test]
fn hard_links_lead_to_files_below_the_root_only() {
    needs!(Root);
    for target in [
        "{canary}/file",
        "canary/file",
        "./../root/x",
        "a/file",
        "/etc/passwd",
        ".",
    ] {
        for applied in apply_in_both_ways(|canary| {
            Archive::new()
                .symlink("a", canary)
                .hard_link("b", &target.replace("{canary}", canary))
                .end()
        }) {
            match applied {
                Ok(applied) => assert_eq!(applied.pending_links.len(), 1, "{target}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{target}: {error}"),
            }
        }
    }
    for (target, why) in [
        ("d", "no hard links"),
        ("b", "itself"),
        ("", "without a target"),
    ] {
        for applied in apply_in_both_ways(|_| {
            Archive::new()
                .directory("d")
                .file("b", "")
                .hard_link("b", target)
                .end()
        }) {
            let error = applied.expect_err(target);
            assert!(error.to_string().contains(why), "{target}: {error}");
        }
    }
}

/// U01: files of all kinds over and below each other, in all orders: nothing gets out, and what
/// is made is made in the root.
#[test]
fn no_order_of_entries_leads_outside() {
    needs!(Root);
    let part = |archive: Archive, canary: &str, number: usize| match number {
        0 => archive.symlink("a", canary),
        1 => archive.file("a/file", "written"),
        2 => archive.directory_of_mode("a", 0o777),
        3 => archive.hard_link("a/hard", "a/file"),
        4 => archive.symlink("a/link", &format!("{canary}/directory")),
        _ => archive.file("a/link/deep", "written"),
    };
    let mut orders = vec![Vec::new()];
    for _ in 0..6 {
        orders = orders
            .into_iter()
            .flat_map(|order: Vec<usize>| {
                let rest = (0..6)
                    .filter(|number| !order.contains(number))
                    .collect::<Vec<_>>();
                rest.into_iter()
                    .map(move |number| [&order[..], &[number]].concat())
            })
            .collect();
    }
    assert_eq!(orders.len(), 720);
    for options in [over(), alone()] {
        let scene = Scene::new();
        for (at, order) in orders.iter().enumerate().step_by(4) {
            let root = scene.other(&format!("root-{at}"));
            let archive = order.iter().fold(Archive::new(), |archive, number| {
                part(archive, &scene.canary(), *number)
            });
            // Whether it is an error depends on the order; what must not happen does not.
            let applied = apply_to(&root, &archive.end(), &options);
            if applied.is_err() && options == alone() {
                assert!(tree::read(&root).len() == 1, "{order:?}");
            }
            fs::remove_dir_all(&root).expect("removed");
        }
        scene.assert_untouched();
    }
}
