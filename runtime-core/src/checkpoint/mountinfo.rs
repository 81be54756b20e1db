//! The mounts of one container: proc_pid_mountinfo(5).

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountEntry {
    pub(crate) id: u64,
    /// `major:minor` of its filesystem.
    pub(crate) device: String,
    /// The directory of the filesystem that it shows.
    pub(crate) root: Vec<u8>,
    /// Where it is, from the process's root.
    pub(crate) point: Vec<u8>,
    /// ST_RDONLY, ST_NOSUID, ST_NODEV, ST_NOEXEC of the mount itself, as MOUNT_ATTR_* has them.
    pub(crate) flags: u64,
    /// Such as `tmpfs`.
    pub(crate) kind: String,
}

/// The four flags that matter here, with their names in mountinfo.
pub(crate) const FLAGS: [(&str, u64); 4] = [("ro", 1), ("nosuid", 2), ("nodev", 4), ("noexec", 8)];

/// All lines that are as they should be; the kernel writes no others.
pub(crate) fn parse(text: &str) -> Vec<MountEntry> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<MountEntry> {
    let (front, back) = line.split_once(" - ")?;
    let mut fields = front.split(' ');
    let id = fields.next()?.parse().ok()?;
    let device = fields.nth(1)?.to_owned();
    let root = unescape(fields.next()?);
    let point = unescape(fields.next()?);
    let options = fields.next()?;
    let flag = |name: &str| {
        let known = FLAGS.iter().find(|(known, _)| *known == name);
        known.map_or(0, |(_, flag)| *flag)
    };
    Some(MountEntry {
        id,
        device,
        root,
        point,
        flags: options.split(',').map(flag).sum(),
        kind: back.split(' ').next()?.to_owned(),
    })
}

/// A name whose special bytes are written as `\` and three octal digits.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| first == b'\\');
        match digits.and_then(octal) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    bytes
}

fn octal(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok()?;
    u8::from_str_radix(text, 8).ok()
}

/// Whether `path` is `top` or below it.
pub(crate) fn is_below(path: &[u8], top: &[u8]) -> bool {
    match path.strip_prefix(top) {
        Some(rest) => rest.is_empty() || rest.starts_with(b"/") || top == b"/",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read() {
        let text = "36 35 98:0 /mnt1 /mnt\\0402 ro,noexec,noatime master:1 - ext3 /dev/root rw,errors=continue\n\
                    37 36 0:5 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw\nnonsense\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!(
            mounts[0],
            MountEntry {
                id: 36,
                device: "98:0".into(),
                root: b"/mnt1".to_vec(),
                point: b"/mnt 2".to_vec(),
                flags: 1 | 8,
                kind: "ext3".into(),
            }
        );
        assert_eq!((mounts[1].flags, mounts[1].kind.as_str()), (14, "proc"));
    }

    #[test]
    fn a_backslash_that_escapes_nothing_is_itself() {
        assert_eq!(unescape("a\\134b\\011\\"), b"a\\b\t\\");
        assert_eq!(unescape("\\9zz"), b"\\9zz");
        assert_eq!(unescape("\\777"), b"\\777");
    }

    #[test]
    fn below_is_by_components() {
        assert!(is_below(b"/a/b", b"/a"));
        assert!(is_below(b"/a", b"/a"));
        assert!(is_below(b"/a", b"/"));
        assert!(!is_below(b"/ab", b"/a"));
        assert!(!is_below(b"/", b"/a"));
    }
}
