//! Appending rows to an array of either format, in parts and from many threads where that is possible.
//!
//! From the slowest to the fastest: bytes in memory; parts of the rows as threads read them, each put to its place
//! (`append_parts` of the formats); rows that the kernel copies from file to file. The caller asks for rows, and which
//! way they go is decided here: past memory only where nothing is to be checked, mapped or noted for `--verify`. An
//! appender is used by one thread, which waits until all its tasks are done, so that rows of one call lie before those
//! of the next.

use std::borrow::Cow;
use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};

use super::ahead::read_ahead;
use super::lanes::{in_lanes, lanes_of};
use super::ledger::{Ledger, PartialSums, Sum};
use super::raw::{self, Check, Fill, Take};
use super::work;
use crate::store::spec::{ArraySpec, Strings};
use crate::store::{Array, Buffer, hdf5, zarr};

/// An array that is being written, row after row.
pub struct Appender {
    of: AppenderOf,
    noted: Option<Box<Noted>>,
}

/// What a ledger is told of an array.
pub struct Noted {
    ledger: Ledger,
    /// Its place in the file, from the root.
    path: String,
    /// Its rows are known, and set, when it is finished.
    spec: ArraySpec,
    sum: Sum,
}

/// What one of several processes writes of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Portion {
    /// The files of one part of so many, counted from 0.
    Part(u64, u64),
    Nothing,
    /// What describes it alone.
    Metadata,
}

/// The format, or a virtual dataset, which takes places in other files for rows.
pub enum AppenderOf {
    Hdf5(Box<hdf5::Appender>),
    Zarr(Box<zarr::Appender>),
    Linked(Box<hdf5::LinkedArray>),
}

/// Why values do not go into a virtual dataset.
const CHANGED: &str = "No virtual dataset can refer to its values: an input is no .h5ad, lacks it, or has other genes, types \
                       or kind of matrix (dense, CSR, CSC); merge without --virtual";

impl Noted {
    pub fn new(ledger: &Ledger, path: String, spec: &ArraySpec) -> Noted {
        Noted {
            ledger: ledger.clone(),
            path,
            spec: spec.clone(),
            sum: Sum::default(),
        }
    }
}

/// What is to be appended for values that were read.
pub type Map<'a> = &'a (dyn Fn(&[u8]) -> Result<Cow<[u8]>> + Sync);

fn check_within(rows: &Range<u64>, array: &Array) -> Result<()> {
    let count = array.spec().rows();
    ensure!(
        rows.start <= rows.end && rows.end <= count,
        "Read rows {rows:?} of '{}': it has {count}",
        array.path()
    );
    Ok(())
}

impl Appender {
    pub fn new(of: AppenderOf, noted: Option<Noted>) -> Appender {
        Appender {
            of,
            noted: noted.map(Box::new),
        }
    }

    pub fn spec(&self) -> &ArraySpec {
        match &self.of {
            AppenderOf::Hdf5(a) => a.spec(),
            AppenderOf::Zarr(a) => a.spec(),
            AppenderOf::Linked(a) => a.spec(),
        }
    }

    /// Appends whole rows, as they are to be stored.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(noted) = &mut self.noted {
            noted.sum.add(&Sum::of(bytes));
        }
        work::appended(bytes.len());
        match &mut self.of {
            AppenderOf::Hdf5(a) => a.append(bytes),
            AppenderOf::Zarr(a) => a.append(bytes),
            AppenderOf::Linked(_) if bytes.is_empty() => Ok(()),
            AppenderOf::Linked(_) => bail!(CHANGED),
        }
    }

    /// Whether what comes next is stored in the same way here and there.
    fn is_as(&self, other: &Appender) -> bool {
        match (&self.of, &other.of) {
            (AppenderOf::Hdf5(one), AppenderOf::Hdf5(other)) => one.is_as(other),
            (AppenderOf::Zarr(one), AppenderOf::Zarr(other)) => one.is_as(other),
            _ => false,
        }
    }

    /// Whether the file is the same whatever else is written to it meanwhile.
    pub fn is_placed(&self) -> bool {
        match &self.of {
            AppenderOf::Hdf5(a) => a.is_placed(),
            AppenderOf::Zarr(_) => true,
            AppenderOf::Linked(_) => false,
        }
    }

    /// Appends `count` rows that `give` hands to what it is called with, in parts and from many threads, each with the
    /// number of its first row. False, and nothing was appended, where this array cannot be written so or `give` says
    /// so.
    pub fn append_parts(
        &mut self,
        count: u64,
        give: impl FnOnce(Take) -> Result<bool>,
    ) -> Result<bool> {
        append_parts(&mut [self], count, give)
    }

    /// Appends `count` rows as `fill` gives them: it is called from many threads with a range of their bytes and a
    /// buffer of that size.
    pub fn append_filled(&mut self, count: u64, fill: Fill) -> Result<()> {
        Appender::append_filled_to(vec![self], count, fill)
    }

    /// As [`Appender::append_filled`], to several arrays: what is encoded for one is written to all that are as far.
    pub fn append_filled_to(to: Vec<&mut Appender>, count: u64, fill: Fill) -> Result<()> {
        let row = to.first().map_or(0, |to| to.spec().row_bytes());
        let step = (raw::TASK as u64 / row.max(1)).max(1);
        let part = |buffer: &mut Vec<u8>, part: u64| {
            let rows = part * step..count.min((part + 1) * step);
            buffer.resize(((rows.end - rows.start) * row) as usize, 0);
            fill(rows.start * row..rows.end * row, buffer);
            rows.start
        };
        let tasks = count.div_ceil(step);
        let in_parts = |write: Take| {
            in_lanes(lanes_of(step * row), tasks, |buffer: &mut Vec<u8>, task| {
                let first = part(buffer, task);
                write(first, buffer)
            })
        };
        in_step(to.into_iter()).into_iter().try_for_each(|mut to| {
            // A few rows, for one of many files, are not worth it.
            let give = |write: Take| in_parts(write).map(|()| true);
            if tasks > 1 && append_parts(&mut to, count, give)? {
                return Ok(());
            }
            let mut buffer = vec![];
            (0..tasks).try_for_each(|task| {
                part(&mut buffer, task);
                to.iter_mut().try_for_each(|to| to.append(&buffer))
            })
        })
    }

    /// Appends rows of an array of the same type, past memory where both lie in one piece and nothing is to be seen. Of
    /// what stays where it is, nothing is read.
    pub fn append_from(
        &mut self,
        from: &Array,
        rows: Range<u64>,
        check: Option<Check>,
    ) -> Result<()> {
        check_within(&rows, from)?;
        if rows.is_empty() {
            return Ok(());
        }
        if let AppenderOf::Linked(to) = &mut self.of {
            return to.link(from.in_hdf5().context(CHANGED)?, rows);
        }
        let unseen = check.is_none() && self.noted.is_none();
        if unseen && self.append_stored(from, &rows)? {
            return Ok(());
        }
        self.append_mapped(from, rows, &|bytes| {
            check.map_or(Ok(()), |check| check(bytes))?;
            Ok(Cow::Borrowed(bytes))
        })
    }

    /// Appends what `map` makes of rows of an array, each a row of this one. It is called with parts of the rows, from
    /// many threads.
    pub fn append_mapped(&mut self, from: &Array, rows: Range<u64>, map: Map) -> Result<()> {
        Appender::append_mapped_to(vec![self], from, rows, map)
    }

    /// As [`Appender::append_mapped`], to several arrays: what is encoded for one is written to all that are as far.
    pub fn append_mapped_to(
        mut to: Vec<&mut Appender>,
        from: &Array,
        mut rows: Range<u64>,
        map: Map,
    ) -> Result<()> {
        /// Bytes after which the chunk that is open is complete.
        const CHUNK: u64 = 2 << 20;
        check_within(&rows, from)?;
        if in_step(to.iter_mut().map(|to| &mut **to)).len() > 1 {
            // Chunks that began with other rows are alike again after those that are open.
            let head = rows.start + CHUNK / from.spec().row_bytes().max(1);
            let head = rows.start..head.min(rows.end);
            rows.start = head.end;
            let bytes = from.read(std::slice::from_ref(&head))?;
            let mapped = map(&bytes)?;
            to.iter_mut().try_for_each(|to| to.append(&mapped))?;
        }
        in_step(to.into_iter())
            .into_iter()
            .try_for_each(|mut to| append_mapped(&mut to, from, &rows, map))
    }

    /// Appends rows that lie in their file as they are to be stored; false where they do not, or in many pieces, or are
    /// so few that they are read and written sooner, or the kernel cannot copy them.
    fn append_stored(&mut self, from: &Array, rows: &Range<u64>) -> Result<bool> {
        /// Bytes that a piece has in the mean, where each is copied by itself.
        const LEAST: u64 = 1 << 20;
        let (AppenderOf::Hdf5(to), Some((file, extents))) = (&mut self.of, from.extents()) else {
            return Ok(false);
        };
        let pieces: Vec<_> = extents.pieces(rows.clone()).collect();
        let bytes = (rows.end - rows.start).saturating_mul(from.spec().row_bytes());
        // Each piece is a call of the kernel: that is not worth it for little, nor for many small pieces.
        let few = bytes < raw::TASK as u64;
        if few || !to.takes(from.spec()) || pieces.len() as u64 > (bytes / LEAST).max(1) {
            return Ok(false);
        }
        let pieces = pieces.into_iter();
        let pieces = pieces.map(|(part, at)| (raw::FileSpan { file, at }, part.end - part.start));
        to.append_pieces(pieces)
    }

    /// Appends texts.
    pub fn append_strings(&mut self, strings: &Strings) -> Result<()> {
        if let Some(noted) = &mut self.noted {
            noted.sum.add_texts(strings);
        }
        work::appended(strings.iter().map(<[u8]>::len).sum());
        match &mut self.of {
            AppenderOf::Hdf5(a) => a.append_strings(strings),
            AppenderOf::Zarr(a) => a.append_strings(strings),
            AppenderOf::Linked(_) => bail!(CHANGED),
        }
    }

    /// From now on writes those rows alone that come into the files of this process, as `portion` says. Returns them, or as
    /// many as come into none.
    ///
    /// # Errors
    /// An array that is one file with others, as in HDF5.
    pub fn own(&mut self, portion: Portion) -> Result<Range<u64>> {
        let AppenderOf::Zarr(array) = &mut self.of else {
            bail!("Only arrays of Zarr are written in parts");
        };
        Ok(match portion {
            Portion::Part(part, of) => array.own_part(part, of),
            Portion::Nothing => {
                array.own_nothing(false);
                0..0
            }
            Portion::Metadata => {
                array.own_nothing(true);
                0..0
            }
        })
    }

    /// Passes over rows that other processes write.
    pub fn skip(&mut self, rows: u64) -> Result<()> {
        match &mut self.of {
            AppenderOf::Zarr(array) => array.skip(rows),
            AppenderOf::Hdf5(_) | AppenderOf::Linked(_) => {
                bail!("Only arrays of Zarr are written in parts")
            }
        }
    }

    /// Makes the array valid and returns its rows; an error when they are not as many as were announced.
    pub fn finish(self) -> Result<u64> {
        let rows = match self.of {
            AppenderOf::Hdf5(a) => a.finish()?,
            AppenderOf::Zarr(a) => a.finish()?,
            AppenderOf::Linked(a) => a.finish()?,
        };
        if let Some(noted) = self.noted {
            let Noted {
                ledger,
                path,
                mut spec,
                sum,
            } = *noted;
            if let Some(first) = spec.shape.first_mut() {
                *first = rows;
            }
            ledger.array(path, spec, Some(sum));
        }
        Ok(rows)
    }
}

/// Those that take rows to the same places, of the same array.
fn in_step<'a>(to: impl Iterator<Item = &'a mut Appender>) -> Vec<Vec<&'a mut Appender>> {
    let mut groups: Vec<Vec<&mut Appender>> = vec![];
    for appender in to {
        match groups.iter_mut().find(|group| group[0].is_as(appender)) {
            Some(group) => group.push(appender),
            None => groups.push(vec![appender]),
        }
    }
    groups
}

/// As [`Appender::append_parts`], to arrays that are [in step](in_step).
fn append_parts(
    to: &mut [&mut Appender],
    count: u64,
    give: impl FnOnce(Take) -> Result<bool>,
) -> Result<bool> {
    let (parts, arrays) = (PartialSums::default(), to.len());
    let noted = to.iter().any(|to| to.noted.is_some());
    let Some((first, others)) = to.split_first_mut() else {
        return Ok(true);
    };
    let row = first.spec().row_bytes();
    let give = |write: Take| {
        give(&|first, bytes| {
            if noted && !bytes.is_empty() {
                parts.add(first * row, bytes);
            }
            work::appended(arrays * bytes.len());
            write(first, bytes)
        })
    };
    let done = match &mut first.of {
        AppenderOf::Hdf5(first) => {
            let others = others.iter_mut().filter_map(|other| match &mut other.of {
                AppenderOf::Hdf5(other) => Some(&mut **other),
                _ => None,
            });
            first.append_parts(&mut others.collect::<Vec<_>>(), count, give)
        }
        AppenderOf::Zarr(first) => {
            let others = others.iter_mut().filter_map(|other| match &mut other.of {
                AppenderOf::Zarr(other) => Some(&mut **other),
                _ => None,
            });
            first.append_parts(&mut others.collect::<Vec<_>>(), count, give)
        }
        AppenderOf::Linked(_) => Ok(false),
    }?;
    if done && noted {
        let sum = parts.whole();
        let noted = to.iter_mut().filter_map(|to| to.noted.as_mut());
        noted.for_each(|noted| noted.sum.add(&sum));
    }
    Ok(done)
}

/// As [`Appender::append_mapped`], to arrays that are [in step](in_step).
fn append_mapped(
    to: &mut [&mut Appender],
    from: &Array,
    rows: &Range<u64>,
    map: Map,
) -> Result<()> {
    /// Bytes of one of the two blocks that are held at a time.
    const BLOCK: u64 = 8 << 20;
    let in_parts = append_parts(to, rows.end - rows.start, |write| {
        from.each(rows.clone(), &|first, bytes| write(first, &map(bytes)?))
    })?;
    if in_parts {
        return Ok(());
    }
    let step = (BLOCK / from.spec().row_bytes().max(1)).max(1);
    let blocks = rows.clone().step_by(usize::try_from(step)?);
    let blocks = blocks.map(|start| start..rows.end.min(start.saturating_add(step)));
    let read = |block, over: Option<Buffer>| {
        from.read_over(std::slice::from_ref(&block), over.unwrap_or_default())
    };
    read_ahead(blocks, read, |bytes| {
        let mapped = map(&bytes)?;
        to.iter_mut().try_for_each(|to| to.append(&mapped))?;
        drop(mapped);
        Ok(bytes)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rayon::prelude::*;

    use super::*;
    use crate::codec::compression::Compression;
    use crate::store::spec::{Attrs, Dtype};
    use crate::store::{Access, Container, Node, Rows, create, open};

    /// What it makes of rows from one of ways to append.
    fn append(to: &mut Appender, from: &Array, bytes: &[u8], rows: Range<u64>, way: u8) {
        let row = to.spec().row_bytes();
        let of = |rows: Range<u64>| &bytes[(rows.start * row) as usize..(rows.end * row) as usize];
        let count = rows.end - rows.start;
        match way {
            0 => to.append(of(rows)),
            1 => to.append_from(from, rows, None),
            2 => to.append_mapped(from, rows, &|bytes| Ok(Cow::Owned(bytes.to_vec()))),
            3 => {
                let start = rows.start * row;
                let fill = |part: Range<u64>, out: &mut [u8]| {
                    out.copy_from_slice(
                        &bytes[(start + part.start) as usize..(start + part.end) as usize],
                    );
                };
                to.append_filled(count, &fill)
            }
            _ => to
                .append_parts(count, |write| {
                    let at = (0..count as usize).into_par_iter().rev().map(|i| i as u64);
                    at.try_for_each(|i| write(i, of(rows.start + i..rows.start + i + 1)))?;
                    Ok(true)
                })
                .map(|done| assert!(done)),
        }
        .unwrap();
    }

    const PACKED: Container = Container::H5AD.compressed(Compression::Gzip(1));

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// In whatever order their parts come.
        #[test]
        fn rows_appended_in_any_way_are_those_rows(
            ways in prop::collection::vec((0u8..5, 0u64..4000), 1..6),
            width in 1u64..4,
            growing: bool,
            to in prop::sample::select(vec![Container::H5AD, PACKED, Container::ZARR.compressed(Compression::Gzip(1))]),
            source_packed: bool,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let count: u64 = ways.iter().map(|(_, rows)| rows).sum();
            let spec = ArraySpec::new(vec![count, width], Dtype::INT64);
            let bytes: Vec<u8> = (0..count * width).flat_map(|i| (i * i).to_le_bytes()).collect();
            let source = dir.path().join("s.h5ad");
            let root = create(&source, if source_packed { PACKED } else { Container::H5AD }).unwrap();
            let mut from = root.create_array("a", &spec, Rows::Known, &Attrs::default()).unwrap();
            from.append(&bytes).unwrap();
            from.finish().unwrap();
            root.finish().unwrap();
            let root = open(&source, &Access::default()).unwrap();
            let Some(Node::Array(from)) = root.get("a").unwrap() else { panic!() };

            let path = dir.path().join("t");
            let root = create(&path, to).unwrap().with_chunks_of(10_000);
            let rows = if growing { Rows::Growing } else { Rows::Known };
            let mut to = root.create_array("a", &spec, rows, &Attrs::default()).unwrap();
            let mut start = 0;
            for (way, rows) in ways {
                append(&mut to, &from, &bytes, start..start + rows, way);
                start += rows;
            }
            prop_assert_eq!(to.finish().unwrap(), count);
            root.finish().unwrap();
            let root = open(&path, &Access::default()).unwrap();
            let Some(Node::Array(back)) = root.get("a").unwrap() else { panic!() };
            prop_assert!(back.read(std::slice::from_ref(&(0..count))).unwrap() == bytes);
        }
    }

    #[test]
    fn more_or_fewer_rows_than_announced_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        for (at, container) in [Container::H5AD, PACKED, Container::ZARR]
            .into_iter()
            .enumerate()
        {
            let root = create(&dir.path().join(at.to_string()), container).unwrap();
            let spec = ArraySpec::new(vec![5], Dtype::INT64);
            let mut to = root
                .create_array("a", &spec, Rows::Known, &Attrs::default())
                .unwrap();
            let give = |rows: u64| {
                move |write: Take| (0..rows).try_for_each(|i| write(i, &[0; 8])).map(|()| true)
            };
            assert!(to.append_parts(6, give(6)).is_err());
            assert!(to.append_parts(2, give(1)).is_err());
        }
    }
}
