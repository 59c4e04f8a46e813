//! The arguments of `slice`.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, ValueEnum};
use tracing::warn;

use super::names;
use super::shared::{
    Machine, MachineArgs, Options, OutputArgs, ReadArgs, ScratchArgs, TableArgs, drop_option,
};
use super::values::{positive, size};
use crate::output;
use crate::permutation::Seed;
use crate::store::Format;

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

  Zarr stores with chunks of 64 cells, in few files
      annslicer slice pbmc.h5ad out/pbmc --format zarr --chunk-cells 64 --zarr-shard-size 1GB

  A shard for each perturbation, each with the controls too: out/screen_TP53.h5ad, ...
      annslicer slice screen.h5ad out/screen --obs-column gene --always-include non-targeting";

#[derive(Args, Debug)]
pub struct SliceArgs {
    /// File to cut: .h5ad or .zarr
    pub input: PathBuf,

    /// Start of the shards' names, with their folder: out/pbmc gives out/pbmc_shard_0.h5ad and so on; missing folders
    /// are made
    pub prefix: PathBuf,

    #[command(flatten)]
    pub order: OrderArgs,
    #[command(flatten)]
    pub by: ByArgs,
    /// What shards are: .h5ad files or .zarr stores
    #[arg(long, value_enum, default_value_t, help_heading = "Output")]
    pub format: ShardFormat,

    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub read: ReadArgs,
    #[command(flatten)]
    pub machine: MachineArgs,

    /// If the run is stopped, keep the shards that are finished; run the same command again to write only the rest
    #[arg(long, help_heading = "Output")]
    pub resume: bool,

    /// Names of the shards, instead of those that begin with PREFIX: a file with a path a line, in order, or with a NUL
    /// byte after each; - is standard input
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Output",
        allow_hyphen_values = true
    )]
    #[arg(conflicts_with = "resume")]
    pub names: Option<PathBuf>,

    /// Remove the shards of an earlier run that this one does not replace: files called PREFIX_shard_N.h5ad, or .zarr
    #[arg(long, help_heading = "Output", conflicts_with = "names")]
    pub clean: bool,

    #[command(flatten)]
    pub scratch: ScratchArgs,
}

/// What shards are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ShardFormat {
    #[default]
    H5ad,
    Zarr,
}

impl ShardFormat {
    fn format(self) -> Format {
        match self {
            ShardFormat::H5ad => Format::H5ad,
            ShardFormat::Zarr => Format::Zarr,
        }
    }
}

/// Which cells go into which shard.
#[derive(Args, Debug)]
#[command(next_help_heading = "Shards")]
pub struct OrderArgs {
    /// Cells per shard; the last one holds the rest [default: 10000]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = positive::<NonZeroU64>, allow_hyphen_values = true)]
    pub size: Option<NonZeroU64>,

    /// Number of shards, of nearly equal size (instead of --size)
    #[arg(long, value_name = "N", conflicts_with = "size")]
    #[arg(value_parser = positive::<NonZeroU64>, allow_hyphen_values = true)]
    pub shards: Option<NonZeroU64>,

    /// Bytes per shard before compression, as 2GB: as many cells as fit (instead of --size)
    #[arg(long, value_name = "SIZE", conflicts_with_all = ["size", "shards"])]
    #[arg(value_parser = size, allow_hyphen_values = true)]
    pub max_bytes: Option<u64>,

    /// Deal the cells out at random, so that each shard is a sample of the whole
    #[arg(long, alias = "sh")]
    pub shuffle: bool,

    /// Any unsigned integer; the order is numpy's default_rng(N).permutation [default: drawn, and
    /// logged]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub seed: Option<Seed>,
}

impl OrderArgs {
    pub fn cells_per_shard(&self) -> u64 {
        self.size.map_or(10_000, NonZeroU64::get)
    }
}

impl SliceArgs {
    /// Drops the options that have no effect beside the others, with a warning for each.
    pub fn drop_unused(&mut self) {
        let SliceArgs { order, by, .. } = self;
        if by.obs_column.is_some() {
            drop_option(&mut order.size, "--size", "beside --obs-column");
            drop_option(&mut order.seed, "--seed", "beside --obs-column");
            drop_option(&mut order.shuffle, "--shuffle", "beside --obs-column");
        } else {
            let why = "without --obs-column";
            drop_option(&mut by.always_include, "--always-include", why);
        }
        if !order.shuffle {
            drop_option(&mut order.seed, "--seed", "without --shuffle");
        }
        by.table.drop_unused(by.obs_column.is_some());
    }
}

/// A shard for each category of a column.
#[derive(Args, Debug)]
#[command(next_help_heading = "Shards by a column")]
pub struct ByArgs {
    /// One shard for each value of this column of obs: PREFIX_VALUE.h5ad, with _ for each character of the value that
    /// is no letter, digit, _, . or -. Then --size and --shuffle have no effect
    #[arg(long, value_name = "COLUMN")]
    #[arg(conflicts_with_all = ["shards", "max_bytes"])]
    pub obs_column: Option<String>,

    /// Put the cells with these values into every shard; no separate shard is written for them
    #[arg(long, value_name = "VALUE", num_args = 1.., allow_negative_numbers = true)]
    pub always_include: Vec<String>,

    #[command(flatten)]
    pub table: TableArgs,
}

/// What `slice` is asked, resolved.
pub struct SliceRequest {
    pub input: PathBuf,
    pub prefix: PathBuf,
    pub by: ShardBy,
    /// The paths of the shards, in order, where they do not begin with the prefix.
    pub names: Option<Vec<PathBuf>>,
    pub resume: bool,
    /// Whether shards of an earlier run are removed.
    pub clean: bool,
    pub options: Options,
}

/// Which cells go into which shard.
pub enum ShardBy {
    Cells {
        cut: Cut,
        shuffle: Option<Shuffle>,
    },
    /// One for each value of a column of obs.
    Column {
        name: String,
        always_include: Vec<String>,
        table: TableArgs,
    },
}

/// How large a shard is.
pub enum Cut {
    Size(u64),
    /// So many shards of nearly equal size.
    Parts(NonZeroU64),
    /// As many cells as fit so many bytes.
    Bytes(u64),
}

pub struct Shuffle {
    pub seed: Seed,
    /// Whether it was drawn here: then that of a run that is resumed takes its place.
    pub drawn: bool,
}

impl SliceRequest {
    /// The table that gives the column which shards are cut by.
    pub fn table(&self) -> Option<&PathBuf> {
        match &self.by {
            ShardBy::Cells { .. } => None,
            ShardBy::Column { table, .. } => table.csv_file.as_ref(),
        }
    }

    /// The files that are read.
    pub fn reads(&self) -> Vec<PathBuf> {
        let files = [&self.input].into_iter().chain(self.table());
        files.cloned().collect()
    }
}

impl SliceArgs {
    pub fn resolve(mut self, machine: Machine, quiet: bool) -> Result<SliceRequest> {
        self.drop_unused();
        let input = output::one_input(&self.input)?;
        Format::check_input(&input)?;
        let format = self.format.format();
        let first = match self.by.obs_column {
            Some(_) => output::named_path(&self.prefix, "VALUE", format),
            None => output::shard_path(&self.prefix, 0, format),
        };
        if self.names.is_none() {
            warn_of_prefix(&self.prefix, &first, &input, format);
        }
        let dry_run = self.output.dry_run;
        let container = self.output.container(format)?;
        let scratch = Some(self.scratch.parent());
        Ok(SliceRequest {
            input,
            prefix: self.prefix,
            by: match self.by.obs_column {
                Some(name) => ShardBy::Column {
                    name,
                    always_include: self.by.always_include,
                    table: self.by.table,
                },
                None => self.order.resolve(),
            },
            names: {
                let names = self.names.as_deref();
                names.map(|path| names::read(path, format)).transpose()?
            },
            resume: self.resume && !dry_run,
            clean: self.clean,
            options: self
                .output
                .settle(container, &self.read, machine, scratch, quiet),
        })
    }
}

/// Says what the shards will be called, where the prefix looks like a folder or a file: as in the Python tool, but hardly
/// as it is meant.
fn warn_of_prefix(prefix: &Path, first: &Path, input: &Path, format: Format) {
    let typed = prefix.to_string_lossy();
    let folder = typed.trim_end_matches('/');
    let ends_in_dots = [".", ".."].contains(&folder.rsplit('/').next().unwrap_or_default());
    let better = if typed.ends_with('/') || ends_in_dots || prefix.is_dir() {
        let stem = input.file_stem().unwrap_or_default();
        PathBuf::from(if folder.is_empty() { "/" } else { folder }).join(stem)
    } else if prefix
        .extension()
        .is_some_and(|end| end == "h5ad" || end == "zarr")
    {
        prefix.with_extension("")
    } else {
        return;
    };
    warn!(
        "The shards are called {} and so on; for {} give the prefix {}",
        first.display(),
        output::shard_path(&better, 0, format).display(),
        better.display()
    );
}

impl OrderArgs {
    fn resolve(self) -> ShardBy {
        let cut = match (self.shards, self.max_bytes) {
            (Some(shards), _) => Cut::Parts(shards),
            (None, Some(bytes)) => Cut::Bytes(bytes),
            (None, None) => Cut::Size(self.cells_per_shard()),
        };
        let drawn = self.seed.is_none();
        let shuffle = self.shuffle.then(|| Shuffle {
            seed: self.seed.unwrap_or_else(Seed::random),
            drawn,
        });
        ShardBy::Cells { cut, shuffle }
    }
}
