//! Arguments that several commands have, and what they come to: [`Machine`] and [`Options`] are settled once for a run.

use std::ffi::OsStr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, bail};
use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Args, ValueEnum, ValueHint};
use tracing::warn;

use super::elements::ElementArgs;
use super::values::{memory, most_categories, positive, size};
use crate::anndata::elements::Elements;
use crate::codec::compression::Compression;
use crate::extract::plan;
use crate::limits;
use crate::report::failure::Failure;
use crate::resources::{self, default_memory_limit};
use crate::store::{Access, Container, Format, ZarrVersion};

/// What a run may use.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Bytes to work in.
    pub memory: u64,
    pub threads: usize,
}

/// What slice, merge and filter are asked alike.
#[derive(Debug)]
pub struct Options {
    pub machine: Machine,
    /// How inputs are opened.
    pub access: Access,
    /// What is taken of them.
    pub elements: Arc<Elements>,
    /// Whether CSC matrices come out as CSR ones.
    pub csr: bool,
    pub container: Container,
    /// Above this a categorical column of obs becomes plain values.
    pub max_categories: u64,
    pub verify: bool,
    pub manifest: Option<PathBuf>,
    pub dry_run: bool,
    /// Whether a dry run prints JSON.
    pub json: bool,
    /// Bytes that are read at a time, whatever the memory: see [`OutputArgs::block_bytes`].
    pub block_bytes: Option<u64>,
    /// Where scratch files go; `None` is beside the output.
    pub scratch: Option<PathBuf>,
    pub quiet: bool,
}

/// A table that adds the column to obs.
#[derive(Args, Debug)]
pub struct TableArgs {
    /// Take the columns that options name from this table (.csv or .tsv, .gz too) where it has them, and add them to
    /// obs; it has a line for every cell
    #[arg(long, alias = "cs", value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub csv_file: Option<PathBuf>,

    /// The table's column with the names of the cells [default: the first]
    #[arg(long, value_name = "COLUMN")]
    pub join_column: Option<String>,
}

impl TableArgs {
    /// Drops the options that have no effect beside the others, with a warning for each; `column` says whether a column
    /// is asked for.
    pub fn drop_unused(&mut self, column: bool) {
        if !column {
            let why = "without --obs-column or another option that names a column";
            drop_option(&mut self.csv_file, "--csv-file", why);
        }
        if self.csv_file.is_none() {
            let why = "without --csv-file and an option that names a column";
            drop_option(&mut self.join_column, "--join-column", why);
        }
    }
}

/// Sets an option that has no effect to its default, with a warning if it was given: the Python tool ignores it.
pub fn drop_option<T: Default + PartialEq>(value: &mut T, option: &str, why: &str) {
    if std::mem::take(value) != T::default() {
        warn!("{option} has no effect {why}");
    }
}

/// How inputs are read.
#[derive(Args, Debug)]
#[command(next_help_heading = "Input")]
pub struct ReadArgs {
    /// Read what lies outside the file's folder: targets of links and virtual datasets, and of
    /// symbolic links out of a Zarr store
    #[arg(long)]
    pub follow_external: bool,
}

impl ReadArgs {
    /// `memory`: bytes that decoded chunks may take.
    pub fn access(&self, memory: u64) -> Access {
        Access {
            follow_external: self.follow_external,
            memory,
        }
    }
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    #[command(flatten)]
    pub elements: ElementArgs,

    /// Compress the arrays: gzip (fast, files about as large as h5py's default), gzip:1 to gzip:9, or none; .h5ad also
    /// has lzf, Zarr has lz4, and zstd, or zstd:1 to zstd:22 [default: none in .h5ad, lz4 in Zarr]
    #[arg(long, value_name = "FILTER", value_parser = Filters, hide_possible_values = true)]
    pub compression: Option<Compression>,

    /// Cells in a chunk of X, layers, obsm, obsp and raw; of a sparse matrix, N times the elements that a cell has in the
    /// mean [default: chunks of about 2 MiB in Zarr, 256 KiB in .h5ad, which has none without --compression]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = positive::<NonZeroU64>, allow_hyphen_values = true)]
    pub chunk_cells: Option<NonZeroU64>,

    /// Version of Zarr to write: 2, which every anndata reads, or 3, for anndata 0.12 and later [default: 2, or 3 with
    /// --zarr-shard-size]
    #[arg(long, value_name = "VERSION", value_enum, hide_possible_values = true)]
    pub zarr_format: Option<ZarrFormat>,

    /// Put the chunks of an array together in Zarr shards, files of up to SIZE before compression, as 1GB
    #[arg(long, value_name = "SIZE", value_parser = size, allow_hyphen_values = true)]
    pub zarr_shard_size: Option<u64>,

    /// Store a categorical column of obs that has more categories as numbers, or as text; 0 is no
    /// limit
    #[arg(long, value_name = "N", default_value = "50000")]
    #[arg(value_parser = most_categories, allow_hyphen_values = true)]
    pub max_categories: u64,

    /// Read every output back from the disk before it takes its place, and compare it with what was
    /// meant
    #[arg(long)]
    pub verify: bool,

    /// Also write a JSON file with the cells, non-zeros, bytes and SHA-256 of each output; or a table, where the name ends
    /// in .csv or .tsv, with path, n_obs, split and value
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub manifest: Option<PathBuf>,

    /// Print what would be written, and what it takes, and write nothing
    #[arg(long)]
    pub dry_run: bool,

    /// With --dry-run, print a JSON object, sizes in bytes
    #[arg(long, requires = "dry_run")]
    pub json: bool,

    /// Bytes that are read at a time, whatever --memory-limit says. For tests and debugging: a small
    /// file is then read in many waves, as a large one is
    #[arg(long, value_name = "N", hide = true, value_parser = positive::<NonZeroU64>)]
    pub block_bytes: Option<NonZeroU64>,
}

impl OutputArgs {
    /// What an output of `format` is.
    ///
    /// # Errors
    /// Options that do not go together.
    pub fn container(&self, format: Format) -> Result<Container> {
        let (version, shard) = (self.zarr_format, self.zarr_shard_size);
        let of_zarr = [
            ("--zarr-format", version.is_some()),
            ("--zarr-shard-size", shard.is_some()),
        ];
        if let Some((option, _)) = of_zarr.into_iter().find(|(_, is_given)| *is_given)
            && format != Format::Zarr
        {
            bail!(Failure::usage(format!(
                "{option} is of Zarr: slice writes it with --format zarr, merge and filter where the output ends in .zarr"
            )));
        }
        if version == Some(ZarrFormat::V2) && shard.is_some() {
            let what = "--zarr-shard-size needs --zarr-format 3: version 2 has no Zarr shards";
            bail!(Failure::usage(what.into()));
        }
        let container = Container {
            format,
            compression: self.compression,
            chunk_cells: self.chunk_cells.map(NonZeroU64::get),
            zarr_version: match (version, shard) {
                (Some(ZarrFormat::V3), _) | (None, Some(_)) => ZarrVersion::V3,
                _ => ZarrVersion::V2,
            },
            zarr_shard: shard,
            is_collection: false,
            is_virtual: false,
        };
        let checked = container.check();
        checked.map_err(|why| Failure::usage(why.to_string()))?;
        Ok(container)
    }

    /// `quiet`: no progress is shown.
    pub fn settle(
        self,
        container: Container,
        read: &ReadArgs,
        machine: Machine,
        scratch: Option<PathBuf>,
        quiet: bool,
    ) -> Options {
        Options {
            machine,
            access: read.access(machine.memory),
            csr: self.elements.csr,
            elements: Arc::new(self.elements.settle()),
            container,
            max_categories: self.max_categories,
            verify: self.verify,
            manifest: self.manifest,
            dry_run: self.dry_run,
            json: self.json,
            block_bytes: self.block_bytes.map(NonZeroU64::get),
            scratch,
            quiet,
        }
    }
}

/// A version of Zarr, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ZarrFormat {
    #[value(name = "2")]
    V2,
    #[value(name = "3")]
    V3,
}

/// What an output may replace.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub struct ReplaceArgs {
    /// Replace an output that exists and looks like one of the inputs, too
    #[arg(long)]
    pub overwrite: bool,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Resources")]
pub struct MachineArgs {
    /// Threads, fewer where the memory limit is small [default: the CPUs this process may use]
    #[arg(short, long, value_name = "N")]
    #[arg(value_parser = positive::<NonZeroUsize>, allow_hyphen_values = true)]
    pub jobs: Option<NonZeroUsize>,

    /// Memory to work in, as 16GB (10^9 bytes each) or 16GiB (2^30) [default: 2GiB, or half of
    /// what is free if that is less]
    #[arg(long, alias = "m", value_name = "SIZE", value_parser = memory, allow_hyphen_values = true)]
    pub memory_limit: Option<u64>,
}

impl MachineArgs {
    /// What is free on the machine is looked at here, so a run does it once.
    pub fn settle(&self) -> Machine {
        let memory = self.memory_limit.unwrap_or_else(default_memory_limit);
        let wanted = self.jobs.map_or_else(resources::cpus, usize::from);
        Machine {
            memory,
            threads: wanted.min(plan::threads_in(memory)).min(limits::THREADS),
        }
    }
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Resources")]
pub struct ScratchArgs {
    /// Folder for temporary files; only --shuffle, CSC matrices, tables, several inputs of slice and filter, and zip
    /// archives use it [default: the system's]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::DirPath)]
    tmpdir: Option<PathBuf>,
}

impl ScratchArgs {
    /// The folder, which is made where it is needed, as the Python tool does.
    pub fn parent(&self) -> PathBuf {
        self.tmpdir.clone().unwrap_or_else(std::env::temp_dir)
    }
}

/// The values of `--compression`, listed for shells.
#[derive(Clone)]
struct Filters;

impl TypedValueParser for Filters {
    type Value = Compression;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Compression, clap::Error> {
        (|text: &str| text.parse::<Compression>()).parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue>>> {
        let names = Compression::NAMES.into_iter();
        Some(Box::new(names.map(PossibleValue::new)))
    }
}
