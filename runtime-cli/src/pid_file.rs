//! `--pid-file`: appears whole or not at all.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use crate::failure::{Failure, While};
use crate::globals;

/// Where a pid goes.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    temporary: PathBuf,
}

impl PidFile {
    /// Notes the path; a relative one starts at the directory that is current now.
    pub(crate) fn new(text: &str) -> Result<Self, Failure> {
        let path = globals::absolute(text)?;
        let Some(name) = path.file_name() else {
            return Err(Failure::new(format_args!(
                "--pid-file: {text} is no file name"
            )));
        };
        let mut hidden = OsString::from(".");
        hidden.push(name);
        let temporary = path.with_file_name(hidden);
        Ok(Self { path, temporary })
    }

    /// Writes the number, decimal and without a newline, to `.name`, then renames that file.
    pub(crate) fn write(&self, pid: i32) -> Result<(), Failure> {
        let written = self.write_temporary(pid).and_then(|()| {
            fs::rename(&self.temporary, &self.path).doing(format_args!(
                "--pid-file: rename to {}",
                self.path.display()
            ))
        });
        if written.is_err() {
            // What failed is the news; a temporary file that was never made can't be removed.
            fs::remove_file(&self.temporary).ok();
        }
        written
    }

    fn write_temporary(&self, pid: i32) -> Result<(), Failure> {
        let act = format_args!("--pid-file: write {}", self.temporary.display()).to_string();
        // Whatever has this name is removed and never written: it may be a hard link to a file
        // of somebody else's, or a FIFO that nobody reads.
        match fs::remove_file(&self.temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).doing(&act);
            }
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .custom_flags(libc::O_SYNC)
            .open(&self.temporary)
            .doing(&act)?;
        file.write_all(pid.to_string().as_bytes()).doing(&act)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_digits_only_and_nothing_is_left_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        fs::write(&path, "old and long").unwrap();
        PidFile::new(path.to_str().unwrap())
            .unwrap()
            .write(42)
            .unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "42");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_directory_is_named() {
        let file = PidFile::new("/nonexistent/pid").unwrap();
        insta::assert_snapshot!(
            file.write(1).unwrap_err().message,
            @"--pid-file: write /nonexistent/.pid: no such file or directory (ENOENT)"
        );
    }
}
