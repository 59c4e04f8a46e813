//! The arguments of `merge`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::shared::{MachineArgs, OutputArgs, ReadArgs};

pub const EXAMPLES: &str = "\
EXAMPLES
  All shards, shard_2 before shard_10
      annslicer merge pbmc.h5ad 'out/pbmc_shard_*.h5ad' --natural-sort

  Only the genes that both files have, as a Zarr store
      annslicer merge both.zarr donor1.h5ad donor2.h5ad --join inner";

#[derive(Args, Debug)]
pub struct MergeArgs {
    /// The file to write: .h5ad or .zarr
    pub output: PathBuf,

    /// Files or quoted glob patterns, in order; the matches of a pattern are sorted by name
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,

    /// Genes that differ between files: keep those of every file, or of any
    #[arg(long, value_enum, default_value_t, help_heading = "Merging")]
    pub join: Join,

    /// Sort the matches of a pattern by the numbers in them: shard_2 before shard_10
    #[arg(long, help_heading = "Merging")]
    pub natural_sort: bool,

    #[command(flatten)]
    pub output_options: OutputArgs,
    #[command(flatten)]
    pub read: ReadArgs,
    #[command(flatten)]
    pub machine: MachineArgs,
}

/// How the genes of files are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Join {
    /// The genes that every file has
    Inner,
    /// The genes of all files
    #[default]
    Outer,
}
