use super::*;

fn hosts(registry: &str, text: &str) -> (tempfile::TempDir, Hosts) {
    let root = tempfile::tempdir().expect("a directory");
    let directory = root.path().join(registry);
    std::fs::create_dir(&directory).expect("made");
    std::fs::write(directory.join("hosts.toml"), text).expect("written");
    let hosts = Hosts {
        directories: vec![root.path().join("missing"), root.path().to_owned()],
        ..Hosts::default()
    };
    (root, hosts)
}

#[test]
fn mirrors_stand_in_the_order_of_the_file_and_the_server_is_last() {
    let (root, hosts) = hosts(
        "docker.io",
        r#"
        server = "https://upstream.example"
        capabilities = ["pull"]
        [host."https://z.example:8443/sub"]
          capabilities = ["pull", "resolve"]
          ca = "z.crt"
          client = [["c.cert", "/abs/c.key"], "both.pem", ["own.pem", ""]]
          dial_timeout = "1500ms"
          [host."https://z.example:8443/sub".header]
            x-token = ["a", "b"]
        [host."a.example/v2/cache"]
          override_path = true
          skip_verify = true
        [host."http://b.example/v2"]
        "#,
    );
    let places = hosts.places("docker.io", None).expect("well-formed");
    let shown: Vec<_> = places
        .iter()
        .map(|place| (place.scheme, place.authority.as_str(), place.path.as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            (Scheme::Https, "z.example:8443", "/sub/v2"),
            (Scheme::Https, "a.example", "/v2/cache"),
            (Scheme::Http, "b.example", "/v2"),
            (Scheme::Https, "upstream.example", "/v2"),
        ]
    );
    let directory = root.path().join("docker.io");
    assert_eq!(places[0].tls.authorities, [directory.join("z.crt")]);
    let clients = [
        (directory.join("c.cert"), PathBuf::from("/abs/c.key")),
        (directory.join("both.pem"), directory.join("both.pem")),
        (directory.join("own.pem"), directory.join("own.pem")),
    ];
    assert_eq!(places[0].tls.clients, clients);
    assert_eq!(places[0].connect_timeout, Some(Duration::from_millis(1500)));
    assert_eq!(places[0].headers.len(), 2);
    assert_eq!(
        places[0].capabilities,
        [Capability::Pull, Capability::Resolve]
    );
    assert!(places[1].tls.skip_verify && !places[0].tls.skip_verify);
    assert_eq!(places[3].capabilities, [Capability::Pull]);
}

#[test]
fn without_a_server_the_registry_itself_is_last() {
    let (_root, mut hosts) = hosts("_default", "[host.\"https://m.example\"]\n");
    let places = hosts.places("docker.io", None).expect("well-formed");
    let shown: Vec<_> = places
        .iter()
        .map(|place| place.authority.as_str())
        .collect();
    assert_eq!(shown, ["m.example", "registry-1.docker.io"]);

    hosts.directories.clear();
    hosts.mirrors = vec!["http://mirror.local:5000/".into()];
    let places = hosts.places("docker.io", None).expect("well-formed");
    assert_eq!(places[0].path, "/v2");
    assert!(!places[0].capabilities.contains(&Capability::Push));
    assert_eq!(hosts.places("quay.io", None).expect("one").len(), 1);
}

#[test]
fn the_machine_itself_is_asked_and_others_are_encrypted_unless_configured() {
    let hosts = Hosts {
        plain_http: vec!["plain.example".into(), "other.example:5000".into()],
        skip_verify: vec!["lax.example".into()],
        ..Hosts::default()
    };
    let scheme = |registry: &str| hosts.places(registry, None).expect(registry)[0].scheme;
    assert_eq!(scheme("localhost:5000"), Scheme::Ask);
    assert_eq!(scheme("127.0.0.1:5000"), Scheme::Ask);
    assert_eq!(scheme("[::1]:5000"), Scheme::Ask);
    assert_eq!(scheme("plain.example:8080"), Scheme::Http);
    assert_eq!(scheme("other.example:5000"), Scheme::Http);
    assert_eq!(scheme("other.example"), Scheme::Https);
    assert_eq!(scheme("docker.io"), Scheme::Https);
    assert!(
        hosts.places("lax.example:1", None).expect("one")[0]
            .tls
            .skip_verify
    );
    assert!(
        !hosts.places("x.example", None).expect("one")[0]
            .tls
            .skip_verify
    );
}

#[test]
fn what_is_not_understood_is_named() {
    for (text, word) in [
        ("server = 1", "server"),
        ("serve = \"x\"", "serve"),
        ("[host.\"https://m\"]\nskip_verify = \"yes\"", "skip_verify"),
        (
            "[host.\"https://m\"]\ncapabilities = [\"pul\"]",
            "capabilities",
        ),
        ("[host.\"ftp://m\"]", "ftp"),
        (
            "[host.\"https://m\"]\ndial_timeout = \"soon\"",
            "dial_timeout",
        ),
        ("[host.\"https://m\"]\nclient = []", "client"),
        ("[host.\"https://m\"]\nclient = [[\"\", \"\"]]", "client"),
        (
            "[host.\"https://m\"]\nclient = [[\"a\", \"b\", \"c\"]]",
            "client",
        ),
        ("[host", "hosts.toml"),
    ] {
        let (_root, hosts) = hosts("r.io", text);
        let error = hosts.places("r.io", None).expect_err(text);
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn docker_certificates_are_found_by_host_and_port() {
    let root = tempfile::tempdir().expect("a directory");
    let directory = root.path().join("r.io:5000");
    std::fs::create_dir(&directory).expect("made");
    for name in ["ca.crt", "me.cert", "me.key", "I.key", "I.cert", "README"] {
        std::fs::write(directory.join(name), "").expect("written");
    }
    let hosts = Hosts {
        directories: vec![root.path().to_owned()],
        ..Hosts::default()
    };
    let tls = hosts.tls("r.io:5000").expect("complete");
    assert_eq!(tls.authorities, [directory.join("ca.crt")]);
    let pair = |name: &str| {
        let path = |kind: &str| directory.join(format!("{name}.{kind}"));
        (path("cert"), path("key"))
    };
    assert_eq!(tls.clients, [pair("I"), pair("me")]);
    assert_eq!(hosts.tls("r.io").expect("none"), TlsFiles::default());

    std::fs::remove_file(directory.join("me.key")).expect("removed");
    let error = hosts.tls("r.io:5000").expect_err("incomplete");
    assert!(error.to_string().contains("there is no"), "{error}");
}

#[test]
fn what_dockerd_is_told_counts_where_nobody_else_says_anything() {
    let (root, mut hosts) = hosts("own.io", "[host.\"https://m.example\"]\n");
    let daemon = root.path().join("daemon.json");
    let text =
        r#"{"registry-mirrors": ["http://d.io"], "insecure-registries": ["own.io", "x.io"]}"#;
    std::fs::write(&daemon, text).expect("written");
    hosts.docker_daemon = Some(daemon);
    hosts.mirrors = vec!["https://first.io".into()];
    let shown = |registry: &str| {
        let places = hosts.places(registry, None).expect("well-formed");
        let shown = places
            .iter()
            .map(|place| (place.scheme, place.authority.clone()));
        shown.collect::<Vec<_>>()
    };
    let first = (Scheme::Https, "first.io".to_owned());
    let second = (Scheme::Http, "d.io".to_owned());
    let itself = (Scheme::Https, "registry-1.docker.io".to_owned());
    assert_eq!(shown("docker.io"), [first, second, itself]);
    assert_eq!(shown("x.io"), [(Scheme::Either, "x.io".to_owned())]);
    assert_eq!(shown("own.io")[1], (Scheme::Https, "own.io".to_owned()));
}
