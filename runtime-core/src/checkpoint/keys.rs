//! Names of mounts in an image: which mount of the container is which one of the host.
//!
//! criu is told `mnt[POINT]:KEY` at a dump and `mnt[KEY]:SOURCE` at a restore, and looks for
//! `mnt[…]` followed by a colon. A path with `]:` in it can so stand for another one
//! (CVE-2026-115520), and a key comes back out of an image that anybody may have made. So a key
//! is the path with every byte escaped that could mean something else, which no two paths share;
//! a source is always a name of tare's own; and a mount point that can't be said is refused.

use std::ffi::CStr;

use crate::error::{Error, ErrorKind};

/// The longest mount point that is said to criu, in bytes.
const LONGEST_POINT: usize = 2048;

/// The key of the files that hide others: the host's /dev/null.
pub(crate) const NULL_KEY: &str = "/dev/null";

/// The key of a mount whose target is this path of the container: `/` and ordinary letters as
/// they are, every other byte as `%` and two digits.
pub(crate) fn key(target: &CStr) -> String {
    let mut key = String::new();
    for &byte in target.to_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-+@=~".contains(&byte) {
            key.push(char::from(byte));
        } else {
            key.push_str(&format!("%{byte:02X}"));
        }
    }
    key
}

/// What a dump is told about a mount of the host's: that it is one, and its key.
///
/// # Errors
///
/// [`ErrorKind::Unsupported`] for a mount point that criu would read as another one.
pub(crate) fn dumped(point: &[u8], key: &str) -> Result<Vec<u8>, Error> {
    let confuses = point.windows(2).any(|two| two == b"]:");
    let unprintable = point.iter().any(|byte| byte.is_ascii_control());
    if confuses || unprintable || point.len() > LONGEST_POINT {
        let reason = match (confuses, unprintable) {
            (true, _) => "has \"]:\" in its name, which ends a name there",
            (_, true) => "has a control character in its name",
            _ => "has a name of more than 2048 bytes",
        };
        let shown = String::from_utf8_lossy(point.get(..256).unwrap_or(point));
        return Err(Error::text(
            ErrorKind::Unsupported,
            format!("checkpoint: criu can't be told about the mount on {shown:?}: it {reason}"),
        ));
    }
    Ok([b"mnt[", point, b"]:", key.as_bytes()].concat())
}

/// What a restore is told: where the mount of this key comes from. The source is one of tare's
/// own names.
pub(crate) fn restored(key: &str, source: &str) -> Vec<u8> {
    format!("mnt[{key}]:{source}").into_bytes()
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_ordinary_path_is_its_own_key() {
        assert_eq!(key(c"/etc/resolv.conf"), "/etc/resolv.conf");
        assert_eq!(key(c"/a b]:c%"), "/a%20b%5D%3Ac%25");
        assert_eq!(dumped(b"/data", "/data").unwrap(), b"mnt[/data]:/data");
        assert_eq!(restored("/data", "/tmp/m0"), b"mnt[/data]:/tmp/m0");
    }

    #[test]
    fn a_point_that_would_be_read_as_another_is_refused() {
        let long = [b'/'; 4096];
        for point in [b"/a]:/etc" as &[u8], b"/a\nb", &long] {
            let error = dumped(point, "k").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
        }
        for point in [
            b"/a]" as &[u8],
            b"/a: [b]",
            b"/\"quoted\"",
            b"/back\\slash",
            b"/\xff",
        ] {
            assert!(dumped(point, "k").is_ok());
        }
    }

    /// criu's own way to look a key up (external.c).
    fn looked_up<'a>(said: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
        let sought = [b"mnt[", key, b"]"].concat();
        said.strip_prefix(sought.as_slice())?.strip_prefix(b":")
    }

    proptest! {
        #[test]
        fn keys_are_as_different_as_paths(one in "[a-z\\]:%\\[ \n\"\u{e9}]{0,12}", other in "[a-z\\]:%\\[ \n\"\u{e9}]{0,12}") {
            let [a, b] = [&one, &other].map(|path| key(&CString::new(path.as_str()).unwrap()));
            prop_assert_eq!(one == other, a == b);
            prop_assert!(!a.contains([']', '[', ':', '\n', '"', ' ']));
        }

        #[test]
        fn no_key_of_an_image_means_the_source_of_another(path in "/[a-z\\]:]{0,12}", forged in "[a-z\\]:/0-9]{0,24}") {
            let own = key(&CString::new(path).unwrap());
            let said = restored(&own, "/tmp/m0");
            let found = looked_up(&said, forged.as_bytes());
            prop_assert_eq!(found.is_some(), forged == own);
        }

        #[test]
        fn no_mount_point_is_taken_for_another(path in "/[a-z\\]:]{0,12}", other in "/[a-z\\]:]{0,12}") {
            let own = key(&CString::new(path.as_str()).unwrap());
            if let Ok(said) = dumped(path.as_bytes(), &own) {
                let found = looked_up(&said, other.as_bytes());
                prop_assert_eq!(found.is_some(), other == path);
            }
        }
    }
}
