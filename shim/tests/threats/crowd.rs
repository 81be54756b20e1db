//! Many at once, and many one after the other.

use std::sync::Barrier;

use serde_json::{Value, json};
use testkit::needs;

use crate::kit::Client;
use crate::room::wait_until;
use crate::vitals::{Vitals, program_kib, server_of};
use crate::yard::{Bundle, Yard, long_or};

/// How many shims, or containers of one shim, there are at once.
const MANY: usize = 100;

/// Threads that drive them; each has its share.
const HANDS: usize = 10;

#[test]
fn a_hundred_shims_at_once_leave_nothing() {
    needs!(Root);
    let yard = Yard::new("hundred");
    let all_run = Barrier::new(HANDS + 1);
    let may_end = Barrier::new(HANDS + 1);
    std::thread::scope(|scope| {
        for hand in 0..HANDS {
            let (yard, all_run, may_end) = (&yard, &all_run, &may_end);
            scope.spawn(move || {
                let names = (0..MANY / HANDS).map(|number| format!("c{hand}x{number}"));
                let running: Vec<_> = names
                    .map(|name| yard.run(&name, &yard.config(&name, "exec sleep 10000")))
                    .collect();
                all_run.wait();
                may_end.wait();
                for (bundle, client, _) in running {
                    yard.end(&bundle, client);
                }
            });
        }
        all_run.wait();
        let servers = yard.room.servers().len();
        may_end.wait();
        assert_eq!(servers, MANY);
    });
    yard.close();
}

/// config.json of a container of the pod.
fn member(yard: &Yard, name: &str, script: &str) -> Value {
    let mut config = yard.config(name, script);
    config["annotations"] = json!({"io.containerd.runc.v2.group": format!("{}-pod", yard.marker)});
    config
}

/// Makes and starts a container of the pod, over a connection to its shim.
fn join(yard: &Yard, client: &mut Client, name: &str, script: &str) -> Bundle {
    let bundle = yard.bundle(name, &member(yard, name, script));
    yard.create(client, &bundle);
    client.start(&bundle.id, "").unwrap();
    bundle
}

/// Ends a container of the pod; the pod goes on.
fn leave(client: &mut Client, bundle: &Bundle, status: u32) {
    assert_eq!(client.wait(&bundle.id, "").unwrap().exit_status, status);
    client.delete(&bundle.id, "").unwrap();
    std::fs::remove_dir_all(&bundle.path).unwrap();
}

#[test]
fn a_hundred_containers_of_one_pod_at_once_give_everything_back() {
    needs!(Root);
    let yard = Yard::new("pod");
    let (pause, mut client, _) = yard.run("pause", &member(&yard, "pause", "exec sleep 10000"));
    let server = server_of(&mut client);
    leave_one(&yard, &mut client);
    let before = Vitals::at_rest(server);
    let all_run = Barrier::new(HANDS);
    std::thread::scope(|scope| {
        for hand in 0..HANDS {
            let (yard, pause, all_run) = (&yard, &pause, &all_run);
            scope.spawn(move || {
                let mut client = yard.connect(pause);
                assert_eq!(server_of(&mut client), server, "one shim for the pod");
                let names = (0..MANY / HANDS).map(|number| format!("m{hand}x{number}"));
                let bundles: Vec<_> = names
                    .map(|name| join(yard, &mut client, &name, "exec sleep 10000"))
                    .collect();
                all_run.wait();
                for bundle in bundles {
                    client.kill(&bundle.id, "", 9).unwrap();
                    leave(&mut client, &bundle, 137);
                }
            });
        }
    });
    before.assert_back();
    yard.end(&pause, client);
    yard.close();
}

/// One container, so that what the first one needs for good is there.
fn leave_one(yard: &Yard, client: &mut Client) {
    let bundle = join(yard, client, "first", "exit 0");
    leave(client, &bundle, 0);
}

#[test]
fn containers_of_one_pod_in_sequence_give_everything_back() {
    needs!(Root);
    let yard = Yard::new("sequence");
    let (pause, mut client, _) = yard.run("pause", &member(&yard, "pause", "exec sleep 10000"));
    let server = server_of(&mut client);
    leave_one(&yard, &mut client);
    let before = Vitals::at_rest(server);
    for number in 0..long_or(1000, 50) {
        let bundle = join(&yard, &mut client, &format!("s{number}"), "exit 5");
        leave(&mut client, &bundle, 5);
        yard.assert_no_cgroup(&bundle);
    }
    before.assert_back();
    yard.end(&pause, client);
    yard.close();
}

/// A host has many shims, and most of them wait. What they do now and then by themselves, such as
/// closing a connection that is not used any more, must not cost memory from then on.
#[test]
fn a_shim_that_waits_has_little_of_its_program_in_memory_however_long() {
    needs!(Root);
    let yard = Yard::new("waiting");
    let (bundle, mut client, _) = yard.run("one", &yard.config("one", "exec sleep 10000"));
    let server = server_of(&mut client);
    let busy = program_kib(server);
    let connected = Vitals::at_rest(server);
    let waiting = program_kib(server);
    assert!(waiting < busy / 2, "{waiting} KiB, and {busy} when busy");
    wait_until("the connection for events is closed", || {
        Vitals::of(server).has_fewer_descriptors_than(&connected)
    });
    wait_until("the pages for that are given back", || {
        program_kib(server) <= waiting + waiting / 8
    });
    yard.end(&bundle, client);
    yard.close();
}
