//! The subcommands: each takes a resolved request, runs it, and says what was done.

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

pub fn run(request: Request) -> Result<()> {
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
