//! Going on where an earlier run of the same inputs and options ended; in a dry run, telling how far that got.
//!
//! Two calls, as the seed is between them: `keep_finished` claims the folder of kept outputs and returns whose they
//! are; `resume` is given the identity of this run, seed included, and keeps those from the first on that it has in
//! common with the other.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;
use tracing::info;

use super::Session;
use crate::commands::resume;
use crate::output::Kept;
use crate::output::run_parts::RunPart;
use crate::report::words::{count, thousands};

impl Session<'_> {
    /// From now on keeps finished outputs whose names begin with `prefix`, if the run ends early, or is one `part` of
    /// all. Returns the identity of a run of theirs that did.
    pub fn keep_finished(&mut self, prefix: &Path, part: Option<RunPart>) -> Result<Option<Value>> {
        if self.options.dry_run {
            let kept = Kept::look(prefix)?;
            let run = kept.run.clone();
            self.looked_at = Some(kept);
            return Ok(run);
        }
        match part {
            Some(part) => self.outputs.resume_part(prefix, part),
            None => self.outputs.resume(prefix),
        }
    }

    /// Goes on where a run of the same `identity` ended. Returns how many outputs it has kept, from the first.
    pub fn resume(&mut self, identity: &Value) -> Result<usize> {
        let (before, theirs, all) = match &self.looked_at {
            Some(kept) => (kept.count(), kept.run.clone(), self.named.len()),
            None => {
                let outputs = &self.outputs;
                (outputs.kept(), outputs.kept_run(), outputs.count())
            }
        };
        self.whole = match &self.looked_at {
            Some(kept) => kept.whole(identity, &self.named),
            None => self.outputs.start(identity)?,
        };
        match (before, self.whole) {
            (0, _) => {}
            (_, 0) => info!(
                "Resuming: none of {} is used: {}; all {} are written",
                count(before as u64, "kept shard"),
                resume::why_unused(theirs.as_ref(), identity),
                thousands(all as u64)
            ),
            (_, whole) => info!(
                "Resuming: {} of {} are kept, {} are written",
                thousands(whole as u64),
                count(all as u64, "shard"),
                thousands((all - whole) as u64)
            ),
        }
        // Those that are kept were not digested by this run.
        if let (Some(digests), false) = (&self.digests, self.options.dry_run) {
            let kept = self.staged.iter().take(self.whole);
            kept.for_each(|path| digests.begin(path));
        }
        Ok(self.whole)
    }
}
