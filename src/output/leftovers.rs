//! What the folders of runs are called, and which of them dead runs left.
//!
//! A run holds the lock on its folders' lock files (see `record`). So a folder of this user whose lock can be taken is a
//! dead run's, and is removed, once older outputs are saved from it. Where there are no locks, or another machine does
//! not see them, no run is taken for dead that has written within three days.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process;
use std::time::{Duration, SystemTime};

use tracing::{debug, info};

use super::mounts;
use super::place::rescue;
use super::plain::stands;
use super::record::{LOCK, Lock, Record, lock_left};
use super::tree::remove_tree;

const PREFIX: &str = ".annslicer-";
pub const SUFFIX: &str = ".tmp";
const KEPT: &str = ".annslicer-resume";
/// Of folders with older outputs, which no run removes.
pub const LEFT: &str = ".kept";
/// A run that writes, writes more often than this.
const SILENCE: Duration = Duration::from_hours(72);

/// A name that no other folder has, hidden.
pub fn new_name(suffix: &str) -> String {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    format!("{PREFIX}{}-{:x}{suffix}", process::id(), since.as_nanos())
}

/// The name of the folder for runs of a prefix that may be resumed. A prefix that leaves no room
/// for more is cut, and told from others by a digest.
pub fn kept_name(prefix: &OsStr) -> OsString {
    /// Bytes of a name, on all file systems in use.
    const MOST: usize = 255;
    let mut name = [b".", prefix.as_bytes()].concat();
    if name.len() + KEPT.len() > MOST {
        let mut hasher = DefaultHasher::new();
        prefix.hash(&mut hasher);
        let digest = format!("-{:016x}", hasher.finish());
        name.truncate(MOST - KEPT.len() - digest.len());
        while std::str::from_utf8(&name).is_err_and(|e| e.error_len().is_none()) {
            name.pop(); // half of a character
        }
        name.extend(digest.bytes());
    }
    name.extend(KEPT.bytes());
    OsString::from_vec(name)
}

/// Whether a folder is called as those of runs are.
pub fn is_staging(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let temporary = name.starts_with(PREFIX.as_bytes()) && name.ends_with(SUFFIX.as_bytes());
    temporary || is_kept(path)
}

/// Whether it is called as that of a run that may be resumed.
fn is_kept(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    name.starts_with(b".") && name.ends_with(KEPT.as_bytes())
}

/// Whether outputs stand in the folder of a run that may be resumed.
pub fn is_of_use(folder: &Path) -> bool {
    let mut names = fs::read_dir(folder).into_iter().flatten().flatten();
    is_kept(folder) && names.any(|entry| !entry.file_name().as_bytes().starts_with(b"."))
}

/// The lock of a folder whose run is dead; none where it may live, or the folder is none of ours.
pub fn lock_of_dead(folder: &Path, record: &Record) -> Option<Lock> {
    if !stands(&folder.join(LOCK)).ok()? {
        // A run that ended before it made its lock file has written nothing.
        let _ = fs::remove_dir(folder);
        return None;
    }
    let lock = lock_left(folder).ok()??;
    let seen = lock.is_held && (!record.is_foreign() || mounts::locks_reach_all(folder));
    (seen || record.has_ended() || is_silent(folder)).then_some(lock)
}

/// Whether nothing in a folder, at any depth, has been written for long: of a Zarr store that is written, only a folder
/// deep in it changes.
fn is_silent(folder: &Path) -> bool {
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        let Ok(found) = fs::symlink_metadata(&path) else {
            return false;
        };
        let age = found.modified().map(|at| at.elapsed().unwrap_or_default());
        if !age.is_ok_and(|age| age > SILENCE) {
            return false;
        }
        if found.is_dir() {
            let names = fs::read_dir(&path).into_iter().flatten().flatten();
            left.extend(names.map(|entry| entry.path()));
        }
    }
    true
}

/// Whether the run of a folder that is kept may live although `lock` could be opened: where no lock was taken, or the
/// one that was is not seen by the machine of that run.
pub fn may_live(folder: &Path, lock: &Lock) -> bool {
    let record = Record::of(folder);
    if record.is_foreign() {
        let seen = lock.is_held && mounts::locks_reach_all(folder);
        return !seen && !is_silent(folder);
    }
    let is_other = !record.process.is_empty() && !record.is_own();
    !lock.is_held && is_other && Path::new("/proc").join(&record.process).exists()
}

/// Saves older outputs from the folder of a dead run, and removes it where that is `all`.
pub fn clear_up(folder: &Path, lock: Lock, all: bool) {
    let shown = folder.display();
    let kept = folder.with_file_name(new_name(LEFT));
    let clear = || -> io::Result<()> {
        rescue(folder, &kept)?;
        if all {
            remove_tree(folder, Some(lock))?;
        }
        Ok(())
    };
    match clear() {
        Ok(()) => debug!("Cleared up the leftover {shown} of a dead run"),
        Err(e) => info!("Cannot clear up {shown}, which a dead run left: {e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_machine_may_write_is_left_until_it_is_old() {
        let dir = tempfile::tempdir().unwrap();
        let theirs = dir.path().join(".annslicer-1-a.tmp");
        fs::create_dir(&theirs).unwrap();
        fs::write(theirs.join(LOCK), "1\0elsewhere\0another-boot\0a.h5ad\0").unwrap();
        let record = Record::of(&theirs);
        assert!(record.is_foreign() && record.who() == "Process 1 of elsewhere");
        let old = SystemTime::now() - SILENCE - Duration::from_secs(9);
        assert!(!is_silent(&theirs));
        for path in [theirs.join(LOCK), theirs.clone()] {
            fs::File::open(path).unwrap().set_modified(old).unwrap();
        }
        assert!(is_silent(&theirs));
        fs::create_dir_all(theirs.join("a.zarr/X/c")).unwrap();
        for name in ["", "a.zarr", "a.zarr/X", "a.zarr/X/c"] {
            let folder = fs::File::open(theirs.join(name)).unwrap();
            folder.set_modified(old).unwrap();
        }
        assert!(is_silent(&theirs));
        fs::write(theirs.join("a.zarr/X/c/0"), "").unwrap();
        assert!(!is_silent(&theirs), "it is written deep in a store");
    }

    #[test]
    fn a_prefix_that_fits_has_a_name_of_a_folder() {
        let names = [238, 242].map(|n| kept_name(OsStr::new(&"é".repeat(n / 2))));
        assert!(names[0] != names[1] && names.iter().all(|name| name.len() <= 255));
        assert!(
            names
                .iter()
                .all(|name| is_kept(Path::new(name)) && name.to_str().is_some())
        );
        assert_eq!(kept_name(OsStr::new("p")), ".p.annslicer-resume");
    }
}
