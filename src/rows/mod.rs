//! Rows of arrays: read by rows as blocks in memory, picked, and appended to new arrays.

pub mod awkward;
pub mod block;
pub mod cellset;
pub mod csc;
pub mod csr;
pub mod leaf;
pub mod ranges;
pub mod sparse;
pub mod sparse_writer;
pub mod targets;
pub mod writer;
