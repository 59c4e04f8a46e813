//! Values of datasets, read and written through the library.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{null, null_mut};

use anyhow::{Context, Result, bail, ensure};
use hdf5_sys::h5d::*;
use hdf5_sys::h5p::*;
use hdf5_sys::h5s::*;
use hdf5_sys::h5t::*;

use super::super::watch::sync;
use super::links::link_creation;
use super::types::{in_charsets_of, member_type, memory_type, type_of};
use super::{Id, done, id, space, text};
use crate::store::spec::{ArraySpec, Dtype, Field, Strings};

/// Takes `count` C strings out of the library's memory, then gives that memory back.
///
/// SAFETY of the callers: `pointers` was filled by a read with `of` and `space`, which hold `pointers.len()` values.
pub(super) unsafe fn take_strings(
    pointers: &mut [*mut c_char],
    of: &Id,
    space: &Id,
) -> Result<Strings> {
    let strings = pointers
        .iter()
        .map(|&p| match p.is_null() {
            true => &b""[..],
            // SAFETY: the library ends each text with a NUL.
            false => unsafe { CStr::from_ptr(p) }.to_bytes(),
        })
        .collect();
    // SAFETY: as above; the pointers are not used again.
    done(unsafe { H5Treclaim(of.0, space.0, H5P_DEFAULT, pointers.as_mut_ptr().cast()) })?;
    Ok(strings)
}

pub(super) fn element_count(shape: &[u64]) -> Result<usize> {
    shape
        .iter()
        .try_fold(1u64, |n, &d| n.checked_mul(d))
        .and_then(|n| usize::try_from(n).ok())
        .filter(|&n| n <= isize::MAX as usize / 64)
        .with_context(|| format!("Shape {shape:?} is too large"))
}

/// Texts of a fixed width without their padding.
pub fn unpad(bytes: &[u8], size: usize) -> Strings {
    bytes
        .chunks_exact(size.max(1))
        .map(|t| &t[..t.iter().rposition(|&b| b != 0).map_or(0, |end| end + 1)])
        .collect()
}

/// The part of a dataspace that holds `count` rows from `start`, and a space of that many values in memory.
fn rows(space: &Id, shape: &[u64], start: u64, count: u64) -> Result<(Id, usize)> {
    let mut block = shape.to_vec();
    let mut from = vec![0; shape.len()];
    if let (Some(n), Some(at)) = (block.first_mut(), from.first_mut()) {
        (*n, *at) = (count, start);
        // SAFETY: both arrays hold one entry for each axis of the space.
        sync(|| {
            done(unsafe {
                H5Sselect_hyperslab(
                    space.0,
                    H5S_seloper_t::H5S_SELECT_SET,
                    from.as_ptr(),
                    null(),
                    block.as_ptr(),
                    null(),
                )
            })
        })?;
    }
    let items = element_count(&block)?;
    Ok((self::space(&[items as u64], false)?, items))
}

/// Reads rows through the library, as they are stored, into exactly as many bytes.
pub fn read_rows(dataset: &Id, spec: &ArraySpec, start: u64, dst: &mut [u8]) -> Result<()> {
    let row = spec.row_bytes();
    if row == 0 || dst.is_empty() {
        return Ok(());
    }
    // SAFETY: asks for type and space of an open dataset.
    let (of, space) = sync(|| unsafe {
        let of = id(H5Dget_type(dataset.0))?;
        Ok::<_, anyhow::Error>((of, id(H5Dget_space(dataset.0))?))
    })?;
    let (memory, items) = rows(&space, &spec.shape, start, dst.len() as u64 / row)?;
    ensure!(
        items.checked_mul(spec.dtype.size()) == Some(dst.len()),
        "A read of {items} values into {} bytes",
        dst.len()
    );
    // SAFETY: the buffer holds as many values of the stored type as are selected.
    sync(|| {
        done(unsafe {
            H5Dread(
                dataset.0,
                of.0,
                memory.0,
                space.0,
                H5P_DEFAULT,
                dst.as_mut_ptr().cast(),
            )
        })
    })
}

/// Reads rows of one field of a fixed width; `dst` holds exactly those.
pub fn read_field(
    dataset: &Id,
    rows: u64,
    field: &Field,
    start: u64,
    dst: &mut [u8],
) -> Result<()> {
    let size = field.shape.iter().product::<u64>() as usize * field.dtype.size();
    let memory_of = member_type(dataset, field)?;
    // SAFETY: asks for the space of an open dataset.
    let space = sync(|| id(unsafe { H5Dget_space(dataset.0) }))?;
    let (memory, items) = self::rows(&space, &[rows], start, (dst.len() / size.max(1)) as u64)?;
    ensure!(
        items * size == dst.len(),
        "A field of another size than its type says"
    );
    // SAFETY: the buffer holds as many values of that one field as are selected.
    sync(|| {
        done(unsafe {
            H5Dread(
                dataset.0,
                memory_of.0,
                memory.0,
                space.0,
                H5P_DEFAULT,
                dst.as_mut_ptr().cast(),
            )
        })
    })
}

/// Reads rows of text of any length through the library; of `field` where the dataset is a compound.
pub fn read_strings(
    dataset: &Id,
    shape: &[u64],
    field: Option<&Field>,
    start: u64,
    count: u64,
) -> Result<Strings> {
    // SAFETY: asks for type and space of an open dataset.
    let (of, space) = sync(|| unsafe {
        let of = id(H5Dget_type(dataset.0))?;
        Ok::<_, anyhow::Error>((of, id(H5Dget_space(dataset.0))?))
    })?;
    let (memory, items) = rows(&space, shape, start, count)?;
    if items == 0 {
        return Ok(Strings::default());
    }
    let text = match field {
        Some(field) => member_type(dataset, field)?,
        None => memory_type(&of, &Dtype::String)?,
    };
    let mut pointers: Vec<*mut c_char> = vec![null_mut(); items];
    // SAFETY: the buffer holds one pointer for each value that is selected.
    sync(|| unsafe {
        done(H5Dread(
            dataset.0,
            text.0,
            memory.0,
            space.0,
            H5P_DEFAULT,
            pointers.as_mut_ptr().cast(),
        ))?;
        take_strings(&mut pointers, &text, &memory)
    })
}

/// Writes all records of a dataset whose text is of variable length, from `records` with text of a fixed width. The
/// fields of both are the same but for that.
pub fn write_records(dataset: &Id, to: &Dtype, from: &Dtype, records: &[u8]) -> Result<()> {
    let (
        Dtype::Record {
            size: new,
            fields: to_fields,
        },
        Dtype::Record { size: old, fields },
    ) = (to, from)
    else {
        bail!("{from} is no record");
    };
    let mut texts: Vec<CString> = vec![];
    let mut buffer = vec![0u8; records.len() / (*old).max(1) * new];
    for (out, record) in buffer
        .chunks_exact_mut(*new)
        .zip(records.chunks_exact(*old))
    {
        for (to, field) in to_fields.iter().zip(fields) {
            let items = field.shape.iter().product::<u64>() as usize;
            let value = &record[field.offset..][..field.dtype.size() * items];
            if to.dtype == Dtype::String {
                let end = value.iter().rposition(|&b| b != 0).map_or(0, |end| end + 1);
                texts.push(CString::new(&value[..end])?);
                let pointer = texts.last().map_or(0, |t| t.as_ptr() as usize);
                out[to.offset..][..size_of::<usize>()].copy_from_slice(&pointer.to_ne_bytes());
            } else {
                out[to.offset..][..value.len()].copy_from_slice(value);
            }
        }
    }
    let of = type_of(to)?;
    // SAFETY: the buffer holds one value of the type for each record; its pointers lead into `texts`, alive until the
    // end.
    sync(|| {
        done(unsafe {
            H5Dwrite(
                dataset.0,
                of.0,
                H5S_ALL,
                H5S_ALL,
                H5P_DEFAULT,
                buffer.as_ptr().cast(),
            )
        })
    })
}

/// Copies records that hold text to a new dataset, all its values in one piece.
pub fn copy_records(from: &Id, to: &Id, new_name: &str, spec: &ArraySpec) -> Result<Id> {
    /// Bytes that are copied at a time, without texts.
    const BLOCK: u64 = 1 << 20;
    let (name, links) = (text(new_name)?, link_creation()?);
    // SAFETY: asks for type and space of an open dataset.
    let (stored, space) = sync(|| unsafe {
        let stored = id(H5Dget_type(from.0))?;
        Ok::<_, anyhow::Error>((stored, id(H5Dget_space(from.0))?))
    })?;
    let of = in_charsets_of(&stored, &spec.dtype)?;
    let whole = self::space(&spec.shape, false)?;
    // SAFETY: the name is a C string.
    let made = sync(|| unsafe {
        id(H5Dcreate2(
            to.0,
            name.as_ptr(),
            of.0,
            whole.0,
            links.0,
            H5P_DEFAULT,
            H5P_DEFAULT,
        ))
    })?;
    let step = (BLOCK / spec.row_bytes().max(1)).max(1);
    let rows = spec.rows();
    for start in (0..rows).step_by(usize::try_from(step)?) {
        let (memory, count) = self::rows(&space, &spec.shape, start, step.min(rows - start))?;
        let mut values = vec![0u8; count * spec.dtype.size()];
        let buffer: *mut c_void = values.as_mut_ptr().cast();
        // SAFETY: the buffer holds `count` values of the type. Their texts are the library's, which gets them back.
        sync(|| unsafe {
            done(H5Dread(
                from.0,
                of.0,
                memory.0,
                space.0,
                H5P_DEFAULT,
                buffer,
            ))?;
            let written = H5Dwrite(made.0, of.0, memory.0, space.0, H5P_DEFAULT, buffer);
            done(written).and(done(H5Treclaim(of.0, memory.0, H5P_DEFAULT, buffer)))
        })?;
    }
    Ok(made)
}

/// Writes one encoded chunk at `origin`, the position of its first element.
pub fn write_chunk(dataset: &Id, origin: &[u64], mask: u32, bytes: &[u8]) -> Result<()> {
    // SAFETY: `origin` has the rank of the dataset, which was made with it; the buffer is as long as announced.
    sync(|| {
        done(unsafe {
            H5Dwrite_chunk(
                dataset.0,
                H5P_DEFAULT,
                mask,
                origin.as_ptr(),
                bytes.len(),
                bytes.as_ptr().cast(),
            )
        })
    })
}

/// Writes rows of text of any length from row `start`.
pub fn write_strings(dataset: &Id, shape: &[u64], start: u64, strings: &Strings) -> Result<()> {
    if strings.len() == 0 {
        return Ok(());
    }
    let mut ended = Vec::with_capacity(strings.bytes.len() + strings.len());
    let mut starts = Vec::with_capacity(strings.len());
    for value in strings.iter() {
        ensure!(
            !value.contains(&0),
            "The text {:?} holds a NUL, which HDF5 cannot store in text of variable length",
            String::from_utf8_lossy(value)
        );
        starts.push(ended.len());
        ended.extend_from_slice(value);
        ended.push(0);
    }
    let pointers: Vec<*const u8> = starts.iter().map(|&at| ended[at..].as_ptr()).collect();
    let row_items = shape.iter().skip(1).product::<u64>().max(1);
    // SAFETY: asks for type and space of an open dataset.
    let (of, space) = sync(|| unsafe {
        let of = id(H5Dget_type(dataset.0))?;
        Ok::<_, anyhow::Error>((of, id(H5Dget_space(dataset.0))?))
    })?;
    let (memory, items) = rows(&space, shape, start, strings.len() as u64 / row_items)?;
    ensure!(
        items == strings.len(),
        "{} texts for {items} places",
        strings.len()
    );
    // SAFETY: one pointer for each value that is selected, each to a text ended with NUL, alive until the end.
    sync(|| {
        done(unsafe {
            H5Dwrite(
                dataset.0,
                of.0,
                memory.0,
                space.0,
                H5P_DEFAULT,
                pointers.as_ptr().cast(),
            )
        })
    })
}
