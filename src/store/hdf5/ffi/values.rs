//! Values of datasets and attributes, read and written.

use std::ffi::{CStr, c_char, c_void};
use std::ops::Range;
use std::ptr::{null, null_mut};

use anyhow::{Context, Result, ensure};
use hdf5_sys::{h5a::*, h5d::*, h5p::H5P_DEFAULT, h5s::*, h5t::H5Treclaim};

use super::call::{Id, done, number, sync};
use super::datasets::space_of;
use super::spaces::{create_space, extent};
use super::types::{pointers, type_size};
use crate::store::spec::{Strings, item_count};

/// Places in a file from which values are read, or to which they are written.
#[derive(Clone, Copy)]
pub enum Selected<'a> {
    /// All of an attribute.
    Attr(&'a Id),
    /// Rows of a dataset, sorted and without a row twice. All of one that has no axes.
    Rows(Dataset<'a>, &'a [Range<u64>]),
}

/// A dataset, and where its values are if it is a virtual one.
#[derive(Clone, Copy)]
pub struct Dataset<'a> {
    pub id: &'a Id,
    pub sources: Option<&'a Sources>,
}

impl<'a> From<&'a Id> for Dataset<'a> {
    fn from(id: &'a Id) -> Dataset<'a> {
        Dataset { id, sources: None }
    }
}

/// Reads what a dataset has at one selection to another one, in memory: the last, and the second.
pub type ReadPart<'a> = &'a mut dyn FnMut(&Id, &Id, &Id) -> Result<()>;

/// Where the values of virtual datasets are: has all values of one read that belong to a selection in memory, the first,
/// from one in its own space.
/// Calls the last argument once for each dataset that has some of them: with that dataset, their places in memory, and
/// their places in it.
pub type Sources = dyn Fn(&Id, (&Id, &Id), ReadPart) -> Result<()> + Send + Sync;

/// Where values are.
struct Places {
    file: Id,
    /// One after another.
    memory: Id,
    count: usize,
}

impl Selected<'_> {
    fn places(self) -> Result<Places> {
        let (Selected::Attr(values) | Selected::Rows(Dataset { id: values, .. }, ..)) = self;
        let file = space_of(values)?;
        let (mut block, mut from) = extent(&file)?.unwrap_or((vec![0], vec![0]));
        from.fill(0);
        if let (Selected::Rows(_, ranges), false) = (self, block.is_empty()) {
            let mut rows = 0;
            let mut add = |range: &Range<u64>, how| {
                (block[0], from[0]) = (range.end - range.start, range.start);
                rows += block[0];
                let (to, from, block) = (file.0, from.as_ptr(), block.as_ptr());
                // SAFETY: both arrays have a number for each axis of the space.
                done(|| unsafe { H5Sselect_hyperslab(to, how, from, null(), block, null()) })
            };
            let (first, others) = ranges.split_first().unwrap_or((&(0..0), &[]));
            add(first, H5S_seloper_t::H5S_SELECT_SET)?;
            let mut others = others.iter();
            others.try_for_each(|range| add(range, H5S_seloper_t::H5S_SELECT_OR))?;
            block[0] = rows;
        }
        let count = item_count(&block)?;
        let memory = create_space(Some(&[count as u64]), false)?;
        Ok(Places {
            file,
            memory,
            count,
        })
    }

    /// # Safety
    /// `to` has room for as many values of the type as there are places, which are those of these values now.
    unsafe fn load(self, at: &Places, of: &Id, to: *mut c_void) -> Result<()> {
        let mut read = |dataset: &Id, memory: &Id, file: &Id| {
            // SAFETY: is handed no memory.
            let same = number(|| unsafe { H5Sextent_equal(memory.0, at.memory.0) })?;
            ensure!(same > 0, "A read to other places than there are");
            let (memory, file, how) = (memory.0, file.0, H5P_DEFAULT);
            // SAFETY: as the caller says; and the library looks whether what is selected is within the space.
            done(|| unsafe { H5Dread(dataset.0, of.0, memory, file, how, to) })
        };
        match self {
            // SAFETY: as the caller says.
            Selected::Attr(attr) => done(|| unsafe { H5Aread(attr.0, of.0, to) }),
            Selected::Rows(Dataset { id, sources }, ..) => match sources {
                None => read(id, &at.memory, &at.file),
                Some(sources) => sources(id, (&at.memory, &at.file), &mut read),
            },
        }
    }

    /// # Safety
    /// As of `load`; and pointers in the values lead to what is alive.
    unsafe fn store(self, at: &Places, of: &Id, from: *const c_void) -> Result<()> {
        let (memory, file, how) = (at.memory.0, at.file.0, H5P_DEFAULT);
        // SAFETY: as the caller says.
        done(|| unsafe {
            match self {
                Selected::Attr(attr) => H5Awrite(attr.0, of.0, from),
                Selected::Rows(to, ..) => H5Dwrite(to.id.0, of.0, memory, file, how, from),
            }
        })
    }

    /// Reads them as values of the type `of`, which fill `to` and have no pointers in them.
    pub fn read(self, of: &Id, to: &mut [u8]) -> Result<()> {
        sync(|| {
            let places = self.places()?;
            ensure!(pointers(of)?.is_empty(), "Text of any length as bytes");
            ensure!(
                places.count.checked_mul(type_size(of)?) == Some(to.len()),
                "A read of {} values into {} bytes",
                places.count,
                to.len()
            );
            // SAFETY: the buffer holds exactly as many values of the type.
            unsafe { self.load(&places, of, to.as_mut_ptr().cast()) }
        })
    }

    /// Reads them as text of any length, which `of` is, or a compound of one member that is.
    pub fn read_texts(self, of: &Id) -> Result<Strings> {
        sync(|| {
            let places = self.places()?;
            let is_text = pointers(of)? == [0] && type_size(of)? == size_of::<*mut c_char>();
            ensure!(is_text, "A type that is not text of any length");
            let mut texts = vec![null_mut::<c_char>(); places.count];
            let buffer = texts.as_mut_ptr().cast();
            // SAFETY: the buffer holds as many pointers to text.
            unsafe { self.load(&places, of, buffer) }?;
            let text = |text: &*mut c_char| {
                if text.is_null() {
                    return &b""[..];
                }
                // SAFETY: the library has ended each text with NUL, and keeps it until it gets it back.
                unsafe { CStr::from_ptr(*text) }.to_bytes()
            };
            let strings = texts.iter().map(text).collect();
            // SAFETY: the texts are the library's, and not used again.
            done(|| unsafe { H5Treclaim(of.0, places.memory.0, H5P_DEFAULT, buffer) })?;
            Ok(strings)
        })
    }

    /// Writes them from `values` of the type `of`. Their texts of any length are those of `texts`, in order.
    pub fn write(self, of: &Id, mut values: Vec<u8>, texts: &[&CStr]) -> Result<()> {
        sync(|| {
            let places = self.places()?;
            let (size, pointers) = (type_size(of)?, pointers(of)?);
            let Places { count, .. } = places;
            let bytes = count.checked_mul(size);
            ensure!(bytes == Some(values.len()), "Values of another size");
            ensure!(
                count.checked_mul(pointers.len()) == Some(texts.len()),
                "{} texts for {count} places",
                texts.len()
            );
            let mut texts = texts.iter();
            for value in values.chunks_exact_mut(size) {
                for (&at, text) in pointers.iter().zip(&mut texts) {
                    let pointer = (text.as_ptr() as usize).to_ne_bytes();
                    value[at..][..pointer.len()].copy_from_slice(&pointer);
                }
            }
            // SAFETY: the buffer holds exactly as many values of the type; its pointers are those set above, to C
            // strings that are borrowed until the end.
            unsafe { self.store(&places, of, values.as_ptr().cast()) }
        })
    }

    /// Writes them, as values of the type `of`, to as many others.
    pub fn copy(self, of: &Id, to: Selected) -> Result<()> {
        sync(|| {
            let (places, others) = (self.places()?, to.places()?);
            let memory = places.memory.0;
            ensure!(places.count == others.count, "Another number of values");
            let bytes = places.count.checked_mul(type_size(of)?);
            let mut values = vec![0u8; bytes.context("Values too large to address")?];
            let buffer: *mut c_void = values.as_mut_ptr().cast();
            // SAFETY: the buffer holds exactly as many values of the type.
            unsafe { self.load(&places, of, buffer) }?;
            // SAFETY: the library has filled it with as many, whose texts are its own.
            let written = unsafe { to.store(&others, of, buffer) };
            // SAFETY: the library gets back what it took for them, which is not used again.
            let reclaimed = done(|| unsafe { H5Treclaim(of.0, memory, H5P_DEFAULT, buffer) });
            written.and(reclaimed)
        })
    }
}
