//! Rows of arrays: read by rows as blocks in memory, picked, and appended to new arrays.
//!
//! A [`leaf::Leaf`] is an array on disk whose rows are cells, a [`block::Block`] is some of its rows in memory, and a
//! [`writer::LeafWriter`] is a new array that takes blocks in order. Each kind of array (fixed width, text, sparse,
//! awkward) has one variant in all three, and a matrix of several files ([`stacked`], [`buckets`]) one more of the
//! first. Values stay the bytes of the file; only offsets and indices are numbers. Rows in memory are counted in 32
//! bits, rows of a file in 64.
//!
//! Where to look: [`sparse`], [`csr`] and [`sparse_writer`] have rows of CSR on disk, in memory and as they are
//! written, [`csc`] and [`turned`] what is stored by columns. [`sparsity`], [`group`] and [`same_files`] find what
//! matrices share. [`by_wave`], [`cellset`] and [`targets`] say where cells go that come in another order.

pub mod awkward;
pub mod block;
pub mod buckets;
pub mod by_wave;
pub mod cellset;
pub mod cost;
pub mod csc;
pub mod csr;
pub mod group;
pub mod growing;
pub mod healed;
pub mod leaf;
pub mod nnz;
pub mod ranges;
pub mod records;
pub mod same_files;
pub mod sparse;
pub mod sparse_writer;
pub mod sparsity;
pub mod stacked;
pub mod targets;
pub mod turned;
pub mod writer;
