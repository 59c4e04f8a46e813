//! Cells that are in two files of a set: their names as hashes of 64 bits, each with its file.
//!
//! So a cell takes 16 bytes, whatever its name. Where all cells of all files are more than the budget holds, nothing is
//! compared, which is told.

use anyhow::Result;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::{Level, SetFinding};
use crate::frame::dataframe::Frame;
use crate::report::words::{clause, count};

/// The names of cells that were told.
/// Each is a hash of the name, and the number of its file.
pub struct Cells {
    names: Vec<(u64, u32)>,
    /// Names that may be held.
    most: usize,
    /// Whether there were more.
    is_over: bool,
}

impl Cells {
    pub fn new(budget: u64) -> Cells {
        let most = budget / size_of::<(u64, u32)>() as u64;
        Cells {
            names: vec![],
            most: usize::try_from(most).unwrap_or(usize::MAX),
            is_over: false,
        }
    }

    /// Adds the cells of a file.
    pub fn add(&mut self, file: usize, obs: &Frame) -> Result<()> {
        let file = u32::try_from(file)?;
        for rows in obs.index_blocks()? {
            let names = obs.index_rows(rows)?;
            self.is_over |= self.names.len() + names.len() > self.most;
            if self.is_over {
                return Ok(());
            }
            let hash = |name: &[u8]| {
                let digest = Sha256::digest(name);
                let (words, _) = digest.as_chunks::<8>();
                u64::from_le_bytes(words[0])
            };
            self.names
                .extend(names.iter().map(|name| (hash(name), file)));
        }
        Ok(())
    }

    /// For each file the cells that an earlier one has too. `names` are those of the files.
    pub fn findings(mut self, names: &[String]) -> Vec<SetFinding> {
        let finding = |file: usize, what: String, remedy: &str| SetFinding {
            file,
            element: "obs".into(),
            level: Level::Note,
            loaders: vec![],
            what,
            remedy: remedy.into(),
        };
        if self.is_over {
            let what = format!(
                "Whether cells are in two files is not checked: {} of names are held at the most",
                count(self.most as u64, "cell")
            );
            return vec![finding(0, what, "give a larger --memory-limit")];
        }
        // Equal hashes come together, those of the earliest file first.
        self.names.par_sort_unstable();
        let mut doubled = vec![(0u64, usize::MAX); names.len()];
        for group in self.names.chunk_by(|a, b| a.0 == b.0) {
            // The same name twice in one file is counted once: pairs within a file are passed over.
            for pair in group.windows(2).filter(|pair| pair[0].1 != pair[1].1) {
                let (earlier, file) = (group[0].1 as usize, pair[1].1 as usize);
                let (count, first) = &mut doubled[file];
                *count += 1;
                *first = (*first).min(earlier);
            }
        }
        let found = doubled.into_iter().enumerate();
        let found = found.filter(|(_, (count, _))| *count > 0);
        let told = found.map(|(file, (count, first))| {
            let cells = clause(count, "cell", ("is", "are"));
            let what = format!(
                "{cells} in an earlier file too, the first in {}",
                names[first]
            );
            finding(file, what, "a loader shows them twice; is that meant?")
        });
        told.collect()
    }
}
