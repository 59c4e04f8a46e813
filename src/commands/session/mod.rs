//! The life of a run that writes, once for slice, filter and merge.
//!
//! Inputs are noted before they are opened. Outputs are written in staging folders; each is told to the manifest and to
//! the record of a run that may be resumed as soon as it is whole, and all take their places together. A dry run goes
//! the same way, but makes no folder, and prints a plan where the others write.

mod older;
mod part_of_run;
mod published;
mod resumed;

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::slice::from_ref;
use std::time::Instant;

use anyhow::{Result, bail};

pub use self::published::Published;
use self::published::bytes_of;
use crate::anndata::select::Selection;
use crate::cells::csv::{self, Table};
use crate::cells::{Obs, limit};
use crate::cli::{self, JoinRequest, Options, TableArgs};
use crate::extract::plan::Budget;
use crate::extract::{self, Order, Source};
use crate::frame::unsound;
use crate::merge::joined::{InputRead, JoinedInputs};
use crate::output::digest::Digests;
use crate::output::manifest::{Facts, Label, Manifest};
use crate::output::run_parts::RunPart;
use crate::output::{self, Kept, Outputs, Scratch};
use crate::permutation::Seed;
use crate::report::events;
use crate::report::preview::Stages;
use crate::report::progress::Progress;
use crate::report::terminal;
use crate::resources::{Need, ensure_room};
use crate::store::{self, Container, Group, Portion};

pub struct Session<'a> {
    pub options: &'a Options,
    outputs: Outputs,
    inputs: Vec<PathBuf>,
    /// Those whose cells are taken as they were typed, patterns among them.
    typed: &'a [PathBuf],
    /// What tells each input from others, and from itself at another time.
    pub fingerprints: Vec<u64>,
    /// The outputs, as they will be called.
    named: Vec<PathBuf>,
    /// Where each is written.
    staged: Vec<PathBuf>,
    /// The store that holds them all, where they are the datasets of a collection; and where it is written.
    collection: Option<PathBuf>,
    staged_collection: Option<PathBuf>,
    /// The part of the run that this is, and which outputs are its own. Of a task that scatters they are its buckets.
    part: Option<(RunPart, Range<usize>)>,
    /// How many of those that are written, from the first, are whole: an earlier run has kept them.
    whole: usize,
    /// What it has kept, in a dry run.
    looked_at: Option<Kept>,
    manifest: Option<Manifest>,
    /// Of outputs that are whole.
    digests: Option<Digests>,
    /// Those of outputs that other processes have written.
    known: HashMap<PathBuf, String>,
    began: Instant,
    /// The same as text.
    started: String,
    /// What each output is of, where there is one for each part of the cells.
    labels: Vec<Label>,
    /// Shards of an earlier run that are there beside the outputs.
    older: Vec<PathBuf>,
    /// Stores that other processes have written, whose chunks are those of the output.
    portions: Vec<PathBuf>,
}

/// Rows that are to be written.
pub struct Task<'a> {
    /// As in "Slicing".
    pub what: &'a str,
    /// What the source is called.
    pub from: String,
    pub order: Order,
    /// Where each output begins in the order, and the end of the last.
    pub cuts: Vec<u64>,
    /// Where waves end, where outputs are buckets.
    pub waves: Option<Vec<u64>>,
    /// For a dry run of a part. What is advised there: one stage or two.
    pub stages: Option<Stages>,
    pub budget: Budget,
    /// A folder of this run's own.
    pub scratch: &'a Scratch,
    /// What this process writes, where several write the one output.
    pub portion: Option<Portion>,
}

impl<'a> Session<'a> {
    /// Notes what `inputs` are, before any is opened: `-` is standard input. Those of `join` are among them.
    pub fn begin(
        options: &'a Options,
        join: &'a JoinRequest,
        inputs: Vec<PathBuf>,
    ) -> Result<Session<'a>> {
        let began = Instant::now();
        let mut outputs = Outputs::new()?;
        Ok(Session {
            options,
            fingerprints: outputs.read_from(&inputs),
            outputs,
            inputs,
            typed: &join.typed,
            named: vec![],
            staged: vec![],
            collection: None,
            staged_collection: None,
            part: None,
            whole: 0,
            looked_at: None,
            manifest: None,
            digests: None,
            known: HashMap::new(),
            began,
            started: terminal::now()?,
            labels: vec![],
            older: vec![],
            portions: vec![],
        })
    }

    /// Opens the files whose rows are taken, as far as their elements are asked for: one as it is, several as one, of which
    /// all but the matrices is written to `scratch`. In what is opened are also `columns` of obs that are not taken.
    pub fn open(
        &self,
        join: &JoinRequest,
        columns: &[&str],
        scratch: &Scratch,
    ) -> Result<(Group, Selection)> {
        let elements = &self.options.elements;
        // Several files, or one whose genes or keys are asked for: merge makes one source of them.
        let Some(input) = join.one_file() else {
            let inputs = self.look(join, columns)?;
            // Obs, var and `uns` of all inputs together are written before anything else.
            ensure_room(&[Need {
                bytes: inputs.bytes_beside(),
                folder: scratch.parent().to_owned(),
                what: "Scratch files need (see --tmpdir)",
            }])?;
            return inputs.select(&scratch.folder()?);
        };
        let root = store::open(input, &self.options.access)?;
        let taken = elements.of(&root)?;
        elements.check_used()?;
        let selection = Selection::of(&taken)?;
        selection.warn_unlisted();
        unsound::warn(&taken)?;
        Ok((root, selection))
    }

    /// Looks at several inputs, with `columns` of obs that are not taken too.
    pub fn look<'j>(&self, join: &'j JoinRequest, columns: &[&str]) -> Result<JoinedInputs<'j>> {
        let read = InputRead {
            access: self.options.access,
            elements: &self.options.elements,
            columns,
        };
        let genes = join.genes.as_ref();
        JoinedInputs::look(&join.inputs, &read, join.modes, &join.keys, genes)
    }

    /// The obs of that file. Those of `columns` that a table has become columns of what is selected, and what has too
    /// many categories plain values.
    pub fn obs(
        &self,
        root: &Group,
        selection: &mut Selection,
        table: &TableArgs,
        columns: &[&str],
        scratch: &Scratch,
    ) -> Result<Obs> {
        let mut obs = Obs::open(root)?;
        if let Some(path) = &table.csv_file {
            let join = table.join_column.as_deref();
            let bytes = csv::readable(path, scratch)?;
            // The table is read once for each of its columns that is needed: only one is held at a time.
            for column in csv::columns_of((path, &bytes), join, columns)? {
                let table = Table {
                    path,
                    bytes: &bytes,
                    column,
                    join,
                    memory: self.options.machine.memory,
                };
                selection.set_column(column, &csv::join(&mut obs, &table, scratch)?)?;
            }
        }
        let kept = (!self.options.dry_run).then_some(scratch);
        let (most, texts) = (
            self.options.max_categories,
            self.options.elements.plain_strings(),
        );
        limit::categories(&obs, selection, most, texts, kept)?;
        Ok(obs)
    }

    /// Says what the outputs are, as soon as that is known.
    ///
    /// # Errors
    /// One that is an input.
    pub fn name(&mut self, outputs: Vec<PathBuf>) -> Result<()> {
        output::refuse_overlap(&outputs, &self.inputs, self.typed)?;
        self.named = outputs;
        Ok(())
    }

    /// Says the same of the datasets of a collection, which takes its place as one.
    pub fn name_collection(&mut self, collection: PathBuf, datasets: Vec<PathBuf>) -> Result<()> {
        output::refuse_overlap(from_ref(&collection), &self.inputs, self.typed)?;
        self.collection = Some(collection);
        self.named = datasets;
        Ok(())
    }

    /// Claims the output at `path`, or all whose names begin with it, before it is known what they will be: another
    /// run of the same outputs stops at once.
    pub fn claim(&mut self, path: &Path) -> Result<()> {
        if self.options.dry_run {
            Ok(())
        } else {
            self.outputs.claim(path)
        }
    }

    /// Says what each output is of.
    pub fn label(&mut self, labels: Vec<Label>) {
        self.labels = labels;
    }

    /// Makes the staging folders of the outputs, once the inputs are known to be sound.
    ///
    /// # Errors
    /// What may not be replaced, and a manifest in the place of an input or output.
    pub fn stage(&mut self) -> Result<()> {
        if self.part.is_none() {
            self.begin_manifest()?;
        }
        // Outputs are digested while others are written.
        if self.options.manifest.is_some() {
            self.digests = Some(Digests::new());
        }
        let own = match &self.part {
            Some((_, own)) => &self.named[own.clone()],
            None => &self.named,
        };
        let placed = self.collection.as_ref().map_or(own, from_ref);
        if self.options.dry_run {
            placed.iter().try_for_each(|path| output::check(path))?;
            self.staged = own.to_vec();
            return Ok(());
        }
        // A collection is staged as one store, in which each dataset has its final name.
        let staged = self.outputs.stage_all(placed)?;
        self.staged = match (&self.collection, staged.first()) {
            (Some(_), Some(store)) => {
                store::begin_collection(store)?;
                self.staged_collection = Some(store.clone());
                let datasets = self.named.iter().filter_map(|path| path.file_name());
                datasets.map(|name| store.join(name)).collect()
            }
            _ => staged,
        };
        Ok(())
    }

    /// Notes the inputs for the manifest, if there is to be one.
    pub fn begin_manifest(&mut self) -> Result<()> {
        if let Some(path) = &self.options.manifest {
            // Standard input has no size and time.
            let files = self.inputs.iter().filter(|path| *path != Path::new("-"));
            let files: Vec<PathBuf> = files.cloned().collect();
            self.manifest = Some(Manifest::new(path, &files, &self.named)?);
        }
        Ok(())
    }

    /// The path of each output, and where it is now.
    fn written(&self) -> Vec<(PathBuf, PathBuf)> {
        if self.staged_collection.is_some() {
            return self
                .named
                .iter()
                .cloned()
                .zip(self.staged.iter().cloned())
                .collect();
        }
        let written = self.outputs.written();
        written
            .map(|(path, now)| (path.to_owned(), now.to_owned()))
            .collect()
    }

    /// A folder of this run's own for scratch files, which is made when it is needed.
    pub fn scratch(&self) -> Result<Scratch> {
        // Of a merge it is in the staging folder, on the disk that the output will need anyhow; slice and filter have
        // --tmpdir, or the system's folder.
        let staging = self.staged.first().and_then(|path| path.parent());
        let parent = match (&self.options.scratch, staging) {
            (Some(folder), _) => folder.clone(),
            (None, Some(staging)) => staging.to_owned(),
            (None, None) => bail!("There is no output beside which to put scratch files"),
        };
        Ok(Scratch::below(parent))
    }

    /// Where the outputs are written that are not whole yet.
    fn unfinished(&self) -> &[PathBuf] {
        self.staged.get(self.whole..).unwrap_or_default()
    }

    /// The memory for rows that are read in the order of the file.
    pub fn in_order(&self) -> Budget {
        let budget = || Budget::sequential(self.options.machine.memory);
        self.options
            .block_bytes
            .map_or_else(budget, Budget::exactly)
    }

    /// The memory for rows in this order.
    pub fn budget(&self, order: &Order) -> Budget {
        match order {
            Order::AsIs | Order::Sorted(_) => self.in_order(),
            Order::Cells(cells) => self.any_order(cells.len() as u64),
        }
    }

    /// The memory for `rows` rows in another order than the file's.
    pub fn any_order(&self, rows: u64) -> Budget {
        let (limit, threads) = (self.options.machine.memory, rayon::current_num_threads());
        if let Some(bytes) = self.options.block_bytes {
            return Budget::exactly(bytes);
        }
        Budget::any_order(limit, rows, threads)
    }

    /// Writes the outputs that are not whole, or tells how that would be done.
    pub fn extract(&self, source: Source, task: Task) -> Result<()> {
        let quiet = self.options.quiet || self.options.dry_run;
        let ends = task.cuts.first().zip(task.cuts.last());
        let cells = ends.map_or(0, |(start, end)| end - start);
        let progress = Progress::new(task.what, cells, quiet, store::moved);
        let finished = |output: usize| self.finished(output);
        let of_buckets = task.waves.is_some();
        let request = extract::Request {
            cuts: task.cuts,
            waves: task.waves,
            order: task.order,
            outputs: self.unfinished().to_vec(),
            alone: self.named.len() == 1,
            // Buckets are read back by row, once, and then removed: as plain as can be.
            container: if of_buckets {
                Container::H5AD
            } else {
                self.options.container
            },
            csr: self.options.csr && !of_buckets,
            budget: task.budget,
            scratch: task.scratch,
            portion: task.portion,
            progress: &progress,
            verify: self.options.verify,
            finished: &finished,
        };
        if self.options.dry_run {
            let mut preview = extract::preview(&source, &request, &task.from)?;
            preview.stages = task.stages;
            preview.kept = self.whole as u64;
            if self.options.json {
                cli::print_json(&preview.json())
            } else {
                cli::print_text(&preview.text())
            }
        } else {
            extract::run(source, &request)
        }
    }

    /// Notes that an output is whole; `output` counts those of [`Session::staged`].
    fn finished(&self, output: usize) -> Result<()> {
        if let Some(path) = self.unfinished().get(output) {
            // Only now are its metadata whole: the chunks that the parts wrote are put beside them.
            let mut portions = self.portions.iter();
            portions.try_for_each(|store| output::link_into(store, path))?;
        }
        if let (Some(digests), Some(path)) = (&self.digests, self.unfinished().get(output)) {
            digests.begin(path);
        }
        self.outputs.finished(self.whole + output)
    }

    /// Puts all outputs in their places, and the manifest with them; `seed` is that of a shuffle. `None` in a dry run.
    pub fn publish(mut self, seed: Option<&Seed>) -> Result<Option<Published>> {
        if self.options.dry_run {
            return Ok(None);
        }
        if let Some(store) = &self.staged_collection {
            store::end_collection(store)?;
        }
        let written = self.written();
        if let Some(manifest) = self.manifest {
            let facts = Facts {
                seed,
                started: &self.started,
                seconds: self.began.elapsed().as_secs_f64(),
                labels: &self.labels,
            };
            let digests = self.digests.map_or(Ok(HashMap::new()), Digests::finish)?;
            let digests = self.known.into_iter().chain(digests).collect();
            manifest.write(&mut self.outputs, &written, &digests, &facts)?;
        }
        let mut paths = self.outputs.publish()?;
        // Without the manifest, which was staged last.
        paths.truncate(if self.collection.is_some() {
            1
        } else {
            self.named.len()
        });
        paths.iter().for_each(|path| events::output(path));
        Ok(Some(Published {
            read: bytes_of(&self.inputs),
            plain: self.options.container.is_plain() && !self.options.container.is_virtual,
            count: self.named.len() as u64,
            paths,
            seconds: self.began.elapsed().as_secs_f64(),
        }))
    }
}
