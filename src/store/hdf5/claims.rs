//! What values of any length claim: the library takes as much memory for a text or a sequence as its reference says,
//! whether the file holds it or not. Who lets it read or copy such values asks here first.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use hdf5_sys::h5t::H5T_class_t;

use super::ffi::{self, Id, Values};
use super::heap::{self, Heap};
use super::values::element_count;
use super::{attrs, datasets, types};
use crate::store::spec::Dtype;

/// The parts of a type that are references in the file, as a type of bytes that hold them.
struct References {
    of: Id,
    places: Vec<Place>,
}

/// A reference in a value.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    /// Bytes of one item of what it leads to.
    item: u64,
}

/// An error of type [`heap::Claimed`] where the attributes of an object claim more than its file holds.
pub fn check_attrs(object: &Id, heap: &Heap) -> Result<()> {
    for name in attrs::names(object)? {
        let check = || {
            let (attr, of, shape) = attrs::open(object, &name)?;
            let count = element_count(&shape.unwrap_or(vec![0]))?;
            match References::of(&of)? {
                Some(found) if count > 0 => found.check(Values::Attr(&attr), count, heap),
                _ => Ok(()),
            }
        };
        check().with_context(|| format!("Attribute '{name}'"))?;
    }
    Ok(())
}

/// The same of the values of a dataset, whose shape may be a claim too. Those of a virtual one lie in other files.
pub fn check_dataset(dataset: &Id, heap: &Heap) -> Result<()> {
    /// Bytes of references that are read at a time.
    const BLOCK: usize = 16 << 20;
    /// What references may take besides the most that deflate makes of what is stored (zlib's technical details).
    const LEAST: u64 = 2 << 30;
    const RATIO: u64 = 1032;
    let extent = ffi::extent(&ffi::space_of(dataset)?)?;
    let (Some((shape, _)), Some(found)) = (extent, References::of(&ffi::type_of(dataset)?)?) else {
        return Ok(());
    };
    let (layout, filters) = datasets::storage(dataset)?;
    if layout == datasets::Layout::Virtual {
        return Ok(());
    }
    datasets::check_filters(dataset, &layout, &filters)?;
    let (rows, items) = match shape.split_first() {
        Some((rows, items)) => (*rows, element_count(items)?),
        None => (1, 1),
    };
    let row = items.saturating_mul(found.size()?);
    let most = ffi::stored_bytes(dataset).saturating_mul(RATIO);
    ensure!(
        rows.saturating_mul(row as u64) <= most.saturating_add(LEAST),
        "Its shape {shape:?} is larger than what is in the file"
    );
    let step = (BLOCK / row.max(1)).max(1) as u64;
    let mut start = 0;
    while start < rows && items > 0 {
        let count = step.min(rows - start);
        let values = Values::Rows(dataset, start, count);
        found.check(values, items * usize::try_from(count)?, heap)?;
        start += count;
    }
    Ok(())
}

/// What stands in the file for `count` texts, where addresses take 8 bytes.
pub fn read_references(texts: Values, count: usize) -> Result<Vec<u8>> {
    References::one(1)?.read(texts, count)
}

/// From now on the library reads texts and sequences of any length, which are one class to it, as the references that
/// are in the file, where opaque values of that size are asked for. Once: another time would free conversions that are
/// in use.
fn read_as_references() -> Result<()> {
    static DONE: Mutex<bool> = Mutex::new(false);
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !*done {
        let text = types::of_dtype(&Dtype::String)?;
        let opaque = ffi::create_type(H5T_class_t::H5T_OPAQUE, heap::REFERENCE)?;
        ffi::read_as_opaque(c"to reference", &text, &opaque)?;
        *done = true;
    }
    Ok(())
}

impl References {
    /// `None` where values of a type have a fixed size. Of sequences in sequences the outer ones alone are known.
    fn of(of: &Id) -> Result<Option<References>> {
        Ok(match ffi::class(of) {
            H5T_class_t::H5T_STRING if ffi::is_variable_text(of) => Some(References::one(1)?),
            H5T_class_t::H5T_VLEN => {
                let item = ffi::type_size(&ffi::base_type(of)?)?;
                Some(References::one(item as u64)?)
            }
            H5T_class_t::H5T_COMPOUND => References::in_compound(of)?,
            H5T_class_t::H5T_ARRAY => match References::of(&ffi::base_type(of)?)? {
                Some(item) => Some(item.repeated(&ffi::array_shape(of)?)?),
                None => None,
            },
            _ => None,
        })
    }

    /// A value that is one reference to items of so many bytes.
    fn one(item: u64) -> Result<References> {
        read_as_references()?;
        Ok(References {
            of: ffi::create_type(H5T_class_t::H5T_OPAQUE, heap::REFERENCE)?,
            places: vec![Place { at: 0, item }],
        })
    }

    fn in_compound(of: &Id) -> Result<Option<References>> {
        let (mut members, mut places, mut size) = (vec![], vec![], 0);
        for number in 0..ffi::member_count(of)? {
            if let Some(found) = References::of(&ffi::member_type(of, number)?)? {
                places.extend(found.places.iter().map(|place| place.after(size)));
                let end = size + found.size()?;
                members.push((ffi::member_name(of, number)?, size, found.of));
                size = end;
            }
        }
        if members.is_empty() {
            return Ok(None);
        }
        let of = ffi::create_type(H5T_class_t::H5T_COMPOUND, size)?;
        for (name, at, member) in members {
            ffi::insert_member(&of, &name, at, &member)?;
        }
        Ok(Some(References { of, places }))
    }

    fn repeated(&self, shape: &[u64]) -> Result<References> {
        /// No value of a sound file has so many.
        const MOST: usize = 1 << 20;
        let (size, times) = (self.size()?, element_count(shape)?);
        ensure!(
            times.saturating_mul(self.places.len()) <= MOST,
            "Each value has {times} texts or sequences"
        );
        let each = |i| self.places.iter().map(move |place| place.after(i * size));
        Ok(References {
            of: ffi::create_array(&self.of, shape)?,
            places: (0..times).flat_map(each).collect(),
        })
    }

    /// Bytes of one value.
    fn size(&self) -> Result<usize> {
        ffi::type_size(&self.of)
    }

    fn read(&self, values: Values, count: usize) -> Result<Vec<u8>> {
        let len = count.checked_mul(self.size()?);
        let mut bytes = vec![0; len.context("References too large to address")?];
        values.read(&self.of, &mut bytes)?;
        Ok(bytes)
    }

    fn check(&self, values: Values, count: usize, heap: &Heap) -> Result<()> {
        let bytes = self.read(values, count)?;
        let claims = bytes.chunks_exact(self.size()?).flat_map(|value| {
            let claim = |place: &Place| heap::claim(&value[place.at..]).saturating_mul(place.item);
            self.places.iter().map(claim)
        });
        heap.check(claims.fold(0, u64::saturating_add))
    }
}

impl Place {
    fn after(&self, bytes: usize) -> Place {
        Place {
            at: self.at + bytes,
            ..*self
        }
    }
}
