//! `annslicer filter`: some of the cells of one file.
//!
//! Conditions narrow a mask, in which each cell has a byte; then come the sample and the order. What is left is a list
//! of rows, 4 bytes each, which the engine writes as the one output. Without conditions on cells (genes or elements are
//! chosen) the list has all of them, which [`Order::of`] sees.

use anyhow::{Context, Result};
use tracing::{info, warn};

use super::earlier::{Earlier, is_earlier};
use super::session::{Session, Task};
use crate::cells::choice::Choice;
use crate::cells::key::Key;
use crate::cells::sample::sample;
use crate::cells::{Obs, column, eval, names};
use crate::cli::{FilterRequest, Sampling, WhichArgs};
use crate::extract::{Order, Source};
use crate::output;
use crate::report::words::count;
use crate::resources::format_size;
use crate::store::Format;

pub fn run(request: FilterRequest) -> Result<()> {
    let (input, output) = (request.join.name(), request.output.display());
    let blame = |error| request.join.blame("Cannot filter", error);
    let mut session = Session::begin(&request.options, &request.join, request.reads())?;
    session.name(vec![request.output.clone()])?;
    // `filter OUTPUT INPUT` would overwrite a file that somebody needs: one that is there beside the input, or is
    // called as it is, is replaced only if its cells come from the input.
    if !request.overwrite {
        let (inputs, access) = (&request.join.inputs, &request.options.access);
        let is_earlier = || is_earlier(&request.output, inputs, access, Earlier::Filter);
        output::refuse_turned(&request.output, inputs, is_earlier)?;
    }
    session.claim(&request.output)?;
    let scratch = session.scratch()?;
    let opened = session.open(&request.join, &request.chosen_by(), &scratch);
    let (root, mut selection) = opened.map_err(blame)?;
    let (table, columns) = (&request.which.table, request.columns());
    let obs = session.obs(&root, &mut selection, table, &columns, &scratch);
    let kept = obs.and_then(|obs| choose(&request, &obs)).map_err(blame)?;
    let rows = kept.len() as u64;
    info!(
        "Filtering {input}: {} in → {} out → {output}",
        count(selection.cells, "cell"),
        count(rows, "cell")
    );
    if rows == 0 {
        warn!("No cell is kept: {output} will have none");
    }
    session.stage()?;
    let seed = request.sampling.as_ref().map(|sampling| &sampling.seed);
    let order = Order::of(Some(kept), selection.cells);
    let task = Task {
        what: "Filtering",
        from: request.join.name(),
        budget: session.budget(&order),
        order,
        cuts: vec![0, rows],
        waves: None,
        stages: None,
        scratch: &scratch,
        portion: None,
    };
    session
        .extract(Source::File(&mut selection), task)
        .map_err(blame)?;
    if let Some(published) = session.publish(seed)? {
        let size = match request.options.container.format {
            Format::H5ad => format!(" ({} written)", format_size(published.bytes())),
            Format::Zarr => String::new(),
        };
        info!("Filter complete in {:.1} s{size}.", published.seconds);
        published.tell_growth(rows as f64 / selection.cells.max(1) as f64, 0);
    }
    Ok(())
}

/// The cells that are written, in their order.
fn choose(request: &FilterRequest, obs: &Obs) -> Result<Vec<u32>> {
    let mut cells = kept(&request.which, obs, request.options.machine.memory)?;
    if let Some(Sampling {
        how,
        stratify,
        seed,
    }) = &request.sampling
    {
        // Also where it was typed: the log is enough to repeat the run.
        info!("Sample at random (seed={seed}).");
        let strata = stratify
            .as_ref()
            .map(|name| Key::of(obs, name))
            .transpose()?;
        cells = sample(&cells, *how, strata.as_ref(), seed)?;
    }
    let chosen = Choice::all(cells.len() as u64, Some(cells));
    let sorted = chosen.sorted(obs, &request.sort_by)?;
    Ok(sorted.cells.unwrap_or_default())
}

/// The cells that pass all that is asked for, or those that do not.
fn kept(which: &WhichArgs, obs: &Obs, memory: u64) -> Result<Vec<u32>> {
    let mut mask = vec![true; usize::try_from(obs.frame.rows())?];
    if let Some(name) = &which.obs_column {
        column::keep(&obs.column(name)?, name, &mut mask)?;
    }
    if let Some(expr) = &which.expr {
        eval::keep(obs, expr, &mut mask).context("Cannot evaluate --where")?;
    }
    if let Some(path) = &which.cells {
        names::keep(obs, path, which.missing_ok, memory, &mut mask)?;
    }
    let cells = mask.iter().zip(0..);
    Ok(cells
        // --invert turns all conditions together, not each.
        .filter(|(keep, _)| **keep != which.invert)
        .map(|(_, cell)| cell)
        .collect())
}
