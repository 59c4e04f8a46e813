//! The filters that `codec` undoes, for what the library reads itself: records with text, virtual datasets. Writing
//! through them is left to programs that have the plugins.

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use hdf5_sys::h5::{H5allocate_memory, H5free_memory};
use hdf5_sys::h5z::{H5Z_CLASS_T_VERS, H5Z_FLAG_REVERSE, H5Z_class2_t, H5Zregister};

use super::call::{answer, done};
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

fn register_filter<const ID: u32>(name: &'static CStr) -> Result<()> {
    let class = H5Z_class2_t {
        version: H5Z_CLASS_T_VERS as c_int,
        id: ID as c_int,
        encoder_present: 0,
        decoder_present: 1,
        name: name.as_ptr(),
        can_apply: None,
        set_local: None,
        filter: Some(undo::<ID>),
    };
    // SAFETY: the library copies the class, whose name and function live as long as the program.
    done(|| unsafe { H5Zregister((&raw const class).cast()) })
}

/// Undoes a filter: takes its number and parameters, and what is stored.
type Undo = fn(u32, &[u32], &[u8]) -> Result<Vec<u8>>;

fn decode(id: u32, values: &[u32], data: &[u8]) -> Result<Vec<u8>> {
    decode_alone(&Filter::from_hdf5(id, values, 1)?, data, u64::MAX)
}

unsafe extern "C" fn undo<const ID: u32>(
    flags: c_uint,
    count: usize,
    values: *const c_uint,
    bytes: usize,
    room: *mut usize,
    buffer: *mut *mut c_void,
) -> usize {
    // SAFETY: as the library calls it.
    answer(0, || unsafe {
        replace(ID, decode, flags, (values, count), bytes, room, buffer)
    })
}

/// Replaces the buffer of a chunk by what it was before the filter; 0 is an error (HDF5 manual, "H5Zregister").
///
/// # Safety
/// There are `count` parameters, or none, at `values`; `buffer` leads to a buffer of the library with `bytes` bytes of
/// data, and may, as `room`, be written.
unsafe fn replace(
    id: u32,
    undo: Undo,
    flags: c_uint,
    (values, count): (*const c_uint, usize),
    bytes: usize,
    room: *mut usize,
    buffer: *mut *mut c_void,
) -> usize {
    if flags & H5Z_FLAG_REVERSE == 0 || bytes == 0 {
        return 0;
    }
    // SAFETY: as the caller says.
    let (values, data) = unsafe {
        let values = match count {
            0 => &[][..],
            _ => slice::from_raw_parts(values, count),
        };
        (values, slice::from_raw_parts((*buffer).cast(), bytes))
    };
    let Ok(undone) = undo(id, values, data) else {
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

#[cfg(test)]
mod tests {
    use std::ptr::null;

    use super::*;
    use crate::store::hdf5::datasets::{self, Creation};
    use crate::store::hdf5::ffi::{chunks, write_chunk};
    use crate::store::hdf5::files;
    use crate::store::spec::{ArraySpec, Dtype, Kind};

    /// A filter that panics on whatever it undoes.
    unsafe extern "C" fn panics(
        flags: c_uint,
        count: usize,
        values: *const c_uint,
        bytes: usize,
        room: *mut usize,
        buffer: *mut *mut c_void,
    ) -> usize {
        // SAFETY: as the library calls it.
        answer(0, || unsafe {
            let undo = |_, _: &[u32], _: &[u8]| panic!("on purpose");
            replace(0, undo, flags, (values, count), bytes, room, buffer)
        })
    }

    #[test]
    fn no_panic_goes_through_the_library() {
        let mut data = [1u8, 2, 3, 4];
        let (mut room, mut buffer) = (data.len(), data.as_mut_ptr().cast());
        let (values, len) = (null(), data.len());
        // SAFETY: the buffer has as many bytes, and is not freed where nothing is undone.
        let undone = unsafe { panics(H5Z_FLAG_REVERSE, 0, values, len, &mut room, &mut buffer) };
        assert_eq!((undone, data), (0, [1, 2, 3, 4]));

        let folder = tempfile::tempdir().unwrap();
        let file = files::create(&folder.path().join("a.h5")).unwrap();
        let how = Creation {
            chunk: Some(&[4]),
            ..Default::default()
        };
        let spec = ArraySpec::new(vec![4], Dtype::native(Kind::Uint, 1));
        let dataset = datasets::create(&file, "a", &spec, &how).unwrap();
        write_chunk(&dataset, &[0], 0, &data).unwrap();
        assert!(chunks(&dataset, &mut |_, _, _, _| panic!("on purpose")).is_err());
        let mut found = 0;
        chunks(&dataset, &mut |_, _, _, _| found += 1).unwrap();
        assert_eq!(found, 1);
    }
}
