//! `slice` in parts, each a process of its own: which outputs a part writes, and the end, which publishes all.
//!
//! A part is a run of `slice` that may be resumed, of some of the outputs; each works out for itself which they are. What
//! is asked of parts at the end is asked of those of a merge too ([`portions`](super::portions)).

use std::path::Path;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use tracing::info;

use super::resume;
use super::session::Session;
use crate::anndata::select::Selection;
use crate::cells::choice::Choice;
use crate::cli::{SliceRequest, Stage};
use crate::extract::plan;
use crate::output::run_parts::{PartKind, RunPart, RunParts, index};
use crate::permutation::Seed;
use crate::report::words::{count, thousands};
use crate::rows::leaf::Leaf;

/// Which outputs the parts of a run write.
pub struct OwnOutputs {
    part: RunPart,
    /// Where those of each part begin, and those of the last end.
    starts: Vec<usize>,
    /// The cells of each output of this part.
    cells: Vec<u64>,
}

/// Whether this is a part that is whole already; says so.
pub fn is_done(request: &SliceRequest, session: &Session) -> Result<bool> {
    let Some(part) = request.part.filter(|_| !request.options.dry_run) else {
        return Ok(false);
    };
    let seed = request.deal.seed.as_ref().map(|given| &given.seed);
    // Before anything is opened or chosen: a task that is run again ends in a moment.
    let own = resume::identity(request, &session.fingerprints, seed);
    match request.stage {
        Some(Stage::Scatter) => is_whole(part.of_buckets(), &request.buckets, &own),
        _ => is_whole(part, &request.prefix, &own),
    }
}

/// Whether a part of the outputs at `prefix` is whole, as one of the run that calls itself `own`; says so.
pub fn is_whole(part: RunPart, prefix: &Path, own: &Value) -> Result<bool> {
    let whole = part.is_whole(prefix, |run| resume::without_blocks(run) == *own)?;
    if whole {
        info!("Part {} of {} is done already.", part.number, part.of);
    }
    Ok(whole)
}

/// Leaves the session and the choice the outputs of this part, if it is one: only these are staged and written.
pub fn take(
    request: &SliceRequest,
    session: &mut Session,
    selection: &Selection,
    choice: &mut Choice,
) -> Result<Option<OwnOutputs>> {
    let Some(part) = request.part else {
        return Ok(None);
    };
    // The choice has all outputs still, so that all parts find the same borders.
    let (bytes, starts) = starts(part, selection, choice)?;
    session.take_part(part, &starts);
    let own = part.outputs(&starts);
    choice.narrow(own.clone());
    let cells = choice.cuts.windows(2).map(|cut| cut[1] - cut[0]).collect();
    let written: u64 = bytes[own.clone()].iter().sum();
    let all: u64 = bytes.iter().sum();
    info!(
        "Part {} of {}: {} of {}, {:.1} % of the bytes.",
        part.number,
        part.of,
        thousands(own.len() as u64),
        count(bytes.len() as u64, "shard"),
        100.0 * written as f64 / all.max(1) as f64
    );
    Ok(Some(OwnOutputs {
        part,
        starts,
        cells,
    }))
}

/// Bytes of each output, about, and where those of each part begin.
pub fn starts(
    part: RunPart,
    selection: &Selection,
    choice: &Choice,
) -> Result<(Vec<u64>, Vec<usize>)> {
    let bytes = bytes(selection, &choice.cuts)?;
    let starts = plan::starts_of_parts(&bytes, part.of);
    Ok((bytes, starts))
}

/// Bytes of each output, about, without compression.
fn bytes(selection: &Selection, cuts: &[u64]) -> Result<Vec<u64>> {
    let common = selection.skeleton_bytes()?;
    // By the mean row of the whole file: exact sizes would have to read offsets and text, in each of the parts.
    let row = |leaf: &Leaf| leaf.least_cost().mean(leaf.mean_nnz());
    let row: f64 = selection.leaves.iter().map(row).sum();
    // A CSC matrix is no leaf; its non-zeros count for all cells alike.
    let swept = selection.csc.iter();
    let swept = swept.map(|(_, matrix)| (matrix.nnz() * matrix.nonzero_bytes()) as f64);
    let row = row + swept.sum::<f64>() / selection.cells.max(1) as f64;
    let outputs = cuts.windows(2);
    Ok(outputs
        .map(|cut| common + ((cut[1] - cut[0]) as f64 * row) as u64)
        .collect())
}

impl OwnOutputs {
    /// Ends the part that `session` has written.
    pub fn end(self, session: Session) -> Result<()> {
        let shards = count(self.cells.len() as u64, "shard");
        let is_dry = session.options.dry_run;
        session.end_part(json!({"starts": self.starts}), &self.cells)?;
        if !is_dry {
            let RunPart { number, of, .. } = self.part;
            info!("Part {number} of {of} is done: its {shards} wait for --finish.");
        }
        Ok(())
    }
}

/// Takes over all parts in a session, which then can publish, and removes buckets.
///
/// # Errors
/// Parts that are missing, or of another run.
pub fn take_all<'a>(request: &'a SliceRequest, seed: Option<&Seed>) -> Result<Session<'a>> {
    let mut session = Session::begin(&request.options, &request.join, request.reads())?;
    let parts = all(&request.prefix, |of| {
        let mut own = resume::identity(request, &session.fingerprints, seed);
        // As in the parts: --finish itself is not told how many there are.
        own["parts"] = of.into();
        own
    })?;
    session.take_parts(&parts)?;
    if let Some(buckets) = RunParts::find(&request.buckets, PartKind::Buckets)? {
        session.remove_parts(&buckets)?;
    }
    Ok(session)
}

/// All parts of the outputs at `prefix`. `own` is what the run calls itself where it has so many.
///
/// # Errors
/// Parts that are missing, or of another run.
pub fn all(prefix: &Path, own: impl FnOnce(u64) -> Value) -> Result<RunParts> {
    let parts = RunParts::find(prefix, PartKind::Outputs)?;
    let parts = parts.ok_or_else(|| RunParts::none(prefix))?;
    let told = |numbers: &[u64]| {
        let prefix = prefix.display();
        format!("parts {} of {} of {prefix}", index(numbers), parts.of)
    };
    let own = own(parts.of);
    refuse_others(&parts, &own, |numbers| format!("publish {}", told(numbers)))?;
    let missing = parts.missing();
    ensure!(
        missing.is_empty(),
        "Nothing is published without {}; run them, as --array={}",
        told(&missing),
        index(&missing)
    );
    Ok(parts)
}

/// An error where some of the parts are not of the run that calls itself `own`; `told` says for their numbers what cannot
/// be done.
pub fn refuse_others(parts: &RunParts, own: &Value, told: impl Fn(&[u64]) -> String) -> Result<()> {
    let is_other = |run: &Value| resume::without_blocks(run) != *own;
    let others: Vec<_> = parts.runs().filter(|(_, run)| is_other(run)).collect();
    let Some((_, run)) = others.first() else {
        return Ok(());
    };
    let numbers: Vec<u64> = others.iter().map(|(number, _)| *number).collect();
    let (what, differs) = (told(&numbers), resume::difference(run, own));
    bail!("Cannot {what}, of another plan than this command: {differs}; run them again")
}
