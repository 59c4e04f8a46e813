//! Records with text that are being written, to a file of either format.

use anyhow::Result;

use super::spec::Dtype;
use super::{hdf5, zarr};

/// Records that are appended, with text of a fixed width.
pub enum RecordAppender {
    Hdf5(hdf5::RecordAppender),
    /// With the type of what is appended.
    Zarr(Dtype, Box<zarr::Appender>),
}

impl RecordAppender {
    /// Takes whole records of the type that the array was made for, padded with NUL.
    pub fn append(&mut self, records: &[u8]) -> Result<()> {
        match self {
            RecordAppender::Hdf5(to) => to.append(records),
            RecordAppender::Zarr(from, to) => {
                to.append(&zarr::to_utf32(from, &zarr::as_utf32(from), records)?)
            }
        }
    }

    pub fn finish(self) -> Result<()> {
        match self {
            RecordAppender::Hdf5(to) => to.finish(),
            RecordAppender::Zarr(_, to) => to.finish().map(drop),
        }
    }
}
