//! A shuffle of a compressed input in two stages, each by all tasks of a run in parts.
//!
//! Alone, each part would decode nearly all chunks of the input. So each task first reads a range of rows and scatters
//! them to buckets, one for each part and each block of rows that fits in memory; then each part is written as it would
//! be alone, but for its compressed matrices, whose rows it gathers from the buckets. Columns of obs, text and matrices of
//! cells by cells are read from the input as before. On disk:
//! `.scatter-I-of-N.PREFIX.annslicer-resume/PREFIX_bucket_I_B_P.h5ad`, for task `I`, its block `B` (from 0) and part
//! `P` (from 1), a plain file of matrices that are called 0, 1, ...; and the record of the task, whose last line has
//! the rows of each block, the block and part of each bucket, and their CRC-32. A bucket without rows is not written.
//! To gather, a part takes its buckets of all tasks: together they have its cells, each in one place.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;
use serde_json::{Value, json};
use tracing::info;

use super::session::{Session, Task};
use super::{resume, slice_parts};
use crate::anndata::select::Selection;
use crate::cells::choice::Choice;
use crate::cli::SliceRequest;
use crate::extract::buckets::{self as plan, Scattered};
use crate::extract::{Order, Source};
use crate::output::Scratch;
use crate::output::digest::crc32_of_file;
use crate::output::run_parts::{PartKind, RunPart, RunParts, index};
use crate::permutation::Seed;
use crate::report::failure::Failure;
use crate::report::preview::Stages;
use crate::report::words::{count, thousands};
use crate::rows::buckets::{self, Buckets, is_packed_matrix};
use crate::rows::leaf::Leaf;
use crate::store::Format;

/// In how many stages the part of a dry run is better written, where neither is asked for.
pub fn advice(
    request: &SliceRequest,
    session: &Session,
    selection: &Selection,
    choice: &Choice,
) -> Result<Option<Stages>> {
    let Some(part) = request.part.filter(|_| request.stage.is_none()) else {
        return Ok(None);
    };
    let one = |why: &str| Stages {
        are_two: false,
        why: why.into(),
        buckets: 0,
    };
    let packed = selection
        .leaves
        .iter()
        .filter(|leaf| is_packed_matrix(leaf));
    let buckets: u64 = packed.clone().map(Leaf::unpacked_bytes).sum();
    let Some(order) = choice.cells.as_deref() else {
        return Ok(Some(one("cells in the order of the input are read once")));
    };
    if buckets == 0 {
        return Ok(Some(one("of plain matrices each part reads its own rows")));
    }
    // Where all rows of the part fit in memory, only chunks that hold some of them are decoded.
    let (fits, chunk) = plan::reading(&selection.leaves, session.any_order(order.len() as u64))?;
    let share = if (order.len() as u64) <= fits {
        plan::share_of_chunks(order, selection.cells, chunk)
    } else {
        1.0 // all is unpacked
    };
    let told = format!(
        "alone each part decodes {:.0} % of the compressed matrices",
        100.0 * share
    );
    let are_two = share * part.of as f64 > MUCH;
    if are_two && !request.options.dry_run {
        info!("In one stage {told}; see --stage");
    }
    Ok(Some(Stages {
        are_two,
        why: told,
        buckets,
    }))
}

/// How often all parts together may decode what is compressed before two stages are better. In two stages each chunk is
/// decoded once, but all values are written and read once more.
const MUCH: f64 = 2.0;

/// Writes the buckets of a range of rows. It is a run of slice in which outputs are buckets, compressed matrices are
/// all there is, the order has the rows of this range alone, and waves end where blocks do.
pub fn scatter(
    request: &SliceRequest,
    mut session: Session,
    seed: Option<&Seed>,
    (selection, choice): (Selection, Choice),
    scratch: &Scratch,
) -> Result<()> {
    let part = request.part.context("A stage is of a part")?.of_buckets();
    let order = order(&choice)?;
    // Borders of parts as outputs, then as places in the order.
    let (_, starts) = slice_parts::starts(part, &selection, &choice)?;
    let starts: Vec<u64> = starts.iter().map(|at| choice.cuts[*at]).collect();
    let mut packed = packed(selection)?;
    let rows = plan::rows_of_task(packed.cells, part.number, part.of);
    let budget = session.any_order(order.len() as u64 + rows.end - rows.start);
    let most = plan::bytes_of_block(&packed.leaves, budget);
    let sizes = plan::sizes(&packed, rows.clone())?;
    let mut scattered = plan::scatter(order, &starts, rows.clone(), &sizes, most);
    // 4 bytes for each cell of all outputs.
    drop(choice);
    tell(&scattered, &rows, part);
    session.take_buckets(part, paths(request, part, &scattered))?;
    let dry_run = request.options.dry_run;
    if !dry_run {
        session.keep_finished(&request.buckets, Some(part))?;
    }
    session.stage()?;
    let mut cuts = scattered.cuts.clone();
    if !dry_run {
        let mut identity = resume::identity(request, &session.fingerprints, seed);
        // Blocks depend on memory, so another limit makes other buckets.
        identity[resume::BLOCKS] = most.into();
        cuts.drain(..session.resume(&identity)?);
    }
    let rows = std::mem::take(&mut scattered.cells);
    let task = Task {
        what: "Scattering",
        from: request.join.name(),
        order: Order::of(Some(rows), packed.cells),
        cuts,
        waves: Some(scattered.waves()),
        stages: None,
        budget,
        scratch,
        portion: None,
    };
    session.extract(Source::File(&mut packed), task)?;
    if dry_run {
        return Ok(());
    }
    end(session, &scattered)?;
    let RunPart { number, of, .. } = part;
    info!("Part {number} of {of} is scattered: its buckets wait for --stage gather.");
    Ok(())
}

/// Ends the record of buckets, which says what each is.
fn end(session: Session, scattered: &Scattered) -> Result<()> {
    let blocks = scattered.blocks.iter().map(|rows| [rows.start, rows.end]);
    let end = json!({
        "blocks": blocks.collect::<Vec<_>>(),
        "buckets": scattered.buckets,
        "crc32": checksums(session.now())?,
    });
    let cells = scattered.cuts.windows(2).map(|cut| cut[1] - cut[0]);
    session.end_part(end, &cells.collect::<Vec<_>>())
}

/// The CRC-32 of each bucket: what is gathered was written by other processes, maybe on other machines.
fn checksums(buckets: &[PathBuf]) -> Result<Vec<u32>> {
    let all = buckets
        .par_iter()
        .map(|path| crc32_of_file(path).with_context(|| format!("Read bucket {}", path.display())));
    all.collect()
}

/// The cells in the order of the outputs.
fn order(choice: &Choice) -> Result<&[u32]> {
    let what = "The cells come in the order of the input, so each part reads its own rows alone; leave --stage out";
    let in_order = || Failure::usage(what.into());
    choice.cells.as_deref().ok_or_else(|| in_order().into())
}

/// The compressed matrices alone, called after their numbers.
fn packed(selection: Selection) -> Result<Selection> {
    let leaves = selection.leaves.into_iter().filter(is_packed_matrix);
    let leaves = leaves.enumerate().map(|(number, leaf)| Leaf {
        path: number.to_string(),
        ..leaf
    });
    let packed = Selection::of_leaves(&selection.root, selection.cells, leaves.collect());
    ensure_packed(&packed.leaves)?;
    Ok(packed)
}

/// An error where two stages gain nothing.
fn ensure_packed(leaves: &[Leaf]) -> Result<()> {
    let what = "No matrix of the input is compressed, so each part reads its own rows alone; leave --stage out";
    let is_any = leaves.iter().any(is_packed_matrix);
    ensure!(is_any, Failure::usage(what.into()));
    Ok(())
}

fn tell(scattered: &Scattered, rows: &Range<u64>, part: RunPart) {
    info!(
        "Scattering rows {} to {} in {}, to {} for {}...",
        thousands(rows.start),
        thousands(rows.end),
        count(scattered.blocks.len() as u64, "block"),
        count(scattered.buckets.len() as u64, "bucket"),
        count(part.of, "part")
    );
}

/// The paths of the buckets.
fn paths(request: &SliceRequest, part: RunPart, scattered: &Scattered) -> Vec<PathBuf> {
    let named = |(block, to): &(usize, usize)| {
        let name = format!("bucket_{}_{block}_{}", part.number, to + 1);
        crate::output::named_path(&request.buckets, &name, Format::H5ad)
    };
    scattered.buckets.iter().map(named).collect()
}

/// From now on the compressed matrices of a selection are read from the buckets of a part, whose cells `choice` has.
pub fn gather(
    request: &SliceRequest,
    session: &Session,
    seed: Option<&Seed>,
    (selection, choice): (&mut Selection, &Choice),
    scratch: &Scratch,
) -> Result<()> {
    let part = request.part.context("A stage is of a part")?;
    let order = order(choice)?;
    ensure_packed(&selection.leaves)?;
    // A dry run tells the plan before there are buckets.
    let buckets = if request.options.dry_run {
        None
    } else {
        let own = resume::identity(request, &session.fingerprints, seed);
        let matrices = selection
            .leaves
            .iter()
            .filter(|leaf| is_packed_matrix(leaf));
        let found = find(request, part, &own, order, selection.cells)?;
        Some(Arc::new(found.open(order, matrices.count())?))
    };
    // Matrices are called by their places among the compressed ones, as in `packed`.
    let mut numbers = 0..;
    let leaves = std::mem::take(&mut selection.leaves).into_iter();
    let leaves = leaves.map(|leaf| {
        if !is_packed_matrix(&leaf) {
            return Ok(leaf);
        }
        let number = numbers.next().unwrap_or_default();
        buckets::scattered(leaf, number, buckets.clone(), || scratch.folder())
    });
    selection.leaves = leaves.collect::<Result<_>>()?;
    Ok(())
}

/// The buckets of a part, as the records of those who scattered tell of them.
#[derive(Default)]
struct Found {
    /// The rows of the input in each block.
    blocks: Vec<Range<u64>>,
    /// Of each block, where there is a bucket of the part.
    buckets: Vec<Option<Bucket>>,
}

#[derive(Clone)]
struct Bucket {
    path: PathBuf,
    rows: u64,
    crc32: u64,
    /// Who has written it.
    task: u64,
}

/// Finds the buckets of a part.
///
/// # Errors
/// Some that are missing, or of another run.
fn find(
    request: &SliceRequest,
    part: RunPart,
    own: &Value,
    order: &[u32],
    cells: u64,
) -> Result<Found> {
    let prefix = request.buckets.display();
    let all = RunParts::find(&request.buckets, PartKind::Buckets)?;
    let all = all.filter(|all| all.of == part.of);
    let all = all.with_context(|| {
        let of = part.of;
        format!("There are no buckets of {of} parts of {prefix}; run --stage scatter first, by all tasks")
    })?;
    let told = |numbers: &[u64]| {
        format!(
            "the buckets of parts {} of {} of {prefix}",
            index(numbers),
            part.of
        )
    };
    slice_parts::refuse_others(&all, own, |numbers| format!("gather {}", told(numbers)))?;
    let (mut found, mut there) = (Found::default(), vec![]);
    for (task, folder, end) in all.ends() {
        found
            .add(task, folder, end, part.number - 1)
            .with_context(|| format!("The record in {} cannot be read", folder.display()))?;
        there.push(task);
    }
    let ranges: Vec<Range<u64>> = (1..=part.of)
        .map(|task| plan::rows_of_task(cells, task, part.of))
        .collect();
    // Only tasks whose rows the part has are waited for.
    let mut needed = vec![false; ranges.len()];
    for cell in order {
        needed[ranges.partition_point(|rows| rows.end <= u64::from(*cell))] = true;
    }
    let missing = (1..)
        .zip(needed)
        .filter(|(task, needed)| *needed && !there.contains(task));
    let missing: Vec<u64> = missing.map(|(task, _)| task).collect();
    ensure!(
        missing.is_empty(),
        "Nothing is gathered without {}; run --stage scatter for them, as --array={}",
        told(&missing),
        index(&missing)
    );
    Ok(found)
}

impl Found {
    /// Adds the buckets of `part`, counted from 0, of one who scattered. `None` where the record is not as [`end`]
    /// writes it. Numbers of blocks count from those of the tasks before.
    fn add(&mut self, task: u64, folder: &Path, end: &Value, part: u64) -> Option<()> {
        let first = self.blocks.len();
        for block in end["blocks"].as_array()? {
            self.blocks.push(block[0].as_u64()?..block[1].as_u64()?);
        }
        self.buckets.resize(self.blocks.len(), None);
        let outputs = end["outputs"].as_array()?.iter();
        let outputs = outputs.zip(end["crc32"].as_array()?);
        for (bucket, (output, crc32)) in end["buckets"].as_array()?.iter().zip(outputs) {
            if bucket[1].as_u64()? == part {
                let at = first + usize::try_from(bucket[0].as_u64()?).ok()?;
                *self.buckets.get_mut(at)? = Some(Bucket {
                    path: folder.join(output["name"].as_str()?),
                    rows: output["cells"].as_u64()?,
                    crc32: crc32.as_u64()?,
                    task,
                });
            }
        }
        Some(())
    }

    /// Opens the buckets for the cells of a part, once they are found to be as they were written.
    fn open(self, order: &[u32], matrices: usize) -> Result<Buckets> {
        let (places, counts) = plan::gather(order, &self.blocks)?;
        let buckets = self.buckets.iter().zip(&counts);
        info!(
            "Gathering from {}...",
            count(
                buckets
                    .clone()
                    .filter(|(bucket, _)| bucket.is_some())
                    .count() as u64,
                "bucket"
            )
        );
        for (bucket, count) in buckets {
            // Counted from the order of this run: so many cells of the part are in each block.
            let rows = bucket.as_ref().map_or(0, |bucket| bucket.rows);
            ensure!(
                rows == *count,
                "Buckets do not hold the cells of this part; scatter again"
            );
        }
        let all: Vec<&Bucket> = self.buckets.iter().flatten().collect();
        all.par_iter().try_for_each(|bucket| bucket.check())?;
        let paths = self.buckets.into_iter();
        let paths = paths.map(|bucket| bucket.map_or(PathBuf::new(), |bucket| bucket.path));
        Buckets::open(paths.collect(), places, matrices)
    }
}

impl Bucket {
    /// An error where a bucket is not what was written, by its CRC-32.
    fn check(&self) -> Result<()> {
        let path = self.path.display();
        let found = crc32_of_file(&self.path).with_context(|| format!("Read bucket {path}"))?;
        if u64::from(found) != self.crc32 {
            let folder = self.path.parent().unwrap_or(&self.path).display();
            bail!(
                "Bucket {path} is damaged: its checksum is not that of what was written; remove {folder}, and scatter \
                 part {} again",
                self.task
            );
        }
        Ok(())
    }
}
