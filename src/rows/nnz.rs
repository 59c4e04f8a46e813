//! How many non-zeros a new matrix has, as far as that is known before its rows are written.

/// Where the number is known, arrays get their size when they are created, and may lie in one piece; else they grow.
#[derive(Clone, Copy, Debug)]
pub enum Nnz {
    Exactly(u64),
    /// Only the writing will tell.
    AtMost(u64),
    /// So many, which were counted by reading all rows. A run that does not count knows only `most`, by which chunks are
    /// sized in both.
    Counted {
        nnz: u64,
        most: u64,
    },
}

impl Nnz {
    /// There are no more.
    pub fn most(self) -> u64 {
        match self {
            Nnz::Exactly(most) | Nnz::AtMost(most) | Nnz::Counted { most, .. } => most,
        }
    }

    /// What is known of some of the rows, which have `nnz` by the same knowledge.
    pub fn of_rows(self, nnz: u64) -> Nnz {
        match self {
            Nnz::Exactly(_) => Nnz::Exactly(nnz),
            Nnz::AtMost(_) => Nnz::AtMost(nnz),
            Nnz::Counted { most, .. } => Nnz::Counted { nnz, most },
        }
    }
}
