//! The program as a user runs it, on a real file of 700 cells: a file for each subcommand, and for what they share.

mod harness;

mod check;
mod choosing;
mod docs;
mod elements;
mod info;
mod merge;
mod outputs;
mod slice;
mod slips;
mod usage;
mod work;
