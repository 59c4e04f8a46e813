//! Rows of records that hold text of any length, as numpy's structured arrays of objects do. In memory such text has a
//! fixed width, that of the longest in the array.
//!
//! HDF5 alone has such records: a compound type with members of variable length. All texts are read once for their
//! lengths when the array is opened; from then on rows are bytes as those of any other array, and one long text makes
//! each row as long. They are written as text of any length again in HDF5, as UTF-32 in Zarr.

use std::ops::Range;
use std::slice::from_ref;

use anyhow::{Result, bail, ensure};

use super::ranges::blocks;
use crate::store::Array;
use crate::store::spec::{ArraySpec, Dtype, Field};

/// An array of such records, open.
pub struct TextRecords {
    array: Array,
    /// The records in memory; its fields are those of the array, in the same order.
    dtype: Dtype,
}

impl TextRecords {
    /// Looks at all texts for their lengths. Records within records are an error.
    pub fn open(array: Array) -> Result<TextRecords> {
        let spec = array.spec();
        let Dtype::Record { fields, .. } = &spec.dtype else {
            bail!("It holds {}, no records", spec.dtype);
        };
        ensure!(
            !spec.dtype.has_records(),
            "Rows of records within records that hold text cannot be taken"
        );
        array.check_declared()?;
        let (mut size, mut fixed) = (0, vec![]);
        for field in fields {
            let mut dtype = field.dtype.clone();
            if dtype == Dtype::String {
                // One byte at the least: values of no bytes cannot be stepped through.
                let width = longest(&array, field)?.max(1);
                dtype = Dtype::FixedString { size: width };
            }
            let field = Field {
                // In memory fields follow each other without padding, whatever the file has.
                offset: size,
                dtype,
                ..field.clone()
            };
            size += field.bytes();
            fixed.push(field);
        }
        let dtype = Dtype::Record {
            size,
            fields: fixed,
        };
        Ok(TextRecords { array, dtype })
    }

    /// The records as they are stored.
    pub fn array(&self) -> &Array {
        &self.array
    }

    pub fn rows(&self) -> u64 {
        self.array.spec().rows()
    }

    /// Bytes of a row in memory. Each text counts as the longest of its field.
    pub fn row_bytes(&self) -> u64 {
        let items = self.array.spec().row_items();
        items.saturating_mul(self.dtype.size() as u64)
    }

    /// What so many rows of it are in memory.
    pub fn spec(&self, rows: u64) -> ArraySpec {
        let mut shape = self.array.spec().shape.clone();
        if let Some(first) = shape.first_mut() {
            *first = rows;
        }
        ArraySpec::new(shape, self.dtype.clone())
    }

    /// The rows in `ranges` (sorted, disjoint).
    pub fn read(&self, ranges: &[Range<u64>]) -> Result<Vec<u8>> {
        let Dtype::Record { size, fields } = &self.dtype else {
            bail!("They are no records");
        };
        let stored = match &self.array.spec().dtype {
            Dtype::Record { fields, .. } => fields.as_slice(),
            _ => &[],
        };
        let rows: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        let items = rows.saturating_mul(self.array.spec().row_items());
        let mut records = vec![0; usize::try_from(items)?.saturating_mul(*size)];
        for (from, to) in stored.iter().zip(fields) {
            let width = to.bytes();
            let places = records.chunks_exact_mut((*size).max(1));
            let places = places.map(|record| &mut record[to.offset..][..width]);
            if from.dtype == Dtype::String {
                let texts = self.array.read_field_strings(from, ranges)?;
                let (mut texts, one) = (texts.iter(), to.dtype.size());
                for place in places {
                    for (place, text) in place.chunks_exact_mut(one).zip(texts.by_ref()) {
                        // Records are zero before, so a shorter text is padded by NUL.
                        ensure!(text.len() <= one, "A text has become longer");
                        place[..text.len()].copy_from_slice(text);
                    }
                }
            } else {
                let values = self.array.read_field(from, ranges)?;
                let values = values.chunks_exact(width.max(1));
                places
                    .zip(values)
                    .for_each(|(place, value)| place.copy_from_slice(value));
            }
        }
        Ok(records)
    }
}

/// Bytes of the longest text of a field.
fn longest(array: &Array, field: &Field) -> Result<usize> {
    /// Bytes that are guessed for a text.
    const TEXT: u64 = 64;
    let row = field
        .items()
        .saturating_mul(array.spec().row_items())
        .saturating_mul(TEXT);
    let mut longest = 0;
    for rows in blocks(array.spec().rows(), row) {
        let texts = array.read_field_strings(field, from_ref(&rows))?;
        longest = texts.iter().map(<[u8]>::len).fold(longest, usize::max);
    }
    Ok(longest)
}
