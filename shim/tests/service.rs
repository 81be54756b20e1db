//! The task service, method by method, against real containers.

#![allow(clippy::unwrap_used, reason = "tests end by a panic")]

mod kit;

use containerd_shim_protos::api as task;
use containerd_shim_protos::events::task::{TaskExit, TaskStart};
use kit::{Client, Shim};
use shim::failure::Code;
use testkit::{Fact, Marker, Residue, TestBundle, needs};

fn code<T: std::fmt::Debug>(result: Result<T, kit::Refusal>) -> Code {
    result.unwrap_err().code
}

#[test]
fn a_container_lives_and_everybody_is_told_in_order() {
    needs!(Fact::Root);
    let marker = Marker::new("service");
    let residue = Residue::watch(&marker);
    let shim = Shim::serve(&marker, TestBundle::busybox(&marker).script("exit 7"));
    let mut client = shim.client();
    let pid = shim.create(&mut client);
    let id = shim.bundle.id().to_owned();
    let state = client.state(&id, "").unwrap();
    assert_eq!(state.status.enum_value(), Ok(task::Status::CREATED));
    assert_eq!((state.pid, state.id.as_str()), (pid, id.as_str()));
    let mut waiter = shim.client();
    let waiting = waiter.send(kit::TASK, "Wait", &kit::wait_request(&id, ""));
    assert_eq!(client.start(&id, "").unwrap().pid, pid);
    waiter.response_to(waiting).unwrap();
    assert_eq!(client.wait(&id, "").unwrap().exit_status, 7);
    let state = client.state(&id, "").unwrap();
    assert_eq!(state.status.enum_value(), Ok(task::Status::STOPPED));
    let deleted = client.delete(&id, "").unwrap();
    assert_eq!((deleted.pid, deleted.exit_status), (pid, 7));
    assert_eq!(code(client.state(&id, "")), Code::NOT_FOUND);
    let topics = shim.events.topics_until("/tasks/delete");
    assert_eq!(
        topics,
        [
            "/tasks/create",
            "/tasks/start",
            "/tasks/exit",
            "/tasks/delete"
        ]
    );
    client.shutdown().unwrap();
    assert!(
        client.receive().is_none(),
        "the shim closes its connections"
    );
    shim.ended();
    residue.assert_none(&[]);
}

#[test]
fn an_early_exit_is_told_after_its_start() {
    needs!(Fact::Root);
    let marker = Marker::new("early");
    let residue = Residue::watch(&marker);
    let shim = Shim::serve(
        &marker,
        TestBundle::busybox(&marker).script("exec sleep 1000"),
    );
    let mut client = shim.client();
    shim.create(&mut client);
    let id = shim.bundle.id().to_owned();
    client.start(&id, "").unwrap();
    let _: TaskStart = shim.events.next("/tasks/start");
    for number in 0..20 {
        let exec = format!("exec{number}");
        client.exec(&id, &exec, "exit 3").unwrap();
        let pid = client.start(&id, &exec).unwrap().pid;
        assert_eq!(client.wait(&id, &exec).unwrap().exit_status, 3);
        let topics = shim.events.topics_until("/tasks/exec-started");
        assert_eq!(topics, ["/tasks/exec-added", "/tasks/exec-started"]);
        let exit: TaskExit = shim.events.next("/tasks/exit");
        assert_eq!((exit.id.as_str(), exit.pid), (exec.as_str(), pid));
        assert_eq!(client.delete(&id, &exec).unwrap().exit_status, 3);
        assert_eq!(shim.events.topics_until("/tasks/delete").len(), 1);
    }
    finish(&shim, &mut client, &id);
    shim.ended();
    residue.assert_none(&[]);
}

/// Kills what runs, deletes it and ends the shim.
fn finish(_shim: &Shim, client: &mut Client, id: &str) {
    client.kill(id, "", 9).ok();
    client.wait(id, "").unwrap();
    client.delete(id, "").unwrap();
    client.shutdown().unwrap();
}
