//! What a caller has chosen for the runtime of a container: `containerd.runc.v1.Options`.
//!
//! It comes in Create's Any, as runc's own message, or, for a runtime that containerd's CRI
//! plugin does not know by name, as `runtimeoptions.v1.Options` with the table of its
//! configuration file in TOML. It stays in the bundle as options.json, so that
//! `containerd-shim-tare-v1 delete` knows it when the shim is gone.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use containerd_shim_protos::shim::oci;
use nix::errno::Errno;
use protobuf::well_known_types::any::Any;
use protobuf::{CodedInputStream, Message, UnknownValueRef};
use runtime_core::bundle::{BundleError, read_document};
use runtime_core::errno::of_io;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

mod table;

/// Where containers' states are unless the caller says so; runc's shim has it there too.
pub const DEFAULT_ROOT: &str = "/run/containerd/runc";

/// The options' file in the bundle.
const FILE: &str = "options.json";

/// The basename of a binary whose work is done in this process.
const OWN_BINARY: &str = "tare";

/// Field of runc's message that containerd 2.0 has removed and 1.x sends.
const CRIU_PATH_FIELD: u32 = 8;

/// What a caller has chosen. The names are the message's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Leave the host's root by chroot(2) instead of pivot_root(2).
    #[serde(skip_serializing_if = "is_false")]
    pub no_pivot_root: bool,
    /// Stay in the caller's session keyring.
    #[serde(skip_serializing_if = "is_false")]
    pub no_new_keyring: bool,
    /// The cgroup that the shim itself belongs into; empty for the caller's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub shim_cgroup: String,
    /// Owner of the pipes that are standard input, output and error.
    #[serde(skip_serializing_if = "is_zero")]
    pub io_uid: u32,
    /// Group of these pipes.
    #[serde(skip_serializing_if = "is_zero")]
    pub io_gid: u32,
    /// The runtime to run, by name or path; empty for tare in this process.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub binary_name: String,
    /// Below which the namespace's state root is; empty for [`DEFAULT_ROOT`].
    #[serde(skip_serializing_if = "String::is_empty")]
    pub root: String,
    /// CRIU's binary; empty for `criu` in PATH.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub criu_path: String,
    /// Make cgroups as systemd's units.
    #[serde(skip_serializing_if = "is_false")]
    pub systemd_cgroup: bool,
    /// Where checkpoints' images go when a call does not say so.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub criu_image_path: String,
    /// Where CRIU keeps its logs when a call does not say so.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub criu_work_path: String,
}

// serde's skip_serializing_if gives references.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Options {
    /// The options of a call; the defaults when it has none.
    ///
    /// # Errors
    ///
    /// INVALID_ARGUMENT for a message of another type, one that can't be decoded, or a table
    /// with a member that nobody knows.
    pub fn from_any(any: Option<&Any>) -> Result<Self, Failure> {
        let Some(any) = any.filter(|any| !any.type_url.is_empty()) else {
            return Ok(Self::default());
        };
        match message_name(any) {
            "containerd.runc.v1.Options" => {
                let message = oci::Options::parse_from_bytes(&any.value)
                    .map_err(|error| undecodable(any, &error))?;
                Ok(Self::from_message(message))
            }
            "runtimeoptions.v1.Options" => Self::from_generic(any),
            _ => Err(Failure::invalid(format!(
                "runtime options of type {:?}: containerd.runc.v1.Options and runtimeoptions.v1.Options are known",
                any.type_url
            ))),
        }
    }

    fn from_message(message: oci::Options) -> Self {
        let criu_path = match message.special_fields.unknown_fields().get(CRIU_PATH_FIELD) {
            Some(UnknownValueRef::LengthDelimited(path)) => {
                String::from_utf8_lossy(path).into_owned()
            }
            _ => String::new(),
        };
        Self {
            no_pivot_root: message.no_pivot_root,
            no_new_keyring: message.no_new_keyring,
            shim_cgroup: message.shim_cgroup,
            io_uid: message.io_uid,
            io_gid: message.io_gid,
            binary_name: message.binary_name,
            root: message.root,
            criu_path,
            systemd_cgroup: message.systemd_cgroup,
            criu_image_path: message.criu_image_path,
            criu_work_path: message.criu_work_path,
        }
    }

    /// The message for runtimes that containerd does not know: a file's path or its content.
    fn from_generic(any: &Any) -> Result<Self, Failure> {
        let generic = Generic::decode(&any.value).map_err(|error| undecodable(any, &error))?;
        if generic.config_path.is_empty() {
            return table::parse(&generic.config_body)
                .map_err(|fault| Failure::invalid(format!("runtime options: {fault}")));
        }
        let path = Path::new(&generic.config_path);
        let body = read_document(path)
            .map_err(|error| Failure::invalid(format!("runtime options: {error}")))?;
        table::parse(&body).map_err(|fault| {
            Failure::invalid(format!("runtime options: {}: {fault}", path.display()))
        })
    }

    /// The options that a shim has left in a bundle; the defaults when it has left none.
    ///
    /// # Errors
    ///
    /// The file is there, and unreadable, too large or no JSON.
    pub fn read(bundle: &Path) -> Result<Self, Failure> {
        let path = bundle.join(FILE);
        let document = match read_document(&path) {
            Err(BundleError::Read { source, .. }) if of_io(&source) == Errno::ENOENT => {
                return Ok(Self::default());
            }
            document => document.map_err(|error| Failure::unknown(error.to_string()))?,
        };
        serde_json::from_slice(&document)
            .map_err(|error| Failure::unknown(format!("{}: {error}", path.display())))
    }

    /// Leaves the options in a bundle, whole or not at all.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn write(&self, bundle: &Path) -> Result<(), Failure> {
        let path = bundle.join(FILE);
        let unfinished = bundle.join(".options.json");
        let failed = |error: std::io::Error| {
            Failure::call(format_args!("write {}", path.display()), of_io(&error))
        };
        let document = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        let written = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&unfinished)
            .and_then(|mut file| file.write_all(&document))
            .and_then(|()| std::fs::rename(&unfinished, &path));
        written.map_err(|error| {
            // The first failure is the one to report.
            std::fs::remove_file(&unfinished).ok();
            failed(error)
        })
    }

    /// Whether another runtime's binary is to be run. Docker gives the path of `tare` itself
    /// when it is configured by path: its work is done in this process.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        let name = Path::new(&self.binary_name).file_name();
        !self.binary_name.is_empty() && name.is_none_or(|name| name != OWN_BINARY)
    }

    /// The state root of a namespace's containers.
    ///
    /// # Errors
    ///
    /// INVALID_ARGUMENT for a namespace that is no file name, or a root that is not absolute.
    pub fn runtime_root(&self, namespace: &str) -> Result<PathBuf, Failure> {
        if matches!(namespace, "" | "." | "..") || namespace.contains(['/', '\0']) {
            let text = format!("namespace {namespace:?}: it must be one path component");
            return Err(Failure::invalid(text));
        }
        let root = match self.root.as_str() {
            "" => Path::new(DEFAULT_ROOT),
            root => Path::new(root),
        };
        if !root.is_absolute() || self.root.contains('\0') {
            let text = format!("runtime root {:?}: it must be an absolute path", self.root);
            return Err(Failure::invalid(text));
        }
        Ok(root.join(namespace))
    }
}

/// The message's name without the prefix that some callers write before it.
fn message_name(any: &Any) -> &str {
    let url = any.type_url.as_str();
    url.rsplit_once('/').map_or(url, |(_, name)| name)
}

fn undecodable(any: &Any, error: &protobuf::Error) -> Failure {
    Failure::invalid(format!("decode {}: {error}", any.type_url))
}

/// `runtimeoptions.v1.Options`, which the crate of protocols lacks.
#[derive(Debug, Default)]
struct Generic {
    config_path: String,
    /// Counts without a path.
    config_body: Vec<u8>,
}

impl Generic {
    fn decode(bytes: &[u8]) -> protobuf::Result<Self> {
        let mut generic = Self::default();
        let mut stream = CodedInputStream::from_bytes(bytes);
        while let Some(tag) = stream.read_raw_tag_or_eof()? {
            match tag {
                // Number and wire type 2, as length-delimited values have it.
                0x12 => generic.config_path = stream.read_string()?,
                0x1a => generic.config_body = stream.read_bytes()?,
                _ => protobuf::rt::skip_field_for_tag(tag, &mut stream)?,
            }
        }
        Ok(generic)
    }
}

/// What a caller has chosen for one checkpoint. The names are the message's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointOptions {
    /// Stop the container afterwards.
    pub exit: bool,
    /// Take open TCP connections along.
    pub open_tcp: bool,
    /// Take unix sockets along whose other end is outside.
    pub external_unix_sockets: bool,
    /// Take terminals along.
    pub terminal: bool,
    /// Take file locks along.
    pub file_locks: bool,
    /// Namespaces that are restored without content.
    pub empty_namespaces: Vec<String>,
    /// `soft`, `full`, `strict`, `ignore`; empty for CRIU's default.
    pub cgroups_mode: String,
    /// Where the images go; empty for the call's own path.
    pub image_path: String,
    /// Where CRIU keeps its logs.
    pub work_path: String,
}

impl CheckpointOptions {
    /// The options of a call; the defaults when it has none.
    ///
    /// # Errors
    ///
    /// INVALID_ARGUMENT for a message of another type, or one that can't be decoded.
    pub fn from_any(any: Option<&Any>) -> Result<Self, Failure> {
        let Some(any) = any.filter(|any| !any.type_url.is_empty()) else {
            return Ok(Self::default());
        };
        if message_name(any) != "containerd.runc.v1.CheckpointOptions" {
            return Err(Failure::invalid(format!(
                "checkpoint options of type {:?}: containerd.runc.v1.CheckpointOptions is known",
                any.type_url
            )));
        }
        let message = oci::CheckpointOptions::parse_from_bytes(&any.value)
            .map_err(|error| undecodable(any, &error))?;
        Ok(Self {
            exit: message.exit,
            open_tcp: message.open_tcp,
            external_unix_sockets: message.external_unix_sockets,
            terminal: message.terminal,
            file_locks: message.file_locks,
            empty_namespaces: message.empty_namespaces,
            cgroups_mode: message.cgroups_mode,
            image_path: message.image_path,
            work_path: message.work_path,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(type_url: &str, value: Vec<u8>) -> Any {
        Any {
            type_url: type_url.into(),
            value,
            ..Any::default()
        }
    }

    fn whole() -> Options {
        Options {
            no_pivot_root: true,
            no_new_keyring: true,
            shim_cgroup: "/shims".into(),
            io_uid: 1000,
            io_gid: 1001,
            binary_name: "/usr/sbin/runc".into(),
            root: "/run/here".into(),
            criu_path: "/opt/criu".into(),
            systemd_cgroup: true,
            criu_image_path: "/images".into(),
            criu_work_path: "/work".into(),
        }
    }

    fn message() -> oci::Options {
        let options = whole();
        let mut message = oci::Options {
            no_pivot_root: true,
            no_new_keyring: true,
            shim_cgroup: options.shim_cgroup,
            io_uid: 1000,
            io_gid: 1001,
            binary_name: options.binary_name,
            root: options.root,
            systemd_cgroup: true,
            criu_image_path: options.criu_image_path,
            criu_work_path: options.criu_work_path,
            ..oci::Options::default()
        };
        message
            .special_fields
            .mut_unknown_fields()
            .add_length_delimited(CRIU_PATH_FIELD, options.criu_path.into_bytes());
        message
    }

    #[test]
    fn every_field_of_the_message_arrives_with_and_without_a_prefix() {
        let bytes = message().write_to_bytes().unwrap();
        for url in [
            "containerd.runc.v1.Options",
            "type.googleapis.com/containerd.runc.v1.Options",
        ] {
            assert_eq!(
                Options::from_any(Some(&any(url, bytes.clone()))),
                Ok(whole())
            );
        }
    }

    #[test]
    fn without_a_message_the_defaults_hold() {
        assert_eq!(Options::from_any(None), Ok(Options::default()));
        assert_eq!(
            Options::from_any(Some(&Any::default())),
            Ok(Options::default())
        );
    }

    #[test]
    fn an_unknown_type_and_bytes_that_are_no_message_are_refused() {
        let other = Options::from_any(Some(&any("containerd.runhcs.v1.Options", vec![])));
        let failure = other.unwrap_err();
        assert_eq!(failure.code, ttrpc::Code::INVALID_ARGUMENT);
        assert!(failure.message.contains("containerd.runhcs.v1.Options"));
        let broken = Options::from_any(Some(&any("containerd.runc.v1.Options", vec![0xff])));
        assert_eq!(broken.unwrap_err().code, ttrpc::Code::INVALID_ARGUMENT);
        let broken = Options::from_any(Some(&any("runtimeoptions.v1.Options", vec![0x12, 9])));
        assert_eq!(broken.unwrap_err().code, ttrpc::Code::INVALID_ARGUMENT);
    }

    /// The generic message's bytes, written by hand as protobuf's encoding says.
    fn generic(path: &str, body: &str) -> Any {
        let mut bytes = vec![];
        for (tag, text) in [(0x0a, "io.containerd.tare.v1"), (0x12, path), (0x1a, body)] {
            bytes.push(tag);
            bytes.push(u8::try_from(text.len()).unwrap());
            bytes.extend_from_slice(text.as_bytes());
        }
        any("runtimeoptions.v1.Options", bytes)
    }

    #[test]
    fn a_table_counts_from_the_message_and_before_it_from_a_file() {
        let body = generic("", "SystemdCgroup = true\nRoot = '/run/x'\n");
        let options = Options::from_any(Some(&body)).unwrap();
        assert!(options.systemd_cgroup && options.root == "/run/x");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("o.toml");
        std::fs::write(&file, "IoUid = 7\n").unwrap();
        let both = generic(file.to_str().unwrap(), "IoUid = 8\n");
        assert_eq!(Options::from_any(Some(&both)).unwrap().io_uid, 7);
        std::fs::write(&file, "IoUid = 7\nNope = 1\n").unwrap();
        let failure = Options::from_any(Some(&both)).unwrap_err();
        let text = format!(
            "runtime options: {}: line 2: unknown option Nope",
            file.display()
        );
        assert!(failure.message.starts_with(&text), "{failure}");
        std::fs::remove_file(&file).unwrap();
        let failure = Options::from_any(Some(&both)).unwrap_err();
        assert!(failure.message.contains("no such file"), "{failure}");
        assert_eq!(
            Options::from_any(Some(&generic("", ""))),
            Ok(Options::default())
        );
    }

    #[test]
    fn the_bundle_keeps_the_options() {
        let bundle = tempfile::tempdir().unwrap();
        assert_eq!(Options::read(bundle.path()), Ok(Options::default()));
        whole().write(bundle.path()).unwrap();
        assert_eq!(Options::read(bundle.path()), Ok(whole()));
        Options::default().write(bundle.path()).unwrap();
        let file = bundle.path().join(FILE);
        assert_eq!(std::fs::read(&file).unwrap(), b"{}");
        let later = br#"{"root": "/r", "task_api_version": 3, "new": [{}]}"#;
        std::fs::write(&file, later).unwrap();
        assert_eq!(Options::read(bundle.path()).unwrap().root, "/r");
        std::fs::write(&file, "{").unwrap();
        let failure = Options::read(bundle.path()).unwrap_err();
        assert!(failure.message.contains("options.json: EOF"), "{failure}");
        let names: Vec<_> = std::fs::read_dir(bundle.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }

    #[test]
    fn options_that_cannot_be_written_say_so_and_leave_nothing() {
        let bundle = tempfile::tempdir().unwrap();
        std::fs::create_dir(bundle.path().join(FILE)).unwrap();
        let failure = whole().write(bundle.path()).unwrap_err();
        assert!(failure.message.contains("is a directory"), "{failure}");
        assert!(!bundle.path().join(".options.json").exists());
    }

    #[test]
    fn tare_by_path_is_not_foreign() {
        let foreign = |name: &str| {
            Options {
                binary_name: name.into(),
                ..Options::default()
            }
            .is_foreign()
        };
        assert!(!foreign(""));
        assert!(!foreign("tare"));
        assert!(!foreign("/usr/local/bin/tare"));
        assert!(foreign("runc"));
        assert!(foreign("/usr/bin/crun"));
        assert!(foreign("/opt/tare/runc"));
        assert!(foreign(".."));
    }

    #[test]
    fn the_state_root_is_the_namespaces_own() {
        let root = |root: &str, namespace: &str| {
            let options = Options {
                root: root.into(),
                ..Options::default()
            };
            options
                .runtime_root(namespace)
                .map(|path| path.display().to_string())
                .map_err(|failure| failure.code)
        };
        assert_eq!(root("", "k8s.io"), Ok("/run/containerd/runc/k8s.io".into()));
        assert_eq!(root("/run/d", "moby"), Ok("/run/d/moby".into()));
        for bad in ["", ".", "..", "a/b", "/a", "a\0b"] {
            assert_eq!(root("", bad), Err(ttrpc::Code::INVALID_ARGUMENT), "{bad:?}");
        }
        for bad in ["run/d", "./x", "/a\0b"] {
            assert_eq!(root(bad, "n"), Err(ttrpc::Code::INVALID_ARGUMENT), "{bad}");
        }
    }

    #[test]
    fn a_checkpoints_options_arrive() {
        let message = oci::CheckpointOptions {
            exit: true,
            open_tcp: true,
            external_unix_sockets: true,
            terminal: true,
            file_locks: true,
            empty_namespaces: vec!["network".into()],
            cgroups_mode: "soft".into(),
            image_path: "/i".into(),
            work_path: "/w".into(),
            ..oci::CheckpointOptions::default()
        };
        let bytes = message.write_to_bytes().unwrap();
        let url = "containerd.runc.v1.CheckpointOptions";
        let options = CheckpointOptions::from_any(Some(&any(url, bytes.clone()))).unwrap();
        let expected = CheckpointOptions {
            exit: true,
            open_tcp: true,
            external_unix_sockets: true,
            terminal: true,
            file_locks: true,
            empty_namespaces: vec!["network".into()],
            cgroups_mode: "soft".into(),
            image_path: "/i".into(),
            work_path: "/w".into(),
        };
        assert_eq!(options, expected);
        assert_eq!(
            CheckpointOptions::from_any(None),
            Ok(CheckpointOptions::default())
        );
        let wrong = CheckpointOptions::from_any(Some(&any("containerd.runc.v1.Options", bytes)));
        assert_eq!(wrong.unwrap_err().code, ttrpc::Code::INVALID_ARGUMENT);
    }
}
