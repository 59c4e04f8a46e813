//! Property lists: how files are opened, and how objects are made or were made.

use std::ffi::{CStr, CString, c_int, c_uint};

use anyhow::{Context, Result, ensure};
use hdf5_sys::{h5d::*, h5f::*, h5p::*, h5s::*, h5t::*};

use super::call::{Constant, Id, ask, axes, done, id, number, sized, sync};
use super::types::{pointers, type_size};

pub fn create_list(class: &Constant) -> Result<Id> {
    // SAFETY: hands over no memory.
    id(|| unsafe { H5Pcreate(**class) })
}

/// What is set of a property list or of a type.
pub enum Property<'a> {
    /// The plain POSIX driver.
    DriverSec2,
    /// Whether files are locked, and whether it matters where they cannot be.
    FileLocking(bool, bool),
    CloseDegree(H5F_close_degree_t),
    /// The oldest and the newest version of the format that is written.
    Versions(H5F_libver_t, H5F_libver_t),
    /// Whether groups on the way are made.
    IntermediateGroups(bool),
    /// Of names of links.
    NameCharset(H5T_cset_t),
    AttrOrder(c_uint),
    CopyFlags(c_uint),
    ChunkShape(&'a [u64]),
    /// Slots; bytes of all chunks together; how soon chunks go that were used whole, 0 to 1.
    ChunkCache(usize, usize, f64),
    /// Registered number, flags, parameters.
    Filter(u32, c_uint, &'a [u32]),
    AllocTime(H5D_alloc_time_t),
    FillTime(H5D_fill_time_t),
    ObjectTimes(bool),
    /// Bytes of a type.
    Size(usize),
    Order(H5T_order_t),
    Charset(H5T_cset_t),
    Padding(H5T_str_t),
    /// Of a float: the bit of the sign, then first bit and number of bits of exponent and of mantissa.
    FloatFields(usize, (usize, usize), (usize, usize)),
    ExponentBias(usize),
}

/// Sets properties, in that order, until one is refused.
pub fn set(of: &Id, properties: &[Property]) -> Result<()> {
    use Property::*;
    let of = of.0;
    properties.iter().try_for_each(|property| {
        // SAFETY: arrays are as long as announced.
        done(|| unsafe {
            match *property {
                DriverSec2 => H5Pset_fapl_sec2(of),
                FileLocking(used, ignored) => H5Pset_file_locking(of, used.into(), ignored.into()),
                CloseDegree(degree) => H5Pset_fclose_degree(of, degree),
                Versions(oldest, newest) => H5Pset_libver_bounds(of, oldest, newest),
                IntermediateGroups(made) => H5Pset_create_intermediate_group(of, made.into()),
                NameCharset(charset) => H5Pset_char_encoding(of, charset),
                AttrOrder(flags) => H5Pset_attr_creation_order(of, flags),
                CopyFlags(flags) => H5Pset_copy_object(of, flags),
                ChunkShape(sides) => H5Pset_chunk(of, sides.len() as c_int, sides.as_ptr()),
                ChunkCache(slots, bytes, soon) => H5Pset_chunk_cache(of, slots, bytes, soon),
                Filter(id, flags, values) => {
                    H5Pset_filter(of, id as c_int, flags, values.len(), values.as_ptr())
                }
                AllocTime(time) => H5Pset_alloc_time(of, time),
                FillTime(time) => H5Pset_fill_time(of, time),
                ObjectTimes(tracked) => H5Pset_obj_track_times(of, tracked.into()),
                Size(bytes) => H5Tset_size(of, bytes),
                Order(order) => H5Tset_order(of, order),
                Charset(charset) => H5Tset_cset(of, charset),
                Padding(padding) => H5Tset_strpad(of, padding),
                FloatFields(sign, (e, e_len), (m, m_len)) => {
                    H5Tset_fields(of, sign, e, e_len, m, m_len)
                }
                ExponentBias(bias) => H5Tset_ebias(of, bias),
            }
        })
    })
}

pub fn layout(list: &Id) -> H5D_layout_t {
    ask(H5Pget_layout, list)
}

/// The sides of a chunk, in values.
pub fn chunk_shape(list: &Id) -> Result<Vec<u64>> {
    let mut sides = axes(&[])?;
    let most = sides.len() as c_int;
    // SAFETY: writes at most as many numbers as the array has.
    let rank = number(|| unsafe { H5Pget_chunk(list.0, most, sides.as_mut_ptr()) })?;
    let sides = sides.get(..rank as usize).context("Too many axes")?;
    Ok(sides.to_vec())
}

/// Registered number, the first 64 parameters at most, and the name of each filter of a pipeline.
pub fn filters(list: &Id) -> Result<Vec<(u32, Vec<u32>, CString)>> {
    /// Bytes of a name that are read.
    const NAME: usize = 127;
    let filter = |at| {
        let (mut values, mut text) = (vec![0; 64], [0u8; NAME + 1]);
        let (flags, len, config) = (&mut 0, &mut values.len(), &mut 0);
        let (to, name, room) = (values.as_mut_ptr(), text.as_mut_ptr().cast(), NAME);
        // SAFETY: both buffers are as long as announced, that of the name by one byte longer.
        let filter =
            number(|| unsafe { H5Pget_filter2(list.0, at, flags, len, to, room, name, config) })?;
        values.truncate(*len);
        let name = CStr::from_bytes_until_nul(&text)?.to_owned();
        Ok((filter as u32, values, name))
    };
    let count = number(|| ask(H5Pget_nfilters, list))?;
    (0..count as c_uint).map(filter).collect()
}

/// Whether a list holds a fill value that is not the library's own.
pub fn has_fill_value(list: &Id) -> Result<bool> {
    let mut defined = H5D_fill_value_t::H5D_FILL_VALUE_DEFAULT;
    // SAFETY: writes one number.
    done(|| unsafe { H5Pfill_value_defined(list.0, &mut defined) })?;
    Ok(defined == H5D_fill_value_t::H5D_FILL_VALUE_USER_DEFINED)
}

/// The fill value: of what was never written, of the type `of`; `None` where it is not the user's own.
pub fn fill_value(list: &Id, of: &Id) -> Result<Option<Vec<u8>>> {
    sync(|| {
        if !has_fill_value(list)? {
            return Ok(None);
        }
        ensure!(pointers(of)?.is_empty(), "A fill value of text");
        let mut value = vec![0u8; type_size(of)?];
        // SAFETY: the buffer holds one value of the type, which has no pointers.
        done(|| unsafe { H5Pget_fill_value(list.0, of.0, value.as_mut_ptr().cast()) })?;
        Ok(Some(value))
    })
}

/// A part of external storage: a file whose name is as long as a path can be, and which bytes of it.
pub struct External {
    pub name: CString,
    pub offset: i64,
    /// All bits set where it is what is left.
    pub size: u64,
}

pub fn external_files(list: &Id) -> Result<Vec<External>> {
    let part = |at| {
        let mut text = [0u8; 4097];
        let (mut offset, mut size) = (0, 0);
        let (room, to) = (text.len() - 1, text.as_mut_ptr().cast());
        // SAFETY: at most one byte less is written than the buffer holds.
        done(|| unsafe { H5Pget_external(list.0, at, room, to, &mut offset, &mut size) })?;
        let name = CStr::from_bytes_until_nul(&text)?.to_owned();
        Ok(External { name, offset, size })
    };
    let count = number(|| ask(H5Pget_external_count, list))?;
    (0..count as c_uint).map(part).collect()
}

/// What one source gives to a virtual dataset: its file and its path there, and places in both.
pub struct Mapping {
    pub file: Vec<u8>,
    pub path: Vec<u8>,
    /// Places in the virtual dataset.
    pub onto: Id,
    /// Those in the source, in the same order.
    pub of: Id,
}

/// Those that have places, of which the library cannot tell that there are none in the source.
pub fn mappings(list: &Id) -> Result<Vec<Mapping>> {
    let mapping = |at| {
        // SAFETY: is handed no memory.
        let onto = id(|| unsafe { H5Pget_virtual_vspace(list.0, at) })?;
        if ask(H5Sget_select_type, &onto) == H5S_sel_type::H5S_SEL_NONE {
            return Ok(None);
        }
        // SAFETY: the buffer has room for `size` bytes.
        let file = sized(|buf, size| unsafe { H5Pget_virtual_filename(list.0, at, buf, size) })?;
        // SAFETY: the buffer has room for `size` bytes.
        let path = sized(|buf, size| unsafe { H5Pget_virtual_dsetname(list.0, at, buf, size) })?;
        // SAFETY: is handed no memory.
        let of = id(|| unsafe { H5Pget_virtual_srcspace(list.0, at) })?;
        Ok(Some(Mapping {
            file,
            path,
            onto,
            of,
        }))
    };
    let mut count = 0;
    // SAFETY: writes one number.
    done(|| unsafe { H5Pget_virtual_count(list.0, &mut count) })?;
    (0..count)
        .filter_map(|at| mapping(at).transpose())
        .collect()
}

/// Adds a mapping to what a virtual dataset is made with.
pub fn add_mapping(list: &Id, mapping: &Mapping) -> Result<()> {
    let Mapping { onto, of, .. } = mapping;
    let [file, path] = [&mapping.file, &mapping.path].map(|name| CString::new(name.as_slice()));
    let (file, path) = (file?, path?);
    // SAFETY: both names are C strings.
    done(|| unsafe { H5Pset_virtual(list.0, onto.0, file.as_ptr(), path.as_ptr(), of.0) })
}
