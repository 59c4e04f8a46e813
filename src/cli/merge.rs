//! The arguments of `merge`.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, Args, ValueEnum};

use super::shared::{MachineArgs, OutputArgs, ReadArgs};

pub const EXAMPLES: &str = "\
EXAMPLES
  All shards, shard_2 before shard_10
      annslicer merge pbmc.h5ad 'out/pbmc_shard_*.h5ad' --natural-sort

  Only the genes that both files have, as a Zarr store
      annslicer merge both.zarr donor1.h5ad donor2.h5ad --join inner

  A column 'donor' that tells the file, and names of cells that tell it too: AAAC-d1, ...
      annslicer merge both.h5ad a.h5ad b.h5ad --label donor --keys d1 d2 --index-unique -";

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
    pub sources: SourceArgs,
    #[command(flatten)]
    pub output_options: OutputArgs,
    #[command(flatten)]
    pub read: ReadArgs,
    #[command(flatten)]
    pub machine: MachineArgs,
}

/// What tells from which file a cell is.
#[derive(Args, Debug)]
#[command(next_help_heading = "Sources")]
#[group(skip)]
#[command(group = ArgGroup::new("told").args(["label", "index_unique"]).multiple(true))]
pub struct SourceArgs {
    /// Add this column to obs, a categorical that holds the key of each cell's file
    #[arg(long, value_name = "COLUMN", value_parser = NonEmptyStringValueParser::new())]
    pub label: Option<String>,

    /// Keys of the files, one for each, in their order; give them after the inputs, or end them
    /// with '--' [default: the files' names without extension]
    #[arg(long, value_name = "KEY", num_args = 1.., requires = "told")]
    pub keys: Vec<String>,

    /// Put this and the key of its file after the name of each cell
    #[arg(long, value_name = "SEPARATOR")]
    pub index_unique: Option<String>,
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
