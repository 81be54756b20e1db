//! What containerd asks for: a frame's payload, as a typed call. Pure.

use containerd_shim_protos::api as task;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::sandbox_api as sandbox;
use ttrpc::proto::Request;

use crate::failure::{Code, Failure};
use crate::frame::{Frame, Kind, PAYLOAD_MAX_BYTES};

/// The task service by its two names: containerd 1.x and bridges ask for the one, 2.x for the
/// other, and the messages are the same.
const TASK_SERVICES: [&str; 2] = ["containerd.task.v2.Task", "containerd.task.v3.Task"];

/// The sandbox service.
const SANDBOX_SERVICE: &str = "containerd.runtime.sandbox.v1.Sandbox";

macro_rules! calls {
    ($(#[$doc:meta])* $name:ident { $($(#[$method_doc:meta])* $method:ident($request:ty)),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $name {
            $($(#[$method_doc])* $method($request),)*
        }

        impl $name {
            /// The call of this method name.
            fn decode(service: &str, method: &str, payload: &[u8]) -> Result<Self, Failure> {
                match method {
                    $(stringify!($method) => message(service, method, payload).map(Self::$method),)*
                    _ => Err(Failure::new(Code::UNIMPLEMENTED, format!("method {service}/{method}: unknown"))),
                }
            }
        }
    };
}

calls! {
    /// The methods of the task service.
    TaskCall {
        /// What a process is doing.
        State(task::StateRequest),
        /// Make a container.
        Create(task::CreateTaskRequest),
        /// Run the program of a container, or a further process.
        Start(task::StartRequest),
        /// Remove what has ended.
        Delete(task::DeleteRequest),
        /// The processes of a container.
        Pids(task::PidsRequest),
        /// Freeze a container.
        Pause(task::PauseRequest),
        /// Thaw it.
        Resume(task::ResumeRequest),
        /// Write it to disk.
        Checkpoint(task::CheckpointTaskRequest),
        /// Send a signal.
        Kill(task::KillRequest),
        /// Describe a further process.
        Exec(task::ExecProcessRequest),
        /// Size of a terminal.
        ResizePty(task::ResizePtyRequest),
        /// No more standard input.
        CloseIO(task::CloseIORequest),
        /// New limits.
        Update(task::UpdateTaskRequest),
        /// Wait for an end.
        Wait(task::WaitRequest),
        /// Figures of the cgroup.
        Stats(task::StatsRequest),
        /// Numbers of the shim and of init.
        Connect(task::ConnectRequest),
        /// The shim may end.
        Shutdown(task::ShutdownRequest),
    }
}

calls! {
    /// The methods of the sandbox service.
    SandboxCall {
        /// Make a sandbox.
        CreateSandbox(sandbox::CreateSandboxRequest),
        /// Start it.
        StartSandbox(sandbox::StartSandboxRequest),
        /// What its containers run on.
        Platform(sandbox::PlatformRequest),
        /// End it and what is in it.
        StopSandbox(sandbox::StopSandboxRequest),
        /// Wait for its end.
        WaitSandbox(sandbox::WaitSandboxRequest),
        /// How it is.
        SandboxStatus(sandbox::SandboxStatusRequest),
        /// Whether the shim is there.
        PingSandbox(sandbox::PingRequest),
        /// Remove it, and end the shim.
        ShutdownSandbox(sandbox::ShutdownSandboxRequest),
        /// Figures of it.
        SandboxMetrics(sandbox::SandboxMetricsRequest),
    }
}

/// One call of either service.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// Of the task service.
    Task(TaskCall),
    /// Of the sandbox service.
    Sandbox(SandboxCall),
}

impl Call {
    /// The call that a request frame's payload holds.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for what is no such message, `UNIMPLEMENTED` for a service or a
    /// method that there is not.
    pub fn decode(payload: &[u8]) -> Result<Self, Failure> {
        let request = Request::parse_from_bytes(payload)
            .map_err(|error| Failure::invalid(format!("ttrpc request: {error}")))?;
        let (service, method) = (request.service.as_str(), request.method.as_str());
        if TASK_SERVICES.contains(&service) {
            TaskCall::decode(service, method, &request.payload).map(Self::Task)
        } else if service == SANDBOX_SERVICE {
            SandboxCall::decode(service, method, &request.payload).map(Self::Sandbox)
        } else {
            let text = format!("service {service}: unknown");
            Err(Failure::new(Code::UNIMPLEMENTED, text))
        }
    }
}

/// The call that a frame is, by its stream, or why it is none; nothing for a frame that asks
/// for no answer.
#[must_use]
pub fn of_frame(frame: Frame) -> Option<(u32, Result<Call, Failure>)> {
    match frame {
        Frame::TooLong(header) => {
            let text = format!(
                "message length {} exceeds the maximum of {PAYLOAD_MAX_BYTES}",
                header.length
            );
            let failure = Failure::new(Code::RESOURCE_EXHAUSTED, text);
            Some((header.stream, Err(failure)))
        }
        Frame::Whole(header, payload) => match header.kind {
            Kind::Request if header.stream % 2 == 1 => {
                Some((header.stream, Call::decode(&payload)))
            }
            Kind::Request => {
                let text = format!("stream {}: a client's streams are odd", header.stream);
                Some((header.stream, Err(Failure::invalid(text))))
            }
            // The end of a client's half of a stream; calls here have one message.
            Kind::Data => None,
            Kind::Response | Kind::Unknown(_) => {
                let text = format!("{:?} is no request", header.kind);
                Some((header.stream, Err(Failure::invalid(text))))
            }
        },
    }
}

fn message<M: Message>(service: &str, method: &str, payload: &[u8]) -> Result<M, Failure> {
    M::parse_from_bytes(payload)
        .map_err(|error| Failure::invalid(format!("{service}/{method}: {error}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(service: &str, method: &str, payload: Vec<u8>) -> Vec<u8> {
        let request = Request {
            service: service.to_owned(),
            method: method.to_owned(),
            payload,
            ..Request::default()
        };
        request.write_to_bytes().unwrap()
    }

    #[test]
    fn both_names_of_the_task_service_are_heard() {
        let wait = task::WaitRequest {
            id: "one".to_owned(),
            ..Default::default()
        };
        for service in TASK_SERVICES {
            let payload = request(service, "Wait", wait.write_to_bytes().unwrap());
            let expected = Call::Task(TaskCall::Wait(wait.clone()));
            assert_eq!(Call::decode(&payload), Ok(expected));
        }
    }

    #[test]
    fn what_is_unknown_is_named() {
        let code = |payload: &[u8]| Call::decode(payload).unwrap_err();
        let unknown = code(&request("containerd.task.v9.Task", "Wait", Vec::new()));
        assert_eq!(unknown.code, Code::UNIMPLEMENTED);
        assert!(unknown.message.contains("containerd.task.v9.Task"));
        let unknown = code(&request(TASK_SERVICES[0], "Fly", Vec::new()));
        assert_eq!(unknown.code, Code::UNIMPLEMENTED);
        assert!(unknown.message.contains("Fly"));
        assert_eq!(code(&[0xff; 9]).code, Code::INVALID_ARGUMENT);
        let torn = request(TASK_SERVICES[1], "Create", vec![0x0a, 0x7f, 1]);
        assert_eq!(code(&torn).code, Code::INVALID_ARGUMENT);
    }

    proptest! {
        #[test]
        fn garbage_is_refused_without_a_fall(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Err(failure) = Call::decode(&payload) {
                prop_assert!(matches!(failure.code, Code::INVALID_ARGUMENT | Code::UNIMPLEMENTED));
            }
        }
    }
}
