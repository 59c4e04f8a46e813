//! What a choice of cells comes to: their order, where each output begins in it, and what each is of.
//!
//! It is made step by step, each a pure function of columns of obs and a seed: all cells, shuffled; dealt to subsets; cut;
//! and the cells of each output sorted. 4 bytes a cell are held; while subsets are made, 4 more for each key and for the
//! order before them.

use std::ops::Range;

use anyhow::Result;

use super::subsets::Subsets;
use super::{Obs, sort};
use crate::output::manifest::Label;

/// The outputs of a run and their cells. `cells` [4, 1, 3, 0] with `cuts` [0, 3, 4] and `names` ["train", "test"] are
/// two outputs: cells 4, 1 and 3 go to the first, cell 0 to the second. `cuts` has one entry more than `names` and
/// `labels`.
pub struct Choice {
    /// The cells of all outputs, one output after another; `None` for all cells of the file, as they come.
    pub cells: Option<Vec<u32>>,
    /// Where each output begins, and the end of the last.
    pub cuts: Vec<u64>,
    /// The part of each output's name after the prefix.
    pub names: Vec<String>,
    pub labels: Vec<Label>,
    /// How many cells are in every output.
    pub shared: u64,
}

impl Choice {
    /// All cells of the file for one output, in an order where one is given.
    pub fn all(count: u64, cells: Option<Vec<u32>>) -> Choice {
        Choice {
            cells,
            cuts: vec![0, count],
            names: vec![String::new()],
            labels: vec![Label::default()],
            shared: 0,
        }
    }

    /// Of one output, an output for each subset: its cells in the order that they have. Cells of no subset are left
    /// out; those of every subset are in each output.
    pub fn dealt(self, subsets: &Subsets) -> Result<Choice> {
        let (cells, cuts) = match self.cells {
            Some(cells) => subsets.arrange(cells.into_iter())?,
            None => subsets.arrange(0..self.cuts[1] as u32)?,
        };
        let shared = subsets.shared;
        let subsets = subsets.all().iter();
        Ok(Choice {
            cells: Some(cells),
            cuts,
            shared,
            names: subsets.clone().map(|subset| subset.name.clone()).collect(),
            labels: subsets.map(|subset| subset.label.clone()).collect(),
        })
    }

    /// Each output cut further: `cut` says where the new ones begin among some of the cells, and the end. Their numbers
    /// are written with `pad` digits at the least.
    pub fn cut(
        mut self,
        pad: usize,
        mut cut: impl FnMut(&Choice, Range<u64>) -> Result<Vec<u64>>,
    ) -> Result<Choice> {
        let (mut cuts, mut names, mut labels) = (vec![0], vec![], vec![]);
        for (at, name) in self.names.iter().enumerate() {
            let ends = cut(&self, self.cuts[at]..self.cuts[at + 1])?;
            for (number, end) in ends.into_iter().skip(1).enumerate() {
                let number = format!("shard_{number:0pad$}");
                cuts.push(end);
                labels.push(self.labels[at].clone());
                names.push(if name.is_empty() {
                    number
                } else {
                    format!("{name}_{number}")
                });
            }
        }
        (self.cuts, self.names, self.labels) = (cuts, names, labels);
        Ok(self)
    }

    /// Leaves cells and cuts of some outputs alone. For one part of a run, once all outputs are known.
    pub fn narrow(&mut self, outputs: Range<usize>) {
        self.cuts.truncate(outputs.end + 1);
        self.cuts.drain(..outputs.start);
        let (first, end) = (self.cuts[0], self.cuts[self.cuts.len() - 1]);
        // Cuts count from the first cell that is left; where there is no list they stay rows of the file.
        if let Some(cells) = &mut self.cells {
            cells.truncate(end as usize);
            cells.drain(..first as usize);
            cells.shrink_to_fit();
            self.cuts.iter_mut().for_each(|cut| *cut -= first);
        }
    }

    /// The cells of each output in the order of these columns; equal ones stay as they are.
    pub fn sorted(mut self, obs: &Obs, columns: &[String]) -> Result<Choice> {
        if !columns.is_empty() {
            let all = self.cuts.last().copied().unwrap_or(0) as u32;
            let cells = self.cells.get_or_insert_with(|| (0..all).collect());
            sort::within(cells, &self.cuts, obs, columns)?;
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_cut_and_named() {
        let choice = Choice {
            cells: None,
            cuts: vec![0, 5, 7],
            names: vec!["a".into(), "b".into()],
            labels: vec![Label::default(); 2],
            shared: 0,
        };
        let by_three = |_: &Choice, span: Range<u64>| {
            let cuts = span.clone().step_by(3).chain([span.end]);
            Ok(cuts.collect())
        };
        let cut = choice.cut(2, by_three).unwrap();
        assert_eq!(cut.cuts, [0, 3, 5, 7]);
        assert_eq!(cut.names, ["a_shard_00", "a_shard_01", "b_shard_00"]);
        let cut = Choice::all(4, None).cut(0, by_three).unwrap();
        assert_eq!(cut.names, ["shard_0", "shard_1"]);
        let none = Choice::all(0, None).cut(0, |_, _| Ok(vec![0])).unwrap();
        assert_eq!((none.cuts, none.names.len()), (vec![0], 0));
    }
}
