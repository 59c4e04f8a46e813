//! The filters that `codec` undoes, for what the library reads itself: records with text, virtual datasets. Writing
//! through them is left to programs that have the plugins.

use std::ffi::{CStr, c_uint, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use hdf5_sys::h5::{H5allocate_memory, H5free_memory};
use hdf5_sys::h5z::{H5Z_CLASS_T_VERS, H5Z_FLAG_REVERSE, H5Z_class2_t, H5Zregister};

use super::super::watch::sync;
use super::done;
use crate::codec::{Filter, decode_alone};

/// Tells the library of the filters, once.
pub(super) fn register() -> Result<()> {
    static KNOWN: AtomicBool = AtomicBool::new(false);
    if KNOWN.load(Ordering::Relaxed) {
        return Ok(());
    }
    let filters = [
        class::<32001>(c"blosc"),
        class::<32004>(c"lz4"),
        class::<32008>(c"bitshuffle"),
        class::<32015>(c"zstd"),
    ];
    // SAFETY: the library copies the classes, whose names and functions live as long as the program.
    sync(|| unsafe {
        for class in &filters {
            done(H5Zregister((&raw const *class).cast()))?;
        }
        Ok::<_, anyhow::Error>(())
    })?;
    KNOWN.store(true, Ordering::Relaxed);
    Ok(())
}

fn class<const ID: u32>(name: &'static CStr) -> H5Z_class2_t {
    H5Z_class2_t {
        version: H5Z_CLASS_T_VERS as i32,
        id: ID as i32,
        encoder_present: 0,
        decoder_present: 1,
        name: name.as_ptr(),
        can_apply: None,
        set_local: None,
        filter: Some(undo::<ID>),
    }
}

/// Replaces the buffer of a chunk by what it was before the filter; 0 is an error (HDF5 manual, "H5Zregister").
unsafe extern "C" fn undo<const ID: u32>(
    flags: c_uint,
    count: usize,
    values: *const c_uint,
    bytes: usize,
    room: *mut usize,
    buffer: *mut *mut c_void,
) -> usize {
    if flags & H5Z_FLAG_REVERSE == 0 || bytes == 0 {
        return 0;
    }
    // SAFETY: the library hands out `count` parameters, which may be none, and a buffer with `bytes` bytes of data.
    let (values, data) = unsafe {
        let values = match count {
            0 => &[][..],
            _ => std::slice::from_raw_parts(values, count),
        };
        (
            values,
            std::slice::from_raw_parts((*buffer).cast::<u8>(), bytes),
        )
    };
    let undone = Filter::from_hdf5(ID, values, 1).and_then(|filter| decode_alone(&filter, data));
    let Ok(undone) = undone else {
        return 0;
    };
    // SAFETY: the new buffer is the library's and as long as what is copied; the old one is the library's too, and no
    // longer used.
    unsafe {
        let new = H5allocate_memory(undone.len().max(1), 0);
        if new.is_null() {
            return 0;
        }
        std::ptr::copy_nonoverlapping(undone.as_ptr(), new.cast(), undone.len());
        H5free_memory(*buffer);
        (*buffer, *room) = (new, undone.len());
    }
    undone.len()
}
