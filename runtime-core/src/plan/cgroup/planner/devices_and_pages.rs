//! `blockIO`, `hugepageLimits`, `network`, `rdma` and `unified`.

use std::collections::BTreeMap;

use super::super::{
    BlockIo, DeviceNumber, DeviceWeight, Home, HugepageLimit, InterfacePriority, Network,
    RdmaLimit, Setting, Throttle, ThrottleKind, home,
};
use super::Planner;
use crate::host::CgroupLayout;
use crate::spec::{self, Text};
use crate::violation::pointer_token;

/// Files of the core that only the runtime writes: to write one would move or stop processes,
/// or make the cgroup one that no process can enter.
const RUNTIMES_OWN_FILES: [&str; 6] = [
    "cgroup.procs",
    "cgroup.threads",
    "cgroup.kill",
    "cgroup.freeze",
    "cgroup.type",
    "cgroup.subtree_control",
];

impl Planner<'_> {
    pub(super) fn block_io(&mut self, spec: Option<&spec::BlockIo<'_>>) -> BlockIo {
        let Some(spec) = spec else {
            return BlockIo::default();
        };
        let block_io = BlockIo {
            weight: self.weight("blockIO/weight", spec.weight),
            leaf_weight: self.weight("blockIO/leafWeight", spec.leaf_weight),
            device_weights: self.device_weights(spec.weight_device.as_deref().unwrap_or_default()),
            throttles: self.throttles(spec),
        };
        if block_io == BlockIo::default() {
            return block_io;
        }
        let at = self.home("io", "blockIO");
        self.refuse_on_v2(at, block_io.leaf_weight.is_some(), "blockIO/leafWeight");
        for (index, weight) in block_io.device_weights.iter().enumerate() {
            let property = format!("blockIO/weightDevice/{index}/leafWeight");
            self.refuse_on_v2(at, weight.leaf_weight.is_some(), &property);
        }
        block_io
    }

    /// 0 is unset, as runc's callers mean it.
    fn weight(&mut self, property: &str, weight: Option<u16>) -> Option<u16> {
        let weight = weight.filter(|weight| *weight != 0)?;
        if !(10..=1000).contains(&weight) {
            self.refuse(property, "must be from 10 to 1000");
        }
        Some(weight)
    }

    fn device_weights(&mut self, list: &[spec::WeightDevice<'_>]) -> Vec<DeviceWeight> {
        let mut weights = Vec::new();
        for (index, spec) in list.iter().enumerate() {
            let property = format!("blockIO/weightDevice/{index}");
            let weight = self.weight(&format!("{property}/weight"), spec.weight);
            let leaf_weight = self.weight(&format!("{property}/leafWeight"), spec.leaf_weight);
            if weight.is_none() && leaf_weight.is_none() {
                self.refuse(&property, "needs a weight or a leafWeight");
            }
            if let Some(device) = self.device(&property, spec.major, spec.minor) {
                weights.push(DeviceWeight {
                    device,
                    weight,
                    leaf_weight,
                });
            }
        }
        weights
    }

    fn device(
        &mut self,
        property: &str,
        major: Option<i64>,
        minor: Option<i64>,
    ) -> Option<DeviceNumber> {
        let number = |number: Option<i64>| u32::try_from(number?).ok();
        match (number(major), number(minor)) {
            (Some(major), Some(minor)) => Some(DeviceNumber { major, minor }),
            _ => {
                self.refuse(property, "needs a major and a minor device number");
                None
            }
        }
    }

    fn throttles(&mut self, spec: &spec::BlockIo<'_>) -> Vec<Throttle> {
        let lists = [
            (
                "throttleReadBpsDevice",
                ThrottleKind::ReadBytes,
                &spec.throttle_read_bps_device,
            ),
            (
                "throttleWriteBpsDevice",
                ThrottleKind::WrittenBytes,
                &spec.throttle_write_bps_device,
            ),
            (
                "throttleReadIOPSDevice",
                ThrottleKind::ReadOperations,
                &spec.throttle_read_iops_device,
            ),
            (
                "throttleWriteIOPSDevice",
                ThrottleKind::WriteOperations,
                &spec.throttle_write_iops_device,
            ),
        ];
        let mut throttles = Vec::new();
        for (name, kind, list) in lists {
            for (index, spec) in list.iter().flatten().enumerate() {
                let property = format!("blockIO/{name}/{index}");
                let device = self.device(&property, spec.major, spec.minor);
                if spec.rate.is_none() {
                    self.refuse(&property, "needs a rate");
                }
                if let (Some(device), Some(rate_per_second)) = (device, spec.rate) {
                    throttles.push(Throttle {
                        device,
                        kind,
                        rate_per_second,
                    });
                }
            }
        }
        throttles
    }

    pub(super) fn hugepages(
        &mut self,
        list: Option<&[spec::HugepageLimit<'_>]>,
    ) -> Vec<HugepageLimit> {
        let list = list.unwrap_or_default();
        if !list.is_empty() {
            self.home("hugetlb", "hugepageLimits");
        }
        let mut limits = Vec::new();
        for (index, spec) in list.iter().enumerate() {
            let property = format!("hugepageLimits/{index}");
            let size = spec.page_size.as_deref().filter(|size| is_page_size(size));
            if size.is_none() {
                self.refuse(
                    &format!("{property}/pageSize"),
                    "must be a size such as 64KB, 2MB or 1GB",
                );
            }
            if spec.limit.is_none() {
                self.refuse(&property, "needs a limit");
            }
            if let (Some(page_size), Some(limit_bytes)) = (size, spec.limit) {
                limits.push(HugepageLimit {
                    page_size: page_size.to_owned(),
                    limit_bytes,
                });
            }
        }
        limits
    }

    pub(super) fn network(&mut self, spec: Option<&spec::Network<'_>>) -> Network {
        let Some(spec) = spec else {
            return Network::default();
        };
        let class_id = spec.class_id.filter(|class| *class != 0);
        if class_id.is_some() {
            self.home("net_cls", "network/classID");
        }
        let list = spec.priorities.as_deref().unwrap_or_default();
        if !list.is_empty() {
            self.home("net_prio", "network/priorities");
        }
        let mut priorities = Vec::new();
        for (index, spec) in list.iter().enumerate() {
            let name = spec.name.as_deref().filter(|name| is_word(name));
            match (name, spec.priority) {
                (Some(name), Some(priority)) => priorities.push(InterfacePriority {
                    name: name.to_owned(),
                    priority,
                }),
                _ => self.refuse(
                    &format!("network/priorities/{index}"),
                    "needs the name of an interface and a priority",
                ),
            }
        }
        Network {
            class_id,
            priorities,
        }
    }

    pub(super) fn rdma(
        &mut self,
        map: Option<&BTreeMap<Text<'_>, spec::Rdma<'_>>>,
    ) -> Vec<RdmaLimit> {
        let mut limits = Vec::new();
        for (device, spec) in map.into_iter().flatten() {
            let property = format!("rdma/{}", pointer_token(device));
            self.home("rdma", &property);
            if !is_word(device) {
                self.refuse(&property, "must be the name of a device");
            }
            if spec.hca_handles.is_none() && spec.hca_objects.is_none() {
                self.refuse(&property, "needs hcaHandles or hcaObjects");
            }
            limits.push(RdmaLimit {
                device: device.to_string(),
                hca_handles: spec.hca_handles,
                hca_objects: spec.hca_objects,
            });
        }
        limits
    }

    pub(super) fn unified(&mut self, map: Option<&BTreeMap<Text<'_>, Text<'_>>>) -> Vec<Setting> {
        let mut settings = Vec::new();
        for (file, value) in map.into_iter().flatten() {
            let setting = Setting {
                file: file.to_string(),
                value: value.to_string(),
            };
            if let Some(rule) = self.rule_of_unified(&setting) {
                self.refuse(&format!("unified/{}", pointer_token(file)), rule);
            }
            settings.push(setting);
        }
        settings
    }

    /// The rule that an entry of `unified` breaks.
    fn rule_of_unified(&self, setting: &Setting) -> Option<String> {
        let file = setting.file.as_str();
        let has_unified = match &self.host.cgroups {
            CgroupLayout::None => false,
            CgroupLayout::V2(_) => true,
            CgroupLayout::V1 { unified, .. } => unified.is_some(),
        };
        if !has_unified {
            return Some("needs cgroup v2, which this host does not have".into());
        }
        if file.starts_with('.') || !file.contains('.') || file.contains(['/', '\0', '\n']) {
            return Some("must be the name of a cgroup file, such as memory.high".into());
        }
        if RUNTIMES_OWN_FILES.contains(&file) {
            return Some("is a file that only the runtime writes".into());
        }
        if setting.value.contains('\0') {
            return Some("must have no NUL in its value".into());
        }
        let controller = setting.controller();
        let found = home(&self.host.cgroups, controller);
        (controller != "cgroup" && found != Some(Home::V2)).then(|| {
            format!("needs the cgroup v2 controller {controller}, which this host does not have")
        })
    }
}

/// Digits, then KB, MB or GB: the kernel's way to name page sizes in its files.
fn is_page_size(text: &str) -> bool {
    let digits = text.trim_end_matches(['K', 'M', 'G', 'B']);
    let unit = &text[digits.len()..];
    !digits.is_empty()
        && !digits.starts_with('0')
        && digits.bytes().all(|b| b.is_ascii_digit())
        && matches!(unit, "KB" | "MB" | "GB")
}

/// What can be one word of a line in a cgroup file.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
}
