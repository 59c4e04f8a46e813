//! The lock file of a staging folder: a run holds its lock, and it says who that is and which outputs are its own.
//!
//! The lock ends with the process, however it dies and whatever process later has its id, in any container and, where
//! the file system carries locks, on any machine. Fields end with a NUL, which no file name holds: process, host, boot
//! of that host, then the names claimed in the folder above. What claims all outputs of a prefix, whose names are not
//! known yet, begins with a slash. Where the folder stays when the run ends, `ended` takes the place of the process, so
//! that machines which do not see the lock know it too.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::process;
use std::{ffi::OsStr, ffi::OsString};

use tracing::debug;

use super::plain;

pub const LOCK: &str = ".annslicer-lock";
/// In the place of a process.
const ENDED: &str = "ended";
/// More than a million names of full length take.
const MOST_BYTES: u64 = 1 << 28;

/// Who writes in a folder.
#[derive(Debug, Default, PartialEq)]
pub struct Record {
    pub process: String,
    pub host: String,
    boot: String,
    pub names: HashSet<OsString>,
}

impl Record {
    /// Of this process, without names.
    pub fn own() -> Record {
        // Both are empty where there is no proc(5): all hosts are one.
        let kernel = |file: &str| {
            let text = fs::read_to_string(format!("/proc/sys/kernel/{file}"));
            text.unwrap_or_default().trim().to_owned()
        };
        Record {
            process: process::id().to_string(),
            host: kernel("hostname"),
            boot: kernel("random/boot_id"),
            names: HashSet::new(),
        }
    }

    /// The record in `folder`; an empty one where there is none that can be read.
    pub fn of(folder: &Path) -> Record {
        let content = plain::read(&folder.join(LOCK), MOST_BYTES).unwrap_or_default();
        let mut fields = content.split(|byte| *byte == 0);
        let mut text = || String::from_utf8_lossy(fields.next().unwrap_or_default()).into_owned();
        let (process, host, boot) = (text(), text(), text());
        let names = fields.filter(|name| !name.is_empty());
        Record {
            process,
            host,
            boot,
            names: names.map(|name| OsString::from_vec(name.into())).collect(),
        }
    }

    /// Whether it was written under another kernel, which may not see the locks of this one. One that says neither
    /// host nor boot is of this one.
    pub fn is_foreign(&self) -> bool {
        let own = Record::own();
        let differs = |theirs: &str, own: &str| !theirs.is_empty() && theirs != own;
        differs(&self.host, &own.host) && differs(&self.boot, &own.boot)
    }

    pub fn is_own(&self) -> bool {
        let own = Record::own();
        (&self.process, &self.host, &self.boot) == (&own.process, &own.host, &own.boot)
    }

    /// Whether the run has ended, and says so.
    pub fn has_ended(&self) -> bool {
        self.process == ENDED
    }

    /// For a message: the process, and its host where that is another.
    pub fn who(&self) -> String {
        if self.is_foreign() {
            format!("Process {} of {}", self.process, self.host)
        } else {
            format!("Process {}", self.process)
        }
    }
}

/// Adds what `names` claim to the record of this process, which is begun where it is empty.
pub fn write<'n>(lock: &File, names: impl Iterator<Item = &'n OsStr>) -> io::Result<()> {
    let mut fields = vec![];
    if lock.metadata()?.len() == 0 {
        let own = Record::own();
        fields = [own.process, own.host, own.boot].map(OsString::from).into();
    }
    fields.extend(names.map(OsStr::to_owned));
    let mut lock = lock;
    lock.write_all(&ended_by_nul(&fields))
}

/// Says in the record of a folder that stays that its run has ended.
pub fn release(folder: &Path) -> io::Result<()> {
    let names = Record::of(folder).names.into_iter();
    let fields: Vec<OsString> = [ENDED, "", ""]
        .map(OsString::from)
        .into_iter()
        .chain(names)
        .collect();
    let mut lock = plain::open(&folder.join(LOCK), &mut options())?;
    lock.set_len(0)?;
    lock.write_all(&ended_by_nul(&fields))
}

fn ended_by_nul(fields: &[OsString]) -> Vec<u8> {
    let fields = fields.iter().map(|field| field.as_bytes());
    fields.flat_map(|field| [field, b"\0"].concat()).collect()
}

/// An open lock file that no other run holds.
pub struct Lock {
    pub file: File,
    /// Not where the file system has no locks, so that another may have it too.
    pub is_held: bool,
}

/// Makes and locks the lock file of a new folder; none if another run was faster.
pub fn lock_new(folder: &Path) -> io::Result<Option<Lock>> {
    let path = folder.join(LOCK);
    match options().create_new(true).open(&path) {
        Ok(lock) => hold(lock, &path),
        Err(e) if matches!(e.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Locks the folder of another run that has ended; none where it lives, or the folder is gone.
pub fn lock_left(folder: &Path) -> io::Result<Option<Lock>> {
    let path = folder.join(LOCK);
    match plain::open(&path, &mut options()) {
        Ok(lock) => hold(lock, &path),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Writes go to the end. Whoever makes a lock file makes it for himself.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(0o600);
    options
}

/// Takes the lock of the open file at `path`; none where another run has it, or has removed the file.
fn hold(file: File, path: &Path) -> io::Result<Option<Lock>> {
    let is_held = match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(e)) => {
            debug!("No lock on {}: {e}", path.display());
            false
        }
    };
    Ok(is_at(&file, path)?.then_some(Lock { file, is_held }))
}

/// Whether `file` is what stands at `path`.
pub fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let (dev, ino) = (file.metadata()?.dev(), file.metadata()?.ino());
    let found = fs::symlink_metadata(path);
    Ok(found.is_ok_and(|found| (found.dev(), found.ino()) == (dev, ino)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_whatever_the_names() {
        let dir = tempfile::tempdir().unwrap();
        let names = [&b"a.h5ad"[..], b"caf\xe9\n.h5ad", b"/p"].map(OsStr::from_bytes);
        let lock = lock_new(dir.path()).unwrap().unwrap().file;
        write(&lock, names.into_iter().take(1)).unwrap();
        write(&lock, names.into_iter().skip(1)).unwrap();
        let own = Record::own();
        let names = names.map(OsString::from).into();
        assert_eq!(Record::of(dir.path()), Record { names, ..own });
        assert!(!Record::of(dir.path()).is_foreign());
        assert_eq!(Record::of(Path::new("/nowhere")), Record::default());
    }

    #[test]
    fn a_run_that_has_ended_keeps_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let lock = lock_new(dir.path()).unwrap().unwrap();
        write(&lock.file, [OsStr::new("a.h5ad")].into_iter()).unwrap();
        assert!(!Record::of(dir.path()).has_ended());
        release(dir.path()).unwrap();
        let record = Record::of(dir.path());
        assert!(record.has_ended() && !record.is_foreign());
        assert_eq!(record.names, ["a.h5ad".into()].into());
    }

    #[test]
    fn another_host_is_one_of_another_name_and_boot() {
        let with = |host: &str, boot: &str| Record {
            host: host.into(),
            boot: boot.into(),
            ..Record::own()
        };
        let own = Record::own();
        assert!(with("elsewhere", "1-2").is_foreign() || own.host.is_empty());
        assert!(!with("elsewhere", &own.boot).is_foreign(), "a container");
        assert!(
            !with(&own.host, "1-2").is_foreign(),
            "before it was started anew"
        );
    }
}
