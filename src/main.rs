//! Cuts large AnnData files (.h5ad, .zarr) into shards and merges them, out of core.
//!
//! An AnnData file is a tree of arrays. Slicing copies the tree and takes rows wherever a node lies
//! on the obs axis; merging appends rows. Values stay bytes. From the top floor down, each using
//! only those below:
//!
//! - `cli`: the command line as typed; `slice`, `merge`, `filter`, `info`, `check`: one file per subcommand
//! - `extract`: rows of one input into many outputs, wave by wave; `plan`: sizes and memory to waves;
//!   `preview`: what a run would do; `manifest`: what it did
//! - `permutation`: numpy's order for a seed; `output`: write aside, then rename; `resources`:
//!   CPUs, memory, disk; `progress`, `logging`: what the user sees; `compression`: the filters
//! - `cells`: which cells, by a column, an expression or a list of names
//! - `anndata`: the layout of the format: encodings, matrices, frames, joins
//! - `store`: the only place that knows HDF5 and Zarr; `codec`: filters as functions on slices

#![deny(unsafe_code)] // `store/hdf5/ffi.rs` alone may

mod anndata;
mod cells;
mod check;
mod cli;
mod codec;
mod compression;
mod extract;
mod filter;
mod info;
mod logging;
mod manifest;
mod merge;
mod output;
mod permutation;
mod plan;
mod preview;
mod progress;
mod resources;
mod slice;
mod store;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, error::ErrorKind};
use rayon::ThreadPoolBuilder;
use tracing::{debug, error};

use cli::{Cli, Command};

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
    logging::init(cli.messages.debug, cli.messages.quiet);
    std::panic::set_hook(Box::new(|panic| match store::is_guarded() {
        true => debug!("A library gave up: {panic}"),
        false => error!("This is a bug, please report it: {panic}"),
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
        logging::init(false, false);
        error!("{}", cli::one_line(e));
    }
    ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2))
}

fn run(cli: Cli) -> Result<()> {
    let machine = match &cli.command {
        Command::Slice(cli::SliceArgs { machine, .. })
        | Command::Merge(cli::MergeArgs { machine, .. })
        | Command::Filter(cli::FilterArgs { machine, .. }) => Some(machine),
        Command::Check(args) => Some(&args.machine),
        Command::Info(_) | Command::Completions { .. } | Command::Man => None,
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
        Command::Slice(args) => slice::run(args, quiet),
        Command::Merge(args) => merge::run(args, quiet),
        Command::Filter(args) => filter::run(args, quiet),
        Command::Info(args) => info::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Completions { shell } => cli::print(&cli::completions(shell)),
        Command::Man => cli::print(&cli::man()?),
    }
}
