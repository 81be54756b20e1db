use super::*;

fn image(execution: Value) -> ImageConfig {
    let config = json!({
        "architecture": "amd64", "os": "linux", "author": "me", "config": execution,
        "rootfs": {"type": "layers", "diff_ids": []},
    });
    ImageConfig::parse(config.to_string().as_bytes()).expect("it is one")
}

fn converted(execution: Value, settings: &Settings) -> Value {
    convert(
        &image(execution),
        &Identity::default(),
        "/rootfs",
        "c1",
        settings,
    )
    .expect("it can be converted")
    .config
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn entry_point_and_command_combine_as_in_docker() {
    let execution = json!({"Entrypoint": ["/entry"], "Cmd": ["a"]});
    let args =
        |settings: &Settings| converted(execution.clone(), settings)["process"]["args"].clone();
    assert_eq!(args(&Settings::default()), json!(["/entry", "a"]));
    let command = Some(words(&["b", "c"]));
    let own = Settings {
        command: command.clone(),
        ..Settings::default()
    };
    assert_eq!(args(&own), json!(["/entry", "b", "c"]));
    let entrypoint = Some(words(&["/own"]));
    let own = Settings {
        entrypoint: entrypoint.clone(),
        ..Settings::default()
    };
    assert_eq!(args(&own), json!(["/own"]));
    let own = Settings {
        entrypoint,
        command,
        ..Settings::default()
    };
    assert_eq!(args(&own), json!(["/own", "b", "c"]));
    let nothing = convert(
        &image(json!({})),
        &Identity::default(),
        "/r",
        "c",
        &Settings::default(),
    );
    assert_eq!(
        nothing.expect_err("nothing to do").kind(),
        ErrorKind::InvalidInput
    );
}

#[test]
fn the_environment_is_the_images_with_the_callers_over_it() {
    let execution = json!({"Cmd": ["x"], "Env": ["PATH=/bin", "A=1", "B=2"]});
    let settings = Settings {
        env: words(&["A=3", "C="]),
        ..Settings::default()
    };
    let config = converted(execution.clone(), &settings);
    let expected = json!(["PATH=/bin", "HOSTNAME=c1", "HOME=", "A=3", "B=2", "C="]);
    assert_eq!(config["process"]["env"], expected);
    for wrong in ["A", "=x"] {
        let settings = Settings {
            env: words(&[wrong]),
            ..Settings::default()
        };
        let result = convert(
            &image(execution.clone()),
            &Identity::default(),
            "/r",
            "c",
            &settings,
        );
        assert!(result.is_err(), "{wrong}");
    }
}

#[test]
fn only_root_holds_capabilities() {
    let settings = Settings {
        dropped_capabilities: words(&["all"]),
        added_capabilities: words(&["net_admin", "CAP_KILL"]),
        ..Settings::default()
    };
    let config = converted(json!({"Cmd": ["x"]}), &settings);
    assert_eq!(
        config["process"]["capabilities"]["effective"],
        json!(["CAP_KILL", "CAP_NET_ADMIN"])
    );
    let user = Identity {
        uid: 5,
        ..Identity::default()
    };
    let config = convert(
        &image(json!({"Cmd": ["x"]})),
        &user,
        "/r",
        "c",
        &Settings::default(),
    )
    .expect("it can be converted")
    .config;
    assert_eq!(config["process"]["capabilities"].get("effective"), None);
    assert_eq!(
        config["process"]["capabilities"]["bounding"],
        json!(DEFAULT_CAPABILITIES)
    );
}

#[test]
fn labels_that_would_command_the_host_are_left_out_with_one_warning() {
    let labels = json!({"org.systemd.property.ExecStart": "x", "run.oci.handler": "krun", "fine": "1",
        "org.opencontainers.image.author": "label"});
    let image = image(json!({"Cmd": ["x"], "Labels": labels, "StopSignal": "SIGUSR1"}));
    let conversion = convert(
        &image,
        &Identity::default(),
        "/r",
        "c",
        &Settings::default(),
    )
    .expect("it can be converted");
    assert_eq!(conversion.warnings.len(), 1);
    assert!(conversion.warnings[0].contains("org.systemd.property.ExecStart, run.oci.handler"));
    let expected = json!({"fine": "1", "org.opencontainers.image.author": "label",
        "org.opencontainers.image.os": "linux", "org.opencontainers.image.architecture": "amd64",
        "org.opencontainers.image.stopSignal": "SIGUSR1"});
    assert_eq!(conversion.config["annotations"], expected);
}

/// U16: marks of checkpoints, of automatic updates, of devices, of other runtimes.
#[test]
fn no_namespace_that_somebody_obeys_gets_through() {
    let commands = [
        "PODMAN_SYSTEMD_UNIT",
        "cdi.k8s.io/vendor",
        "container.apparmor.security.beta.kubernetes.io/c",
        "dev.gvisor.flag.network",
        "devices.nri.io/container.c",
        "io.containerd.runc.v2.group",
        "io.containers.autoupdate",
        "io.cri-containerd.image",
        "io.katacontainers.config.hypervisor.path",
        "io.kubernetes.cri-o.Spoofed",
        "io.podman.annotations.checkpoint",
        "krun.ram_mib",
        "module.wasm.image/variant",
        "org.criu.config",
        "org.opencontainers.runc.anything",
        "org.systemd.property.ExecStart",
        "run.oci.hooks.stderr",
        "seccomp.security.alpha.kubernetes.io/pod",
    ];
    let labels: serde_json::Map<String, Value> = commands
        .iter()
        .map(|name| ((*name).to_owned(), json!("x")))
        .collect();
    let image = image(json!({"Cmd": ["x"], "Labels": labels}));
    let settings = Settings::default();
    let conversion =
        convert(&image, &Identity::default(), "/r", "c", &settings).expect("it can be converted");
    let annotations = conversion.config["annotations"].as_object().expect("some");
    for name in commands {
        assert!(!annotations.contains_key(name), "{name}");
    }
    assert_eq!(conversion.warnings.len(), 1, "{:?}", conversion.warnings);
}

#[test]
fn paths_are_cleaned_within_the_root() {
    for (path, clean) in [
        ("", "/"),
        ("/../../etc", "/etc"),
        ("a/../b", "/b"),
        ("//a//./b/", "/a/b"),
        ("/..", "/"),
    ] {
        assert_eq!(clean_path(path), clean);
    }
}

#[test]
fn the_runtime_takes_what_is_made() {
    for settings in [
        Settings::default(),
        Settings {
            memory_limit_bytes: Some(64 << 20),
            pids_limit: Some(100),
            cpus: Some(0.5),
            cgroup_v2: true,
            read_only: true,
            id_mappings: vec![(0, 100_000, 65_536)],
            binds: vec![Bind {
                source: "/tmp".into(),
                destination: "/data".into(),
                read_only: true,
            }],
            ..Settings::default()
        },
    ] {
        let config = converted(json!({"Cmd": ["x"]}), &settings);
        let text = config.to_string();
        let bundle = runtime_core::Bundle::from_parts("/bundle".into(), text.into_bytes());
        bundle.spec().expect("it is a specification");
        let quota = &config["linux"]["resources"]["cpu"]["quota"];
        assert!(settings.cpus.is_none() || *quota == json!(50_000));
    }
}
