//! What rows cost in memory.

/// What a row of a leaf costs in memory: so many bytes each, and so many for each non-zero of a sparse row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowCost {
    pub fixed: u64,
    pub nonzero: u64,
}

impl RowCost {
    /// Bytes of a row with so many non-zeros.
    pub fn mean(self, nonzeros: f64) -> f64 {
        self.fixed as f64 + self.nonzero as f64 * nonzeros
    }
}
