//! What containerd writes to the standard input of `start`, and what it reads back.
//!
//! ```text
//!  containerd        standard input          standard output
//!  1.6 to 2.2        Any (options)           the plain address: ttrpc, task API v2
//!  from 2.3          BootstrapParams         BootstrapResult: version 3, ttrpc
//! ```
//!
//! The bytes of an Any can be a BootstrapParams by accident. So it counts as one only if it
//! names the container and the namespace that the flags name too.

use std::io::Read;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use protobuf::Message;
use protobuf::well_known_types::any::Any;
use runtime_core::errno::of_io;

use crate::arguments::Arguments;
use crate::failure::Failure;

/// The most that standard input may hold: what containerd takes for a message.
const LARGEST: usize = 4 << 20;

/// How long whoever runs the shim may take to say everything.
const PATIENCE: Duration = Duration::from_secs(5);

/// The version of the task API that is answered to who speaks of versions.
const TASK_API: i32 = 3;

/// From this level on everything is logged: LOG_LEVEL_DEBUG.
const DEBUG_LEVEL: i32 = -4;

/// The types of an extension that are the runtime's options.
const OPTIONS: [&str; 2] = ["containerd.runc.v1.Options", "runtimeoptions.v1.Options"];

/// What containerd has said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// The runtime's options.
    pub options: Option<Any>,
    /// containerd's gRPC socket.
    pub containerd_address: String,
    /// containerd's event service; empty for the one that the environment names.
    pub events_address: String,
    /// Where the socket belongs; empty for the usual place.
    pub socket_directory: String,
    /// Whether to log what is done.
    pub debug: bool,
    /// How the answer looks.
    pub form: Form,
}

/// The form of question and answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// containerd up to 2.2.
    #[default]
    Plain,
    /// containerd from 2.3 on.
    Message,
}

impl Request {
    /// What these bytes mean beside these arguments.
    ///
    /// # Errors
    ///
    /// INVALID_ARGUMENT for bytes that are neither message.
    pub fn parse(bytes: &[u8], arguments: &Arguments) -> Result<Self, Failure> {
        if let Ok(parameters) = BootstrapParams::parse_from_bytes(bytes)
            && parameters.instance_id == arguments.id
            && parameters.namespace == arguments.namespace
        {
            return Ok(Self::of_parameters(parameters, arguments));
        }
        let options = Any::parse_from_bytes(bytes).map_err(|error| {
            Failure::invalid(format!(
                "standard input is neither BootstrapParams for {:?} in {:?} nor an Any with options: {error}",
                arguments.id, arguments.namespace
            ))
        })?;
        Ok(Self {
            options: (!options.type_url.is_empty()).then_some(options),
            containerd_address: arguments.address.clone(),
            debug: arguments.debug,
            ..Self::default()
        })
    }

    fn of_parameters(parameters: BootstrapParams, arguments: &Arguments) -> Self {
        let mut extensions = parameters.extensions.into_iter();
        let is_options = |any: &Any| {
            let name = any.type_url.rsplit('/').next().unwrap_or_default();
            OPTIONS.contains(&name)
        };
        let options =
            extensions.find_map(|extension| extension.value.into_option().filter(is_options));
        let said = |said: String, flag: &str| {
            if said.is_empty() {
                flag.to_owned()
            } else {
                said
            }
        };
        Self {
            options,
            containerd_address: said(parameters.containerd_grpc_address, &arguments.address),
            events_address: parameters.containerd_ttrpc_address,
            socket_directory: parameters.socket_dir.unwrap_or_default(),
            debug: arguments.debug || parameters.log_level.value() <= DEBUG_LEVEL,
            form: Form::Message,
        }
    }

    /// What containerd is answered: where the server listens.
    ///
    /// # Errors
    ///
    /// The address has no encoding, which no address lacks.
    pub fn answer(&self, address: &str) -> Result<Vec<u8>, Failure> {
        match self.form {
            Form::Plain => Ok(address.as_bytes().to_vec()),
            Form::Message => {
                let result = BootstrapResult {
                    version: TASK_API,
                    address: address.to_owned(),
                    protocol: "ttrpc".to_owned(),
                    ..BootstrapResult::default()
                };
                let encoded = result.write_to_bytes();
                encoded.map_err(|error| Failure::unknown(format!("encode the answer: {error}")))
            }
        }
    }
}

/// Reads standard input to its end.
///
/// # Errors
///
/// It has no end within 5 s, or more than 4 MiB before it.
pub fn read_to_end(input: impl AsFd + Read) -> Result<Vec<u8>, Failure> {
    read_until(input, Instant::now() + PATIENCE)
}

fn read_until(mut input: impl AsFd + Read, deadline: Instant) -> Result<Vec<u8>, Failure> {
    let failed = |errno| Failure::call("read standard input", errno);
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    loop {
        if !is_readable(&input, deadline).map_err(failed)? {
            return Err(Failure::unknown(format!(
                "standard input has no end: whoever runs this has not closed it within {} s (for no options, redirect it from /dev/null)",
                PATIENCE.as_secs()
            )));
        }
        match input.read(&mut piece) {
            Ok(0) => return Ok(all),
            Ok(count) if all.len() + count > LARGEST => {
                let text = format!("standard input has more than {LARGEST} bytes");
                return Err(Failure::invalid(text));
            }
            Ok(count) => all.extend_from_slice(piece.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(of_io(&error))),
        }
    }
}

/// Whether there is something to read, or the end, before then.
pub(crate) fn is_readable(input: &impl AsFd, deadline: Instant) -> Result<bool, Errno> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut polled = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, timeout) {
            Err(Errno::EINTR) => {}
            ready => return ready.map(|count| count > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use containerd_shim_protos::bootstrap_api::{Extension, LogLevel};
    use proptest::prelude::*;
    use protobuf::MessageField;

    use super::*;

    fn arguments() -> Arguments {
        Arguments {
            id: "web".into(),
            namespace: "k8s.io".into(),
            address: "/flag.sock".into(),
            ..Arguments::default()
        }
    }

    fn message(type_url: &str) -> Any {
        Any {
            type_url: type_url.into(),
            value: vec![1, 2],
            ..Any::default()
        }
    }

    fn parameters() -> BootstrapParams {
        let extension = |value| Extension {
            value: MessageField::some(value),
            ..Extension::default()
        };
        BootstrapParams {
            instance_id: "web".into(),
            namespace: "k8s.io".into(),
            log_level: LogLevel::LOG_LEVEL_DEBUG.into(),
            containerd_grpc_address: "/grpc.sock".into(),
            containerd_ttrpc_address: "/ttrpc.sock".into(),
            socket_dir: Some("/s".into()),
            extensions: vec![
                extension(message("nri.v1.PluginConfig")),
                extension(message("types.containerd.io/containerd.runc.v1.Options")),
            ],
            ..BootstrapParams::default()
        }
    }

    fn parse(message: &impl Message) -> Request {
        Request::parse(&message.write_to_bytes().unwrap(), &arguments()).unwrap()
    }

    #[test]
    fn parameters_for_this_container_are_answered_by_a_message() {
        let request = parse(&parameters());
        let expected = Request {
            options: Some(message("types.containerd.io/containerd.runc.v1.Options")),
            containerd_address: "/grpc.sock".into(),
            events_address: "/ttrpc.sock".into(),
            socket_directory: "/s".into(),
            debug: true,
            form: Form::Message,
        };
        assert_eq!(request, expected);
        let answer = request.answer("unix:///s/x").unwrap();
        let answer = BootstrapResult::parse_from_bytes(&answer).unwrap();
        assert_eq!((answer.version, answer.protocol.as_str()), (3, "ttrpc"));
        assert_eq!(answer.address, "unix:///s/x");
    }

    #[test]
    fn a_level_that_nobody_has_named_counts_by_its_number() {
        for (level, debug) in [(-9, true), (-4, true), (-3, false), (0, false), (99, false)] {
            let mut parameters = parameters();
            parameters.log_level = protobuf::EnumOrUnknown::from_i32(level);
            assert_eq!(parse(&parameters).debug, debug, "{level}");
        }
    }

    #[test]
    fn parameters_for_another_container_or_namespace_are_no_parameters() {
        for (id, namespace) in [("other", "k8s.io"), ("web", "default")] {
            let parameters = BootstrapParams {
                instance_id: id.into(),
                namespace: namespace.into(),
                ..BootstrapParams::default()
            };
            // As an Any it has a type and no more: an extension's bytes would be a fault.
            assert_eq!(parse(&parameters).form, Form::Plain, "{id} {namespace}");
        }
    }

    #[test]
    fn options_alone_or_nothing_are_answered_by_the_plain_address() {
        let request = parse(&message("containerd.runc.v1.Options"));
        assert_eq!(request.options, Some(message("containerd.runc.v1.Options")));
        assert_eq!(request.containerd_address, "/flag.sock");
        assert_eq!(request.answer("unix:///s/x").unwrap(), b"unix:///s/x");
        let nothing = Request::parse(b"", &arguments()).unwrap();
        assert_eq!((nothing.options, nothing.form), (None, Form::Plain));
    }

    #[test]
    fn bytes_that_are_no_message_are_refused_and_named() {
        let failure = Request::parse(&[0xff; 9], &arguments()).unwrap_err();
        assert_eq!(failure.code, crate::failure::Code::INVALID_ARGUMENT);
        let start =
            "standard input is neither BootstrapParams for \"web\" in \"k8s.io\" nor an Any";
        assert!(failure.message.starts_with(start), "{}", failure.message);
    }

    #[test]
    fn an_input_without_an_end_is_not_waited_for_and_a_flood_is_refused() {
        let (reader, writer) = std::io::pipe().unwrap();
        let soon = Instant::now() + Duration::from_millis(20);
        let failure = read_until(&reader, soon).unwrap_err();
        assert!(
            failure.message.contains("has not closed it"),
            "{}",
            failure.message
        );
        drop(writer);
        assert_eq!(read_to_end(&reader).unwrap(), b"");
        let zeros = std::fs::File::open("/dev/zero").unwrap();
        let failure = read_to_end(&zeros).unwrap_err();
        assert!(
            failure.message.contains("more than 4194304 bytes"),
            "{}",
            failure.message
        );
    }

    proptest! {
        #[test]
        fn garbage_is_parsed_or_refused_and_never_taken_for_parameters(
            bytes in prop::collection::vec(any::<u8>(), 0..200)
        ) {
            if let Ok(request) = Request::parse(&bytes, &arguments()) {
                prop_assert_eq!(request.form, Form::Plain);
            }
        }

        #[test]
        fn damaged_parameters_are_parsed_or_refused(at in 0_usize..120, byte in any::<u8>()) {
            let mut bytes = parameters().write_to_bytes().unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(request) = Request::parse(&bytes, &arguments()) {
                prop_assert!(request.answer("unix:///x").is_ok());
            }
        }
    }
}
