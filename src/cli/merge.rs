//! The arguments of `merge`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::joining::{JoinArgs, JoinRequest};
use super::shared::{Machine, MachineArgs, Options, OutputArgs, ReadArgs, ReplaceArgs};
use crate::store::Format;

pub const EXAMPLES: &str = "\
EXAMPLES
  All shards, shard_2 before shard_10
      annslicer merge pbmc.h5ad 'out/pbmc_shard_*.h5ad' --natural-sort

  Whether the files go together, and what the result will take
      annslicer merge pbmc.h5ad 'out/pbmc_shard_*.h5ad' --dry-run

  Only the genes that both files have, as a Zarr store
      annslicer merge both.zarr donor1.h5ad donor2.h5ad --join inner

  A column 'donor' that tells the file, and names of cells that tell it too: AAAC-d1, ...
      annslicer merge both.h5ad a.h5ad b.h5ad --label donor --keys d1 d2 --index-unique -";

#[derive(Args, Debug)]
pub struct MergeArgs {
    /// File to write: .h5ad or .zarr
    pub output: PathBuf,

    /// Files to merge, in this order, or quoted patterns such as 'out/*.h5ad', whose files are sorted by name
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,

    #[command(flatten)]
    pub join: JoinArgs,
    #[command(flatten)]
    pub output_options: OutputArgs,
    #[command(flatten)]
    pub replace: ReplaceArgs,
    #[command(flatten)]
    pub read: ReadArgs,
    #[command(flatten)]
    pub machine: MachineArgs,
}

/// What `merge` is asked, resolved.
pub struct MergeRequest {
    pub output: PathBuf,
    pub join: JoinRequest,
    /// Whether an output that looks like an input is replaced.
    pub overwrite: bool,
    pub options: Options,
}

impl MergeArgs {
    pub fn resolve(self, machine: Machine, quiet: bool) -> Result<MergeRequest> {
        let container = self.output_options.container(Format::of(&self.output)?)?;
        let options = self
            .output_options
            .settle(container, &self.read, machine, None, quiet);
        Ok(MergeRequest {
            output: self.output,
            join: self
                .join
                .resolve(self.inputs, options.max_categories, false)?,
            overwrite: self.replace.overwrite,
            options,
        })
    }
}
