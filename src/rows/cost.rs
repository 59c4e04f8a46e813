//! What rows cost in memory.

/// What a row of a leaf costs in memory: so many bytes each, and so many for each element of a sparse row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowCost {
    pub fixed: u64,
    pub element: u64,
}

impl RowCost {
    /// Bytes of a row with so many elements.
    pub fn mean(self, elements: f64) -> f64 {
        self.fixed as f64 + self.element as f64 * elements
    }
}
