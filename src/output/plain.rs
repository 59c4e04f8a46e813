//! What lies in a folder that others may write is looked at without following links and without waiting, and counts
//! only if it is a plain file or folder of this user: anybody may put a link, a pipe or a folder of that name there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens the plain file at `path`: no link, not one of several names of a file, no pipe or device.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = options.custom_flags(flags.bits() as i32).open(path)?;
    let found = file.metadata()?;
    if found.is_file() && found.nlink() <= 1 {
        Ok(file)
    } else {
        Err(io::Error::other("It is no plain file"))
    }
}

/// What the plain file at `path` holds, `most` bytes of it at most.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut content = vec![];
    let file = open(path, OpenOptions::new().read(true))?;
    file.take(most).read_to_end(&mut content)?;
    Ok(content)
}

/// Whether a folder stands at `path` that is no link, and of user `owner`.
pub fn is_folder_of(path: &Path, owner: u32) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == owner)
}

/// Whether something stands at `path`, be it a link to nowhere.
pub fn stands(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    #[test]
    fn only_plain_files_are_opened_and_nothing_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("plain"), "text").unwrap();
        fs::write(at("one"), "text").unwrap();
        fs::hard_link(at("one"), at("two")).unwrap();
        symlink("plain", at("link")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        let made = Command::new("mkfifo").arg(at("pipe")).status().unwrap();
        assert!(made.success());
        assert_eq!(read(&at("plain"), 3).unwrap(), b"tex");
        for name in ["one", "link", "folder", "pipe", "absent"] {
            assert!(read(&at(name), 3).is_err(), "{name}");
        }
    }
}
