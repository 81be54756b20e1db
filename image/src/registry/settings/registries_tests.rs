use super::super::Hosts;
use super::super::hosts::{Capability, Scheme};
use super::*;

/// Files below a directory: the system's in `etc`, the user's in `home`.
struct Scene(tempfile::TempDir);

impl Scene {
    fn new(files: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().expect("below it")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        Self(root)
    }

    fn files(&self) -> RegistriesFiles {
        RegistriesFiles {
            file: None,
            system: Some(self.0.path().join("etc")),
            user: Some(self.0.path().join("home")),
        }
    }

    fn prefixes(&self, files: &RegistriesFiles) -> Vec<String> {
        let read = files.read().expect("well-formed");
        let prefixes = read.tables.iter().map(|table| table.prefix.clone());
        prefixes.collect()
    }
}

fn one(text: &str) -> Result<Registries> {
    let scene = Scene::new(&[("etc/registries.conf", text)]);
    scene.files().read()
}

fn table(prefix: &str) -> String {
    format!("[[registry]]\nprefix = \"{prefix}\"\n")
}

#[test]
fn drop_ins_come_after_the_file_and_the_users_file_stands_alone() {
    let (a, b) = (table("a.io"), table("b.io"));
    let blocked = format!("{a}blocked = true\n");
    let scene = Scene::new(&[
        ("etc/registries.conf", &*format!("{a}{}", table("z.io"))),
        ("etc/registries.conf.d/20.conf", &b),
        ("etc/registries.conf.d/10.conf", &blocked),
        ("etc/registries.conf.d/README", "no TOML"),
        ("home/registries.conf.d/1.conf", &table("c.io")),
        ("other.conf", &table("o.io")),
    ]);
    let files = scene.files();
    assert_eq!(scene.prefixes(&files), ["z.io", "a.io", "b.io", "c.io"]);
    let read = files.read().expect("well-formed");
    assert!(
        read.find("a.io/x").expect("there").is_blocked,
        "the later one counts"
    );

    let mut named = files.clone();
    named.file = Some(scene.0.path().join("other.conf"));
    assert_eq!(scene.prefixes(&named), ["o.io", "a.io", "b.io", "c.io"]);
    named.file = Some(scene.0.path().join("missing.conf"));
    assert!(named.read().is_err());

    let own = scene.0.path().join("home/registries.conf");
    std::fs::write(own, table("h.io")).expect("written");
    assert_eq!(scene.prefixes(&files), ["h.io", "c.io"]);
    assert!(
        RegistriesFiles::default()
            .read()
            .expect("none")
            .find("a.io/x")
            .is_none()
    );
}

#[test]
fn variables_lead_to_the_usual_files() {
    let files = RegistriesFiles::from_variables(|name| match name {
        "HOME" => Some("/home/u".into()),
        "CONTAINERS_REGISTRIES_CONF" => Some("r.conf".into()),
        _ => None,
    });
    assert_eq!(files.file, Some("r.conf".into()));
    assert_eq!(files.system, Some("/etc/containers".into()));
    assert_eq!(files.user, Some("/home/u/.config/containers".into()));
}

#[test]
fn the_longest_prefix_counts_and_ends_where_a_name_does() {
    let prefixes = ["r.io", "r.io/a", "r.io/a/b", "r.io:5000", "*.r.io", "s.io"];
    let text: String = prefixes.map(table).concat();
    let read = one(&text).expect("well-formed");
    for (image, expected) in [
        ("r.io/x", Some("r.io")),
        ("r.io", Some("r.io")),
        ("r.io/a", Some("r.io/a")),
        ("r.io/ab", Some("r.io")),
        ("r.io/a/b/c", Some("r.io/a/b")),
        ("r.io/a/bc", Some("r.io/a")),
        ("r.io:5000/a", Some("r.io:5000")),
        ("r.io:6000/a", None),
        ("x.r.io/a", Some("*.r.io")),
        ("y.x.r.io:1/a", Some("*.r.io")),
        ("xr.io/a", None),
        ("s.io.evil/a", None),
    ] {
        let found = read.find(image).map(|table| table.prefix.as_str());
        assert_eq!(found, expected, "{image}");
    }
}

#[test]
fn mirrors_and_another_location_are_read_and_the_registry_itself_is_written() {
    let text = r#"
        [[registry]]
        prefix = "r.io/team"
        location = "real.io:8443/there/"
        insecure = true
        [[registry.mirror]]
        location = "m.io"
        pull-from-mirror = "digest-only"
        [[registry.mirror]]
        location = "docker.io/cache/team"
        insecure = true
        pull-from-mirror = "tag-only"
    "#;
    let read = one(text).expect("well-formed");
    let table = read.find("r.io/team/app").expect("there");
    let places = Hosts::default()
        .places("r.io", Some(table))
        .expect("places");
    let shown: Vec<_> = places
        .iter()
        .map(|place| {
            let renamed = place.renamed.as_ref();
            let name = renamed.map(|renamed| renamed.repository("team/app"));
            (
                place.scheme,
                place.authority.as_str(),
                name.unwrap_or_default(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            (Scheme::Https, "m.io", "app".to_owned()),
            (
                Scheme::Either,
                "registry-1.docker.io",
                "cache/team/app".to_owned()
            ),
            (Scheme::Either, "real.io:8443", "there/app".to_owned()),
            (Scheme::Either, "r.io", String::new()),
        ]
    );
    let renamed: Vec<_> = places
        .iter()
        .filter_map(|place| place.renamed.as_ref())
        .collect();
    assert_eq!(renamed[1].registry, "docker.io");
    let mirrors = renamed.iter().map(|renamed| renamed.is_mirror);
    assert_eq!(mirrors.collect::<Vec<_>>(), [true, true, false]);
    assert!(renamed[0].when.includes(true) && !renamed[0].when.includes(false));
    assert!(renamed[1].when.includes(false) && !renamed[1].when.includes(true));
    let writers = places
        .iter()
        .filter(|place| place.capabilities.contains(&Capability::Push));
    assert_eq!(
        writers.map(|place| &*place.authority).collect::<Vec<_>>(),
        ["r.io"]
    );
    assert!(places[1].tls.skip_verify && !places[0].tls.skip_verify);
}

#[test]
fn a_wildcard_changes_how_hosts_are_talked_to_or_where_they_are() {
    let text = "[[registry]]\nprefix = \"*.r.io\"\ninsecure = true\n\
                [[registry]]\nprefix = \"*.s.io\"\nlocation = \"all.io/s\"\n";
    let read = one(text).expect("well-formed");
    let places = |registry: &str| {
        let table = read.find(&format!("{registry}/a/b")).expect("there");
        Hosts::default()
            .places(registry, Some(table))
            .expect("places")
    };
    let same = places("x.r.io");
    assert_eq!((same.len(), &*same[0].authority), (1, "x.r.io"));
    assert_eq!(same[0].scheme, Scheme::Either);
    let other = places("x.s.io");
    let renamed = other[0].renamed.as_ref().expect("elsewhere");
    assert_eq!(renamed.repository("a/b"), "s/a/b");
}

#[test]
fn hosts_toml_wins_but_not_over_what_is_blocked() {
    let scene = Scene::new(&[
        ("certs.d/r.io/hosts.toml", "[host.\"https://h.io\"]\n"),
        (
            "etc/registries.conf",
            "[[registry]]\nlocation = \"r.io\"\nblocked = true\n\
            [[registry.mirror]]\nlocation = \"m.io\"\n",
        ),
    ]);
    let read = scene.files().read().expect("well-formed");
    let table = read.find("r.io/a").expect("there");
    let mut hosts = Hosts {
        directories: vec![scene.0.path().join("certs.d")],
        ..Hosts::default()
    };
    let first = |hosts: &Hosts| {
        let places = hosts.places("r.io", Some(table)).expect("places");
        places[0].authority.clone()
    };
    assert_eq!(first(&hosts), "h.io");
    hosts.directories.clear();
    assert_eq!(first(&hosts), "m.io");
    let error = table.permit("r.io/a").expect_err("blocked");
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains("registries.conf"), "{error}");
}

#[test]
fn names_without_a_registry_are_not_looked_for() {
    let with = |list: &str| one(&format!("unqualified-search-registries = {list}")).expect("read");
    assert!(with("[\"quay.io\"]").searches.is_some());
    assert!(with("[\"docker.io\"]").searches.is_none());
    assert!(
        one("[aliases]\na = \"b.io/a\"\n")
            .expect("read")
            .searches
            .is_none()
    );
}

#[test]
fn what_is_not_understood_is_named() {
    let mirror = "[[registry]]\nlocation = \"r.io\"\nmirror-by-digest-only = true\n\
                  [[registry.mirror]]\nlocation = \"m.io\"\n";
    for (text, word) in [
        ("[[registry]]\ninsecure = true", "neither"),
        ("[[registry]]\nlocation = \"https://r.io\"", "location"),
        ("[[registry]]\nlocation = \"r.io/a:1\"", "location"),
        ("[[registry]]\nprefix = \"r.io/a:1\"", "prefix"),
        ("[[registry]]\nprefix = \"*.r.io/a\"", "wildcard"),
        ("[[registry]]\nprefix = \"r.*.io\"", "prefix"),
        ("[[registry]]\nlocation = \"r.io\"\nblocked = 1", "blocked"),
        ("[[registry]]\nlocation = \"r.io\"\nmirrors = []", "mirrors"),
        ("[[registry]]\nlocation = \"r.io\"\nmirror = 1", "mirror"),
        (
            "[[registry]]\nlocation = \"r.io\"\n[[registry]]\nlocation = \"r.io\"",
            "twice",
        ),
        (
            &*format!("{mirror}pull-from-mirror = \"all\""),
            "mirror-by-digest-only",
        ),
        (
            "[[registry]]\nlocation = \"r.io\"\n[[registry.mirror]]\nlocation = \"m\"\n\
             pull-from-mirror = \"x\"",
            "pull-from-mirror",
        ),
        (
            "unqualified-search-registries = \"docker.io\"",
            "unqualified",
        ),
        ("unqualified = []", "unqualified"),
        ("[registry", "registries.conf"),
    ] {
        let error = one(text).expect_err(text);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
        assert!(error.to_string().contains(word), "{error}");
    }
    let read = one(mirror).expect("well-formed");
    assert_eq!(read.tables[0].mirrors[0].when, When::ByDigest);
}

#[test]
fn version_1_is_read_as_what_it_means_in_version_2() {
    let text = "[registries.search]\nregistries = [\"quay.io\"]\n\
                [registries.insecure]\nregistries = [\"r.io:5000\", \"bad.io/x/\"]\n\
                [registries.block]\nregistries = [\"bad.io/x\", \"worse.io\"]\n";
    let read = one(text).expect("well-formed");
    let of = |image: &str| {
        let table = read.find(image)?;
        assert!(table.mirrors.is_empty() && table.location.is_none());
        Some((table.is_insecure, table.is_blocked))
    };
    assert_eq!(of("r.io:5000/a"), Some((true, false)));
    assert_eq!(of("bad.io/x/a"), Some((true, true)));
    assert_eq!(of("worse.io/a"), Some((false, true)));
    assert_eq!(of("quay.io/a"), None);
    assert!(read.searches.is_some());
    let worse = read.find("worse.io/a").expect("there");
    let error = worse.permit("worse.io/a").expect_err("blocked");
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");

    // Lists that are there for their looks say nothing.
    let empty = "registry = []\n[registries.search]\nregistries = [\"docker.io\"]\n\
                 [registries.insecure]\n[registries.block]\nregistries = []\n";
    let read = one(empty).expect("well-formed");
    assert!(read.tables.is_empty() && read.searches.is_none());
    let empty = format!("[registries.search]\nregistries = []\n{}", table("r.io"));
    assert_eq!(one(&empty).expect("well-formed").tables.len(), 1);
}

#[test]
fn version_1_stands_alone_and_in_the_main_file() {
    let block = "[registries.block]\nregistries = [\"a.io\"]\n";
    let search = "unqualified-search-registries = [\"docker.io\"]\n";
    for (text, word) in [
        (format!("{block}{}", table("r.io")), "registry of version 2"),
        (
            format!("{search}{block}"),
            "unqualified-search-registries of",
        ),
        (
            format!("short-name-mode = \"enforcing\"\n{block}"),
            "short-name",
        ),
        ("[registries.blocked]\nregistries = []".into(), "blocked"),
        ("[registries.block]\nregistry = []".into(), "registry"),
        (
            "[registries.block]\nregistries = \"a.io\"".into(),
            "list of texts",
        ),
        ("[registries]\nblock = [\"a.io\"]".into(), "block"),
        ("registries = [\"a.io\"]".into(), "must be a table"),
        (
            "[registries.block]\nregistries = [\"https://a.io\"]".into(),
            "block: \"https://a.io\"",
        ),
        (
            "[registries.insecure]\nregistries = [\"\"]".into(),
            "insecure",
        ),
    ] {
        let error = one(&text).expect_err(&text);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
        assert!(error.to_string().contains(word), "{error}");
    }
    let scene = Scene::new(&[("etc/registries.conf.d/1.conf", block)]);
    let error = scene.files().read().expect_err("a drop-in");
    assert!(error.to_string().contains("drop-in"), "{error}");

    let scene = Scene::new(&[
        ("etc/registries.conf", block),
        ("etc/registries.conf.d/1.conf", &table("r.io")),
    ]);
    assert_eq!(scene.prefixes(&scene.files()), ["a.io", "r.io"]);
}
