//! Text of Zarr arrays in memory: of any length, of fixed width, and numpy's `U`.
//!
//! A text is held as an offset into the bytes of its chunk row; of what is read, only texts that were asked for are
//! copied.

use std::borrow::Cow;
use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};

use super::dtype::ZarrType;
use crate::store::spec::{ByteOrder, Dtype, Field, Strings};

/// What one text counts for where its size must be guessed, in bytes.
pub const TEXT_BYTES: usize = 32;
/// The bytes of a number that stands for a text.
pub const PLACE: usize = size_of::<usize>();

/// The texts of one chunk row: for each of its chunks the bytes of all, and where each begins and the last ends.
pub type Texts = Vec<(Vec<u8>, Vec<usize>)>;

/// A text of fixed width without its padding.
pub fn unpadded(text: &[u8]) -> &[u8] {
    let end = text
        .iter()
        .rposition(|&b| b != 0)
        .map_or(0, |last| last + 1);
    &text[..end]
}

/// A chunk of `items` places that holds some of `texts`, as numcodecs' `vlen-utf8` stores it: the number of texts, then
/// for each its bytes and the text itself; numbers are u32, little-endian.
pub fn vlen(texts: &Strings, here: Range<usize>, items: usize) -> Result<Cow<'static, [u8]>> {
    // Places beyond the array are empty texts.
    let padding = items - here.len();
    let mut out = vec![];
    out.extend(u32::try_from(items)?.to_le_bytes());
    for i in here {
        let text = texts.get(i);
        ensure!(
            std::str::from_utf8(text).is_ok(),
            "Text {i} of a chunk is not UTF-8"
        );
        let len = u32::try_from(text.len()).context("A text of over 4 GiB")?;
        out.extend(len.to_le_bytes());
        out.extend(text);
    }
    out.resize(out.len() + 4 * padding, 0);
    Ok(out.into())
}

/// Converts numpy's `U` in its place.
/// `ab` in a `<U3` is 12 bytes before, and `ab` with 10 NUL after it. NUL at the end is padding in both.
pub fn utf32_to_utf8(chunk: &mut [u8], item_type: &ZarrType) -> Result<()> {
    if item_type.utf32.is_empty() {
        return Ok(());
    }
    for item in chunk.chunks_exact_mut(item_type.size) {
        for &(offset, len, order) in &item_type.utf32 {
            let field = &mut item[offset..offset + len];
            let units = field.chunks_exact(4).map(|unit| {
                let unit = [unit[0], unit[1], unit[2], unit[3]];
                let code = match order {
                    ByteOrder::Little => u32::from_le_bytes(unit),
                    ByteOrder::Big => u32::from_be_bytes(unit),
                };
                char::from_u32(code).with_context(|| format!("{code:#x} is not a character"))
            });
            let text: String = units.collect::<Result<_>>()?;
            let text = text.trim_end_matches('\0');
            field.fill(0);
            field[..text.len()].copy_from_slice(text.as_bytes());
        }
    }
    Ok(())
}

/// Records with their fixed-width text as numpy's `U`, as wide as the longest has bytes: so anndata stores them.
pub fn with_utf32(dtype: &Dtype, records: &[u8]) -> Result<(Dtype, Vec<u8>)> {
    let Dtype::Record { size, .. } = dtype else {
        bail!("{dtype} is no record");
    };
    let to = wider(dtype, |field| {
        let rows = records.chunks_exact((*size).max(1));
        let texts = rows.flat_map(|record| texts_of(record, field));
        texts.map(<[u8]>::len).max().unwrap_or(0)
    });
    let records = to_utf32(dtype, &to, records)?;
    Ok((to, records))
}

/// The type of records whose fixed-width text is numpy's `U`, of as many characters as it has bytes.
pub fn as_utf32(dtype: &Dtype) -> Dtype {
    wider(dtype, |field| field.dtype.size())
}

/// The type of records whose text of a fixed width has so many characters of 4 bytes.
fn wider(dtype: &Dtype, characters: impl Fn(&Field) -> usize) -> Dtype {
    let Dtype::Record { fields, .. } = dtype else {
        return dtype.clone();
    };
    let (mut to, mut size) = (vec![], 0);
    for field in fields {
        let mut dtype = field.dtype.clone();
        if matches!(dtype, Dtype::FixedString { .. }) {
            dtype = Dtype::Utf32 {
                size: 4 * characters(field).max(1),
            };
        }
        let offset = size;
        size += dtype.size() * field.items() as usize;
        to.push(Field {
            offset,
            dtype,
            ..field.clone()
        });
    }
    Dtype::Record { size, fields: to }
}

/// Records of the type `from` as those of the type `to`, which is one of the above.
/// Fields of numbers stay as they are, at a new offset.
pub fn to_utf32(from: &Dtype, to: &Dtype, records: &[u8]) -> Result<Vec<u8>> {
    let (Dtype::Record { size: old, fields }, Dtype::Record { size, fields: to }) = (from, to)
    else {
        bail!("{from} is no record");
    };
    let rows = records.chunks_exact((*old).max(1));
    let mut out = Vec::with_capacity(rows.len() * size);
    for record in rows {
        for (from, to) in fields.iter().zip(to) {
            let Dtype::Utf32 { size: width } = to.dtype else {
                let bytes = from.dtype.size() * from.items() as usize;
                out.extend(&record[from.offset..][..bytes]);
                continue;
            };
            for text in texts_of(record, from) {
                let text = std::str::from_utf8(text);
                let text =
                    text.with_context(|| format!("Text of field '{}' is not UTF-8", from.name))?;
                let end = out.len() + width;
                out.extend(text.chars().flat_map(|c| u32::from(c).to_ne_bytes()));
                out.resize(end, 0);
            }
        }
    }
    Ok(out)
}

/// The texts of a field of fixed width in one record, without their padding.
fn texts_of<'a>(record: &'a [u8], field: &Field) -> impl Iterator<Item = &'a [u8]> {
    let width = field.dtype.size();
    let bytes = &record[field.offset..][..width * field.items() as usize];
    bytes.chunks_exact(width.max(1)).map(unpadded)
}
