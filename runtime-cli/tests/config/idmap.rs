//! Id-mapped mounts: `idmap`, `ridmap`, `uidMappings`, `gidMappings`.

use std::fs;

use serde_json::{Value, json};
use testkit::needs;

use crate::container::Container;

/// A tree of files of several owners in the bundle, with a mount below it: both on the bundle's
/// own filesystem, since a tmpfs can be mapped from Linux 6.3 on only.
const TREE: &str = "mkdir -p $B/tree $B/below; mount --bind $B/tree $B/tree; mkdir -p $B/tree/sub; \
    mount --bind $B/below $B/tree/sub; for id in 0 5 1000; do \
    for at in tree tree/sub; do touch $B/$at/of-$id; chown $id:$id $B/$at/of-$id; done; done";

const LOOK: &str = "cd /m; for at in . sub; do for id in 0 5 1000; do \
    stat -c '%u:%g' $at/of-$id; done; done; touch /m/new 2>/dev/null && stat -c '%u:%g' /m/new; true";

fn mapped(container: Container, options: &[&str], mappings: Option<(u32, u32, u32)>) -> Container {
    let mut mount = json!({"source": "tree", "destination": "/m", "options": options});
    if let Some((inside, outside, size)) = mappings {
        let list = json!([{"containerID": inside, "hostID": outside, "size": size}]);
        mount["uidMappings"] = list.clone();
        mount["gidMappings"] = list;
    }
    container.push("/mounts", mount)
}

fn owners(container: Container) -> Vec<String> {
    let container = container.script(LOOK);
    let run = container.in_private_mounts(TREE, &["run"]).success();
    run.stdout.lines().map(str::to_owned).collect()
}

const NOBODY: &str = "65534:65534";

#[test]
fn a_mount_with_mappings_of_its_own_shows_and_makes_other_owners() {
    needs!(Root);
    // Owner n of the tree is 100 + n in the container.
    let container = mapped(
        Container::new("idmap"),
        &["rbind", "idmap"],
        Some((0, 100, 10)),
    );
    let owners = owners(container);
    assert_eq!(owners[..3], ["100:100", "105:105", NOBODY], "{owners:?}");
    assert_eq!(
        owners[3..6],
        ["0:0", "5:5", "1000:1000"],
        "idmap is not recursive: {owners:?}"
    );
}

#[test]
fn ridmap_maps_the_mounts_below_as_well() {
    needs!(Root);
    let container = mapped(
        Container::new("ridmap"),
        &["rbind", "ridmap"],
        Some((0, 100, 10)),
    );
    let owners = owners(container);
    assert_eq!(owners[..3], ["100:100", "105:105", NOBODY], "{owners:?}");
    assert_eq!(owners[3..6], ["100:100", "105:105", NOBODY], "{owners:?}");
}

#[test]
fn idmap_without_mappings_takes_those_of_the_containers_user_namespace() {
    needs!(Root);
    for options in [&["rbind", "idmap"][..], &["rbind", "ridmap"]] {
        let container = Container::new("containeridmap").with_user_namespace();
        let owners = owners(mapped(container, options, None));
        assert_eq!(owners[..3], ["0:0", "5:5", "1000:1000"], "{owners:?}");
        let below = if options[1] == "ridmap" {
            "5:5"
        } else {
            NOBODY
        };
        assert_eq!(owners[4], below, "{owners:?}");
        assert_eq!(owners[6], "0:0", "{owners:?}");
    }
    // Without idmap nobody of the host's is anybody in there.
    let container = mapped(
        Container::new("noidmap").with_user_namespace(),
        &["rbind"],
        None,
    );
    let container = container.script("stat -c '%u:%g' /m/of-0 /m/of-5");
    let run = container.in_private_mounts(TREE, &["run"]).success();
    assert_eq!(run.stdout, format!("{NOBODY}\n{NOBODY}\n"));
}

#[test]
fn a_mapped_mount_in_a_user_namespace_may_have_other_mappings_than_it() {
    needs!(Root);
    let container = Container::new("bothmaps").with_user_namespace();
    let container = mapped(container, &["bind", "idmap"], Some((0, 100_000, 2000)));
    let container =
        container.script("stat -c '%u:%g' /m/of-0 /m/of-1000; touch /m/x; stat -c %u /m/x");
    let run = container.in_private_mounts(TREE, &["run"]).success();
    assert_eq!(run.stdout, "0:0\n1000:1000\n0\n", "{run}");
}

#[test]
fn idmaps_that_make_no_sense_are_refused() {
    needs!(Root);
    let with = |mount: Value| Container::new("badidmap").push("/mounts", mount).refused();
    let map = json!([{"containerID": 0, "hostID": 1, "size": 1}]);
    let said = with(json!({"source": "/tmp", "destination": "/m", "options": ["bind", "idmap"]}));
    assert!(said.contains("uidMappings"), "{said}");
    let said = with(json!({
        "source": "/tmp", "destination": "/m", "options": ["bind", "idmap"], "uidMappings": map,
    }));
    assert!(said.contains("both"), "{said}");
    let said = with(json!({
        "type": "tmpfs", "source": "x", "destination": "/m", "options": ["idmap"],
        "uidMappings": map, "gidMappings": map,
    }));
    assert!(said.contains("bind"), "{said}");
}

#[test]
fn the_owner_on_disk_is_the_hosts() {
    needs!(Root);
    let container = Container::new("diskowner");
    fs::create_dir(container.path("plain")).expect("a directory can be made");
    std::os::unix::fs::chown(container.path("plain"), Some(50), Some(60)).expect("we are root");
    let map = json!([{"containerID": 50, "hostID": 0, "size": 20}]);
    let container = container
        .push(
            "/mounts",
            json!({
                "source": "plain", "destination": "/m", "options": ["bind", "idmap"],
                "uidMappings": map, "gidMappings": map,
            }),
        )
        .args(&["sleep", "1000"]);
    let pid = container.detached();
    assert_eq!(
        container.exec("touch /m/x; stat -c %u:%g /m /m/x"),
        "0:10\n0:0\n"
    );
    use std::os::unix::fs::MetadataExt;
    let made = fs::metadata(container.path("plain/x")).expect("it was made");
    assert_eq!((made.uid(), made.gid()), (50, 50));
    assert!(pid > 0);
}
