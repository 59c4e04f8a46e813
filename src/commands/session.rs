//! The life of a run that writes, once for slice, filter and merge.
//!
//! Inputs are noted before they are opened. Outputs are written in staging folders; each is told to the manifest and to
//! the record of a run that may be resumed as soon as it is whole, and all take their places together. A dry run goes
//! the same way, but makes no folder, and prints a plan where the others write.

use std::path::{Path, PathBuf};
use std::slice::from_ref;
use std::time::Instant;

use anyhow::{Result, bail};
use serde_json::Value;
use tracing::{info, warn};

use crate::anndata::select::Selection;
use crate::cells::csv::{self, Table};
use crate::cells::{Obs, limit};
use crate::cli::{self, JoinRequest, Options, TableArgs};
use crate::extract::plan::{self, Budget};
use crate::extract::{self, Order, RowSource};
use crate::frame::unsound;
use crate::merge::joined::JoinedInputs;
use crate::output::manifest::{Facts, Label, Manifest};
use crate::output::{self, Outputs, Scratch};
use crate::permutation::Seed;
use crate::report::events;
use crate::report::progress::Progress;
use crate::report::terminal;
use crate::report::words::{count, thousands};
use crate::resources::{Need, ensure_room, format_size, size_on_disk};
use crate::store::{self, Group};

pub struct Session<'a> {
    pub options: &'a Options,
    outputs: Outputs,
    inputs: Vec<PathBuf>,
    /// What tells each input from others, and from itself at another time.
    pub fingerprints: Vec<u64>,
    /// The outputs, as they will be called.
    named: Vec<PathBuf>,
    /// Where each is written.
    staged: Vec<PathBuf>,
    /// The store that holds them all, where they are the datasets of a collection; and where it is written.
    collection: Option<PathBuf>,
    staged_collection: Option<PathBuf>,
    /// How many of them, from the first, are whole: an earlier run has kept them.
    whole: usize,
    manifest: Option<Manifest>,
    began: Instant,
    /// The same as text.
    started: String,
    /// What each output is of, where there is one for each part of the cells.
    labels: Vec<Label>,
    /// Shards of an earlier run that are there beside the outputs.
    older: Vec<PathBuf>,
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
    pub budget: Budget,
    /// A folder of this run's own.
    pub scratch: &'a Scratch,
}

/// Outputs that have taken their places.
pub struct Published {
    pub paths: Vec<PathBuf>,
    /// Bytes of the inputs.
    read: u64,
    /// Whether the outputs are without compression.
    plain: bool,
    /// Since the run began.
    pub seconds: f64,
}

impl<'a> Session<'a> {
    /// Notes what `inputs` are, before any is opened: `-` is standard input.
    pub fn begin(options: &'a Options, inputs: Vec<PathBuf>) -> Result<Session<'a>> {
        let began = Instant::now();
        let mut outputs = Outputs::new()?;
        Ok(Session {
            options,
            fingerprints: outputs.read_from(&inputs),
            outputs,
            inputs,
            named: vec![],
            staged: vec![],
            collection: None,
            staged_collection: None,
            whole: 0,
            manifest: None,
            began,
            started: terminal::now()?,
            labels: vec![],
            older: vec![],
        })
    }

    /// Opens the files whose rows are taken, as far as their elements are asked for: one as it is, several as one, of which
    /// all but the matrices is written to `scratch`.
    pub fn open(&self, join: &JoinRequest, scratch: &Scratch) -> Result<(Group, Selection)> {
        let elements = &self.options.elements;
        let Some(input) = join.one_file() else {
            let how = (self.options.access, elements);
            let genes = join.genes.as_ref();
            let inputs = JoinedInputs::look(&join.inputs, how, join.modes, &join.sources, genes)?;
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
            for column in csv::columns_of(path, join, columns)? {
                let table = Table {
                    path,
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
        for output in &outputs {
            output::refuse_overlap(output, &self.inputs)?;
        }
        self.named = outputs;
        Ok(())
    }

    /// Says the same of the datasets of a collection, which takes its place as one.
    pub fn name_collection(&mut self, collection: PathBuf, datasets: Vec<PathBuf>) -> Result<()> {
        output::refuse_overlap(&collection, &self.inputs)?;
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

    /// Looks for shards of an earlier run, called `prefix` and a number, or as the outputs are. They are removed when the
    /// outputs take their places if `clean` is set.
    pub fn find_older(&mut self, prefix: &Path, clean: bool) {
        self.older = output::older_shards(prefix, &self.named, self.options.container.format);
        if clean && !self.options.dry_run {
            self.older.iter().for_each(|path| self.outputs.remove(path));
        }
        self.tell_older(clean);
    }

    fn tell_older(&self, clean: bool) {
        let (Some(first), Some(last)) = (self.older.first(), self.older.last()) else {
            return;
        };
        let names = match self.older.len() {
            1 => first.display().to_string(),
            _ => format!("{} to {}", first.display(), last.display()),
        };
        let shards = count(self.older.len() as u64, "older shard");
        if clean {
            info!("--clean: {shards} of this prefix go with this run: {names}");
        } else {
            let remain = if self.older.len() == 1 {
                "remains"
            } else {
                "remain"
            };
            warn!(
                "{shards} of this prefix {remain}, which a pattern would merge too: {names}; --clean removes what a \
                 run does not replace"
            );
        }
    }

    /// Makes the staging folders of the outputs, once the inputs are known to be sound.
    ///
    /// # Errors
    /// What may not be replaced, and a manifest in the place of an input or output.
    pub fn stage(&mut self) -> Result<()> {
        if let Some(path) = &self.options.manifest {
            let files = self.inputs.iter().filter(|path| *path != Path::new("-"));
            let files: Vec<PathBuf> = files.cloned().collect();
            self.manifest = Some(Manifest::new(path, &files, &self.named)?);
        }
        let placed = self.collection.as_ref().map_or(&*self.named, from_ref);
        if self.options.dry_run {
            placed.iter().try_for_each(|path| output::check(path))?;
            self.staged = self.named.clone();
            return Ok(());
        }
        let asides = self.outputs.asides(placed)?;
        self.staged = match (&self.collection, asides.first()) {
            (Some(_), Some(aside)) => {
                store::begin_collection(aside)?;
                self.staged_collection = Some(aside.clone());
                let datasets = self.named.iter().filter_map(|path| path.file_name());
                datasets.map(|name| aside.join(name)).collect()
            }
            _ => asides,
        };
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
        let staging = self.staged.first().and_then(|path| path.parent());
        let parent = match (&self.options.scratch, staging) {
            (Some(folder), _) => folder.clone(),
            (None, Some(staging)) => staging.to_owned(),
            (None, None) => bail!("There is no output beside which to put scratch files"),
        };
        Ok(Scratch::below(parent))
    }

    /// From now on keeps finished outputs whose names begin with `prefix`, if the run ends early. Returns the identity
    /// of a run of theirs that did.
    pub fn keep_finished(&mut self, prefix: &Path) -> Result<Option<Value>> {
        self.outputs.resume(prefix)
    }

    /// Goes on where a run of the same `identity` ended. Returns how many outputs it has kept, from the first.
    pub fn resume(&mut self, identity: &Value) -> Result<usize> {
        let (before, all) = (self.outputs.kept(), self.outputs.count());
        self.whole = self.outputs.start(identity)?;
        match (before, self.whole) {
            (0, _) => {}
            (_, 0) => info!(
                "Resuming: none of {} is of this input and these options, all {} are written",
                count(before as u64, "kept shard"),
                thousands(all as u64)
            ),
            (_, whole) => info!(
                "Resuming: {} of {} are kept, {} are written",
                thousands(whole as u64),
                count(all as u64, "shard"),
                thousands((all - whole) as u64)
            ),
        }
        if let Some(manifest) = &self.manifest {
            let kept = self.staged.iter().take(self.whole);
            kept.for_each(|path| manifest.digests().begin(path));
        }
        Ok(self.whole)
    }

    /// Where the outputs are written that are not whole yet.
    fn staged(&self) -> &[PathBuf] {
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

    /// The memory for `rows` rows in another order than the file's. A limit below the least is a warning.
    fn any_order(&self, rows: u64) -> Budget {
        let (limit, threads) = (self.options.machine.memory, rayon::current_num_threads());
        if let Some(bytes) = self.options.block_bytes {
            return Budget::exactly(bytes);
        }
        let least = plan::least(rows, threads);
        if limit < least {
            warn!(
                "--memory-limit {} is too little for {} in another order; {}, the least, is used",
                format_size(limit),
                count(rows, "cell"),
                format_size(least)
            );
        }
        Budget::any_order(limit, rows, threads)
    }

    /// Writes the outputs that are not whole, or tells how that would be done.
    pub fn extract(&self, source: RowSource, task: Task) -> Result<()> {
        let quiet = self.options.quiet || self.options.dry_run;
        let ends = task.cuts.first().zip(task.cuts.last());
        let cells = ends.map_or(0, |(start, end)| end - start);
        let progress = Progress::new(task.what, cells, quiet, store::moved);
        let finished = |output: usize| self.finished(output);
        let request = extract::Request {
            cuts: task.cuts,
            order: task.order,
            outputs: self.staged().to_vec(),
            container: self.options.container,
            csr: self.options.csr,
            budget: task.budget,
            scratch: task.scratch,
            progress: &progress,
            verify: self.options.verify,
            finished: &finished,
        };
        if self.options.dry_run {
            let preview = extract::preview(&source, &request, &task.from)?;
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
        if let (Some(manifest), Some(path)) = (&self.manifest, self.staged().get(output)) {
            manifest.digests().begin(path);
        }
        self.outputs.finished(self.whole + output)
    }

    /// Puts all outputs in their places, and the manifest with them; `seed` is that of a shuffle. `None` in a dry run.
    pub fn publish(mut self, seed: Option<&Seed>) -> Result<Option<Published>> {
        if self.options.dry_run {
            return Ok(None);
        }
        if let Some(aside) = &self.staged_collection {
            store::end_collection(aside)?;
        }
        let written = self.written();
        if let Some(manifest) = self.manifest {
            let facts = Facts {
                seed,
                started: &self.started,
                seconds: self.began.elapsed().as_secs_f64(),
                labels: &self.labels,
            };
            manifest.write(&mut self.outputs, &written, &facts)?;
        }
        let mut paths = self.outputs.publish()?;
        paths.truncate(if self.collection.is_some() {
            1
        } else {
            self.named.len()
        });
        paths.iter().for_each(|path| events::output(path));
        Ok(Some(Published {
            read: bytes_of(&self.inputs),
            plain: self.options.container.is_plain(),
            paths,
            seconds: self.began.elapsed().as_secs_f64(),
        }))
    }
}

/// Bytes of files and stores, together.
fn bytes_of(paths: &[PathBuf]) -> u64 {
    let sizes = paths.iter().filter_map(|path| size_on_disk(path).ok());
    sizes.fold(0, u64::saturating_add)
}

impl Published {
    /// Says how much larger outputs without compression are than the inputs, of whose cells they hold this `share`.
    pub fn tell_growth(&self, share: f64) {
        /// Outputs smaller than that are mostly what is in every file.
        const LEAST: u64 = 1 << 20;
        let expected = (self.read as f64 * share) as u64;
        let written = bytes_of(&self.paths);
        if self.plain && written >= LEAST && written / 2 > expected {
            let [written, expected] = [written, expected].map(format_size);
            info!(
                "Without compression: {written} from {expected}; --compression gzip writes about {expected}"
            );
        }
    }

    /// The first and the last output, each with its size, as in `a (1.0 GB) to b (0.5 GB)`.
    pub fn ends(&self) -> String {
        let told = |path: &PathBuf| {
            let size = size_on_disk(path).unwrap_or(0);
            format!("{} ({})", path.display(), format_size(size))
        };
        match (self.paths.first(), self.paths.last()) {
            (Some(first), Some(last)) if first != last => {
                format!("{} to {}", told(first), told(last))
            }
            (first, _) => first.map(told).unwrap_or_default(),
        }
    }

    /// Bytes of the outputs.
    pub fn bytes(&self) -> u64 {
        bytes_of(&self.paths)
    }
}
