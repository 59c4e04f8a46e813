//! `annslicer merge`: many files into one, the rows of one after those of the other.
//!
//! All inputs are looked at first, so that what cannot be put together is refused before a byte is written. Then the
//! engine writes their rows as those of one source. A part of a merge ([`portions`]) goes the same way, but writes only
//! chunks of its own, and ends without publishing: obs, var and `uns` are left to --finish.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tracing::{info, warn};

use super::earlier::{Earlier, cells_of, is_earlier};
use super::portions;
use super::session::{Published, Session, Task};
use crate::cli::MergeRequest;
use crate::extract::{Order, Source};
use crate::output;
use crate::report::words::{count, thousands};

pub fn run(request: MergeRequest) -> Result<()> {
    let (paths, output) = (&request.join.inputs, &request.output);
    let options = &request.options;
    let mut session = Session::begin(
        options,
        &request.join,
        request.join.reads().cloned().collect(),
    )?;
    if portions::is_done(&request, &session)? {
        return Ok(());
    }
    // Each part stages a store of its own name, so that parts do not claim the output from one another.
    let named = request.part.map(|part| part.portion_of(output));
    session.name(vec![named.unwrap_or_else(|| output.clone())])?;
    portions::claim(&request, &mut session)?;
    let inputs = count(paths.len() as u64, "file");
    info!("Merging {inputs} into {}...", output.display());
    warn_of_missing(paths);
    let inputs = session.look(&request.join, &[])?;
    let cells = inputs.cells();
    let blame = || format!("Cannot merge into {}", output.display());
    if options.container.is_virtual {
        inputs.refuse_unlinked().with_context(blame)?;
    }
    if !request.overwrite {
        // The output comes first, so `merge *.h5ad` names one of the inputs as the output.
        let again = || cells_of(output, &options.access) == Some(cells);
        let is_earlier = || is_earlier(output, paths, &options.access, Earlier::Merge);
        output::refuse_forgotten(output, paths, again, is_earlier)?;
    }
    let portion = portions::stage(&request, &mut session)?;
    let scratch = session.scratch()?;
    let task = Task {
        what: "Merging",
        from: request.join.name(),
        order: Order::AsIs,
        cuts: vec![0, cells],
        waves: None,
        stages: None,
        budget: session.in_order(),
        scratch: &scratch,
        portion,
    };
    session
        .extract(Source::Joined(Box::new(inputs)), task)
        .with_context(blame)?;
    drop(scratch); // before the staging folder that holds it is removed
    if let Some(part) = request.part {
        return portions::end(part, session);
    }
    if let Some(published) = session.publish(None)? {
        tell(&published, &request, cells)?;
    }
    Ok(())
}

/// Says what was merged.
fn tell(published: &Published, request: &MergeRequest, cells: u64) -> Result<()> {
    let (inputs, output) = (&request.join.inputs, &request.output);
    info!(
        "Merged {} of {} into {} in {:.1} s.",
        count(cells, "cell"),
        count(inputs.len() as u64, "file"),
        published.paths.first().unwrap_or(output).display(),
        published.seconds
    );
    if request.options.container.is_virtual {
        info!(
            "Its matrices are read from the inputs: keep these, and move them only together with it."
        );
        if !are_below(output, inputs)? {
            info!(
                "Some inputs are not below its folder: annslicer reads it with --follow-external."
            );
        }
    }
    published.tell_growth(1.0, 0);
    Ok(())
}

/// Whether all inputs lie in the folder of the output, or below. Then annslicer, which reads nothing outside that
/// folder unless it is told to, reads the output without an option.
fn are_below(output: &Path, inputs: &[PathBuf]) -> Result<bool> {
    let output = output::resolve(output)?;
    let folder = output.parent().unwrap_or(Path::new("/"));
    for input in inputs {
        if !output::resolve(input)?.starts_with(folder) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Warns where shards of one prefix are not all there. Of `x_shard_0` and `x_shard_2`, number 1 may be forgotten, or
/// left out on purpose.
fn warn_of_missing(inputs: &[PathBuf]) {
    if let Some((first, last, missing)) = output::missing_shards(inputs) {
        let numbers = match missing {
            1 => format!("number {first} is"),
            n => format!("{} between {first} and {last} are", thousands(n)),
        };
        warn!("The inputs are shards of one prefix, of which {numbers} not among them");
    }
}
