//! Reading all values of an array, block by block: whether its chunks decode, and whether its text is UTF-8.
//!
//! What is read is dropped: to read is the check. Before an array is read its claimed size is compared with the size of
//! the file ([`Checker::may_read`]), so that a header alone costs neither memory nor days.

use std::slice::from_ref;

use super::Checker;
use crate::anndata::heal;
use crate::rows::ranges::blocks;
use crate::store::spec::{ArraySpec, Dtype};
use crate::store::{Array, Buffer, OverLimit};

/// Bytes of text, and of indices, that are read at a time. Values of a fixed width come in the blocks of
/// `rows::ranges`.
pub const BLOCK: u64 = 8 << 20;
/// Blocks of one array that may fail: the rest is not read.
/// So many findings are shown of a node of the root; more would only take time.
const MOST_FAILED: u64 = 20;
/// What a text counts for besides its bytes.
const TEXT: u64 = 16;

impl Checker<'_> {
    /// Reads an array whose values follow no rule but that of their type.
    pub fn values(&mut self, path: &str, array: &Array) {
        let spec = array.spec();
        if spec.null || !self.may_read(path, array) {
            return;
        }
        match &spec.dtype {
            _ if heal::is_text(array).unwrap_or_default() => self.text(path, array),
            // Text of any length lies elsewhere in an HDF5 file, so such records are read field by field.
            Dtype::Record { fields, .. } if spec.dtype.is_record_with_text() => {
                // A guess of 64 bytes for each field.
                for rows in blocks(spec.rows(), 64 * fields.len() as u64) {
                    for field in fields {
                        let read = if field.dtype.is_string() {
                            array.read_field_strings(field, from_ref(&rows)).map(drop)
                        } else {
                            array.read_field(field, from_ref(&rows)).map(drop)
                        };
                        if let Err(error) = read {
                            return self.findings.failed(path, &error);
                        }
                    }
                }
            }
            _ => self.fixed(path, array),
        }
    }

    /// Values of a fixed width. A block that fails does not end the reading: the bad ones among sound ones are told.
    fn fixed(&mut self, path: &str, array: &Array) {
        let (mut buffer, mut failed) = (Buffer::default(), 0);
        for rows in blocks(array.spec().rows(), array.spec().row_bytes()) {
            match array.read_over(from_ref(&rows), buffer) {
                Ok(read) => buffer = read,
                Err(error) => {
                    self.findings.failed(path, &error);
                    buffer = Buffer::default();
                    failed += 1;
                }
            }
            if failed == MOST_FAILED {
                return;
            }
        }
    }

    /// Blocks of text are as large as the texts before let expect.
    /// A block has 256 rows at first, and no more than four times as many as the one before; one that fails ends it.
    fn text(&mut self, path: &str, array: &Array) {
        let rows = array.spec().rows();
        let (mut start, mut step, mut is_ascii) = (0, 256, true);
        while start < rows {
            let end = rows.min(start.saturating_add(step));
            let texts = match array.read_strings(from_ref(&(start..end))) {
                Ok(texts) => texts,
                Err(error) => return self.findings.failed(path, &error),
            };
            is_ascii &= texts.bytes.is_ascii();
            let row = (texts.bytes.len() as u64 + TEXT * texts.len() as u64) / (end - start);
            step = (BLOCK / row.max(1)).clamp(1, step.saturating_mul(4));
            start = end;
        }
        if !is_ascii && array.says_ascii() {
            let what = "It is UTF-8, but its type says ASCII, so anndata does not read it; a slice or merge of it is right";
            self.findings.error(path, what);
        }
    }

    /// Whether an array can be read in the memory at hand, and in a time that its file's size explains.
    ///
    /// What it declares is taken off what the file may still hold, so an array is asked once. An array that is larger
    /// is an error; one whose chunk does not fit in memory is not checked, which is no fault of the file.
    pub fn may_read(&mut self, path: &str, array: &Array) -> bool {
        let spec = array.spec();
        if let Dtype::Unsupported(why) = &spec.dtype {
            /// As Zarr, version 2 and 3, names numpy's dates, which anndata reads.
            const DATES: [&str; 4] = ["M8[", "m8[", "datetime64", "timedelta64"];
            // In uns anndata reads what h5py knows.
            if path.starts_with("uns/") || DATES.iter().any(|date| why.contains(date)) {
                self.findings
                    .note(path, format!("It is not checked: {why}"))
            } else {
                self.findings
                    .error(path, format!("It cannot be read: {why}"))
            }
            return false;
        }
        let row = row_bytes(spec);
        let bytes = row.saturating_mul(spec.rows());
        if bytes > self.values {
            let what = format!("It declares {bytes} bytes, which its file cannot hold");
            self.findings.error(path, what);
            return false;
        }
        self.values -= bytes;
        // A chunk is decoded whole, and a block has one row at the least.
        let at_once = row.max(array.chunk_bytes());
        if at_once > self.budget {
            let what = format!("It is read {at_once} bytes at a time");
            self.findings.failed(path, &OverLimit(what).into());
        }
        at_once <= self.budget
    }

    /// Whether so many rows, of names or codes, can be those of this file.
    pub fn has_room_for(&self, rows: u64) -> bool {
        rows.saturating_mul(TEXT) <= self.most
    }
}

/// Bytes that a row counts for. Numbers of no width count too, as their rows are walked through.
fn row_bytes(spec: &ArraySpec) -> u64 {
    match spec.dtype {
        Dtype::String => spec.row_items().saturating_mul(TEXT),
        _ => spec.row_bytes().max(1),
    }
}
