//! The categories of many columns as one list, and the codes in it.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;

use super::column::{Column, ColumnKind};
use super::values::{Data, Values};
use crate::store::spec::{Dtype, Kind};

/// Distinct values in order of first appearance.
struct Dictionary {
    codes: HashMap<Box<[u8]>, i32>,
    values: Data,
}

impl Dictionary {
    /// Adds what is new of [comparable](Values::comparable) values, and not what is missing.
    fn add(&mut self, values: &Values) -> Result<()> {
        let is_new =
            |i: &usize| !values.is_missing(*i) && !self.codes.contains_key(values.data.get(*i));
        let new: Vec<usize> = (0..values.data.len())
            .into_par_iter()
            .filter(is_new)
            .collect();
        for value in new.into_iter().map(|i| values.data.get(i)) {
            if !self.codes.contains_key(value) {
                let code = i32::try_from(self.codes.len()).context("More than 2^31 categories")?;
                self.codes.insert(value.into(), code);
                self.values.push(value);
            }
        }
        Ok(())
    }

    /// The code of each value, -1 where it is missing.
    fn codes(&self, values: &Values) -> Vec<i32> {
        let code = |i| match values.is_missing(i) {
            true => -1,
            false => self.codes.get(values.data.get(i)).copied().unwrap_or(-1),
        };
        (0..values.data.len()).into_par_iter().map(code).collect()
    }
}

/// What the categorical columns of many inputs (and the plain ones that go with them) have in common.
pub struct Categories {
    dictionary: Dictionary,
    pub ordered: bool,
    /// For each input, the new code of each of its categories; `None` where its column is plain.
    maps: Vec<Option<Vec<i32>>>,
}

impl Categories {
    /// The union of the categories of `columns`, as values of type `dtype`: in order of first appearance, the unused
    /// ones too. A plain column gives its distinct values. Ordered only if every column has the same in the same order.
    pub fn unite(columns: &[Option<&Column>], dtype: &Dtype) -> Result<Categories> {
        let mut dictionary = Dictionary {
            codes: HashMap::new(),
            values: Data::empty(dtype),
        };
        let mut maps = vec![];
        for column in columns {
            let map = match column.map(|c| (c, &c.kind)) {
                None => None,
                Some((_, ColumnKind::Categorical { categories, .. })) if categories.rows() == 0 => {
                    Some(vec![])
                }
                Some((_, ColumnKind::Categorical { categories, .. })) => {
                    let values = categories.read_all()?.comparable()?.cast(dtype)?;
                    dictionary.add(&values)?;
                    Some(dictionary.codes(&values))
                }
                Some((plain, _)) => {
                    for rows in plain.blocks()? {
                        dictionary.add(&plain.read(rows)?.comparable()?.cast(dtype)?)?;
                    }
                    None
                }
            };
            maps.push(map);
        }
        let all = dictionary.codes.len();
        let is_same = |map: &[i32]| map.len() == all && map.iter().copied().eq(0..all as i32);
        let keeps_order = columns
            .iter()
            .zip(&maps)
            .all(|(column, map)| match (column, map) {
                (None, _) => true,
                (Some(column), Some(map)) => map.is_empty() || column.is_ordered() && is_same(map),
                _ => false,
            });
        Ok(Categories {
            ordered: keeps_order && columns.iter().flatten().any(|c| c.is_ordered()),
            dictionary,
            maps,
        })
    }

    pub fn values(&self) -> &Data {
        &self.dictionary.values
    }

    /// As pandas chooses the type of codes: the smallest that holds one more than there are categories.
    pub fn code_dtype(&self) -> Dtype {
        let size = match self.dictionary.codes.len() {
            0..0x7f => 1,
            0x7f..0x7fff => 2,
            _ => 4,
        };
        Dtype::native(Kind::Int, size)
    }

    /// The codes of some rows of the column of input `input`.
    pub fn encode(&self, input: usize, column: &Column, rows: Range<u64>) -> Result<Values> {
        let codes = match self.maps.get(input) {
            Some(Some(map)) => {
                let renumber =
                    |&code: &u64| match usize::try_from(code).ok().and_then(|c| map.get(c)) {
                        Some(new) => Ok(*new),
                        None => {
                            let code = code as i64;
                            ensure!(
                                code == -1,
                                "It has code {code}, but {} categories",
                                map.len()
                            );
                            Ok(-1)
                        }
                    };
                let codes = column.codes(rows)?;
                codes
                    .par_iter()
                    .map(renumber)
                    .collect::<Result<Vec<i32>>>()?
            }
            _ => {
                let values = column
                    .read(rows)?
                    .comparable()?
                    .cast(&self.values().dtype())?;
                self.dictionary.codes(&values)
            }
        };
        let bytes = match self.code_dtype().size() {
            1 => codes.iter().map(|c| *c as u8).collect(),
            2 => codes
                .iter()
                .flat_map(|c| (*c as i16).to_ne_bytes())
                .collect(),
            _ => codes.iter().flat_map(|c| c.to_ne_bytes()).collect(),
        };
        let dtype = self.code_dtype();
        Ok(Data::Numbers { dtype, bytes }.into())
    }
}
