//! The engine behind slice, filter and merge: rows of a source into outputs, wave by wave.
//!
//! Several inputs are one source to it; [`joined`] says how they go into one output, in their order.
//!
//! The rows of all outputs form one long sequence. A wave is a part of it that fits the memory budget: its rows are
//! read in the order of the file, once each, then handed to the outputs in the order of the sequence. A wave may
//! hold many outputs, or a part of one. A few outputs are open at a time.

mod approach;
pub mod buckets;
mod joined;
#[cfg(test)]
mod model;
mod needs;
mod order;
mod output;
pub mod plan;
pub mod sizes;
mod turn;
mod unpack;
mod waves;

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rayon::prelude::*;
use tracing::{debug, info};

use self::approach::Approach;
pub use self::order::{Order, Wave};
use self::output::{OutputFile, Template};
use self::plan::Budget;
use crate::anndata::select::Selection;
use crate::merge::joined::JoinedInputs;
use crate::output::{Scratch, place_of};
use crate::report::failure::in_element;
use crate::report::preview::Preview;
use crate::report::progress::Progress;
use crate::report::words::count;
use crate::resources::{self, Need, ensure_room, format_size};
use crate::rows::block::{Block, CellColumns};
use crate::rows::cellset::CellSet;
use crate::rows::csc::Swept;
use crate::rows::group::{LeafGroup, groups};
use crate::rows::leaf::Leaf;
use crate::rows::sparsity::Sharing;
use crate::rows::targets::Targets;
use crate::rows::writer::LeafWriter;
use crate::store::{Container, Portion};

/// Which rows go where.
pub struct Request<'a> {
    pub order: Order,
    /// Where each output begins in the order, and the end of the last. What stands before the first is in no output.
    pub cuts: Vec<u64>,
    /// Where in the order each wave ends, if that is settled: each is of rows that lie together, so that nothing is
    /// decoded twice.
    pub waves: Option<Vec<u64>>,
    /// Where each output is written.
    pub outputs: Vec<PathBuf>,
    /// Whether the run has one output in all, those that are whole already and those of other parts included.
    pub alone: bool,
    pub container: Container,
    /// Whether CSC matrices come out as CSR ones.
    pub csr: bool,
    pub budget: Budget,
    /// A folder of this run's own.
    pub scratch: &'a Scratch,
    pub progress: &'a Progress,
    /// Which part of the matrices is written, where several processes write the one output of joined inputs.
    pub portion: Option<Portion>,
    /// Read each output back when it is written.
    pub verify: bool,
    /// Called with the number of each output that is whole.
    pub finished: &'a dyn Fn(usize) -> Result<()>,
}

/// Where rows come from.
pub enum Source<'a> {
    File(&'a mut Selection),
    Joined(Box<JoinedInputs<'a>>),
}

/// Writes the outputs.
pub fn run(source: Source, request: &Request) -> Result<()> {
    if request.outputs.is_empty() {
        return Ok(());
    }
    let mut needs = vec![];
    let done = match source {
        Source::File(selection) => run_file(selection, request, &mut needs),
        Source::Joined(inputs) => joined::run(*inputs, request, &mut needs),
    };
    done.map_err(|e| resources::explain(e, &needs))
}

/// What [`run`] would do of `from`. Writes nothing.
pub fn preview(source: &Source, request: &Request, from: &str) -> Result<Preview> {
    match source {
        Source::File(selection) => approach::preview(selection, request, from),
        Source::Joined(inputs) => joined::preview(inputs, request, from),
    }
}

/// Writes the outputs of one file; `needs` as for [`joined::run`].
fn run_file(selection: &mut Selection, request: &Request, needs: &mut Vec<Need>) -> Result<()> {
    let engine = Engine::new(selection, request, needs)?;
    match request.order {
        Order::AsIs => engine.stream(),
        Order::Cells(_) | Order::Sorted(_) => engine.run_waves(),
    }
}

struct Engine<'a> {
    selection: &'a Selection,
    request: &'a Request<'a>,
    approach: Approach,
    template: Option<Template>,
    groups: Vec<LeafGroup<'a>>,
    /// The CSC matrices, each with its path.
    swept: Vec<(&'a str, Swept<'a>)>,
}

/// An output that takes rows.
struct OpenOutput {
    /// Its number.
    output: usize,
    file: OutputFile,
    /// Of each leaf.
    writers: Vec<LeafWriter>,
    /// Where its cells are columns, in matrices of cells by cells.
    columns: Option<CellColumns>,
}

impl OpenOutput {
    /// Calls `append` for each of the groups of leaves, with what writes them, and the columns.
    fn each_group(
        &mut self,
        groups: &[LeafGroup],
        append: impl Fn(&LeafGroup, &mut [&mut LeafWriter], Option<&CellColumns>) -> Result<()>,
    ) -> Result<()> {
        let mut left: Vec<_> = self.writers.iter_mut().map(Some).collect();
        groups.iter().try_for_each(|group| {
            let members = group.members.iter();
            let mut theirs: Vec<_> = members.filter_map(|at| left[*at].take()).collect();
            append(group, &mut theirs, self.columns.as_ref())
        })
    }
}

/// The blocks of a wave that holds all rows of an output, and which of the rows these are.
type Whole<'a> = (&'a [Block], &'a [u32]);

impl<'a> Engine<'a> {
    fn new(
        selection: &'a mut Selection,
        request: &'a Request<'a>,
        needs: &mut Vec<Need>,
    ) -> Result<Engine<'a>> {
        if request.csr {
            turn::run(selection, request, needs)?;
        }
        let approach = Approach::of(selection, request)?;
        let span = request.span();
        let total = span.end - span.start;
        // CSC matrices were turned first, as they are leaves from then on. The template is written before room on disk
        // is looked at, since each output takes as much.
        let memory = approach.memory(selection, request);
        log_plan(request, total, (approach.at_once, memory));
        let template = Template::write(request, |root| selection.write_skeleton(root))?;
        let common = template.as_ref().map_or(Ok(0), Template::bytes)?;
        needs.push(needs::of_outputs(selection, request, common)?);
        needs.push(needs::of_scratch(selection, request, &approach));
        ensure_room(needs)?;
        if approach.unpacks {
            unpack::run(&mut selection.leaves, &approach.costs, request.scratch)?;
        }
        for leaf in &selection.leaves {
            debug!("'{}': {}", leaf.path, leaf.storage());
        }
        let mut engine = Engine {
            groups: groups(&selection.leaves, Sharing::into(&request.container)),
            selection,
            request,
            approach,
            template,
            swept: vec![],
        };
        engine.swept = engine.sweep()?;
        Ok(engine)
    }

    /// Rows in the order of the file go straight to their outputs.
    fn stream(&self) -> Result<()> {
        // Of what is decoded, the chunk in which one output ends is kept for the next.
        let decodes = self.leaves().iter().any(Leaf::is_chunked);
        let together = if decodes { 1 } else { self.together() };
        let cuts = &self.request.cuts;
        let outputs: Vec<usize> = (0..cuts.len() - 1).collect();
        for batch in outputs.chunks(together) {
            let opened = batch.iter().map(|&output| self.open(output, None));
            let mut opened = opened.collect::<Result<Vec<_>>>()?;
            let (first, last) = (batch[0], batch[batch.len() - 1]);
            self.begin_step(cuts[last + 1] - cuts[first]);
            self.append(&mut opened, &|output| cuts[output]..cuts[output + 1])?;
            opened.into_iter().try_for_each(|open| self.close(open))?;
            self.request.progress.end();
        }
        Ok(())
    }

    /// Outputs that are written at the same time: the kernel lets one thread at a time write to a file, but many files.
    fn together(&self) -> usize {
        /// Bytes in the mean below which an output is written sooner than another thread wakes.
        const SMALL: f64 = (1 << 20) as f64;
        let (span, outputs) = (self.request.span(), self.request.outputs.len());
        let bytes = (span.end - span.start) as f64 * self.approach.moved;
        if bytes / (outputs as f64) < SMALL {
            1
        } else {
            rayon::current_num_threads().min(4)
        }
    }

    /// Appends rows as they are in the source to some outputs, those of several files one after another. `rows` gives them
    /// for the number of an output.
    fn append(
        &self,
        opened: &mut [OpenOutput],
        rows: &(dyn Fn(usize) -> Range<u64> + Sync),
    ) -> Result<()> {
        let (selection, leaves, groups) = (self.selection, self.leaves(), &self.groups);
        let costs = &self.approach.costs;
        self.fill(opened, |open| {
            let mut files = selection.by_file(rows(open.output)).into_iter();
            files.try_for_each(|rows| {
                open.each_group(groups, |group, writers, columns| {
                    group.append_from(leaves, writers, rows.clone(), columns, costs)
                })
            })
        })
    }

    /// Appends to every array of an output what this process writes of it.
    fn append_portion(&self, open: &mut OpenOutput, portion: Portion) -> Result<()> {
        let span = self.request.span();
        self.begin_step(span.end - span.start);
        let leaves = self.leaves().iter().zip(&self.approach.costs);
        for ((leaf, cost), writer) in leaves.zip(&mut open.writers) {
            writer
                .append_portion(leaf, *cost, portion)
                .with_context(|| in_element("Write", &leaf.path))?;
        }
        self.request.progress.end();
        Ok(())
    }

    /// Fills some outputs at the same time.
    fn fill(
        &self,
        opened: &mut [OpenOutput],
        fill: impl Fn(&mut OpenOutput) -> Result<()> + Sync,
    ) -> Result<()> {
        let paths = &self.request.outputs;
        let opened = opened.par_iter_mut().with_max_len(1);
        opened.try_for_each(|open| fill(open).with_context(|| writing(&paths[open.output])))
    }

    fn begin_step(&self, rows: u64) {
        let bytes = rows as f64 * self.approach.moved;
        self.request.progress.begin(rows, bytes as u64);
    }

    fn leaves(&self) -> &'a [Leaf] {
        &self.selection.leaves
    }

    /// Creates an output.
    fn open(&self, output: usize, whole: Option<Whole>) -> Result<OpenOutput> {
        let (request, template) = (self.request, self.template.as_ref());
        let path = &request.outputs[output];
        let open = || {
            let file = OutputFile::create(path, request, template)?;
            if template.is_none() {
                self.selection.write_skeleton(&file.root)?;
            }
            self.begin(output, file, whole)
        };
        open().with_context(|| writing(path))
    }

    /// Creates the arrays that take rows in the file of an output.
    fn begin(&self, output: usize, file: OutputFile, whole: Option<Whole>) -> Result<OpenOutput> {
        let (request, leaves) = (self.request, self.leaves());
        let span = request.cuts[output]..request.cuts[output + 1];
        let rows = span.end - span.start;
        let create = |(at, leaf): (usize, &Leaf)| {
            let nnz = match whole {
                Some((blocks, picks)) => blocks[at].count(picks),
                None => request.count(leaf, span.clone())?,
            };
            LeafWriter::create(leaf, &file.root, rows, nnz)
                .with_context(|| in_element("Create", &leaf.path))
        };
        let writers = leaves.iter().enumerate().map(create);
        let writers = writers.collect::<Result<_>>()?;
        let columns = leaves.iter().any(Leaf::is_square).then(|| {
            let cells = request.order.cells(span);
            CellColumns::new(self.selection.cells, &cells)
        });
        Ok(OpenOutput {
            output,
            file,
            writers,
            columns,
        })
    }

    /// Ends an output, which then is whole.
    fn close(&self, open: OpenOutput) -> Result<()> {
        let (request, output) = (self.request, open.output);
        let close = || {
            open.writers.into_iter().try_for_each(LeafWriter::finish)?;
            let rows = request.cuts[output + 1] - request.cuts[output];
            for (path, swept) in &self.swept {
                swept
                    .write(output, rows, path, &open.file.root)
                    .with_context(|| in_element("Write", path))?;
            }
            open.file.finish()?;
            (request.finished)(output)
        };
        close().with_context(|| writing(&request.outputs[output]))
    }

    /// Puts down the non-zeros of CSC matrices by output.
    fn sweep(&self) -> Result<Vec<(&'a str, Swept<'a>)>> {
        let (csc, request) = (&self.selection.csc, self.request);
        if csc.is_empty() {
            return Ok(vec![]);
        }
        let span = request.span();
        let cuts = request.cuts.iter().map(|cut| cut - span.start).collect();
        let order = &request.order;
        // The place of a cell is the cell where all are taken, and cuts are as they are; else it is its rank among
        // those of `span`, from where cuts count then.
        let targets = match order {
            Order::AsIs => Targets::Runs(None, request.cuts.clone()),
            Order::Sorted(_) => Targets::Runs(Some(CellSet::of(&order.cells(span))), cuts),
            Order::Cells(_) => Targets::listed(self.selection.cells, &order.cells(span), &cuts)?,
        };
        let most = self.approach.wave.sweep / csc.len() as u64;
        let outputs = request.outputs.len();
        csc.iter()
            .map(|(path, matrix)| {
                info!("Sweeping the columns of '{path}'...");
                Swept::new(matrix, &targets, outputs, most, || request.scratch.folder())
                    .with_context(|| in_element("Take rows of", path))
                    .map(|swept| (path.as_str(), swept))
            })
            .collect()
    }
}

/// What a person is told of an output that is written: the path that it will have.
fn writing(path: &Path) -> String {
    format!("Write {}", place_of(path).display())
}

impl Request<'_> {
    /// The places in the order that go into outputs.
    fn span(&self) -> Range<u64> {
        let (first, last) = (self.cuts.first(), self.cuts.last());
        first.copied().unwrap_or(0)..last.copied().unwrap_or(0)
    }

    /// Non-zeros that a leaf has in the rows at `span` of the sequence.
    fn count(&self, leaf: &Leaf, span: Range<u64>) -> Result<u64> {
        /// Rows that are looked up at a time.
        const STEP: usize = 1 << 20;
        if !leaf.is_sparse() {
            return Ok(0);
        }
        if matches!(self.order, Order::AsIs) && span == (0..leaf.rows()) {
            return Ok(leaf.nnz());
        }
        let mut count = 0;
        for start in span.clone().step_by(STEP) {
            let end = (start + STEP as u64).min(span.end);
            count += leaf.count(&self.order.wave(start..end).ranges)?;
        }
        Ok(count)
    }
}

fn log_plan(request: &Request, total: u64, (at_once, memory): (u64, u64)) {
    let [cells, files] =
        [(total, "cell"), (request.outputs.len() as u64, "file")].map(|(n, noun)| count(n, noun));
    let threads = count(rayon::current_num_threads() as u64, "thread");
    if matches!(request.order, Order::AsIs) {
        info!("Writing {cells} into {files}, in the order of the input ({threads})");
        return;
    }
    info!(
        "Writing {cells} into {files}, in {} (memory about {}, {threads})",
        count(total.div_ceil(at_once.max(1)), "pass"),
        format_size(memory),
    );
}
