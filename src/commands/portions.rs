//! `merge` into one Zarr store in parts, each a process of its own. The portion of a part is some chunks of each matrix;
//! whoever finishes writes all else. No two parts write one chunk (nor one Zarr shard): the work is cut where those of
//! the output begin, not where inputs do (`store/zarr/portion.rs`). A part keeps a record as a run of slice that may be
//! resumed does, of one output; but it is whole or written anew.

use anyhow::Result;
use tracing::info;

use super::session::Session;
use super::{resume, slice_parts};
use crate::cli::MergeRequest;
use crate::output::run_parts::RunPart;
use crate::store::Portion;

/// Whether this is a part that is whole already; says so.
pub fn is_done(request: &MergeRequest, session: &Session) -> Result<bool> {
    let Some(part) = request.part.filter(|_| !request.options.dry_run) else {
        return Ok(false);
    };
    let own = resume::of_merge(request, &session.fingerprints, part.of);
    slice_parts::is_whole(part, &request.output, &own)
}

/// Claims the output of a merge; the one that finishes takes over the chunks of all parts first.
///
/// # Errors
/// Parts that are missing, or of another run.
pub fn claim(request: &MergeRequest, session: &mut Session) -> Result<()> {
    let output = &request.output;
    if request.finish {
        let own = |of| resume::of_merge(request, &session.fingerprints, of);
        let parts = slice_parts::all(output, own)?;
        session.take_portions(&parts)?;
    }
    if request.part.is_some() {
        return Ok(());
    }
    session.claim(output)
}

/// Makes the staging folder of a merge. Returns what this process writes of it; `None` is everything.
pub fn stage(request: &MergeRequest, session: &mut Session) -> Result<Option<Portion>> {
    if let Some(part) = request.part {
        session.take_portion(&request.output, part)?;
    }
    session.stage()?;
    // The one that finishes writes metadata and all that is no matrix; the chunks of the parts are linked into its
    // store when that is whole (`Session::finished`).
    let Some(RunPart { number, of, .. }) = request.part else {
        return Ok(request.finish.then_some(Portion::Metadata));
    };
    if !request.options.dry_run {
        session.resume(&resume::of_merge(request, &session.fingerprints, of))?;
    }
    Ok(Some(Portion::Part(number - 1, of)))
}

/// Ends the part of a merge that `session` has written.
pub fn end(part: RunPart, session: Session) -> Result<()> {
    let is_dry = session.options.dry_run;
    session.end_portion()?;
    if !is_dry {
        let RunPart { number, of, .. } = part;
        info!("Part {number} of {of} is done, and waits for --finish.");
    }
    Ok(())
}
