//! Several inputs into one output, in their order: frames and text of an input are appended when it is opened, and its
//! matrices as the engine appends those of any source.
//!
//! Where several processes write the output, each writes its portion of the matrices, and one all else.

use std::path::Path;
use std::slice::from_mut;

use anyhow::{Result, ensure};
use tracing::warn;

use super::output::OutputFile;
use super::{Engine, OpenOutput, Request, needs, plan};
use crate::merge::joined::JoinedInputs;
use crate::merge::rows::JoinedRows;
use crate::report::preview::{Planned, Preview};
use crate::resources::{Need, ensure_room};
use crate::store::Portion;

/// Writes the one output. `needs` gets the room on disk that it takes, as that becomes known: where the disk is full
/// after all, the error tells it.
pub fn run(inputs: JoinedInputs, request: &Request, needs: &mut Vec<Need>) -> Result<()> {
    ensure!(
        request.outputs.len() == 1,
        "Joined inputs are written to one output"
    );
    needs.push(needs::of_joined(&inputs, request));
    ensure_room(needs)?;
    let file = OutputFile::create(&request.outputs[0], request, None)?;
    let scratch = request.scratch.folder()?;
    let Some(portion) = request.portion else {
        return run_all(inputs, (file, &scratch), request, needs);
    };
    // All that is no matrix is written by one process alone.
    let (rows, mut selection) = if portion == Portion::Metadata {
        let (rows, selection) = inputs.begin_any(&file.root, &scratch)?;
        (Some(rows), selection)
    } else {
        (None, inputs.matrices(&scratch)?)
    };
    let engine = Engine::new(&mut selection, request, needs)?;
    let mut open = engine.begin(0, file, None)?;
    engine.append_portion(&mut open, portion)?;
    end(&engine, open, rows)
}

/// Writes everything: of one input after another frames and text, then its rows of the matrices.
fn run_all(
    inputs: JoinedInputs,
    (file, scratch): (OutputFile, &Path),
    request: &Request,
    needs: &mut Vec<Need>,
) -> Result<()> {
    let (mut rows, mut selection) = inputs.begin(&file.root, scratch)?;
    let engine = Engine::new(&mut selection, request, needs)?;
    let mut open = engine.begin(0, file, None)?;
    for (input, cells) in rows.inputs().into_iter().enumerate() {
        // Input by input, so that an input is open once for its frames and its matrices.
        engine.begin_step(cells.end - cells.start);
        rows.append(input)?;
        engine.append(from_mut(&mut open), &|_| cells.clone())?;
        request.progress.end();
    }
    end(&engine, open, Some(rows))
}

fn end(engine: &Engine, open: OpenOutput, rows: Option<JoinedRows>) -> Result<()> {
    let warning = rows.map(|rows| rows.finish(&open.file.root)).transpose()?;
    engine.close(open)?;
    if let Some(warning) = warning.flatten() {
        warn!("{warning}");
    }
    Ok(())
}

/// What [`run`] would do of `from`. Writes nothing.
pub fn preview(inputs: &JoinedInputs, request: &Request, from: &str) -> Result<Preview> {
    let threads = rayon::current_num_threads();
    let bytes = match request.portion {
        Some(Portion::Part(_, of)) => inputs.bytes()? / of,
        _ if request.container.is_virtual => inputs.bytes_beside(),
        _ => inputs.bytes()?,
    };
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
        stages: None,
        kept: 0,
    })
}
