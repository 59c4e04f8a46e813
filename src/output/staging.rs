//! Hidden folders for what is not finished: `.annslicer-{process id}-{number}.tmp`, next to the
//! outputs, and removed with all they hold when a run ends, fails, or is told to stop. Only
//! `.{prefix}.annslicer-resume`, the folder of a run that may be resumed, stays once it holds a
//! finished output, until a run of the same outputs ends well.
//!
//! A run holds the lock on its folders' lock files (see `record`), and says there which outputs it
//! claims. Whoever claims a folder looks at those beside it: at what other runs claim, and at what
//! dead runs left (see `leftovers`).

use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use tracing::{debug, warn};

use super::flush::flush_entry;
use super::leftovers::{
    LEFT, SUFFIX, clear_up, is_of_use, is_staging, kept_name, lock_of_dead, may_live, new_name,
};
use super::place::rescue;
use super::plain::{is_folder_of, stands};
use super::record::{self, LOCK, Lock, Record, is_at, lock_left, lock_new};
use super::signals::{Registry, registry};
use super::tree::remove_tree;

/// A folder of this run, locked, registered for removal on a signal, removed when dropped.
pub struct StagingFolder {
    pub path: PathBuf,
    /// The user whose folders those beside it must be: of the files that this process makes here.
    owner: u32,
    stay: Cell<Stay>,
    /// Until the folder is removed.
    lock: Option<Lock>,
}

/// How long a folder stays.
#[derive(Clone, Copy, PartialEq)]
enum Stay {
    /// As long as it is claimed.
    Claimed,
    /// Also afterwards if outputs stand in it.
    OfUse,
    /// Until somebody removes it by hand.
    Always,
}

impl StagingFolder {
    /// Makes a folder of this run in `parent`, and removes those of dead runs from it.
    pub fn claim(parent: &Path) -> Result<Self> {
        let in_vain = || format!("Cannot write in folder {}", parent.display());
        for _ in 0..100 {
            let path = parent.join(new_name(SUFFIX));
            let mut registry = registry();
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => continue,
                made => made.with_context(in_vain)?,
            }
            registry.folders.insert(path.clone());
            drop(registry);
            match Self::lock(&path) {
                Ok(Some(folder)) => {
                    folder.rival(&HashSet::new(), &[]).with_context(in_vain)?;
                    return Ok(folder);
                }
                Ok(None) => remove(&path, None), // taken for a dead run's, by another
                Err(e) => {
                    remove(&path, None);
                    return Err(e).with_context(in_vain);
                }
            }
        }
        Err(anyhow!("Lock files do not last")).with_context(in_vain)
    }

    fn lock(path: &Path) -> io::Result<Option<Self>> {
        let Some(lock) = lock_new(path)? else {
            return Ok(None);
        };
        record::write(&lock.file, [].into_iter())?;
        Ok(Some(Self {
            path: path.to_owned(),
            owner: fs::symlink_metadata(path)?.uid(),
            stay: Cell::new(Stay::Claimed),
            lock: Some(lock),
        }))
    }

    /// Makes the folder of the runs in `parent` whose outputs begin with `prefix` and that may be
    /// resumed, or takes over that of a dead one; `what` is written there.
    pub fn claim_kept(parent: &Path, prefix: &OsStr, what: &str) -> Result<Self> {
        let in_vain = || format!("Cannot write in folder {}", parent.display());
        let path = parent.join(kept_name(prefix));
        let owner = user_in(parent).with_context(in_vain)?;
        for _ in 0..100 {
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                made => {
                    made.with_context(in_vain)?;
                    flush_entry(parent).with_context(in_vain)?;
                }
            }
            ensure!(
                is_folder_of(&path, owner) || !stands(&path).with_context(in_vain)?,
                "{} is not a folder of yours, and finished outputs are kept there; remove it, or choose \
                 another prefix",
                path.display()
            );
            let lock = match lock_left(&path).with_context(|| lock_told(&path))? {
                None => lock_new(&path).with_context(in_vain)?,
                left => left,
            };
            let Some(lock) = lock.filter(|lock| !may_live(&path, lock)) else {
                // Another run writes here, or looks whether one does.
                thread::sleep(Duration::from_millis(5));
                continue;
            };
            rescue(&path, &parent.join(new_name(LEFT))).with_context(in_vain)?;
            lock.file.set_len(0).with_context(in_vain)?;
            record::write(&lock.file, [].into_iter()).with_context(in_vain)?;
            if !lock.is_held {
                thread::sleep(Duration::from_millis(100));
                if !Record::of(&path).is_own() {
                    continue; // without locks, who has written last has it
                }
            }
            if is_of_use(&path) {
                registry().kept.insert(path.clone(), 0);
            } else {
                registry().folders.insert(path.clone());
            }
            let kept = Self {
                path,
                owner,
                stay: Cell::new(Stay::OfUse),
                lock: Some(lock),
            };
            kept.rival(&HashSet::new(), &[]).with_context(in_vain)?;
            return Ok(kept);
        }
        bail!(
            "{} is writing {what}; if it no longer runs, remove {}, and what it has finished is used",
            Record::of(&path).who(),
            path.join(LOCK).display()
        )
    }

    /// Whether this folder, with `finished` outputs in it, stays when the run ends early.
    pub fn keep(&self, finished: usize) {
        let (mut registry, path) = (registry(), &self.path);
        if finished > 0 {
            registry.folders.remove(path);
            registry.kept.insert(path.clone(), finished);
            self.stay.set(Stay::OfUse);
        } else {
            registry.folders.insert(path.clone());
            registry.kept.remove(path);
            self.stay.set(Stay::Claimed);
        }
    }

    /// Leaves the folder to the user, for what could not be put back into its place, under a name
    /// that no run removes where it can be renamed; returns its path.
    pub fn abandon(&mut self, registry: &mut Registry) -> PathBuf {
        registry.folders.remove(&self.path);
        self.stay.set(Stay::Always);
        let path = self.path.with_file_name(new_name(LEFT));
        if fs::rename(&self.path, &path).is_ok() {
            self.path = path;
        }
        self.path.clone()
    }

    /// Claims `names` in the folder that this one is in, so that other runs see it.
    pub fn add<'n>(&self, names: impl Iterator<Item = &'n OsStr>) -> io::Result<()> {
        let lock = self.lock.as_ref().ok_or(ErrorKind::NotFound)?;
        record::write(&lock.file, names)
    }

    /// Whether it is still this run's.
    pub fn is_claimed(&self) -> bool {
        let is_there = |lock: &Lock| is_at(&lock.file, &self.path.join(LOCK)).unwrap_or(false);
        self.lock.as_ref().is_some_and(is_there) && Record::of(&self.path).is_own()
    }

    /// The folder that this one is in.
    pub fn parent(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// The folder beside this one of another run that claims one of `names`; `own` are of this run too. Removes what
    /// dead runs left, but for outputs of other names that a run may be resumed for.
    pub fn rival(
        &self,
        names: &HashSet<OsString>,
        own: &[StagingFolder],
    ) -> io::Result<Option<(PathBuf, Record)>> {
        let own: HashSet<&Path> = own.iter().map(|folder| folder.path.as_path()).collect();
        for entry in fs::read_dir(self.parent())? {
            let other = entry?.path();
            let is_other = other != self.path && !own.contains(&*other) && is_staging(&other);
            if !is_other || !is_folder_of(&other, self.owner) {
                continue;
            }
            let record = Record::of(&other);
            let shared = |of_files: bool| {
                let mut both = record.names.intersection(names);
                both.any(|name| !of_files || !name.as_bytes().starts_with(b"/"))
            };
            match lock_of_dead(&other, &record) {
                Some(lock) if is_of_use(&other) && !shared(true) => clear_up(&other, lock, false),
                Some(lock) => clear_up(&other, lock, true),
                None if shared(false) => return Ok(Some((other, record))),
                None => {}
            }
        }
        Ok(None)
    }
}

impl Drop for StagingFolder {
    /// Waits for ever where a signal is ending the process, so that errors which the removal
    /// makes in other threads are not reported.
    fn drop(&mut self) {
        match self.stay.get() {
            Stay::Always => {}
            Stay::OfUse if is_of_use(&self.path) => record::release(&self.path)
                .unwrap_or_else(|e| debug!("Cannot release {}: {e}", self.path.display())),
            _ => remove(&self.path, self.lock.take()),
        }
    }
}

fn lock_told(folder: &Path) -> String {
    let lock = folder.join(LOCK);
    format!("Cannot open {}; remove it", lock.display())
}

/// The user of what this process makes in `parent`; a server may take it for another.
fn user_in(parent: &Path) -> io::Result<u32> {
    loop {
        let probe = parent.join(new_name(SUFFIX));
        DirBuilder::new().mode(0o700).create(&probe)?;
        let owner = fs::symlink_metadata(&probe).map(|found| found.uid());
        let removed = fs::remove_dir(&probe);
        match owner.and_then(|owner| removed.map(|()| owner)) {
            Err(e) if e.kind() == ErrorKind::NotFound => {} // taken for a dead run's, by another
            owner => return owner,
        }
    }
}

fn remove(folder: &Path, lock: Option<Lock>) {
    let mut registry = registry();
    if let Err(e) = remove_tree(folder, lock)
        && e.kind() != ErrorKind::NotFound
    {
        warn!("Cannot remove {}: {e}; remove it by hand", folder.display());
    }
    registry.folders.remove(folder);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process;

    use super::*;

    fn entries(dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().count()
    }

    fn rival(folder: &StagingFolder, name: &str) -> Option<(PathBuf, Record)> {
        folder.rival(&[name.into()].into(), &[]).unwrap()
    }

    fn add(folder: &StagingFolder, name: &str) {
        folder.add([OsStr::new(name)].into_iter()).unwrap();
    }

    #[test]
    fn a_folder_lives_as_long_as_its_claim() {
        let dir = tempfile::tempdir().unwrap();
        let folder = StagingFolder::claim(dir.path()).unwrap();
        fs::write(folder.path.join("a"), "half").unwrap();
        add(&folder, "a");
        let second = StagingFolder::claim(dir.path()).unwrap();
        assert_eq!(rival(&second, "a").unwrap().0, folder.path);
        assert!(registry().folders.contains(&folder.path) && folder.is_claimed());
        drop((folder, second));
        assert_eq!(entries(dir.path()), 0);
    }

    #[test]
    fn what_dead_runs_left_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("theirs"), "").unwrap();
        let folder = |name: &str| {
            fs::create_dir_all(at(name).join("x.zarr/X")).unwrap();
            at(name)
        };
        fs::create_dir(at(".annslicer-1-a.tmp")).unwrap();
        fs::write(folder(".annslicer-2-b.tmp").join(LOCK), "").unwrap();
        let stay = [
            ".annslicer-notes",
            ".annslicer-3-c.tmp",
            ".annslicer-4-d.tmp",
        ];
        folder(stay[0]);
        folder(stay[1]); // with no lock file, somebody gave it that name
        symlink(elsewhere.path(), at(stay[2])).unwrap();
        let planted = [".annslicer-5-e.tmp", ".annslicer-6-f.tmp"];
        symlink(
            elsewhere.path().join("theirs"),
            folder(planted[0]).join(LOCK),
        )
        .unwrap();
        fs::hard_link(
            elsewhere.path().join("theirs"),
            folder(planted[1]).join(LOCK),
        )
        .unwrap();
        drop(StagingFolder::claim(dir.path()).unwrap());
        assert!(
            stay.into_iter()
                .chain(planted)
                .all(|name| at(name).exists())
        );
        assert!(elsewhere.path().join("theirs").exists() && entries(dir.path()) == 5);
    }

    #[test]
    fn a_rival_is_a_living_run_that_claims_an_output_of_that_name() {
        let dir = tempfile::tempdir().unwrap();
        let first = StagingFolder::claim(dir.path()).unwrap();
        add(&first, "a.h5ad");
        let second = StagingFolder::claim(dir.path()).unwrap();
        let record = rival(&second, "a.h5ad").unwrap().1;
        assert_eq!(record.who(), format!("Process {}", process::id()));
        assert!(rival(&second, "b.h5ad").is_none());
        drop(first);
        assert!(rival(&second, "a.h5ad").is_none());
    }

    #[test]
    fn a_rival_that_dies_without_clearing_up_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let dead = dir.path().join(".annslicer-1-a.tmp");
        fs::create_dir(&dead).unwrap();
        let lock = lock_new(&dead).unwrap().unwrap();
        record::write(&lock.file, [OsStr::new("a.h5ad")].into_iter()).unwrap();
        let folder = StagingFolder::claim(dir.path()).unwrap();
        assert!(rival(&folder, "a.h5ad").is_some());
        drop(lock);
        assert!(rival(&folder, "a.h5ad").is_none());
        assert!(!dead.exists());
    }

    #[test]
    fn a_folder_that_is_kept_is_one_of_this_user() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("theirs"), "text").unwrap();
        let kept = dir.path().join(".p.annslicer-resume");
        symlink(elsewhere.path(), &kept).unwrap();
        let error = StagingFolder::claim_kept(dir.path(), OsStr::new("p"), "p")
            .err()
            .unwrap();
        assert!(
            error.to_string().contains("not a folder of yours"),
            "{error}"
        );
        fs::remove_file(&kept).unwrap();
        fs::create_dir(&kept).unwrap();
        symlink(elsewhere.path().join("theirs"), kept.join(LOCK)).unwrap();
        let error = StagingFolder::claim_kept(dir.path(), OsStr::new("p"), "p")
            .err()
            .unwrap();
        assert!(error.to_string().contains("remove it"), "{error}");
        assert_eq!(fs::read(elsewhere.path().join("theirs")).unwrap(), b"text");
    }

    #[test]
    fn a_prefix_that_fits_has_a_folder_to_be_kept_in() {
        let dir = tempfile::tempdir().unwrap();
        StagingFolder::claim_kept(dir.path(), OsStr::new(&"n".repeat(242)), "n").unwrap();
    }

    #[test]
    fn many_runs_may_claim_and_end_at_once() {
        let dir = tempfile::tempdir().unwrap();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let folder = StagingFolder::claim(dir.path()).unwrap();
                        fs::write(folder.path.join("a"), "kept").unwrap();
                        assert_eq!(fs::read(folder.path.join("a")).unwrap(), b"kept");
                    }
                });
            }
        });
        assert_eq!(entries(dir.path()), 0);
    }
}
