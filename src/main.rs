//! Cuts large AnnData files (.h5ad, .zarr) into shards and merges them, out of core.
//!
//! An AnnData file is a tree of arrays. A run takes rows of a source, in an order, to outputs; values stay bytes.
//! From the top floor down, each using only those below:
//!
//! - `cli`: what was typed, one file per subcommand; `commands`: what each of them does
//! - `extract`: the engine: rows of a source, in an order, to outputs, wave by wave, in a bounded amount of memory
//! - `check`: what a sound file is; `merge`: how several files become one; `cells`: which cells are wanted
//! - `output`: staging folder, verification, publishing; `frame`: obs and var as typed columns
//! - `anndata`: the layout on disk; `rows`: rows in memory; `dtype`: number types and their conversion
//! - `store`: the only place that knows HDF5 and Zarr; `codec`: filters as functions on slices
//! - `permutation`: the order that numpy gives for a seed; `report`: log lines and progress; `resources`: CPUs, memory and disk

#![deny(unsafe_code)] // `store/hdf5/ffi` alone may

mod anndata;
mod cells;
mod check;
mod cli;
mod codec;
mod commands;
mod dtype;
mod extract;
mod frame;
mod merge;
mod output;
mod permutation;
mod report;
mod resources;
mod rows;
mod store;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, error::ErrorKind};
use rayon::ThreadPoolBuilder;
use tracing::{debug, error};

use crate::cli::{Cli, Command};
use crate::extract::plan;
use crate::report::logging;

/// Bytes of a thread's stack: what the first one has.
const STACK: usize = 8 << 20;

/// More threads than this only wait for one another.
const MOST_THREADS: usize = 1024;

fn main() -> ExitCode {
    store::share_heap();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return usage(&e),
    };
    logging::init(cli.messages.settings());
    std::panic::set_hook(Box::new(|panic| {
        if store::is_guarded() {
            debug!("A library gave up: {panic}")
        } else {
            error!("This is a bug, please report it: {panic}")
        }
    }));
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            logging::report(&e);
            ExitCode::FAILURE
        }
    }
}

/// Help and version go to stdout; a usage error is one line and exits with 2.
fn usage(e: &clap::Error) -> ExitCode {
    let is_help = e.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if is_help || !e.use_stderr() {
        let _ = e.print(); // a reader that has gone, as in `| head -1`, is no error
    } else {
        logging::init(logging::Settings::default());
        error!("{}", cli::usage_error(e));
    }
    ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2))
}

fn run(cli: Cli) -> Result<()> {
    let machine = match &cli.command {
        Command::Slice(cli::SliceArgs { machine, .. })
        | Command::Merge(cli::MergeArgs { machine, .. })
        | Command::Filter(cli::FilterArgs { machine, .. }) => Some(machine),
        Command::Check(args) => Some(&args.machine),
        Command::Info(_) | Command::Completions { .. } | Command::Man(_) => None,
    };
    let jobs = machine.and_then(|machine| machine.jobs);
    let most = machine.map_or(MOST_THREADS, |machine| plan::threads_in(machine.memory()));
    let jobs = jobs.map_or_else(resources::cpus, usize::from);
    let jobs = jobs.min(most).min(MOST_THREADS);
    let pool = ThreadPoolBuilder::new()
        .num_threads(jobs)
        .stack_size(STACK)
        .build()
        .with_context(|| format!("Cannot start {jobs} threads"))?;
    store::watch(output::give_up)?;
    // In the pool, work too small to be shared is done at once, without waking another thread.
    pool.install(|| dispatch(cli))?;
    debug!("Work: {}", store::work());
    Ok(())
}

fn dispatch(cli: Cli) -> Result<()> {
    let quiet = cli.messages.quiet;
    match cli.command {
        Command::Slice(args) => commands::slice::run(args, quiet),
        Command::Merge(args) => commands::merge::run(args, quiet),
        Command::Filter(args) => commands::filter::run(args, quiet),
        Command::Info(args) => commands::info::run(&args),
        Command::Check(args) => commands::check::run(&args),
        Command::Completions { shell } => cli::print(&cli::completions(shell)),
        Command::Man(args) => cli::write_man(&args),
    }
}
