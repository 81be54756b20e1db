//! The command line as data.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use image::registry::settings::Ranges;

/// Container images without a daemon.
#[derive(Debug, Parser)]
#[command(
    name = "tare-image",
    version,
    about = "Container images without a daemon: pull, push, list, unpack, run and more",
    disable_help_subcommand = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Args, Debug)]
pub(crate) struct Globals {
    /// The directory with all images [default: /var/lib/tare/image, of a user
    /// $XDG_DATA_HOME/tare/image]
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// How progress is shown: auto is bars on a terminal and lines elsewhere
    #[arg(long, value_enum, default_value_t = ProgressStyle::Auto, global = true)]
    pub(crate) progress: ProgressStyle,
    /// Show nothing but results and errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressStyle {
    Auto,
    Bar,
    Plain,
    Json,
    None,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Fetch an image from a registry
    Pull(Pull),
    /// Send an image to a registry
    Push(Push),
    /// List images
    #[command(visible_alias = "ls", alias = "images")]
    List(List),
    /// Show everything that is known of an image, as JSON
    Inspect(Inspect),
    /// Show how an image came to be
    History(History),
    /// Give an image a further name
    Tag(Tag),
    /// Remove names of images
    #[command(visible_alias = "rm", alias = "rmi")]
    Remove(Remove),
    /// Write images into an archive
    Save(Save),
    /// Read images from an archive or an image layout
    Load(Load),
    /// Make an image of one layer from a tar archive
    Import(Import),
    /// Write an image's root filesystem as a tar archive
    Export(Export),
    /// Unpack an image's layers, or its root filesystem into a directory
    Unpack(Unpack),
    /// Mount an image's root filesystem
    Mount(Mount),
    /// Undo a mount
    #[command(alias = "umount")]
    Unmount(Unmount),
    /// Run a container of an image
    Run(Box<Run>),
    /// Remove what no image, container or mount needs
    Prune(Prune),
    /// Remember a registry's credentials
    Login(Login),
    /// Forget a registry's credentials
    Logout(Logout),
    /// Copy an image from one registry to another
    Copy(Copy),
    /// Show what differs between two images, or what a mount has changed
    Diff(Diff),
}

/// Where images come from and go to.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RegistryOptions {
    /// Talk plain HTTP with this registry (one on loopback needs no such word)
    #[arg(long, value_name = "HOST")]
    pub(crate) plain_http: Vec<String>,
    /// Don't look at this registry's certificate
    #[arg(long, value_name = "HOST")]
    pub(crate) skip_verify: Vec<String>,
    /// Instead of what `login` remembers
    #[arg(long, value_name = "USER:PASSWORD")]
    pub(crate) creds: Option<String>,
    /// A file with credentials
    #[arg(long, value_name = "FILE")]
    pub(crate) authfile: Option<PathBuf>,
    /// A directory with certificates and hosts.toml a registry
    #[arg(long, value_name = "DIR")]
    pub(crate) certs_dir: Option<PathBuf>,
    /// Blobs at once
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) parallel: usize,
    /// Connections for pieces of large blobs that come slowly; with 1 each blob comes over one
    #[arg(long, value_name = "N", default_value_t = Ranges::default().connections)]
    pub(crate) connections: usize,
}

#[derive(Args, Debug)]
pub(crate) struct Pull {
    /// What to fetch
    #[arg(required = true)]
    pub(crate) references: Vec<String>,
    /// For this machine instead of the own one; may be given several times
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Vec<String>,
    /// For all machines
    #[arg(long, conflicts_with = "platform")]
    pub(crate) all_platforms: bool,
    /// Unpack the layers too
    #[arg(long)]
    pub(crate) unpack: bool,
    #[command(flatten)]
    pub(crate) registry: RegistryOptions,
}

#[derive(Args, Debug)]
pub(crate) struct Push {
    /// The image
    pub(crate) image: String,
    /// Where to; the image's own name where it is missing. Several tags of one repository are
    /// set at once, if the registry can do that
    pub(crate) destinations: Vec<String>,
    /// Of an index: only the image for this machine
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,
    #[command(flatten)]
    pub(crate) registry: RegistryOptions,
}

#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only these
    pub(crate) filter: Option<String>,
    /// Show whole digests; with --remote those of its tags, each of which it is asked for
    #[arg(long)]
    pub(crate) digests: bool,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// The tags that this repository has in its registry, in place of images that are here
    #[arg(long, value_name = "REPOSITORY")]
    pub(crate) remote: Option<String>,
    #[command(flatten, next_help_heading = "Options with --remote")]
    pub(crate) registry: RegistryOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

#[derive(Args, Debug)]
pub(crate) struct Inspect {
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
    /// Of an index: the image for this machine
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,
    /// The document itself, byte for byte: its manifest, index or configuration
    #[arg(long, value_enum)]
    pub(crate) raw: Option<Raw>,
    /// What its registry has about it: signatures, lists of contents, attestations. The image
    /// need not be here
    #[arg(long, conflicts_with = "raw")]
    pub(crate) referrers: bool,
    /// Only those of this type
    #[arg(long, value_name = "TYPE", requires = "referrers")]
    pub(crate) artifact_type: Option<String>,
    #[command(flatten, next_help_heading = "Options with --referrers")]
    pub(crate) registry: RegistryOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Raw {
    Top,
    Manifest,
    Config,
}

#[derive(Args, Debug)]
pub(crate) struct History {
    pub(crate) image: String,
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct Tag {
    pub(crate) image: String,
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Remove {
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
    /// Keep the content, for a later `prune`
    #[arg(long)]
    pub(crate) no_prune: bool,
    /// In their registries, not here: a tag, or by its digest an image with all of its tags
    #[arg(long, conflicts_with = "no_prune")]
    pub(crate) remote: bool,
    #[command(flatten, next_help_heading = "Options with --remote")]
    pub(crate) registry: RegistryOptions,
}

#[derive(Args, Debug)]
pub(crate) struct Save {
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
    /// A file instead of the standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// docker is readable by `docker load` too, and is an OCI archive as well
    #[arg(long, value_enum, default_value_t = SaveFormat::Docker)]
    pub(crate) format: SaveFormat,
    /// Of an index: only the image for this machine
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SaveFormat {
    Docker,
    Oci,
}

#[derive(Args, Debug)]
pub(crate) struct Load {
    /// An archive, or the directory of an image layout; the standard input where it is missing
    #[arg(long, short, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Import {
    /// A tar archive, compressed or not; - is the standard input
    pub(crate) archive: PathBuf,
    /// The new image's name
    pub(crate) name: Option<String>,
    /// What the image says of its containers: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL,
    /// USER, VOLUME or WORKDIR, as in a Dockerfile
    #[arg(long, short, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,
    /// What its history says
    #[arg(long, short, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Export {
    pub(crate) image: String,
    /// A file instead of the standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Unpack {
    pub(crate) image: String,
    /// A directory that is made, with the whole root filesystem in it
    pub(crate) directory: Option<PathBuf>,
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Mount {
    pub(crate) image: String,
    /// An empty directory; one of ours where it is missing, whose path is printed
    pub(crate) target: Option<PathBuf>,
    /// Let it be written; the changes go with the mount
    #[arg(long)]
    pub(crate) writable: bool,
    /// Copy the layers instead of laying them over each other
    #[arg(long)]
    pub(crate) native: bool,
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Unmount {
    /// Paths of mounts, or their names
    #[arg(required = true)]
    pub(crate) targets: Vec<String>,
}

#[derive(Args, Debug)]
#[command(trailing_var_arg = true)]
pub(crate) struct Run {
    pub(crate) image: String,
    /// Instead of the image's command
    #[arg(allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
    /// The container's id
    #[arg(long, visible_alias = "id")]
    pub(crate) name: Option<String>,
    /// Return as soon as it runs; `tare` knows it by its id
    #[arg(long, short)]
    pub(crate) detach: bool,
    /// Give it a terminal
    #[arg(long, short)]
    pub(crate) tty: bool,
    /// Accepted for those who are used to it: the standard input is always passed on
    #[arg(long, short, hide = true)]
    pub(crate) interactive: bool,
    /// Accepted for those who are used to it: nothing is kept of a container that has ended
    #[arg(long, hide = true)]
    pub(crate) rm: bool,
    /// Set a variable; NAME alone takes the caller's value
    #[arg(long, short, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Variables from a file, one a line
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// Run as this user
    #[arg(long, short, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Run in this directory
    #[arg(long, short, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// Instead of the image's entry point
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// Its name for itself
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// Mount a file or directory of the host
    #[arg(long, short, value_name = "SOURCE:TARGET[:ro]")]
    pub(crate) volume: Vec<String>,
    /// Its root filesystem can't be written
    #[arg(long)]
    pub(crate) read_only: bool,
    /// none has nothing but loopback, host is the host's
    #[arg(long, visible_alias = "net", value_enum, default_value_t = Network::None)]
    pub(crate) network: Network,
    /// Give it a capability
    #[arg(long, value_name = "CAP")]
    pub(crate) cap_add: Vec<String>,
    /// Take a capability from it; ALL takes all
    #[arg(long, value_name = "CAP")]
    pub(crate) cap_drop: Vec<String>,
    /// seccomp=unconfined, or no-new-privileges
    #[arg(long, value_name = "OPTION")]
    pub(crate) security_opt: Vec<String>,
    /// Most memory
    #[arg(long, short, value_name = "BYTES[k|m|g]")]
    pub(crate) memory: Option<String>,
    /// Most processes and threads
    #[arg(long, value_name = "N")]
    pub(crate) pids_limit: Option<i64>,
    /// Most processors, such as 1.5
    #[arg(long, value_name = "N")]
    pub(crate) cpus: Option<f64>,
    /// A user namespace: ids from 0 become ids from FIRST on the host
    #[arg(long, value_name = "FIRST:COUNT")]
    pub(crate) userns: Option<String>,
    /// When to ask the registry
    #[arg(long, value_enum, default_value_t = PullPolicy::Missing)]
    pub(crate) pull: PullPolicy,
    /// Copy the layers instead of laying them over each other
    #[arg(long)]
    pub(crate) native: bool,
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,
    /// The runtime [default: the tare beside this program, or on PATH]
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) runtime: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) registry: RegistryOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Network {
    None,
    Host,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PullPolicy {
    Always,
    Missing,
    Never,
}

#[derive(Args, Debug)]
pub(crate) struct Prune {
    /// Images without a name too
    #[arg(long, short)]
    pub(crate) all: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Login {
    /// docker.io where it is missing
    pub(crate) registry: Option<String>,
    #[arg(long, short)]
    pub(crate) username: Option<String>,
    /// Read the password from the standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
    #[command(flatten)]
    pub(crate) options: RegistryOptions,
}

#[derive(Args, Debug)]
pub(crate) struct Logout {
    pub(crate) registry: Option<String>,
    #[arg(long, value_name = "FILE")]
    pub(crate) authfile: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Copy {
    pub(crate) source: String,
    pub(crate) destination: String,
    /// Only the image for this machine
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,
    #[command(flatten)]
    pub(crate) registry: RegistryOptions,
}

#[derive(Args, Debug)]
pub(crate) struct Diff {
    /// An image, or the name of a mount
    pub(crate) one: String,
    /// Another image
    pub(crate) other: Option<String>,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_manual_page_names_every_command_and_every_flag() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../contrib/man/tare-image.8");
        let page = std::fs::read_to_string(path).expect("there is one");
        for command in Arguments::command().get_subcommands() {
            let name = command.get_name();
            let start = page.find(&format!("\n.BR {name} \""));
            let start = start.unwrap_or_else(|| panic!("{name} is not there"));
            // Up to the next command; what several know stands once, after those.
            let own = page[start..].split("\n.TP\n.BR ").next();
            let own = if name == "run" {
                &page[start..]
            } else {
                own.unwrap_or_default()
            };
            let visible = command.get_arguments().filter(|flag| !flag.is_hide_set());
            for flag in visible.filter_map(clap::Arg::get_long) {
                let flag = format!("\\-\\-{}", flag.replace('-', "\\-"));
                let is_shared = page.contains(&format!("\n.BI {flag} \""));
                assert!(own.contains(&flag) || is_shared, "{name} {flag}");
            }
        }
    }
}
