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
mod mounts;
mod paths;
mod pattern;
mod place;
mod plain;
mod record;
mod scratch;
mod siblings;
mod signals;
mod tree;
mod turn;
mod unchanged;
mod verify;

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashSet, btree_map::Entry},
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use rayon::prelude::*;
use serde_json::Value;
use tracing::{info, warn};

use self::aside::Aside;
pub use self::flush::{Flushed, flush_while_written};
use self::flush::{sync, sync_entry};
pub use self::inputs::{expand_inputs, expand_patterns};
use self::kept::Kept;
use self::paths::check_replaceable;
pub use self::paths::{
    collection_path, dataset_path, named_path, overlap, place_of, refuse_overlap, resolve,
};
use self::place::Output;
pub use self::scratch::Scratch;
pub use self::siblings::{
    are_shards, missing_shards, older_shards, refuse_forgotten, refuse_shard,
};
use self::signals::Registry;
pub use self::signals::{end_with_reader, give_up};
use self::tree::make_folder;
use self::turn::Turn;
use self::unchanged::Stamp;
pub use self::verify::verify;
use crate::report::words::clause;

/// The outputs of one run. Dropping it removes what is not published.
pub struct Outputs {
    /// By the folder the outputs go to.
    asides: BTreeMap<PathBuf, Aside>,
    /// Folders that were made for them, the outermost first.
    made: Vec<PathBuf>,
    outputs: Vec<Output>,
    /// What is removed when they stand in their places.
    stale: Vec<PathBuf>,
    taken: HashSet<PathBuf>,
    /// What the outputs are made of.
    inputs: Vec<Stamp>,
    /// Where the run may be resumed.
    kept: Option<RefCell<Kept>>,
}

impl Outputs {
    /// From now on signals that end a process remove what is aside first; the exit code is 128 and their number.
    pub fn new() -> Result<Self> {
        signals::watch()?;
        Ok(Self {
            asides: BTreeMap::new(),
            made: Vec::new(),
            outputs: Vec::new(),
            stale: Vec::new(),
            taken: HashSet::new(),
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

    /// Claims all outputs of a run of `prefix` before it is known which they are, so that another run of the same
    /// prefix stops at once. Makes the folders above, and removes what dead runs left there.
    ///
    /// # Errors
    /// A folder that cannot be written, another run of that prefix.
    pub fn claim(&mut self, prefix: &Path) -> Result<()> {
        let (parent, name) = split_prefix(prefix)?;
        self.staging(&parent)?;
        let mut claimed = OsString::from("/");
        claimed.push(name);
        self.claim_names(&parent, [claimed].into(), prefix)
    }

    /// The path at which to write what will stand at `path`; see [`Outputs::asides`].
    pub fn aside(&mut self, path: &Path) -> Result<PathBuf> {
        let paths = self.asides(std::slice::from_ref(&path.to_owned()))?;
        paths.into_iter().next().context("One path for one output")
    }

    /// The paths at which to write what will stand at `paths`: in a hidden folder of this run beside
    /// each, and of the same file name (where one of `paths` is a link, that of its target). Makes the
    /// folders above, and removes what dead runs left there.
    ///
    /// # Errors
    /// A folder that cannot be written, a path that may not be replaced, another run that is
    /// writing it.
    pub fn asides(&mut self, paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
        let mut claims: BTreeMap<PathBuf, HashSet<OsString>> = BTreeMap::new();
        let mut asides = vec![];
        for path in paths {
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
            let aside = self.staging(parent)?.path.join(name);
            let claim = claims.entry(parent.to_owned()).or_default();
            claim.insert(name.to_owned());
            asides.push(aside.clone());
            self.outputs.push(Output::new(path, place, aside));
        }
        for (parent, names) in claims {
            let one = names.iter().next().map(|name| parent.join(name));
            self.claim_names(&parent, names, &one.unwrap_or_default())?;
        }
        Ok(asides)
    }

    /// The folder of this run in `parent`.
    fn staging(&mut self, parent: &Path) -> Result<&Aside> {
        Ok(match self.asides.entry(parent.to_owned()) {
            Entry::Occupied(claimed) => claimed.into_mut(),
            Entry::Vacant(free) => {
                let made = make_folder(parent);
                self.made.extend(
                    made.with_context(|| format!("Cannot make folder {}", parent.display()))?,
                );
                free.insert(Aside::claim(parent)?)
            }
        })
    }

    /// Claims `names` in `parent`: first says so, then looks who else does, so that of two runs that start together
    /// one sees the other. They take turns where the file system has locks; else both may stop.
    fn claim_names(&self, parent: &Path, names: HashSet<OsString>, one: &Path) -> Result<()> {
        let Some(aside) = self.asides.get(parent) else {
            return Ok(());
        };
        let in_vain = || format!("Cannot write in folder {}", parent.display());
        let _turn = Turn::in_folder(parent);
        aside
            .add(names.iter().map(OsString::as_os_str))
            .with_context(in_vain)?;
        match aside.rival(&names).with_context(in_vain)? {
            None => Ok(()),
            Some((folder, record)) => {
                let name = record.names.intersection(&names).next();
                let name = name.filter(|name| !name.as_encoded_bytes().starts_with(b"/"));
                let shown = name.map_or(one.to_owned(), |name| parent.join(name));
                bail!(
                    "{} is writing {}; if it no longer runs, remove {}",
                    record.who(),
                    self.shown(&shown).display(),
                    folder.display()
                )
            }
        }
    }

    /// The path of the output at `place` as the user gave it.
    fn shown<'a>(&'a self, place: &'a Path) -> &'a Path {
        let output = self.outputs.iter().find(|output| output.place == place);
        output.map_or(place, |output| &output.shown)
    }

    /// From now on the outputs that begin with `prefix` are kept, each when it is finished, if the run
    /// ends before all are. Returns what a run of theirs that was not finished called itself.
    pub fn resume(&mut self, prefix: &Path) -> Result<Option<Value>> {
        let (parent, name) = split_prefix(prefix)?;
        let made = make_folder(&parent);
        self.made
            .extend(made.with_context(|| format!("Cannot make folder {}", parent.display()))?);
        let aside = Aside::claim_kept(&parent, &name)?;
        let kept = Kept::read(&aside.path);
        let run = kept.run.clone();
        self.asides.insert(parent, aside);
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

    /// Removes the file or store at `path` as soon as all outputs stand in their places.
    pub fn remove(&mut self, path: &Path) {
        self.stale.push(path.to_owned());
    }

    /// Flushes all outputs to disk and puts them in their places, in the order they were asked
    /// for; returns their paths. If one cannot be placed, all that stood there before stands
    /// there again; where that fails too, the error says what is where, and nothing is removed.
    ///
    /// # Errors
    /// A disk that fails, an input that has changed since the run began, another run that writes the same outputs.
    pub fn publish(mut self) -> Result<Vec<PathBuf>> {
        self.outputs.par_iter().try_for_each(|output| {
            sync(output.now())
                .with_context(|| format!("Cannot write {} to disk", output.shown.display()))
        })?;
        self.inputs.iter().try_for_each(Stamp::check)?;
        // Two runs of the same outputs take turns, so that never some are of one and some of the
        // other.
        let turns: Vec<Turn> = self
            .asides
            .keys()
            .map(|path| Turn::in_folder(path))
            .collect();
        self.check_claims()?;
        let mut registry = signals::registry();
        self.begin()?;
        if let Err(e) = self.place() {
            return Err(self.roll_back(e, &mut registry));
        }
        registry.published = true;
        for path in &self.stale {
            let is_folder = path.is_dir();
            let removed = if is_folder {
                std::fs::remove_dir_all(path)
            } else {
                std::fs::remove_file(path)
            };
            removed.unwrap_or_else(|e| warn!("Cannot remove {}: {e}", path.display()));
        }
        for aside in self.asides.values() {
            place::end(&aside.path)
                .unwrap_or_else(|e| warn!("Cannot clear up {}: {e}", aside.path.display()));
        }
        drop((registry, turns));
        self.kept = None;
        self.made.clear();
        self.asides.values().for_each(|aside| aside.keep(0));
        Ok(self
            .outputs
            .iter()
            .map(|output| output.shown.clone())
            .collect())
    }

    /// An error where the claims of this run, made at its beginning, do not hold any more.
    fn check_claims(&self) -> Result<()> {
        for (parent, aside) in &self.asides {
            ensure!(
                aside.is_claimed(),
                "Another program has removed {}, in which this run wrote its outputs",
                aside.path.display()
            );
            let here = self.outputs.iter().map(|output| &output.place);
            let here = here.filter(|place| place.parent() == Some(parent.as_path()));
            let names = here.filter_map(|place| Some(place.file_name()?.to_owned()));
            if let Some((folder, record)) = aside.rival(&names.collect())? {
                bail!(
                    "{} is writing the same outputs in {}",
                    record.who(),
                    folder.display()
                );
            }
        }
        Ok(())
    }

    fn begin(&self) -> Result<()> {
        for (parent, aside) in &self.asides {
            let here = self.outputs.iter();
            let here = here.filter(|output| output.place.parent() == Some(parent.as_path()));
            place::begin(&aside.path, here)
                .with_context(|| format!("Cannot write in folder {}", aside.path.display()))?;
        }
        Ok(())
    }

    fn place(&mut self) -> Result<()> {
        for output in &mut self.outputs {
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

    /// Puts back what stood in the places; where that fails, keeps everything, and adds to the error what is where.
    fn roll_back(&mut self, error: Error, registry: &mut Registry) -> Error {
        let restored = self
            .outputs
            .iter()
            .rev()
            .map(|output| (output, output.restore()));
        let failed: Vec<_> = restored
            .filter_map(|(output, result)| Some((output, result.err()?)))
            .collect();
        let Some((_, why)) = failed.first() else {
            return error;
        };
        let mut told = vec![];
        for (parent, aside) in &mut self.asides {
            let mut lost = failed.iter().map(|(output, _)| output);
            let in_it = |output: &&&Output| output.place.parent() == Some(parent.as_path());
            if lost.clone().any(|output| in_it(&output)) {
                let folder = aside.abandon(registry);
                told.extend(
                    lost.by_ref()
                        .filter(in_it)
                        .map(|output| output.whereabouts(&folder)),
                );
            }
        }
        let error = anyhow!(
            "{error:#}; what stood there before could not be put back ({why}): {}",
            told.join("; ")
        );
        self.kept = None;
        self.made.clear();
        error
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        self.note_kept();
        self.asides.clear();
        for folder in self.made.iter().rev() {
            let _ = std::fs::remove_dir(folder); // others may have put something there
        }
    }
}

impl Outputs {
    /// Notes what is kept for a run to resume.
    fn note_kept(&mut self) {
        let Some(kept) = self.kept.take() else { return };
        let mut kept = kept.into_inner();
        let _ = kept.write(); // what cannot be noted is written again
        self.asides.values().for_each(|aside| kept.tell(aside));
        if kept.count() > 0 {
            info!(
                "{} kept for --resume",
                clause(kept.count() as u64, "finished output", ("is", "are"))
            );
        }
    }
}

/// An error where [`Outputs::aside`] would refuse `path` for what stands there. Writes nothing.
pub fn check(path: &Path) -> Result<()> {
    check_replaceable(path, &resolve(path)?)
}

/// The folder and the beginning of the name of all outputs of `prefix`.
fn split_prefix(prefix: &Path) -> Result<(PathBuf, OsString)> {
    let mut first = prefix.as_os_str().to_owned();
    first.push("_");
    let place = resolve(Path::new(&first))?;
    let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else {
        bail!("Prefix {} is no start of a name", prefix.display());
    };
    let name = name.as_bytes();
    let name = name.strip_suffix(b"_").unwrap_or(name);
    Ok((parent.to_owned(), OsStr::from_bytes(name).to_owned()))
}

#[cfg(test)]
mod tests;
