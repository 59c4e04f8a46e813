//! The arguments of `filter`.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::{ArgGroup, Args, ValueHint};

use super::joining::{JoinArgs, JoinRequest, inputs_and_output};
use super::shared::{
    Machine, MachineArgs, Options, OutputArgs, ReadArgs, ReplaceArgs, ScratchArgs, TableArgs,
    drop_option,
};
use super::values::{positive, share};
use crate::cells::expr::Expr;
use crate::cells::sample::Sample;
use crate::cells::shares::Share;
use crate::output;
use crate::permutation::Seed;
use crate::report::failure::Failure;
use crate::store::Format;

pub const EXAMPLES: &str = "\
EXAMPLES
  The cells whose column 'pass_qc' is true
      annslicer filter pbmc.h5ad good.h5ad --obs-column pass_qc

  By values of columns, as a Zarr store; a name with spaces goes in `backticks`
      annslicer filter pbmc.h5ad t.zarr --where 'n_counts > 500 and cell_type in [\"T\", \"NK\"]'

  How many cells that are, before anything is written
      annslicer filter pbmc.h5ad good.h5ad --obs-column pass_qc --dry-run

  All cells, of a list of genes
      annslicer filter pbmc.h5ad panel.h5ad --genes panel.txt

  All but those in a list of names, one a line
      annslicer filter pbmc.h5ad rest.h5ad --cells doublets.txt --invert

  A tenth of them at random, of each cell type a tenth; and 500 of each at the most
      annslicer filter pbmc.h5ad some.h5ad --sample 0.1 --stratify cell_type --seed 0
      annslicer filter pbmc.h5ad even.h5ad --per-value 500 --stratify cell_type --seed 0";

const NOTHING_CHOSEN: &str = "filter needs to know what to keep: cells by --where, --obs-column, --cells, --sample, \
    --per-value or --sort-by; genes by --genes or --var-where; elements by --keep, --drop, --x-from, --csr or \
    --plain-strings; see annslicer filter --help";

#[derive(Args, Debug)]
pub struct FilterArgs {
    /// File to take cells from: .h5ad or .zarr. Of several files, or quoted patterns, the cells are those of the one file
    /// that merge would make of them
    #[arg(value_name = "INPUT...")]
    pub input: PathBuf,

    /// File to write: .h5ad or .zarr
    pub output: PathBuf,

    /// What follows two places: the last is the output, and what is called so an input. Options may stand between them
    #[arg(hide = true)]
    pub more: Vec<PathBuf>,

    #[command(flatten)]
    pub which: WhichArgs,
    #[command(flatten)]
    pub sample: SampleArgs,
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
    #[command(flatten)]
    pub scratch: ScratchArgs,
}

/// Which cells are kept.
#[derive(Args, Debug)]
#[command(next_help_heading = "Cells")]
#[group(skip)]
#[command(group = ArgGroup::new("which").args(["obs_column", "cells", "expr"]).multiple(true))]
pub struct WhichArgs {
    /// Keep the cells for which this column of obs is true; non-zero numbers and the texts true and 1 count as true
    #[arg(long, alias = "o", value_name = "COLUMN")]
    pub obs_column: Option<String>,

    /// Keep the cells for which this expression over columns of obs is true. It may use ==, !=, <, <=, >, >=,
    /// in [..], not in, and, or, not and parentheses; a comparison with a missing value is false
    #[arg(
        id = "expr",
        long = "where",
        value_name = "EXPR",
        allow_hyphen_values = true
    )]
    pub expr: Option<Expr>,

    /// Keep the cells whose names are in this file (.gz too), one per line; - is standard input
    #[arg(long, value_name = "FILE", allow_hyphen_values = true, value_hint = ValueHint::FilePath)]
    pub cells: Option<PathBuf>,

    /// Ignore names in --cells that no cell has
    #[arg(long, requires = "cells")]
    pub missing_ok: bool,

    /// Keep the other cells instead
    #[arg(long, requires = "which")]
    pub invert: bool,

    #[command(flatten)]
    pub table: TableArgs,
}

/// How many of these cells, and in which order.
#[derive(Args, Debug)]
#[command(next_help_heading = "Samples and order")]
#[group(skip)]
#[command(group = ArgGroup::new("sampled").args(["sample", "per_value"]))]
pub struct SampleArgs {
    /// Of these cells keep a random sample: a fraction (0.1), a percentage (10%) or a number of cells (5000)
    #[arg(long, value_name = "N|FRACTION", value_parser = share, allow_hyphen_values = true)]
    pub sample: Option<Share>,

    /// Keep so many cells of each value of --stratify at the most, at random
    #[arg(long, value_name = "N", requires = "stratify")]
    #[arg(value_parser = positive::<NonZeroU32>, allow_hyphen_values = true)]
    pub per_value: Option<NonZeroU32>,

    /// Sample each value of this column of obs in the same share
    #[arg(long, value_name = "COLUMN", requires = "sampled")]
    pub stratify: Option<String>,

    /// Any unsigned integer: the same one gives the same sample [default: drawn, and logged]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub seed: Option<Seed>,

    /// Sort the cells by these columns of obs; equal ones stay in their order
    #[arg(long, value_name = "COLUMN", num_args = 1..)]
    pub sort_by: Vec<String>,
}

/// A sample of the cells.
pub struct Sampling {
    pub how: Sample,
    pub stratify: Option<String>,
    pub seed: Seed,
}

impl WhichArgs {
    fn chooses(&self) -> bool {
        self.obs_column.is_some() || self.cells.is_some() || self.expr.is_some()
    }
}

impl SampleArgs {
    fn chooses(&self) -> bool {
        self.sample.is_some() || self.per_value.is_some() || !self.sort_by.is_empty()
    }

    /// Drops a seed without effect.
    fn resolve(mut self) -> Option<Sampling> {
        let how = match (self.sample, self.per_value) {
            (Some(share), _) => Sample::Of(share),
            (None, Some(most)) => Sample::Most(most.get()),
            (None, None) => {
                let why = "without --sample or --per-value";
                drop_option(&mut self.seed, "--seed", why);
                return None;
            }
        };
        Some(Sampling {
            how,
            stratify: self.stratify,
            seed: self.seed.unwrap_or_else(Seed::random),
        })
    }
}

/// What `filter` is asked, resolved.
pub struct FilterRequest {
    pub join: JoinRequest,
    pub output: PathBuf,
    pub which: WhichArgs,
    pub sampling: Option<Sampling>,
    pub sort_by: Vec<String>,
    /// Whether an output that looks like an input is replaced.
    pub overwrite: bool,
    pub options: Options,
}

impl FilterRequest {
    /// The columns of obs that may be those of a table.
    pub fn columns(&self) -> Vec<&str> {
        let stratify = self.sampling.as_ref().and_then(|s| s.stratify.as_ref());
        let all = self
            .which
            .obs_column
            .iter()
            .chain(stratify)
            .chain(&self.sort_by);
        all.map(String::as_str).collect()
    }

    /// The columns of obs by which cells are chosen.
    pub fn chosen_by(&self) -> Vec<&str> {
        let expr = self.which.expr.iter().flat_map(Expr::columns);
        self.columns().into_iter().chain(expr).collect()
    }

    /// The files that are read; `-` is standard input.
    pub fn reads(&self) -> Vec<PathBuf> {
        let lists = [&self.which.cells, &self.which.table.csv_file];
        let files = self.join.reads().chain(lists.into_iter().flatten());
        files.cloned().collect()
    }
}

/// Refuses words of an expression in the places of files: it was typed without quotes. `--where donor == d1` has `==`
/// and `d1` behind its value, which clap takes for paths.
fn refuse_expression(has_expr: bool, output: &Path, more: &[PathBuf]) -> Result<()> {
    const WORDS: [&str; 10] = ["==", "!=", "=", "<=", ">=", "in", "not", "and", "or", "is"];
    let mut words = more.iter().map(PathBuf::as_path).chain([output]);
    let is_word = |path: &Path| WORDS.iter().any(|word| Path::new(word) == path) && !path.exists();
    let what = "an expression is one argument, in quotes: --where 'donor == \"d1\"'";
    ensure!(
        !(has_expr && words.any(is_word)),
        Failure::usage(format!("{what}; see annslicer filter --help"))
    );
    Ok(())
}

impl FilterArgs {
    pub fn resolve(mut self, machine: Machine, quiet: bool) -> Result<FilterRequest> {
        // Options that name one column take it from the table; --where does not.
        let named = self.which.obs_column.is_some()
            || self.sample.stratify.is_some()
            || !self.sample.sort_by.is_empty();
        self.which.table.drop_unused(named);
        let chooses = self.which.chooses()
            || self.sample.chooses()
            || self.join.genes.chooses()
            || self.output_options.elements.chooses();
        ensure!(chooses, Failure::usage(NOTHING_CHOSEN.to_owned()));
        refuse_expression(self.which.expr.is_some(), &self.output, &self.more)?;
        let (inputs, output) = inputs_and_output(self.input, self.output, self.more);
        let container = self.output_options.container(Format::of(&output)?)?;
        let scratch = Some(self.scratch.parent());
        let options = self
            .output_options
            .settle(container, &self.read, machine, scratch, quiet);
        let typed = (inputs, Some(output.as_path()));
        let join = self.join.resolve(typed, options.max_categories, true)?;
        if !self.replace.overwrite {
            let mut inputs = join.inputs.iter();
            inputs.try_for_each(|input| output::refuse_shard(&output, input))?;
        }
        Ok(FilterRequest {
            join,
            output,
            which: self.which,
            sort_by: std::mem::take(&mut self.sample.sort_by),
            sampling: self.sample.resolve(),
            overwrite: self.replace.overwrite,
            options,
        })
    }
}
