//! `Update`: new limits for a container.

use containerd_shim_protos::api::UpdateTaskRequest;

use crate::server::call::TaskCall;
use crate::server::{Caller, Server};

use super::{Name, Operation};

impl Server {
    /// Changes the limits of a container: the request holds the JSON of `linux.resources`.
    pub(super) fn update(&mut self, caller: Caller, mut request: UpdateTaskRequest) {
        let name = Name::init(&request.id);
        let resources = request.resources.take().unwrap_or_default();
        let again = || {
            request.resources = Some(resources.clone()).into();
            TaskCall::Update(request)
        };
        if !self.may_begin(caller, &name, Operation::Update, again) {
            return;
        }
        let engine = self.engine(&name.container);
        self.jobs.run(move || {
            let updated =
                engine.and_then(|engine| engine.update(&name.container, &resources.value));
            move |server: &mut Self| server.steered(caller, &name, Operation::Update, updated)
        });
    }
}
