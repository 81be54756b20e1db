//! What is said to criu and what it answers: `images/rpc.proto` of criu, as far as it is needed.
//!
//! ```text
//!  tare                                    criu swrk FD
//!  Request (dump, restore, …)   -->
//!                               <--        Response: notify, with the name of the moment
//!  Request: notify, success     -->
//!                               …
//!                               <--        Response: of the request's own kind
//! ```
//!
//! One message is one packet of a SOCK_SEQPACKET socket.

use super::wire::{Fields, Malformed, Writer};

/// The longest message that is read.
pub(crate) const LONGEST_MESSAGE: usize = 64 << 10;

/// How much of a text of criu's is kept, in bytes.
const TEXT_KEPT: usize = 512;

/// What criu is asked for (`criu_req_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Write the images and end the processes, or let them go on.
    Dump = 1,
    /// Make processes from images.
    Restore = 2,
    /// Write memory pages only.
    PreDump = 4,
    /// Only as an answer: something has happened, and criu waits for a word.
    Notify = 6,
    /// What this criu and kernel can do.
    FeatureCheck = 9,
    /// Which criu it is.
    Version = 10,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Dump,
        Self::Restore,
        Self::PreDump,
        Self::Notify,
        Self::FeatureCheck,
        Self::Version,
    ];

    /// What it is called in messages.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Dump => "dump",
            Self::Restore => "restore",
            Self::PreDump => "pre-dump",
            Self::Notify => "notify",
            Self::FeatureCheck => "feature check",
            Self::Version => "version",
        }
    }
}

/// The options of a dump or a restore (`criu_opts`). A default value is not sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) images_dir: i32,
    pub(crate) work_dir: i32,
    pub(crate) pid: i32,
    pub(crate) leave_running: bool,
    pub(crate) ext_unix_sk: bool,
    pub(crate) tcp_established: bool,
    pub(crate) evasive_devices: bool,
    pub(crate) shell_job: bool,
    pub(crate) file_locks: bool,
    pub(crate) log_file: &'static str,
    /// Address and port.
    pub(crate) page_server: Option<(String, u16)>,
    pub(crate) root: Vec<u8>,
    pub(crate) parent_image: Option<Vec<u8>>,
    pub(crate) track_memory: bool,
    pub(crate) auto_dedup: bool,
    pub(crate) link_remap: bool,
    pub(crate) restore_sibling: bool,
    /// Key and descriptor.
    pub(crate) inherited: Vec<(String, i32)>,
    pub(crate) cgroups_mode: i32,
    pub(crate) external: Vec<Vec<u8>>,
    /// CLONE_NEW*.
    pub(crate) empty_namespaces: u32,
    /// Kind and path.
    pub(crate) joined: Vec<(&'static str, String)>,
    pub(crate) freeze_cgroup: Option<String>,
    pub(crate) tcp_skip_in_flight: bool,
    pub(crate) lazy_pages: bool,
    pub(crate) orphan_terminal: bool,
    pub(crate) tcp_close: bool,
    pub(crate) lsm_profile: Option<String>,
    pub(crate) lsm_mount_context: Option<String>,
    pub(crate) network_lock: Option<i32>,
}

/// criu's log level that tells what it does and not only what went wrong.
const LOG_LEVEL: i64 = 4;

impl Options {
    fn write(&self, w: &mut Writer) {
        w.number(1, i64::from(self.images_dir));
        if self.pid != 0 {
            w.number(2, i64::from(self.pid));
        }
        w.switch(3, self.leave_running);
        w.switch(4, self.ext_unix_sk);
        w.switch(5, self.tcp_established);
        w.switch(6, self.evasive_devices);
        w.switch(7, self.shell_job);
        w.switch(8, self.file_locks);
        w.number(9, LOG_LEVEL);
        w.bytes(10, self.log_file.as_bytes());
        if let Some((address, port)) = &self.page_server {
            w.message(11, |server| {
                server.bytes(1, address.as_bytes());
                server.number(2, i64::from(*port));
            });
        }
        w.switch(12, true); // notify_scripts
        w.bytes(13, &self.root);
        if let Some(parent) = &self.parent_image {
            w.bytes(14, parent);
        }
        w.switch(15, self.track_memory);
        w.switch(16, self.auto_dedup);
        w.number(17, i64::from(self.work_dir));
        w.switch(18, self.link_remap);
        w.switch(24, true); // manage_cgroups: whether the mode below counts
        w.switch(26, self.restore_sibling);
        for (key, fd) in &self.inherited {
            w.message(27, |inherited| {
                inherited.bytes(1, key.as_bytes());
                inherited.number(2, i64::from(*fd));
            });
        }
        w.number(34, i64::from(self.cgroups_mode));
        for external in &self.external {
            w.bytes(37, external);
        }
        if self.empty_namespaces != 0 {
            w.number(38, i64::from(self.empty_namespaces));
        }
        for (kind, path) in &self.joined {
            w.message(39, |joined| {
                joined.bytes(1, kind.as_bytes());
                joined.bytes(2, path.as_bytes());
            });
        }
        if let Some(cgroup) = &self.freeze_cgroup {
            w.bytes(44, cgroup.as_bytes());
        }
        w.switch(46, self.tcp_skip_in_flight);
        w.switch(48, self.lazy_pages);
        w.switch(50, self.orphan_terminal);
        w.switch(52, self.tcp_close);
        if let Some(profile) = &self.lsm_profile {
            w.bytes(53, profile.as_bytes());
        }
        if let Some(context) = &self.lsm_mount_context {
            w.bytes(63, context.as_bytes());
        }
        if let Some(method) = self.network_lock {
            w.number(64, i64::from(method));
        }
    }
}

/// The bytes of a request with options.
pub(crate) fn request(kind: Kind, options: &Options) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.number(1, i64::from(kind as u8));
    writer.message(2, |w| options.write(w));
    writer.into_bytes()
}

/// The bytes of the question which criu this is.
pub(crate) fn version_request() -> Vec<u8> {
    let mut writer = Writer::default();
    writer.number(1, i64::from(Kind::Version as u8));
    writer.into_bytes()
}

/// The bytes of the question what criu and the kernel can do: track changed memory, load pages
/// when they are needed.
pub(crate) fn feature_request() -> Vec<u8> {
    let mut writer = Writer::default();
    writer.number(1, i64::from(Kind::FeatureCheck as u8));
    writer.message(5, |features| {
        features.switch(1, true);
        features.switch(2, true);
    });
    writer.into_bytes()
}

/// The bytes of the answer to a notification.
pub(crate) fn notified(success: bool) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.number(1, i64::from(Kind::Notify as u8));
    writer.number(3, i64::from(success));
    writer.into_bytes()
}

/// A moment that criu tells of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notice {
    /// Such as `post-restore`.
    pub(crate) moment: String,
    /// The root of the process tree, in criu's pid namespace; 0 when it is not told.
    pub(crate) pid: i32,
}

/// What criu says (`criu_resp`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Response {
    /// None: a kind that is not asked for here.
    pub(crate) kind: Option<Kind>,
    pub(crate) success: bool,
    /// Of a restore: the root of the process tree.
    pub(crate) pid: Option<i32>,
    pub(crate) notice: Option<Notice>,
    /// criu's errno; 0 without one.
    pub(crate) errno: i32,
    pub(crate) text: String,
    /// Whether changed memory can be tracked, and pages be loaded when they are needed.
    pub(crate) features: (bool, bool),
    /// As one number: 31701 is 3.17.1.
    pub(crate) version: Option<i32>,
}

impl Response {
    /// Reads one message. What it has besides is stepped over.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for bytes that are no message, or one without kind and success.
    pub(crate) fn parse(message: &[u8]) -> Result<Self, Malformed> {
        let mut response = Self::default();
        let (mut kind, mut success) = (None, None);
        for field in Fields::of(message) {
            let (number, value) = field?;
            match number {
                1 => kind = value.int32(),
                2 => success = Some(value.is_true()),
                4 => response.pid = restored(inner(value.bytes(), "restore")?)?,
                5 => response.notice = Some(notice(inner(value.bytes(), "notify")?)?),
                7 => response.errno = value.int32().unwrap_or_default(),
                8 => response.features = features(inner(value.bytes(), "features")?)?,
                9 => response.text = text(value.bytes().unwrap_or_default()),
                10 => response.version = Some(version(inner(value.bytes(), "version")?)?),
                _ => {}
            }
        }
        let kind = kind.ok_or(Malformed::Missing("its kind"))?;
        response.kind = Kind::ALL
            .into_iter()
            .find(|known| i32::from(*known as u8) == kind);
        response.success = success.ok_or(Malformed::Missing("whether it went well"))?;
        Ok(response)
    }
}

fn inner<'a>(bytes: Option<&'a [u8]>, name: &'static str) -> Result<&'a [u8], Malformed> {
    bytes.ok_or(Malformed::Missing(name))
}

fn restored(message: &[u8]) -> Result<Option<i32>, Malformed> {
    let mut pid = None;
    for field in Fields::of(message) {
        if let (1, value) = field? {
            pid = value.int32();
        }
    }
    Ok(pid)
}

fn notice(message: &[u8]) -> Result<Notice, Malformed> {
    let mut notice = Notice::default();
    for field in Fields::of(message) {
        match field? {
            (1, value) => notice.moment = text(value.bytes().unwrap_or_default()),
            (2, value) => notice.pid = value.int32().unwrap_or_default(),
            _ => {}
        }
    }
    Ok(notice)
}

fn features(message: &[u8]) -> Result<(bool, bool), Malformed> {
    let mut features = (false, false);
    for field in Fields::of(message) {
        match field? {
            (1, value) => features.0 = value.is_true(),
            (2, value) => features.1 = value.is_true(),
            _ => {}
        }
    }
    Ok(features)
}

/// Major, minor and sublevel as one number.
fn version(message: &[u8]) -> Result<i32, Malformed> {
    let mut parts = [0_i32; 3];
    for field in Fields::of(message) {
        match field? {
            (1, value) => parts[0] = value.int32().unwrap_or_default(),
            (2, value) => parts[1] = value.int32().unwrap_or_default(),
            (4, value) => parts[2] = value.int32().unwrap_or_default(),
            _ => {}
        }
    }
    let [major, minor, sublevel] = parts.map(|part| part.clamp(0, 99));
    Ok(major * 10_000 + minor * 100 + sublevel)
}

/// A text of criu's as it may stand in a message of ours: one line, not too long.
fn text(bytes: &[u8]) -> String {
    let kept = bytes.get(..TEXT_KEPT).unwrap_or(bytes);
    let readable = |letter: char| if letter.is_control() { ' ' } else { letter };
    String::from_utf8_lossy(kept)
        .chars()
        .map(readable)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checkpoint::wire::Value;

    fn fields(bytes: &[u8]) -> Vec<(u32, Value<'_>)> {
        Fields::of(bytes).map(Result::unwrap).collect()
    }

    /// A real answer of criu 3.17 to the question for its version.
    #[test]
    fn criu_says_which_one_it_is() {
        let bytes = [
            0x08, 0x0a, 0x10, 0x01, 0x52, 0x06, 0x08, 0x03, 0x10, 0x11, 0x20, 0x01,
        ];
        let response = Response::parse(&bytes).unwrap();
        assert_eq!(response.kind, Some(Kind::Version));
        assert!(response.success);
        assert_eq!(response.version, Some(31701));
    }

    #[test]
    fn a_notification_names_its_moment_and_its_process() {
        let mut writer = Writer::default();
        writer.number(1, 6);
        writer.switch(2, true);
        writer.message(5, |notify| {
            notify.bytes(1, b"post-restore");
            notify.number(2, 4711);
        });
        let response = Response::parse(&writer.into_bytes()).unwrap();
        assert_eq!(response.kind, Some(Kind::Notify));
        let notice = response.notice.unwrap();
        assert_eq!((notice.moment.as_str(), notice.pid), ("post-restore", 4711));
    }

    #[test]
    fn a_failure_has_its_errno_and_one_line_of_text() {
        let mut writer = Writer::default();
        writer.number(1, 1);
        writer.number(2, 0);
        writer.number(7, 52);
        writer.bytes(9, b"no\nway\x1b[31m");
        let response = Response::parse(&writer.into_bytes()).unwrap();
        assert_eq!((response.success, response.errno), (false, 52));
        assert_eq!(response.text, "no way [31m");
    }

    #[test]
    fn an_answer_without_kind_or_success_is_none() {
        assert_eq!(Response::parse(b""), Err(Malformed::Missing("its kind")));
        assert_eq!(
            Response::parse(&[0x08, 0x01]),
            Err(Malformed::Missing("whether it went well"))
        );
        // A kind that nobody asked for is readable, and known to be none of ours.
        assert_eq!(Response::parse(&[0x08, 0x63, 0x10, 1]).unwrap().kind, None);
    }

    #[test]
    fn a_long_text_is_cut() {
        let mut writer = Writer::default();
        writer.number(1, 1);
        writer.number(2, 0);
        writer.bytes(9, &[b'x'; 5000]);
        let response = Response::parse(&writer.into_bytes()).unwrap();
        assert_eq!(response.text.len(), TEXT_KEPT);
    }

    #[test]
    fn a_request_has_its_fields_under_crius_numbers() {
        let options = Options {
            images_dir: 7,
            work_dir: 8,
            pid: 99,
            leave_running: true,
            root: b"/r".to_vec(),
            log_file: "dump.log",
            inherited: vec![("pipe:[1]".into(), 5)],
            external: vec![b"mnt[/data]:/data".to_vec()],
            cgroups_mode: 3,
            network_lock: Some(2),
            ..Options::default()
        };
        let bytes = request(Kind::Dump, &options);
        let [(1, Value::Number(1)), (2, Value::Bytes(options))] = fields(&bytes)[..] else {
            panic!("{bytes:?}");
        };
        let inherited = [
            0x0a, 8, b'p', b'i', b'p', b'e', b':', b'[', b'1', b']', 0x10, 5,
        ];
        assert_eq!(
            fields(options),
            [
                (1, Value::Number(7)),
                (2, Value::Number(99)),
                (3, Value::Number(1)),
                (9, Value::Number(4)),
                (10, Value::Bytes(b"dump.log")),
                (12, Value::Number(1)),
                (13, Value::Bytes(b"/r")),
                (17, Value::Number(8)),
                (24, Value::Number(1)),
                (27, Value::Bytes(&inherited)),
                (34, Value::Number(3)),
                (37, Value::Bytes(b"mnt[/data]:/data")),
                (64, Value::Number(2)),
            ]
        );
    }

    #[test]
    fn the_answer_to_a_notification_says_how_it_went() {
        assert_eq!(notified(true), [0x08, 0x06, 0x18, 0x01]);
        assert_eq!(notified(false), [0x08, 0x06, 0x18, 0x00]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_none(bytes in any::<Vec<u8>>()) {
            drop(Response::parse(&bytes));
        }
    }
}
