//! Values of datasets, read and written through the library.
//!
//! Rows are selected, and the library converts what is there to a type in memory. Numbers and text of a fixed width are
//! bytes there. Text of any length is a pointer for each value, so it is read and written apart.

use std::ffi::{CStr, CString, c_char};
use std::ops::Range;
use std::slice::from_ref;

use anyhow::{Context, Result, bail, ensure};
use hdf5::globals::{H5P_DATASET_ACCESS, H5P_DATASET_CREATE};

use super::ffi::{self, Dataset, Id, Selected};
use super::format::heap;
use super::{names, types};
use crate::store::spec::{ArraySpec, Dtype, Field, Strings, items};

/// Bytes of text of any length in memory: it is a pointer.
const POINTER: usize = size_of::<*const c_char>();

/// Texts of a fixed width without their padding.
/// Of 4 bytes each, `ab\0\0a\0b\0` is "ab" and "a\0b": only a NUL at the end is padding.
pub fn unpad(bytes: &[u8], size: usize) -> Strings {
    bytes.chunks_exact(size.max(1)).map(unpadded).collect()
}

fn unpadded(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|&b| b != 0);
    &text[..end.map_or(0, |end| end + 1)]
}

/// Room for the values that texts of any length are in memory.
pub fn texts_of(texts: &[&CStr]) -> Vec<u8> {
    vec![0; texts.len() * POINTER]
}

/// Reads rows of type `dtype` through the library into exactly as many bytes.
pub fn read_rows(
    dataset: Dataset,
    dtype: &Dtype,
    rows: &[Range<u64>],
    dst: &mut [u8],
) -> Result<()> {
    if dst.is_empty() {
        return Ok(());
    }
    let of = types::in_memory(&ffi::type_of(dataset.id)?, dtype)?;
    Selected::Rows(dataset, rows).read(&of, dst)
}

/// Reads rows of one field of a fixed width; `dst` holds exactly those.
pub fn read_field(
    dataset: Dataset,
    field: &Field,
    rows: &[Range<u64>],
    dst: &mut [u8],
) -> Result<()> {
    let of = types::of_member(&ffi::type_of(dataset.id)?, field)?;
    ensure!(
        ffi::type_size(&of)? == field.bytes(),
        "A field of another size than its type says"
    );
    Selected::Rows(dataset, rows).read(&of, dst)
}

/// Reads rows of text of any length through the library; of `field` where the dataset is a compound.
pub fn read_strings(
    dataset: Dataset,
    shape: &[u64],
    field: Option<&Field>,
    rows: &[Range<u64>],
) -> Result<Strings> {
    let of = ffi::type_of(dataset.id)?;
    if rows.iter().all(Range::is_empty) || shape.iter().skip(1).any(|&n| n == 0) {
        return Ok(Strings::default());
    }
    let text = match field {
        Some(field) => types::of_member(&of, field)?,
        None => types::in_memory(&of, &Dtype::String)?,
    };
    Selected::Rows(dataset, rows).read_texts(&text)
}

/// What stands in the file for `count` texts, where addresses take 8 bytes.
pub fn read_references(texts: Selected, count: usize) -> Result<Vec<u8>> {
    let bytes = count.checked_mul(heap::REFERENCE);
    let mut bytes = vec![0; bytes.context("References too large to address")?];
    texts.read(&types::reference()?, &mut bytes)?;
    Ok(bytes)
}

/// Writes rows of a dataset of records whose text is of variable length, from `records` with text of a fixed width. The
/// fields of both are the same but for that.
pub fn write_records(
    dataset: &Id,
    to: &Dtype,
    from: &Dtype,
    (records, rows): (&[u8], &Range<u64>),
) -> Result<()> {
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
    // Record after record, field after field: the order in which pointers to them are put into `buffer`.
    let mut texts: Vec<CString> = vec![];
    let count = records.len() / (*old).max(1);
    let mut buffer = vec![0u8; count * new];
    for (out, record) in buffer
        .chunks_exact_mut(*new)
        .zip(records.chunks_exact(*old))
    {
        for (to, field) in to_fields.iter().zip(fields) {
            let value = &record[field.offset..][..field.bytes()];
            if to.dtype == Dtype::String {
                texts.push(CString::new(unpadded(value))?);
            } else {
                out[to.offset..][..value.len()].copy_from_slice(value);
            }
        }
    }
    let texts: Vec<&CStr> = texts.iter().map(CString::as_c_str).collect();
    let place = Selected::Rows(dataset.into(), from_ref(rows));
    place.write(&types::of_dtype(to)?, buffer, &texts)
}

/// Copies records that hold text to a new dataset, all its values in one piece.
pub fn copy_records(from: Dataset, to: &Id, new_name: &str, spec: &ArraySpec) -> Result<Id> {
    /// Bytes that are copied at a time, without texts.
    const BLOCK: u64 = 1 << 20;
    let of = types::in_charsets_of(&ffi::type_of(from.id)?, &spec.dtype)?;
    let space = ffi::create_space(Some(&spec.shape), false)?;
    let lists = [
        names::creation()?,
        &ffi::create_list(&H5P_DATASET_CREATE)?,
        &ffi::create_list(&H5P_DATASET_ACCESS)?,
    ];
    let made = ffi::create_dataset(to, &names::text(new_name)?, (&of, &space), lists)?;
    // The library holds all texts of what is copied at a time.
    let step = (BLOCK / spec.row_bytes().max(1)).max(1);
    let rows = spec.rows();
    for start in (0..rows).step_by(usize::try_from(step)?) {
        let block = start..rows.min(start + step);
        let copied = Selected::Rows((&made).into(), from_ref(&block));
        Selected::Rows(from, from_ref(&block)).copy(&of, copied)?;
    }
    Ok(made)
}

/// Writes rows of text of any length from row `start`.
pub fn write_strings(dataset: &Id, shape: &[u64], start: u64, strings: &Strings) -> Result<()> {
    if strings.len() == 0 {
        return Ok(());
    }
    // As C strings, one behind the other.
    let mut ended = Vec::with_capacity(strings.bytes.len() + strings.len());
    for value in strings.iter() {
        ensure!(
            !value.contains(&0),
            "The text {:?} holds a NUL, which HDF5 cannot store in text of variable length",
            String::from_utf8_lossy(value)
        );
        ended.extend_from_slice(value);
        ended.push(0);
    }
    let mut texts = Vec::with_capacity(strings.len());
    let mut rest = &ended[..];
    while let Ok(text) = CStr::from_bytes_until_nul(rest) {
        texts.push(text);
        rest = &rest[text.count_bytes() + 1..];
    }
    let row_items = items(shape.get(1..).unwrap_or_default()).max(1);
    let rows = start..start + texts.len() as u64 / row_items;
    let rows = Selected::Rows(dataset.into(), from_ref(&rows));
    rows.write(&ffi::type_of(dataset)?, texts_of(&texts), &texts)
}

#[cfg(test)]
mod tests {
    use super::super::datasets::{self, Creation};
    use super::super::files;
    use super::*;
    use crate::store::spec::{ByteOrder, Kind};
    use hdf5_sys::h5t::H5T_class_t::H5T_COMPOUND;

    const NUMBERS: Dtype = Dtype::Number {
        kind: Kind::Int,
        size: 4,
        order: ByteOrder::Little,
    };

    /// Calls `check` with a new dataset of three values, and their type.
    fn with_three(dtype: Dtype, check: impl FnOnce(&Id, &Id)) {
        let folder = tempfile::tempdir().unwrap();
        let file = files::create(&folder.path().join("a.h5")).unwrap();
        let spec = ArraySpec {
            null: false,
            shape: vec![3],
            dtype,
        };
        let how = Creation::default();
        let dataset = datasets::create(&file, "a", &spec, &how).unwrap();
        check(&dataset, &ffi::type_of(&dataset).unwrap());
    }

    #[test]
    fn text_of_any_length_is_no_bytes() {
        with_three(Dtype::String, |dataset, text| {
            let all = Selected::Rows(dataset.into(), from_ref(&(0..3)));
            assert!(all.write(text, vec![1; 3 * POINTER], &[]).is_err());
            assert!(
                all.write(text, vec![1; 3 * POINTER], &[c"a", c"b"])
                    .is_err()
            );
            let texts = [c"a", c"", c"bc"];
            all.write(text, texts_of(&texts), &texts).unwrap();
            assert!(all.read(text, &mut [0; 3 * POINTER]).is_err());
            let found = all.read_texts(text).unwrap();
            assert!(found.iter().eq([&b"a"[..], b"", b"bc"]));
        });
    }

    #[test]
    fn buffers_hold_what_is_read_and_written() {
        with_three(NUMBERS, |dataset, number| {
            let all = Selected::Rows(dataset.into(), from_ref(&(0..3)));
            assert!(all.read(number, &mut [0; 11]).is_err());
            assert!(all.write(number, vec![0; 11], &[]).is_err());
            assert!(all.write(number, vec![0; 12], &[c"a"]).is_err());
            assert!(all.read_texts(number).is_err());
            let beyond = Selected::Rows(dataset.into(), from_ref(&(1..4)));
            assert!(beyond.read(number, &mut [0; 12]).is_err());
            all.write(number, (0..12).collect(), &[]).unwrap();
            let mut last = [0; 4];
            let rows = Selected::Rows(dataset.into(), from_ref(&(2..3)));
            rows.read(number, &mut last).unwrap();
            assert_eq!(last, [8, 9, 10, 11]);
        });
    }

    #[test]
    fn text_in_arrays_is_not_carried_as_it_is() {
        let array = ffi::create_array(&types::of_dtype(&Dtype::String).unwrap(), &[2]).unwrap();
        let of_arrays = ffi::create_array(&array, &[2]).unwrap();
        let record = ffi::create_type(H5T_COMPOUND, 4 * POINTER).unwrap();
        ffi::insert_member(&record, c"a", 0, &of_arrays).unwrap();
        for of in [array, record] {
            let dtype = types::dtype(&of).unwrap();
            assert!(matches!(dtype, Dtype::Unsupported(_)), "{dtype}");
        }
    }
}
