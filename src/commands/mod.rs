//! The subcommands: each takes a resolved request, runs it, and says what was done.
//!
//! A command knows no format and does no arithmetic on rows: it opens sources, lets `cells` choose, gives rows to
//! `extract` as a task of a [`session`], and publishes. Errors are given the file here (`blame`); `main.rs` prints
//! them.

mod check;
mod check_set;
mod deal;
mod earlier;
mod element;
mod filter;
mod info;
mod merge;
mod portions;
mod resume;
mod session;
mod slice;
mod slice_parts;
mod stages;
mod unzip;

use anyhow::Result;

use crate::cli::{self, Request};

/// Runs a request in the thread pool. Results go to stdout, what is said of the work to stderr.
pub fn run(request: Request) -> Result<()> {
    // The store facade opens what is unpacked in place of the archive, so no command need know.
    let _unpacked = unzip::all(&request)?; // until the run ends
    match request {
        Request::Slice(request) => slice::run(request),
        Request::Merge(request) => merge::run(request),
        Request::Filter(request) => filter::run(request),
        Request::Info(request) => info::run(&request),
        Request::Check(request) if request.set => check_set::run(&request),
        Request::Check(request) => check::run(&request),
        Request::Completions(shell) => cli::print(&cli::completions(shell)),
        Request::Man(args) => cli::write_man(&args),
    }
}
