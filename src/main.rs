//! Cuts large AnnData files (.h5ad, .zarr) into shards and merges them, out of core.
//!
//! An AnnData file is a tree of arrays. A run takes rows of a source, in an order, to outputs; values stay bytes.
//! From the top floor down, each using only those below:
//!
//! - `cli`: what was typed, one file per subcommand; `commands`: what each of them does
//! - `extract`: the engine: rows of a source, in an order, to outputs, in a bounded amount of memory
//! - `check`: what a sound file is; `merge`: how several files become one; `cells`: which cells are wanted
//! - `output`: staging folder, verification, publishing; `frame`: obs and var as typed columns
//! - `anndata`: the layout on disk; `rows`: rows in memory; `dtype`: number types and their conversion
//! - `store`: the only place that knows HDF5 and Zarr; `codec`: filters as functions on slices
//! - `permutation`: the order that numpy gives for a seed; `report`: log lines and progress; `resources`: CPUs, memory and disk
//! - `limits`: what the program bears of a file, in one table

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
mod limits;
mod merge;
mod output;
mod permutation;
mod report;
mod resources;
mod rows;
mod store;

use std::process::ExitCode;

use anyhow::Result;
use tracing::{debug, warn};

use crate::cli::Cli;
use crate::report::failure::{self, Kind};
use crate::report::logging;

fn main() -> ExitCode {
    let unset = store::prepare();
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    logging::init(cli.messages.settings());
    std::panic::set_hook(Box::new(|panic| {
        if store::is_guarded() {
            debug!("A library gave up: {panic}")
        } else {
            let bug = format!("This is a bug, please report it: {panic}");
            logging::report_as(Kind::Bug, &bug)
        }
    }));
    for name in unset {
        warn!(
            "{name} is set, but not used: what a file leads to is found where it says, or beside it"
        );
    }
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            logging::report(&e);
            ExitCode::from(failure::exit_code(&e))
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    if cli.messages.error_format == logging::Format::Json {
        output::end_with_reader()?;
    }
    let (machine, request) = cli.resolve()?;
    let pool = resources::pool(machine.threads)?;
    store::watch(output::give_up)?;
    // In the pool, work too small to be shared is done at once, without waking another thread.
    pool.install(|| commands::run(request))?;
    debug!("Work: {}", store::work());
    Ok(())
}
