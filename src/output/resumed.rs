//! Outputs of a run that may be resumed: which of them an earlier run has finished, and what is noted of those that are.
//!
//! The record is written beside the outputs ([`Kept`]) and names only what is flushed. Whether a run is the same is
//! decided by its identity (`commands/resume.rs`), which is compared as JSON, and by the inode, size and time of what
//! is there.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::path::Path;

use anyhow::Result;
use serde_json::Value;
use tracing::info;

use super::kept::Kept;
use super::staging::StagingFolder;
use super::{Outputs, split_prefix};
use crate::report::words::clause;

impl Outputs {
    /// From now on the outputs that begin with `prefix` are kept, each when it is finished, if the run
    /// ends before all are. Returns what a run of theirs that was not finished called itself.
    pub fn resume(&mut self, prefix: &Path) -> Result<Option<Value>> {
        let (parent, name) = split_prefix(prefix)?;
        let what = parent.join(&name).display().to_string();
        self.keep(&parent, &name, &what)
    }

    /// The same in the folder of `parent` that is called after `name`; `what` is written there.
    pub(super) fn keep(
        &mut self,
        parent: &Path,
        name: &OsStr,
        what: &str,
    ) -> Result<Option<Value>> {
        self.make(parent)?;
        let folder = StagingFolder::claim_kept(parent, name, what)?;
        let kept = Kept::read(&folder.path);
        let run = kept.run.clone();
        self.staging.push(folder);
        self.kept = Some(RefCell::new(kept));
        Ok(run)
    }

    /// How many outputs were asked for.
    pub fn count(&self) -> usize {
        self.outputs.len()
    }

    /// How many outputs a run that was not finished has kept.
    pub fn kept(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.borrow().count())
    }

    /// What the run calls itself that has kept them.
    pub fn kept_run(&self) -> Option<Value> {
        let kept = self.kept.as_ref()?;
        kept.borrow().run.clone()
    }

    /// Begins to write the outputs that were asked for, or where this is the `run` that is resumed,
    /// to go on. Returns how many of them, from the first, are whole already.
    pub fn start(&mut self, run: &Value) -> Result<usize> {
        let Some(kept) = &mut self.kept else {
            return Ok(0);
        };
        let kept = kept.get_mut();
        let mut whole = 0;
        if kept.run.as_ref() == Some(run) {
            for output in &mut self.outputs {
                let Some(stands) = kept.stands(&output.place) else {
                    break;
                };
                output.stands = stands;
                whole += 1;
            }
        }
        kept.start(run, whole)?;
        self.staging.iter().for_each(|folder| kept.tell(folder));
        Ok(whole)
    }

    /// Notes that the output of that number is whole.
    pub fn finished(&self, output: usize) -> Result<()> {
        let (Some(kept), Some(output)) = (&self.kept, self.outputs.get(output)) else {
            return Ok(());
        };
        let mut kept = kept.borrow_mut();
        if kept.add(&output.staged)? {
            self.staging.iter().for_each(|folder| kept.tell(folder));
        }
        Ok(())
    }

    /// Notes what is kept for a run to resume.
    pub(super) fn note_kept(&mut self) {
        let Some(kept) = self.kept.take() else { return };
        let mut kept = kept.into_inner();
        let _ = kept.write(); // what cannot be noted is written again
        self.staging.iter().for_each(|folder| kept.tell(folder));
        if kept.count() > 0 {
            info!(
                "{} kept for --resume",
                clause(kept.count() as u64, "finished output", ("is", "are"))
            );
        }
    }
}
