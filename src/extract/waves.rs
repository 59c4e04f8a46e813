//! Rows in another order: wave after wave, each read in the order of the file and handed to the outputs in theirs.
//!
//! Where there are several waves, the next is read while the last is written, into the memory of the one before.

use std::ops::Range;

use anyhow::{Result, ensure};
use tracing::debug;

use super::order::Wave;
use super::{Engine, Open, plan, together};
use crate::resources::format_size;
use crate::rows::block::Block;
use crate::rows::group::LeafGroup;
use crate::rows::leaf::Leaf;
use crate::store::read_ahead;

/// A wave that is in memory.
struct Held {
    /// Of the order.
    rows: Range<u64>,
    wave: Wave,
    /// Of each leaf.
    blocks: Vec<Block>,
}

impl Held {
    /// Reads a wave, into the memory of one that was written.
    fn read(
        groups: &[LeafGroup],
        leaves: &[Leaf],
        (rows, wave): (Range<u64>, Wave),
        old: Option<Held>,
    ) -> Result<Held> {
        let old = old.map_or(vec![], |old| old.blocks);
        let mut old: Vec<_> = old.into_iter().map(Some).collect();
        let mut blocks: Vec<_> = leaves.iter().map(|_| None).collect();
        for group in groups {
            let theirs = group.members.iter();
            let old = theirs.filter_map(|at| old.get_mut(*at)?.take()).collect();
            let read = group.read_over(leaves, &wave.ranges, old)?;
            for (at, block) in group.members.iter().zip(read) {
                blocks[*at] = Some(block);
            }
        }
        let blocks: Vec<Block> = blocks.into_iter().flatten().collect();
        let bytes: u64 = blocks.iter().map(Block::bytes).sum();
        let Range { start, end } = rows;
        debug!("Wave: rows {start} to {end} of the order, {bytes} bytes");
        Ok(Held { rows, wave, blocks })
    }
}

impl Engine<'_> {
    pub(super) fn run_waves(&self) -> Result<()> {
        let span = self.request.span();
        let mut start = span.start;
        let waves = std::iter::from_fn(|| {
            if start >= span.end {
                return None;
            }
            let next = self.next_wave(start);
            start = next.as_ref().map_or(span.end, |(rows, _)| rows.end);
            Some(next)
        });
        let (groups, leaves, mut cut) = (&self.groups, self.leaves(), None);
        self.begin_step(span.end - span.start);
        read_ahead(
            waves,
            |next, old| Held::read(groups, leaves, next?, old),
            |held| {
                self.write_wave(&mut cut, &held)?;
                Ok(held)
            },
        )?;
        self.request.progress.end();
        Ok(())
    }

    /// The next rows of the sequence that fit the budget.
    fn next_wave(&self, start: u64) -> Result<(Range<u64>, Wave)> {
        let (cuts, how) = (&self.request.cuts, &self.approach);
        let total = cuts.last().copied().unwrap_or(0);
        let mut rows = plan::first_guess(how.wave, &how.costs, &how.means, total - start);
        loop {
            let wave = self.request.order.wave(start..start + rows);
            let counts = self
                .leaves()
                .iter()
                .map(|leaf| leaf.count(&wave.ranges))
                .collect::<Result<Vec<_>>>()?;
            let bytes = plan::bytes(&how.costs, &counts, rows);
            if bytes > how.wave.wave && rows > 1 {
                rows = plan::fewer(how.wave, rows, bytes);
                continue;
            }
            ensure!(
                bytes <= how.wave.wave.max(plan::LEAST),
                "One cell takes {}, more than the memory limit leaves for it; give a larger --memory-limit",
                format_size(bytes)
            );
            // Ends with an output where it holds one, so that few outputs are cut in two.
            let whole = cuts[cuts.partition_point(|&c| c <= start + rows) - 1];
            if whole > start && whole < start + rows {
                return Ok((start..whole, self.request.order.wave(start..whole)));
            }
            return Ok((start..start + rows, wave));
        }
    }

    /// Hands the rows of a wave to the outputs that they belong to; `cut` is the one that the last wave ended in.
    fn write_wave(&self, cut: &mut Option<Open>, held: &Held) -> Result<()> {
        let Held { rows, wave, blocks } = held;
        let cuts = &self.request.cuts;
        let first = cuts.partition_point(|&c| c <= rows.start) - 1;
        let last = cuts.partition_point(|&c| c < rows.end) - 1;
        // The places in the wave of the rows of an output.
        let here = |output: usize| {
            let (start, end) = (cuts[output].max(rows.start), cuts[output + 1].min(rows.end));
            &wave.picks[(start - rows.start) as usize..(end - rows.start) as usize]
        };
        let outputs: Vec<usize> = (first..=last).collect();
        for batch in outputs.chunks(together()) {
            let mut opened = vec![];
            for &output in batch {
                opened.push(match cut.take() {
                    Some(open) => open,
                    None => {
                        let whole = cuts[output] >= rows.start && cuts[output + 1] <= rows.end;
                        self.open(output, blocks, whole.then(|| here(output)))?
                    }
                });
            }
            let leaves = self.leaves();
            self.fill(&mut opened, |group, writers, place| {
                let picks = here(place.output);
                group.append_picked(leaves, writers, blocks, picks, place.columns.as_ref())
            })?;
            for open in opened {
                if cuts[open.place.output + 1] <= rows.end {
                    self.close(open)?
                } else {
                    *cut = Some(open)
                }
            }
        }
        Ok(())
    }
}
