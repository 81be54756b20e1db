//! Who a container's process is: a user of the image's own /etc/passwd and /etc/group.
//!
//! The files are the image's, so they are read as data from a stranger: below its root, never
//! through a link that leaves it, only regular files, and only so much of them.

use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};

/// The longest user database that is read, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// A user, with groups and home.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// User id in the container.
    pub uid: u32,
    /// Group id in the container.
    pub gid: u32,
    /// Supplementary groups.
    pub additional_gids: Vec<u32>,
    /// The home directory.
    pub home: String,
}

impl Identity {
    /// Looks up `user[:group]`, each a name or a number, below `root`; nothing is `0:0`.
    ///
    /// A number needs no entry; with one it gets the entry's group and home. Supplementary groups
    /// are those that name the user as a member, unless a group was given.
    ///
    /// image-spec, conversion.md, "Config.User".
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a name that has no entry, or a number above 2^31 - 1;
    /// [`ErrorKind::Corrupt`] when a database is no regular file, or too long.
    pub fn look_up(root: BorrowedFd<'_>, text: &str) -> Result<Self> {
        let passwd = read(root, "etc/passwd")?;
        let group = read(root, "etc/group")?;
        resolve(text, &passwd, &group)
    }
}

fn resolve(text: &str, passwd: &str, group: &str) -> Result<Identity> {
    let (user, wanted_group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let entry = users(passwd).find(|entry| entry.name == user);
    let entry = match (entry, number(user)?) {
        (Some(entry), _) => entry,
        (None, Some(uid)) => users(passwd)
            .find(|entry| entry.uid == uid)
            .unwrap_or(User {
                name: "",
                uid,
                gid: 0,
                home: "/",
            }),
        (None, None) => return Err(unknown("user", user, "etc/passwd")),
    };
    let gid = match wanted_group {
        None => entry.gid,
        Some(name) => match (
            groups(group).find(|group| group.name == name),
            number(name)?,
        ) {
            (Some(group), _) => group.gid,
            (None, Some(gid)) => gid,
            (None, None) => return Err(unknown("group", name, "etc/group")),
        },
    };
    let mut additional_gids: Vec<u32> = groups(group)
        .filter(|_| wanted_group.is_none() && !entry.name.is_empty())
        .filter(|group| group.members.split(',').any(|member| member == entry.name))
        .map(|group| group.gid)
        .filter(|other| *other != gid)
        .collect();
    additional_gids.sort_unstable();
    additional_gids.dedup();
    let home = if entry.home.starts_with('/') {
        entry.home
    } else {
        "/"
    };
    Ok(Identity {
        uid: entry.uid,
        gid,
        additional_gids,
        home: home.into(),
    })
}

fn unknown(what: &str, name: &str, file: &str) -> Error {
    let message = format!("{what} {name:?}: the image's /{file} has no such {what}");
    Error::new(ErrorKind::InvalidInput, message)
}

fn number(text: &str) -> Result<Option<u32>> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<i32>().map(u32::try_from) {
        Ok(Ok(id)) => Ok(Some(id)),
        _ => {
            let message = format!("id {text} is above 2147483647");
            Err(Error::new(ErrorKind::InvalidInput, message))
        }
    }
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// passwd(5): `name:password:uid:gid:comment:home:shell`. Lines that are none are passed over.
fn users(text: &str) -> impl Iterator<Item = User<'_>> {
    text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        Some(User {
            name: fields.first().filter(|name| !name.is_empty())?,
            uid: number(fields.get(2)?).ok()??,
            gid: number(fields.get(3)?).ok()??,
            home: fields.get(5).copied().unwrap_or("/"),
        })
    })
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// group(5): `name:password:gid:members`.
fn groups(text: &str) -> impl Iterator<Item = Group<'_>> {
    text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        Some(Group {
            name: fields.first().filter(|name| !name.is_empty())?,
            gid: number(fields.get(2)?).ok()??,
            members: fields.get(3).copied().unwrap_or_default(),
        })
    })
}

/// The file's text; empty where there is none.
fn read(root: BorrowedFd<'_>, path: &str) -> Result<String> {
    let step = || format!("read the image's /{path}");
    // Without O_NONBLOCK a fifo would be waited for.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = match openat2(root, path, flags, Mode::empty(), resolve) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
        Err(errno) => return Err(Error::system(step(), errno)),
    };
    let status = fstat(&file).map_err(|errno| Error::system(step(), errno))?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        let message = format!("{}: it is no regular file", step());
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    let mut bytes = Vec::new();
    File::from(file)
        .take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::system(step(), error))?;
    if bytes.len() as u64 > MAX_FILE {
        let message = format!("{}: it has more than {MAX_FILE} bytes", step());
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbad\n:x:5:5::/:\n\
                          www:x:33:34:www:/var/www:/bin/false\n1000:x:7:8::/seven:\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nlogs:x:40:a,www\ntape:x:26:www,b\n77:x:78:\n";

    fn look_up(text: &str) -> Result<(u32, u32, Vec<u32>, String)> {
        resolve(text, PASSWD, GROUP).map(|it| (it.uid, it.gid, it.additional_gids, it.home))
    }

    #[test]
    fn names_and_numbers_are_looked_up_as_docker_does() {
        for (text, uid, gid, more, home) in [
            ("", 0, 0, vec![], "/root"),
            ("root", 0, 0, vec![], "/root"),
            ("www", 33, 34, vec![26, 40], "/var/www"),
            ("33", 33, 34, vec![26, 40], "/var/www"),
            ("www:logs", 33, 40, vec![], "/var/www"),
            ("www:5", 33, 5, vec![], "/var/www"),
            (":5", 0, 5, vec![], "/root"),
            ("4321", 4321, 0, vec![], "/"),
            ("1000", 7, 8, vec![], "/seven"),
            ("0:77", 0, 78, vec![], "/root"),
        ] {
            let expected = (uid, gid, more, home.to_owned());
            assert_eq!(look_up(text).expect(text), expected, "{text}");
        }
    }

    #[test]
    fn unknown_names_and_large_numbers_are_refused() {
        for text in [
            "nobody",
            "www:nobody",
            "2147483648",
            "99999999999",
            "0:4294967295",
            "-1",
        ] {
            let error = look_up(text).expect_err(text);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
        }
    }

    #[test]
    fn databases_are_read_below_the_root_and_only_regular_ones() {
        let root = tempfile::tempdir().expect("a directory");
        let etc = root.path().join("etc");
        std::fs::create_dir(&etc).expect("it is ours");
        let open = std::fs::File::open(root.path()).expect("it is there");
        // A link out of the image leads to the image's own, which has none.
        std::os::unix::fs::symlink("/../../etc/hostname", etc.join("passwd")).expect("it is ours");
        assert_eq!(
            Identity::look_up(open.as_fd(), "0")
                .expect("no entry is needed")
                .home,
            "/"
        );
        rustix::fs::mknodat(
            rustix::fs::CWD,
            etc.join("group"),
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .expect("it is ours");
        let error = Identity::look_up(open.as_fd(), "0").expect_err("a fifo");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}
