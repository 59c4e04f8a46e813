//! The outputs of a run: staged, then renamed, all or none.
//!
//! Each output is written in a hidden folder beside it (see `staging`), so that no reader sees half
//! of one. When all are whole they are flushed to disk and take their places by rename; a Zarr
//! store is a folder that is renamed whole. A run calls [`Outputs::read_from`] before it opens an input,
//! [`Outputs::claim`] before it knows its outputs, [`Outputs::stage_all`] when it knows them, and [`Outputs::publish`]
//! at the end; dropped before that, it leaves nothing.

pub mod digest;
mod flush;
mod inputs;
mod kept;
mod leftovers;
pub mod manifest;
mod mounts;
mod paths;
mod place;
mod plain;
mod record;
mod resumed;
pub mod run_parts;
mod scratch;
mod siblings;
mod signals;
mod staging;
mod tree;
mod turn;
mod unchanged;
mod verify;
mod wildcards;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashSet},
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use rayon::prelude::*;
use tracing::warn;

pub use self::flush::FlushedEarly;
use self::flush::{flush, flush_entry};
pub use self::inputs::{expand_inputs, expand_patterns, refuse_unquoted};
pub use self::kept::Kept;
use self::paths::check_replaceable;
pub use self::paths::{
    collection_path, dataset_path, named_path, overlap, place_of, refuse_overlap, resolve,
    without_inputs,
};
use self::place::Output;
pub use self::run_parts::link_into;
pub use self::scratch::Scratch;
pub use self::siblings::{
    are_shards, missing_shards, other_shards, refuse_forgotten, refuse_shard, refuse_turned,
};
use self::signals::Registry;
pub use self::signals::{end_with_reader, give_up};
use self::staging::StagingFolder;
use self::tree::make_folder;
use self::turn::Turn;
use self::unchanged::Stamp;
pub use self::verify::verify;

/// The outputs of one run. Dropping it removes what is not published.
pub struct Outputs {
    /// One for each folder that outputs go to; of parts that others wrote, one for each.
    staging: Vec<StagingFolder>,
    /// Folders that were made for them, the outermost first.
    made: Vec<PathBuf>,
    outputs: Vec<Output>,
    /// What is removed when they stand in their places.
    stale: Vec<PathBuf>,
    /// The places of all outputs, by which two of one name are seen.
    taken: HashSet<PathBuf>,
    /// What the outputs are made of.
    inputs: Vec<Stamp>,
    /// Where the run may be resumed.
    kept: Option<RefCell<Kept>>,
}

impl Outputs {
    /// From now on signals that end a process remove what is staged first; the exit code is 128 and their number.
    pub fn new() -> Result<Self> {
        signals::watch()?;
        Ok(Self {
            staging: Vec::new(),
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
        self.staging_in(&parent)?;
        let mut claimed = OsString::from("/");
        // No name of a file begins with a slash, so this is told from the name of an output.
        claimed.push(name);
        self.claim_names(&parent, [claimed].into(), prefix)
    }

    /// The path at which to write what will stand at `path`; see [`Outputs::stage_all`].
    pub fn stage(&mut self, path: &Path) -> Result<PathBuf> {
        let paths = self.stage_all(std::slice::from_ref(&path.to_owned()))?;
        paths.into_iter().next().context("One path for one output")
    }

    /// The paths at which to write what will stand at `paths`: in a hidden folder of this run beside
    /// each, and of the same file name (where one of `paths` is a link, that of its target). Makes the
    /// folders above, and removes what dead runs left there.
    ///
    /// # Errors
    /// A folder that cannot be written, a path that may not be replaced, another run that is
    /// writing it.
    pub fn stage_all(&mut self, paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
        let mut claims: BTreeMap<PathBuf, HashSet<OsString>> = BTreeMap::new();
        let mut staged = vec![];
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
            let path_now = self.staging_in(parent)?.path.join(name);
            let claim = claims.entry(parent.to_owned()).or_default();
            claim.insert(name.to_owned());
            staged.push(path_now.clone());
            self.outputs.push(Output::new(path, place, path_now));
        }
        for (parent, names) in claims {
            let one = names.iter().next().map(|name| parent.join(name));
            self.claim_names(&parent, names, &one.unwrap_or_default())?;
        }
        Ok(staged)
    }

    /// The folder of this run in `parent`.
    fn staging_in(&mut self, parent: &Path) -> Result<&StagingFolder> {
        let found = self
            .staging
            .iter()
            .position(|folder| folder.parent() == parent);
        let at = match found {
            Some(at) => at,
            None => {
                self.make(parent)?;
                self.staging.push(StagingFolder::claim(parent)?);
                self.staging.len() - 1
            }
        };
        Ok(&self.staging[at])
    }

    /// Makes the folder `parent`, and those above it.
    fn make(&mut self, parent: &Path) -> Result<()> {
        let made = make_folder(parent);
        let made = made.with_context(|| format!("Cannot make folder {}", parent.display()))?;
        self.made.extend(made);
        Ok(())
    }

    /// Claims `names` in `parent`: first says so, then looks who else does, so that of two runs that start together
    /// one sees the other. They take turns where the file system has locks; else both may stop.
    fn claim_names(&self, parent: &Path, names: HashSet<OsString>, one: &Path) -> Result<()> {
        let mut staging = self.staging.iter();
        let Some(folder) = staging.find(|folder| folder.parent() == parent) else {
            return Ok(());
        };
        let in_vain = || format!("Cannot write in folder {}", parent.display());
        let _turn = Turn::in_folder(parent);
        folder
            .add(names.iter().map(OsString::as_os_str))
            .with_context(in_vain)?;
        match folder.rival(&names, &self.staging).with_context(in_vain)? {
            None => Ok(()),
            Some((other, record)) => {
                let name = record.names.intersection(&names).next();
                let name = name.filter(|name| !name.as_encoded_bytes().starts_with(b"/"));
                let shown = name.map_or(one.to_owned(), |name| parent.join(name));
                bail!(
                    "{} is writing {}; if it no longer runs, remove {}",
                    record.who(),
                    self.shown(&shown).display(),
                    other.display()
                )
            }
        }
    }

    /// The path of the output at `place` as the user gave it.
    fn shown<'a>(&'a self, place: &'a Path) -> &'a Path {
        let output = self.outputs.iter().find(|output| output.place == place);
        output.map_or(place, |output| &output.shown)
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
            flush(output.now())
                .with_context(|| format!("Cannot write {} to disk", output.shown.display()))
        })?;
        // After the flush, which may take minutes.
        self.inputs.iter().try_for_each(Stamp::check)?;
        // Two runs of the same outputs take turns, so that never some are of one and some of the
        // other.
        let folders = self.folders();
        let turns: Vec<Turn> = folders.iter().map(|path| Turn::in_folder(path)).collect();
        self.check_claims()?;
        // From here to the end of the renames a signal waits.
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
        for folder in &self.staging {
            place::end(&folder.path)
                .unwrap_or_else(|e| warn!("Cannot clear up {}: {e}", folder.path.display()));
        }
        drop((registry, turns));
        self.kept = None;
        self.made.clear();
        self.staging.iter().for_each(|folder| folder.keep(0));
        Ok(self
            .outputs
            .iter()
            .map(|output| output.shown.clone())
            .collect())
    }

    /// The folders that outputs go to.
    fn folders(&self) -> BTreeSet<PathBuf> {
        let parents = self.staging.iter().map(StagingFolder::parent);
        parents.map(Path::to_owned).collect()
    }

    /// An error where the claims of this run, made at its beginning, do not hold any more.
    fn check_claims(&self) -> Result<()> {
        for folder in &self.staging {
            ensure!(
                folder.is_claimed(),
                "Another program has removed {}, in which this run wrote its outputs",
                folder.path.display()
            );
        }
        for parent in self.folders() {
            let Some(folder) = self.staging.iter().find(|folder| folder.parent() == parent) else {
                continue;
            };
            let here = self.outputs.iter().map(|output| &output.place);
            let here = here.filter(|place| place.parent() == Some(parent.as_path()));
            let names = here.filter_map(|place| Some(place.file_name()?.to_owned()));
            if let Some((other, record)) = folder.rival(&names.collect(), &self.staging)? {
                bail!(
                    "{} is writing the same outputs in {}",
                    record.who(),
                    other.display()
                );
            }
        }
        Ok(())
    }

    /// Notes in each staging folder which outputs are about to take places that are not free.
    fn begin(&self) -> Result<()> {
        for folder in &self.staging {
            let here = self.outputs.iter();
            let here = here.filter(|output| output.staged.parent() == Some(&folder.path));
            place::begin(&folder.path, here)
                .with_context(|| format!("Cannot write in folder {}", folder.path.display()))?;
        }
        Ok(())
    }

    /// Renames all outputs, then flushes the folders, without which a rename may not last.
    fn place(&mut self) -> Result<()> {
        for output in &mut self.outputs {
            output
                .place()
                .with_context(|| format!("Cannot put {} in its place", output.shown.display()))?;
        }
        for folder in self.folders() {
            flush_entry(&folder)
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
        for folder in &mut self.staging {
            let mut lost = failed.iter().map(|(output, _)| output);
            let path = folder.path.clone();
            let in_it = |output: &&&Output| output.staged.parent() == Some(&path);
            if lost.clone().any(|output| in_it(&output)) {
                let folder = folder.abandon(registry);
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
        self.staging.clear();
        for folder in self.made.iter().rev() {
            let _ = std::fs::remove_dir(folder); // others may have put something there
        }
    }
}

/// An error where [`Outputs::stage`] would refuse `path` for what stands there. Writes nothing.
pub fn check(path: &Path) -> Result<()> {
    check_replaceable(path, &resolve(path)?)
}

/// The folder and the beginning of the name of all outputs of `prefix`.
fn split_prefix(prefix: &Path) -> Result<(PathBuf, OsString)> {
    // `out/` is a prefix too (of `out/_shard_0`), of which the path alone would be `out`.
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
