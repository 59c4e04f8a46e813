//! `--sort-by`: the cells of each output in the order of columns of obs.
//!
//! The sort is stable, and goes by one column after the other, the last one first, so that one key is held at a time:
//! 9 bytes for each cell of obs, and 2 for each cell that is sorted. Numbers go by value, text by code points,
//! categories by their order. What is missing, and NaN, is last. Of text, all distinct values are held beside that
//! while ranks are made.

use std::ops::Range;

use anyhow::{Context, Result, bail};
use rayon::prelude::*;

use super::Obs;
use super::names::Names;
use crate::dtype::promote;
use crate::frame::column::{Column, ColumnKind};
use crate::frame::values::{Data, Values};
use crate::store::spec::{Dtype, Kind};

/// What the cells of obs are sorted by.
#[derive(Default)]
struct Ranks {
    /// In the order of the values.
    ranks: Vec<u64>,
    missing: Vec<bool>,
}

/// Sorts the cells between each two of `cuts`.
///
/// # Errors
/// A column that is not there, or whose values have no order.
pub fn within(order: &mut [u32], cuts: &[u64], obs: &Obs, columns: &[String]) -> Result<()> {
    // Sorted by the last column first, and kept stable, the cells end in the order of the first.
    for name in columns.iter().rev() {
        let column = obs.column(name)?;
        let context = || format!("Cannot sort by column '{name}'");
        let ranks = Ranks::of(&column).with_context(context)?;
        let of_cell = |cell: &u32| {
            let cell = *cell as usize;
            (ranks.missing[cell], ranks.ranks[cell])
        };
        let mut rest = &mut *order;
        for Range { start, end } in cuts.windows(2).map(|cut| cut[0]..cut[1]) {
            let (output, after) = rest.split_at_mut((end - start) as usize);
            output.par_sort_by_key(of_cell);
            rest = after;
        }
    }
    Ok(())
}

impl Ranks {
    /// Reads a column in blocks. Its codes are the ranks where it is categorical, so that `low < mid < high` holds.
    fn of(column: &Column) -> Result<Ranks> {
        let rows = usize::try_from(column.rows())?;
        let mut ranks = Ranks {
            ranks: Vec::with_capacity(rows),
            missing: Vec::with_capacity(rows),
        };
        if let ColumnKind::Categorical { categories, .. } = &column.kind {
            let count = categories.rows();
            for rows in column.blocks()? {
                // The code of what is missing, -1, is beyond the categories.
                let codes = column.codes(rows)?;
                ranks
                    .missing
                    .extend(codes.iter().map(|code| *code >= count));
                ranks.ranks.extend(codes);
            }
        } else if column.dtype().is_string() {
            ranks.of_texts(column)?;
        } else {
            for rows in column.blocks()? {
                ranks.add_numbers(&column.read(rows)?)?;
            }
        }
        Ok(ranks.without_missing())
    }

    /// Those of what is missing are equal.
    fn without_missing(mut self) -> Ranks {
        let both = self.ranks.iter_mut().zip(&self.missing);
        both.filter(|(_, missing)| **missing)
            .for_each(|(rank, _)| *rank = 0);
        self
    }

    /// Adds the ranks of some numbers: integers of either sign and floats as `u64` that are in the same order.
    fn add_numbers(&mut self, values: &Values) -> Result<()> {
        let Data::Numbers { dtype, bytes } = &values.data else {
            bail!("Its values are text");
        };
        let before = self.ranks.len();
        let native = |kind| promote::convert(bytes, dtype, &Dtype::native(kind, 8));
        match dtype.kind() {
            Some(Kind::Float) => {
                let floats = promote::floats(bytes, dtype)?;
                self.missing
                    .extend(floats.iter().map(|value| value.is_nan()));
                self.ranks.extend(floats.into_iter().map(of_float));
            }
            // With the sign bit turned, -1 is below 0.
            Some(Kind::Int) => {
                let bytes = native(Kind::Int)?;
                let ints = bytes.as_chunks().0.iter();
                self.ranks
                    .extend(ints.map(|bytes| i64::from_ne_bytes(*bytes) as u64 ^ 1 << 63));
            }
            Some(Kind::Uint) => {
                let bytes = native(Kind::Uint)?;
                let ints = bytes.as_chunks().0.iter();
                self.ranks
                    .extend(ints.map(|bytes| u64::from_ne_bytes(*bytes)));
            }
            Some(Kind::Bool) => {
                self.ranks
                    .extend(bytes.iter().map(|byte| u64::from(*byte != 0)));
            }
            _ => bail!("Its values, {dtype}, have no order"),
        }
        self.missing.resize(self.ranks.len(), false);
        let missing = self.missing[before..].iter_mut().enumerate();
        missing.for_each(|(i, missing)| *missing |= values.is_missing(i));
        Ok(())
    }

    /// The place of each text among the distinct ones, sorted.
    fn of_texts(&mut self, column: &Column) -> Result<()> {
        let mut names = Names::default();
        for rows in column.blocks()? {
            let values = column.read(rows)?;
            for i in 0..values.data.len() {
                self.missing.push(values.is_missing(i));
                self.ranks.push(names.insert(values.data.get(i))?.into());
            }
        }
        let mut sorted: Vec<u32> = (0..names.len() as u32).collect();
        sorted.par_sort_by_key(|number| names.get(*number as usize));
        let mut places = vec![0; names.len()];
        for (place, number) in (0..).zip(sorted) {
            places[number as usize] = place;
        }
        self.ranks
            .iter_mut()
            .for_each(|rank| *rank = places[*rank as usize]);
        Ok(())
    }
}

/// A number in the order of the floats, -0 as 0. That of NaN has no meaning.
fn of_float(value: f64) -> u64 {
    // The bits of positive floats are in their order, those of negative ones in the reverse (IEEE 754). -0 + 0 is 0.
    let bits = (value + 0.0).to_bits();
    if bits >> 63 == 0 {
        bits | 1 << 63
    } else {
        !bits
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranks_of_floats_go_as_the_floats(a: f64, b: f64) {
            if let Some(order) = a.partial_cmp(&b) {
                prop_assert_eq!(of_float(a).cmp(&of_float(b)), order);
            }
        }
    }

    #[test]
    fn zeros_are_equal() {
        assert_eq!(of_float(0.0), of_float(-0.0));
    }

    #[test]
    fn integers_of_any_width_go_by_value() {
        let mut ranks = Ranks::default();
        let numbers = |dtype, bytes: &[u8]| {
            Values::from(Data::Numbers {
                dtype,
                bytes: bytes.into(),
            })
        };
        ranks
            .add_numbers(&numbers(Dtype::native(Kind::Int, 1), &[0xff, 0, 1, 0x80]))
            .unwrap();
        assert!(ranks.ranks[3] < ranks.ranks[0] && ranks.ranks[0] < ranks.ranks[1]);
        assert!(ranks.ranks[1] < ranks.ranks[2]);
        let mut values = numbers(Dtype::BOOL, &[1, 0]);
        values.missing = vec![false, true];
        ranks.add_numbers(&values).unwrap();
        assert_eq!(ranks.missing, [false, false, false, false, false, true]);
    }
}
