//! What values of any length claim: the library takes as much memory for a text or a sequence as its reference says,
//! whether the file holds it or not. Who lets it read or copy such values asks here first.

use std::slice::from_ref;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use hdf5_sys::h5t::H5T_class_t;

use crate::limits;
use crate::store::hdf5::ffi::{self, Id, Selected};
use crate::store::hdf5::files::Raw;
use crate::store::hdf5::format::headers::{Claims, Header};
use crate::store::hdf5::format::heap::{self, Heap, Held};
use crate::store::hdf5::{attrs, datasets, types};
use crate::store::spec::item_count;

/// Where the references stand in values of a type, as they are in the file.
#[derive(Clone)]
struct References {
    /// Bytes of one value.
    size: usize,
    places: Arc<[ReferenceAt]>,
    /// A type of that size that has the bytes of the references there; `None` where there are none.
    of: Option<Id>,
}

/// A reference in a value.
#[derive(Clone)]
struct ReferenceAt {
    at: usize,
    /// What it leads to a number of.
    item: References,
}

/// An error of type [`heap::Claimed`] where the attributes of an object claim more than its file holds.
pub fn check_attrs(object: &Id, heap: &Heap) -> Result<()> {
    for name in attrs::names(object)? {
        let check = || {
            let (attr, of, shape) = attrs::open(object, &name)?;
            let count = item_count(&shape.unwrap_or(vec![0]))?;
            let found = References::of(&of)?;
            if found.is_none() || count == 0 {
                return Ok(());
            }
            check_size(&of, ffi::attr_bytes(&attr) / count as u64)?;
            found.check(&found.read(Selected::Attr(&attr), count)?, heap)
        };
        check().with_context(|| format!("Attribute '{name}'"))?;
    }
    Ok(())
}

/// The same of the values of a dataset, whose shape may be a claim too. What a virtual one takes its values from was
/// checked where it was opened.
pub fn check_dataset(dataset: &Id, heap: &Heap) -> Result<()> {
    /// Bytes of references that are read at a time.
    const BLOCK: usize = 16 << 20;
    let extent = ffi::extent(&ffi::space_of(dataset)?)?;
    let found = References::of(&ffi::type_of(dataset)?)?;
    let Some((shape, _)) = extent.filter(|_| !found.is_none()) else {
        return Ok(());
    };
    // The library reads the references, so its filters have to be safe.
    let (layout, filters) = datasets::storage(dataset)?;
    if layout == datasets::StorageClass::Virtual {
        return Ok(());
    }
    datasets::check_filters(dataset, &layout, &filters)?;
    let (rows, items) = match shape.split_first() {
        Some((rows, items)) => (*rows, item_count(items)?),
        None => (1, 1),
    };
    let row = items.saturating_mul(found.size);
    let (declared, stored) = (rows.saturating_mul(row as u64), ffi::stored_bytes(dataset));
    ensure!(
        limits::is_stored(declared, stored, limits::UNWRITTEN_CHECKED),
        "Its shape {shape:?} is larger than what is in the file"
    );
    let step = (BLOCK / row.max(1)).max(1) as u64;
    let mut start = 0;
    while start < rows && items > 0 {
        let count = step.min(rows - start);
        let block = start..start + count;
        let values = Selected::Rows(dataset.into(), from_ref(&block));
        let values = found.read(values, items * usize::try_from(count)?)?;
        found.check(&values, heap)?;
        start += count;
    }
    Ok(())
}

/// What the header of a dataset claims. An error where that is a virtual one with more sources than there is room for in
/// their list: when it is opened the library takes memory for as many as it says (2.2.0, `H5D__virtual_load_layout`).
pub fn of_header(file: &Raw, address: u64) -> Result<Claims> {
    /// Bytes that a source takes in the list: a name, and two selections of 16 bytes or more.
    const SOURCE: usize = 33;
    let mut claims = Header { file, address }.read()?;
    let heap = file.heap()?;
    claims.value = claims.value.filter(|_| heap.is_some());
    for list in &claims.sources {
        let (Some(list), Some(heap)) = (list, &heap) else {
            bail!("Its list of sources cannot be looked at");
        };
        let reference = [&[0; 4], list.as_slice()].concat();
        let list = heap.object(&reference, &mut Held::up_to(heap::ANY));
        let list = list.context("Read its list of sources")?;
        let count = list.get(1..).and_then(|list| list.first_chunk());
        let count = u64::from_le_bytes(*count.context("Its list of sources is cut short")?);
        ensure!(
            count <= (list.len() / SOURCE) as u64,
            "It has {count} sources, more than there is room for in their list"
        );
    }
    Ok(claims)
}

/// An error where texts or sequences are of a type of another size than they are: the library would write past the end of
/// the memory that it takes for them (2.2.0, `H5A__attr_copy_file`). `size` is that of a value in the file.
pub fn check_size(of: &Id, size: u64) -> Result<()> {
    let found = References::of(of)?;
    // How long values that lead to objects are, the library alone knows.
    let known = !found.is_none() && !types::has_references(of);
    ensure!(
        !known || size == found.size as u64,
        "Its type is damaged: a value takes {size} bytes, not {}",
        found.size
    );
    Ok(())
}

/// An error where a fill value of a dataset claims more than its file holds, or is of another size than the values, past
/// which the library would read. Nothing else may be asked before of how the dataset was made.
pub fn check_fill_values(dataset: &Id, values: &[Option<Vec<u8>>]) -> Result<()> {
    if values.is_empty() {
        return Ok(());
    }
    let of = ffi::type_of(dataset)?;
    let found = References::of(&of)?;
    let heap = heap_of(dataset)?;
    for value in values {
        let Some(value) = value else {
            ensure!(
                found.is_none() && !ffi::has_fill_value(&ffi::creation_list(dataset)?)?,
                "Its fill value lies apart, where it cannot be looked at"
            );
            continue;
        };
        // How long values that lead to objects are, and texts with addresses of less than 8 bytes, the library alone
        // knows.
        let known = !types::has_references(&of) && (found.is_none() || heap.is_some());
        ensure!(known, "Its fill value refers to what cannot be looked at");
        ensure!(
            value.len() == found.size,
            "Its fill value takes {} bytes, its values {}",
            value.len(),
            found.size
        );
        if let Some(heap) = &heap {
            found.check(value, heap)?;
        }
    }
    Ok(())
}

/// As [`check_dataset`], by the file that holds the dataset.
pub fn check_values(dataset: &Id) -> Result<()> {
    match heap_of(dataset)? {
        Some(heap) => check_dataset(dataset, &heap),
        None => Ok(()),
    }
}

fn heap_of(dataset: &Id) -> Result<Option<Heap>> {
    Raw::of(dataset)?.map_or(Ok(None), |file| file.heap())
}

impl References {
    /// A text leads to single bytes, a sequence to values of its own type, which may be references again.
    fn of(of: &Id) -> Result<References> {
        match ffi::class(of) {
            H5T_class_t::H5T_STRING if ffi::is_variable_text(of) => {
                References::one(References::none(1))
            }
            H5T_class_t::H5T_VLEN => References::one(References::of(&ffi::base_type(of)?)?),
            H5T_class_t::H5T_COMPOUND => References::in_compound(of),
            H5T_class_t::H5T_ARRAY => {
                References::of(&ffi::base_type(of)?)?.repeated(&ffi::array_shape(of)?)
            }
            _ => Ok(References::none(ffi::type_size(of)?)),
        }
    }

    /// Of values of so many bytes that lead nowhere.
    fn none(size: usize) -> References {
        References {
            size,
            places: [].into(),
            of: None,
        }
    }

    fn is_none(&self) -> bool {
        self.of.is_none()
    }

    /// A value that is a reference.
    fn one(item: References) -> Result<References> {
        Ok(References {
            size: heap::REFERENCE,
            places: [ReferenceAt { at: 0, item }].into(),
            of: Some(types::reference()?),
        })
    }

    fn in_compound(of: &Id) -> Result<References> {
        let numbers = 0..ffi::member_count(of)?;
        let mut members: Vec<_> = numbers.map(|n| (ffi::member_offset(of, n), n)).collect();
        members.sort_unstable();
        let (mut places, mut opaque) = (vec![], vec![]);
        // The library has the members in memory, where references have another size than in the file.
        // A text and an int32 are 8 + 4 bytes there, 16 + 4 in the file: what is between members is the same.
        let (mut size, mut end_in_memory) = (0, 0);
        for (offset, number) in members {
            let member = ffi::member_type(of, number)?;
            let found = References::of(&member)?;
            size += offset.saturating_sub(end_in_memory);
            end_in_memory = offset + ffi::type_size(&member)?;
            places.extend(found.places.iter().map(|place| place.after(size)));
            if let Some(opaque_of) = found.of {
                opaque.push((ffi::member_name(of, number)?, size, opaque_of));
            }
            size += found.size;
        }
        size += ffi::type_size(of)?.saturating_sub(end_in_memory);
        if opaque.is_empty() {
            return Ok(References::none(size));
        }
        let of = ffi::create_type(H5T_class_t::H5T_COMPOUND, size)?;
        for (name, at, member) in opaque {
            ffi::insert_member(&of, &name, at, &member)?;
        }
        Ok(References {
            size,
            places: places.into(),
            of: Some(of),
        })
    }

    fn repeated(&self, shape: &[u64]) -> Result<References> {
        let times = item_count(shape)?;
        let size = self.size.checked_mul(times);
        let size = size.context("A value is too large to address")?;
        let Some(of) = &self.of else {
            return Ok(References::none(size));
        };
        ensure!(
            times.saturating_mul(self.places.len()) <= limits::REFERENCES,
            "Each value has {times} texts or sequences"
        );
        let each = |i| {
            self.places
                .iter()
                .map(move |place| place.after(i * self.size))
        };
        Ok(References {
            size,
            places: (0..times).flat_map(each).collect(),
            of: Some(ffi::create_array(of, shape)?),
        })
    }

    fn read(&self, values: Selected, count: usize) -> Result<Vec<u8>> {
        let of = self.of.as_ref().context("No references to read")?;
        let len = count.checked_mul(self.size);
        let mut bytes = vec![0; len.context("References too large to address")?];
        values.read(of, &mut bytes)?;
        Ok(bytes)
    }

    /// An error where what values lead to, or what that leads to, claims more than the file.
    fn check(&self, values: &[u8], heap: &Heap) -> Result<()> {
        let mut held = Held::up_to(heap::ANY);
        self.add(values, (heap, &mut held), &mut vec![], 0)
    }

    /// Adds what values claim to `claims`, one for each level of sequences in sequences.
    fn add(
        &self,
        values: &[u8],
        (heap, held): (&Heap, &mut Held),
        claims: &mut Vec<u64>,
        level: usize,
    ) -> Result<()> {
        for value in values.chunks_exact(self.size) {
            for ReferenceAt { at, item } in &*self.places {
                let reference = &value[*at..];
                let claim = heap::claim(reference).saturating_mul(item.size as u64);
                if claims.len() == level {
                    claims.push(0);
                }
                claims[level] = claims[level].saturating_add(claim);
                // All that lies at one depth is read together, so it is their sum that must fit the file.
                heap.check(claims[level])?;
                if !item.is_none() && claim > 0 {
                    let items = heap.object(reference, held)?;
                    ensure!(
                        items.len() as u64 == claim,
                        "A sequence is of another length"
                    );
                    item.add(&items, (heap, held), claims, level + 1)?;
                }
            }
        }
        Ok(())
    }
}

impl ReferenceAt {
    fn after(&self, bytes: usize) -> ReferenceAt {
        ReferenceAt {
            at: self.at + bytes,
            ..self.clone()
        }
    }
}
