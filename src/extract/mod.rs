//! The engine behind slice, filter and merge: rows of a source into outputs, wave by wave.
//!
//! What follows is of one file; [`joined`] says how several are written. Both make their outputs in one way ([`output`]).
//!
//! The rows of all outputs form one long sequence. A wave is a part of it that fits the memory budget: its rows are
//! read in the order of the file, once each, then handed to the outputs in the order of the sequence. A wave may
//! hold many outputs, or a part of one. A few outputs are open at a time.

mod approach;
mod joined;
mod needs;
mod order;
mod output;
pub mod plan;
mod ready;
pub mod sizes;
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
use crate::rows::group::{LeafGroup, alone, groups};
use crate::rows::leaf::Leaf;
use crate::rows::targets::Targets;
use crate::rows::writer::LeafWriter;
use crate::store::Container;

/// Which rows go where.
pub struct Request<'a> {
    pub order: Order,
    /// Where each output begins in the order, and the end of the last. What stands before the first is in no output.
    pub cuts: Vec<u64>,
    /// Where each output is written.
    pub outputs: Vec<PathBuf>,
    pub container: Container,
    /// Whether CSC matrices come out as CSR ones.
    pub csr: bool,
    pub budget: Budget,
    /// A folder of this run's own.
    pub scratch: &'a Scratch,
    pub progress: &'a Progress,
    /// Read each output back when it is written.
    pub verify: bool,
    /// Called with the number of each output that is whole.
    pub finished: &'a dyn Fn(usize) -> Result<()>,
}

/// Where rows come from.
pub enum RowSource<'a> {
    File(&'a mut Selection),
    Joined(Box<JoinedInputs<'a>>),
}

/// Writes the outputs.
pub fn run(source: RowSource, request: &Request) -> Result<()> {
    if request.outputs.is_empty() {
        return Ok(());
    }
    let mut needs = vec![];
    let done = match source {
        RowSource::File(selection) => run_file(selection, request, &mut needs),
        RowSource::Joined(inputs) => joined::run(*inputs, request, &mut needs),
    };
    done.map_err(|e| resources::explain(e, &needs))
}

/// What [`run`] would do of `from`. Writes nothing.
pub fn preview(source: &RowSource, request: &Request, from: &str) -> Result<Preview> {
    match source {
        RowSource::File(selection) => approach::preview(selection, request, from),
        RowSource::Joined(inputs) => joined::preview(inputs, request, from),
    }
}

/// Room for `needs`, once they are known.
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
struct Open {
    place: OutputSlot,
    file: OutputFile,
    writers: Vec<LeafWriter>,
}

/// Which output it is.
struct OutputSlot {
    output: usize,
    /// Where the cells of this output are columns.
    columns: Option<CellColumns>,
}

/// Outputs that are written at the same time. The kernel lets one thread at a time write to a file, but many files.
fn together() -> usize {
    rayon::current_num_threads().min(4)
}

impl<'a> Engine<'a> {
    fn new(
        selection: &'a mut Selection,
        request: &'a Request<'a>,
        needs: &mut Vec<Need>,
    ) -> Result<Engine<'a>> {
        if request.csr {
            ready::turn(selection, request, needs)?;
        }
        let approach = Approach::of(selection, request)?;
        let span = request.span();
        let total = span.end - span.start;
        log_plan(request, total, approach.at_once);
        let template = Template::write(request, |root| selection.write_skeleton(root))?;
        let common = template.as_ref().map_or(Ok(0), Template::bytes)?;
        needs.push(needs::of_outputs(selection, request, common)?);
        needs.push(needs::of_scratch(selection, request, &approach));
        ensure_room(needs)?;
        if approach.unpacks {
            ready::unpack(&mut selection.leaves, request.scratch)?;
        }
        for leaf in &selection.leaves {
            debug!("'{}': {}", leaf.path, leaf.storage());
        }
        let container = request.container;
        let mut engine = Engine {
            groups: if container.is_collection {
                // Its indices are of a type of their own.
                alone(&selection.leaves)
            } else {
                groups(&selection.leaves, !container.is_plain())
            },
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
        let together = if decodes { 1 } else { together() };
        let cuts = &self.request.cuts;
        let outputs: Vec<usize> = (0..cuts.len() - 1).collect();
        for batch in outputs.chunks(together) {
            let opened = batch.iter().map(|&output| self.open(output, &[], None));
            let mut opened = opened.collect::<Result<Vec<_>>>()?;
            let (first, last) = (batch[0], batch[batch.len() - 1]);
            self.begin_step(cuts[last + 1] - cuts[first]);
            let (leaves, costs) = (self.leaves(), &self.approach.costs);
            self.fill(&mut opened, |group, writers, place| {
                let rows = cuts[place.output]..cuts[place.output + 1];
                group.append_from(leaves, writers, rows, place.columns.as_ref(), costs)
            })?;
            for open in opened {
                self.close(open)?;
            }
            self.request.progress.end();
        }
        Ok(())
    }

    /// Appends to every array of some outputs, of all these outputs at the same time.
    fn fill<F>(&self, opened: &mut [Open], append: F) -> Result<()>
    where
        F: Fn(&LeafGroup, &mut [&mut LeafWriter], &OutputSlot) -> Result<()> + Sync,
    {
        let (leaves, groups, paths) = (self.leaves(), &self.groups, &self.request.outputs);
        opened.par_iter_mut().with_max_len(1).try_for_each(|open| {
            let mut writers: Vec<_> = open.writers.iter_mut().map(Some).collect();
            for group in groups {
                let members = group.members.iter();
                let mut writers: Vec<_> = members.filter_map(|at| writers[*at].take()).collect();
                append(group, &mut writers, &open.place)
                    .with_context(|| in_element("Write", &leaves[group.members[0]].path))
                    .with_context(|| writing(&paths[open.place.output]))?;
            }
            Ok(())
        })
    }

    fn begin_step(&self, rows: u64) {
        let bytes = rows as f64 * self.approach.moved;
        self.request.progress.begin(rows, bytes as u64);
    }

    fn leaves(&self) -> &'a [Leaf] {
        &self.selection.leaves
    }

    /// Creates an output; `whole` are its rows where the wave holds all of them.
    fn open(&self, output: usize, blocks: &[Block], whole: Option<&[u32]>) -> Result<Open> {
        self.create(output, blocks, whole)
            .with_context(|| writing(&self.request.outputs[output]))
    }

    fn create(&self, output: usize, blocks: &[Block], whole: Option<&[u32]>) -> Result<Open> {
        let (request, template) = (self.request, self.template.as_ref());
        let file = OutputFile::create(&request.outputs[output], request, template)?;
        if template.is_none() {
            self.selection.write_skeleton(&file.root)?;
        }
        let span = request.cuts[output]..request.cuts[output + 1];
        let writers = self
            .leaves()
            .iter()
            .enumerate()
            .map(|(at, leaf)| {
                let count = match (whole, blocks.get(at)) {
                    (Some(picks), Some(block)) => block.count(picks),
                    _ => request.count(leaf, span.clone())?,
                };
                LeafWriter::create(leaf, &file.root, span.end - span.start, count)
                    .with_context(|| in_element("Create", &leaf.path))
            })
            .collect::<Result<Vec<_>>>()?;
        let columns = self.leaves().iter().any(Leaf::is_square).then(|| {
            let cells = request.order.cells(span);
            CellColumns::new(self.selection.cells, &cells)
        });
        Ok(Open {
            place: OutputSlot { output, columns },
            file,
            writers,
        })
    }

    fn close(&self, open: Open) -> Result<()> {
        let output = open.place.output;
        let path = &self.request.outputs[output];
        let close = || {
            open.writers.into_iter().try_for_each(LeafWriter::finish)?;
            let rows = self.request.cuts[output + 1] - self.request.cuts[output];
            for (path, swept) in &self.swept {
                swept
                    .write(output, rows, path, &open.file.root)
                    .with_context(|| in_element("Write", path))?;
            }
            open.file.finish()?;
            (self.request.finished)(output)
        };
        close().with_context(|| writing(path))
    }

    /// Puts down the elements of CSC matrices by output.
    fn sweep(&self) -> Result<Vec<(&'a str, Swept<'a>)>> {
        let (csc, request) = (&self.selection.csc, self.request);
        if csc.is_empty() {
            return Ok(vec![]);
        }
        let span = request.span();
        let cuts = request.cuts.iter().map(|cut| cut - span.start).collect();
        let order = &request.order;
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

    /// Elements that a leaf has in the rows at `span` of the sequence.
    fn count(&self, leaf: &Leaf, span: Range<u64>) -> Result<u64> {
        /// Rows that are looked up at a time.
        const STEP: usize = 1 << 20;
        if !leaf.is_sparse() {
            return Ok(0);
        }
        let mut count = 0;
        for start in span.clone().step_by(STEP) {
            let end = (start + STEP as u64).min(span.end);
            count += leaf.count(&self.order.wave(start..end).ranges)?;
        }
        Ok(count)
    }
}

fn log_plan(request: &Request, total: u64, at_once: u64) {
    let [cells, files] =
        [(total, "cell"), (request.outputs.len() as u64, "file")].map(|(n, noun)| count(n, noun));
    let threads = count(rayon::current_num_threads() as u64, "thread");
    if matches!(request.order, Order::AsIs) {
        info!("Writing {cells} into {files}, in the order of the input ({threads})");
        return;
    }
    info!(
        "Writing {cells} into {files}, in {} (memory up to {}, {threads})",
        count(total.div_ceil(at_once.max(1)), "pass"),
        format_size(request.budget.wave),
    );
}
