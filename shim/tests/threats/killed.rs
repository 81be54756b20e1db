//! S04: the shim is killed (SIGKILL, as the OOM killer does it) during every call and after it.
//! Then containerd runs `delete`, which says how the container has ended, and leaves nothing; and
//! a container of the same name can be made again.

use std::time::{Duration, Instant};

use containerd_shim_protos::api as task;
use containerd_shim_protos::events::task::TaskExit;
use containerd_shim_protos::protobuf::Message;
use serde_json::json;
use testkit::needs;

use crate::kit::{Client, TASK, wait_request};
use crate::room::{self, wait_until};
use crate::vitals::server_of;
use crate::yard::{Bundle, Yard, long_or};

/// Ends with 5 when it is asked to.
const PROGRAM: &str = "trap 'exit 5' TERM; : > /tmp/ready; while :; do sleep 0.02; done";

/// What delete says of what it had to kill.
const KILLED: u32 = 137;

/// What it says when nobody can know.
const UNKNOWN: u32 = 255;

/// A call during which the shim is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Create,
    Start,
    Exec,
    StartExec,
    DeleteExec,
    Kill,
    Delete,
    Shutdown,
}

/// When it is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after the call was sent.
    During(Duration),
    /// When it was answered.
    After,
}

/// A container on its way to a step.
struct Life<'a> {
    yard: &'a Yard,
    bundle: Bundle,
    /// None once the shim was killed.
    client: Option<Client>,
    server: i32,
    /// Init's, once somebody was told.
    pid: Option<u32>,
}

impl<'a> Life<'a> {
    /// A container that has come up to a step.
    fn before(yard: &'a Yard, step: Step) -> Self {
        let ready = yard.image_path("tmp/ready");
        // It may not have come so far the last time.
        std::fs::remove_file(&ready).ok();
        let bundle = yard.bundle("one", &yard.config("one", PROGRAM));
        let mut client = yard.connect(&bundle);
        let server = i32::try_from(server_of(&mut client)).unwrap();
        let mut life = Self {
            yard,
            bundle,
            client: Some(client),
            server,
            pid: None,
        };
        let steps = [
            Step::Create,
            Step::Start,
            Step::Exec,
            Step::StartExec,
            Step::DeleteExec,
            Step::Kill,
            Step::Delete,
        ];
        for earlier in steps.into_iter().filter(|earlier| *earlier < step) {
            let stream = life.send(earlier);
            life.hear(earlier, stream);
            if earlier == Step::Start {
                wait_until("the program has begun", || ready.exists());
            }
        }
        life
    }

    /// Sends the call of a step.
    fn send(&mut self, step: Step) -> u32 {
        let id = self.bundle.id.clone();
        let exec_id = match step {
            Step::StartExec | Step::DeleteExec => "e".to_owned(),
            _ => String::new(),
        };
        let create = self.yard.create_request(&self.bundle);
        let client = self.client();
        match step {
            Step::Create => client.send(TASK, "Create", &create),
            Step::Start | Step::StartExec => {
                let request = task::StartRequest {
                    id,
                    exec_id,
                    ..Default::default()
                };
                client.send(TASK, "Start", &request)
            }
            Step::Exec => client.send(TASK, "Exec", &further(&id)),
            Step::DeleteExec | Step::Delete => {
                let request = task::DeleteRequest {
                    id,
                    exec_id,
                    ..Default::default()
                };
                client.send(TASK, "Delete", &request)
            }
            Step::Kill => {
                let request = task::KillRequest {
                    id,
                    signal: 15,
                    ..Default::default()
                };
                client.send(TASK, "Kill", &request)
            }
            Step::Shutdown => client.send(TASK, "Shutdown", &task::ShutdownRequest::default()),
        }
    }

    /// Hears the answer to it, and waits for what it has caused.
    fn hear(&mut self, step: Step, stream: u32) {
        let payload = self.client().response_to(stream).unwrap();
        let ended = match step {
            Step::Create => {
                let created = task::CreateTaskResponse::parse_from_bytes(&payload).unwrap();
                self.pid = Some(created.pid);
                None
            }
            Step::StartExec => Some("e"),
            Step::Kill => Some(""),
            _ => None,
        };
        if let Some(exec) = ended {
            let wait = wait_request(&self.bundle.id, exec);
            let stream = self.client().send(TASK, "Wait", &wait);
            self.client().response_to(stream).unwrap();
        }
    }

    fn kill_shim(&mut self) {
        let client = self.client.take().unwrap();
        kill_shim(self.server, client);
    }

    fn client(&mut self) -> &mut Client {
        self.client.as_mut().unwrap()
    }

    /// Whether this is what `delete` may say.
    fn may_be(&self, step: Step, moment: Moment, (pid, status): (u32, u32)) -> bool {
        let is_over = matches!(moment, Moment::After);
        match (step, self.pid) {
            // It had not come so far that there was a process, or nobody has heard of it.
            (Step::Create, None) => (pid == 0 && status == UNKNOWN) || status == KILLED,
            (Step::Kill, Some(told)) if !is_over => {
                // If it had ended already it was nobody's child any more.
                pid == told && [5, KILLED, UNKNOWN].contains(&status)
            }
            (Step::Kill | Step::Delete | Step::Shutdown, Some(told)) => (pid, status) == (told, 5),
            (_, Some(told)) => (pid, status) == (told, KILLED),
            (_, None) => false,
        }
    }

    /// What containerd was told of init's end before the shim was killed.
    fn told_ends(&self) -> Vec<(u32, u32)> {
        let events = self.yard.events.so_far();
        let exits = events.iter().filter(|event| event.topic == "/tasks/exit");
        exits
            .map(|event| TaskExit::parse_from_bytes(&event.event.value).unwrap())
            // Others of this name have been before.
            .filter(|exit| exit.id == self.bundle.id && Some(exit.pid) == self.pid)
            .map(|exit| (exit.pid, exit.exit_status))
            .collect()
    }
}

fn further(id: &str) -> task::ExecProcessRequest {
    let document = json!({
        "cwd": "/", "user": {"uid": 0, "gid": 0}, "args": ["/bin/sh", "-c", "exit 3"],
    });
    let spec = containerd_shim_protos::protobuf::well_known_types::any::Any {
        value: document.to_string().into_bytes(),
        ..Default::default()
    };
    task::ExecProcessRequest {
        id: id.to_owned(),
        exec_id: "e".to_owned(),
        spec: Some(spec).into(),
        ..Default::default()
    }
}

/// Kills a shim, and waits until containerd would see it: one of its threads may still be in a
/// call when its leader is no more.
fn kill_shim(server: i32, client: Client) {
    room::kill(server);
    client.until_closed();
}

/// How long a call takes when nobody is killed.
fn duration_of(yard: &Yard, step: Step) -> Duration {
    let mut life = Life::before(yard, step);
    let started = Instant::now();
    let stream = life.send(step);
    life.client().response_to(stream).unwrap();
    let duration = started.elapsed();
    life.kill_shim();
    yard.delete(&life.bundle);
    std::fs::remove_dir_all(&life.bundle.path).unwrap();
    duration
}

/// Kills the shim at one moment of a step, and checks what is left.
fn kill_at(yard: &Yard, step: Step, moment: Moment) {
    let what = format!("{step:?}, {moment:?}");
    let mut life = Life::before(yard, step);
    let stream = life.send(step);
    match moment {
        Moment::During(time) => std::thread::sleep(time),
        Moment::After => life.hear(step, stream),
    }
    room::kill(life.server);
    let said = yard.delete(&life.bundle);
    assert!(
        life.may_be(step, moment, said),
        "{what}: delete says {said:?}"
    );
    let told = life.told_ends();
    assert!(told.len() <= 1, "{what}: {told:?}");
    assert!(
        told.iter().all(|told| *told == said),
        "{what}: {told:?}, and delete says {said:?}"
    );
    is_gone(yard, &life.bundle, said.0);
    // containerd asks again when it is not sure, and then makes it again.
    yard.delete(&life.bundle);
    std::fs::remove_dir_all(&life.bundle.path).unwrap();
    let (bundle, client, _) = yard.run("one", &yard.config("one", "exec sleep 10000"));
    yard.end(&bundle, client);
    yard.assert_empty();
    std::fs::remove_dir_all(&bundle.path).unwrap();
}

fn is_gone(yard: &Yard, bundle: &Bundle, pid: u32) {
    yard.assert_empty();
    yard.assert_no_cgroup(bundle);
    let pid = i32::try_from(pid).unwrap();
    let is_dead = || room::stat(pid).is_none_or(|stat| stat[0] == "Z");
    assert!(pid == 0 || is_dead(), "process {pid} lives");
}

/// Kills it at moment after moment of a step.
fn kill_during(step: Step) {
    needs!(Root);
    let yard = Yard::new("killed");
    let duration = duration_of(&yard, step);
    let moments = u32::try_from(long_or(100, 6)).unwrap();
    for moment in 0..moments {
        kill_at(&yard, step, Moment::During(duration * moment / moments));
    }
    kill_at(&yard, step, Moment::After);
    yard.close();
}

#[test]
fn s04_killed_while_it_creates() {
    kill_during(Step::Create);
}

#[test]
fn s04_killed_while_it_starts() {
    kill_during(Step::Start);
}

#[test]
fn s04_killed_while_it_takes_a_further_process() {
    kill_during(Step::Exec);
}

#[test]
fn s04_killed_while_it_starts_a_further_process() {
    kill_during(Step::StartExec);
}

#[test]
fn s04_killed_while_it_deletes_a_further_process() {
    kill_during(Step::DeleteExec);
}

#[test]
fn s04_killed_while_it_kills() {
    kill_during(Step::Kill);
}

#[test]
fn s04_killed_while_it_deletes() {
    kill_during(Step::Delete);
}

#[test]
fn s04_killed_while_it_shuts_down() {
    kill_during(Step::Shutdown);
}

/// Init has ended, and it can't be told yet, since its start has not been: a hook takes long. It
/// has nothing of the shim's open, above all not its socket.
#[test]
fn s04_killed_before_an_end_could_be_told() {
    needs!(Root);
    let yard = Yard::new("untold");
    let mut config = yard.config("one", "exit 7");
    config["hooks"] = json!({"poststart": [{"path": "/bin/sleep", "args": ["sleep", "2"]}]});
    let bundle = yard.bundle("one", &config);
    let mut client = yard.connect(&bundle);
    let server = i32::try_from(server_of(&mut client)).unwrap();
    let pid = yard.create(&mut client, &bundle);
    let start = task::StartRequest {
        id: bundle.id.clone(),
        ..Default::default()
    };
    client.send(TASK, "Start", &start);
    // The shim has reaped it.
    wait_until("init is gone", || {
        room::stat(i32::try_from(pid).unwrap()).is_none()
    });
    // Its next call comes after that.
    server_of(&mut Client::connect(&yard.socket()));
    kill_shim(server, client);
    assert_eq!(yard.delete(&bundle), (pid, 7));
    is_gone(&yard, &bundle, pid);
    yard.close();
}

/// A hook that runs is not left to itself, without anybody who knows how long it may take.
#[test]
fn s04_killed_while_a_hook_runs() {
    needs!(Root);
    let yard = Yard::new("hook");
    let begun = yard.path("begun");
    let script = format!(": > {}; while :; do sleep 0.1; done", begun.display());
    for kind in ["createRuntime", "poststart"] {
        let mut config = yard.config("one", PROGRAM);
        config["hooks"][kind] = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
        let bundle = yard.bundle("one", &config);
        let mut client = yard.connect(&bundle);
        let server = i32::try_from(server_of(&mut client)).unwrap();
        client.send(TASK, "Create", &yard.create_request(&bundle));
        if kind == "poststart" {
            client.receive().unwrap();
            let start = task::StartRequest {
                id: bundle.id.clone(),
                ..Default::default()
            };
            client.send(TASK, "Start", &start);
        }
        wait_until("the hook runs", || begun.exists());
        kill_shim(server, client);
        yard.delete(&bundle);
        yard.assert_empty();
        yard.assert_no_cgroup(&bundle);
        wait_until("the hook has ended", || {
            room::processes_with(begun.to_str().unwrap()).is_empty()
        });
        std::fs::remove_file(&begun).unwrap();
        std::fs::remove_dir_all(&bundle.path).unwrap();
    }
    yard.close();
}

/// A further process may have any name: `init` is one.
#[test]
fn s04_killed_with_a_further_process_called_init() {
    needs!(Root);
    let yard = Yard::new("named");
    let (bundle, mut client, pid) = yard.run("one", &yard.config("one", PROGRAM));
    let server = i32::try_from(server_of(&mut client)).unwrap();
    wait_until("the program has begun", || {
        yard.image_path("tmp/ready").exists()
    });
    client.exec(&bundle.id, "init", "exit 3").unwrap();
    client.start(&bundle.id, "init").unwrap();
    client.wait(&bundle.id, "init").unwrap();
    client.kill(&bundle.id, "", 15).unwrap();
    assert_eq!(client.wait(&bundle.id, "").unwrap().exit_status, 5);
    client.delete(&bundle.id, "").unwrap();
    kill_shim(server, client);
    assert_eq!(yard.delete(&bundle), (pid, 5));
    is_gone(&yard, &bundle, pid);
    yard.close();
}
