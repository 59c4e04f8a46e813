//! Every call into the HDF5 C library, each under the library's lock, as safe functions over owned identifiers.
//!
//! One of two files with `unsafe` (the other calls blosc). Two arguments hold for all of its blocks and are not repeated: every call is made
//! inside [`sync`], the lock that the library needs; and every identifier that is passed comes from an [`Id`] that is
//! borrowed for the whole call, so it is open. The C library checks identifiers and answers with an error.

use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_uint, c_void};
use std::mem::MaybeUninit;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, anyhow, bail, ensure};
use hdf5::globals::{
    H5GlobalConstant, H5P_DATASET_ACCESS, H5P_DATASET_CREATE, H5P_FILE_ACCESS, H5P_GROUP_CREATE,
    H5P_LINK_ACCESS, H5P_LINK_CREATE, H5P_OBJECT_COPY, H5T_C_S1, H5T_IEEE_F32LE, H5T_IEEE_F64LE,
    H5T_STD_I8LE, H5T_STD_I16LE, H5T_STD_I32LE, H5T_STD_I64LE, H5T_STD_REF_OBJ, H5T_STD_U8LE,
    H5T_STD_U16LE, H5T_STD_U32LE, H5T_STD_U64LE,
};
use hdf5_sys::h5::{H5_index_t::H5_INDEX_NAME, H5_iter_order_t::H5_ITER_INC, haddr_t, hsize_t};
use hdf5_sys::h5a::*;
use hdf5_sys::h5d::*;
use hdf5_sys::h5f::*;
use hdf5_sys::h5g::*;
use hdf5_sys::h5i::{
    H5I_type_t, H5Idec_ref, H5Iget_file_id, H5Iget_name, H5Iget_type, H5Iinc_ref, hid_t,
};
use hdf5_sys::h5l::{H5L_info2_t, H5L_type_t::H5L_TYPE_HARD, H5Lexists, H5Literate2};
use hdf5_sys::h5o::{
    H5O_COPY_EXPAND_REFERENCE_FLAG, H5O_INFO_BASIC, H5O_info2_t, H5Ocopy, H5Oget_info3, H5Oopen,
};
use hdf5_sys::h5p::*;
use hdf5_sys::h5r::{H5R_type_t::H5R_OBJECT1 as H5R_OBJECT, H5Rget_name};
use hdf5_sys::h5s::*;
use hdf5_sys::h5t::*;

use super::super::access::{Bounds, Identity};
use super::super::spec::{ArraySpec, Attr, Dtype, Field, Kind, Order, Strings};
use super::external;
use super::heap;
use super::watch::sync;

/// An open identifier of the library, closed when dropped.
pub struct Id(hid_t);

impl Id {
    /// Closes it, where that may write: the library keeps some values until then.
    pub fn close(self) -> Result<()> {
        let raw = self.0;
        std::mem::forget(self);
        // SAFETY: the identifier is owned, and this is its last use.
        sync(|| done(unsafe { H5Idec_ref(raw) }))
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

/// What a chunk of a dataset is in its file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawChunk {
    /// Its position in the chunk grid, last axis fastest.
    pub number: u64,
    /// From the start of the file.
    pub address: u64,
    pub size: u32,
    /// Bit i set: filter i was skipped.
    pub mask: u32,
}

/// Where the values of a dataset lie.
#[derive(Clone, Debug, PartialEq)]
pub enum Layout {
    /// In one piece at this address; `None` while nothing was written.
    Contiguous(Option<u64>),
    Chunked(Vec<u64>),
    /// Anything that only the library reads.
    Other(&'static str),
}

/// One filter of a dataset's pipeline: registered number, parameters, name.
pub type RawFilter = (u32, Vec<u32>, String);

pub enum Object {
    Group(Id),
    Dataset(Id),
}

/// The library's explanation of its last error, innermost frame first; where that is an error of the operating
/// system, it is the cause.
fn failure() -> anyhow::Error {
    let error = match hdf5::Error::query() {
        Ok(error) | Err(error) => error,
    };
    let Some(stack) = error.stack() else {
        return anyhow!("HDF5: {error}");
    };
    let mut told: Vec<_> = stack.iter().map(|f| f.desc().to_string()).collect();
    if let Some((frame, cause)) = told
        .iter()
        .find_map(|frame| Some((frame, os_error(frame)?)))
    {
        let what = frame.split([':', ',']).next().unwrap_or_default();
        return anyhow::Error::from(cause).context(format!("HDF5: {what}"));
    }
    told.dedup();
    told.reverse();
    told.truncate(3);
    anyhow!("HDF5: {}", told.join(": "))
}

/// The number that the library's file driver puts into its text, among addresses and times.
fn os_error(frame: &str) -> Option<std::io::Error> {
    let (number, _) = frame.split_once("errno = ")?.1.split_once(',')?;
    Some(std::io::Error::from_raw_os_error(number.parse().ok()?))
}

fn id(raw: hid_t) -> Result<Id> {
    if raw < 0 { Err(failure()) } else { Ok(Id(raw)) }
}

fn done(code: impl Into<i64>) -> Result<()> {
    let code: i64 = code.into();
    if code < 0 { Err(failure()) } else { Ok(()) }
}

fn text(name: &str) -> Result<CString> {
    CString::new(name)
        .map_err(|_| anyhow!("The name {name:?} holds a NUL, which HDF5 cannot store"))
}

fn path_text(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| anyhow!("The path {} holds a NUL", path.display()))
}

fn plist(class: &H5GlobalConstant) -> Result<Id> {
    // SAFETY: a class identifier of the library itself.
    sync(|| id(unsafe { H5Pcreate(**class) }))
}

/// A file access list with the plain POSIX driver, so that addresses are positions in the file.
fn access() -> Result<Id> {
    let list = plist(&H5P_FILE_ACCESS)?;
    // SAFETY: sets properties of a list made above.
    sync(|| unsafe {
        done(H5Pset_fapl_sec2(list.0))?;
        done(H5Pset_file_locking(list.0, 0, 1))?;
        done(H5Pset_fclose_degree(
            list.0,
            H5F_close_degree_t::H5F_CLOSE_STRONG,
        ))
    })?;
    Ok(list)
}

/// Opens a file for reading.
pub fn open_file(path: &Path) -> Result<Id> {
    let (name, access) = (path_text(path)?, access()?);
    // SAFETY: the name is a C string.
    sync(|| id(unsafe { H5Fopen(name.as_ptr(), H5F_ACC_RDONLY, access.0) }))
}

/// Creates a file that every reader since HDF5 1.8 opens; fails where something stands.
pub fn create_file(path: &Path) -> Result<Id> {
    let (name, access) = (path_text(path)?, writing()?);
    // SAFETY: the name is a C string.
    sync(|| id(unsafe { H5Fcreate(name.as_ptr(), H5F_ACC_EXCL, H5P_DEFAULT, access.0) }))
}

/// Opens a file for reading and writing.
pub fn extend_file(path: &Path) -> Result<Id> {
    let (name, access) = (path_text(path)?, writing()?);
    // SAFETY: the name is a C string.
    sync(|| id(unsafe { H5Fopen(name.as_ptr(), H5F_ACC_RDWR, access.0) }))
}

/// A file access list that keeps to the oldest format that does.
fn writing() -> Result<Id> {
    let list = access()?;
    // SAFETY: sets properties of a list made above.
    sync(|| {
        done(unsafe {
            H5Pset_libver_bounds(
                list.0,
                H5F_libver_t::H5F_LIBVER_EARLIEST,
                H5F_libver_t::H5F_LIBVER_V110,
            )
        })
    })?;
    Ok(list)
}

/// Hands everything to the file system and closes the file, whatever objects of it are still open.
pub fn close_file(file: Id) -> Result<()> {
    let raw = file.0;
    std::mem::forget(file);
    // SAFETY: the identifier is owned, and this is its last use.
    sync(|| done(unsafe { H5Fclose(raw) }))
}

/// The path of the file that holds an object.
pub fn file_name(object: &Id) -> Result<PathBuf> {
    // SAFETY: the callback writes at most `size` bytes into a buffer of that size.
    let name = sized(|buf, size| unsafe { H5Fget_name(object.0, buf, size) as i64 })?;
    Ok(std::ffi::OsString::from_vec(name).into())
}

/// Where the addresses in the file that holds an object count from; `None` where they, or sizes, do not take 8 bytes.
pub fn base_address(object: &Id) -> Result<Option<u64>> {
    // SAFETY: asks for properties of an open file.
    sync(|| unsafe {
        let file = id(H5Iget_file_id(object.0))?;
        let list = id(H5Fget_create_plist(file.0))?;
        let (mut address, mut size, mut base) = (0, 0, 0);
        done(H5Pget_sizes(list.0, &mut address, &mut size))?;
        done(H5Pget_userblock(list.0, &mut base))?;
        Ok(((address, size) == (8, 8)).then_some(base))
    })
}

/// The absolute path of an object in its file.
pub fn object_path(object: &Id) -> Result<String> {
    // SAFETY: as in `file_name`.
    let name = sized(|buf, size| unsafe { H5Iget_name(object.0, buf, size) as i64 })?;
    Ok(String::from_utf8_lossy(&name).into_owned())
}

/// Calls a function that reports a length and fills a buffer with that many bytes and a NUL.
fn sized(call: impl Fn(*mut c_char, usize) -> i64) -> Result<Vec<u8>> {
    sync(|| {
        let len = call(null_mut(), 0);
        done(len)?;
        let mut buf = vec![0u8; len as usize + 1];
        done(call(buf.as_mut_ptr().cast(), buf.len()))?;
        buf.truncate(len as usize);
        Ok(buf)
    })
}

/// What is known while a path is walked that may lead into other files.
struct Walk<'a> {
    bounds: &'a Bounds,
    refused: Option<anyhow::Error>,
}

/// Called before the file of an external link is opened: asks whether it may be.
extern "C" fn before_external(
    from: *const c_char,
    _: *const c_char,
    to: *const c_char,
    _: *const c_char,
    _: *mut c_uint,
    _: hid_t,
    walk: *mut c_void,
) -> c_int {
    // SAFETY: the library gives C strings, and the walk that `walk` made the list for, which outlives the call and
    // which nothing else touches meanwhile.
    let (from, to, walk) = unsafe {
        let path = |name| Path::new(OsStr::from_bytes(CStr::from_ptr(name).to_bytes()));
        (path(from), path(to), &mut *walk.cast::<Walk>())
    };
    match external::check(walk.bounds, from, to) {
        Ok(_) => 0,
        Err(refused) => {
            walk.refused = Some(refused);
            -1
        }
    }
}

/// Makes a call that walks links, with an access list that keeps to the bounds.
fn walk<T>(bounds: &Bounds, call: impl FnOnce(hid_t) -> Result<T>) -> Result<T> {
    let mut walk = Walk {
        bounds,
        refused: None,
    };
    let list = plist(&H5P_LINK_ACCESS)?;
    let data: *mut c_void = (&raw mut walk).cast();
    // SAFETY: the walk outlives the list, which is used for this one call.
    sync(|| done(unsafe { H5Pset_elink_cb(list.0, Some(before_external), data) }))?;
    let found = call(list.0);
    drop(list);
    match walk.refused {
        Some(refused) => Err(refused),
        None => found,
    }
}

/// Whether each link on the way to `path` exists; a soft link to nowhere does.
pub fn exists(group: &Id, path: &str, bounds: &Bounds) -> Result<bool> {
    for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
        let part = text(&path[..end])?;
        let found = walk(bounds, |links| {
            // SAFETY: the name is a C string.
            let found = sync(|| unsafe { H5Lexists(group.0, part.as_ptr(), links) });
            done(found)?;
            Ok(found > 0)
        })?;
        if !found {
            return Ok(false);
        }
        // Nothing lies below what is no group; the library fails to say so.
        let on_the_way = end < path.len();
        if on_the_way
            && !matches!(
                open_object(group, &path[..end], bounds, 0)?,
                Object::Group(_)
            )
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Opens the node at `path` below a group or file; an error where it, or what its values come from, is out of bounds.
/// `depth` counts the virtual datasets that this one is a source of, one in another.
pub fn open_object(group: &Id, path: &str, bounds: &Bounds, depth: usize) -> Result<Object> {
    let name = text(path)?;
    let object = walk(bounds, |links| {
        // SAFETY: the name is a C string.
        sync(|| id(unsafe { H5Oopen(group.0, name.as_ptr(), links) }))
    })?;
    // SAFETY: asks for the type of an open identifier.
    match sync(|| unsafe { H5Iget_type(object.0) }) {
        H5I_type_t::H5I_GROUP => Ok(Object::Group(object)),
        H5I_type_t::H5I_DATASET => {
            external::check_values(&object, bounds, depth)?;
            Ok(Object::Dataset(object))
        }
        _ => bail!("'{path}' is neither a group nor a dataset"),
    }
}

/// Which object of which file this is.
pub fn identity(object: &Id) -> Result<Identity> {
    let mut info = MaybeUninit::<H5O_info2_t>::uninit();
    let at = info.as_mut_ptr();
    // SAFETY: the library fills the structure where it succeeds; a token is 16 bytes.
    sync(|| unsafe {
        done(H5Oget_info3(object.0, at, H5O_INFO_BASIC))?;
        let token = (&raw const (*at).token).cast::<[u8; 16]>().read();
        Ok(((*at).fileno, u128::from_ne_bytes(token)))
    })
}

/// Where values of a dataset lie, if not in its own place in its own file.
pub enum Elsewhere {
    /// In a file without structure.
    Raw(PathBuf),
    /// In another dataset; the file `.` is its own.
    Source { file: PathBuf, path: String },
}

/// All places outside a dataset that its values come from, each once.
pub fn elsewhere(dataset: &Id) -> Result<Vec<Elsewhere>> {
    // SAFETY: asks for properties of an open dataset; the callbacks write at most as many bytes as they are told.
    sync(|| unsafe {
        let list = id(H5Dget_create_plist(dataset.0))?;
        if H5Pget_layout(list.0) != H5D_layout_t::H5D_VIRTUAL {
            return (0..H5Pget_external_count(list.0).max(0) as c_uint)
                .map(|i| raw_file(&list, i).map(Elsewhere::Raw))
                .collect();
        }
        let mut count = 0;
        done(H5Pget_virtual_count(list.0, &mut count))?;
        let mut known = HashSet::new();
        let mut found = vec![];
        for i in 0..count {
            let file = sized(|buf, size| H5Pget_virtual_filename(list.0, i, buf, size) as i64)?;
            let path = sized(|buf, size| H5Pget_virtual_dsetname(list.0, i, buf, size) as i64)?;
            if known.insert((file.clone(), path.clone())) {
                found.push(Elsewhere::Source {
                    file: std::ffi::OsString::from_vec(file).into(),
                    path: String::from_utf8_lossy(&path).into_owned(),
                });
            }
        }
        Ok(found)
    })
}

/// The name of one file of external storage, as long as a path can be.
fn raw_file(list: &Id, number: c_uint) -> Result<PathBuf> {
    let mut name = vec![0u8; 4097];
    let (mut offset, mut size) = (0, 0);
    // SAFETY: at most one byte less is written than the buffer holds.
    sync(|| {
        done(unsafe {
            H5Pget_external(
                list.0,
                number,
                name.len() - 1,
                name.as_mut_ptr().cast(),
                &mut offset,
                &mut size,
            )
        })
    })?;
    let name = name.split(|&b| b == 0).next().unwrap_or_default();
    Ok(Path::new(OsStr::from_bytes(name)).into())
}

fn utf8(names: Vec<Vec<u8>>) -> Result<Vec<String>> {
    let mut names = names
        .into_iter()
        .map(|n| {
            String::from_utf8(n).map_err(|e| {
                let shown = String::from_utf8_lossy(e.as_bytes()).into_owned();
                anyhow!("The name {shown:?} is not UTF-8")
            })
        })
        .collect::<Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

/// The names of a group's links, sorted by code point.
pub fn names(group: &Id) -> Result<Vec<String>> {
    links(group, |_| ())
}

/// As [`names`]; `kind` is called with the type of each link as the file has it, which may be none that is known.
fn links(group: &Id, mut kind: impl FnMut(c_int)) -> Result<Vec<String>> {
    struct Found<'a> {
        names: Vec<Vec<u8>>,
        kind: &'a mut dyn FnMut(c_int),
    }
    unsafe extern "C" fn each(
        _: hid_t,
        name: *const c_char,
        info: *const H5L_info2_t,
        found: *mut c_void,
    ) -> c_int {
        // SAFETY: `found` is the value given below, which outlives the iteration; the type comes first in `info`.
        unsafe {
            let found = &mut *found.cast::<Found>();
            found.names.push(CStr::from_ptr(name).to_bytes().to_vec());
            (found.kind)(info.cast::<c_int>().read());
        }
        0
    }
    let mut found = Found {
        names: vec![],
        kind: &mut kind,
    };
    let out: *mut c_void = (&raw mut found).cast();
    // SAFETY: the callback gets `out`, a live value that nothing else touches meanwhile.
    sync(|| {
        done(unsafe {
            H5Literate2(
                group.0,
                H5_INDEX_NAME,
                H5_ITER_INC,
                null_mut(),
                Some(each),
                out,
            )
        })
    })?;
    utf8(found.names)
}

/// The names of an object's attributes, sorted by code point.
pub fn attr_names(object: &Id) -> Result<Vec<String>> {
    unsafe extern "C" fn each(
        _: hid_t,
        name: *const c_char,
        _: *const H5A_info_t,
        out: *mut c_void,
    ) -> c_int {
        // SAFETY: `out` is the vector given below, which outlives the iteration; the name is a C string.
        unsafe { (*out.cast::<Vec<Vec<u8>>>()).push(CStr::from_ptr(name).to_bytes().to_vec()) };
        0
    }
    let mut names: Vec<Vec<u8>> = vec![];
    let out: *mut c_void = (&raw mut names).cast();
    // SAFETY: the callback gets `out`, a live vector that nothing else touches meanwhile.
    sync(|| {
        done(unsafe {
            H5Aiterate2(
                object.0,
                H5_INDEX_NAME,
                H5_ITER_INC,
                null_mut(),
                Some(each),
                out,
            )
        })
    })?;
    utf8(names)
}

/// The dimensions of a dataspace; `None` for a null one.
fn dims(space: &Id) -> Result<Option<Vec<u64>>> {
    // SAFETY: the array has room for as many dimensions as the library says there are.
    sync(|| unsafe {
        match H5Sget_simple_extent_type(space.0) {
            H5S_class_t::H5S_NULL => return Ok(None),
            H5S_class_t::H5S_SCALAR => return Ok(Some(vec![])),
            H5S_class_t::H5S_SIMPLE => {}
            _ => return Err(failure()),
        }
        let rank = H5Sget_simple_extent_ndims(space.0);
        done(rank)?;
        let mut dims = vec![0 as hsize_t; rank as usize];
        done(H5Sget_simple_extent_dims(
            space.0,
            dims.as_mut_ptr(),
            null_mut(),
        ))?;
        Ok(Some(dims))
    })
}

fn space(shape: &[u64], growing: bool) -> Result<Id> {
    let mut most = shape.to_vec();
    if growing && let Some(first) = most.first_mut() {
        *first = H5S_UNLIMITED;
    }
    // SAFETY: both arrays hold as many dimensions as are announced.
    sync(|| unsafe {
        if shape.is_empty() {
            return id(H5Screate(H5S_class_t::H5S_SCALAR));
        }
        id(H5Screate_simple(
            shape.len() as c_int,
            shape.as_ptr(),
            most.as_ptr(),
        ))
    })
}

fn class(of: &Id) -> H5T_class_t {
    // SAFETY: asks for the class of an open type.
    sync(|| unsafe { H5Tget_class(of.0) })
}

fn same(a: &Id, b: hid_t) -> bool {
    // SAFETY: compares two open types.
    sync(|| unsafe { H5Tequal(a.0, b) > 0 })
}

/// What a stored type is.
fn dtype(of: &Id) -> Result<Dtype> {
    // SAFETY: asks for properties of an open type.
    let (size, order, sign) =
        sync(|| unsafe { (H5Tget_size(of.0), H5Tget_order(of.0), H5Tget_sign(of.0)) });
    ensure!(size > 0, failure());
    let order = if order == H5T_order_t::H5T_ORDER_BE {
        Order::Big
    } else {
        Order::Little
    };
    let number = |kind| Dtype::Number { kind, size, order };
    let found = match class(of) {
        H5T_class_t::H5T_INTEGER if matches!(size, 1 | 2 | 4 | 8) => {
            let kind = match sign {
                H5T_sign_t::H5T_SGN_NONE => Kind::Uint,
                _ => Kind::Int,
            };
            let whole = type_of(&number(kind))?;
            same(of, whole.0).then(|| number(kind))
        }
        H5T_class_t::H5T_FLOAT if matches!(size, 2 | 4 | 8) => {
            let whole = type_of(&number(Kind::Float))?;
            same(of, whole.0).then(|| number(Kind::Float))
        }
        H5T_class_t::H5T_ENUM => {
            let bool_type = type_of(&Dtype::BOOL)?;
            same(of, bool_type.0).then_some(Dtype::BOOL)
        }
        // SAFETY: asks whether an open string type is of variable length.
        H5T_class_t::H5T_STRING => Some(match sync(|| unsafe { H5Tis_variable_str(of.0) }) {
            0 => Dtype::FixedString { size },
            _ => Dtype::String,
        }),
        H5T_class_t::H5T_COMPOUND => record(of, size)?,
        _ => None,
    };
    match found {
        Some(dtype) => Ok(dtype),
        None => opaque(of, size),
    }
}

/// A compound: numpy's complex numbers, or a record. `None` where a member is none of ours.
fn record(of: &Id, size: usize) -> Result<Option<Dtype>> {
    // SAFETY: asks for the members of an open compound by numbers below their count; names are copied, then freed.
    let members = sync(|| unsafe {
        let count = H5Tget_nmembers(of.0);
        done(count)?;
        (0..count as c_uint)
            .map(|i| {
                let raw = H5Tget_member_name(of.0, i);
                if raw.is_null() {
                    return Err(failure());
                }
                let name = CStr::from_ptr(raw).to_string_lossy().into_owned();
                hdf5_sys::h5::H5free_memory(raw.cast());
                Ok((
                    name,
                    H5Tget_member_offset(of.0, i),
                    id(H5Tget_member_type(of.0, i))?,
                ))
            })
            .collect::<Result<Vec<_>>>()
    })?;
    let mut fields = vec![];
    for (name, offset, member) in members {
        let (dtype, shape) = match class(&member) {
            H5T_class_t::H5T_ARRAY => array_member(&member)?,
            _ => (dtype(&member)?, vec![]),
        };
        if matches!(dtype, Dtype::Hdf5 { .. } | Dtype::Unsupported(_)) {
            return Ok(None);
        }
        fields.push(Field {
            name,
            offset,
            dtype,
            shape,
        });
    }
    if let [re, im] = fields.as_slice()
        && (re.name.as_str(), im.name.as_str()) == ("r", "i")
        && re.dtype == im.dtype
        && let Dtype::Number {
            kind: Kind::Float,
            size: half,
            order,
        } = re.dtype
        && size == 2 * half
        && (re.offset, im.offset) == (0, half)
    {
        return Ok(Some(Dtype::Number {
            kind: Kind::Complex,
            size,
            order,
        }));
    }
    Ok(Some(Dtype::Record { size, fields }))
}

fn array_member(of: &Id) -> Result<(Dtype, Vec<u64>)> {
    // SAFETY: the array has room for as many dimensions as the library says there are.
    let (base, shape) = sync(|| unsafe {
        let rank = H5Tget_array_ndims(of.0);
        done(rank)?;
        let mut shape = vec![0 as hsize_t; rank as usize];
        done(H5Tget_array_dims2(of.0, shape.as_mut_ptr()))?;
        Ok::<_, anyhow::Error>((id(H5Tget_super(of.0))?, shape))
    })?;
    Ok((dtype(&base)?, shape))
}

/// A type of fixed width as bytes that can be given back to the library, unless its values lead elsewhere in the file.
fn opaque(of: &Id, size: usize) -> Result<Dtype> {
    // SAFETY: looks for classes inside an open type.
    let leads_away = sync(|| unsafe {
        H5Tdetect_class(of.0, H5T_class_t::H5T_VLEN) > 0
            || H5Tdetect_class(of.0, H5T_class_t::H5T_REFERENCE) > 0
            || (class(of) != H5T_class_t::H5T_STRING && has_variable_text(of))
    });
    if leads_away {
        return Ok(Dtype::Unsupported(
            "it holds references or sequences of variable length".into(),
        ));
    }
    // SAFETY: the first call asks for the size, the second fills a buffer of that size.
    let encoded = sync(|| unsafe {
        let mut len = 0;
        done(H5Tencode(of.0, null_mut(), &mut len))?;
        let mut buf = vec![0u8; len];
        done(H5Tencode(of.0, buf.as_mut_ptr().cast(), &mut len))?;
        Ok::<_, anyhow::Error>(buf)
    })?;
    Ok(Dtype::Hdf5 {
        size,
        encoded: encoded.into(),
    })
}

fn has_variable_text(of: &Id) -> bool {
    if class(of) != H5T_class_t::H5T_COMPOUND {
        return false;
    }
    // SAFETY: asks for the members of an open compound by numbers below their count.
    sync(|| unsafe {
        (0..H5Tget_nmembers(of.0).max(0) as c_uint).any(|i| {
            id(H5Tget_member_type(of.0, i))
                .is_ok_and(|m| H5Tis_variable_str(m.0) > 0 || has_variable_text(&m))
        })
    })
}

/// The library's type for ours.
fn type_of(dtype: &Dtype) -> Result<Id> {
    // SAFETY: copies and changes types that are made here; names are C strings.
    sync(|| unsafe {
        match dtype {
            Dtype::Number {
                kind: Kind::Bool, ..
            } => {
                let of = id(H5Tenum_create(*H5T_STD_I8LE))?;
                for (name, value) in [(c"FALSE", 0i8), (c"TRUE", 1i8)] {
                    done(H5Tenum_insert(
                        of.0,
                        name.as_ptr(),
                        (&raw const value).cast(),
                    ))?;
                }
                Ok(of)
            }
            Dtype::Number {
                kind: Kind::Complex,
                size,
                order,
            } => {
                let half = type_of(&Dtype::Number {
                    kind: Kind::Float,
                    size: size / 2,
                    order: *order,
                })?;
                let of = id(H5Tcreate(H5T_class_t::H5T_COMPOUND, *size))?;
                done(H5Tinsert(of.0, c"r".as_ptr(), 0, half.0))?;
                done(H5Tinsert(of.0, c"i".as_ptr(), size / 2, half.0))?;
                Ok(of)
            }
            Dtype::Number { kind, size, order } => {
                let base = match (kind, size) {
                    (Kind::Int, 1) => *H5T_STD_I8LE,
                    (Kind::Int, 2) => *H5T_STD_I16LE,
                    (Kind::Int, 4) => *H5T_STD_I32LE,
                    (Kind::Int, 8) => *H5T_STD_I64LE,
                    (Kind::Uint, 1) => *H5T_STD_U8LE,
                    (Kind::Uint, 2) => *H5T_STD_U16LE,
                    (Kind::Uint, 4) => *H5T_STD_U32LE,
                    (Kind::Uint, 8) => *H5T_STD_U64LE,
                    (Kind::Float, 2) => return half_float(*order),
                    (Kind::Float, 4) => *H5T_IEEE_F32LE,
                    (Kind::Float, 8) => *H5T_IEEE_F64LE,
                    _ => bail!("HDF5 has no {dtype}"),
                };
                let of = id(H5Tcopy(base))?;
                if *order == Order::Big {
                    done(H5Tset_order(of.0, H5T_order_t::H5T_ORDER_BE))?;
                }
                Ok(of)
            }
            Dtype::String => {
                let of = id(H5Tcopy(*H5T_C_S1))?;
                done(H5Tset_size(of.0, H5T_VARIABLE))?;
                done(H5Tset_cset(of.0, H5T_cset_t::H5T_CSET_UTF8))?;
                Ok(of)
            }
            Dtype::FixedString { size } => {
                let of = id(H5Tcopy(*H5T_C_S1))?;
                done(H5Tset_size(of.0, *size))?;
                done(H5Tset_strpad(of.0, H5T_str_t::H5T_STR_NULLPAD))?;
                Ok(of)
            }
            Dtype::Record { size, fields } => {
                let of = id(H5Tcreate(H5T_class_t::H5T_COMPOUND, *size))?;
                for field in fields {
                    let mut member = type_of(&field.dtype)?;
                    if !field.shape.is_empty() {
                        let rank = field.shape.len() as c_uint;
                        member = id(H5Tarray_create2(member.0, rank, field.shape.as_ptr()))?;
                    }
                    let name = text(&field.name)?;
                    done(H5Tinsert(of.0, name.as_ptr(), field.offset, member.0))?;
                }
                Ok(of)
            }
            Dtype::Hdf5 { encoded, .. } => id(H5Tdecode2(encoded.as_ptr().cast(), encoded.len())),
            Dtype::Unsupported(why) => bail!("A type that cannot be written: {why}"),
        }
    })
}

/// IEEE binary16, made from binary32 as h5py makes it, so that older libraries know it.
fn half_float(order: Order) -> Result<Id> {
    // SAFETY: changes a copy of a type.
    sync(|| unsafe {
        let of = id(H5Tcopy(*H5T_IEEE_F32LE))?;
        done(H5Tset_fields(of.0, 15, 10, 5, 0, 10))?;
        done(H5Tset_size(of.0, 2))?;
        done(H5Tset_ebias(of.0, 15))?;
        if order == Order::Big {
            done(H5Tset_order(of.0, H5T_order_t::H5T_ORDER_BE))?;
        }
        Ok(of)
    })
}

/// The type that values have in memory: the stored one, but text as C strings in UTF-8.
fn memory_type(stored: &Id, dtype: &Dtype) -> Result<Id> {
    if *dtype != Dtype::String {
        return Ok(stored.clone());
    }
    // SAFETY: changes a copy of a type; the character set must be that of the stored type.
    sync(|| unsafe {
        let of = id(H5Tcopy(*H5T_C_S1))?;
        done(H5Tset_size(of.0, H5T_VARIABLE))?;
        done(H5Tset_cset(of.0, H5Tget_cset(stored.0)))?;
        Ok(of)
    })
}

/// Takes `count` C strings out of the library's memory, then gives that memory back.
///
/// SAFETY of the callers: `pointers` was filled by a read with `of` and `space`, which hold `pointers.len()` values.
unsafe fn take_strings(pointers: &mut [*mut c_char], of: &Id, space: &Id) -> Result<Strings> {
    let strings = pointers
        .iter()
        .map(|&p| match p.is_null() {
            true => &b""[..],
            // SAFETY: the library ends each text with a NUL.
            false => unsafe { CStr::from_ptr(p) }.to_bytes(),
        })
        .collect();
    // SAFETY: as above; the pointers are not used again.
    done(unsafe { H5Treclaim(of.0, space.0, H5P_DEFAULT, pointers.as_mut_ptr().cast()) })?;
    Ok(strings)
}

/// Takes references to text, as they are in the file, to the text; `None` where the library is to do so.
pub type ByHeap<'a> = &'a dyn Fn(&[u8]) -> Result<Option<Strings>>;

/// Reads one attribute, its text past the library where there is `by_heap`: the library takes as much memory for a
/// text as a damaged reference claims.
pub fn read_attr(object: &Id, name: &str, by_heap: Option<ByHeap>) -> Result<Attr> {
    let c_name = text(name)?;
    // SAFETY: the name is a C string.
    let (attr, of, space) = sync(|| unsafe {
        let attr = id(H5Aopen(object.0, c_name.as_ptr(), H5P_DEFAULT))?;
        let of = id(H5Aget_type(attr.0))?;
        let space = id(H5Aget_space(attr.0))?;
        Ok::<_, anyhow::Error>((attr, of, space))
    })?;
    if class(&of) == H5T_class_t::H5T_REFERENCE {
        return match dims(&space)? {
            Some(shape) if shape.iter().all(|&n| n == 1) => read_reference(object, &attr, &of),
            _ => Ok(Attr::Null(Dtype::Unsupported("references".into()))),
        };
    }
    let dtype = dtype(&of)?;
    let (Some(shape), false) = (dims(&space)?, matches!(dtype, Dtype::Unsupported(_))) else {
        return Ok(Attr::Null(dtype));
    };
    let count = element_count(&shape)?;
    if dtype.is_string() {
        let past = match by_heap.filter(|_| dtype == Dtype::String) {
            Some(by_heap) => by_heap(&attr_references(&attr, count)?)?,
            None => None,
        };
        let strings = if let Some(strings) = past {
            strings
        } else if dtype == Dtype::String {
            let memory = memory_type(&of, &dtype)?;
            let mut pointers: Vec<*mut c_char> = vec![null_mut(); count];
            // SAFETY: the buffer holds one pointer for each value.
            sync(|| unsafe {
                done(H5Aread(attr.0, memory.0, pointers.as_mut_ptr().cast()))?;
                take_strings(&mut pointers, &memory, &space)
            })?
        } else {
            unpad(
                &read_attr_bytes(&attr, &of, count, dtype.size())?,
                dtype.size(),
            )
        };
        let mut values: Vec<String> = strings
            .iter()
            .map(|s| String::from_utf8_lossy(s).into_owned())
            .collect();
        return Ok(match (shape.is_empty(), values.pop()) {
            (true, Some(value)) => Attr::Text(value),
            (_, last) => {
                values.extend(last);
                Attr::Texts { shape, values }
            }
        });
    }
    let bytes = read_attr_bytes(&attr, &of, count, dtype.size())?;
    Ok(Attr::Bytes {
        dtype,
        shape,
        bytes,
    })
}

/// What stands in the file for the texts of an attribute: to the library this is a conversion, which does nothing.
fn attr_references(attr: &Id, count: usize) -> Result<Vec<u8>> {
    extern "C" fn keep(
        _: hid_t,
        _: hid_t,
        _: *mut H5T_cdata_t,
        _: usize,
        _: usize,
        _: usize,
        _: *mut c_void,
        _: *mut c_void,
        _: hid_t,
    ) -> c_int {
        0
    }
    static KNOWN: AtomicBool = AtomicBool::new(false);
    let mut bytes = vec![0; count * heap::REFERENCE];
    let from = type_of(&Dtype::String)?;
    // SAFETY: a reference is as long as the opaque type, where addresses take 8 bytes, so the conversion in place is
    // right as it is; the buffer holds `count` of them.
    sync(|| unsafe {
        let to = id(H5Tcreate(H5T_class_t::H5T_OPAQUE, heap::REFERENCE))?;
        if !KNOWN.swap(true, Ordering::Relaxed) {
            let name = c"text to reference".as_ptr();
            let soft = H5T_pers_t::H5T_PERS_SOFT;
            done(H5Tregister(soft, name, from.0, to.0, Some(keep)))?;
        }
        done(H5Aread(attr.0, to.0, bytes.as_mut_ptr().cast()))
    })?;
    Ok(bytes)
}

fn element_count(shape: &[u64]) -> Result<usize> {
    shape
        .iter()
        .try_fold(1u64, |n, &d| n.checked_mul(d))
        .and_then(|n| usize::try_from(n).ok())
        .filter(|&n| n <= isize::MAX as usize / 64)
        .with_context(|| format!("Shape {shape:?} is too large"))
}

fn read_attr_bytes(attr: &Id, of: &Id, count: usize, size: usize) -> Result<Vec<u8>> {
    // SAFETY: asks for the size of an open type.
    let own = sync(|| unsafe { H5Tget_size(of.0) });
    ensure!(own == size, "A type of {own} bytes where {size} are read");
    let mut bytes = vec![0; count * size];
    // SAFETY: the buffer holds `count` values of the type's own size, as checked above.
    sync(|| done(unsafe { H5Aread(attr.0, of.0, bytes.as_mut_ptr().cast()) }))?;
    Ok(bytes)
}

/// The path that an attribute's one object reference leads to.
fn read_reference(object: &Id, attr: &Id, of: &Id) -> Result<Attr> {
    // SAFETY: asks for the size of an open type.
    let size = sync(|| unsafe { H5Tget_size(of.0) });
    if !same(of, *H5T_STD_REF_OBJ) || size != size_of::<haddr_t>() {
        return Ok(Attr::Null(Dtype::Unsupported("a reference".into())));
    }
    let bytes = read_attr_bytes(attr, of, 1, size)?;
    let target: *const c_void = bytes.as_ptr().cast();
    // SAFETY: the reference is 8 bytes of ours; the callback writes at most `size` bytes.
    let name =
        sized(|buf, size| unsafe { H5Rget_name(object.0, H5R_OBJECT, target, buf, size) as i64 })?;
    Ok(Attr::Reference(String::from_utf8_lossy(&name).into_owned()))
}

/// Texts of a fixed width without their padding.
pub fn unpad(bytes: &[u8], size: usize) -> Strings {
    bytes
        .chunks_exact(size.max(1))
        .map(|t| &t[..t.iter().rposition(|&b| b != 0).map_or(0, |end| end + 1)])
        .collect()
}

/// Writes one attribute, in place of one of that name.
pub fn write_attr(object: &Id, name: &str, attr: &Attr) -> Result<()> {
    let (of, space, bytes, texts);
    match attr {
        Attr::Text(value) => {
            (of, space) = (type_of(&Dtype::String)?, self::space(&[], false)?);
            (bytes, texts) = (vec![], vec![text(value)?]);
        }
        Attr::Texts { shape, values } => {
            (of, space) = (type_of(&Dtype::String)?, self::space(shape, false)?);
            (bytes, texts) = (
                vec![],
                values.iter().map(|v| text(v)).collect::<Result<_>>()?,
            );
        }
        Attr::Bytes {
            dtype,
            shape,
            bytes: values,
        } => {
            ensure!(
                element_count(shape)? * dtype.size() == values.len(),
                "Attribute '{name}' does not fill its shape"
            );
            (of, space) = (type_of(dtype)?, self::space(shape, false)?);
            (bytes, texts) = (values.clone(), vec![]);
        }
        Attr::Null(dtype) => {
            of = type_of(dtype)?;
            // SAFETY: makes a null dataspace.
            space = sync(|| id(unsafe { H5Screate(H5S_class_t::H5S_NULL) }))?;
            (bytes, texts) = (vec![], vec![]);
        }
        Attr::Reference(path) => return write_attr(object, name, &Attr::Text(path.clone())),
        Attr::Json(value) => return write_attr(object, name, &Attr::Text(value.to_string())),
    }
    let pointers: Vec<*const c_char> = texts.iter().map(|t| t.as_ptr()).collect();
    let values: *const c_void = match pointers.is_empty() {
        true => bytes.as_ptr().cast(),
        false => pointers.as_ptr().cast(),
    };
    let c_name = text(name)?;
    // SAFETY: the buffer holds one value (or one C string, alive until the end) for each element of the space.
    sync(|| unsafe {
        if H5Aexists(object.0, c_name.as_ptr()) > 0 {
            done(H5Adelete(object.0, c_name.as_ptr()))?;
        }
        let attr = id(H5Acreate2(
            object.0,
            c_name.as_ptr(),
            of.0,
            space.0,
            H5P_DEFAULT,
            H5P_DEFAULT,
        ))?;
        if bytes.is_empty() && texts.is_empty() {
            return Ok(());
        }
        done(H5Awrite(attr.0, of.0, values))
    })
    .with_context(|| format!("Write attribute '{name}'"))
}

/// Shape and type of a dataset; an error where its chunks have another rank, by which the library divides by zero
/// (CVE-2026-19025).
pub fn spec(dataset: &Id) -> Result<ArraySpec> {
    // SAFETY: asks for type, space and properties of an open dataset; no room for dimensions is given.
    let (of, space, chunk_rank) = sync(|| unsafe {
        let of = id(H5Dget_type(dataset.0))?;
        let space = id(H5Dget_space(dataset.0))?;
        let list = id(H5Dget_create_plist(dataset.0))?;
        let chunk_rank = match H5Pget_layout(list.0) {
            H5D_layout_t::H5D_CHUNKED => Some(H5Pget_chunk(list.0, 0, null_mut())),
            _ => None,
        };
        Ok::<_, anyhow::Error>((of, space, chunk_rank))
    })?;
    let shape = dims(&space)?;
    let rank = shape.as_ref().map_or(0, Vec::len);
    ensure!(
        chunk_rank.is_none_or(|chunk| usize::try_from(chunk) == Ok(rank)),
        "Its chunks have another number of axes than its {rank}"
    );
    Ok(ArraySpec {
        null: shape.is_none(),
        shape: shape.unwrap_or_default(),
        dtype: dtype(&of)?,
    })
}

/// Where the values of a dataset lie, and through which filters its chunks went.
pub fn storage(dataset: &Id, rank: usize) -> Result<(Layout, Vec<RawFilter>)> {
    // SAFETY: asks for properties of an open dataset; the array of dimensions has room for its rank.
    sync(|| unsafe {
        let list = id(H5Dget_create_plist(dataset.0))?;
        let filters = filters(&list)?;
        let layout = match H5Pget_layout(list.0) {
            H5D_layout_t::H5D_CONTIGUOUS if H5Pget_external_count(list.0) > 0 => {
                Layout::Other("external storage")
            }
            H5D_layout_t::H5D_CONTIGUOUS => {
                let at = H5Dget_offset(dataset.0);
                Layout::Contiguous((at != haddr_t::MAX).then_some(at))
            }
            H5D_layout_t::H5D_CHUNKED => {
                let mut dims = vec![0 as hsize_t; rank];
                done(H5Pget_chunk(list.0, rank as c_int, dims.as_mut_ptr()))?;
                Layout::Chunked(dims)
            }
            H5D_layout_t::H5D_COMPACT => Layout::Other("compact storage"),
            H5D_layout_t::H5D_VIRTUAL => Layout::Other("a virtual dataset"),
            _ => return Err(failure()),
        };
        Ok((layout, filters))
    })
}

/// SAFETY of the caller: under the lock, with an open creation list.
unsafe fn filters(list: &Id) -> Result<Vec<RawFilter>> {
    // SAFETY: both buffers are as long as announced.
    unsafe {
        let count = H5Pget_nfilters(list.0);
        done(count)?;
        (0..count as c_uint)
            .map(|i| {
                let (mut flags, mut len, mut config) = (0, 64, 0);
                let mut values = vec![0; len];
                let mut name = [0u8; 128];
                let filter = H5Pget_filter2(
                    list.0,
                    i,
                    &mut flags,
                    &mut len,
                    values.as_mut_ptr(),
                    name.len() - 1,
                    name.as_mut_ptr().cast(),
                    &mut config,
                );
                done(filter)?;
                values.truncate(len);
                let name = name.split(|&b| b == 0).next().unwrap_or_default();
                Ok((
                    filter as u32,
                    values,
                    String::from_utf8_lossy(name).into_owned(),
                ))
            })
            .collect()
    }
}

/// The chunks of a dataset that were written, sorted by number. `chunk` and `shape` are of the same rank.
pub fn chunks(dataset: &Id, shape: &[u64], chunk: &[u64]) -> Result<Vec<RawChunk>> {
    struct Visit {
        counts: Vec<u64>,
        chunk: Vec<u64>,
        found: Vec<RawChunk>,
        bad: bool,
    }
    unsafe extern "C" fn each(
        offset: *const hsize_t,
        mask: c_uint,
        address: haddr_t,
        size: hsize_t,
        data: *mut c_void,
    ) -> c_int {
        // SAFETY: `data` is the visit given below; `offset` has as many entries as the dataset has axes.
        let (visit, offset) = unsafe {
            let visit = &mut *data.cast::<Visit>();
            let rank = visit.chunk.len();
            (visit, std::slice::from_raw_parts(offset, rank))
        };
        let mut number = 0u64;
        for (axis, &at) in offset.iter().enumerate() {
            let position = at / visit.chunk[axis];
            visit.bad |= position >= visit.counts[axis];
            number = number
                .wrapping_mul(visit.counts[axis])
                .wrapping_add(position);
        }
        match u32::try_from(size) {
            Ok(size) if address != haddr_t::MAX && !visit.bad => visit.found.push(RawChunk {
                number,
                address,
                size,
                mask,
            }),
            _ => visit.bad = true,
        }
        0
    }
    let counts = shape
        .iter()
        .zip(chunk)
        .map(|(s, c)| s.div_ceil(*c))
        .collect();
    let mut visit = Visit {
        counts,
        chunk: chunk.to_vec(),
        found: vec![],
        bad: false,
    };
    let data: *mut c_void = (&raw mut visit).cast();
    // SAFETY: the callback gets `data`, which outlives the iteration and which nothing else touches meanwhile.
    sync(|| done(unsafe { H5Dchunk_iter(dataset.0, H5P_DEFAULT, Some(each), data) }))?;
    ensure!(!visit.bad, "Its list of chunks is damaged");
    let mut found = visit.found;
    found.sort_unstable_by_key(|c| c.number);
    ensure!(
        found.windows(2).all(|w| w[0].number != w[1].number),
        "Its list of chunks names one chunk twice"
    );
    Ok(found)
}

/// The value of elements that were never written, `size` bytes.
pub fn fill_value(dataset: &Id, size: usize) -> Result<Vec<u8>> {
    let mut value = vec![0; size];
    // SAFETY: the buffer holds one value of the dataset's own type, which is `size` bytes wide.
    sync(|| unsafe {
        let list = id(H5Dget_create_plist(dataset.0))?;
        let of = id(H5Dget_type(dataset.0))?;
        if H5Tget_size(of.0) == size {
            let mut defined = H5D_fill_value_t::H5D_FILL_VALUE_DEFAULT;
            done(H5Pfill_value_defined(list.0, &mut defined))?;
            if defined == H5D_fill_value_t::H5D_FILL_VALUE_USER_DEFINED {
                done(H5Pget_fill_value(list.0, of.0, value.as_mut_ptr().cast()))?;
            }
        }
        Ok::<_, anyhow::Error>(())
    })?;
    Ok(value)
}

/// The part of a dataspace that holds `count` rows from `start`, and a space of that many values in memory.
fn rows(space: &Id, shape: &[u64], start: u64, count: u64) -> Result<(Id, usize)> {
    let mut block = shape.to_vec();
    let mut from = vec![0; shape.len()];
    if let (Some(n), Some(at)) = (block.first_mut(), from.first_mut()) {
        (*n, *at) = (count, start);
        // SAFETY: both arrays hold one entry for each axis of the space.
        sync(|| {
            done(unsafe {
                H5Sselect_hyperslab(
                    space.0,
                    H5S_seloper_t::H5S_SELECT_SET,
                    from.as_ptr(),
                    null(),
                    block.as_ptr(),
                    null(),
                )
            })
        })?;
    }
    let items = element_count(&block)?;
    Ok((self::space(&[items as u64], false)?, items))
}

/// Reads rows through the library, as they are stored, into exactly as many bytes.
pub fn read_rows(dataset: &Id, spec: &ArraySpec, start: u64, dst: &mut [u8]) -> Result<()> {
    let row = spec.row_bytes();
    if row == 0 || dst.is_empty() {
        return Ok(());
    }
    // SAFETY: asks for type and space of an open dataset.
    let (of, space) = sync(|| unsafe {
        let of = id(H5Dget_type(dataset.0))?;
        Ok::<_, anyhow::Error>((of, id(H5Dget_space(dataset.0))?))
    })?;
    let (memory, items) = rows(&space, &spec.shape, start, dst.len() as u64 / row)?;
    ensure!(
        items.checked_mul(spec.dtype.size()) == Some(dst.len()),
        "A read of {items} values into {} bytes",
        dst.len()
    );
    // SAFETY: the buffer holds as many values of the stored type as are selected.
    sync(|| {
        done(unsafe {
            H5Dread(
                dataset.0,
                of.0,
                memory.0,
                space.0,
                H5P_DEFAULT,
                dst.as_mut_ptr().cast(),
            )
        })
    })
}

/// The type in memory of one member of a compound: that member alone.
fn member_type(dataset: &Id, field: &Field) -> Result<Id> {
    let name = text(&field.name)?;
    // SAFETY: the name is a C string; types are made here.
    sync(|| unsafe {
        let of = id(H5Dget_type(dataset.0))?;
        let at = H5Tget_member_index(of.0, name.as_ptr());
        done(at)?;
        let mut member = id(H5Tget_member_type(of.0, at as c_uint))?;
        member = memory_type(&member, &field.dtype)?;
        let alone = id(H5Tcreate(H5T_class_t::H5T_COMPOUND, H5Tget_size(member.0)))?;
        done(H5Tinsert(alone.0, name.as_ptr(), 0, member.0))?;
        Ok(alone)
    })
}

/// Reads rows of one field of a fixed width; `dst` holds exactly those.
pub fn read_field(
    dataset: &Id,
    rows: u64,
    field: &Field,
    start: u64,
    dst: &mut [u8],
) -> Result<()> {
    let size = field.shape.iter().product::<u64>() as usize * field.dtype.size();
    let memory_of = member_type(dataset, field)?;
    // SAFETY: asks for the space of an open dataset.
    let space = sync(|| id(unsafe { H5Dget_space(dataset.0) }))?;
    let (memory, items) = self::rows(&space, &[rows], start, (dst.len() / size.max(1)) as u64)?;
    ensure!(
        items * size == dst.len(),
        "A field of another size than its type says"
    );
    // SAFETY: the buffer holds as many values of that one field as are selected.
    sync(|| {
        done(unsafe {
            H5Dread(
                dataset.0,
                memory_of.0,
                memory.0,
                space.0,
                H5P_DEFAULT,
                dst.as_mut_ptr().cast(),
            )
        })
    })
}

/// Reads rows of text of any length through the library; of `field` where the dataset is a compound.
pub fn read_strings(
    dataset: &Id,
    shape: &[u64],
    field: Option<&Field>,
    start: u64,
    count: u64,
) -> Result<Strings> {
    // SAFETY: asks for type and space of an open dataset.
    let (of, space) = sync(|| unsafe {
        let of = id(H5Dget_type(dataset.0))?;
        Ok::<_, anyhow::Error>((of, id(H5Dget_space(dataset.0))?))
    })?;
    let (memory, items) = rows(&space, shape, start, count)?;
    if items == 0 {
        return Ok(Strings::default());
    }
    let text = match field {
        Some(field) => member_type(dataset, field)?,
        None => memory_type(&of, &Dtype::String)?,
    };
    let mut pointers: Vec<*mut c_char> = vec![null_mut(); items];
    // SAFETY: the buffer holds one pointer for each value that is selected.
    sync(|| unsafe {
        done(H5Dread(
            dataset.0,
            text.0,
            memory.0,
            space.0,
            H5P_DEFAULT,
            pointers.as_mut_ptr().cast(),
        ))?;
        take_strings(&mut pointers, &text, &memory)
    })
}

/// A link creation list that makes the groups on the way, names in UTF-8.
fn link_creation() -> Result<Id> {
    let list = plist(&H5P_LINK_CREATE)?;
    // SAFETY: sets properties of a list made above.
    sync(|| unsafe {
        done(H5Pset_create_intermediate_group(list.0, 1))?;
        done(H5Pset_char_encoding(list.0, H5T_cset_t::H5T_CSET_UTF8))
    })?;
    Ok(list)
}

/// Creates a group. `many_attrs`: room for attributes beyond the 64 KiB that an object header of the oldest format
/// takes (HDF5 manual, "Large Attributes"), which tracking their order asks for.
pub fn create_group(parent: &Id, path: &str, many_attrs: bool) -> Result<Id> {
    let (name, links, list) = (text(path)?, link_creation()?, plist(&H5P_GROUP_CREATE)?);
    // SAFETY: the name is a C string.
    sync(|| unsafe {
        if many_attrs {
            done(H5Pset_attr_creation_order(list.0, H5P_CRT_ORDER_TRACKED))?;
        }
        id(H5Gcreate2(
            parent.0,
            name.as_ptr(),
            links.0,
            list.0,
            H5P_DEFAULT,
        ))
    })
}

/// How a new dataset is to be stored.
pub struct Creation<'a> {
    /// In one piece, its space taken at once, when there are none.
    pub chunk: Option<&'a [u64]>,
    /// Registered number and parameters.
    pub filters: &'a [(u32, Vec<u32>)],
    pub growing: bool,
}

pub fn create_dataset(parent: &Id, path: &str, spec: &ArraySpec, how: &Creation) -> Result<Id> {
    let (name, links, list) = (text(path)?, link_creation()?, plist(&H5P_DATASET_CREATE)?);
    let access = plist(&H5P_DATASET_ACCESS)?;
    let of = type_of(&spec.dtype)?;
    let space = match spec.null {
        // SAFETY: makes a null dataspace.
        true => sync(|| id(unsafe { H5Screate(H5S_class_t::H5S_NULL) }))?,
        false => space(&spec.shape, how.growing)?,
    };
    // SAFETY: the name is a C string; arrays are as long as announced.
    sync(|| unsafe {
        if let Some(chunk) = how.chunk {
            done(H5Pset_chunk(list.0, chunk.len() as c_int, chunk.as_ptr()))?;
            // Chunks are written in order, so that the library need hold only one (text, whose values are 16 bytes).
            let bytes = chunk.iter().product::<u64>() as usize * spec.dtype.size().max(16);
            done(H5Pset_chunk_cache(access.0, 1, bytes, 1.0))?;
            for (filter, values) in how.filters {
                done(H5Pset_filter(
                    list.0,
                    *filter as c_int,
                    hdf5_sys::h5z::H5Z_FLAG_OPTIONAL,
                    values.len(),
                    values.as_ptr(),
                ))?;
            }
        } else if !has_text(&spec.dtype) && !spec.null {
            done(H5Pset_alloc_time(
                list.0,
                H5D_alloc_time_t::H5D_ALLOC_TIME_EARLY,
            ))?;
            done(H5Pset_fill_time(
                list.0,
                H5D_fill_time_t::H5D_FILL_TIME_NEVER,
            ))?;
        }
        done(H5Pset_obj_track_times(list.0, 0))?;
        id(H5Dcreate2(
            parent.0,
            name.as_ptr(),
            of.0,
            space.0,
            links.0,
            list.0,
            access.0,
        ))
    })
}

fn has_text(dtype: &Dtype) -> bool {
    *dtype == Dtype::String || dtype.is_record_with_text()
}

/// Writes all records of a dataset whose text is of variable length, from `records` with text of a fixed width. The
/// fields of both are the same but for that.
pub fn write_records(dataset: &Id, to: &Dtype, from: &Dtype, records: &[u8]) -> Result<()> {
    let (
        Dtype::Record {
            size: new,
            fields: to_fields,
        },
        Dtype::Record { size: old, fields },
    ) = (to, from)
    else {
        bail!("{from} is no record");
    };
    let mut texts: Vec<CString> = vec![];
    let mut buffer = vec![0u8; records.len() / (*old).max(1) * new];
    for (out, record) in buffer
        .chunks_exact_mut(*new)
        .zip(records.chunks_exact(*old))
    {
        for (to, field) in to_fields.iter().zip(fields) {
            let items = field.shape.iter().product::<u64>() as usize;
            let value = &record[field.offset..][..field.dtype.size() * items];
            if to.dtype == Dtype::String {
                let end = value.iter().rposition(|&b| b != 0).map_or(0, |end| end + 1);
                texts.push(CString::new(&value[..end])?);
                let pointer = texts.last().map_or(0, |t| t.as_ptr() as usize);
                out[to.offset..][..size_of::<usize>()].copy_from_slice(&pointer.to_ne_bytes());
            } else {
                out[to.offset..][..value.len()].copy_from_slice(value);
            }
        }
    }
    let of = type_of(to)?;
    // SAFETY: the buffer holds one value of the type for each record; its pointers lead into `texts`, alive until the
    // end.
    sync(|| {
        done(unsafe {
            H5Dwrite(
                dataset.0,
                of.0,
                H5S_ALL,
                H5S_ALL,
                H5P_DEFAULT,
                buffer.as_ptr().cast(),
            )
        })
    })
}

/// Where a contiguous dataset begins in its file; `None` while it has no space.
pub fn offset(dataset: &Id) -> Option<u64> {
    // SAFETY: asks for the address of an open dataset.
    let at = sync(|| unsafe { H5Dget_offset(dataset.0) });
    (at != haddr_t::MAX).then_some(at)
}

/// What the values of a dataset take in its file, as filtered; 0 while nothing was written.
pub fn stored_bytes(dataset: &Id) -> u64 {
    // SAFETY: asks for a property of an open dataset.
    sync(|| unsafe { H5Dget_storage_size(dataset.0) })
}

pub fn set_extent(dataset: &Id, shape: &[u64]) -> Result<()> {
    // SAFETY: the shape has the rank of the dataset, which was made with it.
    sync(|| done(unsafe { H5Dset_extent(dataset.0, shape.as_ptr()) }))
}

/// Writes one encoded chunk at `origin`, the position of its first element.
pub fn write_chunk(dataset: &Id, origin: &[u64], mask: u32, bytes: &[u8]) -> Result<()> {
    // SAFETY: `origin` has the rank of the dataset, which was made with it; the buffer is as long as announced.
    sync(|| {
        done(unsafe {
            H5Dwrite_chunk(
                dataset.0,
                H5P_DEFAULT,
                mask,
                origin.as_ptr(),
                bytes.len(),
                bytes.as_ptr().cast(),
            )
        })
    })
}

/// Writes rows of text of any length from row `start`.
pub fn write_strings(dataset: &Id, shape: &[u64], start: u64, strings: &Strings) -> Result<()> {
    if strings.len() == 0 {
        return Ok(());
    }
    let mut ended = Vec::with_capacity(strings.bytes.len() + strings.len());
    let mut starts = Vec::with_capacity(strings.len());
    for value in strings.iter() {
        ensure!(
            !value.contains(&0),
            "The text {:?} holds a NUL, which HDF5 cannot store in text of variable length",
            String::from_utf8_lossy(value)
        );
        starts.push(ended.len());
        ended.extend_from_slice(value);
        ended.push(0);
    }
    let pointers: Vec<*const u8> = starts.iter().map(|&at| ended[at..].as_ptr()).collect();
    let row_items = shape.iter().skip(1).product::<u64>().max(1);
    // SAFETY: asks for type and space of an open dataset.
    let (of, space) = sync(|| unsafe {
        let of = id(H5Dget_type(dataset.0))?;
        Ok::<_, anyhow::Error>((of, id(H5Dget_space(dataset.0))?))
    })?;
    let (memory, items) = rows(&space, shape, start, strings.len() as u64 / row_items)?;
    ensure!(
        items == strings.len(),
        "{} texts for {items} places",
        strings.len()
    );
    // SAFETY: one pointer for each value that is selected, each to a text ended with NUL, alive until the end.
    sync(|| {
        done(unsafe {
            H5Dwrite(
                dataset.0,
                of.0,
                memory.0,
                space.0,
                H5P_DEFAULT,
                pointers.as_ptr().cast(),
            )
        })
    })
}

/// Whether what is below a node is joined by hard links alone and has its values in its own file, so that the library
/// copies it without being led elsewhere. `seen` are the groups that were looked at.
pub fn is_plain(node: &Object, bounds: &Bounds, seen: &mut HashSet<Identity>) -> Result<bool> {
    /// The library's copy goes down as deep, on the stack.
    const GROUPS: usize = 64;
    fn below(
        group: &Id,
        bounds: &Bounds,
        seen: &mut HashSet<Identity>,
        depth: usize,
    ) -> Result<bool> {
        ensure!(depth < GROUPS, "It lies deeper than {GROUPS} groups");
        if !seen.insert(identity(group)?) {
            return Ok(true);
        }
        let mut soft = false;
        for name in links(group, |kind| soft |= kind != H5L_TYPE_HARD as c_int)? {
            if soft {
                return Ok(false);
            }
            let node = open_object(group, &name, bounds, 0);
            let plain = match node.with_context(|| format!("Open '{name}'"))? {
                Object::Group(id) => below(&id, bounds, seen, depth + 1)?,
                Object::Dataset(id) => elsewhere(&id)?.is_empty(),
            };
            if !plain {
                return Ok(false);
            }
        }
        Ok(true)
    }
    match node {
        Object::Group(id) => below(id, bounds, seen, 0),
        Object::Dataset(id) => Ok(elsewhere(id)?.is_empty()),
    }
}

/// Copies a node, what it refers to included. Links other than hard ones stay what they are.
pub fn copy_object(node: &Object, to: &Id, new_name: &str) -> Result<()> {
    let (Object::Group(from) | Object::Dataset(from)) = node;
    let (new_name, links) = (text(new_name)?, self::link_creation()?);
    let list = plist(&H5P_OBJECT_COPY)?;
    // SAFETY: the names are C strings.
    sync(|| unsafe {
        done(H5Pset_copy_object(list.0, H5O_COPY_EXPAND_REFERENCE_FLAG))?;
        done(H5Ocopy(
            from.0,
            c".".as_ptr(),
            to.0,
            new_name.as_ptr(),
            list.0,
            links.0,
        ))
    })
}
