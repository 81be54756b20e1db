//! `Checkpoint`: a container on disk.

use std::path::Path;

use containerd_shim_protos::api::CheckpointTaskRequest;
use containerd_shim_protos::events::task::TaskCheckpointed;

use crate::options::CheckpointOptions;
use crate::server::call::TaskCall;
use crate::server::{Caller, Server};

use super::{Name, Operation};

impl Server {
    /// Writes a container to the directory that the request names; it ends then if the
    /// request's options say so.
    pub(super) fn checkpoint(&mut self, caller: Caller, request: CheckpointTaskRequest) {
        let name = Name::init(&request.id);
        let again = || TaskCall::Checkpoint(request.clone());
        if !self.may_begin(caller, &name, Operation::Checkpoint, again) {
            return;
        }
        let engine = self.engine(&name.container);
        let options = CheckpointOptions::from_any(request.options.as_ref());
        let path = request.path.clone();
        self.jobs.run(move || {
            let written = engine
                .and_then(|engine| engine.checkpoint(&name.container, Path::new(&path), &options?));
            move |server: &mut Self| {
                if written.is_ok() {
                    let event = TaskCheckpointed {
                        container_id: name.container.clone(),
                        checkpoint: request.path,
                        ..Default::default()
                    };
                    server.publish("/tasks/checkpointed", &event);
                }
                server.steered(caller, &name, Operation::Checkpoint, written);
            }
        });
    }
}
