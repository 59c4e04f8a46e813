//! The arguments of `merge`.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;

use super::joining::{JoinArgs, JoinRequest};
use super::shared::{Machine, MachineArgs, Options, OutputArgs, ReadArgs, ReplaceArgs};
use super::values::part;
use crate::output::run_parts::RunPart;
use crate::report::failure::{Failure, Kind};
use crate::store::{Container, Format};

pub const EXAMPLES: &str = "\
EXAMPLES
  All shards, shard_2 before shard_10
      annslicer merge pbmc.h5ad 'out/pbmc_shard_*.h5ad' --natural-sort

  Whether the files go together, and what the result will take
      annslicer merge pbmc.h5ad 'out/pbmc_shard_*.h5ad' --dry-run

  All plates as one file at once, which refers to them
      annslicer merge atlas.h5ad 'plates/*.h5ad' --virtual

  By 8 tasks on any machines, then the store in its place
      annslicer merge atlas.zarr 'plates/*.h5ad' --part 3/8
      annslicer merge atlas.zarr 'plates/*.h5ad' --finish

  Only the genes that both files have, as a Zarr store
      annslicer merge both.zarr donor1.h5ad donor2.h5ad --join inner

  A column 'source' that tells the file, and names of cells that tell it too: AAAC-d1, ...
      annslicer merge both.h5ad a.h5ad b.h5ad --label source --keys d1 d2 --index-unique -";

#[derive(Args, Debug)]
pub struct MergeArgs {
    /// File to write: .h5ad or .zarr
    pub output: PathBuf,

    /// Files to merge, in this order, or quoted patterns such as 'out/*.h5ad', whose files are sorted by name
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,

    /// Write part I of N of the matrices of a Zarr store, as one task of many. They stay in a hidden folder until
    /// --finish; a part that is run again finds itself done
    #[arg(long, value_name = "I/N", help_heading = "Output", value_parser = part, allow_hyphen_values = true)]
    #[arg(conflicts_with_all = ["finish", "verify"])]
    pub part: Option<RunPart>,

    /// Write all else (obs, var, ...), and put the store in its place, once every --part of this same command is done;
    /// where parts are missing it lists them, as 3,7-9
    #[arg(long, help_heading = "Output", conflicts_with_all = ["verify", "dry_run"])]
    pub finish: bool,

    /// Leave the matrices in the inputs: write an .h5ad whose X, layers, raw and obsm are HDF5 virtual datasets over
    /// theirs, in seconds at any size. It needs the inputs where they are, and that they have the same genes, types and
    /// kinds of matrix
    #[arg(long = "virtual", help_heading = "Output", conflicts_with_all = ["part", "finish", "verify"])]
    pub is_virtual: bool,

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
    /// The part of the matrices that is written.
    pub part: Option<RunPart>,
    /// Whether the parts that others have written are published.
    pub finish: bool,
    /// Whether an output that looks like an input is replaced.
    pub overwrite: bool,
    pub options: Options,
}

impl MergeArgs {
    pub fn resolve(self, machine: Machine, quiet: bool) -> Result<MergeRequest> {
        let container = Container {
            is_virtual: self.is_virtual,
            ..self.output_options.container(Format::of(&self.output)?)?
        };
        let what = || "Zarr has no virtual datasets; give an output that ends in .h5ad".to_owned();
        ensure!(
            !self.is_virtual || container.format == Format::H5ad,
            Failure(Kind::Usage, what())
        );
        let in_parts = self.part.is_some() || self.finish;
        let what = || {
            "An .h5ad is one file, which no two tasks write; give an output that ends in .zarr, or merge some inputs \
             into each of several files and then those"
                .to_owned()
        };
        ensure!(
            !in_parts || container.format == Format::Zarr,
            Failure(Kind::Usage, what())
        );
        let options = self
            .output_options
            .settle(container, &self.read, machine, None, quiet);
        Ok(MergeRequest {
            output: self.output,
            join: self
                .join
                .resolve((self.inputs, None), options.max_categories, false)?,
            part: self.part,
            finish: self.finish,
            overwrite: self.replace.overwrite,
            options,
        })
    }
}
