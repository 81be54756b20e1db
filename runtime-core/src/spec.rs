//! config.json as it was said: the types of runtime-spec 1.3, and nothing decided yet.
//!
//! Strings are borrowed from the file's bytes and enumerated values stay strings, so that
//! `plan` can report each wrong one with its JSON pointer instead of stopping at the first.
//! An absent property, and `null`, are both `None`. Unknown properties are ignored, as the
//! specification's "Extensibility" section requires; unknown *values* are `plan`'s to refuse.
//! Only `bundle` and `plan` see these types: their `Option`s end there.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A JSON string, borrowed from the document when it has no escapes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<'a>(pub Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

/// Declares specification objects: every property optional, names in camelCase.
///
/// What serde derives alone would also take an array of the values in order; only an object
/// is one here.
macro_rules! objects {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
        #[serde(remote = "Self", rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
        #[allow(missing_docs, reason = "the specification documents its properties; names are its own")]
        pub struct $name<'a> {
            $($(#[$field_doc])* pub $field: Option<$kind>,)*
            #[serde(skip)]
            pub lifetime: PhantomData<&'a ()>,
        }

        impl<'de: 'a, 'a> Deserialize<'de> for $name<'a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct ObjectVisitor<'a>(PhantomData<&'a ()>);

                impl<'de: 'a, 'a> Visitor<'de> for ObjectVisitor<'a> {
                    type Value = $name<'a>;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<$name<'a>, A::Error> {
                        // The derived function, which `remote` keeps apart from the trait.
                        $name::deserialize(MapAccessDeserializer::new(map))
                    }
                }

                deserializer.deserialize_map(ObjectVisitor(PhantomData))
            }
        }
    )*};
}

objects! {
    /// The whole document: config.md.
    Spec {
        oci_version: Text<'a>,
        root: Root<'a>,
        hostname: Text<'a>,
        domainname: Text<'a>,
        mounts: Vec<Mount<'a>>,
        process: Process<'a>,
        hooks: Hooks<'a>,
        annotations: BTreeMap<Text<'a>, Text<'a>>,
        linux: Linux<'a>,
    }

    /// config.md#root
    Root {
        path: Text<'a>,
        readonly: bool,
    }

    /// config.md#mounts
    Mount {
        destination: Text<'a>,
        source: Text<'a>,
        #[serde(rename = "type")]
        kind: Text<'a>,
        options: Vec<Text<'a>>,
        uid_mappings: Vec<IdMapping<'a>>,
        gid_mappings: Vec<IdMapping<'a>>,
    }

    /// config.md#process
    Process {
        terminal: bool,
        console_size: ConsoleSize<'a>,
        cwd: Text<'a>,
        env: Vec<Text<'a>>,
        args: Vec<Text<'a>>,
        user: User<'a>,
        capabilities: Capabilities<'a>,
        rlimits: Vec<Rlimit<'a>>,
        no_new_privileges: bool,
        oom_score_adj: i64,
        apparmor_profile: Text<'a>,
        selinux_label: Text<'a>,
        scheduler: Scheduler<'a>,
        io_priority: IoPriority<'a>,
        #[serde(rename = "execCPUAffinity")]
        exec_cpu_affinity: ExecCpuAffinity<'a>,
    }

    /// In characters.
    ConsoleSize {
        height: u64,
        width: u64,
    }

    /// config.md#posix-platform-user
    User {
        uid: u32,
        gid: u32,
        umask: u32,
        additional_gids: Vec<u32>,
    }

    /// config.md#linux-process: the five sets, by name.
    Capabilities {
        bounding: Vec<Text<'a>>,
        effective: Vec<Text<'a>>,
        inheritable: Vec<Text<'a>>,
        permitted: Vec<Text<'a>>,
        ambient: Vec<Text<'a>>,
    }

    Rlimit {
        #[serde(rename = "type")]
        kind: Text<'a>,
        soft: u64,
        hard: u64,
    }

    Scheduler {
        policy: Text<'a>,
        nice: i32,
        priority: i32,
        flags: Vec<Text<'a>>,
        runtime: u64,
        deadline: u64,
        period: u64,
    }

    IoPriority {
        class: Text<'a>,
        priority: i64,
    }

    ExecCpuAffinity {
        initial: Text<'a>,
        #[serde(rename = "final")]
        last: Text<'a>,
    }

    /// config.md#posix-platform-hooks
    Hooks {
        prestart: Vec<Hook<'a>>,
        create_runtime: Vec<Hook<'a>>,
        create_container: Vec<Hook<'a>>,
        start_container: Vec<Hook<'a>>,
        poststart: Vec<Hook<'a>>,
        poststop: Vec<Hook<'a>>,
    }

    Hook {
        path: Text<'a>,
        args: Vec<Text<'a>>,
        env: Vec<Text<'a>>,
        /// In seconds; more than 0.
        timeout: i64,
    }

    /// config-linux.md
    Linux {
        namespaces: Vec<Namespace<'a>>,
        uid_mappings: Vec<IdMapping<'a>>,
        gid_mappings: Vec<IdMapping<'a>>,
        time_offsets: BTreeMap<Text<'a>, TimeOffset<'a>>,
        devices: Vec<Device<'a>>,
        net_devices: BTreeMap<Text<'a>, NetDevice<'a>>,
        cgroups_path: Text<'a>,
        resources: Resources<'a>,
        rootfs_propagation: Text<'a>,
        seccomp: Seccomp<'a>,
        sysctl: BTreeMap<Text<'a>, Text<'a>>,
        masked_paths: Vec<Text<'a>>,
        readonly_paths: Vec<Text<'a>>,
        mount_label: Text<'a>,
        intel_rdt: Unsupported,
        memory_policy: MemoryPolicy<'a>,
        personality: Personality<'a>,
    }

    Namespace {
        #[serde(rename = "type")]
        kind: Text<'a>,
        path: Text<'a>,
    }

    IdMapping {
        #[serde(rename = "containerID")]
        container_id: u32,
        #[serde(rename = "hostID")]
        host_id: u32,
        size: u32,
    }

    TimeOffset {
        secs: i64,
        nanosecs: u32,
    }

    Device {
        #[serde(rename = "type")]
        kind: Text<'a>,
        path: Text<'a>,
        major: i64,
        minor: i64,
        file_mode: u32,
        uid: u32,
        gid: u32,
    }

    /// config-linux.md#memory-policy
    MemoryPolicy {
        mode: Text<'a>,
        nodes: Text<'a>,
        flags: Vec<Text<'a>>,
    }

    /// config-linux.md#network-devices
    NetDevice {
        name: Text<'a>,
    }

    Personality {
        domain: Text<'a>,
        flags: Vec<Text<'a>>,
    }

    /// config-linux.md#control-groups
    Resources {
        devices: Vec<DeviceRule<'a>>,
        memory: Memory<'a>,
        cpu: Cpu<'a>,
        pids: Pids<'a>,
        #[serde(rename = "blockIO")]
        block_io: BlockIo<'a>,
        hugepage_limits: Vec<HugepageLimit<'a>>,
        network: Network<'a>,
        rdma: BTreeMap<Text<'a>, Rdma<'a>>,
        unified: BTreeMap<Text<'a>, Text<'a>>,
    }

    DeviceRule {
        allow: bool,
        #[serde(rename = "type")]
        kind: Text<'a>,
        major: i64,
        minor: i64,
        access: Text<'a>,
    }

    /// In bytes; -1 is unlimited.
    Memory {
        limit: i64,
        reservation: i64,
        swap: i64,
        kernel: i64,
        #[serde(rename = "kernelTCP")]
        kernel_tcp: i64,
        swappiness: u64,
        #[serde(rename = "disableOOMKiller")]
        disable_oom_killer: bool,
        use_hierarchy: bool,
        check_before_update: bool,
    }

    Cpu {
        shares: u64,
        quota: i64,
        burst: u64,
        period: u64,
        realtime_runtime: i64,
        realtime_period: u64,
        cpus: Text<'a>,
        mems: Text<'a>,
        idle: i64,
    }

    Pids {
        limit: i64,
    }

    BlockIo {
        weight: u16,
        leaf_weight: u16,
        weight_device: Vec<WeightDevice<'a>>,
        throttle_read_bps_device: Vec<ThrottleDevice<'a>>,
        throttle_write_bps_device: Vec<ThrottleDevice<'a>>,
        #[serde(rename = "throttleReadIOPSDevice")]
        throttle_read_iops_device: Vec<ThrottleDevice<'a>>,
        #[serde(rename = "throttleWriteIOPSDevice")]
        throttle_write_iops_device: Vec<ThrottleDevice<'a>>,
    }

    WeightDevice {
        major: i64,
        minor: i64,
        weight: u16,
        leaf_weight: u16,
    }

    ThrottleDevice {
        major: i64,
        minor: i64,
        rate: u64,
    }

    HugepageLimit {
        page_size: Text<'a>,
        limit: u64,
    }

    Network {
        #[serde(rename = "classID")]
        class_id: u32,
        priorities: Vec<InterfacePriority<'a>>,
    }

    InterfacePriority {
        name: Text<'a>,
        priority: u32,
    }

    Rdma {
        hca_handles: u32,
        hca_objects: u32,
    }

    /// config-linux.md#seccomp
    Seccomp {
        default_action: Text<'a>,
        default_errno_ret: u32,
        architectures: Vec<Text<'a>>,
        flags: Vec<Text<'a>>,
        listener_path: Text<'a>,
        listener_metadata: Text<'a>,
        syscalls: Vec<Syscall<'a>>,
    }

    Syscall {
        names: Vec<Text<'a>>,
        action: Text<'a>,
        errno_ret: u32,
        args: Vec<SyscallArg<'a>>,
    }

    SyscallArg {
        index: u32,
        value: u64,
        value_two: u64,
        op: Text<'a>,
    }
}

/// A property that the plan only looks at to refuse it by name: any JSON value.
pub type Unsupported = serde::de::IgnoredAny;
