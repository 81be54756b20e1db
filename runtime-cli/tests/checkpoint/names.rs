//! Names of mounts that could mean another one to criu.

use testkit::{TestBundle, needs};

use crate::place::Place;

/// Binds a directory with a file that says which one it is.
fn bind(bundle: TestBundle, number: usize, destination: &str) -> TestBundle {
    let source = bundle.path().join(format!("source-{number}"));
    std::fs::create_dir_all(&source).unwrap();
    std::fs::write(source.join("which"), format!("{number}")).unwrap();
    bundle.mount(
        "bind",
        source.to_str().unwrap(),
        destination,
        &["bind", "ro"],
    )
}

#[test]
fn mounts_with_odd_names_come_back_each_in_its_place() {
    needs!(Root, Criu);
    let names = [
        "/plain",
        "/with space",
        "/quo\"te'd",
        "/back\\slash",
        "/colon:and[bracket]",
        "/per%20cent",
        "/per%2520cent",
        "/ümlaut",
    ];
    let place = Place::new("cpnames", |bundle| {
        let names = names.iter().enumerate();
        names.fold(bundle, |bundle, (number, name)| bind(bundle, number, name))
    });
    place.start();
    place.checkpoint(&[]).succeeded();
    place.restore(&[]).succeeded();
    for (number, name) in names.iter().enumerate() {
        let which = place.exec(&["cat", &format!("{name}/which")]);
        assert_eq!(which, number.to_string(), "{name}");
        place.exec(&["sh", "-c", "! touch \"$1\"/x 2>/dev/null", "sh", name]);
    }
    place.finish();
}

#[test]
fn a_name_that_criu_would_take_for_another_one_is_refused_and_the_container_goes_on() {
    needs!(Root, Criu);
    for (number, name) in ["/a]:/etc", "/new\nline"].into_iter().enumerate() {
        let place = Place::new("cpforged", |bundle| bind(bundle, number, name));
        place.start();
        let failed = place.checkpoint(&[]);
        assert_eq!(failed.code, 1, "{failed}");
        assert!(
            failed
                .stderr
                .contains("criu can't be told about the mount on"),
            "{failed}"
        );
        place.wait_beyond(place.count());
        place.finish();
    }
}

/// CVE-2026-119101: what config.json calls the target is a link of the image.
#[test]
fn a_mount_is_known_by_where_it_is_and_not_by_a_link_that_leads_there() {
    needs!(Root, Criu);
    let place = Place::new("cplinked", |bundle| {
        let rootfs = bundle.rootfs();
        std::fs::create_dir(rootfs.join("real")).unwrap();
        std::os::unix::fs::symlink("/real", rootfs.join("link")).unwrap();
        let bundle = bind(bundle, 1, "/link/one");
        bind(bundle, 2, "/other")
    });
    place.start();
    place.checkpoint(&[]).succeeded();
    place.restore(&[]).succeeded();
    assert_eq!(place.exec(&["cat", "/real/one/which"]), "1");
    assert_eq!(place.exec(&["cat", "/other/which"]), "2");
    place.finish();
}

#[test]
fn a_mount_point_that_the_new_rootfs_lacks_is_made() {
    needs!(Root, Criu);
    let place = Place::new("cppoints", |bundle| {
        let file = bundle.path().join("file");
        std::fs::write(&file, "a file").unwrap();
        let bundle = bind(bundle, 1, "/deep/er/place");
        bundle.mount("bind", file.to_str().unwrap(), "/etc/some/file", &["bind"])
    });
    place.start();
    place.checkpoint(&[]).succeeded();
    for name in ["deep", "etc/some", "proc", "dev", "sys"] {
        std::fs::remove_dir_all(place.bundle.rootfs().join(name)).unwrap();
    }
    place.restore(&[]).succeeded();
    assert_eq!(place.exec(&["cat", "/deep/er/place/which"]), "1");
    assert_eq!(place.exec(&["cat", "/etc/some/file"]), "a file");
    place.finish();
}
