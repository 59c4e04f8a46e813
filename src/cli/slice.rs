//! The arguments of `slice`.

use std::{num::NonZeroU64, path::PathBuf};

use clap::Args;

use super::positive;
use super::shared::{MachineArgs, OutputArgs, ReadArgs, ScratchArgs, TableArgs};
use crate::permutation::Seed;
use crate::resources::parse_size;

pub const EXAMPLES: &str = "\
EXAMPLES
  Shards of 10000 cells: out/pbmc_shard_0.h5ad, out/pbmc_shard_1.h5ad, ...
      annslicer slice pbmc.h5ad out/pbmc

  Each shard a random sample, the same again with the same seed
      annslicer slice pbmc.h5ad out/pbmc --size 5000 --shuffle --seed 0

  Compressed shards of a Zarr store, with 4 threads in about 8 GB
      annslicer slice atlas.zarr shards/atlas --compression gzip -j 4 --memory-limit 8GB

  The same in a batch queue, where the job may be stopped and run again
      annslicer slice atlas.zarr shards/atlas --compression gzip --resume

  What would be written, and what it takes; then with checksums of each shard
      annslicer slice pbmc.h5ad out/pbmc --size 5000 --dry-run
      annslicer slice pbmc.h5ad out/pbmc --size 5000 --manifest out/pbmc.json

  Categories in every shard, however many there are
      annslicer slice pbmc.h5ad out/pbmc --max-categories 0

  A shard for each perturbation, each with the controls too: out/screen_TP53.h5ad, ...
      annslicer slice screen.h5ad out/screen --obs-column gene --always-include non-targeting";

#[derive(Args, Debug)]
pub struct SliceArgs {
    /// The file to cut: .h5ad or .zarr
    pub input: PathBuf,

    /// Start of the shards' names: PREFIX_shard_0.h5ad, ...; missing folders are made
    pub prefix: PathBuf,

    #[command(flatten)]
    pub order: OrderArgs,
    #[command(flatten)]
    pub by: ByArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub read: ReadArgs,
    #[command(flatten)]
    pub machine: MachineArgs,

    /// Keep finished shards if the run ends early, and do not write again those that a run of the
    /// same input and options has kept
    #[arg(long, help_heading = "Output")]
    pub resume: bool,

    #[command(flatten)]
    pub scratch: ScratchArgs,
}

/// Which cells go into which shard.
#[derive(Args, Debug)]
#[command(next_help_heading = "Shards")]
pub struct OrderArgs {
    /// Cells per shard; the last one holds the rest
    #[arg(long, value_name = "N", default_value = "10000")]
    #[arg(value_parser = positive::<NonZeroU64>, allow_hyphen_values = true)]
    pub size: NonZeroU64,

    /// So many shards of nearly equal size, instead
    #[arg(long, value_name = "N", conflicts_with = "size")]
    #[arg(value_parser = positive::<NonZeroU64>, allow_hyphen_values = true)]
    pub shards: Option<NonZeroU64>,

    /// As many cells per shard as fit so many bytes without compression, as 2GB, instead
    #[arg(long, value_name = "SIZE", conflicts_with_all = ["size", "shards"])]
    #[arg(value_parser = parse_size, allow_hyphen_values = true)]
    pub max_bytes: Option<u64>,

    /// Deal the cells out at random, so that each shard is a sample of the whole
    #[arg(long)]
    pub shuffle: bool,

    /// Any unsigned integer; the order is numpy's default_rng(N).permutation [default: drawn, and
    /// logged]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub seed: Option<Seed>,
}

/// A shard for each category of a column.
#[derive(Args, Debug)]
#[command(next_help_heading = "Shards by a column")]
pub struct ByArgs {
    /// One shard for each value of this column of obs: PREFIX_VALUE.h5ad; what no name of a file
    /// can hold becomes '_'
    #[arg(long, value_name = "COLUMN")]
    #[arg(conflicts_with_all = ["size", "shards", "max_bytes", "shuffle", "seed"])]
    pub obs_column: Option<String>,

    /// Values whose cells go into every shard, and get none of their own
    #[arg(long, value_name = "VALUE", num_args = 1.., requires = "obs_column", allow_negative_numbers = true)]
    pub always_include: Vec<String>,

    #[command(flatten)]
    pub table: TableArgs,
}
