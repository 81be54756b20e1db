//! HOME of a process that config.json gives none, from the container's own passwd file.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read;

use super::rootfs_file::open_regular;

/// The `HOME=…` variable for this user: from `etc/passwd` in the rootfs, `/` without an entry.
pub(crate) fn variable(rootfs: &CStr, uid: u32) -> CString {
    let home = open_regular(rootfs, c"/etc/passwd").and_then(|file| home_in_passwd(file, uid));
    let home = home.filter(|home| home.starts_with('/') && !home.contains('\0'));
    let text = format!("HOME={}", home.as_deref().unwrap_or("/"));
    CString::new(text).unwrap_or_else(|_| c"HOME=/".into())
}

/// What HOME is in a passwd file for this user: the sixth field of the first line whose third
/// is the number. The file is the container's: it is read up to a bound and trusted in
/// nothing.
fn home_in_passwd(file: File, uid: u32) -> Option<String> {
    const MOST: u64 = 1 << 20;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let wanted = uid.to_string();
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.nth(2)? == wanted).then(|| fields.nth(2).map(str::to_owned))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_comes_from_the_line_with_the_number() {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(
            &mut file,
            b"1000:x:0:0:root:/wrong:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\nshort:x:7\n",
        )
        .unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        assert_eq!(
            home_in_passwd(file.try_clone().unwrap(), 1000),
            Some("/home/user".into())
        );
        std::io::Seek::rewind(&mut file).unwrap();
        assert_eq!(home_in_passwd(file.try_clone().unwrap(), 7), None);
    }
}
