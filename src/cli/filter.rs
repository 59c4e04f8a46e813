//! The arguments of `filter`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::shared::{MachineArgs, OutputArgs, ReadArgs, ScratchArgs, TableArgs};
use crate::cells::expr::Expr;

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
    /// The file to take cells from: .h5ad or .zarr
    pub input: PathBuf,

    /// The file to write: .h5ad or .zarr
    pub output: PathBuf,

    #[command(flatten)]
    pub which: WhichArgs,
    #[command(flatten)]
    pub output_options: OutputArgs,
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
    /// Keep the cells for which this column of obs is true: bools, numbers other than 0, the texts
    /// true and 1
    #[arg(long, value_name = "COLUMN")]
    pub obs_column: Option<String>,

    /// Keep the cells for which this is true: ==, !=, <, <=, >, >=, in [..], not in, and, or, not
    /// and parentheses over columns of obs; what is missing compares false
    #[arg(
        id = "expr",
        long = "where",
        value_name = "EXPR",
        allow_hyphen_values = true
    )]
    pub expr: Option<Expr>,

    /// Keep the cells that this file names, one a line; - is standard input
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub cells: Option<PathBuf>,

    /// Pass over names in --cells that no cell has
    #[arg(long, requires = "cells")]
    pub missing_ok: bool,

    /// Keep the other cells instead
    #[arg(long)]
    pub invert: bool,

    #[command(flatten)]
    pub table: TableArgs,
}
