//! The arguments of `merge`.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, Args, ValueEnum};
use tracing::warn;

use super::shared::{Machine, MachineArgs, Options, OutputArgs, ReadArgs, ReplaceArgs};
use crate::merge::agree::Strategy;
use crate::merge::sources::Sources;
use crate::merge::{self, Modes};
use crate::output;
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

    /// Which genes to keep
    #[arg(long, aliases = ["j", "jo"], value_enum, default_value_t, help_heading = "Merging")]
    pub join: Join,

    #[command(flatten)]
    pub modes: ModeArgs,

    /// Sort the files of a pattern by the numbers in their names: shard_2 before shard_10
    #[arg(long, help_heading = "Merging")]
    pub natural_sort: bool,

    #[command(flatten)]
    pub sources: SourceArgs,
    #[command(flatten)]
    pub output_options: OutputArgs,
    #[command(flatten)]
    pub replace: ReplaceArgs,
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

/// What becomes of values that are not along the cells, or that no file has.
#[derive(Args, Debug)]
#[command(next_help_heading = "Merging")]
pub struct ModeArgs {
    /// What to do with entries of uns that occur in several files
    #[arg(long, value_enum, value_name = "STRATEGY", default_value_t)]
    pub uns_merge: Keep,

    /// What to do with columns of var, and with varm and varp, that occur in several files: as above
    #[arg(long, value_enum, value_name = "STRATEGY", default_value_t)]
    pub var_merge: Keep,

    /// Keep obsp, the values between cells of one file; there are none between cells of different files
    #[arg(long)]
    pub pairwise: bool,

    /// Value for cells and genes that are missing in a file, in X, layers, raw and obsm, as nan
    /// [default: 0 for genes that a file lacks, NaN for rows of obsm, 0 where that is sparse]
    #[arg(long, value_name = "X", value_parser = number, allow_hyphen_values = true)]
    pub fill_value: Option<f64>,
}

/// Which of several values for one place is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Keep {
    /// Keep that of the first file that has it
    #[default]
    First,
    /// Keep it if all files have it, with the same value
    Same,
    /// Keep it if all files that have it have the same value
    Unique,
    /// Keep it if a single file has it
    Only,
    /// Keep nothing
    None,
}

fn number(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "give a number, or nan")?;
    match text.parse::<i128>() {
        Ok(integer) if value as i128 != integer => {
            Err("give an integer that a float64 holds exactly".into())
        }
        _ => Ok(value),
    }
}

/// How the genes of files are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Join {
    /// Only those found in all files, in the order of the first
    Inner,
    /// Those found in at least one file, sorted
    #[default]
    Outer,
}

/// What `merge` is asked, resolved.
pub struct MergeRequest {
    pub output: PathBuf,
    /// As typed, patterns among them.
    pub typed: Vec<PathBuf>,
    pub inputs: Vec<PathBuf>,
    pub modes: Modes,
    pub sources: Sources,
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
        let found = output::expand_inputs(&self.inputs, self.natural_sort)?;
        for pattern in &found.orders_differ {
            warn!(
                "The files of {pattern} are merged in the order of their names, where 10 comes before 2; use \
                 --natural-sort to order them by number"
            );
        }
        ensure!(
            !found.reordered || self.sources.keys.is_empty(),
            "--natural-sort changes the order of the list that --keys are for; give a quoted pattern, or list the \
             files in the order of the keys"
        );
        let SourceArgs {
            label,
            keys,
            index_unique,
        } = self.sources;
        Ok(MergeRequest {
            output: self.output,
            typed: self.inputs,
            modes: self.modes.resolve(self.join, options.max_categories),
            sources: Sources::of(label, keys, index_unique, &found.paths)?,
            inputs: found.paths,
            overwrite: self.replace.overwrite,
            options,
        })
    }
}

impl ModeArgs {
    fn resolve(self, join: Join, categories: u64) -> Modes {
        let join = match join {
            Join::Inner => merge::join::Join::Inner,
            Join::Outer => merge::join::Join::Outer,
        };
        if self.fill_value.is_some() && join == merge::join::Join::Inner {
            warn!("--fill-value is not used: an inner join adds no rows and columns");
        }
        Modes {
            join,
            uns: self.uns_merge.strategy(),
            var: self.var_merge.strategy(),
            pairwise: self.pairwise,
            fill: self.fill_value,
            categories,
        }
    }
}

impl Keep {
    fn strategy(self) -> Strategy {
        match self {
            Keep::First => Strategy::First,
            Keep::Same => Strategy::Same,
            Keep::Unique => Strategy::Unique,
            Keep::Only => Strategy::Only,
            Keep::None => Strategy::None,
        }
    }
}
