//! Reading virtual datasets, from one of their sources after the other.
//!
//! The library itself is not asked: it puts the fill value in the place of all values of a source that it cannot open,
//! also where it may not open more files, and says nothing (2.2.0, `H5D__virtual_open_source_dset`); and it keeps every
//! source open, each of which takes half a megabyte.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use hdf5_sys::h5d::H5D_layout_t;
use hdf5_sys::h5s::H5S_UNLIMITED;

use super::ffi::{self, Hyperslab, Id, Mapping, ReadPart, Sources};
use super::files;
use super::guard::external::VirtualSource;
use super::open::open_source;
use crate::limits;
use crate::store::access::Bounds;

/// Sources of one file that stay open: those that are read in turn have chunks in common.
const OPEN: usize = 4;
/// About what the library takes while it reads from them: for each a chunk cache, and what it knows of its file; and what
/// it gives back, of which the heap keeps some.
pub const READING: u64 = ((OPEN as u64) << 21) + (64 << 20);

/// The sources of the virtual datasets of a file, as far as they are open.
pub struct Spread {
    bounds: Bounds,
    /// Those that were used last at the end.
    open: Mutex<Vec<(Key, Arc<SourceDataset>)>>,
}

/// The file that names a source, and its names there.
type Key = (PathBuf, VirtualSource);

/// A dataset, and from where its values are if it is virtual, as soon as that is known.
struct SourceDataset {
    id: Id,
    parts: OnceLock<Option<Mappings>>,
}

/// From where the values of a virtual dataset are.
struct Mappings {
    /// Its own file, which names the sources.
    from: PathBuf,
    pieces: Vec<SourcePart>,
}

/// A part of a virtual dataset: the places of its values there, and in its source.
struct SourcePart {
    source: VirtualSource,
    onto: Id,
    of: Id,
    /// The first and the last place there.
    bounds: (Vec<u64>, Vec<u64>),
}

/// Reads a virtual dataset.
pub fn sources(spread: &Arc<Spread>) -> Box<Sources> {
    let (spread, known) = (spread.clone(), OnceLock::new());
    Box::new(move |dataset, places, read| {
        let dataset = known.get_or_init(|| SourceDataset::new(dataset.clone()));
        spread.read(dataset, places, 0, read)
    })
}

impl Spread {
    /// `bounds`: where the sources must lie.
    pub fn new(bounds: Bounds) -> Spread {
        Spread {
            bounds,
            open: Mutex::default(),
        }
    }

    /// Closes the sources that stay open. Call it before a source may be opened by other ways: the library (2.2.0) keeps
    /// in a dataset that is open twice the address of the file that it was opened in last, and follows it when that one
    /// is closed (`H5D_get_create_plist`, fill values that are text).
    pub fn close_sources(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = std::mem::take(&mut *open);
        // Closing takes the lock of the library, whose holder may wait for this list in `read`.
        drop(open);
        drop(closed);
    }

    /// Calls `read` for whatever holds some of the values of a dataset that are at the places `file` and belong to the
    /// places `memory`. `depth`: of how many datasets it is a source.
    fn read(
        &self,
        dataset: &SourceDataset,
        (memory, file): (&Id, &Id),
        depth: usize,
        read: ReadPart,
    ) -> Result<()> {
        let Some(Mappings { from, pieces }) = self.parts(dataset)? else {
            return read(&dataset.id, memory, file);
        };
        ensure!(
            depth < limits::VIRTUAL,
            "Virtual datasets lie deeper than {} in one another",
            limits::VIRTUAL
        );
        // `rest`: the places of this dataset for which no source was found yet.
        let (rest, wanted) = (ffi::copy_space(file)?, ffi::bounds(file)?);
        // Where sources overlap, the last one counts.
        for piece in pieces.iter().rev().filter(|piece| piece.meets(&wanted)) {
            let Some(part) = ffi::both(&rest, &piece.onto)? else {
                continue;
            };
            let mut read_piece = || {
                let source = self.open(from, &piece.source)?;
                let of = ffi::select(&ffi::space_of(&source.id)?, &piece.of)?;
                let of = ffi::project(&piece.onto, &of, &part)?;
                let of = of.context("A mapping of other places than there are")?;
                let memory = ffi::project(file, memory, &part)?;
                let memory = memory.context("Places that are not in memory")?;
                self.read(&source, (&memory, &of), depth + 1, read)
            };
            read_piece().with_context(|| format!("Read its source {}", piece.source))?;
            ffi::subtract(&rest, &part)?;
            if ffi::selected(&rest)? == 0 {
                return Ok(());
            }
        }
        // What no source has is the fill value, for which the library opens none.
        let memory = ffi::project(file, memory, &rest)?;
        memory.map_or(Ok(()), |memory| read(&dataset.id, &memory, &rest))
    }

    fn open(&self, from: &Path, source: &VirtualSource) -> Result<Arc<SourceDataset>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |((file, it), _): &(Key, _)| file == from && it == source;
        let (key, opened) = match open.iter().position(is_it) {
            Some(at) => open.remove(at),
            None => {
                if open.len() >= OPEN {
                    open.remove(0);
                }
                let key = (from.to_path_buf(), source.clone());
                let id = open_source(source, from, &self.bounds)?;
                (key, Arc::new(SourceDataset::new(id)))
            }
        };
        open.push((key, opened.clone()));
        Ok(opened)
    }

    /// `None` where it is no virtual dataset.
    fn parts<'a>(&self, dataset: &'a SourceDataset) -> Result<Option<&'a Mappings>> {
        if let Some(known) = dataset.parts.get() {
            return Ok(known.as_ref());
        }
        let list = ffi::creation_list(&dataset.id)?;
        let mut found = None;
        if ffi::layout(&list) == H5D_layout_t::H5D_VIRTUAL {
            let (from, space) = (files::name(&dataset.id)?, ffi::space_of(&dataset.id)?);
            let mut pieces = vec![];
            for mapping in ffi::mappings(&list)? {
                self.add_pieces(mapping, &from, &space, &mut pieces)?;
            }
            found = Some(Mappings { from, pieces });
        }
        Ok(dataset.parts.get_or_init(|| found).as_ref())
    }

    /// Adds the parts of one mapping, of which a series has many, of a virtual dataset in the file `from`. `space`: its
    /// own.
    fn add_pieces(
        &self,
        mapping: Mapping,
        from: &Path,
        space: &Id,
        pieces: &mut Vec<SourcePart>,
    ) -> Result<()> {
        let Mapping { onto, of, .. } = mapping;
        let source = VirtualSource::new(mapping.file, mapping.path);
        let mut add = |source, onto: Id, of| -> Result<()> {
            if ffi::selected(&onto)? > 0 {
                let bounds = ffi::bounds(&onto)?;
                pieces.push(SourcePart {
                    source,
                    onto,
                    of,
                    bounds,
                });
            }
            Ok(())
        };
        // A mapping without end goes on along one axis as the datasets grow: of one source, or of a series, a block for
        // each.
        let endless = ffi::hyperslab(&onto)?.and_then(|slab| Some((slab.endless_axis()?, slab)));
        let is_series = source.is_series(&self.bounds)?;
        // Names have their signs for percent doubled.
        let first = source.block(0);
        let Some((axis, slab)) = endless else {
            return add(first, ffi::select(space, &onto)?, of);
        };
        if !is_series {
            let dataset = self.open(from, &first);
            let dataset = dataset.with_context(|| format!("Read its source {source}"))?;
            let of = ffi::hyperslab(&of)?.context("A source without end that is no hyperslab")?;
            let found = to_the_end((space, &slab), (&ffi::space_of(&dataset.id)?, &of))?;
            return found.map_or(Ok(()), |(onto, of)| add(first, onto, of));
        }
        let extent = ffi::extent(space)?;
        let (shape, _) = extent.context("A virtual dataset without a shape")?;
        let end = *shape.get(axis).context("A mapping of another rank")?;
        let (start, step) = (slab.start[axis], slab.stride[axis].max(1));
        for (number, start) in (0..).zip((start..end).step_by(usize::try_from(step)?)) {
            let mut slab = slab.clone();
            (slab.start[axis], slab.count[axis]) = (start, 1);
            let onto = ffi::select_hyperslab(space, &slab)?;
            add(source.block(number), onto, ffi::copy_space(&of)?)?;
        }
        Ok(())
    }
}

impl SourceDataset {
    fn new(id: Id) -> SourceDataset {
        SourceDataset {
            id,
            parts: OnceLock::new(),
        }
    }
}

impl SourcePart {
    /// Whether there may be places in it between a first and a last one.
    fn meets(&self, (first, last): &(Vec<u64>, Vec<u64>)) -> bool {
        let (own_first, own_last) = &self.bounds;
        let before = own_last.iter().zip(first).any(|(own, wanted)| own < wanted);
        let after = own_first.iter().zip(last).any(|(own, wanted)| own > wanted);
        !before && !after
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
