//! The outputs of a run: written aside, then renamed, all or none.
//!
//! Each output is written in a hidden folder beside it (see `aside`), so that no reader sees half
//! of one. When all are whole they are flushed to disk and take their places by rename; a Zarr
//! store is a folder that is renamed whole.

mod aside;
pub mod digest;
mod flush;
mod inputs;
mod kept;
pub mod manifest;
mod paths;
mod signals;
mod unchanged;
mod verify;

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashSet, btree_map::Entry},
    ffi::OsStr,
    fs::{self, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;
use serde_json::Value;
use tracing::info;

use self::aside::Aside;
pub use self::flush::{Flushed, flush_while_written};
use self::flush::{sync, sync_entry};
pub use self::inputs::expand_inputs;
use self::kept::Kept;
use self::paths::check_replaceable;
pub use self::paths::{named_path, overlap, place_of, refuse_overlap, resolve, shard_path};
pub use self::signals::give_up;
use self::unchanged::Stamp;
pub use self::verify::verify;

/// The outputs and scratch folders of one run. Dropping it removes what is not published.
pub struct Outputs {
    /// By the folder the outputs go to.
    asides: BTreeMap<PathBuf, Aside>,
    outputs: Vec<Output>,
    taken: HashSet<PathBuf>,
    scratch: Vec<Aside>,
    /// What the outputs are made of.
    inputs: Vec<Stamp>,
    /// Where the run may be resumed.
    kept: Option<RefCell<Kept>>,
}

struct Output {
    /// The path as the user gave it.
    shown: PathBuf,
    /// The path it goes to, through links.
    place: PathBuf,
    aside: PathBuf,
    /// Where what stands at `place` is kept until all outputs are in place.
    old: PathBuf,
    /// Whether it is in its place already: the run that is resumed was killed in between.
    stands: bool,
}

impl Outputs {
    /// From now on signals that end a process remove what is aside first; the exit code is 128 and their number.
    pub fn new() -> Result<Self> {
        signals::watch()?;
        Ok(Self {
            asides: BTreeMap::new(),
            outputs: Vec::new(),
            taken: HashSet::new(),
            scratch: Vec::new(),
            inputs: Vec::new(),
            kept: None,
        })
    }

    /// Says what the run reads, before it does: if any of it has changed by the time the outputs are
    /// whole, they are not published. Returns what tells the same inputs in another run.
    pub fn read_from<'p>(&mut self, inputs: impl IntoIterator<Item = &'p PathBuf>) -> Vec<u64> {
        let first = self.inputs.len();
        let stamps = inputs.into_iter().map(|path| Stamp::of(path));
        self.inputs.extend(stamps);
        self.inputs[first..]
            .iter()
            .map(Stamp::fingerprint)
            .collect()
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
            stands: false,
        };
        let aside = output.aside.clone();
        self.outputs.push(output);
        Ok(aside)
    }

    /// From now on the outputs that begin with `prefix` are kept, each when it is finished, if the run
    /// ends before all are. Returns what a run of theirs that was not finished called itself.
    pub fn resume(&mut self, prefix: &Path) -> Result<Option<Value>> {
        let mut first = prefix.as_os_str().to_owned();
        first.push("_");
        let place = resolve(Path::new(&first))?;
        let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else {
            bail!("Prefix {} is no start of a name", prefix.display());
        };
        fs::create_dir_all(parent)
            .with_context(|| format!("Cannot make folder {}", parent.display()))?;
        let name = name.to_string_lossy();
        let aside = Aside::claim_kept(parent, name.strip_suffix('_').unwrap_or(&name))?;
        let kept = Kept::read(&aside.path);
        let run = kept.run.clone();
        self.asides.insert(parent.to_owned(), aside);
        self.kept = Some(RefCell::new(kept));
        Ok(run)
    }

    /// How many outputs were asked for.
    pub fn count(&self) -> usize {
        self.outputs.len()
    }

    /// How many outputs a run that was not finished has kept.
    pub fn kept(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.borrow().count())
    }

    /// Begins to write the outputs that were asked for, or where this is the `run` that is resumed,
    /// to go on. Returns how many of them, from the first, are whole already.
    pub fn start(&mut self, run: &Value) -> Result<usize> {
        let Some(kept) = &mut self.kept else {
            return Ok(0);
        };
        let kept = kept.get_mut();
        let mut whole = 0;
        if kept.run.as_ref() == Some(run) {
            for output in &mut self.outputs {
                let Some(name) = output.aside.file_name().and_then(OsStr::to_str) else {
                    break;
                };
                output.stands = kept.holds(name, &output.place);
                if !output.stands && !kept.holds(name, &output.aside) {
                    break;
                }
                whole += 1;
            }
        }
        kept.start(run, whole)?;
        self.asides.values().for_each(|aside| kept.tell(aside));
        Ok(whole)
    }

    /// Notes that the output of that number is whole.
    pub fn finished(&self, output: usize) -> Result<()> {
        let (Some(kept), Some(output)) = (&self.kept, self.outputs.get(output)) else {
            return Ok(());
        };
        let mut kept = kept.borrow_mut();
        if kept.add(&output.aside)? {
            self.asides.values().for_each(|aside| kept.tell(aside));
        }
        Ok(())
    }

    /// What is written so far: the paths as they were asked for, and where each is until
    /// [`Outputs::publish`].
    pub fn written(&self) -> impl Iterator<Item = (&Path, &Path)> {
        let outputs = self.outputs.iter();
        outputs.map(|output| (output.shown.as_path(), output.now()))
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
    ///
    /// # Errors
    /// A disk that fails, an input that has changed since the run began.
    pub fn publish(mut self) -> Result<Vec<PathBuf>> {
        self.outputs.par_iter().try_for_each(|output| {
            sync(output.now())
                .with_context(|| format!("Cannot write {} to disk", output.shown.display()))
        })?;
        self.inputs.iter().try_for_each(Stamp::check)?;
        // Two runs of the same outputs take turns, so that never some are of one and some of the
        // other. Not every file system has locks for folders.
        let folders: Vec<_> = self
            .asides
            .keys()
            .filter_map(|path| File::open(path).ok())
            .collect();
        folders.iter().for_each(|folder| drop(folder.lock()));
        let mut registry = signals::registry();
        if let Err(e) = self.place() {
            self.outputs.iter().rev().for_each(Output::restore);
            return Err(e);
        }
        registry.published = true;
        drop(registry);
        self.kept = None;
        self.asides.values().for_each(|aside| aside.keep(0));
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

impl Drop for Outputs {
    fn drop(&mut self) {
        let Some(kept) = self.kept.take() else { return };
        let mut kept = kept.into_inner();
        let _ = kept.write(); // what cannot be noted is written again
        self.asides.values().for_each(|aside| kept.tell(aside));
        if kept.count() > 0 {
            info!("{} finished outputs are kept for --resume", kept.count());
        }
    }
}

/// An error where [`Outputs::aside`] would refuse `path` for what stands there. Writes nothing.
pub fn check(path: &Path) -> Result<()> {
    check_replaceable(path, &resolve(path)?)
}

impl Output {
    /// Where it is.
    fn now(&self) -> &Path {
        if self.stands {
            &self.place
        } else {
            &self.aside
        }
    }

    fn place(&self) -> io::Result<()> {
        if self.stands {
            return Ok(());
        }
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
        if self.stands {
            return;
        }
        if !self.aside.exists() {
            let _ = fs::rename(&self.place, &self.aside);
        }
        if self.old.exists() {
            let _ = fs::rename(&self.old, &self.place);
        }
    }
}

#[cfg(test)]
mod tests;
