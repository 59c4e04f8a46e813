//! Reading rows from a grid of chunks, whatever stores them: which chunks hold the rows asked for, each of them
//! decoded once and in the thread pool, and the pieces of each copied to their place.
//!
//! A chunk row is the set of chunks that hold the same rows. Its rows land next to each other in the
//! destination, so chunk rows are the unit of parallel work.

use std::ops::Range;
use std::sync::Mutex;

use anyhow::{Result, bail, ensure};
use rayon::prelude::*;

use super::lanes::{in_lanes, lanes_of};
use super::runs::{Run, positions, runs};
use super::{raw, work};
use crate::store::access::OverLimit;
use crate::store::spec::items;

/// An array cut into chunks of equal shape; those at the upper edges reach beyond the array.
#[derive(Clone, Debug)]
pub struct Grid {
    chunk: Vec<u64>,
    /// Bytes of one row of the array, and of one row of a chunk.
    row_bytes: usize,
    chunk_row_bytes: usize,
    /// For each chunk of a chunk row: its runs of bytes, one row each.
    columns: Vec<Vec<Run>>,
    /// Chunk rows that are decoded at the same time, at most.
    at_once: usize,
}

/// Buffers as large as a chunk that decoding one takes: as it is stored, and between two filters.
const ENCODED: u64 = 2;

/// The last chunk row of a read that ended inside it, kept for the next read.
/// Its number, and its chunks, all decoded: so rows in order are decoded once, however small the reads are.
#[derive(Default)]
pub struct KeptChunks(Mutex<Option<(u64, Vec<Vec<u8>>)>>);

/// One chunk row of a read: which of its rows are wanted, and how many.
struct Job {
    chunk_row: u64,
    /// Which of the list of all pieces of the read.
    pieces: Range<usize>,
    rows: usize,
}

impl Grid {
    /// `shape` and `chunk` have the same rank, which is at least 1. Chunks of `memory` bytes may be held.
    pub fn new(shape: &[u64], chunk: &[u64], item: usize, memory: u64) -> Result<Grid> {
        ensure!(
            !shape.is_empty() && shape.len() == chunk.len() && !chunk.contains(&0),
            "Chunks of shape {chunk:?} do not fit an array of shape {shape:?}"
        );
        let bytes = |dims: &[u64]| {
            dims.iter()
                .try_fold(item as u64, |n, &d| n.checked_mul(d))
                .and_then(|n| usize::try_from(n).ok())
        };
        let (Some(row_bytes), Some(chunk_row_bytes), Some(_)) =
            (bytes(&shape[1..]), bytes(&chunk[1..]), bytes(chunk))
        else {
            anyhow::bail!(
                "Rows of shape {shape:?} in chunks of {chunk:?} are too large to address"
            );
        };
        let counts: Vec<u64> = shape[1..]
            .iter()
            .zip(&chunk[1..])
            .map(|(s, c)| s.div_ceil(*c))
            .collect();
        let at_once = at_once(shape, chunk, &counts, item as u64, memory)?;
        let columns = positions(&counts)
            .map(|at| runs(&shape[1..], &chunk[1..], &at, item))
            .collect();
        Ok(Grid {
            chunk: chunk.to_vec(),
            row_bytes,
            chunk_row_bytes,
            columns,
            at_once,
        })
    }

    /// Bytes of one whole chunk.
    pub fn chunk_bytes(&self) -> usize {
        self.chunk[0] as usize * self.chunk_row_bytes
    }

    /// Bytes of all chunks that hold the same rows: what is kept between two reads.
    pub fn kept_bytes(&self) -> u64 {
        self.chunk_bytes() as u64 * self.columns.len() as u64
    }

    /// Bytes that a read takes while it decodes, besides its destination and what is kept.
    pub fn decode_bytes(&self) -> u64 {
        let threads = rayon::current_num_threads();
        let rows = self.at_once.min(threads);
        let chunks = rows.saturating_mul(self.columns.len()).min(threads);
        (rows as u64 * self.kept_bytes())
            .saturating_add(chunks as u64 * ENCODED * self.chunk_bytes() as u64)
    }

    /// Chunks that hold the same rows.
    pub fn chunks_per_row(&self) -> usize {
        self.columns.len()
    }

    /// Rows in one chunk.
    pub fn chunk_rows(&self) -> u64 {
        self.chunk[0]
    }

    /// Copies the rows in `ranges` (sorted, disjoint) to `dst`, which holds exactly those rows.
    ///
    /// `decode(chunk row, column, buffer)` makes `buffer` the whole chunk, which is as long; it is called at most once
    /// for each chunk, from many threads.
    pub fn read<F>(
        &self,
        ranges: &[Range<u64>],
        dst: &mut [u8],
        kept: &KeptChunks,
        decode: F,
    ) -> Result<()>
    where
        F: Fn(u64, usize, &mut [u8]) -> Result<()> + Sync,
    {
        if self.row_bytes == 0 || dst.is_empty() {
            return Ok(());
        }
        let decode = counted(decode);
        let (jobs, pieces) = self.jobs(ranges);
        let mut work = self.places(jobs, dst)?;
        // Not locked meanwhile: this thread may come by again, with another read, while it waits for the pool.
        let held = lock(kept).take();
        if let (Some((job, out)), Some((row, chunks))) = (work.first_mut(), &held)
            && job.chunk_row == *row
        {
            self.copy(chunks, &pieces[job.pieces.clone()], out);
            work.remove(0);
        }
        if work.is_empty() {
            *lock(kept) = held;
            return Ok(());
        }
        drop(held);
        // What the next read goes on with is decoded by itself, so that it need not be copied to be kept.
        let ends_inside = |job: &Job| {
            let last = pieces[job.pieces.clone()].last();
            last.is_some_and(|piece| piece.end < self.chunk[0])
        };
        let last = work.pop_if(|(job, _)| ends_inside(job));
        let read = |scratch: &mut Vec<u8>, (job, out): (Job, &mut [u8])| {
            let pieces = &pieces[job.pieces];
            self.read_chunk_row((job.chunk_row, pieces), out, scratch, &decode)
        };
        let mut body = || {
            // As many at once as memory allows.
            while !work.is_empty() {
                let part: Vec<_> = work.drain(..self.at_once.min(work.len())).collect();
                part.into_par_iter().try_for_each_init(Vec::new, read)?;
            }
            anyhow::Ok(())
        };
        let Some((job, out)) = last else {
            return body();
        };
        // Beside the others: after them it would keep one thread busy, and the rest waiting.
        let (body, tail) = rayon::join(body, || self.decode_row(job.chunk_row, &decode));
        body?;
        let chunks = tail?;
        self.copy(&chunks, &pieces[job.pieces], out);
        *lock(kept) = Some((job.chunk_row, chunks));
        Ok(())
    }

    /// Hands the rows in `rows` to `take`, in parts as they are decoded, from many threads and in any order: the first
    /// row of a part, counted from `rows.start`, and its bytes. Parts go on while they are in the processor's cache.
    /// False, and nothing was done, where chunks hold parts of rows; else as [`Grid::read`].
    pub fn each<F, T>(
        &self,
        rows: Range<u64>,
        kept: &KeptChunks,
        decode: F,
        take: T,
    ) -> Result<bool>
    where
        F: Fn(u64, usize, &mut [u8]) -> Result<()> + Sync,
        T: Fn(u64, &[u8]) -> Result<()> + Sync,
    {
        if self.columns.len() != 1 || self.chunk_row_bytes != self.row_bytes {
            return Ok(false);
        }
        if self.row_bytes == 0 || rows.is_empty() {
            return Ok(true);
        }
        let (size, chunk_bytes) = (self.chunk[0], self.chunk_bytes());
        let hand = |chunk_row, chunks: &[u8]| {
            let (first, wanted) = self.wanted(&rows, chunk_row, chunks);
            take(first, wanted)
        };
        let decode = counted(decode);
        let mut jobs = rows.start / size..rows.end.div_ceil(size);
        let held = lock(kept).take();
        if let Some((row, chunks)) = &held
            && *row == jobs.start
        {
            hand(*row, &chunks[0])?;
            jobs.start += 1;
        }
        if jobs.is_empty() {
            *lock(kept) = held;
            return Ok(true);
        }
        drop(held);
        let last = (!rows.end.is_multiple_of(size)).then(|| {
            jobs.end -= 1;
            jobs.end
        });
        // Many small chunks are one task, and one part.
        let together = (raw::TASK / chunk_bytes).clamp(1, self.at_once) as u64;
        let tasks = jobs.end.saturating_sub(jobs.start).div_ceil(together);
        let run = |buffer: &mut Vec<u8>, task: u64| {
            let first = jobs.start + task * together;
            let count = together.min(jobs.end - first);
            buffer.resize(count as usize * chunk_bytes, 0);
            let mut chunks = (first..).zip(buffer.chunks_exact_mut(chunk_bytes));
            chunks.try_for_each(|(chunk_row, chunk)| decode(chunk_row, 0, chunk))?;
            hand(first, buffer)
        };
        let most = lanes_of(together * chunk_bytes as u64);
        let most = most.min(self.at_once / together as usize);
        let body = || in_lanes(most, tasks, run);
        let tail = || {
            let tail = last.map(|row| {
                let mut chunk = vec![0; chunk_bytes];
                decode(row, 0, &mut chunk)?;
                hand(row, &chunk)?;
                anyhow::Ok((row, vec![chunk]))
            });
            tail.transpose()
        };
        let (body, tail) = rayon::join(body, tail);
        body?;
        if let Some(tail) = tail? {
            *lock(kept) = Some(tail);
        }
        Ok(true)
    }

    /// Each chunk row with its part of `dst`.
    fn places<'a>(&self, jobs: Vec<Job>, dst: &'a mut [u8]) -> Result<Vec<(Job, &'a mut [u8])>> {
        let wanted: usize = jobs.iter().map(|j| j.rows).sum();
        ensure!(
            wanted.checked_mul(self.row_bytes) == Some(dst.len()),
            "A read of {wanted} rows into {} bytes",
            dst.len()
        );
        let mut rest = dst;
        let place = |job: Job| {
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(job.rows * self.row_bytes);
            rest = tail;
            (job, head)
        };
        Ok(jobs.into_iter().map(place).collect())
    }

    /// All chunks that hold the same rows, decoded.
    fn decode_row<F>(&self, chunk_row: u64, decode: &F) -> Result<Vec<Vec<u8>>>
    where
        F: Fn(u64, usize, &mut [u8]) -> Result<()> + Sync,
    {
        let columns = (0..self.columns.len()).into_par_iter();
        let chunks = columns.map(|column| {
            let mut chunk = vec![0; self.chunk_bytes()];
            decode(chunk_row, column, &mut chunk)?;
            Ok(chunk)
        });
        chunks.collect()
    }

    /// Reads the wanted pieces of a chunk row to `out`.
    fn read_chunk_row<F>(
        &self,
        (chunk_row, pieces): (u64, &[Range<u64>]),
        out: &mut [u8],
        scratch: &mut Vec<u8>,
        decode: &F,
    ) -> Result<()>
    where
        F: Fn(u64, usize, &mut [u8]) -> Result<()> + Sync,
    {
        if self.columns.len() > 1 {
            self.copy(&self.decode_row(chunk_row, decode)?, pieces, out);
        } else if self.chunk_row_bytes == self.row_bytes && out.len() == self.chunk_bytes() {
            // All of a chunk, as it lies in the array.
            decode(chunk_row, 0, out)?;
        } else {
            scratch.resize(self.chunk_bytes(), 0);
            decode(chunk_row, 0, scratch)?;
            self.copy(std::slice::from_ref(scratch), pieces, out);
        }
        Ok(())
    }

    /// What is wanted of whole chunks from `chunk_row` on that hold all of each row: the first row, counted from
    /// `rows.start`, and the bytes.
    fn wanted<'a>(&self, rows: &Range<u64>, chunk_row: u64, chunks: &'a [u8]) -> (u64, &'a [u8]) {
        let first = chunk_row * self.chunk[0];
        let count = (chunks.len() / self.row_bytes) as u64;
        let part = rows.start.max(first)..rows.end.min(first.saturating_add(count));
        let at = |row| (row - first) as usize * self.row_bytes;
        (
            part.start - rows.start,
            &chunks[at(part.start)..at(part.end)],
        )
    }

    /// The chunk rows that hold `ranges`, and the ranges cut at their edges, counted from each one's first row.
    ///
    /// With chunks of 4 rows, `[1..3, 5..9]` are the pieces `[1..3, 1..4, 0..1]` of the chunk rows 0, 1 and 2.
    fn jobs(&self, ranges: &[Range<u64>]) -> (Vec<Job>, Vec<Range<u64>>) {
        let rows = self.chunk[0];
        let mut jobs: Vec<Job> = Vec::new();
        let mut pieces = Vec::with_capacity(ranges.len());
        for range in ranges {
            let mut start = range.start;
            while start < range.end {
                let chunk_row = start / rows;
                let first = chunk_row * rows;
                let end = range.end.min(first.saturating_add(rows));
                if jobs.last().is_none_or(|j| j.chunk_row != chunk_row) {
                    let at = pieces.len();
                    jobs.push(Job {
                        chunk_row,
                        pieces: at..at,
                        rows: 0,
                    });
                }
                pieces.push(start - first..end - first);
                if let Some(job) = jobs.last_mut() {
                    job.pieces.end = pieces.len();
                    job.rows += (end - start) as usize;
                }
                start = end;
            }
        }
        (jobs, pieces)
    }

    /// Copies `pieces` of one chunk row to `out`.
    fn copy(&self, chunks: &[Vec<u8>], pieces: &[Range<u64>], out: &mut [u8]) {
        let mut at = 0;
        for piece in pieces {
            let (start, end) = (piece.start as usize, piece.end as usize);
            if let [chunk] = chunks
                && self.chunk_row_bytes == self.row_bytes
            {
                let len = (end - start) * self.row_bytes;
                out[at..at + len].copy_from_slice(&chunk[start * self.row_bytes..][..len]);
                at += len;
                continue;
            }
            for row in start..end {
                let dst = &mut out[at..at + self.row_bytes];
                for (chunk, runs) in chunks.iter().zip(&self.columns) {
                    let src = &chunk[row * self.chunk_row_bytes..][..self.chunk_row_bytes];
                    for run in runs {
                        dst[run.row..run.row + run.len]
                            .copy_from_slice(&src[run.chunk..run.chunk + run.len]);
                    }
                }
                at += self.row_bytes;
            }
        }
    }
}

/// Counts what is decoded.
fn counted<F>(decode: F) -> impl Fn(u64, usize, &mut [u8]) -> Result<()> + Sync
where
    F: Fn(u64, usize, &mut [u8]) -> Result<()> + Sync,
{
    move |chunk_row, column, chunk| {
        work::decoded();
        decode(chunk_row, column, chunk)
    }
}

/// A poisoned cache is only a cache: its content is used as it stands.
fn lock(kept: &KeptChunks) -> std::sync::MutexGuard<'_, Option<(u64, Vec<Vec<u8>>)>> {
    kept.0
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// How many chunk rows may be decoded at the same time, in a quarter of the memory. An error where one does not fit
/// half of it, or where its parts are too many to keep a list of.
fn at_once(shape: &[u64], chunk: &[u64], counts: &[u64], item: u64, memory: u64) -> Result<usize> {
    let bytes = items(chunk)
        .saturating_mul(items(counts))
        .saturating_mul(item);
    if bytes > memory / 2 {
        bail!(OverLimit(format!(
            "Chunks of shape {chunk:?} take {bytes} bytes for the same rows, more than half the memory limit of {memory}"
        )));
    }
    // What `runs` lists for a row: places of all axes between, times the chunks along the last one.
    let runs = match (&shape[1..], counts) {
        ([.., _], [.., last]) => items(&shape[1..shape.len() - 1]).saturating_mul(*last),
        _ => 1,
    };
    ensure!(
        runs.saturating_mul(size_of::<Run>() as u64) <= memory / 4,
        "Rows of shape {shape:?} in chunks of {chunk:?} have too many parts"
    );
    let each = bytes.saturating_add(ENCODED.saturating_mul(items(chunk).saturating_mul(item)));
    Ok(usize::try_from(memory / 4 / each.max(1))
        .unwrap_or(usize::MAX)
        .max(1))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::*;

    /// Chunk (row, column) of an array whose values are numbered in order; 255 beyond the edges.
    fn chunk_of(shape: &[u64], chunk: &[u64], row: u64, column: usize) -> Vec<u8> {
        let counts: Vec<u64> = (1..shape.len())
            .map(|d| shape[d].div_ceil(chunk[d]))
            .collect();
        let mut at = vec![row];
        at.extend(positions(&counts).nth(column).unwrap());
        positions(chunk)
            .map(|within| {
                let here: Vec<u64> = (0..chunk.len())
                    .map(|d| at[d] * chunk[d] + within[d])
                    .collect();
                if here.iter().zip(shape).all(|(h, s)| h < s) {
                    here.iter().zip(shape).fold(0, |n, (h, s)| n * s + h) as u8
                } else {
                    255
                }
            })
            .collect()
    }

    proptest! {
        #[test]
        fn any_rows_of_any_grid(
            shape in prop::collection::vec(1u64..7, 1..4),
            sizes in prop::collection::vec(1u64..5, 4),
            picks in prop::collection::vec(any::<bool>(), 7),
        ) {
            let chunk = &sizes[..shape.len()];
            let grid = Grid::new(&shape, chunk, 1, 1 << 30).unwrap();
            let rows: Vec<u64> = (0..shape[0]).filter(|&r| picks[r as usize]).collect();
            let ranges: Vec<_> = rows.iter().map(|&r| r..r + 1).collect();
            let width: u64 = shape[1..].iter().product();
            let mut dst = vec![0; rows.len() * width as usize];
            let decoded = AtomicUsize::new(0);
            let decode = |row, column, out: &mut [u8]| {
                decoded.fetch_add(1, Ordering::Relaxed);
                out.copy_from_slice(&chunk_of(&shape, chunk, row, column));
                Ok(())
            };
            let kept = KeptChunks::default();
            grid.read(&ranges, &mut dst, &kept, decode).unwrap();
            let want: Vec<u8> = rows.iter().flat_map(|r| r * width..(r + 1) * width).map(|v| v as u8).collect();
            prop_assert_eq!(&dst, &want);
            let mut touched: Vec<u64> = rows.iter().map(|r| r / chunk[0]).collect();
            touched.dedup();
            prop_assert_eq!(decoded.load(Ordering::Relaxed), touched.len() * grid.chunks_per_row());

            // Row by row through the same cache: still once for each chunk.
            decoded.store(0, Ordering::Relaxed);
            let kept = KeptChunks::default();
            let mut again = vec![0; dst.len()];
            for (range, out) in ranges.iter().zip(again.chunks_mut(width as usize)) {
                grid.read(std::slice::from_ref(range), out, &kept, decode).unwrap();
            }
            prop_assert_eq!(&again, &want);
            prop_assert_eq!(decoded.load(Ordering::Relaxed), touched.len() * grid.chunks_per_row());
        }

        #[test]
        fn parts_are_the_rows_whatever_is_kept(
            shape in prop::collection::vec(1u64..40, 1..3),
            size in 1u64..9,
            at_once in 1usize..5,
            ends in prop::collection::vec(0u64..40, 1..5),
        ) {
            let mut chunk = shape.clone();
            chunk[0] = size;
            let mut grid = Grid::new(&shape, &chunk, 1, 1 << 30).unwrap();
            grid.at_once = at_once;
            let width = shape[1..].iter().product::<u64>();
            let decoded = AtomicUsize::new(0);
            let decode = |row, column, out: &mut [u8]| {
                decoded.fetch_add(1, Ordering::Relaxed);
                out.copy_from_slice(&chunk_of(&shape, &chunk, row, column));
                Ok(())
            };
            let mut ends: Vec<u64> = ends.iter().map(|end| *end.min(&shape[0])).collect();
            ends.sort_unstable();
            let (kept, mut start) = (KeptChunks::default(), 0);
            for &end in &ends {
                let rows = start..end;
                let got = Mutex::new(vec![None; ((end - start) * width) as usize]);
                let take = |first: u64, bytes: &[u8]| {
                    for (at, byte) in ((first * width) as usize..).zip(bytes) {
                        assert!(got.lock().unwrap()[at].replace(*byte).is_none());
                    }
                    Ok(())
                };
                prop_assert!(grid.each(rows.clone(), &kept, decode, take).unwrap());
                let want = (start * width..end * width).map(|value| Some(value as u8));
                prop_assert_eq!(got.into_inner().unwrap(), want.collect::<Vec<_>>());
                start = end;
            }
            prop_assert_eq!(decoded.load(Ordering::Relaxed) as u64, start.div_ceil(size));
        }
    }
}
