//! Ranges of rows in steps that memory bears.

use std::ops::Range;

/// Bytes that are copied at a time.
const BLOCK: u64 = 16 << 20;

/// Row ranges of about [`BLOCK`] bytes each.
pub fn blocks(rows: u64, row_bytes: u64) -> impl Iterator<Item = Range<u64>> {
    steps(0..rows, (BLOCK / row_bytes.max(1)).max(1))
}

/// A range in steps of `most`, which is not 0; the last may be shorter. 0..7 by 3 is `[0..3, 3..6, 6..7]`.
pub fn steps(range: Range<u64>, most: u64) -> impl Iterator<Item = Range<u64>> {
    let starts = range.clone().step_by(most as usize);
    starts.map(move |start| start..range.end.min(start.saturating_add(most)))
}

/// The same rows in groups of ranges with at most `most` rows each. `[0..5, 8..10]` by 3 is `[[0..3], [3..5, 8..9],
/// [9..10]]`; no ranges are one empty group.
pub fn batches(ranges: &[Range<u64>], most: u64) -> Vec<Vec<Range<u64>>> {
    let mut batches = vec![vec![]];
    let mut room = most;
    for range in ranges {
        let mut range = range.clone();
        while range.start < range.end {
            if room == 0 {
                batches.push(vec![]);
                room = most;
            }
            let end = range.end.min(range.start + room);
            if let Some(batch) = batches.last_mut() {
                batch.push(range.start..end);
            }
            room -= end - range.start;
            range.start = end;
        }
    }
    batches
}
