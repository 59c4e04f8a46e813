//! The outputs of a run: written aside, then renamed, all or none.
//!
//! Each output is written in a hidden folder beside it (see `aside`), so that no reader sees half
//! of one. When all are whole they are flushed to disk and take their places by rename; a Zarr
//! store is a folder that is renamed whole.

mod aside;
mod inputs;
mod paths;
mod verify;

use std::sync::mpsc::Sender;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};
use std::{
    collections::{BTreeMap, HashSet, btree_map::Entry},
    fs::{self, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;

use aside::Aside;
pub use inputs::expand_inputs;
use paths::{check_replaceable, resolve};
pub use paths::{named_path, refuse_overlap, shard_path};
pub use verify::verify;

/// The outputs and scratch folders of one run. Dropping it removes what is not published.
pub struct Outputs {
    /// By the folder the outputs go to.
    asides: BTreeMap<PathBuf, Aside>,
    outputs: Vec<Output>,
    taken: HashSet<PathBuf>,
    scratch: Vec<Aside>,
}

struct Output {
    /// The path as the user gave it.
    shown: PathBuf,
    /// The path it goes to, through links.
    place: PathBuf,
    aside: PathBuf,
    /// Where what stands at `place` is kept until all outputs are in place.
    old: PathBuf,
}

impl Outputs {
    /// From now on SIGINT and SIGTERM remove what is aside and end the process with 130 and 143.
    pub fn new() -> Result<Self> {
        aside::watch_signals()?;
        Ok(Self {
            asides: BTreeMap::new(),
            outputs: Vec::new(),
            taken: HashSet::new(),
            scratch: Vec::new(),
        })
    }

    /// The path at which to write what will stand at `path`: in a hidden folder of this run beside
    /// it, and of the same file name (where `path` is a link, that of its target). Makes the
    /// folders above `path`, and removes what dead runs left there.
    ///
    /// # Errors
    /// A folder that cannot be written, a `path` that may not be replaced, another run that is
    /// writing it.
    pub fn aside(&mut self, path: &Path) -> Result<PathBuf> {
        let shown = path.display();
        let place = resolve(path)?;
        let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else {
            bail!("Output {shown} is no name for a file");
        };
        ensure!(
            self.taken.insert(place.clone()),
            "Output {shown} is written twice by this run"
        );
        check_replaceable(path, &place)?;
        let aside = match self.asides.entry(parent.to_owned()) {
            Entry::Occupied(claimed) => claimed.into_mut(),
            Entry::Vacant(free) => {
                fs::create_dir_all(parent)
                    .with_context(|| format!("Cannot make folder {}", parent.display()))?;
                free.insert(Aside::claim(parent)?)
            }
        };
        if let Some((folder, pid)) = aside.rival(name) {
            let folder = folder.display();
            bail!("Process {pid} is writing {shown}; if it no longer runs, remove {folder}");
        }
        let output = Output {
            shown: path.to_owned(),
            aside: aside.path.join(name),
            old: aside
                .path
                .join(format!(".annslicer-old-{}", self.outputs.len())),
            place,
        };
        let aside = output.aside.clone();
        self.outputs.push(output);
        Ok(aside)
    }

    /// A private folder in the existing folder `parent`, removed at the end.
    pub fn scratch_dir(&mut self, parent: &Path) -> Result<PathBuf> {
        let aside = Aside::claim(parent)?;
        let path = aside.path.join("scratch");
        fs::create_dir(&path)
            .with_context(|| format!("Cannot make scratch folder {}", path.display()))?;
        self.scratch.push(aside);
        Ok(path)
    }

    /// Flushes all outputs to disk and puts them in their places, in the order they were asked
    /// for; returns their paths. If one cannot be placed, all that stood there before stands
    /// there again.
    pub fn publish(self) -> Result<Vec<PathBuf>> {
        self.outputs.par_iter().try_for_each(|output| {
            sync(&output.aside)
                .with_context(|| format!("Cannot write {} to disk", output.shown.display()))
        })?;
        // Two runs of the same outputs take turns, so that never some are of one and some of the
        // other. Not every file system has locks for folders.
        let folders: Vec<_> = self
            .asides
            .keys()
            .filter_map(|path| File::open(path).ok())
            .collect();
        folders.iter().for_each(|folder| drop(folder.lock()));
        let mut registry = aside::registry();
        if let Err(e) = self.place() {
            self.outputs.iter().rev().for_each(Output::restore);
            return Err(e);
        }
        registry.published = true;
        Ok(self
            .outputs
            .iter()
            .map(|output| output.shown.clone())
            .collect())
    }

    fn place(&self) -> Result<()> {
        for output in &self.outputs {
            output
                .place()
                .with_context(|| format!("Cannot put {} in its place", output.shown.display()))?;
        }
        for folder in self.asides.keys() {
            sync_entry(folder)
                .with_context(|| format!("Cannot write folder {} to disk", folder.display()))?;
        }
        Ok(())
    }
}

impl Output {
    fn place(&self) -> io::Result<()> {
        match fs::symlink_metadata(&self.place) {
            // A folder can neither replace a file nor be replaced, and cannot be linked.
            Ok(stands) if stands.is_dir() || self.aside.is_dir() => {
                fs::rename(&self.place, &self.old)?;
            }
            Ok(_) => drop(fs::hard_link(&self.place, &self.old)), // to restore, where links can be
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        fs::rename(&self.aside, &self.place)
    }

    /// Undoes `place`, as far as it came.
    fn restore(&self) {
        if !self.aside.exists() {
            let _ = fs::rename(&self.place, &self.aside);
        }
        if self.old.exists() {
            let _ = fs::rename(&self.old, &self.place);
        }
    }
}

/// Flushes a file, or a folder and all in it.
fn sync(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        let entries: Vec<_> = fs::read_dir(path)?.collect::<io::Result<_>>()?;
        entries
            .par_iter()
            .try_for_each(|entry| sync(&entry.path()))?;
    }
    sync_entry(path)
}

/// Begins to flush a finished file while the next one is written, so that [`Outputs::publish`], which flushes for
/// sure and tells what fails, waits less.
pub fn flush_early(path: &Path) {
    static FLUSHER: OnceLock<Option<Sender<PathBuf>>> = OnceLock::new();
    let flusher = FLUSHER.get_or_init(|| {
        let (send, receive) = std::sync::mpsc::channel::<PathBuf>();
        let flush = move || receive.iter().for_each(|path| drop(sync_entry(&path)));
        let thread = std::thread::Builder::new().spawn(flush);
        thread.is_ok().then_some(send)
    });
    if let Some(flusher) = flusher {
        let _ = flusher.send(path.to_owned()); // a thread that has gone flushes nothing early
    }
}

/// As [`flush_early`] for a file that is still being written; at most a few times a second.
pub fn flush_sometimes(path: &Path) {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(|e| e.into_inner());
    if last.is_none_or(|at| at.elapsed() > Duration::from_millis(300)) {
        *last = Some(Instant::now());
        flush_early(path);
    }
}

fn sync_entry(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
            Ok(()) // a file system that cannot flush folders
        }
        done => done,
    }
}

#[cfg(test)]
mod tests;
