//! Arguments that several commands have.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::Args;
use tracing::warn;

use super::positive;
use crate::codec::compression::Compression;
use crate::resources::{default_memory_limit, parse_size};
use crate::store::Access;

/// A table that adds the column to obs.
#[derive(Args, Debug)]
pub struct TableArgs {
    /// Take the column from this table (.csv or .tsv, .gz too), which has a line for every cell,
    /// and add it to obs
    #[arg(long, value_name = "PATH")]
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
            drop_option(&mut self.csv_file, "--csv-file", "without --obs-column");
        }
        if self.csv_file.is_none() {
            let why = "without --csv-file and --obs-column";
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
    /// Compress the arrays: gzip (no larger than h5py makes it), gzip:1 to gzip:9, or lzf [default: none]
    #[arg(long, value_name = "FILTER")]
    pub compression: Option<Compression>,

    /// Store a categorical column of obs that has more categories as numbers, or as text; 0 is no
    /// limit
    #[arg(long, value_name = "N", default_value = "50000")]
    #[arg(value_parser = most_categories, allow_hyphen_values = true)]
    pub max_categories: u64,

    /// Read every output back from the disk before it takes its place, and compare it with what was
    /// meant
    #[arg(long)]
    pub verify: bool,

    /// Also write a JSON file that tells of each output its cells, non-zeros, bytes and SHA-256
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,

    /// Print what would be written, and what it takes, and write nothing
    #[arg(long)]
    pub dry_run: bool,
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
    #[arg(long, value_name = "SIZE", value_parser = parse_size, allow_hyphen_values = true)]
    pub memory_limit: Option<u64>,
}

impl MachineArgs {
    /// The memory to work in, in bytes.
    pub fn memory(&self) -> u64 {
        self.memory_limit.unwrap_or_else(default_memory_limit)
    }
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Resources")]
pub struct ScratchArgs {
    /// Folder for scratch files, where a CSC matrix or --shuffle of slice needs any [default: the
    /// system's]
    #[arg(long, value_name = "PATH")]
    tmpdir: Option<PathBuf>,
}

impl ScratchArgs {
    pub fn parent(&self) -> PathBuf {
        self.tmpdir.clone().unwrap_or_else(std::env::temp_dir)
    }
}

fn most_categories(text: &str) -> Result<u64, &'static str> {
    match text.parse() {
        Ok(0) => Ok(u64::MAX),
        Ok(most) => Ok(most),
        Err(_) => Err("give a whole number, or 0 for no limit"),
    }
}
