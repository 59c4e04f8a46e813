//! The filters that `codec` undoes, for what the library reads itself: records with text, virtual datasets. Writing
//! through them is left to programs that have the plugins.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;

use super::ffi::register_filter;
use crate::codec::{Filter, decode_alone};

/// Tells the library of the filters, once.
pub fn register() -> Result<()> {
    static KNOWN: AtomicBool = AtomicBool::new(false);
    if KNOWN.load(Ordering::Relaxed) {
        return Ok(());
    }
    register_filter::<32001>(c"blosc")?;
    register_filter::<32004>(c"lz4")?;
    register_filter::<32008>(c"bitshuffle")?;
    register_filter::<32015>(c"zstd")?;
    KNOWN.store(true, Ordering::Relaxed);
    Ok(())
}

/// What a chunk was before the filter of that number and those parameters.
pub fn undo(id: u32, values: &[u32], data: &[u8]) -> Result<Vec<u8>> {
    decode_alone(&Filter::from_hdf5(id, values, 1)?, data)
}
