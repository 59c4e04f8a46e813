//! Hidden folders for what is not finished: `.annslicer-{process id}-{number}.tmp`, next to the
//! outputs, and removed with all they hold when a run ends, fails, or is told to stop. Only
//! `.{prefix}.annslicer-resume`, the folder of a run that may be resumed, stays once it holds a
//! finished output, until a run of the same outputs ends well.
//!
//! A run holds the lock on its folders' lock files, which ends with the process, however it dies
//! and whatever process later has its id, in any container or (where the file system carries
//! locks) on any machine. So a folder whose lock can be taken is a dead run's, and is removed.
//! Where there are no locks, no run is taken for dead.

use std::{
    cell::Cell,
    ffi::OsStr,
    fs::{self, DirBuilder, DirEntry, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    process, thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, anyhow, bail};
use tracing::debug;

use super::signals::registry;

const PREFIX: &str = ".annslicer-";
const SUFFIX: &str = ".tmp";
const KEPT: &str = ".annslicer-resume";
pub const LOCK: &str = ".annslicer-lock";

/// A folder of this run, locked, registered for removal on a signal, removed when dropped.
pub struct Aside {
    pub path: PathBuf,
    /// Folders of other runs that live, beside this one.
    others: Vec<PathBuf>,
    /// Whether it stays when this is dropped.
    kept: Cell<bool>,
    _lock: File,
}

impl Aside {
    /// Makes a folder of this run in `parent`, and removes those of dead runs from it.
    pub fn claim(parent: &Path) -> Result<Self> {
        let in_vain = || format!("Cannot write in folder {}", parent.display());
        for _ in 0..100 {
            let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
            let name = format!("{PREFIX}{}-{:x}{SUFFIX}", process::id(), since.as_nanos());
            let path = parent.join(name);
            let mut registry = registry();
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => continue,
                made => made.with_context(in_vain)?,
            }
            registry.folders.insert(path.clone());
            drop(registry);
            match lock_new(&path) {
                Ok(Some(lock)) => {
                    let others = remove_dead(parent, &path);
                    return Ok(Self {
                        path,
                        others,
                        kept: Cell::new(false),
                        _lock: lock,
                    });
                }
                Ok(None) => remove(&path), // taken for a dead run's, by another
                Err(e) => {
                    remove(&path);
                    return Err(e).with_context(in_vain);
                }
            }
        }
        Err(anyhow!("Lock files do not last")).with_context(in_vain)
    }

    /// Makes the folder of the runs in `parent` whose outputs begin with `prefix` and that may be
    /// resumed, or takes over that of a dead one.
    pub fn claim_kept(parent: &Path, prefix: &str) -> Result<Self> {
        let in_vain = || format!("Cannot write in folder {}", parent.display());
        let path = parent.join(format!(".{prefix}{KEPT}"));
        for _ in 0..100 {
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                made => made.with_context(in_vain)?,
            }
            let Some(mut lock) = lock_kept(&path).with_context(in_vain)? else {
                // Another run writes here, or looks whether one does.
                thread::sleep(Duration::from_millis(5));
                continue;
            };
            let pid = process::id().to_string();
            let written = lock
                .set_len(0)
                .and_then(|()| lock.write_all(pid.as_bytes()));
            written.with_context(in_vain)?;
            if !is_of_use(&path) {
                registry().folders.insert(path.clone());
            }
            return Ok(Self {
                others: remove_dead(parent, &path),
                path,
                kept: Cell::new(true),
                _lock: lock,
            });
        }
        bail!(
            "Process {} is writing {}; if it no longer runs, remove {}",
            pid_of(&path),
            parent.join(prefix).display(),
            path.display()
        )
    }

    /// Whether this folder, with `finished` outputs in it, stays when the run ends early.
    pub fn keep(&self, finished: usize) {
        let mut registry = registry();
        match finished {
            0 => registry.folders.insert(self.path.clone()),
            _ => registry.folders.remove(&self.path),
        };
        registry.kept = finished;
        self.kept.set(finished > 0);
    }

    /// The folder beside this one in which another run writes an output `name`, and its process
    /// id.
    pub fn rival(&mut self, name: &OsStr) -> Option<(&Path, String)> {
        self.others
            .retain(|other| !other.join(name).exists() || !remove_if_dead(other));
        let other = self.others.iter().find(|other| other.join(name).exists())?;
        Some((other, pid_of(other)))
    }
}

impl Drop for Aside {
    /// Waits for ever where a signal is ending the process, so that errors which the removal
    /// makes in other threads are not reported.
    fn drop(&mut self) {
        if !self.kept.get() || !is_of_use(&self.path) {
            remove(&self.path);
        }
    }
}

/// Locks a new folder; none if another run was faster.
fn lock_new(folder: &Path) -> io::Result<Option<File>> {
    let path = folder.join(LOCK);
    let lock = match File::create_new(&path) {
        Ok(lock) => lock,
        Err(e) if matches!(e.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    hold(lock, &path)
}

/// Locks the folder of runs that may be resumed; none where another run has it, or has removed it.
fn lock_kept(folder: &Path) -> io::Result<Option<File>> {
    let path = folder.join(LOCK);
    let lock = match open_lock(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        lock => lock?,
    };
    hold(lock, &path)
}

/// Takes the lock of the open file at `path`; none where another run has it, or has removed the file.
fn hold(lock: File, path: &Path) -> io::Result<Option<File>> {
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(e)) => debug!("No lock on {}: {e}", path.display()),
    }
    let made = lock.metadata()?.ino();
    let stands = fs::metadata(path).is_ok_and(|file| file.ino() == made);
    Ok(stands.then_some(lock))
}

fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).open(path)
}

/// The process whose folder this is, as text.
fn pid_of(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    match name.strip_prefix(PREFIX) {
        Some(rest) => rest.split('-').next().unwrap_or_default().to_owned(),
        None => fs::read_to_string(folder.join(LOCK)).unwrap_or_default(),
    }
}

/// Removes what dead runs left in `parent`, and returns the folders of other runs that live, or may
/// be resumed.
fn remove_dead(parent: &Path, own: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let others = entries.filter(is_aside).map(|entry| entry.path());
    others
        .filter(|other| other != own)
        .filter(|other| is_of_use(other) || !remove_if_dead(other))
        .collect()
}

/// No link, whatever its name: what is removed must lie here.
fn is_aside(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    let bytes = name.as_encoded_bytes();
    let temporary = bytes.starts_with(PREFIX.as_bytes()) && bytes.ends_with(SUFFIX.as_bytes());
    let named = temporary || bytes.starts_with(b".") && bytes.ends_with(KEPT.as_bytes());
    named && entry.file_type().is_ok_and(|kind| kind.is_dir())
}

/// Whether outputs stand in the folder of a run that may be resumed.
fn is_of_use(folder: &Path) -> bool {
    let kept = folder
        .as_os_str()
        .as_encoded_bytes()
        .ends_with(KEPT.as_bytes());
    let mut names = fs::read_dir(folder).into_iter().flatten().flatten();
    kept && names.any(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
}

/// Removes the folder of a dead run; whether `folder` is gone.
fn remove_if_dead(folder: &Path) -> bool {
    match open_lock(&folder.join(LOCK)) {
        Ok(lock) if lock.try_lock().is_ok() => {
            let removed = fs::remove_dir_all(folder).is_ok();
            debug!(
                "Removed the leftover {} of a dead run: {removed}",
                folder.display()
            );
            removed
        }
        Ok(_) => false,
        Err(e) => e.kind() == ErrorKind::NotFound,
    }
}

fn remove(folder: &Path) {
    let mut registry = registry();
    let _ = fs::remove_dir_all(folder);
    registry.folders.remove(folder);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn a_folder_lives_as_long_as_its_claim() {
        let dir = tempfile::tempdir().unwrap();
        let aside = Aside::claim(dir.path()).unwrap();
        fs::write(aside.path.join("a"), "half").unwrap();
        let second = Aside::claim(dir.path()).unwrap();
        assert_eq!(second.others, std::slice::from_ref(&aside.path));
        assert!(registry().folders.contains(&aside.path));
        drop((aside, second));
        assert_eq!(entries(dir.path()), 0);
    }

    #[test]
    fn what_dead_runs_left_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let elsewhere = tempfile::tempdir().unwrap();
        for leftover in [".annslicer-1-a.tmp", ".annslicer-2-b.tmp"] {
            fs::create_dir_all(at(leftover).join("x.zarr/X")).unwrap();
        }
        fs::write(at(".annslicer-2-b.tmp").join(LOCK), "").unwrap();
        fs::create_dir(at(".annslicer-notes")).unwrap();
        fs::write(at(".annslicer-3-c.tmp"), "a file").unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), at(".annslicer-4-d.tmp")).unwrap();
        drop(Aside::claim(dir.path()).unwrap());
        assert!(at(".annslicer-notes").exists() && at(".annslicer-3-c.tmp").exists());
        assert!(elsewhere.path().exists() && entries(dir.path()) == 3);
    }

    #[test]
    fn a_rival_is_a_living_run_with_an_output_of_that_name() {
        let dir = tempfile::tempdir().unwrap();
        let first = Aside::claim(dir.path()).unwrap();
        fs::write(first.path.join("a.h5ad"), "").unwrap();
        let mut second = Aside::claim(dir.path()).unwrap();
        let pid = process::id().to_string();
        assert_eq!(second.rival(OsStr::new("a.h5ad")).unwrap().1, pid);
        assert!(second.rival(OsStr::new("b.h5ad")).is_none());
        drop(first);
        assert!(second.rival(OsStr::new("a.h5ad")).is_none());
    }

    #[test]
    fn a_rival_that_dies_without_clearing_up_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let dead = dir.path().join(".annslicer-1-a.tmp");
        fs::create_dir(&dead).unwrap();
        let lock = lock_new(&dead).unwrap().unwrap();
        fs::write(dead.join("a.h5ad"), "").unwrap();
        let mut aside = Aside::claim(dir.path()).unwrap();
        assert_eq!(aside.rival(OsStr::new("a.h5ad")).unwrap().1, "1");
        drop(lock);
        assert!(aside.rival(OsStr::new("a.h5ad")).is_none());
        assert!(!dead.exists());
    }

    #[test]
    fn many_runs_may_claim_and_end_at_once() {
        let dir = tempfile::tempdir().unwrap();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let aside = Aside::claim(dir.path()).unwrap();
                        fs::write(aside.path.join("a"), "kept").unwrap();
                        assert_eq!(fs::read(aside.path.join("a")).unwrap(), b"kept");
                    }
                });
            }
        });
        assert_eq!(entries(dir.path()), 0);
    }
}
