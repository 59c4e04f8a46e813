//! Rows that lie one after another in a file, read and written by position, in parallel.
//!
//! Ranges are cut into pieces of the file, and pieces that nearly touch are read in one call of up to 1 MiB; tasks of
//! 256 KiB run in lanes of the pool. A short file is an error that says so. Writing is pwrite(2) at an address that was
//! taken before; copying is copy_file_range(2), which shares blocks where the file system can.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;

use super::lanes::{in_lanes, lanes_of};
use super::work;

/// Bytes of one parallel task: large enough that a system call costs nothing beside it.
pub const TASK: usize = 256 << 10;
/// Pieces closer than this are read together with what lies between them: a seek costs more than the copy.
const GAP: u64 = 8 << 10;
/// Most bytes that are read at once to serve many pieces.
const WINDOW: u64 = 1 << 20;

/// Where the rows of an array lie in a file, each `row` bytes: in one piece, or in some.
pub struct Extents {
    row: u64,
    /// The first row of each and where it lies, by row; the first begins with row 0.
    starts: Vec<(u64, u64)>,
}

impl Extents {
    /// Rows in one piece.
    pub fn one(at: u64, row: u64) -> Extents {
        Extents {
            row,
            starts: vec![(0, at)],
        }
    }

    /// Pieces of `rows` rows each at these addresses, those that touch put together.
    ///
    /// Of 2 rows of 10 bytes each, at 100, 120 and 200: rows 0..4 lie at 100, and those from 4 on at 200.
    pub fn of(addresses: impl Iterator<Item = u64>, rows: u64, row: u64) -> Extents {
        let (mut starts, mut end) = (vec![], None);
        for (piece, at) in addresses.enumerate() {
            if end != Some(at) {
                starts.push((piece as u64 * rows, at));
            }
            end = at.checked_add(rows.saturating_mul(row));
        }
        Extents { row, starts }
    }

    /// Pieces, those that touch counted once.
    pub fn count(&self) -> usize {
        self.starts.len()
    }

    /// The parts of `rows` that lie in one piece each, and where in the file each begins.
    pub fn pieces(&self, rows: Range<u64>) -> impl Iterator<Item = (Range<u64>, u64)> {
        // The piece that holds the first row. A large array may have one for each chunk, so it is found by bisection.
        let first = self
            .starts
            .partition_point(|(start, _)| *start <= rows.start);
        let first = first.saturating_sub(1);
        let pieces = self.starts[first..].iter().zip(first + 1..);
        pieces
            .take_while(move |((start, _), _)| *start < rows.end)
            .map(move |((start, at), next)| {
                let end = self.starts.get(next).map_or(rows.end, |(next, _)| *next);
                let within = rows.start.max(*start)..rows.end.min(end);
                let at = at + (within.start - start) * self.row;
                (within, at)
            })
    }

    /// Reads the rows in `ranges` (sorted, disjoint).
    pub fn read(&self, file: &File, ranges: &[Range<u64>], dst: &mut [u8]) -> Result<()> {
        if self.row == 0 || dst.is_empty() {
            return Ok(());
        }
        let last = ranges.last().map_or(0, |r| r.end);
        let within = |(start, at): &(u64, u64)| {
            let rows = last.saturating_sub(*start);
            rows.checked_mul(self.row)?.checked_add(*at)
        };
        let ends = self.starts.last().and_then(within);
        ensure!(ends.is_some(), "Row {last} lies beyond every file");
        let bytes: u64 = ranges.iter().map(|r| (r.end - r.start) * self.row).sum();
        ensure!(
            bytes == dst.len() as u64,
            "A read of {bytes} bytes into {}",
            dst.len()
        );
        let pieces = ranges.iter().flat_map(|rows| self.pieces(rows.clone()));
        let spans = pieces.map(|(rows, at)| at..at + (rows.end - rows.start) * self.row);
        read(file, spans, dst)
    }

    /// Hands the rows in `rows` to `take`, from many threads.
    pub fn each(&self, file: &File, rows: Range<u64>, take: Take) -> Result<()> {
        let step = (TASK as u64 / self.row.max(1)).max(1);
        let parts = (rows.end - rows.start).div_ceil(step);
        in_lanes(
            lanes_of(step * self.row),
            parts,
            |buffer: &mut Vec<u8>, part| {
                let first = part * step;
                let start = rows.start + first;
                let here = start..rows.end.min(start + step);
                buffer.resize(((here.end - here.start) * self.row) as usize, 0);
                self.read(file, std::slice::from_ref(&here), buffer)?;
                take(first, buffer)
            },
        )
    }
}

/// Reads spans of a file, one after another.
fn read(file: &File, spans: impl Iterator<Item = Range<u64>>, dst: &mut [u8]) -> Result<()> {
    tasks(spans, dst)
        .into_par_iter()
        .try_for_each_init(Vec::new, |window, (spans, dst)| {
            read_spans(file, &spans, dst, window)
        })
}

type Task<'a> = (Vec<Range<u64>>, &'a mut [u8]);

/// Cuts spans of a file and their destination into tasks of about [`TASK`] bytes.
fn tasks(spans: impl Iterator<Item = Range<u64>>, dst: &mut [u8]) -> Vec<Task<'_>> {
    let mut tasks: Vec<Task> = vec![];
    let mut rest = dst;
    let (mut open, mut size) = (vec![], 0usize);
    let mut close = |open: &mut Vec<Range<u64>>, size: &mut usize| {
        let (head, tail) = std::mem::take(&mut rest).split_at_mut(*size);
        tasks.push((std::mem::take(open), head));
        rest = tail;
        *size = 0;
    };
    for mut span in spans {
        while span.start < span.end {
            let cut = span.end.min(span.start + (TASK - size) as u64);
            open.push(span.start..cut);
            size += (cut - span.start) as usize;
            span.start = cut;
            if size == TASK {
                close(&mut open, &mut size);
            }
        }
    }
    if size > 0 {
        close(&mut open, &mut size);
    }
    tasks
}

fn read_spans(
    file: &File,
    spans: &[Range<u64>],
    dst: &mut [u8],
    window: &mut Vec<u8>,
) -> Result<()> {
    let mut at = 0;
    let mut next = 0;
    while next < spans.len() {
        let first = next;
        let start = spans[first].start;
        let mut end = spans[first].end;
        next += 1;
        // Chunks may lie in any order in the file, so the next span may come before this one.
        while let Some(span) = spans.get(next)
            && span.start >= end
            && span.start - end <= GAP
            && span.end - start <= WINDOW
        {
            end = span.end;
            next += 1;
        }
        let len = (end - start) as usize;
        if next == first + 1 {
            exact(file, &mut dst[at..at + len], start)?;
            at += len;
            continue;
        }
        window.resize(window.len().max(len), 0);
        exact(file, &mut window[..len], start)?;
        for span in &spans[first..next] {
            let piece = &window[(span.start - start) as usize..(span.end - start) as usize];
            dst[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }
    }
    Ok(())
}

/// Reads exactly `dst.len()` bytes; a file that ends before them is truncated.
pub fn exact(file: &File, dst: &mut [u8], at: u64) -> Result<()> {
    work::read(dst.len());
    file.read_exact_at(dst, at).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => anyhow::anyhow!(
            "The file ends before byte {}: it is truncated",
            at.saturating_add(dst.len() as u64)
        ),
        _ => anyhow::Error::from(e).context(format!("{} bytes at {at}", dst.len())),
    })
}

/// Runs `with` with a buffer that others have left: fresh memory costs as much as reading into it.
pub fn with_buffer<T>(len: usize, with: impl FnOnce(&mut [u8]) -> T) -> T {
    /// A longer buffer is given back at once.
    const KEPT: usize = 16 << 20;
    static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(vec![]);
    let spare = || SPARE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut buffer = spare().pop().unwrap_or_default();
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    let done = with(&mut buffer[..len]);
    if buffer.len() <= KEPT {
        spare().push(buffer);
    }
    done
}

/// Fills `out` with one value after another, all the same.
pub fn repeat(value: &[u8], out: &mut [u8]) {
    if value.iter().all(|&b| b == 0) {
        return out.fill(0);
    }
    for (to, from) in out.iter_mut().zip(value.iter().cycle()) {
        *to = *from;
    }
}

/// Writes `bytes` at `at`. By one thread: the kernel lets one at a time write to a file, and others wait for it busily.
pub fn write(file: &File, bytes: &[u8], at: u64) -> Result<()> {
    work::written(bytes.len());
    file.write_all_at(bytes, at)
        .with_context(|| format!("Write {} bytes", bytes.len()))
}

/// Bytes that lie in a file in one piece.
pub struct FileSpan<'a> {
    pub file: &'a File,
    pub at: u64,
}

/// Looks at bytes on their way from one file to another.
pub type Check<'a> = &'a (dyn Fn(&[u8]) -> Result<()> + Sync);

/// Takes a part of the rows that are read: the first of them, counted from the first that is read, and their bytes.
pub type Take<'a> = &'a (dyn Fn(u64, &[u8]) -> Result<()> + Sync);

/// Copies `len` bytes from one place to another without taking them into memory. False where the kernel cannot, such as
/// between some file systems; then nothing counts as copied.
pub fn transfer(from: &FileSpan, to: &FileSpan, len: u64) -> Result<bool> {
    /// Bytes of one call: few enough to see how far it is.
    const STEP: usize = 64 << 20;
    let (mut read, mut written) = (from.at, to.at);
    while written < to.at + len {
        let left = usize::try_from(to.at + len - written).unwrap_or(usize::MAX);
        // Moves both positions on by what it has copied.
        let step = rustix::fs::copy_file_range(
            from.file,
            Some(&mut read),
            to.file,
            Some(&mut written),
            left.min(STEP),
        );
        match step {
            Ok(0) => bail!(
                "The file ends before byte {}: it is truncated",
                from.at + len
            ),
            Ok(bytes) => {
                work::read(bytes);
                work::written(bytes);
                work::appended(bytes);
            }
            Err(rustix::io::Errno::INTR) => {}
            // Whatever is wrong, plain reading and writing tells it better.
            Err(_) => return Ok(false),
        }
    }
    Ok(true)
}

/// Gives the bytes of a range of something that is being written.
pub type Fill<'a> = &'a (dyn Fn(Range<u64>, &mut [u8]) + Sync);

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_ranges_of_any_rows(
            row in 1usize..9,
            steps in prop::collection::vec((0u64..70_000, 1u64..40_000), 0..40),
        ) {
            let (mut ranges, mut end) = (vec![], 0);
            for (gap, len) in steps {
                ranges.push(end + gap..end + gap + len);
                end += gap + len;
            }
            let content: Vec<u8> = (0..end * row as u64 + 5).map(|i| (i % 251) as u8).collect();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&content).unwrap();
            let want: Vec<u8> = ranges
                .iter()
                .flat_map(|r| content[5 + r.start as usize * row..5 + r.end as usize * row].to_vec())
                .collect();
            let mut dst = vec![0; want.len()];
            Extents::one(5, row as u64).read(&file, &ranges, &mut dst).unwrap();
            prop_assert!(dst == want);
        }
    }

    proptest! {
        #[test]
        fn pieces_anywhere_are_one_array(
            rows in 1u64..5,
            row in 1u64..4,
            order in Just((0..9u64).collect::<Vec<_>>()).prop_shuffle(),
            picks in prop::collection::vec(any::<bool>(), 45),
        ) {
            let content: Vec<u8> = (0..9 * rows * row).map(|i| i as u8).collect();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&content).unwrap();
            let extents = Extents::of(order.iter().map(|at| at * rows * row), rows, row);
            let near = order.windows(2).filter(|pair| pair[0] + 1 == pair[1]).count();
            prop_assert_eq!(extents.count(), 9 - near);
            let wanted = (0..9 * rows).filter(|r| picks[*r as usize]);
            let mut ranges: Vec<Range<u64>> = vec![];
            for row in wanted.clone() {
                match ranges.last_mut() {
                    Some(last) if last.end == row => last.end += 1,
                    _ => ranges.push(row..row + 1),
                }
            }
            let at = |r: u64| (order[(r / rows) as usize] * rows + r % rows) * row;
            let want: Vec<u8> = wanted.flat_map(|r| at(r)..at(r) + row).map(|i| i as u8).collect();
            let mut dst = vec![0; want.len()];
            extents.read(&file, &ranges, &mut dst).unwrap();
            prop_assert_eq!(dst, want);
        }
    }

    #[test]
    fn a_short_file_is_truncated() {
        let file = tempfile::tempfile().unwrap();
        write(&file, &[1; 10], 0).unwrap();
        let rows = std::slice::from_ref(&(5..12));
        let error = Extents::one(0, 1)
            .read(&file, rows, &mut [0; 7])
            .unwrap_err();
        assert!(error.to_string().contains("truncated"), "{error}");
    }
}
