//! Every call into the HDF5 C library, each under the library's lock, as thin functions over owned identifiers that
//! are safe whatever they are given. What the answers mean is told by the files beside this one.
//!
//! All `unsafe` of the program stands here; so the one call of the C library's allocator does too, at the end. Three
//! arguments hold for all other blocks and are not repeated: every call is made inside [`sync`], the lock that the
//! library needs; every identifier that is passed is that of an [`Id`], which is borrowed for the whole call, or one of
//! the library's own; and the library checks what an identifier is of, and plain numbers, and answers with an error. So
//! each block tells of the memory that it hands over.
#![allow(unsafe_code)]
#![deny(clippy::undocumented_unsafe_blocks)]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::ptr::{null, null_mut};
use std::slice;

use anyhow::{Context, Result, bail, ensure};
pub use hdf5::globals::H5GlobalConstant as Constant;
use hdf5::globals::{H5P_LINK_ACCESS, H5T_STD_REF_OBJ};
use hdf5_sys::h5::{
    H5_index_t::H5_INDEX_NAME, H5_iter_order_t::H5_ITER_INC, H5allocate_memory, H5free_memory,
    haddr_t, hsize_t,
};
use hdf5_sys::h5r::{H5R_type_t::H5R_OBJECT1 as H5R_OBJECT, H5Rget_name};
use hdf5_sys::h5z::{H5Z_CLASS_T_VERS, H5Z_FLAG_REVERSE, H5Z_class2_t, H5Zregister};
use hdf5_sys::{h5a::*, h5d::*, h5f::*, h5g::*, h5i::*, h5l::*, h5o::*, h5p::*, h5s::*, h5t::*};

use super::errors::failure;
use super::filters;
use super::guard::watch::sync;
use super::values::element_count;
use crate::store::panics::guarded;
use crate::store::spec::Strings;

/// An open identifier of the library, closed when dropped.
pub struct Id(hid_t);

impl Id {
    /// Closes it, where that may write: the library keeps some values until then.
    pub fn close(self) -> Result<()> {
        let raw = self.0;
        std::mem::forget(self);
        // SAFETY: the identifier is owned, and this is its last use.
        done(|| unsafe { H5Idec_ref(raw) })
    }
}

impl Drop for Id {
    fn drop(&mut self) {
        // SAFETY: the identifier is owned, and this is its last use.
        sync(|| unsafe { H5Idec_ref(self.0) });
    }
}

impl Clone for Id {
    fn clone(&self) -> Id {
        // SAFETY: counts one more owner of an open identifier.
        sync(|| unsafe { H5Iinc_ref(self.0) });
        Id(self.0)
    }
}

/// The number that a call answers with; a negative one is a failure.
fn number<N: Into<i64>>(call: impl FnOnce() -> N) -> Result<i64> {
    sync(|| {
        let number = call().into();
        ensure!(number >= 0, failure());
        Ok(number)
    })
}

fn done<N: Into<i64>>(call: impl FnOnce() -> N) -> Result<()> {
    number(call).map(drop)
}

fn id(call: impl FnOnce() -> hid_t) -> Result<Id> {
    number(call).map(Id)
}

/// What a call of the library answers that takes an identifier alone.
fn ask<T>(call: unsafe extern "C" fn(hid_t) -> T, of: &Id) -> T {
    // SAFETY: such a call is handed no memory.
    sync(|| unsafe { call(of.0) })
}

fn opened(call: unsafe extern "C" fn(hid_t) -> hid_t, of: &Id) -> Result<Id> {
    id(|| ask(call, of))
}

/// What a callback of the library answers: `failed` where it panics, which must not go through the library.
fn answer<T>(failed: T, callback: impl FnOnce() -> T) -> T {
    guarded(callback).unwrap_or(failed)
}

/// Makes a call that tells the length of a text and writes at most as many bytes as it is told, the last one NUL, where
/// it is given a buffer.
fn sized(call: impl Fn(*mut c_char, usize) -> isize) -> Result<Vec<u8>> {
    sync(|| {
        let len = number(|| call(null_mut(), 0) as i64)? as usize;
        let mut buf = vec![0u8; len + 1];
        number(|| call(buf.as_mut_ptr().cast(), buf.len()) as i64)?;
        buf.truncate(len);
        Ok(buf)
    })
}

/// One number for each axis that there can be, so that the library reads no further whatever the rank of what they are
/// for; zeros after those that are given.
fn axes(given: &[u64]) -> Result<[hsize_t; H5S_MAX_RANK as usize]> {
    let mut axes = [0; H5S_MAX_RANK as usize];
    let first = axes.get_mut(..given.len()).context("Too many axes")?;
    first.copy_from_slice(given);
    Ok(axes)
}

pub fn open_file(name: &CStr, flags: c_uint, access: &Id) -> Result<Id> {
    // SAFETY: the name is a C string.
    id(|| unsafe { H5Fopen(name.as_ptr(), flags, access.0) })
}

pub fn create_file(name: &CStr, flags: c_uint, access: &Id) -> Result<Id> {
    // SAFETY: the name is a C string.
    id(|| unsafe { H5Fcreate(name.as_ptr(), flags, H5P_DEFAULT, access.0) })
}

/// Hands everything to the file system and closes the file; where its [`Property::CloseDegree`] is strong, whatever is
/// still open of it.
pub fn close_file(file: Id) -> Result<()> {
    let raw = file.0;
    std::mem::forget(file);
    // SAFETY: the identifier is owned, and this is its last use.
    done(|| unsafe { H5Fclose(raw) })
}

/// The path of the file that holds an object.
pub fn file_name(object: &Id) -> Result<Vec<u8>> {
    // SAFETY: the buffer has room for `size` bytes.
    sized(|buf, size| unsafe { H5Fget_name(object.0, buf, size) })
}

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

/// A handle of the file that holds an object; `None` of one that is written, where the library may keep what is not yet
/// in it.
pub fn source(object: &Id) -> Result<Option<File>> {
    sync(|| {
        let file = opened(H5Iget_file_id, object)?;
        let (mut intent, mut descriptor) = (0, null_mut());
        // SAFETY: writes one number.
        done(|| unsafe { H5Fget_intent(file.0, &mut intent) })?;
        if intent & H5F_ACC_RDWR > 0 {
            return Ok(None);
        }
        // SAFETY: writes one pointer.
        done(|| unsafe { H5Fget_vfd_handle(file.0, H5P_DEFAULT, &mut descriptor) })?;
        // SAFETY: for [`Property::DriverSec2`], which all files are opened with, that is where the descriptor stands,
        // and the file is open.
        let descriptor = unsafe { BorrowedFd::borrow_raw(*descriptor.cast::<c_int>()) };
        Ok(Some(descriptor.try_clone_to_owned()?.into()))
    })
}

pub fn layout(list: &Id) -> H5D_layout_t {
    ask(H5Pget_layout, list)
}

/// The sides of a chunk, in elements.
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

/// The value of elements that were never written, of the type `of`; `None` where it is not the user's own.
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
    pub onto: Id,
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

/// Whether what an external link leads to may be opened: asked with the path of the file that has the link, and the file
/// and the path there that the link names.
pub type MayOpen<'a> = &'a mut dyn FnMut(&CStr, &CStr, &CStr) -> bool;

/// Makes a call with a link access list that asks before it leads into another file.
fn walk<N: Into<i64>>(mut may_open: MayOpen, call: impl FnOnce(hid_t) -> N) -> Result<i64> {
    extern "C" fn before_external(
        from: *const c_char,
        _: *const c_char,
        to: *const c_char,
        path: *const c_char,
        _: *mut c_uint,
        _: hid_t,
        may_open: *mut c_void,
    ) -> c_int {
        answer(-1, || {
            // SAFETY: the library gives C strings, and the closure of `walk`, which outlives the list and which nothing
            // else touches while the list is used.
            let may = unsafe {
                let may_open = &mut *may_open.cast::<MayOpen>();
                let [from, to, path] = [from, to, path].map(|text| CStr::from_ptr(text));
                may_open(from, to, path)
            };
            if may { 0 } else { -1 }
        })
    }
    let list = create_list(&H5P_LINK_ACCESS)?;
    let data: *mut c_void = (&raw mut may_open).cast();
    // SAFETY: the closure outlives the list, which is used for this one call.
    done(|| unsafe { H5Pset_elink_cb(list.0, Some(before_external), data) })?;
    number(|| call(list.0))
}

/// Whether a group has a link of that name, wherever it leads.
pub fn link_exists(group: &Id, name: &CStr, may_open: MayOpen) -> Result<bool> {
    let (at, name) = (group.0, name.as_ptr());
    // SAFETY: the name is a C string.
    Ok(walk(may_open, |links| unsafe { H5Lexists(at, name, links) })? > 0)
}

pub fn open_object(group: &Id, name: &CStr, may_open: MayOpen) -> Result<Id> {
    let (at, name) = (group.0, name.as_ptr());
    // SAFETY: the name is a C string.
    walk(may_open, |links| unsafe { H5Oopen(at, name, links) }).map(Id)
}

/// What an identifier is of.
pub fn kind(object: &Id) -> H5I_type_t {
    ask(H5Iget_type, object)
}

/// The type of the values of a dataset or an attribute.
pub fn type_of(values: &Id) -> Result<Id> {
    match kind(values) {
        H5I_type_t::H5I_ATTR => opened(H5Aget_type, values),
        _ => opened(H5Dget_type, values),
    }
}

/// The dataspace of a dataset or an attribute.
pub fn space_of(values: &Id) -> Result<Id> {
    match kind(values) {
        H5I_type_t::H5I_ATTR => opened(H5Aget_space, values),
        _ => opened(H5Dget_space, values),
    }
}

/// The list that a dataset was created with.
pub fn creation_list(dataset: &Id) -> Result<Id> {
    opened(H5Dget_create_plist, dataset)
}

/// The absolute path of an object in its file.
pub fn object_path(object: &Id) -> Result<Vec<u8>> {
    // SAFETY: the buffer has room for `size` bytes.
    sized(|buf, size| unsafe { H5Iget_name(object.0, buf, size) })
}

/// The path of what an object reference leads to, in the file of `object`.
pub fn referenced_path(object: &Id, reference: &[u8; 8]) -> Result<Vec<u8>> {
    let reference = reference.as_ptr().cast();
    // SAFETY: an object reference takes 8 bytes; the buffer has room for `size`.
    sized(|buf, size| unsafe { H5Rget_name(object.0, H5R_OBJECT, reference, buf, size) })
}

/// What is told of an object in a file.
pub struct Info {
    /// The number of the file that is open, and of the object in it.
    pub identity: (u64, u128),
    pub kind: H5O_type_t,
}

impl Info {
    fn of<N: Into<i64>>(tell: impl FnOnce(*mut H5O_info2_t) -> Result<N>) -> Result<Info> {
        let mut info = MaybeUninit::<H5O_info2_t>::uninit();
        let at = info.as_mut_ptr();
        tell(at)?;
        // SAFETY: the library has filled all three; a token is 16 bytes.
        let (file, kind, token) = unsafe {
            let token = (&raw const (*at).token).cast::<[u8; 16]>();
            ((*at).fileno, (*at).type_, token.read())
        };
        let identity = (file, u128::from_ne_bytes(token));
        Ok(Info { identity, kind })
    }

    /// Of what a path leads to, which is not opened.
    pub fn at(group: &Id, path: &CStr, may_open: MayOpen) -> Result<Info> {
        let (at, path, fields) = (group.0, path.as_ptr(), H5O_INFO_BASIC);
        Info::of(|info| {
            // SAFETY: the path is a C string; there is room for the structure.
            let tell = |links| unsafe { H5Oget_info_by_name3(at, path, info, fields, links) };
            walk(may_open, tell)
        })
    }

    /// Where the header of the object lies, as addresses count in its file.
    pub fn address(&self) -> u64 {
        // How the library makes a token of an address (`H5VL_native_addr_to_token`).
        u128::from_le_bytes(self.identity.1.to_ne_bytes()) as u64
    }
}

/// The number of the file that is open, and of the object in it.
pub fn identity(object: &Id) -> Result<(u64, u128)> {
    // SAFETY: there is room for the structure.
    let tell = |info| number(|| unsafe { H5Oget_info3(object.0, info, H5O_INFO_BASIC) });
    Ok(Info::of(tell)?.identity)
}

/// What iterations over names call; `found` is the list that they were given.
unsafe extern "C" fn name<Info, const OF_LINK: bool>(
    _: hid_t,
    name: *const c_char,
    info: *const Info,
    found: *mut c_void,
) -> c_int {
    // SAFETY: the list outlives the iteration, and nothing else touches it meanwhile; the name is a C string; the type
    // comes first in what is told of a link.
    answer(-1, || unsafe {
        let kind = if OF_LINK {
            info.cast::<c_int>().read()
        } else {
            0
        };
        let name = CStr::from_ptr(name).to_bytes().to_vec();
        (*found.cast::<Vec<(Vec<u8>, c_int)>>()).push((name, kind));
        0
    })
}

/// The names of a group's links, each with its type as the file has it, which may be none that is known.
pub fn links(group: &Id) -> Result<Vec<(Vec<u8>, c_int)>> {
    let mut found: Vec<(Vec<u8>, c_int)> = vec![];
    let (by, order, to) = (H5_INDEX_NAME, H5_ITER_INC, (&raw mut found).cast());
    let each = Some(name::<H5L_info2_t, true> as _);
    // SAFETY: the callback gets the list.
    done(|| unsafe { H5Literate2(group.0, by, order, null_mut(), each, to) })?;
    Ok(found)
}

/// The names of an object's attributes.
pub fn attr_names(object: &Id) -> Result<Vec<Vec<u8>>> {
    let mut found: Vec<(Vec<u8>, c_int)> = vec![];
    let (by, order, to) = (H5_INDEX_NAME, H5_ITER_INC, (&raw mut found).cast());
    let each = Some(name::<H5A_info_t, false> as _);
    // SAFETY: the callback gets the list.
    done(|| unsafe { H5Aiterate2(object.0, by, order, null_mut(), each, to) })?;
    Ok(found.into_iter().map(|(name, _)| name).collect())
}

/// `links` and `how` are lists for the creation of links and of groups.
pub fn create_group(parent: &Id, name: &CStr, links: &Id, how: &Id) -> Result<Id> {
    let name = name.as_ptr();
    // SAFETY: the name is a C string.
    id(|| unsafe { H5Gcreate2(parent.0, name, links.0, how.0, H5P_DEFAULT) })
}

pub fn copy_object(from: &Id, to: &Id, name: &CStr, how: &Id, links: &Id) -> Result<()> {
    let (own, name) = (c".".as_ptr(), name.as_ptr());
    // SAFETY: the names are C strings.
    done(|| unsafe { H5Ocopy(from.0, own, to.0, name, how.0, links.0) })
}

pub fn open_attr(object: &Id, name: &CStr) -> Result<Id> {
    // SAFETY: the name is a C string.
    id(|| unsafe { H5Aopen(object.0, name.as_ptr(), H5P_DEFAULT) })
}

/// Creates an attribute, in place of one of that name.
pub fn create_attr(object: &Id, name: &CStr, of: &Id, space: &Id) -> Result<Id> {
    let (name, how) = (name.as_ptr(), H5P_DEFAULT);
    // SAFETY: the name is a C string.
    if number(|| unsafe { H5Aexists(object.0, name) })? > 0 {
        // SAFETY: the name is a C string.
        done(|| unsafe { H5Adelete(object.0, name) })?;
    }
    // SAFETY: the name is a C string.
    id(|| unsafe { H5Acreate2(object.0, name, of.0, space.0, how, how) })
}

/// `links`, `how` and `access` are lists for the creation of links and of datasets, and for access to datasets.
pub fn create_dataset(
    parent: &Id,
    name: &CStr,
    (of, space): (&Id, &Id),
    [links, how, access]: [&Id; 3],
) -> Result<Id> {
    let (at, name) = (parent.0, name.as_ptr());
    // SAFETY: the name is a C string.
    id(|| unsafe { H5Dcreate2(at, name, of.0, space.0, links.0, how.0, access.0) })
}

/// Where a contiguous dataset begins in its file; `None` while it has no space, for which the library tells the address
/// of none, to which it adds the bytes before a superblock.
pub fn offset(dataset: &Id) -> Option<u64> {
    address(ask(H5Dget_offset, dataset)).filter(|_| stored_bytes(dataset) > 0)
}

fn address(raw: haddr_t) -> Option<u64> {
    (raw != haddr_t::MAX).then_some(raw)
}

/// What the values of a dataset take in its file, as filtered; 0 while nothing was written.
pub fn stored_bytes(dataset: &Id) -> u64 {
    ask(H5Dget_storage_size, dataset)
}

/// Bytes that the values of an attribute take in the file.
pub fn attr_bytes(attr: &Id) -> u64 {
    ask(H5Aget_storage_size, attr)
}

pub fn set_extent(dataset: &Id, shape: &[u64]) -> Result<()> {
    let shape = axes(shape)?;
    // SAFETY: the array has a number for each axis.
    done(|| unsafe { H5Dset_extent(dataset.0, shape.as_ptr()) })
}

/// Takes, of a chunk that was written: the position of its first element; its address in the file, `None` where it has
/// none; its bytes, as filtered; its mask, of which bit i says that filter i was skipped.
pub type EachChunk<'a> = &'a mut dyn FnMut(&[u64], Option<u64>, u64, u32);

/// Calls `each` with each chunk of a dataset that was written.
pub fn chunks(dataset: &Id, each: EachChunk) -> Result<()> {
    type Visit<'a> = (usize, EachChunk<'a>);
    unsafe extern "C" fn visit(
        origin: *const hsize_t,
        mask: c_uint,
        at: haddr_t,
        size: hsize_t,
        visit: *mut c_void,
    ) -> c_int {
        // SAFETY: `visit` is the pair given below; the origin has a number for each axis, as many as it says.
        let (origin, each) = unsafe {
            let (rank, each) = &mut *visit.cast::<Visit>();
            (slice::from_raw_parts(origin, *rank), each)
        };
        answer(-1, || {
            each(origin, address(at), size, mask);
            0
        })
    }
    sync(|| {
        let mut pair: Visit = (rank(&space_of(dataset)?)?, each);
        let data = (&raw mut pair).cast();
        // SAFETY: the callback gets the pair, which outlives the iteration and which nothing else touches meanwhile.
        done(|| unsafe { H5Dchunk_iter(dataset.0, H5P_DEFAULT, Some(visit), data) })
    })
}

/// Writes one encoded chunk at `origin`, the position of its first element. Bit i of `mask`: filter i was skipped.
pub fn write_chunk(dataset: &Id, origin: &[u64], mask: u32, bytes: &[u8]) -> Result<()> {
    let origin = axes(origin)?;
    let (at, len, from) = (origin.as_ptr(), bytes.len(), bytes.as_ptr().cast());
    // SAFETY: `origin` has a number for each axis; the buffer is as long as announced.
    done(|| unsafe { H5Dwrite_chunk(dataset.0, H5P_DEFAULT, mask, at, len, from) })
}

/// A space of that shape, a null one without; `growing`: its first axis may grow without end.
pub fn create_space(shape: Option<&[u64]>, growing: bool) -> Result<Id> {
    let mut most = shape.unwrap_or_default().to_vec();
    if growing && let Some(first) = most.first_mut() {
        *first = H5S_UNLIMITED;
    }
    // SAFETY: both arrays hold as many numbers as are announced.
    id(|| unsafe {
        match shape {
            None => H5Screate(H5S_class_t::H5S_NULL),
            Some([]) => H5Screate(H5S_class_t::H5S_SCALAR),
            Some(shape) => H5Screate_simple(shape.len() as c_int, shape.as_ptr(), most.as_ptr()),
        }
    })
}

/// Places at equal distances, by axis (HDF5 manual, `H5Sselect_hyperslab`).
#[derive(Clone)]
pub struct Hyperslab {
    pub start: Vec<u64>,
    pub stride: Vec<u64>,
    pub count: Vec<u64>,
    pub block: Vec<u64>,
}

impl Hyperslab {
    /// The axis along which there is no end.
    pub fn endless_axis(&self) -> Option<usize> {
        let mut sides = self.count.iter().zip(&self.block);
        sides.position(|(&count, &block)| count == H5S_UNLIMITED || block == H5S_UNLIMITED)
    }
}

/// The first and the last place of those that are selected in a space, by axis; some are.
pub fn bounds(space: &Id) -> Result<(Vec<u64>, Vec<u64>)> {
    sync(|| {
        let (mut first, mut last) = (vec![0; rank(space)?], vec![0; rank(space)?]);
        if first.is_empty() {
            return Ok((first, last));
        }
        let (to, last_to) = (first.as_mut_ptr(), last.as_mut_ptr());
        // SAFETY: both arrays have room for a number for each axis.
        done(|| unsafe { H5Sget_select_bounds(space.0, to, last_to) })?;
        Ok((first, last))
    })
}

/// The places that are selected in a space, where they are one hyperslab.
pub fn hyperslab(space: &Id) -> Result<Option<Hyperslab>> {
    sync(|| {
        let is_one = ask(H5Sget_select_type, space) == H5S_sel_type::H5S_SEL_HYPERSLABS;
        if !is_one || number(|| ask(H5Sis_regular_hyperslab, space))? == 0 {
            return Ok(None);
        }
        let zeros = vec![0; rank(space)?];
        let mut slab = Hyperslab {
            start: zeros.clone(),
            stride: zeros.clone(),
            count: zeros.clone(),
            block: zeros,
        };
        // SAFETY: each array has room for a number for each axis.
        done(|| unsafe {
            H5Sget_regular_hyperslab(
                space.0,
                slab.start.as_mut_ptr(),
                slab.stride.as_mut_ptr(),
                slab.count.as_mut_ptr(),
                slab.block.as_mut_ptr(),
            )
        })?;
        Ok(Some(slab))
    })
}

pub fn copy_space(space: &Id) -> Result<Id> {
    opened(H5Scopy, space)
}

/// A space with the places of a hyperslab selected.
pub fn select_hyperslab(space: &Id, slab: &Hyperslab) -> Result<Id> {
    let selected = copy_space(space)?;
    let (start, stride) = (axes(&slab.start)?, axes(&slab.stride)?);
    let (count, block) = (axes(&slab.count)?, axes(&slab.block)?);
    // SAFETY: the arrays have a number for each axis that there can be.
    done(|| unsafe {
        H5Sselect_hyperslab(
            selected.0,
            H5S_seloper_t::H5S_SELECT_SET,
            start.as_ptr(),
            stride.as_ptr(),
            count.as_ptr(),
            block.as_ptr(),
        )
    })?;
    Ok(selected)
}

/// A space with the places selected that are selected in another one: all, where they are all there.
pub fn select(space: &Id, as_in: &Id) -> Result<Id> {
    sync(|| {
        if ask(H5Sget_select_type, as_in) == H5S_sel_type::H5S_SEL_ALL {
            let (shape, _) = extent(space)?.context("A space without a shape")?;
            let ones = vec![1; shape.len()];
            return if shape.is_empty() || shape.contains(&0) {
                copy_space(space)
            } else {
                select_hyperslab(
                    space,
                    &Hyperslab {
                        start: vec![0; shape.len()],
                        stride: ones.clone(),
                        count: shape,
                        block: ones,
                    },
                )
            };
        }
        ensure!(rank(space)? == rank(as_in)?, "A selection of another rank");
        let selected = copy_space(space)?;
        // SAFETY: is handed no memory.
        done(|| unsafe { H5Sselect_copy(selected.0, as_in.0) })?;
        Ok(selected)
    })
}

pub fn selected(space: &Id) -> Result<u64> {
    Ok(number(|| ask(H5Sget_select_npoints, space))? as u64)
}

/// The places that are selected in both of two hyperslabs, or all of a space without axes; `None` where there are none.
pub fn both(a: &Id, b: &Id) -> Result<Option<Id>> {
    sync(|| {
        ensure!(rank(a)? == rank(b)?, "A mapping of another rank");
        if rank(a)? == 0 {
            return copy_space(a).map(Some);
        }
        let and = H5S_seloper_t::H5S_SELECT_AND;
        // SAFETY: is handed no memory.
        let found = id(|| unsafe { H5Scombine_select(a.0, and, b.0) })?;
        Ok((selected(&found)? > 0).then_some(found))
    })
}

/// Of the places in `onto` that belong, in their order, to those in `from`, the ones that belong to places in `part`
/// too; `None` where there are none. `part` is in the space of `from`.
///
/// The library takes a tree of spans for one of one more axis when it copies it for `onto`, and reads one number beyond a
/// list of its own, which it does not use (2.2.0, `H5S__hyper_proj_int_build_proj`): valgrind tells of it.
pub fn project(from: &Id, onto: &Id, part: &Id) -> Result<Option<Id>> {
    sync(|| {
        ensure!(rank(from)? == rank(part)?, "A mapping of another rank");
        // SAFETY: is handed no memory.
        let found = id(|| unsafe { H5Sselect_project_intersection(from.0, onto.0, part.0) })?;
        Ok((selected(&found)? > 0).then_some(found))
    })
}

/// Takes places out of those that are selected in a space; both are hyperslabs, or all of a space without axes.
pub fn subtract(space: &Id, part: &Id) -> Result<()> {
    if rank(space)? == 0 {
        return done(|| ask(H5Sselect_none, space));
    }
    let without = H5S_seloper_t::H5S_SELECT_NOTB;
    // SAFETY: is handed no memory.
    done(|| unsafe { H5Smodify_select(space.0, without, part.0) })
}

fn rank(space: &Id) -> Result<usize> {
    Ok(number(|| ask(H5Sget_simple_extent_ndims, space))? as usize)
}

/// The shape of a space, and the one to which it may grow; `None` of a null one.
pub fn extent(space: &Id) -> Result<Option<(Vec<u64>, Vec<u64>)>> {
    sync(|| {
        match ask(H5Sget_simple_extent_type, space) {
            H5S_class_t::H5S_NULL => return Ok(None),
            H5S_class_t::H5S_NO_CLASS => return Err(failure()),
            H5S_class_t::H5S_SCALAR | H5S_class_t::H5S_SIMPLE => {}
        }
        let rank = rank(space)?;
        let (mut shape, mut most) = (vec![0; rank], vec![0; rank]);
        let (to, most_to) = (shape.as_mut_ptr(), most.as_mut_ptr());
        // SAFETY: both arrays have room for as many numbers as there are axes.
        done(|| unsafe { H5Sget_simple_extent_dims(space.0, to, most_to) })?;
        Ok(Some((shape, most)))
    })
}

pub fn copy_type(of: &Constant) -> Result<Id> {
    // SAFETY: hands over no memory.
    id(|| unsafe { H5Tcopy(**of) })
}

/// A compound without members, or an opaque type, of `size` bytes.
pub fn create_type(class: H5T_class_t, size: usize) -> Result<Id> {
    // SAFETY: hands over no memory.
    id(|| unsafe { H5Tcreate(class, size) })
}

pub fn class(of: &Id) -> H5T_class_t {
    ask(H5Tget_class, of)
}

/// The bytes of one value in memory.
pub fn type_size(of: &Id) -> Result<usize> {
    sync(|| {
        let size = ask(H5Tget_size, of);
        ensure!(size > 0, failure());
        Ok(size)
    })
}

pub fn order(of: &Id) -> H5T_order_t {
    ask(H5Tget_order, of)
}

pub fn sign(of: &Id) -> H5T_sign_t {
    ask(H5Tget_sign, of)
}

pub fn charset(of: &Id) -> H5T_cset_t {
    ask(H5Tget_cset, of)
}

pub fn same_type(a: &Id, b: &Id) -> bool {
    // SAFETY: hands over no memory.
    sync(|| unsafe { H5Tequal(a.0, b.0) > 0 })
}

/// Whether a type, or one inside it, is of that class.
pub fn has_class(of: &Id, class: H5T_class_t) -> bool {
    // SAFETY: hands over no memory.
    sync(|| unsafe { H5Tdetect_class(of.0, class) > 0 })
}

pub fn is_variable_text(of: &Id) -> bool {
    ask(H5Tis_variable_str, of) > 0
}

/// Members of a compound or an enumeration.
pub fn member_count(of: &Id) -> Result<c_uint> {
    Ok(number(|| ask(H5Tget_nmembers, of))? as c_uint)
}

pub fn member_index(of: &Id, name: &CStr) -> Result<c_uint> {
    // SAFETY: the name is a C string.
    Ok(number(|| unsafe { H5Tget_member_index(of.0, name.as_ptr()) })? as c_uint)
}

pub fn member_name(of: &Id, at: c_uint) -> Result<CString> {
    // SAFETY: the name is the caller's, who copies and frees it.
    sync(|| unsafe {
        let raw = H5Tget_member_name(of.0, at);
        ensure!(!raw.is_null(), failure());
        let name = CStr::from_ptr(raw).to_owned();
        H5free_memory(raw.cast());
        Ok(name)
    })
}

/// The byte of a record at which a member begins.
pub fn member_offset(of: &Id, at: c_uint) -> usize {
    // SAFETY: hands over no memory.
    sync(|| unsafe { H5Tget_member_offset(of.0, at) })
}

pub fn member_type(of: &Id, at: c_uint) -> Result<Id> {
    // SAFETY: hands over no memory.
    id(|| unsafe { H5Tget_member_type(of.0, at) })
}

pub fn insert_member(of: &Id, name: &CStr, offset: usize, member: &Id) -> Result<()> {
    // SAFETY: the name is a C string.
    done(|| unsafe { H5Tinsert(of.0, name.as_ptr(), offset, member.0) })
}

pub fn create_enum(base: &Id) -> Result<Id> {
    opened(H5Tenum_create, base)
}

/// The bytes of a value that an enumeration names.
pub fn enum_value(of: &Id, at: c_uint) -> Result<Vec<u8>> {
    sync(|| {
        let mut value = vec![0u8; type_size(of)?];
        // SAFETY: the buffer holds one value of the type.
        done(|| unsafe { H5Tget_member_value(of.0, at, value.as_mut_ptr().cast()) })?;
        Ok(value)
    })
}

pub fn insert_enum_value(of: &Id, name: &CStr, value: &[u8]) -> Result<()> {
    sync(|| {
        ensure!(value.len() == type_size(of)?, "A value of another size");
        // SAFETY: the name is a C string; the buffer holds one value of the type.
        done(|| unsafe { H5Tenum_insert(of.0, name.as_ptr(), value.as_ptr().cast()) })
    })
}

/// The type that an enumeration or an array is made of.
pub fn base_type(of: &Id) -> Result<Id> {
    opened(H5Tget_super, of)
}

pub fn array_shape(of: &Id) -> Result<Vec<u64>> {
    let rank = number(|| ask(H5Tget_array_ndims, of))?;
    let mut shape = vec![0; rank as usize];
    // SAFETY: the array has room for as many dimensions as the library says there are.
    done(|| unsafe { H5Tget_array_dims2(of.0, shape.as_mut_ptr()) })?;
    Ok(shape)
}

pub fn create_array(base: &Id, shape: &[u64]) -> Result<Id> {
    // SAFETY: the shape is as long as announced.
    id(|| unsafe { H5Tarray_create2(base.0, shape.len() as c_uint, shape.as_ptr()) })
}

/// A type as bytes, for [`decode_type`].
pub fn encode_type(of: &Id) -> Result<Vec<u8>> {
    let mut len = 0;
    // SAFETY: without a buffer, the size alone is written.
    done(|| unsafe { H5Tencode(of.0, null_mut(), &mut len) })?;
    let mut buf = vec![0u8; len];
    // SAFETY: the buffer is as long as announced.
    done(|| unsafe { H5Tencode(of.0, buf.as_mut_ptr().cast(), &mut len) })?;
    Ok(buf)
}

pub fn decode_type(encoded: &[u8]) -> Result<Id> {
    // SAFETY: the buffer is as long as announced.
    id(|| unsafe { H5Tdecode2(encoded.as_ptr().cast(), encoded.len()) })
}

/// From now on values of the class of `from` are read as opaque bytes by what they are in the file, where `to`, an
/// opaque type, takes as many.
pub fn read_as_opaque(name: &CStr, from: &Id, to: &Id) -> Result<()> {
    extern "C" fn keep(
        from: hid_t,
        to: hid_t,
        _: *mut H5T_cdata_t,
        _: usize,
        _: usize,
        _: usize,
        _: *mut c_void,
        _: *mut c_void,
        _: hid_t,
    ) -> c_int {
        // SAFETY: hands over no memory.
        let same = unsafe { H5Tget_size(from) == H5Tget_size(to) };
        if same { 0 } else { -1 }
    }
    // As another type they might be taken for pointers.
    ensure!(class(to) == H5T_class_t::H5T_OPAQUE, "Not opaque");
    let (soft, name) = (H5T_pers_t::H5T_PERS_SOFT, name.as_ptr());
    // SAFETY: the name is a C string, which is copied; values of as many bytes take no more room.
    done(|| unsafe { H5Tregister(soft, name, from.0, to.0, Some(keep)) })
}

/// The bytes of a value in memory at which pointers to text stand. An error where it has other pointers.
pub fn pointers(of: &Id) -> Result<Vec<usize>> {
    let mut found = vec![];
    match class(of) {
        H5T_class_t::H5T_STRING if is_variable_text(of) => found.push(0),
        H5T_class_t::H5T_COMPOUND => {
            for at in 0..member_count(of)? {
                let (offset, inside) = (member_offset(of, at), pointers(&member_type(of, at)?)?);
                found.extend(inside.iter().map(|at| offset + at));
            }
        }
        H5T_class_t::H5T_ARRAY => {
            let inside = pointers(&base_type(of)?)?;
            ensure!(inside.is_empty(), "Text of any length in an array");
        }
        // Of an address in the file; other references are of pointers.
        H5T_class_t::H5T_REFERENCE if same_type(of, &copy_type(&H5T_STD_REF_OBJ)?) => {}
        H5T_class_t::H5T_REFERENCE | H5T_class_t::H5T_VLEN => bail!("Selected with pointers"),
        _ => {}
    }
    Ok(found)
}

/// Selected in a file.
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
        let count = element_count(&block)?;
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
            ensure!(bytes == Some(values.len()), "Selected of another size");
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
            let mut values = vec![0u8; bytes.context("Selected too large to address")?];
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

/// Tells the library of a filter that [`filters::undo`] undoes.
pub fn register_filter<const ID: u32>(name: &'static CStr) -> Result<()> {
    let class = H5Z_class2_t {
        version: H5Z_CLASS_T_VERS as c_int,
        id: ID as c_int,
        encoder_present: 0,
        decoder_present: 1,
        name: name.as_ptr(),
        can_apply: None,
        set_local: None,
        filter: Some(undo::<ID>),
    };
    // SAFETY: the library copies the class, whose name and function live as long as the program.
    done(|| unsafe { H5Zregister((&raw const class).cast()) })
}

/// Undoes a filter: takes its number and parameters, and what is stored.
type Undo = fn(u32, &[u32], &[u8]) -> Result<Vec<u8>>;

unsafe extern "C" fn undo<const ID: u32>(
    flags: c_uint,
    count: usize,
    values: *const c_uint,
    bytes: usize,
    room: *mut usize,
    buffer: *mut *mut c_void,
) -> usize {
    // SAFETY: as the library calls it.
    answer(0, || unsafe {
        replace(
            ID,
            filters::undo,
            flags,
            (values, count),
            bytes,
            room,
            buffer,
        )
    })
}

/// Replaces the buffer of a chunk by what it was before the filter; 0 is an error (HDF5 manual, "H5Zregister").
///
/// # Safety
/// There are `count` parameters, or none, at `values`; `buffer` leads to a buffer of the library with `bytes` bytes of
/// data, and may, as `room`, be written.
unsafe fn replace(
    id: u32,
    undo: Undo,
    flags: c_uint,
    (values, count): (*const c_uint, usize),
    bytes: usize,
    room: *mut usize,
    buffer: *mut *mut c_void,
) -> usize {
    if flags & H5Z_FLAG_REVERSE == 0 || bytes == 0 {
        return 0;
    }
    // SAFETY: as the caller says.
    let (values, data) = unsafe {
        let values = match count {
            0 => &[][..],
            _ => slice::from_raw_parts(values, count),
        };
        (values, slice::from_raw_parts((*buffer).cast(), bytes))
    };
    let Ok(undone) = undo(id, values, data) else {
        return 0;
    };
    // SAFETY: the new buffer is the library's and as long as what is copied; the old one is the library's too, and no
    // longer used.
    unsafe {
        let new = H5allocate_memory(undone.len().max(1), 0);
        if new.is_null() {
            return 0;
        }
        std::ptr::copy_nonoverlapping(undone.as_ptr(), new.cast(), undone.len());
        H5free_memory(*buffer);
        (*buffer, *room) = (new, undone.len());
    }
    undone.len()
}

/// Lets all threads take memory from one heap, and keep some of it. glibc makes up to eight heaps for each CPU otherwise
/// (mallopt(3)), and what is free in one is of no use to the others; and it gives the kernel back what is taken again
/// for the next chunk. Called before another thread runs.
pub fn share_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (option, value) in [
        (libc::M_ARENA_MAX, 1),
        (libc::M_TRIM_THRESHOLD, 64 << 20),
        (libc::M_MMAP_THRESHOLD, 32 << 20),
    ] {
        // SAFETY: takes two numbers, and answers with 0 where it does not know them.
        unsafe { libc::mallopt(option, value) };
    }
}

#[cfg(test)]
mod tests {
    use super::super::datasets::{self, Creation};
    use super::super::files;
    use super::*;
    use crate::store::spec::{ArraySpec, Dtype, Kind};

    /// A filter that panics on whatever it undoes.
    unsafe extern "C" fn panics(
        flags: c_uint,
        count: usize,
        values: *const c_uint,
        bytes: usize,
        room: *mut usize,
        buffer: *mut *mut c_void,
    ) -> usize {
        // SAFETY: as the library calls it.
        answer(0, || unsafe {
            let undo = |_, _: &[u32], _: &[u8]| panic!("on purpose");
            replace(0, undo, flags, (values, count), bytes, room, buffer)
        })
    }

    #[test]
    fn no_panic_goes_through_the_library() {
        let mut data = [1u8, 2, 3, 4];
        let (mut room, mut buffer) = (data.len(), data.as_mut_ptr().cast());
        let (values, len) = (null(), data.len());
        // SAFETY: the buffer has as many bytes, and is not freed where nothing is undone.
        let undone = unsafe { panics(H5Z_FLAG_REVERSE, 0, values, len, &mut room, &mut buffer) };
        assert_eq!((undone, data), (0, [1, 2, 3, 4]));

        let folder = tempfile::tempdir().unwrap();
        let file = files::create(&folder.path().join("a.h5")).unwrap();
        let how = Creation {
            chunk: Some(&[4]),
            filters: &[],
            growing: false,
            large_attrs: false,
        };
        let spec = ArraySpec::new(vec![4], Dtype::native(Kind::Uint, 1));
        let dataset = datasets::create(&file, "a", &spec, &how).unwrap();
        write_chunk(&dataset, &[0], 0, &data).unwrap();
        assert!(chunks(&dataset, &mut |_, _, _, _| panic!("on purpose")).is_err());
        let mut found = 0;
        chunks(&dataset, &mut |_, _, _, _| found += 1).unwrap();
        assert_eq!(found, 1);
    }
}
