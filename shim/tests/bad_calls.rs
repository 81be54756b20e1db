//! Calls that are wrong: each has the code that containerd expects and a text, and the shim goes
//! on serving.

#![allow(clippy::unwrap_used, reason = "tests end by a panic")]

mod kit;

use std::io::Write;
use std::os::unix::net::UnixStream;

use containerd_shim_protos::api as task;
use kit::{Client, Refusal, Shim, TASK};
use shim::failure::Code;
use shim::frame::{self, Kind};
use testkit::{Fact, Marker, Residue, TestBundle, needs};

fn refused<T: std::fmt::Debug>(result: Result<T, Refusal>, code: Code, part: &str) {
    let refusal = result.unwrap_err();
    assert_eq!(refusal.code, code, "{refusal:?}");
    assert!(refusal.message.contains(part), "{refusal:?}: {part}");
}

/// A shim without a container, for calls that never get as far.
fn idle(topic: &str) -> (Marker, Residue, Shim) {
    let marker = Marker::new(topic);
    let residue = Residue::watch(&marker);
    let shim = Shim::serve(
        &marker,
        TestBundle::busybox(&marker).script("exec sleep 1000"),
    );
    (marker, residue, shim)
}

fn end(shim: Shim, mut client: Client, residue: &Residue) {
    client.shutdown().unwrap();
    shim.ended();
    residue.assert_none(&[]);
}

#[test]
fn garbage_gets_an_answer_or_an_end_and_harms_nobody_else() {
    needs!(Fact::Root);
    let (_marker, residue, shim) = idle("garbage");
    let mut client = shim.client();
    // No message in a frame.
    let torn = frame::encode(Kind::Request, 1, 0, &[0xff; 20]).unwrap();
    client.send_raw(&torn);
    refused(
        client.response_to(1),
        Code::INVALID_ARGUMENT,
        "ttrpc request",
    );
    // A stream that a client may not use, a kind that there is not, a response.
    let even = frame::encode(Kind::Request, 4, 0, &[]).unwrap();
    client.send_raw(&even);
    refused(client.response_to(4), Code::INVALID_ARGUMENT, "odd");
    let unknown = frame::encode(Kind::Unknown(9), 5, 0, &[]).unwrap();
    client.send_raw(&unknown);
    refused(client.response_to(5), Code::INVALID_ARGUMENT, "no request");
    // One that says that it has 4 GiB: it is answered before it has come, and skipped.
    let mut mute = shim.client();
    mute.send_raw(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 7, 1, 0]);
    refused(mute.response_to(7), Code::RESOURCE_EXHAUSTED, "4294967295");
    mute.send_raw(&[0; 100_000]);
    // One that ends in the middle of a header, and one in the middle of a frame.
    for bytes in [&torn[..3], &torn[..15]] {
        let mut short = UnixStream::connect(&shim.socket).unwrap();
        short.write_all(bytes).unwrap();
        drop(short);
    }
    refused(
        client.call_of::<_, task::Empty>("no.such.Service", "State", &task::Empty::new()),
        Code::UNIMPLEMENTED,
        "no.such.Service",
    );
    refused(
        client.call::<_, task::Empty>("Fly", &task::Empty::new()),
        Code::UNIMPLEMENTED,
        "Fly",
    );
    let connect: task::ConnectResponse = client
        .call("Connect", &task::ConnectRequest::default())
        .unwrap();
    assert_eq!(connect.shim_pid, std::process::id());
    drop(mute);
    end(shim, client, &residue);
}

#[test]
fn ids_that_are_no_names_are_refused_before_anything_happens() {
    needs!(Fact::Root);
    let (_marker, residue, shim) = idle("ids");
    let mut client = shim.client();
    for id in [
        "",
        ".",
        "..",
        "a/b",
        "../../etc",
        "a\0b",
        "a b",
        &"x".repeat(5000),
    ] {
        let request = task::CreateTaskRequest {
            id: id.to_owned(),
            ..shim.create_request()
        };
        let created: Result<task::CreateTaskResponse, _> = client.call("Create", &request);
        assert_eq!(created.unwrap_err().code, Code::INVALID_ARGUMENT, "{id:?}");
    }
    let relative = task::CreateTaskRequest {
        bundle: "bundle".to_owned(),
        ..shim.create_request()
    };
    let created: Result<task::CreateTaskResponse, _> = client.call("Create", &relative);
    refused(created, Code::INVALID_ARGUMENT, "absolute");
    shim.create(&mut client);
    for exec in ["", "a/b", "..", "\n"] {
        let added = client.exec(shim.bundle.id(), exec, "true");
        assert_eq!(added.unwrap_err().code, Code::INVALID_ARGUMENT, "{exec:?}");
    }
    let id = shim.bundle.id().to_owned();
    client.delete(&id, "").unwrap();
    end(shim, client, &residue);
}

#[test]
fn calls_in_the_wrong_state_say_what_is_wrong() {
    needs!(Fact::Root);
    let (_marker, residue, shim) = idle("state");
    let mut client = shim.client();
    let id = shim.bundle.id().to_owned();
    let pause = task::PauseRequest {
        id: id.clone(),
        ..Default::default()
    };
    let resume = task::ResumeRequest {
        id: id.clone(),
        ..Default::default()
    };
    for result in [
        client.state(&id, "").map(drop),
        client.start(&id, "").map(drop),
        client.kill(&id, "", 9).map(drop),
        client.wait(&id, "").map(drop),
        client.delete(&id, "").map(drop),
        client.exec(&id, "one", "true").map(drop),
        client.call::<_, task::Empty>("Pause", &pause).map(drop),
    ] {
        refused(result, Code::NOT_FOUND, "no such container");
    }
    // Created.
    shim.create(&mut client);
    let again: Result<task::CreateTaskResponse, _> = client.call("Create", &shim.create_request());
    refused(again, Code::ALREADY_EXISTS, "already exists");
    refused(
        client.call::<_, task::Empty>("Pause", &pause),
        Code::FAILED_PRECONDITION,
        "cannot pause a created container",
    );
    // Running.
    client.start(&id, "").unwrap();
    refused(
        client.start(&id, ""),
        Code::FAILED_PRECONDITION,
        "cannot start a running process",
    );
    refused(
        client.delete(&id, ""),
        Code::FAILED_PRECONDITION,
        "cannot delete a running process",
    );
    refused(
        client.call::<_, task::Empty>("Resume", &resume),
        Code::FAILED_PRECONDITION,
        "cannot resume a running container",
    );
    refused(
        client.kill(&id, "", 99),
        Code::INVALID_ARGUMENT,
        "signal 99",
    );
    refused(client.kill(&id, "nobody", 9), Code::NOT_FOUND, "nobody");
    client.exec(&id, "one", "exec sleep 1000").unwrap();
    refused(client.exec(&id, "one", "true"), Code::ALREADY_EXISTS, "one");
    refused(
        client.kill(&id, "one", 9),
        Code::FAILED_PRECONDITION,
        "not been started",
    );
    // Paused.
    let _: task::Empty = client.call("Pause", &pause).unwrap();
    refused(
        client.exec(&id, "two", "true"),
        Code::FAILED_PRECONDITION,
        "cannot exec in a paused state",
    );
    refused(
        client.delete(&id, ""),
        Code::FAILED_PRECONDITION,
        "cannot delete a paused process",
    );
    let _: task::Empty = client.call("Resume", &resume).unwrap();
    // Stopped.
    client.kill(&id, "", 9).unwrap();
    assert_eq!(client.wait(&id, "").unwrap().exit_status, 137);
    refused(
        client.kill(&id, "", 9),
        Code::NOT_FOUND,
        "process already finished",
    );
    refused(
        client.start(&id, ""),
        Code::FAILED_PRECONDITION,
        "cannot start a stopped process",
    );
    refused(
        client.start(&id, "one"),
        Code::FAILED_PRECONDITION,
        "init process is not running",
    );
    refused(
        client.exec(&id, "two", "true"),
        Code::FAILED_PRECONDITION,
        "cannot exec in a stopped state",
    );
    client.delete(&id, "").unwrap();
    refused(client.delete(&id, ""), Code::NOT_FOUND, "no such container");
    end(shim, client, &residue);
}

#[test]
fn a_container_that_can_not_be_made_leaves_nothing_and_frees_its_id() {
    needs!(Fact::Root);
    let marker = Marker::new("broken");
    let residue = Residue::watch(&marker);
    let bundle = TestBundle::busybox(&marker).set(
        "/process/capabilities/bounding",
        serde_json::json!(["CAP_FLY"]),
    );
    let shim = Shim::serve(&marker, bundle);
    let mut client = shim.client();
    let created: Result<task::CreateTaskResponse, _> =
        client.call("Create", &shim.create_request());
    refused(created, Code::INVALID_ARGUMENT, "CAP_FLY");
    // The client asks for what is not there: it is for nobody to guess.
    let missing = task::CreateTaskRequest {
        bundle: "/no/such/bundle".to_owned(),
        ..shim.create_request()
    };
    assert!(
        client
            .call::<_, task::CreateTaskResponse>("Create", &missing)
            .is_err()
    );
    let good = TestBundle::busybox(&marker).script("exit 3");
    good.save();
    let request = task::CreateTaskRequest {
        id: shim.bundle.id().to_owned(),
        ..shim.create_request_of(&good)
    };
    let _: task::CreateTaskResponse = client.call("Create", &request).unwrap();
    let id = shim.bundle.id().to_owned();
    client.start(&id, "").unwrap();
    assert_eq!(client.wait(&id, "").unwrap().exit_status, 3);
    client.delete(&id, "").unwrap();
    end(shim, client, &residue);
}

#[test]
fn a_program_that_is_not_there_is_refused_and_can_be_deleted() {
    needs!(Fact::Root);
    let marker = Marker::new("noprogram");
    let residue = Residue::watch(&marker);
    let shim = Shim::serve(
        &marker,
        TestBundle::busybox(&marker).args(&["no-such-program"]),
    );
    let mut client = shim.client();
    let id = shim.bundle.id().to_owned();
    let created: Result<task::CreateTaskResponse, _> =
        client.call("Create", &shim.create_request());
    match created {
        // The text by which docker tells 127.
        Err(refusal) => assert!(
            refusal.message.contains("executable file not found"),
            "{refusal:?}"
        ),
        Ok(_) => {
            let refusal = client.start(&id, "").unwrap_err();
            assert!(
                refusal.message.contains("executable file not found"),
                "{refusal:?}"
            );
            client.wait(&id, "").unwrap();
            client.delete(&id, "").unwrap();
        }
    }
    end(shim, client, &residue);
}

#[test]
fn a_further_process_that_can_not_be_started_has_ended_for_everybody() {
    needs!(Fact::Root);
    let (_marker, residue, shim) = idle("noexec");
    let mut client = shim.client();
    shim.create(&mut client);
    let id = shim.bundle.id().to_owned();
    client.start(&id, "").unwrap();
    let request = task::ExecProcessRequest {
        id: id.clone(),
        exec_id: "torn".to_owned(),
        ..Default::default()
    };
    let _: task::Empty = client.call("Exec", &request).unwrap();
    let mut waiter = shim.client();
    let waiting = waiter.send(TASK, "Wait", &kit::wait_request(&id, "torn"));
    assert!(client.start(&id, "torn").is_err());
    waiter.response_to(waiting).unwrap();
    assert_eq!(client.wait(&id, "torn").unwrap().exit_status, 255);
    client.delete(&id, "torn").unwrap();
    client.kill(&id, "", 9).unwrap();
    client.wait(&id, "").unwrap();
    client.delete(&id, "").unwrap();
    end(shim, client, &residue);
}

#[test]
fn whoever_waits_for_what_is_deleted_is_not_forgotten() {
    needs!(Fact::Root);
    let (_marker, residue, shim) = idle("waiter");
    let mut client = shim.client();
    shim.create(&mut client);
    let id = shim.bundle.id().to_owned();
    client.exec(&id, "never", "true").unwrap();
    let mut waiter = shim.client();
    let waiting = waiter.send(TASK, "Wait", &kit::wait_request(&id, "never"));
    let mut other = shim.client();
    let other_waiting = other.send(TASK, "Wait", &kit::wait_request(&id, ""));
    client.state(&id, "").unwrap();
    client.delete(&id, "").unwrap();
    refused(waiter.response_to(waiting), Code::NOT_FOUND, "gone");
    other.response_to(other_waiting).unwrap();
    end(shim, client, &residue);
}
