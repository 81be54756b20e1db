//! `--user UID[:GID]`: numbers only. A name would have to be looked up in a file of the
//! container's, and that file is the container's to write.

use crate::command_line::parse_number;
use crate::failure::Failure;

/// Reads `UID` or `UID:GID`.
///
/// # Errors
///
/// Everything else, and 4294967295: as an id, the kernel takes it for "unchanged".
pub(crate) fn parse(text: &str) -> Result<(u32, Option<u32>), Failure> {
    let parsed = match text.split_once(':') {
        Some((uid, gid)) => id(uid).zip(id(gid).map(Some)),
        None => id(text).map(|uid| (uid, None)),
    };
    parsed.ok_or_else(|| {
        Failure::new(format_args!(
            "invalid --user {text:?}: UID or UID:GID, each a number from 0 to 4294967294"
        ))
    })
}

fn id(text: &str) -> Option<u32> {
    parse_number(text).filter(|&id| id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ids() {
        assert_eq!(parse("1").unwrap(), (1, None));
        assert_eq!(parse("1:1").unwrap(), (1, Some(1)));
        assert_eq!(parse("00").unwrap(), (0, None));
        assert_eq!(parse("4294967294:0").unwrap(), (u32::MAX - 1, Some(0)));
    }

    #[test]
    fn whatever_is_no_number_in_range_is_an_error() {
        for bad in [
            "-1",
            "+1",
            "4294967295",
            "4294967296",
            "1e1",
            "",
            "0x0",
            "root ",
            "root",
            " 1",
            "1 ",
            ":5",
            "1:",
            "1:-1",
            "1:4294967295",
            "1:1:1",
            "1:x",
            "१",
        ] {
            assert!(parse(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
