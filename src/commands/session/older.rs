//! Shards of an earlier run beside the outputs.
//!
//! `pbmc_shard_*.h5ad` takes the new shards 0 to 4 and the old ones 5 to 9, and cells twice. So they are warned of, or
//! go when the new ones take their places.

use std::path::Path;

use anyhow::Result;
use tracing::{info, warn};

use super::Session;
use crate::output;
use crate::report::words::{clause, count};

impl Session<'_> {
    /// Looks for shards of an earlier run, called `prefix` and a number, or as the outputs are. They are removed when the
    /// outputs take their places if `clean` is set. Of a split, cells of other parts may be in these outputs by now.
    /// Inputs are none of them, whatever they are called.
    pub fn find_older(&mut self, prefix: &Path, clean: bool, is_split: bool) -> Result<()> {
        let mut found = output::other_shards(prefix, &self.named, self.options.container.format);
        for shards in [&mut found.older, &mut found.longer] {
            *shards = output::without_inputs(std::mem::take(shards), &self.inputs)?;
        }
        if let (true, [first, ..]) = (is_split, found.longer.as_slice()) {
            warn!(
                "{} of other parts here, such as {}: where that is a part of an earlier split, remove them, as their \
                 cells are in these outputs now",
                clause(found.longer.len() as u64, "shard", ("is", "are")),
                first.display()
            );
        }
        self.older = found.older;
        if clean && !self.options.dry_run {
            self.older.iter().for_each(|path| self.outputs.remove(path));
        }
        self.tell_older(clean);
        Ok(())
    }

    /// Says which those are, the first and the last by name.
    fn tell_older(&self, clean: bool) {
        let (Some(first), Some(last)) = (self.older.first(), self.older.last()) else {
            return;
        };
        let names = match self.older.len() {
            1 => first.display().to_string(),
            _ => format!("{} to {}", first.display(), last.display()),
        };
        let shards = count(self.older.len() as u64, "older shard");
        if clean {
            info!("--clean: {shards} of this prefix go with this run: {names}");
        } else {
            let remain = if self.older.len() == 1 {
                "remains"
            } else {
                "remain"
            };
            warn!(
                "{shards} of this prefix {remain}, which a pattern would merge too: {names}; --clean removes what a \
                 run does not replace"
            );
        }
    }
}
