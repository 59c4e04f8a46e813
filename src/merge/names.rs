//! How many cells of a result have a name that another one has too.
//!
//! Names are kept as hashes of 64 bits: of a hundred million, two that differ meet with a chance of 1 in 3000. What
//! memory does not hold goes to a file, and is counted share by share.
//!
//! A share is all hashes with one remainder: equal ones are in the same share, so the counts of shares add up.

use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::{BufReader, Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, Result};
use rayon::prelude::*;

use crate::store::spec::Strings;

/// One for the whole result; [`CellNames::add`] gets the names of all inputs, with their suffixes.
pub struct CellNames {
    hashes: Vec<u64>,
    /// Hashes that are held at a time.
    most: usize,
    /// Those before, where there were more.
    file: Option<File>,
    spilled: u64,
}

impl CellNames {
    /// For `cells` names in `memory` bytes; those that do not fit go to a file in the folder `scratch`.
    pub fn new(cells: u64, memory: u64, scratch: &Path) -> Result<CellNames> {
        let most = usize::try_from(memory / 8)?.max(1);
        let file = if cells > most as u64 {
            Some(create(&scratch.join("names"))?)
        } else {
            None
        };
        Ok(CellNames {
            hashes: Vec::with_capacity(most.min(usize::try_from(cells)?)),
            most,
            file,
            spilled: 0,
        })
    }

    pub fn add(&mut self, names: &Strings) -> Result<()> {
        for name in names.iter() {
            if self.hashes.len() == self.most {
                self.spill()?;
            }
            let mut hasher = DefaultHasher::new();
            hasher.write(name);
            self.hashes.push(hasher.finish());
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        // A part at a time, as its bytes are a copy.
        for hashes in self.hashes.chunks(1 << 16) {
            let bytes: Vec<u8> = hashes.iter().flat_map(|h| h.to_ne_bytes()).collect();
            file.write_all(&bytes)
                .context("Write names to a scratch file")?;
        }
        self.spilled += self.hashes.len() as u64;
        self.hashes.clear();
        Ok(())
    }

    /// Cells whose name is that of another one too.
    pub fn doubled(mut self) -> Result<u64> {
        if self.spilled == 0 {
            return Ok(count(&mut self.hashes));
        }
        self.spill()?;
        // A share is that of the mean and what chance may add.
        let shares = (self.spilled / self.most as u64 + 1) * 9 / 8 + 1;
        (0..shares)
            .map(|share| self.count_share(share, shares))
            .sum()
    }

    /// Reads the whole file, and holds one share of it.
    fn count_share(&mut self, share: u64, shares: u64) -> Result<u64> {
        let Some(file) = &mut self.file else {
            return Ok(0);
        };
        file.rewind().context("Read names from a scratch file")?;
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let mut bytes = [0; 8];
        self.hashes.clear();
        for _ in 0..self.spilled {
            reader
                .read_exact(&mut bytes)
                .context("Read names from a scratch file")?;
            let hash = u64::from_ne_bytes(bytes);
            if hash % shares == share {
                self.hashes.push(hash);
            }
        }
        Ok(count(&mut self.hashes))
    }
}

fn create(path: &Path) -> Result<File> {
    let mut options = File::options();
    options
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .with_context(|| format!("Create scratch file {}", path.display()))
}

/// How many of `hashes` are there more than once. `[5, 9, 5, 5]` -> 3.
fn count(hashes: &mut [u64]) -> u64 {
    hashes.par_sort_unstable();
    let groups = hashes.chunk_by(|a, b| a == b).map(<[u64]>::len);
    groups.filter(|len| *len > 1).sum::<usize>() as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn names_are_counted_in_any_memory(
            names in prop::collection::vec("[a-c]{0,3}", 0..200),
            memory in 8u64..400,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut counted = CellNames::new(names.len() as u64, memory, folder.path()).unwrap();
            for block in names.chunks(7) {
                counted.add(&block.iter().map(|n| n.as_bytes()).collect()).unwrap();
            }
            let mut times = HashMap::new();
            names.iter().for_each(|n| *times.entry(n).or_insert(0u64) += 1);
            let expected: u64 = times.values().filter(|n| **n > 1).sum();
            prop_assert_eq!(counted.doubled().unwrap(), expected);
        }
    }
}
