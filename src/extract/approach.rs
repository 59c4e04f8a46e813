//! How much is read at a time, and what a run would do with that.
//!
//! Steps: what a row of each leaf costs ([`Leaf::cost`], which samples text); what chunks and the places of CSC
//! matrices take beside rows, off the budget; how many rows fit then. What does not fit at once is cut into waves of
//! half that, as one is read while another is written, and in a shuffle compressed arrays are unpacked before. No value
//! of a matrix is read.

use std::ops::Range;

use anyhow::Result;
use tracing::warn;

use super::plan::{self, Budget};
use super::{Order, Request, turn};
use crate::anndata::select::Selection;
use crate::report::preview::{Planned, Preview};
use crate::report::words::count;
use crate::resources::format_size;
use crate::rows::by_wave::WaveCells;
use crate::rows::cost::RowCost;
use crate::rows::csc::scratch_bytes;
use crate::rows::leaf::Leaf;
use crate::rows::same_files::of_files;
use crate::rows::targets::Targets;
use crate::rows::writer::LeafWriter;
use crate::store::{self, Group};

/// How much is read at a time.
pub struct Approach {
    /// Of each leaf, what a row costs and how many non-zeros it has in the mean. Costs are bytes in memory.
    pub costs: Vec<RowCost>,
    pub means: Vec<f64>,
    /// Bytes that are read and appended for a row, about.
    pub moved: f64,
    pub wave: Budget,
    /// Waves in memory: two where there are several, one that is read and one that is written.
    pub held: u64,
    /// Rows that fit one wave, about.
    pub at_once: u64,
    /// Whether compressed arrays are unpacked to scratch, and columns put there by wave.
    pub unpacks: bool,
}

impl Approach {
    /// Decides for a selection whose CSC matrices are turned already, if they are to be. Warns where memory is too
    /// little.
    pub fn of(selection: &Selection, request: &Request) -> Result<Approach> {
        let leaves = &selection.leaves;
        let costs: Vec<RowCost> = leaves.iter().map(Leaf::cost).collect::<Result<_>>()?;
        let means: Vec<f64> = leaves.iter().map(Leaf::mean_nnz).collect();
        let each = leaves.iter().zip(&costs).zip(&means);
        let moved = each.map(|((leaf, cost), mean)| cost.mean(*mean) * leaf.moved_per_byte());
        let moved = moved.sum();
        let mut wave = request.budget;
        if !selection.csc.is_empty() {
            // What is swept stays in memory while waves are read, but never takes more than half of theirs.
            wave.wave = wave
                .wave
                .saturating_sub(wave.sweep)
                .max(wave.wave / 2)
                .max(1);
        }
        // Those of several files are not: each wave opens the files again.
        let by_rows = |leaf: &Leaf| {
            leaf.unpacked_bytes() == 0 && !leaf.is_scattered() && of_files(leaf).is_none()
        };
        if leaves.iter().all(by_rows) {
            wave = wave.for_single_rows();
        }
        if matches!(request.order, Order::Cells(_)) {
            let chunks: Vec<(u64, u64)> = leaves.iter().map(Leaf::chunks_held).collect();
            let kept: u64 = chunks.iter().map(|(kept, _)| kept).sum();
            let decoding = chunks.iter().map(|(_, decoding)| decoding).max();
            let mut held = kept.saturating_add(decoding.copied().unwrap_or(0));
            if !selection.csc.is_empty() {
                let span = request.span();
                // Each cell of the file, and each of its places in the outputs, while CSC matrices are swept.
                held += Targets::listed_bytes(selection.cells, span.end - span.start);
            }
            let (left, lacking) = wave.beside(held);
            if lacking > 0 {
                warn!(
                    "Chunks of the input, and places in CSC matrices, take {} beside the rows: {} more than \
                     --memory-limit allows are used",
                    format_size(held),
                    format_size(lacking)
                );
            }
            wave = left;
            warn_of_least(request, held, plan::mean_row(&costs, &means));
        }
        let span = request.span();
        let total = span.end - span.start;
        let mut at_once = plan::first_guess(wave, &costs, &means, total);
        let mut held = 1;
        if at_once < total {
            (wave, held) = (wave.for_two_waves(), 2);
            at_once = plan::first_guess(wave, &costs, &means, total);
        }
        Ok(Approach {
            // Of one wave every chunk is decoded once anyway, and the waves of buckets are made so that none is decoded
            // twice.
            unpacks: matches!(request.order, Order::Cells(_))
                && held > 1
                && request.waves.is_none(),
            costs,
            means,
            moved,
            wave,
            held,
            at_once,
        })
    }

    /// What the process takes, about.
    pub fn memory(&self, selection: &Selection, request: &Request) -> u64 {
        let span = request.span();
        let total = span.end - span.start;
        let rows = plan::mean_row(&self.costs, &self.means) * total as f64;
        let csc = selection.csc.iter();
        let csc = csc.map(|(_, matrix)| matrix.nnz().saturating_mul(matrix.nonzero_bytes()));
        let swept = self.wave.sweep.min(csc.fold(0, u64::saturating_add));
        let waves = self.held.saturating_mul(self.wave.wave).min(rows as u64);
        let order = match request.order {
            Order::AsIs => 0,
            Order::Cells(_) | Order::Sorted(_) => total,
        };
        plan::memory(
            waves.saturating_add(swept),
            order,
            rayon::current_num_threads(),
        )
    }

    /// Bytes that are unpacked, or put down by output, in scratch.
    pub fn scratch(&self, selection: &Selection, request: &Request) -> u64 {
        let (csc, span) = (&selection.csc, request.span());
        let places = span.end - span.start;
        // Non-zeros of a CSC matrix are taken to be spread evenly over the cells.
        let share = places as f64 / selection.cells.max(1) as f64;
        let leaves = selection.leaves.iter().zip(&self.costs);
        let unpacked = leaves.map(|(leaf, cost)| {
            if leaf.is_narrow() {
                leaf.by_wave_bytes(*cost).saturating_mul(places)
            } else {
                leaf.unpacked_bytes()
            }
        });
        let unpacked = unpacked.chain([WaveCells::bytes(places)]);
        let unpacked = unpacked.filter(|_| self.unpacks);
        let swept = csc.iter().map(|(_, matrix)| {
            let nonzeros = (matrix.nnz() as f64 * share) as u64;
            scratch_bytes(matrix, nonzeros, request.outputs.len() as u64)
        });
        // What is less stays in memory, as in `Engine::sweep`.
        let swept = swept.filter(|bytes| *bytes > self.wave.sweep / csc.len() as u64);
        let turned = request.csr.then(|| turn::scratch_bytes(selection));
        let swept = swept.filter(|_| !request.csr).chain(turned);
        unpacked.chain(swept).fold(0, u64::saturating_add)
    }
}

/// Says so where the memory limit is below the least, which is used then. Chunks take `chunks` bytes, and a row takes
/// `row` in the mean.
fn warn_of_least(request: &Request, chunks: u64, row: f64) {
    let (span, limit) = (request.span(), request.budget.limit);
    let rows = span.end - span.start;
    let threads = rayon::current_num_threads();
    let least = plan::least(rows, threads, (row * rows as f64) as u64, chunks);
    if limit < least {
        warn!(
            "--memory-limit {} is too little for {} in another order; {}, the least, is used",
            format_size(limit),
            count(rows, "cell"),
            format_size(least)
        );
    }
}

/// A store that holds what all outputs have in common, and is only counted; `None` where they are no stores, or what
/// it counts is not known before.
fn counted_skeleton(selection: &Selection, request: &Request) -> Result<Option<Group>> {
    let store = store::counted(request.container).filter(|_| selection.csc.is_empty());
    if let Some(store) = &store {
        selection.write_skeleton(store)?;
    }
    Ok(store)
}

/// The files of an output with the rows at `span` of the order beside those of `skeleton`.
fn files(
    skeleton: &Group,
    selection: &Selection,
    request: &Request,
    span: Range<u64>,
) -> Result<Option<u64>> {
    let store = skeleton.counted_on();
    for leaf in &selection.leaves {
        let count = request.count(leaf, span.clone())?;
        drop(LeafWriter::create(
            leaf,
            &store,
            span.end - span.start,
            count,
        )?);
    }
    Ok(store.files())
}

/// What would be done with rows of one file, which is called `from`.
pub fn preview(selection: &Selection, request: &Request, from: &str) -> Result<Preview> {
    let how = Approach::of(selection, request)?;
    let span = request.span();
    let total = span.end - span.start;
    let skeleton = selection.skeleton_bytes()?;
    let store = counted_skeleton(selection, request)?;
    let mut outputs = vec![];
    for (path, cut) in request.outputs.iter().zip(request.cuts.windows(2)) {
        let rows = cut[1] - cut[0];
        let share =
            |bytes: u64| (bytes as f64 * rows as f64 / selection.cells.max(1) as f64) as u64;
        let mut bytes = skeleton;
        for (leaf, cost) in selection.leaves.iter().zip(&how.costs) {
            let data = cost.fixed * rows + cost.nonzero * request.count(leaf, cut[0]..cut[1])?;
            // Of a matrix of cells by cells as large a share of the columns is taken as of the rows.
            bytes += if leaf.is_square() { share(data) } else { data };
        }
        let csc = selection.csc.iter();
        bytes += csc
            .map(|(_, m)| share(m.nnz() * m.nonzero_bytes()))
            .sum::<u64>();
        let files = match &store {
            Some(store) => files(store, selection, request, cut[0]..cut[1])?,
            None => None,
        };
        outputs.push(Planned {
            path: path.clone(),
            rows,
            bytes,
            files,
        });
    }
    let reading = match request.order {
        Order::AsIs => "in the order of the file, block by block".into(),
        Order::Cells(_) | Order::Sorted(_) => {
            let waves = total.div_ceil(how.at_once.max(1));
            let size = format_size(how.wave.wave);
            format!("in {} of up to {size}", count(waves, "pass"))
        }
    };
    Ok(Preview {
        from: from.into(),
        outputs,
        reading,
        memory: how.memory(selection, request),
        scratch: how.scratch(selection, request),
        threads: rayon::current_num_threads(),
        stages: None,
        kept: 0,
    })
}
