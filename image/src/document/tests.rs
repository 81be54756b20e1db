use serde_json::json;

use super::*;
use crate::digest::Digest;
use crate::platform::Platform;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn manifest() -> serde_json::Value {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": DIGEST, "size": 2},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": DIGEST, "size": 3}],
    })
}

fn parse(value: &serde_json::Value, media_type: &MediaType) -> Result<Document> {
    Document::parse(value.to_string().as_bytes(), media_type)
}

#[test]
fn a_manifest_leads_to_its_parts() {
    let Ok(Document::Manifest(manifest)) = parse(&manifest(), &MediaType::OciManifest) else {
        panic!("it is a manifest");
    };
    assert!(manifest.is_image());
    let sizes: Vec<u64> = manifest.children().map(|child| child.size).collect();
    assert_eq!(sizes, [2, 3]);
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    let mut both = manifest();
    both["manifests"] = json!([]);
    let cases = [
        (both.to_string(), "at once"),
        (
            manifest()
                .to_string()
                .replace("image.manifest.v1", "image.index.v1"),
            "is offered as",
        ),
        (
            r#"{"schemaVersion":2,"layers":[],"layers":[]}"#.into(),
            "twice",
        ),
        (
            r#"{"schemaVersion":2,"layers":[],"Layers":[]}"#.into(),
            "twice",
        ),
        ("[]".into(), "no JSON object"),
        (r#"{"schemaVersion":3}"#.into(), "missing field"),
        (
            manifest().to_string().replace("\"size\":2", "\"size\":-2"),
            "invalid value",
        ),
        (
            manifest().to_string().replace("sha256:e3b0", "sha256:E3b0"),
            "digits are",
        ),
        (format!("{}x", manifest()), "trailing"),
        ("[".repeat(100_000), "recursion"),
    ];
    for (text, why) in cases {
        let error = Document::parse(text.as_bytes(), &MediaType::OciManifest).expect_err(why);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(why), "{why}: {error}");
    }
    let old = json!({"schemaVersion": 1, "fsLayers": []});
    let error = parse(&old, &MediaType::OciManifest).expect_err("it is old");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn the_nearest_platform_is_chosen_and_attestations_never_are() {
    let entry = |digest: char, platform: serde_json::Value, annotations: serde_json::Value| {
        json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1, "platform": platform,
            "digest": format!("sha256:{}", digest.to_string().repeat(64)), "annotations": annotations})
    };
    let plain = |os: &str, architecture: &str, variant: &str| json!({"os": os, "architecture": architecture, "variant": variant});
    let index = json!({"schemaVersion": 2, "manifests": [
        entry('0', plain("unknown", "unknown", ""), json!({"vnd.docker.reference.type": "attestation-manifest"})),
        entry('1', plain("linux", "arm", "v6"), json!(null)),
        entry('2', plain("linux", "arm", "v7"), json!(null)),
        entry('3', plain("linux", "amd64", ""), json!(null)),
        entry('4', plain("linux", "amd64", ""), json!(null)),
    ]});
    let index = Index::parse(index.to_string().as_bytes()).expect("it is an index");
    let chosen = |platform: &str| {
        let platform: Platform = platform.parse().expect(platform);
        index
            .choose(&platform)
            .map(|entry| entry.digest.hex()[..1].to_owned())
    };
    assert_eq!(chosen("linux/arm/v7").ok().as_deref(), Some("2"));
    assert_eq!(chosen("linux/arm/v6").ok().as_deref(), Some("1"));
    assert_eq!(chosen("linux/amd64").ok().as_deref(), Some("3"));
    let error = chosen("linux/s390x").expect_err("there is none");
    assert_eq!(
        error.to_string(),
        "no image for linux/s390x in this index: there are linux/arm/v6, linux/arm/v7, linux/amd64, linux/amd64"
    );
}

#[test]
fn a_configuration_of_docker_is_read_with_its_nulls() {
    let config = json!({
        "architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z",
        "config": {"Hostname": "", "User": "", "Env": null, "Cmd": ["sh"], "Volumes": {"/data": {}},
            "ExposedPorts": {"80/tcp": {}}, "Labels": null, "Entrypoint": null, "OnBuild": null},
        "rootfs": {"type": "layers", "diff_ids": [DIGEST, DIGEST]},
        "history": null,
    });
    let config = ImageConfig::parse(config.to_string().as_bytes()).expect("it is one");
    assert_eq!(config.config.cmd, ["sh"]);
    assert_eq!(config.config.volumes, ["/data"]);
    assert_eq!(config.config.exposed_ports, ["80/tcp"]);
    assert_eq!(config.platform.to_string(), "linux/amd64");
    let chain = config.chain_ids();
    assert_eq!(chain[0].to_string(), DIGEST);
    assert_eq!(
        chain[1],
        Digest::of(format!("{DIGEST} {DIGEST}").as_bytes())
    );
    let written = serde_json::to_value(&config).expect("it is plain data");
    assert_eq!(written["config"]["Volumes"], json!({"/data": {}}));
    let other = json!({"rootfs": {"type": "disk", "diff_ids": []}});
    assert!(ImageConfig::parse(other.to_string().as_bytes()).is_err());
}

#[test]
fn data_within_a_descriptor_is_verified() {
    let mut descriptor = Descriptor::of(MediaType::Empty, b"{}");
    assert_eq!(descriptor.embedded().expect("there is none"), None);
    descriptor.data = Some("e30=".into());
    assert_eq!(
        descriptor.embedded().expect("it is right"),
        Some(b"{}".to_vec())
    );
    descriptor.data = Some("e31=".into());
    assert!(descriptor.embedded().is_err());
}

#[test]
fn media_types_keep_their_names() {
    for name in [
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        "application/vnd.oci.image.index.v1+json",
        "text/plain",
    ] {
        assert_eq!(MediaType::from(name.to_owned()).as_str(), name);
        let with_parameter = format!("{name}; charset=utf-8");
        assert_eq!(MediaType::from(with_parameter).as_str(), name);
    }
    let foreign =
        MediaType::from("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip".to_owned());
    assert!(foreign.is_foreign());
}
