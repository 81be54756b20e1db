//! Whose files are whose: translated by root, and in a user namespace.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::Duration;

use image::ErrorKind;
use image::document::Compression;
use image::layer::{Devices, IdRange, OtherIds, PackOptions, Whiteouts, pack};
use testkit::{finish, needs};

use crate::archive::{Archive, Header};
use crate::scene::{Scene, alone, apply_to};
use crate::tree::attributes;

fn range(host: u32) -> Vec<IdRange> {
    vec![IdRange {
        container: 0,
        host,
        length: 65_536,
    }]
}

fn owned(name: &str, uid: u32, gid: u32) -> Archive {
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    // Version 2: the owner, user 33, group 44, the mask, others.
    let acl: Vec<u8> = [
        (1_u16, 6_u16, u32::MAX),
        (2, 4, 33),
        (4, 4, u32::MAX),
        (8, 4, 44),
        (0x10, 4, u32::MAX),
        (0x20, 0, u32::MAX),
    ]
    .iter()
    .flat_map(|(tag, permissions, id)| {
        [
            &tag.to_le_bytes()[..],
            &permissions.to_le_bytes(),
            &id.to_le_bytes(),
        ]
        .concat()
    })
    .collect();
    let acl = [&2_u32.to_le_bytes()[..], &acl].concat();
    let records: [(&str, &[u8]); 2] = [
        ("SCHILY.xattr.security.capability", capability),
        ("SCHILY.xattr.system.posix_acl_access", &acl),
    ];
    let header = Header {
        uid,
        gid,
        mode: 0o640,
        ..Header::new(b'0', name)
    };
    Archive::new().pax(b'x', &records).with(header, b"content")
}

#[test]
fn owners_attributes_and_access_lists_are_translated() {
    needs!(Root);
    let scene = Scene::new();
    let mut options = alone();
    options.ids.users = range(100_000);
    options.ids.groups = range(200_000);
    let archive = owned("f", 33, 44).end();
    apply_to(&scene.root(), &archive, &options).expect("applied");
    let file = scene.metadata("f");
    assert_eq!(
        (file.uid(), file.gid(), file.mode()),
        (100_033, 200_044, 0o100_640)
    );
    assert_eq!(scene.metadata(".").uid(), 100_000);
    let attributes = attributes(&scene.root().join("f"));
    let capability = &attributes["security.capability"];
    assert_eq!(
        (capability[3], &capability[20..]),
        (3, &100_000_u32.to_le_bytes()[..])
    );
    let acl = &attributes["system.posix_acl_access"];
    assert_eq!(acl[16..20], 100_033_u32.to_le_bytes());
    assert_eq!(acl[32..36], 200_044_u32.to_le_bytes());

    let mut pack_options = PackOptions::default();
    pack_options.compression = Compression::None;
    pack_options.ids = options.ids.clone();
    let mut bytes = Vec::new();
    let directory = File::open(scene.root()).expect("there");
    pack(directory.as_fd(), &pack_options, &mut bytes).expect("packed");
    let again = Scene::new();
    apply_to(&again.root(), &bytes, &alone()).expect("applied");
    assert_eq!(
        (again.metadata("f").uid(), again.metadata("f").gid()),
        (33, 44)
    );
    let attributes = crate::tree::attributes(&again.root().join("f"));
    assert_eq!(
        attributes["system.posix_acl_access"][16..20],
        33_u32.to_le_bytes()
    );
    assert_eq!(attributes["security.capability"].len(), 20);
}

#[test]
fn ids_without_a_counterpart_are_refused_or_squashed() {
    needs!(Root);
    let mut options = alone();
    options.ids.users = range(100_000);
    let archive = owned("f", 70_000, 0).end();
    let scene = Scene::new();
    let error = apply_to(&scene.root(), &archive, &options).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(
        error.to_string().contains("\"f\"") && error.to_string().contains("70000"),
        "{error}"
    );
    options.ids.others = OtherIds::Squash;
    apply_to(&scene.root(), &archive, &options).expect("applied");
    assert_eq!(scene.metadata("f").uid(), 100_000);
}

#[test]
fn a_user_namespace_with_one_id_unpacks_what_it_can() {
    needs!(UserNamespaces, Program("unshare"));
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--mount"]);
    unshare.arg(std::env::current_exe().expect("this program"));
    unshare.args([
        "--exact",
        "ids::inside_of_a_user_namespace",
        "--ignored",
        "--nocapture",
    ]);
    let finished = finish(&mut unshare, Duration::from_secs(60));
    finished.succeeded();
    assert!(finished.stdout.contains("unpacked inside"), "{finished:?}");
}

#[test]
#[ignore = "run by a_user_namespace_with_one_id_unpacks_what_it_can"]
#[allow(
    clippy::print_stdout,
    reason = "this is how the outer test knows that it ran"
)]
fn inside_of_a_user_namespace() {
    let scene = Scene::new();
    let mut options = alone();
    let archive = owned("d/f", 33, 44)
        .device("null", b'3', (1, 3))
        .file(".wh.gone", "")
        .file("d/.wh..wh..opq", "")
        .end();
    let error = apply_to(&scene.root(), &archive, &options).expect_err("no such owner");
    assert!(
        error
            .to_string()
            .contains("user namespace whose maps have the ids"),
        "{error}"
    );
    let one = vec![IdRange {
        container: 0,
        host: 0,
        length: 1,
    }];
    options.ids.users = one.clone();
    options.ids.groups = one;
    options.ids.others = OtherIds::Squash;
    options.devices = Devices::SkipForbidden;
    options.whiteouts = Whiteouts::Overlay { user_xattr: true };
    let applied = apply_to(&scene.root(), &archive, &options).expect("applied");
    assert!(
        applied
            .warnings
            .iter()
            .any(|warning| warning.contains("null")),
        "{applied:?}"
    );
    assert_eq!(scene.read("d/f"), "content");
    assert_eq!(scene.metadata("gone").rdev(), 0);
    assert_eq!(
        attributes(&scene.root().join("d"))["user.overlay.opaque"],
        b"y"
    );
    println!("unpacked inside");
}
