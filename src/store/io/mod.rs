//! Bytes of files in parallel: positioned reads and writes, chunks, tasks in their order, buffers.
//!
//! - files: `raw` reads and writes at positions, `spill` and `unpacked` are scratch, `buffer` is memory for blocks
//! - reading: `runs` and `chunks` find rows in chunks and decode each once, `stored` compares chunks undecoded
//! - writing: `append` takes rows, `assembly` cuts them into chunks, `order` puts encoded ones in their order
//! - threads: `lanes` runs tasks over few buffers, `ahead` reads while another block is written
//! - what happens: `ledger` for `--verify`, `work` for tests and the log

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
