//! Parts of a run that are written by processes of their own, on any machine that sees the folder of the outputs.
//!
//! Each part is a run that may be resumed, of some of the outputs, in a hidden folder of its own; it ends its record
//! instead of publishing. Whoever finishes the run takes over all folders and publishes what is in them together.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::kept::Kept;
use super::leftovers::kept_name;
use super::paths::check_replaceable;
use super::place::Output;
use super::staging::StagingFolder;
use super::{Outputs, resolve, split_prefix};
use crate::limits;
use crate::report::failure::{Failure, Kind};
use crate::resources;
use crate::store;

/// One of so many parts of a run, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunPart {
    pub number: u64,
    pub of: u64,
    pub kind: PartKind,
}

/// What a part writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
    /// Outputs of the run.
    Outputs,
    /// Buckets, from which others make outputs.
    Buckets,
}

/// The parts of a run that are there.
pub struct RunParts {
    prefix: PathBuf,
    pub of: u64,
    /// By number.
    found: Vec<(RunPart, Kept)>,
}

impl PartKind {
    /// The word in the names of folders.
    fn word(self) -> &'static str {
        match self {
            PartKind::Outputs => "part",
            PartKind::Buckets => "scatter",
        }
    }
}

impl RunPart {
    /// What it is called in the name of its folder, before that of the prefix.
    fn name(self, prefix: &OsStr) -> OsString {
        let RunPart { number, of, kind } = self;
        let mut name = OsString::from(format!("{}-{number}-of-{of}.", kind.word()));
        name.push(prefix);
        name
    }

    /// The same part, as one that writes buckets.
    pub fn of_buckets(self) -> RunPart {
        let kind = PartKind::Buckets;
        RunPart { kind, ..self }
    }

    /// The part of that kind whose folder for outputs of `prefix` is called so.
    fn of_folder(folder: &OsStr, prefix: &OsStr, kind: PartKind) -> Option<RunPart> {
        let name = folder
            .to_str()?
            .strip_prefix('.')?
            .strip_prefix(kind.word())?;
        let numbers = name.strip_prefix('-')?.split_once('.')?.0;
        let (number, of) = numbers.split_once("-of-")?;
        let part = RunPart {
            number: number.parse().ok()?,
            of: of.parse().ok()?,
            kind,
        };
        let is_one = (1..=part.of).contains(&part.number) && part.of <= limits::PARTS;
        (is_one && kept_name(&part.name(prefix)) == folder).then_some(part)
    }

    /// For a message.
    fn what(self, prefix: &Path) -> String {
        let what = match self.kind {
            PartKind::Outputs => "part",
            PartKind::Buckets => "the buckets of part",
        };
        let RunPart { number, of, .. } = self;
        format!("{what} {number} of {of} of {}", prefix.display())
    }

    /// Its outputs, where those of each part begin at `starts`, and those of the last end.
    pub fn outputs(self, starts: &[usize]) -> Range<usize> {
        let at = self.number as usize;
        starts[at - 1]..starts[at]
    }

    /// What this part writes of the one output at `path`, beside it: no two parts write the same.
    pub fn portion_of(self, path: &Path) -> PathBuf {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".part-{}-of-{}", self.number, self.of));
        path.with_file_name(name)
    }

    /// Whether it is whole, as part of a run that `is_run` knows by what it calls itself.
    pub fn is_whole(self, prefix: &Path, is_run: impl Fn(&Value) -> bool) -> Result<bool> {
        let (parent, name) = split_prefix(prefix)?;
        let kept = Kept::read(&parent.join(kept_name(&self.name(&name))));
        Ok(kept.run.as_ref().is_some_and(is_run) && kept.is_whole())
    }
}

/// `3,7-9`, as schedulers take it for the tasks of an array.
pub fn index(numbers: &[u64]) -> String {
    let mut runs: Vec<(u64, u64)> = vec![];
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let texts = runs.into_iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        _ => format!("{first}-{last}"),
    });
    texts.collect::<Vec<_>>().join(",")
}

impl RunParts {
    /// Those of outputs that begin with `prefix`, if there are any.
    ///
    /// # Errors
    /// Parts of runs with different numbers of them.
    pub fn find(prefix: &Path, kind: PartKind) -> Result<Option<RunParts>> {
        let (parent, name) = split_prefix(prefix)?;
        let entries = fs::read_dir(&parent).into_iter().flatten().flatten();
        let parts = entries.filter_map(|entry| RunPart::of_folder(&entry.file_name(), &name, kind));
        let mut parts: Vec<RunPart> = parts.collect();
        parts.sort_by_key(|part| (part.of, part.number));
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
            return Ok(None);
        };
        ensure!(
            first.of == last.of,
            "There are parts of {} for {} tasks and for {}; remove the folders of one run, such as {}",
            prefix.display(),
            first.of,
            last.of,
            parent.join(kept_name(&first.name(&name))).display()
        );
        let read = |part: RunPart| (part, Kept::read(&parent.join(kept_name(&part.name(&name)))));
        Ok(Some(RunParts {
            prefix: prefix.to_owned(),
            of: first.of,
            found: parts.into_iter().map(read).collect(),
        }))
    }

    /// The error where there are none.
    pub fn none(prefix: &Path) -> Failure {
        let prefix = prefix.display();
        let what = format!(
            "There are no parts of {prefix}; run them first, with --part 1/N to --part N/N"
        );
        Failure(Kind::Missing, what)
    }

    /// What each that has begun calls its run, with its number.
    pub fn runs(&self) -> impl Iterator<Item = (u64, &Value)> {
        let found = self.found.iter();
        found.filter_map(|(part, kept)| Some((part.number, kept.run.as_ref()?)))
    }

    /// The numbers of those that have outputs to write, and have not written them all.
    pub fn missing(&self) -> Vec<u64> {
        let whole = self.found.iter().filter(|(_, kept)| kept.is_whole());
        let whole: Vec<u64> = whole.map(|(part, _)| part.number).collect();
        let all = 1..=self.of;
        let is_missing = |number: &u64| !whole.contains(number) && !self.is_empty(*number);
        all.filter(is_missing).collect()
    }

    /// Whether a part has no outputs, as any part that is whole tells. Then it need not have run: there may be more
    /// parts than outputs.
    fn is_empty(&self, number: u64) -> bool {
        let mut ends = self.found.iter().filter_map(|(_, kept)| kept.end.as_ref());
        let starts = ends.find_map(|end| end.get("starts")?.as_array());
        let at = |place: u64| starts.and_then(|starts| starts.get(place as usize));
        starts.is_some() && at(number - 1) == at(number)
    }

    /// What is told at the end of the record of each that is whole, with its number and its folder.
    pub fn ends(&self) -> impl Iterator<Item = (u64, &Path, &Value)> {
        let whole = self.found.iter().filter(|(_, kept)| kept.is_whole());
        whole.filter_map(|(part, kept)| Some((part.number, kept.folder(), kept.end.as_ref()?)))
    }

    /// What is told of each output at the ends of all parts, in the order of the outputs.
    pub fn outputs(&self) -> Vec<Value> {
        let ends = self.found.iter().filter_map(|(_, kept)| kept.end.as_ref());
        let lists = ends.filter_map(|end| end.get("outputs")?.as_array());
        lists.flatten().cloned().collect()
    }
}

impl Outputs {
    /// As [`Outputs::resume`], of one part of a run.
    pub fn resume_part(&mut self, prefix: &Path, part: RunPart) -> Result<Option<Value>> {
        let (parent, name) = split_prefix(prefix)?;
        let what = part.what(prefix);
        self.keep(&parent, &part.name(&name), &what)
    }

    /// Ends a part, all outputs of which are whole: they stay where they are, for whoever finishes the run.
    ///
    /// # Errors
    /// A disk that fails, an input that has changed since the part began, another run that writes the same outputs.
    pub fn end_part(mut self, end: &Value) -> Result<()> {
        self.inputs.iter().try_for_each(|input| input.check())?;
        self.check_claims()?;
        let Some(kept) = self.kept.take() else {
            return Ok(());
        };
        let mut kept = kept.into_inner();
        // A part is found by its folder beside the prefix, so its outputs must be in there.
        let out = self
            .outputs
            .iter()
            .find(|output| !kept.is_home_of(&output.staged));
        if let Some(output) = out {
            bail!(
                "Output {} is a link to another folder, where no part can be kept; remove it",
                output.shown.display()
            );
        }
        kept.write_end(end)
            .with_context(|| format!("Write the record in {}", kept.folder().display()))?;
        self.staging.iter().for_each(|folder| kept.tell(folder));
        Ok(())
    }

    /// Takes over the outputs of all parts, all of which are whole.
    ///
    /// # Errors
    /// A part that is being written, or has changed; a path that may not be replaced.
    pub fn take(&mut self, parts: &RunParts) -> Result<()> {
        let (parent, _) = split_prefix(&parts.prefix)?;
        for (folder, kept) in self.claim_parts(parts)? {
            for name in kept.names() {
                let (shown, place) = (parts.prefix.with_file_name(name), parent.join(name));
                ensure!(
                    resolve(&shown)? == place,
                    "Output {} is a link to another place; remove it",
                    shown.display()
                );
                check_replaceable(&shown, &place)?;
                let mut output = Output::new(&shown, place, folder.join(name));
                output.stands = kept.holds(name, &output.place);
                self.outputs.push(output);
            }
        }
        self.claim_taken(&parts.prefix)
    }

    /// Takes over all parts of the one output, all of which are whole: they go when it is published. Returns the stores
    /// that they have written.
    ///
    /// # Errors
    /// A part that is being written, or has changed.
    pub fn take_portions(&mut self, parts: &RunParts) -> Result<Vec<PathBuf>> {
        // First the folder of the output itself, which the one for all that is written there is.
        self.staging_in(&split_prefix(&parts.prefix)?.0)?;
        let claimed = self.claim_parts(parts)?.into_iter();
        let stores = claimed.flat_map(|(folder, kept)| {
            let stores = kept.names().map(|name| folder.join(name));
            stores.collect::<Vec<_>>()
        });
        Ok(stores.collect())
    }

    /// Claims the folders of all parts, and looks at what is in them once more.
    fn claim_parts(&mut self, parts: &RunParts) -> Result<Vec<(PathBuf, Kept)>> {
        let (parent, name) = split_prefix(&parts.prefix)?;
        resources::allow_files(parts.of);
        let mut claimed = vec![];
        for (part, seen) in &parts.found {
            let what = part.what(&parts.prefix);
            let folder = StagingFolder::claim_kept(&parent, &part.name(&name), &what)?;
            let kept = Kept::read(&folder.path);
            ensure!(
                kept.is_whole() && kept.end == seen.end,
                "Another program has changed {what} in {}; finish again",
                folder.path.display()
            );
            kept.tell(&folder);
            claimed.push((folder.path.clone(), kept));
            self.staging.push(folder);
        }
        Ok(claimed)
    }

    /// Removes the folders of parts as soon as all outputs stand in their places.
    pub fn remove_parts(&mut self, parts: &RunParts) -> Result<()> {
        let (parent, name) = split_prefix(&parts.prefix)?;
        resources::allow_files(2 * parts.of);
        for (part, kept) in &parts.found {
            let what = part.what(&parts.prefix);
            let folder = StagingFolder::claim_kept(&parent, &part.name(&name), &what)?;
            kept.tell(&folder);
            self.staging.push(folder);
        }
        Ok(())
    }

    /// Claims the names of what was taken over.
    fn claim_taken(&self, prefix: &Path) -> Result<()> {
        let (parent, _) = split_prefix(prefix)?;
        let names = self.outputs.iter();
        let names = names.filter_map(|output| output.staged.file_name());
        let names = names.map(OsStr::to_owned).collect();
        self.claim_names(&parent, names, prefix)
    }
}

/// Puts the chunks of one Zarr store into another, at the same places: as links to the same files where the file system
/// has such, else as copies.
///
/// # Errors
/// A chunk that is there already.
pub fn link_into(store: &Path, into: &Path) -> Result<()> {
    for entry in fs::read_dir(store)? {
        let from = entry?.path();
        let name = from.file_name().unwrap_or_default();
        let to = into.join(name);
        if from.is_dir() {
            fs::create_dir_all(&to)?;
            link_into(&from, &to)?;
        } else if !store::is_zarr_metadata(name) {
            ensure!(!to.exists(), "{} is there twice", to.display());
            if fs::hard_link(&from, &to).is_err() {
                fs::copy(&from, &to)
                    .with_context(|| format!("Copy {} to {}", from.display(), to.display()))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_an_index_of_an_array() {
        assert_eq!(index(&[3, 7, 8, 9, 11, 12]), "3,7-9,11-12");
        assert_eq!(index(&[1]), "1");
        assert_eq!(index(&[]), "");
    }

    #[test]
    fn a_folder_tells_which_part_of_which_prefix_it_is_of() {
        let kind = PartKind::Buckets;
        let part = RunPart {
            number: 3,
            of: 12,
            kind,
        };
        for prefix in ["p", "part-1-of-2.p", &"long".repeat(63)] {
            let prefix = OsStr::new(prefix);
            let folder = kept_name(&part.name(prefix));
            assert_eq!(RunPart::of_folder(&folder, prefix, kind), Some(part));
            assert_eq!(RunPart::of_folder(&folder, OsStr::new("q"), kind), None);
        }
        assert_eq!(
            RunPart::of_folder(OsStr::new(".p.annslicer-resume"), OsStr::new("p"), kind),
            None
        );
    }
}
