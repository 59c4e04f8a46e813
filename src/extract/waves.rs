//! Rows in another order: wave after wave, each read in the order of the file and handed to the outputs in theirs.
//!
//! Where there are several waves, the next is read while the last is written, into the memory of the one before.

use std::ops::Range;

use anyhow::{Context, Result, ensure};
use tracing::{debug, info};

use super::order::Wave;
use super::{Engine, OpenOutput, plan};
use crate::report::failure::in_element;
use crate::resources::format_size;
use crate::rows::block::Block;
use crate::rows::by_wave::{ByWave, WaveCells};
use crate::rows::cost::RowCost;
use crate::rows::group::LeafGroup;
use crate::rows::leaf::Leaf;
use crate::store::read_ahead;

/// A wave that is in memory.
struct HeldWave {
    /// Of the order.
    rows: Range<u64>,
    wave: Wave,
    /// Of each leaf.
    blocks: Vec<Block>,
}

impl HeldWave {
    /// Reads a wave, into the memory of one that was written.
    fn read(
        groups: &[LeafGroup],
        leaves: &[Leaf],
        columns: &[Option<ByWave>],
        (number, rows, wave): (usize, Range<u64>, Wave),
        old: Option<HeldWave>,
    ) -> Result<HeldWave> {
        // Each leaf gets the memory of its own block back, which is about as large as the next.
        let old = old.map_or(vec![], |old| old.blocks);
        let mut old: Vec<_> = old.into_iter().map(Some).collect();
        let mut blocks: Vec<_> = leaves.iter().map(|_| None).collect();
        for group in groups {
            let first = group.members[0];
            if let Some(Some(column)) = columns.get(first) {
                blocks[first] = Some(column.read(number)?);
                continue;
            }
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
        Ok(HeldWave { rows, wave, blocks })
    }
}

impl Engine<'_> {
    /// Cuts the order into waves, puts narrow columns into scratch by wave where arrays are unpacked, then reads and
    /// writes one wave after another. In memory: two waves, and the rows that open outputs hold back for chunks that
    /// are not full.
    pub(super) fn run_waves(&self) -> Result<()> {
        let (span, request) = (self.request.span(), self.request);
        let spans = self.waves()?;
        let (groups, leaves, mut cut) = (&self.groups, self.leaves(), None);
        let columns = if self.approach.unpacks {
            self.put_down(&spans)?
        } else {
            vec![]
        };
        // All spans are known, but what a wave reads is found as it comes: that is 4 bytes a cell.
        let waves = spans.into_iter().enumerate();
        let waves = waves.map(|(number, rows)| (number, rows.clone(), request.order.wave(rows)));
        self.begin_step(span.end - span.start);
        read_ahead(
            waves,
            |next, old| HeldWave::read(groups, leaves, &columns, next, old),
            |held| {
                self.write_wave(&mut cut, &held)?;
                Ok(held)
            },
        )?;
        self.request.progress.end();
        Ok(())
    }

    /// Puts the rows of each narrow column into scratch, by wave.
    fn put_down(&self, waves: &[Range<u64>]) -> Result<Vec<Option<ByWave>>> {
        let (request, how, leaves) = (self.request, &self.approach, self.leaves());
        if !leaves.iter().any(Leaf::is_narrow) {
            return Ok(vec![]);
        }
        info!("Putting columns into scratch, by pass...");
        let folder = request.scratch.folder()?;
        let places = waves.iter().map(|wave| wave.end - wave.start).sum();
        let mut cells = WaveCells::new(places, || Ok(folder.clone()))?;
        for wave in waves {
            cells.push(&request.order.wave(wave.clone()).ranges)?;
        }
        let put_down = |leaf: &Leaf, cost: &RowCost| {
            ByWave::new(leaf, cost.fixed, &cells, how.wave.wave, &folder)
                .with_context(|| in_element("Put down", &leaf.path))
        };
        let columns = leaves.iter().zip(&how.costs).map(|(leaf, cost)| {
            let column = leaf.is_narrow().then(|| put_down(leaf, cost));
            column.transpose()
        });
        columns.collect()
    }

    /// Where in the order each wave begins and ends.
    fn waves(&self) -> Result<Vec<Range<u64>>> {
        let (span, mut waves) = (self.request.span(), vec![]);
        let mut start = span.start;
        // Where they are given, those before the first output are of a run that goes on, and done.
        for end in self.request.waves.iter().flatten() {
            if *end > start {
                waves.push(start..*end);
                start = *end;
            }
        }
        while start < span.end {
            let end = self.next_wave(start)?;
            waves.push(start..end);
            start = end;
        }
        Ok(waves)
    }

    /// Where the wave ends that begins at `start`: the next rows of the sequence that fit the budget.
    fn next_wave(&self, start: u64) -> Result<u64> {
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
            // Text and dense rows count as their mean; the non-zeros of these very rows are counted.
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
                return Ok(whole);
            }
            return Ok(start + rows);
        }
    }

    /// Hands the rows of a wave to the outputs that they belong to; `cut` is the one that the last wave ended in.
    fn write_wave(&self, cut: &mut Option<OpenOutput>, held: &HeldWave) -> Result<()> {
        let HeldWave { rows, wave, blocks } = held;
        let cuts = &self.request.cuts;
        let first = cuts.partition_point(|&c| c <= rows.start) - 1;
        let last = cuts.partition_point(|&c| c < rows.end) - 1;
        // The places in the wave of the rows of an output.
        let here = |output: usize| {
            let (start, end) = (cuts[output].max(rows.start), cuts[output + 1].min(rows.end));
            &wave.picks[(start - rows.start) as usize..(end - rows.start) as usize]
        };
        // Only the first of them may be open already, and only the last stays so.
        let outputs: Vec<usize> = (first..=last).collect();
        let (leaves, groups) = (self.leaves(), &self.groups);
        for batch in outputs.chunks(self.together()) {
            let opened = batch.iter().map(|&output| match cut.take() {
                Some(open) => Ok(open),
                None => {
                    // Then its non-zeros are counted in memory, and offsets are not read again.
                    let is_whole = cuts[output] >= rows.start && cuts[output + 1] <= rows.end;
                    self.open(output, is_whole.then(|| (blocks.as_slice(), here(output))))
                }
            });
            let mut opened = opened.collect::<Result<Vec<_>>>()?;
            self.fill(&mut opened, |open| {
                let picks = here(open.output);
                open.each_group(groups, |group, writers, columns| {
                    group.append_picked(leaves, writers, blocks, picks, columns)
                })
            })?;
            for open in opened {
                if cuts[open.output + 1] <= rows.end {
                    self.close(open)?
                } else {
                    *cut = Some(open)
                }
            }
        }
        Ok(())
    }
}
