//! Text of Zarr arrays in memory: of any length, of fixed width, and numpy's `U`.

use anyhow::{Context, Result};

use super::dtype::ZarrType;
use crate::store::spec::ByteOrder;

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

/// Converts numpy's `U` in its place.
pub fn utf32_to_utf8(chunk: &mut [u8], element: &ZarrType) -> Result<()> {
    if element.utf32.is_empty() {
        return Ok(());
    }
    for item in chunk.chunks_exact_mut(element.size) {
        for &(offset, len, order) in &element.utf32 {
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
