//! Attributes.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use hdf5::globals::H5T_STD_REF_OBJ;
use hdf5_sys::h5::{H5_index_t::H5_INDEX_NAME, H5_iter_order_t::H5_ITER_INC, haddr_t};
use hdf5_sys::h5a::*;
use hdf5_sys::h5i::hid_t;
use hdf5_sys::h5p::*;
use hdf5_sys::h5r::{H5R_type_t::H5R_OBJECT1 as H5R_OBJECT, H5Rget_name};
use hdf5_sys::h5s::*;
use hdf5_sys::h5t::*;

use super::super::heap;
use super::super::watch::sync;
use super::links::utf8;
use super::types::{class, dtype, has_references, memory_type, same, type_of};
use super::values::{element_count, take_strings, unpad};
use super::{Id, dims, done, id, sized, space, text};
use crate::store::spec::{Attr, Dtype, Strings};

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

/// An attribute, its type and its space.
fn open(object: &Id, name: &str) -> Result<(Id, Id, Id)> {
    let name = text(name)?;
    // SAFETY: the name is a C string.
    sync(|| unsafe {
        let attr = id(H5Aopen(object.0, name.as_ptr(), H5P_DEFAULT))?;
        let of = id(H5Aget_type(attr.0))?;
        let space = id(H5Aget_space(attr.0))?;
        Ok((attr, of, space))
    })
}

/// Takes references to text, as they are in the file, to the text; `None` where the library is to do so.
pub type ByHeap<'a> = &'a dyn Fn(&[u8]) -> Result<Option<Strings>>;

/// Reads one attribute, its text past the library where there is `by_heap`: the library takes as much memory for a
/// text as a damaged reference claims.
pub fn read_attr(object: &Id, name: &str, by_heap: Option<ByHeap>) -> Result<Attr> {
    let (attr, of, space) = open(object, name)?;
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
        if !KNOWN.load(Ordering::Relaxed) {
            let name = c"text to reference".as_ptr();
            let soft = H5T_pers_t::H5T_PERS_SOFT;
            done(H5Tregister(soft, name, from.0, to.0, Some(keep)))?;
            KNOWN.store(true, Ordering::Relaxed);
        }
        done(H5Aread(attr.0, to.0, bytes.as_mut_ptr().cast()))
    })?;
    Ok(bytes)
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
    Ok(
        match targets(object, attr, of, 1)?.map(|mut paths| paths.pop()) {
            Some(Some(Some(path))) => Attr::Reference(path),
            _ => Attr::Null(Dtype::Unsupported("a reference".into())),
        },
    )
}

/// The paths that the object references of an attribute lead to, none for one that leads nowhere; `None` where they
/// are of another kind.
fn targets(object: &Id, attr: &Id, of: &Id, count: usize) -> Result<Option<Vec<Option<String>>>> {
    const SIZE: usize = size_of::<haddr_t>();
    // SAFETY: asks for the size of an open type.
    let size = sync(|| unsafe { H5Tget_size(of.0) });
    if !same(of, *H5T_STD_REF_OBJ) || size != SIZE {
        return Ok(None);
    }
    let bytes = read_attr_bytes(attr, of, count, SIZE)?;
    let path = |reference: &[u8]| {
        if reference.iter().all(|&b| b == 0) {
            return Ok(None);
        }
        let target: *const c_void = reference.as_ptr().cast();
        // SAFETY: the reference is 8 bytes of ours; the callback writes at most `size` bytes.
        let name = sized(|buf, size| unsafe {
            H5Rget_name(object.0, H5R_OBJECT, target, buf, size) as i64
        })?;
        Ok(Some(String::from_utf8_lossy(&name).into_owned()))
    };
    bytes
        .chunks_exact(SIZE)
        .map(path)
        .collect::<Result<_>>()
        .map(Some)
}

/// Whether an attribute of an object refers to what does not stand at or below the path `base`, as far as can be told.
pub(super) fn attrs_lead_away(object: &Id, base: &str) -> Result<bool> {
    let inside = |path: &Option<String>| {
        let path = path.as_deref().unwrap_or(base);
        let below = path.strip_prefix(base);
        below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    for name in attr_names(object)? {
        let (attr, of, space) = open(object, &name)?;
        if !has_references(&of) {
            continue;
        }
        let count = element_count(&dims(&space)?.unwrap_or_default())?;
        match targets(object, &attr, &of, count) {
            Ok(Some(paths)) if paths.iter().all(inside) => {}
            _ => return Ok(true),
        }
    }
    Ok(false)
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
