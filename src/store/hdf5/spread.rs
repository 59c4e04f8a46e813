//! Reading virtual datasets, from one of their sources after the other.
//!
//! The library itself is not asked: it puts the fill value in the place of all values of a source that it cannot open,
//! also where it may not open more files, and says nothing (2.2.0, `H5D__virtual_open_source_dset`); and it keeps every
//! source open, each of which takes half a megabyte.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use hdf5_sys::h5d::H5D_layout_t;
use hdf5_sys::h5s::H5S_UNLIMITED;

use super::external::{DEPTH, Source};
use super::ffi::{self, Hyperslab, Id, Mapping, ReadPart, Sources};
use super::files;
use crate::store::access::Bounds;

/// Sources that stay open: those that are read in turn have chunks in common.
const OPEN: usize = 4;

/// About what these take: for each a chunk cache, and what the library knows of its file.
pub const HELD: u64 = (OPEN as u64) << 21;
/// What the library takes and gives back while it reads, of which the heap keeps some.
pub const READING: u64 = 64 << 20;

/// Reads virtual datasets, the sources of which must lie within `bounds`.
pub fn sources(bounds: Bounds) -> Box<Sources> {
    let spread = Spread {
        bounds,
        open: Mutex::default(),
    };
    Box::new(move |dataset, places, read| spread.read(dataset, places, 0, read))
}

/// The sources of a virtual dataset, as far as they are open.
struct Spread {
    bounds: Bounds,
    /// By the file that names them, those that were used last at the end.
    open: Mutex<Vec<((PathBuf, Source), Id)>>,
}

/// A part of a virtual dataset: the places of its values there, and in its source.
struct Piece {
    source: Source,
    onto: Id,
    of: Id,
}

impl Spread {
    /// Calls `read` for whatever holds some of the values of a dataset that are at the places `file` and belong to the
    /// places `memory`. `depth`: of how many datasets it is a source.
    fn read(
        &self,
        dataset: &Id,
        (memory, file): (&Id, &Id),
        depth: usize,
        read: ReadPart,
    ) -> Result<()> {
        let list = ffi::creation_list(dataset)?;
        if ffi::layout(&list) != H5D_layout_t::H5D_VIRTUAL {
            return read(dataset, memory, file);
        }
        ensure!(
            depth < DEPTH,
            "Virtual datasets lie deeper than {DEPTH} in one another"
        );
        let (from, space) = (files::name(dataset)?, ffi::space_of(dataset)?);
        let rest = ffi::copy_space(file)?;
        for mapping in ffi::mappings(&list)? {
            for piece in self.pieces(mapping, &from, &space)? {
                let Some(memory) = ffi::project(file, memory, &piece.onto)? else {
                    continue;
                };
                let mut read_piece = || {
                    let source = self.open(&from, &piece.source)?;
                    let of = ffi::select(&ffi::space_of(&source)?, &piece.of)?;
                    let of = ffi::project(&piece.onto, &of, file)?;
                    let of = of.context("A mapping of other places than there are")?;
                    self.read(&source, (&memory, &of), depth + 1, read)
                };
                read_piece().with_context(|| format!("Read its source {}", piece.source))?;
                ffi::subtract(&rest, &piece.onto)?;
            }
        }
        // What no source has is the fill value, for which the library opens none.
        match ffi::project(file, memory, &rest)? {
            Some(memory) => read(dataset, &memory, &rest),
            None => Ok(()),
        }
    }

    /// The parts of one mapping, of which a series has many, of a virtual dataset in the file `from`. `space`: its own.
    fn pieces(&self, mapping: Mapping, from: &Path, space: &Id) -> Result<Vec<Piece>> {
        let Mapping { onto, of, .. } = mapping;
        let source = Source::new(mapping.file, mapping.path);
        let endless = ffi::hyperslab(&onto)?.and_then(|slab| Some((slab.endless_axis()?, slab)));
        let Some((axis, slab)) = endless else {
            let onto = ffi::select(space, &onto)?;
            return Ok(vec![Piece { source, onto, of }]);
        };
        if !source.is_series() {
            let dataset = self.open(from, &source);
            let dataset = dataset.with_context(|| format!("Read its source {source}"))?;
            let of = ffi::hyperslab(&of)?.context("A source without end that is no hyperslab")?;
            let found = to_the_end((space, &slab), (&ffi::space_of(&dataset)?, &of))?;
            let piece = |(onto, of)| Piece { source, onto, of };
            return Ok(found.map(piece).into_iter().collect());
        }
        let extent = ffi::extent(space)?;
        let (shape, _) = extent.context("A virtual dataset without a shape")?;
        let end = *shape.get(axis).context("A mapping of another rank")?;
        let (first, step) = (slab.start[axis], slab.stride[axis].max(1));
        let starts = (first..end).step_by(usize::try_from(step)?);
        let piece = |(number, start)| {
            let mut slab = slab.clone();
            (slab.start[axis], slab.count[axis]) = (start, 1);
            Ok(Piece {
                source: source.block(number),
                onto: ffi::select_hyperslab(space, &slab)?,
                of: ffi::copy_space(&of)?,
            })
        };
        (0..).zip(starts).map(piece).collect()
    }

    fn open(&self, from: &Path, source: &Source) -> Result<Id> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |((file, it), _): &((PathBuf, Source), Id)| file == from && it == source;
        let known = open.iter().position(is_it);
        let (key, id) = match known {
            Some(at) => open.remove(at),
            None => {
                if open.len() >= OPEN {
                    open.remove(0);
                }
                let key = (from.to_path_buf(), source.clone());
                (key, source.open(from, &self.bounds)?)
            }
        };
        open.push((key, id.clone()));
        Ok(id)
    }
}

/// The places of a mapping without end that there are both in the virtual dataset and in the source.
fn to_the_end(
    (space, onto): (&Id, &Hyperslab),
    (source, of): (&Id, &Hyperslab),
) -> Result<Option<(Id, Id)>> {
    let left = |space: &Id, slab: &Hyperslab| -> Result<(usize, u64)> {
        let axis = slab.endless_axis();
        let axis = axis.context("A mapping of which one side alone is without end")?;
        let (start, stride) = (slab.start[axis], slab.stride[axis]);
        let (count, block) = (slab.count[axis], slab.block[axis]);
        let is_dense = match count {
            H5S_UNLIMITED => stride == block,
            count => count == 1 && block == H5S_UNLIMITED,
        };
        if !is_dense {
            bail!(
                "A mapping without end that leaves gaps, which is not supported; use h5repack to make a copy without"
            );
        }
        let extent = ffi::extent(space)?;
        let (shape, _) = extent.context("A dataset without a shape")?;
        let end = *shape.get(axis).context("A mapping of another rank")?;
        Ok((axis, end.saturating_sub(start)))
    };
    let ((axis, left_onto), (axis_of, left_of)) = (left(space, onto)?, left(source, of)?);
    let len = left_onto.min(left_of);
    if len == 0 {
        return Ok(None);
    }
    let cut = |space: &Id, slab: &Hyperslab, axis: usize| {
        let mut slab = slab.clone();
        (slab.count[axis], slab.stride[axis], slab.block[axis]) = (1, len, len);
        ffi::select_hyperslab(space, &slab)
    };
    Ok(Some((cut(space, onto, axis)?, cut(source, of, axis_of)?)))
}
