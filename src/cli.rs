//! The command line as typed, and nothing else: each subcommand resolves its own arguments.
//!
//! A drop-in for the Python tool's: long options may be shortened to any unambiguous start, and a
//! usage error exits with 2.

use std::{
    io::{ErrorKind, Write},
    num::{NonZeroU64, NonZeroUsize},
    path::PathBuf,
    str::FromStr,
};

use anyhow::{Context, Result};
use clap::{ArgGroup, Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::{
    cells::expr::Expr, compression::Compression, permutation::Seed, resources::parse_size,
};

/// Cut large AnnData files (.h5ad, .zarr) into shards and merge them, out of core
#[derive(Debug, Parser)]
#[command(version, infer_long_args = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub messages: Messages,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args, Debug)]
pub struct Messages {
    /// Also tell which way each array is read and written
    #[arg(long, global = true, help_heading = "Messages")]
    pub debug: bool,

    /// Only warnings and errors: no progress, no notes
    #[arg(short, long, global = true, help_heading = "Messages")]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Cut a file into shards of so many cells, in order or shuffled
    ///
    /// Every element of the file comes through: X, layers, obs, var, obsm, varm, obsp, varp, uns
    /// and raw. The shards appear together, when all of them are whole.
    #[command(after_help = SLICE_EXAMPLES)]
    Slice(SliceArgs),

    /// Join files along the cells into one
    ///
    /// Genes are united or intersected, obs columns united. What cannot be carried is named in a
    /// warning.
    #[command(after_help = MERGE_EXAMPLES)]
    Merge(MergeArgs),

    /// Keep some of the cells: by a column, an expression or a list of names
    ///
    /// Cells stay in their order, and every element of the file comes through. Of several ways to
    /// say which cells, a cell must pass all.
    #[command(after_help = FILTER_EXAMPLES)]
    Filter(FilterArgs),

    /// Tell what files hold, and how it is stored, from their metadata alone
    ///
    /// The percentage after the filters of an element is what it takes in the file of its size in
    /// memory; text is not counted, and nothing of Zarr. Memory is an estimate: that of values, and
    /// 64 bytes for each text.
    #[command(after_help = INFO_EXAMPLES)]
    Info(InfoArgs),

    /// Print the script that completes this command line in a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell
        shell: Shell,
    },

    /// Print the manual: a page for the program and one for each subcommand
    #[command(after_help = MAN_EXAMPLES)]
    Man,
}

const SLICE_EXAMPLES: &str = "\
EXAMPLES
  Shards of 10000 cells: out/pbmc_shard_0.h5ad, out/pbmc_shard_1.h5ad, ...
      annslicer slice pbmc.h5ad out/pbmc

  Each shard a random sample, the same again with the same seed
      annslicer slice pbmc.h5ad out/pbmc --size 5000 --shuffle --seed 0

  Compressed shards of a Zarr store, with 4 threads in about 8 GB
      annslicer slice atlas.zarr shards/atlas --compression gzip -j 4 --memory-limit 8GB

  A shard for each perturbation, each with the controls too: out/screen_TP53.h5ad, ...
      annslicer slice screen.h5ad out/screen --obs-column gene --always-include non-targeting";

const MERGE_EXAMPLES: &str = "\
EXAMPLES
  All shards, shard_2 before shard_10
      annslicer merge pbmc.h5ad 'out/pbmc_shard_*.h5ad' --natural-sort

  Only the genes that both files have, as a Zarr store
      annslicer merge both.zarr donor1.h5ad donor2.h5ad --join inner";

const FILTER_EXAMPLES: &str = "\
EXAMPLES
  The cells whose column 'pass_qc' is true
      annslicer filter pbmc.h5ad good.h5ad --obs-column pass_qc

  By values of columns, as a Zarr store; a name with spaces goes in `backticks`
      annslicer filter pbmc.h5ad t.zarr --where 'n_counts > 500 and cell_type in [\"T\", \"NK\"]'

  All but those in a list of names, one a line
      annslicer filter pbmc.h5ad rest.h5ad --cells doublets.txt --invert";

const INFO_EXAMPLES: &str = "\
EXAMPLES
  Elements with their types, shapes, storage and categories
      annslicer info pbmc.h5ad

  The number of cells of each shard
      annslicer info --json out/pbmc_shard_*.h5ad | jq '.[].shape[0]'";

const COMPLETIONS_EXAMPLES: &str = "\
EXAMPLES
  annslicer completions bash > ~/.local/share/bash-completion/completions/annslicer
  annslicer completions zsh > ~/.zfunc/_annslicer
  annslicer completions fish > ~/.config/fish/completions/annslicer.fish";

const MAN_EXAMPLES: &str = "\
EXAMPLES
  annslicer man > ~/.local/share/man/man1/annslicer.1";

#[derive(Args, Debug)]
pub struct InfoArgs {
    /// The files to look at: .h5ad or .zarr
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// A JSON list with an object for each file, sizes in bytes
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

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
    pub machine: MachineArgs,

    /// Folder for scratch files, where --shuffle needs any [default: the system's]
    #[arg(long, value_name = "PATH", help_heading = "Resources")]
    pub tmpdir: Option<PathBuf>,
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
    #[arg(long, value_name = "VALUE", num_args = 1.., requires = "obs_column")]
    pub always_include: Vec<String>,

    #[command(flatten)]
    pub table: TableArgs,
}

/// A table that adds the column to obs.
#[derive(Args, Debug)]
pub struct TableArgs {
    /// Take the column from this table (.csv or .tsv, .gz too), which has a line for every cell,
    /// and add it to obs
    #[arg(long, value_name = "PATH", requires = "obs_column")]
    pub csv_file: Option<PathBuf>,

    /// The table's column with the names of the cells [default: the first]
    #[arg(long, value_name = "COLUMN", requires = "csv_file")]
    pub join_column: Option<String>,
}

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
    pub machine: MachineArgs,
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

#[derive(Args, Debug)]
pub struct MergeArgs {
    /// The file to write: .h5ad or .zarr
    pub output: PathBuf,

    /// Files or quoted glob patterns, in order; the matches of a pattern are sorted by name
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,

    /// Genes that differ between files: keep those of every file, or of any
    #[arg(long, value_enum, default_value_t, help_heading = "Merging")]
    pub join: Join,

    /// Sort the matches of a pattern by the numbers in them: shard_2 before shard_10
    #[arg(long, help_heading = "Merging")]
    pub natural_sort: bool,

    #[command(flatten)]
    pub output_options: OutputArgs,
    #[command(flatten)]
    pub machine: MachineArgs,
}

/// How the genes of files are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Join {
    /// The genes that every file has
    Inner,
    /// The genes of all files
    #[default]
    Outer,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Compress the arrays: gzip (no larger than h5py makes it), gzip:1 to gzip:9, or lzf [default: none]
    #[arg(long, value_name = "FILTER")]
    pub compression: Option<Compression>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Resources")]
pub struct MachineArgs {
    /// Threads [default: the CPUs this process may use]
    #[arg(short, long, value_name = "N")]
    #[arg(value_parser = positive::<NonZeroUsize>, allow_hyphen_values = true)]
    pub jobs: Option<NonZeroUsize>,

    /// Memory to work in, as 16GB (10^9 bytes each) or 16GiB (2^30) [default: 2GiB, or half of
    /// what is free if that is less]
    #[arg(long, value_name = "SIZE", value_parser = parse_size, allow_hyphen_values = true)]
    pub memory_limit: Option<u64>,
}

fn positive<N: FromStr>(text: &str) -> Result<N, &'static str> {
    text.parse().map_err(|_| "give a whole number of 1 or more")
}

/// The script that completes the command line in `shell`.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = vec![];
    clap_complete::generate(shell, &mut Cli::command(), "annslicer", &mut script);
    script
}

/// The manual in roff: a page for the program and one for each subcommand.
pub fn man() -> Result<Vec<u8>> {
    let mut program = Cli::command();
    program.build();
    let pages = [&program].into_iter().chain(program.get_subcommands());
    let mut manual = vec![];
    for page in pages.filter(|page| page.get_name() != "help") {
        Man::new(page.clone()).render(&mut manual)?;
    }
    Ok(manual)
}

/// Writes to stdout. A reader that has gone, as in `| head -1`, is no error.
pub fn print(text: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(e).context("Cannot write to stdout"),
        _ => Ok(()),
    }
}

/// A usage error on one line, without the summary of the usage.
pub fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let paragraphs = text.trim_start_matches("error: ").split("\n\n");
    let said = paragraphs.map(|lines| lines.split_whitespace().collect::<Vec<_>>().join(" "));
    let said = said.take_while(|said| !said.starts_with("Usage:") && !said.starts_with("For more"));
    format!("{}; try '--help'", said.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    fn slice(line: &str) -> SliceArgs {
        match parse(line).unwrap().command {
            Command::Slice(args) => args,
            other => panic!("parsed as {other:?}"),
        }
    }

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults_are_the_python_tools() {
        let args = slice("annslicer slice a.h5ad out/p");
        assert_eq!(args.order.size.get(), 10_000);
        assert!(!args.order.shuffle && args.order.seed.is_none());
        assert_eq!(args.output.compression, None);
        let Command::Merge(args) = parse("annslicer merge o.h5ad a b*").unwrap().command else {
            panic!("parsed as slice");
        };
        assert_eq!(args.join, Join::Outer);
        assert_eq!(args.inputs, [PathBuf::from("a"), PathBuf::from("b*")]);
    }

    #[test]
    fn long_options_may_be_shortened_and_stand_anywhere() {
        let args = slice("annslicer slice --comp gzip a.h5ad --shuf p --mem=1.5GB -j4 --si 7");
        assert_eq!(args.output.compression, Some(Compression::Gzip(1)));
        assert_eq!(args.machine.memory_limit, Some(1_500_000_000));
        assert_eq!(args.machine.jobs.unwrap().get(), 4);
        assert_eq!(args.order.size.get(), 7);
        assert!(args.order.shuffle);
        assert!(parse("annslicer slice a p --s 7").is_err(), "ambiguous");
    }

    #[test]
    fn debug_and_quiet_stand_before_or_after_the_subcommand() {
        for line in [
            "annslicer --debug -q slice a p",
            "annslicer slice a p --deb --quiet",
        ] {
            let messages = parse(line).unwrap().messages;
            assert!(messages.debug && messages.quiet);
        }
    }

    #[test]
    fn bad_values_are_usage_errors_on_one_line_that_name_the_option() {
        let cases = [
            ("--size 0", "whole number of 1 or more"),
            ("--size -5", "invalid value '-5' for '--size <N>'"),
            ("--size ten", "whole number"),
            ("--jobs 0", "'--jobs <N>'"),
            ("-j -2", "'-2'"),
            ("--shuffle --seed -1", "'--seed <N>'"),
            ("--compression zstd", "gzip:1 to gzip:9, and lzf"),
            ("--memory-limit -4GB", "'-4GB'"),
            ("--memory-limit lots", "'--memory-limit <SIZE>'"),
            ("--sise 3", "--size"),
        ];
        for (options, expected) in cases {
            let error = parse(&format!("annslicer slice a p {options}")).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            let line = one_line(&error);
            assert!(line.contains(expected), "{options}: {line}");
            assert!(!line.contains('\n') && !line.contains("Usage"), "{line}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let line = one_line(&parse("annslicer merge out.h5ad").unwrap_err());
        assert!(line.contains("<INPUT>"), "{line}");
        let line = one_line(&parse("annslicer merge o a --join left").unwrap_err());
        assert!(line.contains("inner, outer"), "{line}");
    }

    #[test]
    fn the_manual_has_a_page_for_each_subcommand() {
        let manual = String::from_utf8(man().unwrap()).unwrap();
        for page in ["annslicer", "annslicer-slice", "annslicer-info"] {
            assert!(manual.contains(&format!(".TH {page} 1")), "{page}");
        }
        assert!(manual.contains("natural"), "options of merge");
    }

    #[test]
    fn scripts_complete_options_of_subcommands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(completions(shell)).unwrap();
            assert!(script.contains("natural-sort"), "{shell}");
        }
    }

    #[test]
    fn help_and_version_are_no_errors() {
        let version = parse("annslicer --version").unwrap_err();
        assert_eq!(version.kind(), ErrorKind::DisplayVersion);
        let help = parse("annslicer slice --help").unwrap_err();
        assert_eq!(help.exit_code(), 0);
        assert!(help.to_string().contains("EXAMPLES"));
    }
}
