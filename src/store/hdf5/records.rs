//! Records with text: appended with text of a fixed width, and stored with text of any length.

use anyhow::Result;

use super::ffi::Id;
use super::{datasets, has_large, types, values, write_attrs};
use crate::store::spec::{ArraySpec, Attrs, Dtype};

/// Records that are written through the library, whose text it stores as text of any length.
pub struct RecordAppender {
    id: Id,
    /// What is appended.
    from: ArraySpec,
    to: Dtype,
    /// The row that comes next.
    next: u64,
}

impl RecordAppender {
    /// Creates the array `path` in a group; `spec` is that of what is appended.
    pub fn create(group: &Id, path: &str, spec: &ArraySpec, attrs: &Attrs) -> Result<Self> {
        let mut out = spec.clone();
        out.dtype = types::with_any_text(&spec.dtype)?;
        let how = datasets::Creation {
            large_attrs: has_large(attrs),
            ..Default::default()
        };
        let id = datasets::create(group, path, &out, &how)?;
        write_attrs(&id, attrs)?;
        Ok(RecordAppender {
            id,
            from: spec.clone(),
            to: out.dtype,
            next: 0,
        })
    }

    pub fn append(&mut self, records: &[u8]) -> Result<()> {
        let rows = records.len() as u64 / self.from.row_bytes().max(1);
        let place = self.next..self.next.saturating_add(rows);
        values::write_records(&self.id, &self.to, &self.from.dtype, (records, &place))?;
        self.next = place.end;
        Ok(())
    }

    pub fn finish(self) -> Result<()> {
        self.id.close()
    }
}
