//! The arguments of `annslicer check`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::shared::{Machine, MachineArgs, ReadArgs};
use crate::output;
use crate::store::Access;

pub const EXAMPLES: &str = "\
EXAMPLES
  Every shard of a run
      annslicer check out/pbmc_shard_*.h5ad

  Whether loaders of training code take the shards together
      annslicer check --set out/pbmc_shard_*.h5ad

  The faults of a file, for a program
      annslicer check --json atlas.h5ad | jq '.[0].findings[] | select(.level == \"error\")'";

#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Files to check (.h5ad or .zarr), or quoted patterns
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Check the files as a set instead: whether loaders of training code take them together. Values of matrices are not
    /// read
    #[arg(long)]
    pub set: bool,

    /// Print a JSON array with an object for each file; with --set an object
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    #[command(flatten)]
    pub read: ReadArgs,
    #[command(flatten)]
    pub machine: MachineArgs,
}

/// What `check` is asked, resolved.
pub struct CheckRequest {
    pub files: Vec<PathBuf>,
    pub json: bool,
    pub set: bool,
    /// Bytes that the values of one element may take.
    pub budget: u64,
    pub access: Access,
}

impl CheckArgs {
    pub fn resolve(self, machine: Machine) -> Result<CheckRequest> {
        let budget = machine.memory / 2;
        Ok(CheckRequest {
            files: output::expand_patterns(&self.files)?,
            json: self.json,
            set: self.set,
            budget,
            access: self.read.access(budget),
        })
    }
}
