//! The arguments of `info`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::shared::{Machine, ReadArgs};
use crate::output;
use crate::store::Access;

pub const EXAMPLES: &str = "\
EXAMPLES
  Elements with their types, shapes, storage and categories
      annslicer info pbmc.h5ad

  The number of cells of each shard
      annslicer info --json out/pbmc_shard_*.h5ad | jq '.[].shape[0]'";

#[derive(Args, Debug)]
pub struct InfoArgs {
    /// Files to look at (.h5ad or .zarr), or quoted patterns
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Print a JSON array with an object for each file, sizes in bytes
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    #[command(flatten)]
    pub read: ReadArgs,
}

/// What `info` is asked, resolved.
pub struct InfoRequest {
    pub files: Vec<PathBuf>,
    pub json: bool,
    pub access: Access,
}

impl InfoArgs {
    pub fn resolve(self, machine: Machine) -> Result<InfoRequest> {
        Ok(InfoRequest {
            files: output::expand_patterns(&self.files)?,
            json: self.json,
            access: self.read.access(machine.memory),
        })
    }
}
