//! A column of obs as a number for each cell: which of its distinct values the cell has.
//!
//! Splits, subsets, samples and `--gene-column` go by it. Its values are held as text, each once, whatever their type:
//! `True`, `10`, as Python writes them.

use anyhow::{Result, bail, ensure};

use super::{NONE, Obs};
use crate::dtype::ints;
use crate::frame::categories::Union;
use crate::frame::column::ColumnKind;
use crate::frame::values::{Data, Values};
use crate::report::failure::Failure;
use crate::store::spec::{Dtype, Kind};

/// A column `["b", "a", missing, "b"]` that is not categorical has labels ["b", "a"] and codes [0, 1, `NONE`, 0].
pub struct Key {
    /// What the column is called.
    pub name: String,
    /// Its distinct values: the categories in their order, else values in order of appearance.
    pub labels: Vec<String>,
    /// For each cell which of them it has, or `NONE`: 4 bytes a cell.
    pub codes: Vec<u32>,
}

impl Key {
    /// Reads a column, once for its values where it is not categorical, and once for its codes.
    ///
    /// # Errors
    /// A column that is not there, and one of floats.
    pub fn of(obs: &Obs, name: &str) -> Result<Key> {
        let column = obs.column(name)?;
        let dtype = column.dtype();
        let categorical = matches!(column.kind, ColumnKind::Categorical { .. });
        ensure!(
            categorical || !matches!(dtype.kind(), Some(Kind::Float | Kind::Complex)),
            Failure::value(format!(
                "Column '{name}' is {dtype}; give one that is categorical, text, integer or bool"
            ))
        );
        // A union of one column gives what is wanted of many: each distinct value once, and codes in it.
        let mut union = Union::default();
        union.add(&column)?;
        let categories = union.unite(&dtype)?;
        let map = categories.map(&column)?;
        let labels: Values = categories.values().clone().into();
        let labels = labels.cast(&Dtype::String)?.data;
        let labels = (0..labels.len()).map(|i| String::from_utf8_lossy(labels.get(i)).into_owned());
        let labels: Vec<String> = labels.collect();
        let mut codes = Vec::with_capacity(usize::try_from(column.rows())?);
        for rows in column.blocks()? {
            let values = categories.encode(map.as_deref(), &column, rows)?;
            let Data::Numbers { dtype, bytes } = &values.data else {
                bail!("Its codes are text");
            };
            let read = ints::read(bytes, dtype)?.into_iter();
            codes.extend(read.map(|code| match u32::try_from(code) {
                // The code of what is missing is -1, which is read as `u64::MAX`.
                Ok(code) if (code as usize) < labels.len() => code,
                _ => NONE,
            }));
        }
        Ok(Key {
            name: name.into(),
            labels,
            codes,
        })
    }

    /// How many cells have each value, and how many have none.
    pub fn counts(&self) -> (Vec<u64>, u64) {
        let (mut counts, mut missing) = (vec![0; self.labels.len()], 0);
        for code in &self.codes {
            match counts.get_mut(*code as usize) {
                Some(count) => *count += 1,
                None => missing += 1,
            }
        }
        (counts, missing)
    }

    /// The value of a cell, where those without one have one in common, the last.
    pub fn stratum(&self, cell: u32) -> usize {
        (self.codes[cell as usize] as usize).min(self.labels.len())
    }

    /// How many such values there are.
    pub fn strata(&self) -> usize {
        self.labels.len() + 1
    }
}
