//! What one container, or one mount, has of its own: its changes above an image's layers.
//!
//! ```text
//! active/<name>/
//!   chain     the layers below, by ChainID, lowest first; its lock is held by whoever works
//!             with it, for a container in the foreground all its life
//!   use       who needs it when nobody holds the lock, unless that is nobody: `Use`
//!   upper work    its changes, and overlayfs's workshop
//!   lower/<n>     layers with mapped owners
//!   rootfs    where it is mounted, or copied to
//!   bundle        what a runtime is given
//!   volumes/<n>   data that the image asks to keep out of the changes
//! ```
//!
//! A file system takes longer to make a file or directory than for nearly anything else that a
//! start needs: so there is none that isn't needed.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use runtime_core::ContainerId;
use runtime_core::mount::{DetachedMount, IdMapping, IdMappings};
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::overlay::Overlay;
use super::{Chain, Snapshots, make_directory, native, open_directory, prune};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::layer;
use crate::lock::{Lock, Share};

/// The file with the layers below, and the lock.
pub(super) const CHAIN: &str = "chain";

/// One root filesystem with changes of its own, while this process works with it.
#[derive(Debug)]
pub struct Active {
    snapshots: Snapshots,
    directory: PathBuf,
    chain: Chain,
    lock: Lock,
}

/// Who needs it when the process that made it has gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Use {
    /// Nobody: it goes with that process.
    Process,
    /// Whoever looks at this mount point.
    Mount(PathBuf),
    /// A container, as long as its state is in this directory.
    Container(PathBuf),
}

/// How it is put together.
#[derive(Clone, Debug, Default)]
pub struct MountOptions {
    /// Whether nobody may write to it.
    pub read_only: bool,
    /// Whether its changes needn't survive a crash of the machine.
    pub is_volatile: bool,
    /// Whether it is copied instead of mounted.
    pub native: bool,
    /// Owners: first id in the container, first on the host, how many.
    pub id_mappings: Vec<(u32, u32, u32)>,
}

impl Snapshots {
    /// Makes a root filesystem named `name` above the layers of `chain`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a name that is no container's id;
    /// [`ErrorKind::AlreadyExists`] when it is taken; [`ErrorKind::NotFound`] when a layer is
    /// missing.
    pub fn prepare(&self, name: &str, chain: &Chain, purpose: &Use) -> Result<Active> {
        self.check_layers(chain)?;
        let directory = self.active(name)?;
        match fs::DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                // One whose maker has died is in nobody's way.
                if !prune::remove_if_abandoned(self, &directory)? {
                    let message = format!("{name} is in use");
                    return Err(Error::new(ErrorKind::AlreadyExists, message));
                }
                make_directory(&directory)?;
            }
            Err(error) => {
                return Err(Error::system(
                    format!("make {}", directory.display()),
                    error,
                ));
            }
        }
        let lock = Lock::take(
            &directory.join(CHAIN),
            Share::Exclusive,
            Duration::from_secs(5),
        )?;
        let active = Active {
            snapshots: self.clone(),
            directory,
            chain: chain.clone(),
            lock,
        };
        active.fill(purpose)?;
        Ok(active)
    }

    /// Takes one that was made before, to end it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none of this name; [`ErrorKind::InUse`] when a
    /// process works with it.
    pub fn take(&self, name: &str) -> Result<Active> {
        let directory = self.active(name)?;
        if !directory.is_dir() {
            return Err(no_such(name));
        }
        let lock = Lock::try_take(&directory.join(CHAIN), Share::Exclusive)?
            .ok_or_else(|| Error::new(ErrorKind::InUse, format!("a process works with {name}")))?;
        let chain = read_chain(&directory)?;
        Ok(Active {
            snapshots: self.clone(),
            directory,
            chain,
            lock,
        })
    }

    /// The names of all there are, and what they are for.
    ///
    /// # Errors
    /// [`ErrorKind::System`] when the directory can't be read.
    pub fn actives(&self) -> Result<Vec<(String, Use)>> {
        let mut actives = Vec::new();
        for entry in super::prune::entries(&self.directory.join("active"))? {
            let name = entry.file_name().to_string_lossy().into_owned();
            actives.push((name, read_use(&entry.path())));
        }
        actives.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(actives)
    }

    /// The directory with the changes of one that is there, whoever works with it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none of this name.
    pub fn upper_of(&self, name: &str) -> Result<fs::File> {
        let directory = self.active(name)?;
        if !directory.is_dir() {
            return Err(no_such(name));
        }
        open_directory(&directory.join("upper"))
    }

    /// The layers below one that is there.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none of this name.
    pub fn chain_of(&self, name: &str) -> Result<Chain> {
        let directory = self.active(name)?;
        if !directory.is_dir() {
            return Err(no_such(name));
        }
        read_chain(&directory)
    }

    fn active(&self, name: &str) -> Result<PathBuf> {
        let id: ContainerId = name.parse().map_err(|error| {
            Error::new(ErrorKind::InvalidInput, format!("name {name:?}: {error}"))
        })?;
        Ok(self.directory.join("active").join(id.as_str()))
    }

    fn check_layers(&self, chain: &Chain) -> Result<()> {
        match chain.0.iter().find(|layer| !self.layer(layer).is_dir()) {
            None => Ok(()),
            Some(missing) => {
                let message = format!("layer {missing} is not unpacked");
                Err(Error::new(ErrorKind::NotFound, message))
            }
        }
    }
}

impl Active {
    /// Its own directory, which only this process works with.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where its root filesystem is mounted unless the caller wants it elsewhere.
    #[must_use]
    pub fn rootfs(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    /// Where its changes are.
    #[must_use]
    pub fn upper(&self) -> PathBuf {
        self.directory.join("upper")
    }

    /// The directories of the layers below, topmost first.
    #[must_use]
    pub fn lowers(&self) -> Vec<PathBuf> {
        let layers = self.chain.0.iter().rev();
        layers
            .map(|layer| self.snapshots.layer(layer).join("fs"))
            .collect()
    }

    /// Puts the root filesystem together at `target`. It is a mount there, or a copy if `target`
    /// is [`Active::rootfs`] and [`MountOptions::native`] is set.
    ///
    /// # Errors
    /// What the kernel refuses; a mount needs privilege over the mount namespace.
    pub fn mount(&self, target: &Path, options: &MountOptions) -> Result<()> {
        if options.native {
            return self.mount_copy(target, options);
        }
        if target == self.rootfs() {
            make_directory(target)?;
        }
        let mut lowers = self.lowers();
        if !options.id_mappings.is_empty() {
            self.open_the_way(&options.id_mappings)?;
            lowers = self.map_owners(&lowers, &options.id_mappings)?;
        }
        if lowers.is_empty() {
            // An image without layers. overlayfs wants one.
            let empty = self.directory.join("lower");
            make_directory(&empty)?;
            set_mode(&empty, 0o755)?;
            lowers.push(empty);
        }
        let upper = (!options.read_only).then(|| (self.upper(), self.directory.join("work")));
        if let (Some((upper, _)), Some(top)) = (&upper, lowers.first()) {
            layer::adopt(open_directory(top)?, open_directory(upper)?)?;
        }
        let mut overlay = Overlay {
            lowers,
            upper,
            kind: self.snapshots.kind,
            is_volatile: options.is_volatile,
        };
        if overlay.upper.is_none() && overlay.lowers.len() == 1 {
            // A view of one layer needs no overlay, and overlayfs wants two.
            let only = overlay.lowers.remove(0);
            return bind(&only, target, true);
        }
        overlay.mount(target)
    }

    /// Mounts it where it is mounted as a rule, and opens its root.
    ///
    /// # Errors
    /// As [`Active::mount`].
    pub fn mount_and_open(&self, options: &MountOptions) -> Result<fs::File> {
        let rootfs = self.rootfs();
        self.mount(&rootfs, options)?;
        open_directory(&rootfs)
    }

    /// A copy of all layers, which is where it is mounted, or is mounted from.
    fn mount_copy(&self, target: &Path, options: &MountOptions) -> Result<()> {
        if !options.id_mappings.is_empty() {
            let message = "a copy of layers has the owners that the layers have";
            let advice = "id mappings need overlayfs: leave --native out";
            return Err(Error::new(ErrorKind::Unsupported, message).advise(advice));
        }
        make_directory(&self.rootfs())?;
        native::flatten(self, &self.rootfs())?;
        if target == self.rootfs() {
            return Ok(());
        }
        bind(&self.rootfs(), target, options.read_only)
    }

    /// Copies the whole root filesystem into the empty directory `target`, where it stays.
    ///
    /// # Errors
    /// [`ErrorKind::System`] when something can't be read or written.
    pub fn copy_to(&self, target: &Path) -> Result<()> {
        native::flatten(self, target)
    }

    /// Says who needs it from now on, when this process has gone.
    ///
    /// # Errors
    /// [`ErrorKind::System`] when it can't be written.
    pub fn leave_to(self, purpose: &Use) -> Result<()> {
        write_use(&self.directory, purpose)
    }

    /// Removes it. Nothing may be mounted from it any more in this mount namespace.
    ///
    /// # Errors
    /// [`ErrorKind::System`] when something can't be removed; what is left is out of the way, and
    /// [`Snapshots::prune`] tries again.
    pub fn remove(self) -> Result<()> {
        match prune::remove_in_place(&self.directory) {
            Ok(()) => Ok(()),
            Err(_) => self.snapshots.discard(&self.directory),
        }
    }

    fn fill(&self, purpose: &Use) -> Result<()> {
        let step = || format!("write below {}", self.directory.display());
        let chain: String = self
            .chain
            .0
            .iter()
            .map(|layer| format!("{layer}\n"))
            .collect();
        if *purpose != Use::Process {
            write_use(&self.directory, purpose)?;
        }
        fs::write(self.directory.join(CHAIN), chain)
            .map_err(|error| Error::system(step(), error))?;
        // The former gets its mode from the layer below.
        for name in ["upper", "work"] {
            make_directory(&self.directory.join(name))?;
        }
        Ok(())
    }

    /// Lets the root of a user namespace, who is nobody on the host, through to its own root
    /// filesystem, and nobody else: the directories above can be passed, not read, and its own
    /// is its own.
    fn open_the_way(&self, mappings: &[(u32, u32, u32)]) -> Result<()> {
        let snapshots = &self.snapshots.directory;
        let above = [
            snapshots.parent().unwrap_or(snapshots),
            snapshots,
            &snapshots.join("active"),
        ];
        for path in above {
            let step = || format!("read the mode of {}", path.display());
            let metadata = fs::metadata(path).map_err(|error| Error::system(step(), error))?;
            set_mode(path, (metadata.mode() & 0o7777) | 0o011)?;
        }
        let root = mappings.iter().find(|(container, ..)| *container == 0);
        let root = root.map(|(_, host, _)| *host);
        chown(&self.directory, root, root).map_err(|error| {
            Error::system(
                format!("change the owner of {}", self.directory.display()),
                error,
            )
        })
    }

    /// The layers, mounted with mapped owners.
    fn map_owners(&self, lowers: &[PathBuf], mappings: &[(u32, u32, u32)]) -> Result<Vec<PathBuf>> {
        let mappings: Vec<IdMapping> = mappings
            .iter()
            .map(|&(container_id, host_id, size)| IdMapping {
                container_id,
                host_id,
                size,
            })
            .collect();
        let step = |error: nix::Error| {
            let error = Error::system("map the owners of a layer", std::io::Error::from(error));
            error
                .advise("it needs Linux 5.19, and a filesystem that maps owners: else use --native")
        };
        let owners = IdMappings::new(&mappings, &mappings).map_err(step)?;
        let mut mapped = Vec::new();
        for (index, lower) in lowers.iter().enumerate() {
            let target = self.directory.join("lower").join(index.to_string());
            make_directory(&target)?;
            let path = std::ffi::CString::new(lower.as_os_str().as_encoded_bytes())
                .map_err(|_| step(nix::Error::EINVAL))?;
            let mount = DetachedMount::bind(&path, false).map_err(step)?;
            mount.map_ids(&owners, false).map_err(step)?;
            attach(&mount, &target)?;
            mapped.push(target);
        }
        Ok(mapped)
    }

    /// Keeps the lock for as long as this lives.
    #[must_use]
    pub fn lock(&self) -> &Lock {
        &self.lock
    }
}

fn no_such(name: &str) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("there is no root filesystem named {name}"),
    )
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|error| Error::system(format!("change the mode of {}", path.display()), error))
}

fn bind(source: &Path, target: &Path, read_only: bool) -> Result<()> {
    let step = || format!("mount {} on {}", source.display(), target.display());
    let path = std::ffi::CString::new(source.as_os_str().as_encoded_bytes())
        .map_err(|error| Error::system(step(), std::io::Error::from(error)))?;
    let refused = |errno: nix::Error| Error::system(step(), std::io::Error::from(errno));
    let mount = DetachedMount::bind(&path, false).map_err(refused)?;
    if read_only {
        let attributes = runtime_core::mount::Attributes { set: 1, clear: 0 };
        mount.set(attributes, false).map_err(refused)?;
    }
    attach(&mount, target)
}

fn attach(mount: &DetachedMount, target: &Path) -> Result<()> {
    use std::os::fd::AsFd;
    let step = || format!("mount on {}", target.display());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd: OwnedFd =
        openat(CWD, target, flags, Mode::empty()).map_err(|errno| Error::system(step(), errno))?;
    mount
        .attach(fd.as_fd())
        .map_err(|errno| Error::system(step(), std::io::Error::from(errno)))
}

fn write_use(directory: &Path, purpose: &Use) -> Result<()> {
    let text = match purpose {
        Use::Process => "process\n".to_owned(),
        Use::Mount(path) => format!("mount {}\n", path.display()),
        Use::Container(path) => format!("container {}\n", path.display()),
    };
    let path = directory.join("use");
    let temporary = directory.join("use.new");
    fs::write(&temporary, text)
        .and_then(|()| fs::rename(&temporary, &path))
        .map_err(|error| Error::system(format!("write {}", path.display()), error))
}

/// One that isn't there is nobody's: it goes with its maker, or that died before it was written.
pub(super) fn read_use(directory: &Path) -> Use {
    let text = fs::read_to_string(directory.join("use")).unwrap_or_default();
    let text = text.trim_end_matches('\n');
    match text.split_once(' ') {
        Some(("mount", path)) => Use::Mount(path.into()),
        Some(("container", path)) => Use::Container(path.into()),
        _ => Use::Process,
    }
}

/// The layers that it needs.
pub(super) fn read_chain(directory: &Path) -> Result<Chain> {
    let path = directory.join(CHAIN);
    match fs::read_to_string(&path) {
        Ok(text) => text
            .lines()
            .map(str::parse::<Digest>)
            .collect::<Result<Vec<_>>>()
            .map(Chain),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Chain(Vec::new())),
        Err(error) => Err(Error::system(format!("read {}", path.display()), error)),
    }
}
