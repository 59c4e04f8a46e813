//! Bytes of files in parallel: positioned reads and writes, chunks, tasks in their order, buffers.

pub mod ahead;
pub mod append;
pub mod assembly;
pub mod buffer;
pub mod chunks;
pub mod lanes;
pub mod ledger;
pub mod order;
pub mod raw;
pub mod runs;
pub mod spill;
pub mod stored;
pub mod unpacked;
pub mod work;
