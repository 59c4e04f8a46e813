//! `annslicer merge`: many files into one, the rows of one after those of the other.
//!
//! All inputs are looked at first, so that what cannot be put together is refused before a byte is written. Then the
//! engine writes their rows as those of one source.

use anyhow::{Context, Result};
use tracing::info;

use super::session::{Session, Task};
use crate::cli::MergeRequest;
use crate::extract::{Order, RowSource};
use crate::merge::joined::JoinedInputs;

pub fn run(request: MergeRequest) -> Result<()> {
    let (files, output) = (request.inputs.len(), &request.output);
    let options = &request.options;
    let mut session = Session::begin(options, request.inputs.clone())?;
    session.name(vec![output.clone()])?;
    session.claim(output)?;
    info!("Merging {files} files into {}...", output.display());
    let (paths, sources) = (&request.inputs, &request.sources);
    let inputs = JoinedInputs::look(paths, options.access, request.modes, sources)?;
    let cells = inputs.cells();
    session.stage()?;
    let scratch = session.scratch()?;
    let task = Task {
        what: "Merging",
        from: match request.typed.as_slice() {
            [one] => one.display().to_string(),
            many => format!("{} inputs", many.len()),
        },
        order: Order::AsIs,
        cuts: vec![0, cells],
        format: request.format,
        budget: session.in_order(),
        scratch: &scratch,
    };
    session
        .extract(RowSource::Joined(Box::new(inputs)), task)
        .with_context(|| format!("Cannot merge into {}", output.display()))?;
    if let Some(published) = session.publish(None)? {
        let placed = published.paths.first().unwrap_or(output).display();
        let seconds = published.seconds;
        info!("Merged {cells} cells of {files} files into {placed} in {seconds:.1} s.");
    }
    Ok(())
}
