//! `containerd-shim-tare-v1`: containerd runs it to start a server, as the server, and to clean
//! up after one.

use std::env;
use std::ffi::CString;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;

use runtime_core::protect;
use shim::arguments::{Action, Arguments, Environment, Refusal};
use shim::detach::LISTENER;
use shim::failure::Failure;
use shim::log::Log;
use shim::server::{self, Setting};
use shim::socket::{self, Found};
use shim::start::{self, Caller};
use shim::{delete, info};

/// What precedes every failure: the runtime's name, as Go's shims have it.
const NAME: &str = info::NAME;

fn main() -> ExitCode {
    let caller = match caller() {
        Ok(caller) => caller,
        Err(refusal) => {
            complain(&refusal.text);
            return ExitCode::from(refusal.status);
        }
    };
    match run(&caller) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&format!("{NAME}: {failure}\n"));
            ExitCode::FAILURE
        }
    }
}

/// How this program was run.
fn caller() -> Result<Caller, Refusal> {
    let unusable = |text: String| Refusal { text, status: 2 };
    let mut words = Vec::new();
    for word in env::args_os() {
        let word = word.into_string();
        words.push(word.map_err(|word| unusable(format!("{word:?} is not valid UTF-8\n")))?);
    }
    let program = words.first().cloned().unwrap_or_default();
    let arguments = Arguments::parse(&program, words.get(1..).unwrap_or_default())?;
    Ok(Caller {
        program,
        arguments,
        environment: Environment::of(env::vars_os()),
        // One that has been removed is a bundle that is gone.
        working_directory: env::current_dir().unwrap_or_else(|_| PathBuf::from("/nonexistent")),
    })
}

fn run(caller: &Caller) -> Result<(), Failure> {
    let arguments = &caller.arguments;
    if arguments.version {
        return say(info::version(&caller.program).as_bytes());
    }
    if arguments.info {
        return say(&info::info(std::io::stdin().lock())?);
    }
    if arguments.namespace.is_empty() {
        return Err(Failure::invalid("shim namespace cannot be empty"));
    }
    match arguments.action().map_err(Failure::invalid)? {
        Action::Start => say(&start::start(caller, std::io::stdin().lock())?),
        Action::Delete => {
            let deleted = delete::delete(caller)?;
            for trouble in &deleted.troubles {
                complain(&format!("{NAME}: {trouble}\n"));
            }
            say(&deleted.answer)
        }
        Action::Serve => serve(caller),
    }
}

/// Serves on the socket that `start` has left, or on the one that `-socket` names.
fn serve(caller: &Caller) -> Result<(), Failure> {
    protect_binary(caller)?;
    let arguments = &caller.arguments;
    let inherited = shim::inherited_listener(LISTENER);
    let (listener, socket_path) = inherited.map_or_else(|| listen(arguments), Ok)?;
    let bundle = caller.bundle();
    let log =
        Log::open(&bundle.join("log"), arguments.debug).about(&arguments.namespace, &arguments.id);
    be_named();
    log_panics(log.clone());
    let served = server::serve(Setting {
        listener,
        socket_path,
        namespace: arguments.namespace.clone(),
        bundle,
        id: arguments.id.clone(),
        events_address: caller.environment.ttrpc_address.clone().map(PathBuf::from),
        environment: caller.environment.all.clone(),
        log: log.clone(),
        debug: arguments.debug,
    });
    served.inspect_err(|failure| log.error(failure))
}

/// The server enters containers, so its file must be out of their reach. When `start` has run
/// it, it is; this executes it again if somebody else has.
fn protect_binary(caller: &Caller) -> Result<(), Failure> {
    let argv: Vec<CString> = env::args_os()
        .filter_map(|word| CString::new(word.into_encoded_bytes()).ok())
        .collect();
    protect::ensure(&argv, &caller.environment.all)
        .map_err(|error| Failure::of_runtime("protect the shim's binary", &error))
}

fn listen(arguments: &Arguments) -> Result<(OwnedFd, PathBuf), Failure> {
    if arguments.socket.is_empty() {
        let text = "no socket: descriptor 3 does not listen and there is no -socket; containerd makes a server with the action start";
        return Err(Failure::invalid(text));
    }
    let path = socket::path_of(&arguments.socket).unwrap_or_else(|| (&arguments.socket).into());
    match socket::listen_or_find(&path)? {
        Found::Nobody(listener) => Ok((listener, path)),
        Found::Server => Err(Failure::already_exists(format!(
            "{} is served already",
            path.display()
        ))),
    }
}

/// A program that is executed through a descriptor is named after its number: this has a name
/// by which people find it.
fn be_named() {
    // Only its looks depend on it.
    nix::sys::prctl::set_name(c"containerd-shim").ok();
}

/// What has gone wrong beyond repair is to be found in containerd's log.
fn log_panics(log: Log) {
    std::panic::set_hook(Box::new(move |panic| log.error(panic)));
}

/// Answers containerd.
fn say(answer: &[u8]) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    let said = output.write_all(answer).and_then(|()| output.flush());
    said.map_err(|error| {
        Failure::call(
            "write the answer to standard output",
            runtime_core::errno::of_io(&error),
        )
    })
}

/// Writes to standard error, which may be closed: then there is nobody to tell.
fn complain(text: &str) {
    std::io::stderr().write_all(text.as_bytes()).ok();
}
