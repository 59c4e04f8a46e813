//! `annslicer merge`: many files into one, the rows of one after those of the other.
//!
//! All inputs are looked at first, so that what cannot be put together is refused before a byte is written. Then the
//! engine writes their rows as those of one source.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tracing::{info, warn};

use super::session::{Session, Task};
use crate::anndata::columns;
use crate::cli::{JoinRequest, MergeRequest};
use crate::extract::{Order, RowSource};
use crate::merge::joined::JoinedInputs;
use crate::output;
use crate::report::words::{count, thousands};
use crate::store::{self, Access};

pub fn run(request: MergeRequest) -> Result<()> {
    let JoinRequest {
        inputs: paths,
        modes,
        sources,
        genes,
        ..
    } = &request.join;
    let (files, output) = (paths.len(), &request.output);
    let options = &request.options;
    let mut session = Session::begin(options, request.join.reads().cloned().collect())?;
    session.name(vec![output.clone()])?;
    session.claim(output)?;
    let inputs = count(files as u64, "file");
    info!("Merging {inputs} into {}...", output.display());
    warn_of_missing(paths);
    let elements = &options.elements;
    let genes = genes.as_ref();
    let inputs = JoinedInputs::look(paths, (options.access, elements), *modes, sources, genes)?;
    let cells = inputs.cells();
    if !request.overwrite {
        let again = || cells_of(output, &options.access) == Some(cells);
        output::refuse_forgotten(output, paths, again)?;
    }
    session.stage()?;
    let scratch = session.scratch()?;
    let task = Task {
        what: "Merging",
        from: request.join.name(),
        order: Order::AsIs,
        cuts: vec![0, cells],
        budget: session.in_order(),
        scratch: &scratch,
    };
    session
        .extract(RowSource::Joined(Box::new(inputs)), task)
        .with_context(|| format!("Cannot merge into {}", output.display()))?;
    if let Some(published) = session.publish(None)? {
        let placed = published.paths.first().unwrap_or(output).display();
        let seconds = published.seconds;
        info!(
            "Merged {} of {} into {placed} in {seconds:.1} s.",
            count(cells, "cell"),
            count(files as u64, "file")
        );
        published.tell_growth(1.0);
    }
    Ok(())
}

/// The cells of a file, if it can be read.
fn cells_of(path: &Path, access: &Access) -> Option<u64> {
    columns::length(&store::open(path, access).ok()?, "obs").ok()
}

/// Warns where shards of one prefix are not all there.
fn warn_of_missing(inputs: &[PathBuf]) {
    if let Some((first, last, missing)) = output::missing_shards(inputs) {
        let numbers = match missing {
            1 => format!("number {first} is"),
            n => format!("{} between {first} and {last} are", thousands(n)),
        };
        warn!("The inputs are shards of one prefix, of which {numbers} not among them");
    }
}
