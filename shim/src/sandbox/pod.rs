//! What Kubernetes says of a pod, as far as its sandbox needs it: the few fields of the CRI's
//! `PodSandboxConfig` that say where its namespaces and its cgroup are. Pure.

use std::collections::BTreeMap;

use containerd_shim_protos::protobuf::CodedInputStream;
use containerd_shim_protos::protobuf::well_known_types::any::Any;

use super::users::{Range, Users};
use crate::failure::Failure;

/// Which namespace the containers of a pod share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Scope {
    /// The pod's own.
    #[default]
    Pod,
    /// Each container's own.
    Container,
    /// The host's.
    Node,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) hostname: String,
    pub(super) cgroup_parent: String,
    pub(super) sysctls: BTreeMap<String, String>,
    pub(super) network: Scope,
    pub(super) pid: Scope,
    pub(super) ipc: Scope,
    /// None: they are the host's.
    pub(super) users: Option<Users>,
}

type Parsed<T> = Result<T, containerd_shim_protos::protobuf::Error>;

impl Pod {
    /// The pod of a sandbox's options; one with everything of its own without any.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for a message of another type or none, and for a pod whose users are to
    /// be mapped and have no map.
    pub(super) fn decode(options: Option<&Any>) -> Result<Self, Failure> {
        let Some(any) = options.filter(|any| !any.type_url.is_empty()) else {
            return Ok(Self::default());
        };
        let name = any.type_url.rsplit('/').next().unwrap_or_default();
        if !name.ends_with(".PodSandboxConfig") {
            let text = format!(
                "options of type {}: a sandbox takes PodSandboxConfig",
                any.type_url
            );
            return Err(Failure::invalid(text));
        }
        let mut pod = Self::default();
        pod.read(&any.value)
            .map_err(|error| Failure::invalid(format!("{name}: {error}")))?;
        match &pod.users {
            Some(users) if !users.contain(0) => Err(Failure::invalid(format!(
                "{name}: userns_options: uids and gids must map user 0 and group 0"
            ))),
            _ => Ok(pod),
        }
    }

    fn read(&mut self, bytes: &[u8]) -> Parsed<()> {
        each_field(bytes, |number, value| {
            match (number, value) {
                (2, Value::Bytes(hostname)) => self.hostname = text(hostname),
                (8, Value::Bytes(linux)) => self.read_linux(linux)?,
                _ => {}
            }
            Ok(())
        })
    }

    fn read_linux(&mut self, bytes: &[u8]) -> Parsed<()> {
        each_field(bytes, |number, value| {
            match (number, value) {
                (1, Value::Bytes(parent)) => self.cgroup_parent = text(parent),
                (2, Value::Bytes(security)) => self.read_security(security)?,
                (3, Value::Bytes(entry)) => {
                    let (key, value) = map_entry(entry)?;
                    self.sysctls.insert(key, value);
                }
                _ => {}
            }
            Ok(())
        })
    }

    fn read_security(&mut self, bytes: &[u8]) -> Parsed<()> {
        each_field(bytes, |number, value| match (number, value) {
            (1, Value::Bytes(options)) => self.read_namespaces(options),
            _ => Ok(()),
        })
    }

    fn read_namespaces(&mut self, bytes: &[u8]) -> Parsed<()> {
        each_field(bytes, |number, value| {
            match (number, value) {
                (1, Value::Number(mode)) => self.network = scope(mode),
                (2, Value::Number(mode)) => self.pid = scope(mode),
                (3, Value::Number(mode)) => self.ipc = scope(mode),
                // UserNamespace, whose mode POD is 0 and so left out.
                (5, Value::Bytes(users)) => {
                    self.users = mapped_users(users)?;
                }
                _ => {}
            }
            Ok(())
        })
    }
}

/// NamespaceMode of the CRI.
fn scope(mode: u64) -> Scope {
    match mode {
        0 => Scope::Pod,
        2 => Scope::Node,
        _ => Scope::Container,
    }
}

/// UserNamespace of the CRI: its mode and its maps. None for the node's users.
fn mapped_users(bytes: &[u8]) -> Parsed<Option<Users>> {
    let (mut mode, mut users) = (0, Users::default());
    each_field(bytes, |number, value| {
        match (number, value) {
            (1, Value::Number(given)) => mode = given,
            (2, Value::Bytes(mapping)) => users.uids.push(range(mapping)?),
            (3, Value::Bytes(mapping)) => users.gids.push(range(mapping)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok((scope(mode) == Scope::Pod).then_some(users))
}

/// IDMapping of the CRI.
fn range(bytes: &[u8]) -> Parsed<Range> {
    let mut range = Range::default();
    each_field(bytes, |number, value| {
        match (number, value) {
            (1, Value::Number(id)) => range.host = id,
            (2, Value::Number(id)) => range.container = id,
            (3, Value::Number(size)) => range.size = size,
            _ => {}
        }
        Ok(())
    })?;
    Ok(range)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn map_entry(bytes: &[u8]) -> Parsed<(String, String)> {
    let (mut key, mut value) = (String::new(), String::new());
    each_field(bytes, |number, field| {
        match (number, field) {
            (1, Value::Bytes(bytes)) => key = text(bytes),
            (2, Value::Bytes(bytes)) => value = text(bytes),
            _ => {}
        }
        Ok(())
    })?;
    Ok((key, value))
}

/// A field's value, of the two kinds that are of interest.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Calls `take` with the number and value of each field of a message.
fn each_field(bytes: &[u8], mut take: impl FnMut(u32, Value<'_>) -> Parsed<()>) -> Parsed<()> {
    const VARINT: u32 = 0;
    const LENGTH_DELIMITED: u32 = 2;
    let mut input = CodedInputStream::from_bytes(bytes);
    while let Some(tag) = input.read_raw_tag_or_eof()? {
        let (number, kind) = (tag >> 3, tag & 7);
        match kind {
            VARINT => take(number, Value::Number(input.read_raw_varint64()?))?,
            LENGTH_DELIMITED => take(number, Value::Bytes(&input.read_bytes()?))?,
            _ => containerd_shim_protos::protobuf::rt::skip_field_for_tag(tag, &mut input)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).unwrap();
        [&[number << 3 | 2, length], bytes].concat()
    }

    fn options(value: Vec<u8>) -> Any {
        Any {
            type_url: "type.googleapis.com/runtime.v1.PodSandboxConfig".to_owned(),
            value,
            ..Any::default()
        }
    }

    #[test]
    fn the_fields_of_a_pod_are_found() {
        let namespaces = [1 << 3, 2, 2 << 3, 1];
        let security = field(1, &namespaces);
        let sysctl = [field(1, b"net.core.somaxconn"), field(2, b"99")].concat();
        let linux = [
            field(1, b"/kubepods/pod1"),
            field(2, &security),
            field(3, &sysctl),
        ]
        .concat();
        let message = [
            field(2, b"web"),
            field(8, &linux),
            vec![9 << 3 | 5, 1, 2, 3, 4],
        ]
        .concat();
        let pod = Pod::decode(Some(&options(message))).unwrap();
        let expected = Pod {
            hostname: "web".to_owned(),
            cgroup_parent: "/kubepods/pod1".to_owned(),
            sysctls: [("net.core.somaxconn".to_owned(), "99".to_owned())].into(),
            network: Scope::Node,
            pid: Scope::Container,
            ipc: Scope::Pod,
            users: None,
        };
        assert_eq!(pod, expected);
        assert_eq!(Pod::decode(None), Ok(Pod::default()));
    }

    #[test]
    fn users_are_mapped_the_hosts_or_refused() {
        let with_users = |users: &[u8]| {
            let security = field(1, &field(5, users));
            Pod::decode(Some(&options(field(8, &field(2, &security)))))
        };
        // Of the node.
        assert_eq!(with_users(&[1 << 3, 2]).unwrap().users, None);
        // Of the pod, whose number is left out as any 0 is: host id 100000, 65536 of them.
        let map = [1 << 3, 0xa0, 0x8d, 0x06, 3 << 3, 0x80, 0x80, 0x04];
        let both = [field(2, &map), field(3, &map)].concat();
        let range = Range {
            container: 0,
            host: 100_000,
            size: 65_536,
        };
        let users = with_users(&both).unwrap().users.unwrap();
        assert_eq!((users.uids, users.gids), (vec![range.clone()], vec![range]));
        for bad in [Vec::new(), field(2, &map)] {
            let refused = with_users(&bad).unwrap_err();
            assert_eq!(refused.code, crate::failure::Code::INVALID_ARGUMENT);
        }
    }

    proptest! {
        #[test]
        fn garbage_is_refused_without_a_fall(value in prop::collection::vec(any::<u8>(), 0..100)) {
            drop(Pod::decode(Some(&options(value))));
        }
    }
}
