//! Containers from a program with many threads: `embed <bundle> <state root> [how many]`.
use runtime_core::{Bundle, CreateOptions, Runtime};
use std::sync::atomic::{AtomicBool, Ordering};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, bundle, root, rest @ ..] = arguments.as_slice() else {
        return Err("usage: embed <bundle> <state root> [how many]".into());
    };
    let count: u32 = rest.first().map_or(Ok(1), |count| count.parse())?;
    let (bundle, runtime) = (Bundle::open(bundle.as_ref())?, Runtime::new(root));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for size in 1..=8_usize {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::black_box(vec![0_u8; size * 4096]);
                }
            });
        }
        let result = (0..count).try_for_each(|number| -> Result<(), Box<dyn std::error::Error>> {
            let id = format!("embed-{}-{number}", std::process::id()).parse()?;
            let mut container = runtime.create(&id, &bundle, &CreateOptions::default())?;
            container.start()?;
            let exit = container.init().ok_or("created here")?.wait()?;
            container.delete(false)?;
            if exit.shell_code() == 0 {
                Ok(())
            } else {
                Err(format!("{id}: {exit}").into())
            }
        });
        stop.store(true, Ordering::Relaxed);
        result
    })
}
