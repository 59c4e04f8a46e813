//! The non-zeros of a sparse matrix as a digest in which their order and layout do not count.
//!
//! Each non-zero is hashed with its row and column, and the hashes are added up. A sum does not depend on the order of
//! its terms, so rows of a CSR matrix and columns of a CSC one may be added as they come, in parallel and block by
//! block; nothing is sorted but single rows. In memory is one block with its values in the common form of 17 bytes.

use anyhow::Result;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::canonical::{self, Number};
use super::{Digest, Hasher};
use crate::dtype::ints;
use crate::rows::csr::CsrBlock;
use crate::rows::sparse::SparseFormat;
use crate::store::spec::Dtype;

/// The sum of the digests of all non-zeros but those whose value is 0.
pub struct Nonzeros {
    shape: [u64; 2],
    layout: SparseFormat,
    /// The 32 bytes of a hash as four words, each added modulo 2^64.
    sum: [u64; 4],
}

impl Nonzeros {
    pub fn new(shape: [u64; 2], layout: SparseFormat) -> Nonzeros {
        Nonzeros {
            shape,
            layout,
            sum: [0; 4],
        }
    }

    /// Adds rows (of CSC columns), the first of which is number `first` of the matrix. Each row must come whole, in one
    /// block.
    pub fn add(&mut self, block: &CsrBlock, dtype: &Dtype, first: u64) -> Result<()> {
        let indices = ints::read(&block.indices, &block.index)?;
        let values = canonical::by_value(&block.data, dtype)?;
        let rows = block.ptr.par_windows(2).enumerate();
        let of_row = |(row, span): (usize, &[u64])| {
            let span = span[0] as usize..span[1] as usize;
            let mut held: Vec<(u64, Number)> = span.map(|i| (indices[i], values[i])).collect();
            held.sort_by_key(|nonzero| nonzero.0);
            // Values at the same place add up, as in scipy.
            held.dedup_by(|twice, kept| {
                let same = twice.0 == kept.0;
                if same {
                    kept.1 = canonical::sum(&kept.1, &twice.1);
                }
                same
            });
            let held = held.iter().filter(|e| !canonical::is_zero(&e.1));
            held.fold([0; 4], |sum, (index, value)| {
                added(sum, self.nonzero(first + row as u64, *index, value))
            })
        };
        let sum = rows.map(of_row).reduce(|| [0; 4], added);
        self.sum = added(self.sum, sum);
        Ok(())
    }

    /// The hash of one: `row` is a row of the stored layout, and a column if that is CSC.
    fn nonzero(&self, row: u64, index: u64, value: &Number) -> [u64; 4] {
        let (row, column) = match self.layout {
            SparseFormat::Csr => (row, index),
            SparseFormat::Csc => (index, row),
        };
        let mut hasher = Sha256::new();
        hasher.update(row.to_le_bytes());
        hasher.update(column.to_le_bytes());
        hasher.update(value);
        let digest: Digest = hasher.finalize().into();
        let mut words = [0; 4];
        let parts = digest.as_chunks::<8>().0;
        words
            .iter_mut()
            .zip(parts)
            .for_each(|(w, p)| *w = u64::from_le_bytes(*p));
        words
    }

    /// The shape counts, the type and the layout do not.
    pub fn finish(self) -> Digest {
        let mut hasher = Hasher::new("sparse");
        hasher.shape(&self.shape);
        hasher.shape(&self.sum);
        hasher.finish()
    }
}

fn added(a: [u64; 4], b: [u64; 4]) -> [u64; 4] {
    [0, 1, 2, 3].map(|i| a[i].wrapping_add(b[i]))
}
