//! Outputs of several inputs, joined: the rows of one input after those of another, as they are stored where that can be.

use anyhow::{Result, ensure};
use tracing::warn;

use super::output::OutputFile;
use super::{Request, needs, plan};
use crate::merge::joined::JoinedInputs;
use crate::report::preview::{Planned, Preview};
use crate::resources::{Need, ensure_room};

/// Room for `needs`, once they are known.
pub fn run(inputs: JoinedInputs, request: &Request, needs: &mut Vec<Need>) -> Result<()> {
    ensure!(
        request.outputs.len() == 1,
        "Joined inputs are written to one output"
    );
    needs.extend(needs::of_joined(&inputs, request));
    ensure_room(needs)?;
    let output = OutputFile::create(&request.outputs[0], request, None)?;
    let mut rows = inputs.create(&output.root, &request.scratch.folder()?)?;
    request.progress.weigh(rows.work());
    while rows.append_next(request.progress)? {}
    let warning = rows.finish(&output.root)?;
    output.finish()?;
    if let Some(warning) = warning {
        warn!("{warning}");
    }
    (request.finished)(0)
}

/// What [`run`] would do of `from`. Writes nothing.
pub fn preview(inputs: &JoinedInputs, request: &Request, from: &str) -> Result<Preview> {
    let (bytes, threads) = (inputs.bytes()?, rayon::current_num_threads());
    let outputs = request.outputs.iter().map(|path| Planned {
        path: path.clone(),
        rows: inputs.cells(),
        bytes,
        files: None,
    });
    Ok(Preview {
        from: from.into(),
        outputs: outputs.collect(),
        reading: "input after input, block by block".into(),
        memory: plan::memory(request.budget.wave.min(bytes), 0, threads),
        scratch: inputs.scratch_bytes(),
        threads,
    })
}
