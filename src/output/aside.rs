//! Hidden folders for what is not finished: `.annslicer-{process id}-{number}.tmp`, next to the
//! outputs, and removed with all they hold when a run ends, fails, or is told to stop. Only
//! `.{prefix}.annslicer-resume`, the folder of a run that may be resumed, stays once it holds a
//! finished output, until a run of the same outputs ends well.
//!
//! A run holds the lock on its folders' lock files (see `record`). So a folder of this user whose
//! lock can be taken is a dead run's, and is removed, once older outputs are saved from it. Where there are no locks, or another machine does not see them, no run is taken for dead
//! that has written within three days.

use std::{
    cell::Cell,
    collections::HashSet,
    ffi::{OsStr, OsString},
    fs::{self, DirBuilder},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, ErrorKind},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
    process, thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use tracing::{debug, info, warn};

use super::flush::sync_entry;
use super::mounts;
use super::place::rescue;
use super::plain::{is_folder_of, stands};
use super::record::{self, LOCK, Lock, Record, is_at, lock_left, lock_new};
use super::signals::{Registry, registry};
use super::tree::remove_tree;

const PREFIX: &str = ".annslicer-";
const SUFFIX: &str = ".tmp";
const KEPT: &str = ".annslicer-resume";
/// Of folders with older outputs, which no run removes.
const LEFT: &str = ".kept";
/// A run that writes, writes more often than this.
const SILENCE: Duration = Duration::from_hours(72);

/// A folder of this run, locked, registered for removal on a signal, removed when dropped.
pub struct Aside {
    pub path: PathBuf,
    /// The user whose folders those beside it must be: of the files that this process makes here.
    owner: u32,
    stay: Cell<Stay>,
    lock: Lock,
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

impl Aside {
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
                Ok(Some(aside)) => {
                    aside.rival(&HashSet::new()).with_context(in_vain)?;
                    return Ok(aside);
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

    fn lock(path: &Path) -> io::Result<Option<Self>> {
        let Some(lock) = lock_new(path)? else {
            return Ok(None);
        };
        record::write(&lock.file, [].into_iter())?;
        Ok(Some(Self {
            path: path.to_owned(),
            owner: fs::symlink_metadata(path)?.uid(),
            stay: Cell::new(Stay::Claimed),
            lock,
        }))
    }

    /// Makes the folder of the runs in `parent` whose outputs begin with `prefix` and that may be
    /// resumed, or takes over that of a dead one.
    pub fn claim_kept(parent: &Path, prefix: &OsStr) -> Result<Self> {
        let in_vain = || format!("Cannot write in folder {}", parent.display());
        let path = parent.join(kept_name(prefix));
        let owner = user_in(parent).with_context(in_vain)?;
        for _ in 0..100 {
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                made => {
                    made.with_context(in_vain)?;
                    sync_entry(parent).with_context(in_vain)?;
                }
            }
            ensure!(
                is_folder_of(&path, owner) || !stands(&path).with_context(in_vain)?,
                "{} is not a folder of yours, and --resume keeps finished outputs there; remove it, or choose \
                 another prefix",
                path.display()
            );
            let lock = match lock_left(&path).with_context(|| lock_told(&path))? {
                None => lock_new(&path).with_context(in_vain)?,
                left => left,
            };
            let alive = |lock: &Lock| !lock.is_held && lives_here(&Record::of(&path));
            let Some(lock) = lock.filter(|lock| !alive(lock)) else {
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
            if !is_of_use(&path) {
                registry().folders.insert(path.clone());
            }
            let kept = Self {
                path,
                owner,
                stay: Cell::new(Stay::OfUse),
                lock,
            };
            kept.rival(&HashSet::new()).with_context(in_vain)?;
            return Ok(kept);
        }
        bail!(
            "{} is writing {}; if it no longer runs, remove {}",
            Record::of(&path).who(),
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
        self.stay.set(if finished > 0 {
            Stay::OfUse
        } else {
            Stay::Claimed
        });
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
        record::write(&self.lock.file, names)
    }

    /// Whether it is still this run's.
    pub fn is_claimed(&self) -> bool {
        let is_there = is_at(&self.lock.file, &self.path.join(LOCK)).unwrap_or(false);
        is_there && Record::of(&self.path).is_own()
    }

    /// The folder beside this one of another run that claims one of `names`. Removes what dead
    /// runs left, but for outputs of other names that a run may be resumed for.
    pub fn rival(&self, names: &HashSet<OsString>) -> io::Result<Option<(PathBuf, Record)>> {
        let parent = self.path.parent().unwrap_or(&self.path);
        for entry in fs::read_dir(parent)? {
            let other = entry?.path();
            let is_other = other != self.path && is_aside(&other);
            if !is_other || !is_folder_of(&other, self.owner) {
                continue;
            }
            let record = Record::of(&other);
            let shared = |of_files: bool| {
                let mut both = record.names.intersection(names);
                both.any(|name| !of_files || !name.as_bytes().starts_with(b"/"))
            };
            match lock_of_dead(&other, &record) {
                Some(_lock) if is_of_use(&other) && !shared(true) => clear_up(&other, false),
                Some(_lock) => clear_up(&other, true),
                None if shared(false) => return Ok(Some((other, record))),
                None => {}
            }
        }
        Ok(None)
    }
}

impl Drop for Aside {
    /// Waits for ever where a signal is ending the process, so that errors which the removal
    /// makes in other threads are not reported.
    fn drop(&mut self) {
        match self.stay.get() {
            Stay::Always => {}
            Stay::OfUse if is_of_use(&self.path) => {}
            _ => remove(&self.path),
        }
    }
}

fn lock_told(folder: &Path) -> String {
    let lock = folder.join(LOCK);
    format!("Cannot open {}; remove it", lock.display())
}

/// A name that no other folder has, hidden.
fn new_name(suffix: &str) -> String {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    format!("{PREFIX}{}-{:x}{suffix}", process::id(), since.as_nanos())
}

/// The name of the folder for runs of a prefix that may be resumed. A prefix that leaves no room
/// for more is cut, and told from others by a digest.
fn kept_name(prefix: &OsStr) -> OsString {
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

fn is_aside(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let temporary = name.starts_with(PREFIX.as_bytes()) && name.ends_with(SUFFIX.as_bytes());
    temporary || is_kept(path)
}

fn is_kept(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    name.starts_with(b".") && name.ends_with(KEPT.as_bytes())
}

/// Whether outputs stand in the folder of a run that may be resumed.
fn is_of_use(folder: &Path) -> bool {
    let mut names = fs::read_dir(folder).into_iter().flatten().flatten();
    is_kept(folder) && names.any(|entry| !entry.file_name().as_bytes().starts_with(b"."))
}

/// The lock of a folder whose run is dead; none where it may live, or the folder is none of ours.
fn lock_of_dead(folder: &Path, record: &Record) -> Option<Lock> {
    if !stands(&folder.join(LOCK)).ok()? {
        // A run that ended before it made its lock file has written nothing.
        let _ = fs::remove_dir(folder);
        return None;
    }
    let lock = lock_left(folder).ok()??;
    let seen = lock.is_held && (!record.is_foreign() || mounts::locks_reach_all(folder));
    (seen || is_silent(folder)).then_some(lock)
}

/// Whether nothing in a folder has been written for long.
fn is_silent(folder: &Path) -> bool {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = names.map(|entry| entry.path());
    let mut times = paths.chain([folder.to_owned()]).map(|path| {
        let written = fs::symlink_metadata(path)?.modified()?;
        Ok::<_, io::Error>(written.elapsed().unwrap_or_default())
    });
    times.all(|age| age.is_ok_and(|age| age > SILENCE))
}

/// Whether a process of that number runs on this machine.
fn lives_here(record: &Record) -> bool {
    let is_other = !record.process.is_empty() && !record.is_own();
    is_other && !record.is_foreign() && Path::new("/proc").join(&record.process).exists()
}

/// Saves older outputs from the folder of a dead run, which is locked, and removes it where that is `all`.
fn clear_up(folder: &Path, all: bool) {
    let shown = folder.display();
    let kept = folder.with_file_name(new_name(LEFT));
    let rescued = rescue(folder, &kept);
    match rescued.and_then(|()| {
        if all {
            remove_tree(folder, LOCK)
        } else {
            Ok(())
        }
    }) {
        Ok(()) => debug!("Cleared up the leftover {shown} of a dead run"),
        Err(e) => info!("Cannot clear up {shown}, which a dead run left: {e}"),
    }
}

fn remove(folder: &Path) {
    let mut registry = registry();
    if let Err(e) = remove_tree(folder, LOCK)
        && e.kind() != ErrorKind::NotFound
    {
        warn!("Cannot remove {}: {e}; remove it by hand", folder.display());
    }
    registry.folders.remove(folder);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn entries(dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().count()
    }

    fn rival(aside: &Aside, name: &str) -> Option<(PathBuf, Record)> {
        aside.rival(&[name.into()].into()).unwrap()
    }

    fn add(aside: &Aside, name: &str) {
        aside.add([OsStr::new(name)].into_iter()).unwrap();
    }

    #[test]
    fn a_folder_lives_as_long_as_its_claim() {
        let dir = tempfile::tempdir().unwrap();
        let aside = Aside::claim(dir.path()).unwrap();
        fs::write(aside.path.join("a"), "half").unwrap();
        add(&aside, "a");
        let second = Aside::claim(dir.path()).unwrap();
        assert_eq!(rival(&second, "a").unwrap().0, aside.path);
        assert!(registry().folders.contains(&aside.path) && aside.is_claimed());
        drop((aside, second));
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
        drop(Aside::claim(dir.path()).unwrap());
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
        let first = Aside::claim(dir.path()).unwrap();
        add(&first, "a.h5ad");
        let second = Aside::claim(dir.path()).unwrap();
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
        let aside = Aside::claim(dir.path()).unwrap();
        assert!(rival(&aside, "a.h5ad").is_some());
        drop(lock);
        assert!(rival(&aside, "a.h5ad").is_none());
        assert!(!dead.exists());
    }

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
        fs::write(theirs.join("a.h5ad"), "").unwrap();
        assert!(!is_silent(&theirs));
    }

    #[test]
    fn a_folder_that_is_kept_is_one_of_this_user() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("theirs"), "text").unwrap();
        let kept = dir.path().join(".p.annslicer-resume");
        symlink(elsewhere.path(), &kept).unwrap();
        let error = Aside::claim_kept(dir.path(), OsStr::new("p"))
            .err()
            .unwrap();
        assert!(
            error.to_string().contains("not a folder of yours"),
            "{error}"
        );
        fs::remove_file(&kept).unwrap();
        fs::create_dir(&kept).unwrap();
        symlink(elsewhere.path().join("theirs"), kept.join(LOCK)).unwrap();
        let error = Aside::claim_kept(dir.path(), OsStr::new("p"))
            .err()
            .unwrap();
        assert!(error.to_string().contains("remove it"), "{error}");
        assert_eq!(fs::read(elsewhere.path().join("theirs")).unwrap(), b"text");
    }

    #[test]
    fn a_prefix_that_fits_has_a_folder_to_be_kept_in() {
        let names = [238, 242].map(|n| kept_name(OsStr::new(&"é".repeat(n / 2))));
        assert!(names[0] != names[1] && names.iter().all(|name| name.len() <= 255));
        assert!(
            names
                .iter()
                .all(|name| is_kept(Path::new(name)) && name.to_str().is_some())
        );
        assert_eq!(kept_name(OsStr::new("p")), ".p.annslicer-resume");
        let dir = tempfile::tempdir().unwrap();
        Aside::claim_kept(dir.path(), OsStr::new(&"n".repeat(242))).unwrap();
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
