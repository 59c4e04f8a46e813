//! What values of any length claim: the library takes as much memory for a text or a sequence as its reference says,
//! whether the file holds it or not. Who lets it read or copy such values asks here first.

use std::ops::Range;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use hdf5_sys::h5t::H5T_class_t;

use super::ffi::{self, Id, Values};
use super::heap::{self, Heap};
use super::values::element_count;
use super::{attrs, datasets};

/// What of a type is a reference in the file, as bytes that hold it.
struct References {
    of: Id,
    /// Where each stands in a value, and the bytes of one item of what it leads to.
    places: Vec<(usize, u64)>,
}

/// An error of type [`heap::Claimed`] where the attributes of an object claim more than its file holds.
pub fn check_attrs(object: &Id, heap: &Heap) -> Result<()> {
    for name in attrs::names(object)? {
        let check = || {
            let (attr, of, shape) = attrs::open(object, &name)?;
            match (References::of(&of)?, shape) {
                (Some(found), Some(shape)) => {
                    found.check(Values::Attr(&attr), element_count(&shape)?, heap)
                }
                _ => Ok(()),
            }
        };
        check().with_context(|| format!("Attribute '{name}'"))?;
    }
    Ok(())
}

/// The same of rows of a dataset.
pub fn check_rows(dataset: &Id, rows: Range<u64>, heap: &Heap) -> Result<()> {
    /// Bytes of references that are read at a time.
    const BLOCK: usize = 16 << 20;
    let (Some(found), Some(shape)) = (References::of(&ffi::type_of(dataset)?)?, shape(dataset)?)
    else {
        return Ok(());
    };
    datasets::check_filters(dataset)?;
    let items = element_count(shape.get(1..).unwrap_or_default())?;
    let row = items.saturating_mul(found.size()?);
    let step = (BLOCK / row.max(1)).max(1) as u64;
    let mut start = rows.start;
    while start < rows.end && items > 0 {
        let count = step.min(rows.end - start);
        let values = Values::Rows(dataset, start, count);
        found.check(values, items * usize::try_from(count)?, heap)?;
        start += count;
    }
    Ok(())
}

/// The same of a whole dataset, whose shape may be a claim too.
pub fn check_dataset(dataset: &Id, heap: &Heap) -> Result<()> {
    /// What references may take besides the most that deflate makes of what is stored (zlib's technical details).
    const LEAST: u64 = 64 << 20;
    const RATIO: u64 = 1032;
    let (Some(found), Some(shape)) = (References::of(&ffi::type_of(dataset)?)?, shape(dataset)?)
    else {
        return Ok(());
    };
    let bytes = (element_count(&shape)? as u64).saturating_mul(found.size()? as u64);
    let most = ffi::stored_bytes(dataset).saturating_mul(RATIO);
    ensure!(
        bytes <= most.saturating_add(LEAST),
        "Its shape {shape:?} is larger than what is in the file"
    );
    check_rows(dataset, 0..shape.first().copied().unwrap_or(1), heap)
}

/// `None` of a dataset with null space.
fn shape(dataset: &Id) -> Result<Option<Vec<u64>>> {
    let extent = ffi::extent(&ffi::space_of(dataset)?)?;
    Ok(extent.map(|(shape, _)| shape))
}

/// What stands in the file for `count` texts, where addresses take 8 bytes.
pub fn read_references(texts: Values, of: &Id, count: usize) -> Result<Vec<u8>> {
    References::one(of, 1)?.read(texts, count)
}

impl References {
    /// `None` where values of a type have a fixed size.
    fn of(of: &Id) -> Result<Option<References>> {
        Ok(match ffi::class(of) {
            H5T_class_t::H5T_STRING if ffi::is_variable_text(of) => Some(References::one(of, 1)?),
            H5T_class_t::H5T_VLEN => {
                let item = ffi::type_size(&ffi::base_type(of)?)?;
                Some(References::one(of, item as u64)?)
            }
            H5T_class_t::H5T_COMPOUND => References::in_compound(of)?,
            H5T_class_t::H5T_ARRAY => match References::of(&ffi::base_type(of)?)? {
                Some(item) => Some(item.repeated(&ffi::array_shape(of)?)?),
                None => None,
            },
            _ => None,
        })
    }

    /// To the library this is a conversion, which does nothing.
    fn one(of: &Id, item: u64) -> Result<References> {
        static KNOWN: Mutex<Vec<H5T_class_t>> = Mutex::new(vec![]);
        let opaque = ffi::create_type(H5T_class_t::H5T_OPAQUE, heap::REFERENCE)?;
        let mut known = KNOWN.lock().unwrap_or_else(|e| e.into_inner());
        let class = ffi::class(of);
        if !known.contains(&class) {
            ffi::read_as_opaque(c"to reference", of, &opaque)?;
            known.push(class);
        }
        Ok(References {
            of: opaque,
            places: vec![(0, item)],
        })
    }

    fn in_compound(of: &Id) -> Result<Option<References>> {
        let (mut members, mut places, mut size) = (vec![], vec![], 0);
        for at in 0..ffi::member_count(of)? {
            if let Some(found) = References::of(&ffi::member_type(of, at)?)? {
                let from = size;
                size += found.size()?;
                places.extend(found.places.iter().map(|(at, item)| (from + at, *item)));
                members.push((ffi::member_name(of, at)?, from, found.of));
            }
        }
        if members.is_empty() {
            return Ok(None);
        }
        let of = ffi::create_type(H5T_class_t::H5T_COMPOUND, size)?;
        for (name, from, member) in members {
            ffi::insert_member(&of, &name, from, &member)?;
        }
        Ok(Some(References { of, places }))
    }

    fn repeated(&self, shape: &[u64]) -> Result<References> {
        let (size, times) = (self.size()?, element_count(shape)?);
        let places = (0..times).flat_map(|i| {
            let from = i * size;
            self.places.iter().map(move |(at, item)| (from + at, *item))
        });
        Ok(References {
            of: ffi::create_array(&self.of, shape)?,
            places: places.collect(),
        })
    }

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
            let place =
                |(at, item): &(usize, u64)| heap::claim(&value[*at..]).saturating_mul(*item);
            self.places.iter().map(place)
        });
        heap.check(claims.fold(0, u64::saturating_add))
    }
}
