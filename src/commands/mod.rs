//! The subcommands: each takes what was asked for, runs it, and says what was done.

pub mod check;
pub mod filter;
pub mod info;
pub mod merge;
mod resume;
pub mod slice;
