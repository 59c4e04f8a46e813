//! The arguments of `filter`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{ArgGroup, Args, ValueHint};

use super::shared::{
    Machine, MachineArgs, Options, OutputArgs, ReadArgs, ReplaceArgs, ScratchArgs, TableArgs,
};
use crate::cells::expr::Expr;
use crate::output;
use crate::store::Format;

pub const EXAMPLES: &str = "\
EXAMPLES
  The cells whose column 'pass_qc' is true
      annslicer filter pbmc.h5ad good.h5ad --obs-column pass_qc

  By values of columns, as a Zarr store; a name with spaces goes in `backticks`
      annslicer filter pbmc.h5ad t.zarr --where 'n_counts > 500 and cell_type in [\"T\", \"NK\"]'

  How many cells that are, before anything is written
      annslicer filter pbmc.h5ad good.h5ad --obs-column pass_qc --dry-run

  All but those in a list of names, one a line
      annslicer filter pbmc.h5ad rest.h5ad --cells doublets.txt --invert";

#[derive(Args, Debug)]
pub struct FilterArgs {
    /// File to take cells from: .h5ad or .zarr
    pub input: PathBuf,

    /// File to write: .h5ad or .zarr
    pub output: PathBuf,

    #[command(flatten)]
    pub which: WhichArgs,
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
#[command(group = ArgGroup::new("which").args(["obs_column", "cells", "expr"]).required(true).multiple(true))]
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
    #[arg(long)]
    pub invert: bool,

    #[command(flatten)]
    pub table: TableArgs,
}

/// What `filter` is asked, resolved.
pub struct FilterRequest {
    pub input: PathBuf,
    pub output: PathBuf,
    pub which: WhichArgs,
    pub options: Options,
}

impl FilterRequest {
    /// The files that are read; `-` is standard input.
    pub fn reads(&self) -> Vec<PathBuf> {
        let files = [
            Some(&self.input),
            self.which.cells.as_ref(),
            self.which.table.csv_file.as_ref(),
        ];
        files.into_iter().flatten().cloned().collect()
    }
}

impl FilterArgs {
    pub fn resolve(mut self, machine: Machine, quiet: bool) -> Result<FilterRequest> {
        self.which
            .table
            .drop_unused(self.which.obs_column.is_some());
        let input = output::one_input(&self.input)?;
        Format::check_input(&input)?;
        if !self.replace.overwrite {
            output::refuse_shard(&self.output, &input)?;
        }
        let container = self.output_options.container(Format::of(&self.output)?)?;
        let scratch = Some(self.scratch.parent());
        let options = self
            .output_options
            .settle(container, &self.read, machine, scratch, quiet);
        Ok(FilterRequest {
            input,
            output: self.output,
            which: self.which,
            options,
        })
    }
}
