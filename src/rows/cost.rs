//! What rows cost in memory.

/// What a row of a leaf costs in memory: so many bytes each, and so many for each non-zero of a sparse row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowCost {
    /// Bytes of a row beside its non-zeros: all of a dense one.
    pub fixed: u64,
    /// Bytes of an index and a value; 0 for what is not sparse.
    pub nonzero: u64,
}

impl RowCost {
    /// Bytes of a row with so many non-zeros.
    pub fn mean(self, nonzeros: f64) -> f64 {
        self.fixed as f64 + self.nonzero as f64 * nonzeros
    }
}
