//! `cargo xtask guest`: a command in a virtual machine that has what this machine lacks.

use std::path::Path;
use std::time::Duration;

use testkit::guest::{Builder, Cache, Guest, Image, Kernel};
use testkit::quote;

use crate::cargo::target_directory;
use crate::{Error, nothing_more, take_flag, take_value};

pub(crate) use suite::suite;

mod binaries;
mod report;
mod suite;

/// Boots a guest and runs a command there; true if it ended with 0.
pub(crate) fn guest(arguments: &[String]) -> Result<bool, Error> {
    let separator = arguments.iter().position(|argument| argument == "--");
    let (own, command) = arguments.split_at(separator.unwrap_or(arguments.len()));
    let mut own = own.to_vec();
    let kernel = take_value(&mut own, "--kernel")?;
    let image = take_value(&mut own, "--image")?;
    let put = take_value(&mut own, "--put")?;
    let limit = take_value(&mut own, "--limit")?;
    let as_user = take_flag(&mut own, "--user");
    nothing_more(&own)?;

    let image = image.as_deref().map_or(Ok(Image::Debian), image_named)?;
    let mut builder = machine(
        kernel
            .as_deref()
            .map_or(Ok(Kernel::Debian12), kernel_named)?,
    )
    .image(image)
    .limit(Duration::from_secs(
        limit.map_or(Ok(600), |limit| limit.parse())?,
    ))
    .watch(|line| println!("{line}"));
    if as_user {
        builder = builder.as_user();
    }
    if let Some(path) = put {
        let path = Path::new(&path);
        let name = path.file_name().and_then(|name| name.to_str());
        builder = builder.put(name.ok_or("--put wants a file or a directory")?, path);
    }
    let words: Vec<String> = command.iter().skip(1).map(|word| quote(word)).collect();
    let script = match words.as_slice() {
        [] => "cat /proc/version; cat /sys/fs/cgroup/cgroup.controllers; ls -R .".to_owned(),
        // One word is a script, as with ssh.
        [_] => command[1].clone(),
        _ => words.join(" "),
    };
    let built = binaries::build()?;
    let builder = built.put_into(builder);
    let ended = builder
        .command(&format!("{}{script}", built.environment()))
        .run()?;
    println!(
        "-- exit code {}, {:.1} s",
        ended.code,
        ended.took.as_secs_f64()
    );
    Ok(ended.code == 0)
}

/// A guest of this workspace: what it is made of is kept in the target directory.
pub(crate) fn machine(kernel: Kernel) -> Builder {
    let cache = Cache::at(&target_directory().join("guest"));
    Guest::builder(&cache)
        .kernel(kernel)
        .memory_mib(2048)
        .processors(2)
}

pub(crate) fn kernel_named(name: &str) -> Result<Kernel, Error> {
    let names = Kernel::ALL.map(Kernel::name).join(", ");
    let kernel = Kernel::named(name);
    kernel.ok_or_else(|| format!("there is no kernel {name}: it is one of {names}").into())
}

pub(crate) fn image_named(name: &str) -> Result<Image, Error> {
    match name {
        "busybox" => Ok(Image::Busybox),
        "debian" => Ok(Image::Debian),
        "systemd" => Ok(Image::Systemd),
        _ => Err(format!("there is no image {name}: it is one of busybox, debian, systemd").into()),
    }
}
