//! Hidden folders for what is not finished: `.annslicer-{process id}-{number}.tmp`, next to the
//! outputs, and removed with all they hold when a run ends, fails, or is told to stop.
//!
//! A run holds the lock on its folders' lock files, which ends with the process, however it dies
//! and whatever process later has its id, in any container or (where the file system carries
//! locks) on any machine. So a folder whose lock can be taken is a dead run's, and is removed.
//! Where there are no locks, no run is taken for dead.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, DirBuilder, DirEntry, File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    os::unix::{
        fs::{DirBuilderExt, MetadataExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::SystemTime,
};

use anyhow::{Context, Result, anyhow};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
    low_level,
};
use tracing::{debug, error};

use crate::progress::end_bars;

const PREFIX: &str = ".annslicer-";
const SUFFIX: &str = ".tmp";
const LOCK: &str = ".annslicer-lock";

/// A folder of this run, locked, registered for removal on a signal, removed when dropped.
pub struct Aside {
    pub path: PathBuf,
    /// Folders of other runs that live, beside this one.
    others: Vec<PathBuf>,
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

    /// The folder beside this one in which another run writes an output `name`, and its process
    /// id.
    pub fn rival(&mut self, name: &OsStr) -> Option<(&Path, &str)> {
        self.others
            .retain(|other| !other.join(name).exists() || !remove_if_dead(other));
        let other = self.others.iter().find(|other| other.join(name).exists())?;
        let file_name = other.file_name()?.to_str()?;
        let pid = file_name.strip_prefix(PREFIX)?.split('-').next()?;
        Some((other, pid))
    }
}

impl Drop for Aside {
    /// Waits for ever where a signal is ending the process, so that errors which the removal
    /// makes in other threads are not reported.
    fn drop(&mut self) {
        remove(&self.path);
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
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(e)) => debug!("No locks in {}: {e}", folder.display()),
    }
    let made = lock.metadata()?.ino();
    let stands = fs::metadata(&path).is_ok_and(|file| file.ino() == made);
    Ok(stands.then_some(lock))
}

/// Removes what dead runs left in `parent`, and returns the folders of living ones but `own`.
fn remove_dead(parent: &Path, own: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let others = entries.filter(is_aside).map(|entry| entry.path());
    others
        .filter(|other| other != own && !remove_if_dead(other))
        .collect()
}

/// No link, whatever its name: what is removed must lie here.
fn is_aside(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    let bytes = name.as_encoded_bytes();
    let named = bytes.starts_with(PREFIX.as_bytes()) && bytes.ends_with(SUFFIX.as_bytes());
    named && entry.file_type().is_ok_and(|kind| kind.is_dir())
}

/// Removes the folder of a dead run; whether `folder` is gone.
fn remove_if_dead(folder: &Path) -> bool {
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(folder.join(LOCK));
    match lock {
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

/// What a signal must know. Held while outputs are renamed, so that a signal falls before or
/// after.
pub struct Registry {
    folders: BTreeSet<PathBuf>,
    /// All outputs stand: too late to stop.
    pub published: bool,
    watching: bool,
}

pub fn registry() -> MutexGuard<'static, Registry> {
    static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
        folders: BTreeSet::new(),
        published: false,
        watching: false,
    });
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

fn remove(folder: &Path) {
    let mut registry = registry();
    let _ = fs::remove_dir_all(folder);
    registry.folders.remove(folder);
}

/// From the first call on, SIGINT and SIGTERM remove what is aside and end the process with 128
/// and the signal's number.
pub fn watch_signals() -> Result<()> {
    let mut registry = registry();
    if !registry.watching {
        let mut signals = Signals::new([SIGINT, SIGTERM]).context("Cannot watch for signals")?;
        thread::Builder::new()
            .name("signals".into())
            .spawn(move || signals.forever().for_each(stop))
            .context("Cannot watch for signals")?;
        registry.watching = true;
    }
    Ok(())
}

fn stop(signal: i32) {
    let registry = registry();
    if registry.published {
        return;
    }
    let name = low_level::signal_name(signal).unwrap_or("a signal");
    end_bars();
    let folders = &registry.folders;
    folders
        .iter()
        .for_each(|folder| drop(fs::remove_dir_all(folder)));
    error!("Interrupted by {name}; nothing was written");
    // Other threads still write, and may make the folders anew. They end for certain where another
    // program takes over the process, which also skips the exit handlers of libraries.
    let code = 128 + signal;
    let mut shell = process::Command::new("sh");
    let shell = shell
        .args(["-c", REMOVE_AND_EXIT, &code.to_string()])
        .args(folders);
    let failed = shell.exec();
    debug!("Cannot run sh: {failed}");
    low_level::exit(code)
}

/// Called with the code to exit with as its name, and the folders to remove.
const REMOVE_AND_EXIT: &str = r#"trap '' INT TERM; rm -rf -- "$@" 2>/dev/null; exit "$0""#;

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
