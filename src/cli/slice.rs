//! The arguments of `slice`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum, ValueHint};
use tracing::warn;

use super::deal::{self, ByArgs, Deal, OrderArgs, SplitArgs};
use super::joining::{JoinArgs, JoinRequest, inputs_and_output};
use super::names;
use super::shared::{Machine, MachineArgs, Options, OutputArgs, ReadArgs, ScratchArgs, ZarrFormat};
use super::values::part;
use crate::output;
use crate::output::run_parts::RunPart;
use crate::report::failure::{Failure, Kind};
use crate::store::{Container, Format, ZarrVersion};

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

  By 8 tasks on any machines, then the shards together in their places
      annslicer slice atlas.zarr shards/atlas --compression gzip --part 3/8
      annslicer slice atlas.zarr shards/atlas --compression gzip --finish

  What would be written, and what it takes; then with checksums of each shard
      annslicer slice pbmc.h5ad out/pbmc --size 5000 --dry-run
      annslicer slice pbmc.h5ad out/pbmc --size 5000 --manifest out/pbmc.json

  Categories in every shard, however many there are
      annslicer slice pbmc.h5ad out/pbmc --max-categories 0

  Zarr stores with chunks of 64 cells, in few files
      annslicer slice pbmc.h5ad out/pbmc --format zarr --chunk-cells 64 --zarr-shard-size 1GB

  A collection for annbatch, out/pbmc.zarr, of shuffled cells
      annslicer slice pbmc.h5ad out/pbmc --format annbatch --shuffle

  A shard for each perturbation, each with the controls too: out/screen_TP53.h5ad, ...
      annslicer slice screen.h5ad out/screen --obs-column gene --always-include non-targeting

  Donors held out: out/atlas_train_shard_0.h5ad, ..., out/atlas_test_shard_0.h5ad, ...
      annslicer slice atlas.h5ad out/atlas --split train=0.8,test=0.2 --split-by donor --shuffle --seed 0";

#[derive(Args, Debug)]
pub struct SliceArgs {
    /// File to cut: .h5ad or .zarr. Several files, or quoted patterns such as 'plates/*.h5ad', are cut as the one file
    /// that merge would make of them
    #[arg(value_name = "INPUT...")]
    pub input: PathBuf,

    /// Start of the shards' names, with their folder: out/pbmc gives out/pbmc_shard_0.h5ad and so on; missing folders
    /// are made
    pub prefix: PathBuf,

    /// What follows two places: the last is the prefix, and what is called so an input. Options may stand between them
    #[arg(hide = true)]
    pub more: Vec<PathBuf>,

    #[command(flatten)]
    pub order: OrderArgs,
    #[command(flatten)]
    pub by: ByArgs,
    #[command(flatten)]
    pub split: SplitArgs,
    #[command(flatten)]
    pub join: JoinArgs,

    /// What shards are: .h5ad files, .zarr stores, or the datasets of one collection, PREFIX.zarr, for annbatch
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

    /// Write part I of N of the shards, as one task of many: each of about as many bytes. They stay in a hidden folder
    /// until --finish; a part that is run again goes on, or finds itself done
    #[arg(long, value_name = "I/N", help_heading = "Output", value_parser = part, allow_hyphen_values = true)]
    #[arg(conflicts_with_all = ["finish", "names"])]
    pub part: Option<RunPart>,

    /// Shuffle a compressed input in two stages, each by all tasks of --part I/N: to scatter is to read the I-th part of
    /// its rows, once, and write them to buckets, one for each part; to gather is to write part I from them
    #[arg(
        long,
        value_enum,
        value_name = "STAGE",
        help_heading = "Output",
        requires = "part"
    )]
    pub stage: Option<Stage>,

    /// Folder for buckets, which all tasks see [default: that of the shards]
    #[arg(long, value_name = "PATH", help_heading = "Output", value_hint = ValueHint::DirPath)]
    pub bucket_dir: Option<PathBuf>,

    /// Put the shards of all parts in their places, once every --part of this same command is done. Reads no data; where
    /// parts are missing it lists them, as 3,7-9
    #[arg(long, help_heading = "Output", conflicts_with_all = ["names", "dry_run"])]
    pub finish: bool,

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

    /// Remove the shards of an earlier run that this one does not replace: files called PREFIX_shard_N.h5ad, and
    /// PREFIX_PART_shard_N.h5ad for each part, or .zarr
    #[arg(long, help_heading = "Output", conflicts_with = "names")]
    pub clean: bool,

    #[command(flatten)]
    pub scratch: ScratchArgs,
}

/// A stage of a shuffle in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    Scatter,
    Gather,
}

/// What shards are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ShardFormat {
    #[default]
    H5ad,
    Zarr,
    Annbatch,
}

impl ShardFormat {
    fn format(self) -> Format {
        match self {
            ShardFormat::H5ad => Format::H5ad,
            ShardFormat::Zarr | ShardFormat::Annbatch => Format::Zarr,
        }
    }
}

/// What annbatch gives chunks and Zarr shards by default: cells, and bytes of all arrays of a matrix.
const ANNBATCH_CHUNK: u64 = 64;
const ANNBATCH_SHARD: u64 = 1 << 30;

/// What `slice` is asked, resolved.
pub struct SliceRequest {
    pub join: JoinRequest,
    pub prefix: PathBuf,
    pub deal: Deal,
    /// The paths of the shards, in order, where they do not begin with the prefix.
    pub names: Option<Vec<PathBuf>>,
    pub resume: bool,
    /// The part of the shards that is written.
    pub part: Option<RunPart>,
    pub stage: Option<Stage>,
    /// Where buckets are, which are called after it.
    pub buckets: PathBuf,
    /// Whether the parts that others have written are published.
    pub finish: bool,
    /// Whether shards of an earlier run are removed.
    pub clean: bool,
    pub options: Options,
}

impl SliceRequest {
    /// The files that are read.
    pub fn reads(&self) -> Vec<PathBuf> {
        let files = self.join.reads().chain(&self.deal.table.csv_file);
        files.cloned().collect()
    }
}

impl SliceArgs {
    pub fn resolve(mut self, machine: Machine, quiet: bool) -> Result<SliceRequest> {
        deal::drop_unused(&mut self.order, &mut self.by, &self.split);
        let container = self.container()?;
        let (inputs, prefix) = inputs_and_output(self.input, self.prefix, self.more);
        let format = self.format.format();
        let dry_run = self.output.dry_run;
        let scratch = Some(self.scratch.parent());
        let options = self
            .output
            .settle(container, &self.read, machine, scratch, quiet);
        let typed = (inputs, Some(prefix.as_path()));
        let join = self.join.resolve(typed, options.max_categories, true)?;
        refuse_file(&prefix, &join.inputs)?;
        let deal = Deal::resolve(self.order, self.by, self.split);
        if self.part.is_some() || self.finish {
            refuse_drawn_seed(&deal)?;
        }
        if self.names.is_none() {
            warn_of_prefix(&prefix, &deal, &join.inputs, self.format);
        }
        Ok(SliceRequest {
            join,
            deal,
            names: {
                let names = self.names.as_deref();
                names.map(|path| names::read(path, format)).transpose()?
            },
            // What a part has kept is not looked at in a dry run.
            // A part is a run that may be resumed, whether or not that is asked for.
            resume: match self.part {
                Some(_) => !dry_run,
                None => self.resume,
            },
            part: self.part,
            stage: self.stage,
            // `out/p` with --bucket-dir `/big` gives `/big/p`; else buckets are beside the shards.
            buckets: match (self.bucket_dir, prefix.file_name()) {
                (Some(folder), Some(name)) => folder.join(name),
                _ => prefix.clone(),
            },
            finish: self.finish,
            clean: self.clean,
            prefix,
            options,
        })
    }
}

/// Refuses parts of a run whose order each would draw for itself.
fn refuse_drawn_seed(deal: &Deal) -> Result<()> {
    let drawn = deal.seed.as_ref().is_some_and(|seed| seed.drawn);
    let what = || {
        let option = if deal.shuffle { "--shuffle" } else { "--split" };
        format!("The parts of a run with {option} need the same --seed; give one, such as --seed 0")
    };
    ensure!(!drawn, Failure(Kind::Usage, what()));
    Ok(())
}

/// Refuses a file as the prefix of several inputs: as after `slice *.h5ad`, where the last file is no prefix.
fn refuse_file(prefix: &Path, inputs: &[PathBuf]) -> Result<()> {
    let is_file = Format::of(prefix).is_ok_and(|_| prefix.exists());
    let what = || {
        let name = prefix.display();
        format!("{name} is a file; was the prefix forgotten? slice takes INPUT... PREFIX")
    };
    ensure!(inputs.len() < 2 || !is_file, Failure(Kind::Usage, what()));
    Ok(())
}

/// Says what the shards will be called, where the prefix looks like a folder or a file: as in the Python tool, but hardly
/// as it is meant.
fn warn_of_prefix(prefix: &Path, deal: &Deal, inputs: &[PathBuf], format: ShardFormat) {
    let typed = prefix.to_string_lossy();
    let folder = typed.trim_end_matches('/');
    let ends_in_dots = [".", ".."].contains(&folder.rsplit('/').next().unwrap_or_default());
    let better = if typed.ends_with('/') || ends_in_dots || prefix.is_dir() {
        let stem = match inputs {
            [one] => one.file_stem().unwrap_or_default(),
            _ => OsStr::new("all"),
        };
        PathBuf::from(if folder.is_empty() { "/" } else { folder }).join(stem)
    } else if prefix
        .extension()
        .is_some_and(|end| end == "h5ad" || end == "zarr")
    {
        prefix.with_extension("")
    } else {
        return;
    };
    let first = |prefix: &Path| match format {
        ShardFormat::Annbatch => output::collection_path(prefix),
        format => output::named_path(prefix, &deal.first_name(), format.format()),
    };
    let forgotten = if prefix.is_file() {
        "; that file is there, and is no input: was the prefix forgotten?"
    } else {
        ""
    };
    warn!(
        "The shards are called {} and so on; for {} give the prefix {}{forgotten}",
        first(prefix).display(),
        first(&better).display(),
        better.display()
    );
}

impl SliceArgs {
    /// What the shards are.
    fn container(&self) -> Result<Container> {
        let output = &self.output;
        if self.format != ShardFormat::Annbatch {
            return output.container(self.format.format());
        }
        let split = &self.split;
        let others = [
            ("--obs-column", !self.by.obs_column.is_empty()),
            ("--split", split.split.is_some()),
            ("--split-column", split.split_column.is_some()),
            ("--names", self.names.is_some()),
            ("--resume", self.resume),
            ("--part", self.part.is_some()),
            ("--finish", self.finish),
            (
                "--zarr-format 2",
                output.zarr_format == Some(ZarrFormat::V2),
            ),
        ];
        if let Some((option, _)) = others.into_iter().find(|(_, is_given)| *is_given) {
            bail!(Failure::usage(format!(
                "{option} does not go with --format annbatch, which makes one store of version 3"
            )));
        }
        let container = output.container(Format::Zarr)?;
        Ok(Container {
            is_collection: true,
            zarr_version: ZarrVersion::V3,
            chunk_cells: container.chunk_cells.or(Some(ANNBATCH_CHUNK)),
            zarr_shard: container.zarr_shard.or(Some(ANNBATCH_SHARD)),
            ..container
        })
    }
}
