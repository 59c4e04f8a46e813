//! Attributes.

use std::ffi::{CStr, CString};
use std::slice::from_ref;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use hdf5::globals::H5T_STD_REF_OBJ;
use hdf5_sys::h5p::H5P_CRT_ORDER_TRACKED;
use hdf5_sys::h5t::H5T_class_t;
use tracing::debug;

use super::ffi::{self, Id, Property, Selected};
use super::format::heap::{Claimed, Heap};
use super::names::{text, utf8};
use super::types;
use super::values::{read_references, texts_of, unpad};
use crate::store::spec::{Attr, Attrs, Dtype, Strings, item_count};
use crate::store::words;

/// Whether an attribute, with what describes it, may be larger than the 64 KiB that an object header of the oldest format
/// takes (HDF5 manual, "Large Attributes"): an object is made for those, or has none.
pub fn is_large(attr: &Attr) -> bool {
    let bytes = match attr {
        // A length, an address and an index for each text of variable length.
        Attr::Texts { values, .. } => values.len() * 16,
        Attr::Bytes { bytes, .. } => bytes.len(),
        _ => 16,
    };
    bytes > 64_000
}

pub fn has_large(attrs: &Attrs) -> bool {
    attrs.iter().any(|(_, attr)| is_large(attr))
}

/// Makes a new object keep attributes that are large apart from its header, which tracking their order asks for.
pub fn large() -> Property<'static> {
    Property::AttrOrder(H5P_CRT_ORDER_TRACKED)
}

/// The names of an object's attributes, sorted by code point.
pub fn names(object: &Id) -> Result<Vec<String>> {
    utf8(ffi::attr_names(object)?)
}

/// An attribute, its type and its shape; none where its space is null.
pub fn open(object: &Id, name: &str) -> Result<(Id, Id, Option<Vec<u64>>)> {
    let attr = ffi::open_attr(object, &text(name)?)?;
    let of = ffi::type_of(&attr)?;
    types::check_depth(&of)?;
    let extent = ffi::extent(&ffi::space_of(&attr)?)?;
    Ok((attr, of, extent.map(|(shape, _)| shape)))
}

/// All attributes of an object; `heap` has the text of its file, if it is to be read past the library.
pub fn all(object: &Id, heap: impl FnOnce() -> Result<Option<Arc<Heap>>>) -> Result<Attrs> {
    let (mut attrs, names) = (Attrs::default(), names(object)?);
    if names.is_empty() {
        return Ok(attrs);
    }
    let heap = heap()?;
    let by_heap = heap.as_ref().map(|heap| {
        |references: &[u8]| match heap.read(references) {
            Ok(texts) => Ok(Some(texts)),
            Err(why) if why.is::<Claimed>() => Err(why),
            Err(why) => {
                debug!("Text of attributes through the library: {why:#}");
                Ok(None)
            }
        }
    });
    let by_heap = by_heap.as_ref().map(|by_heap| by_heap as ByHeap);
    for name in names {
        let value = read(object, &name, by_heap);
        let value = value.with_context(|| format!("Attribute '{name}'"))?;
        attrs.set(&name, value);
    }
    Ok(attrs)
}

/// Takes references to text, as they are in the file, to the text; `None` where the library is to do so.
pub type ByHeap<'a> = &'a dyn Fn(&[u8]) -> Result<Option<Strings>>;

/// Reads one attribute, its text past the library where there is `by_heap`: the library takes as much memory for a
/// text as a damaged reference claims.
///
/// What cannot be carried over becomes a null one, whose type says why: `store/leftout.rs` names it where it is
/// written.
pub fn read(object: &Id, name: &str, by_heap: Option<ByHeap>) -> Result<Attr> {
    let (attr, of, shape) = open(object, name)?;
    if ffi::class(&of) == H5T_class_t::H5T_REFERENCE {
        // As anndata 0.7 tells of the categories of a column.
        return match shape {
            Some(shape) if shape.iter().all(|&n| n == 1) => read_reference(object, &attr, &of),
            _ => Ok(Attr::Null(Dtype::Unsupported("it holds references".into()))),
        };
    }
    let dtype = types::dtype(&of)?;
    let (Some(shape), false) = (shape, matches!(dtype, Dtype::Unsupported(_))) else {
        return Ok(Attr::Null(dtype));
    };
    if dtype.is_record_with_text() {
        let why = "it holds records with text of any length".into();
        return Ok(Attr::Null(Dtype::Unsupported(why)));
    }
    let count = item_count(&shape)?;
    if !dtype.is_string() {
        let of = types::in_memory(&of, &dtype)?;
        let bytes = read_bytes(&attr, &of, count, dtype.size())?;
        return Ok(Attr::Bytes {
            dtype,
            shape,
            bytes,
        });
    }
    let strings = read_texts(&attr, &of, count, &dtype, by_heap)?;
    if strings.iter().any(|text| str::from_utf8(text).is_err()) {
        // Text of a fixed width in another encoding goes over as the bytes that it is.
        return Ok(match dtype {
            Dtype::FixedString { size } => Attr::Bytes {
                bytes: read_bytes(&attr, &of, count, size)?,
                dtype,
                shape,
            },
            _ => Attr::Null(Dtype::Unsupported("it is text that is not UTF-8".into())),
        });
    }
    let text = |text| String::from_utf8_lossy(text).into_owned();
    let mut values: Vec<String> = strings.iter().map(text).collect();
    Ok(match (shape.is_empty(), values.pop()) {
        (true, Some(value)) => Attr::Text(value),
        (_, last) => {
            values.extend(last);
            Attr::Texts { shape, values }
        }
    })
}

fn read_texts(
    attr: &Id,
    of: &Id,
    count: usize,
    dtype: &Dtype,
    by_heap: Option<ByHeap>,
) -> Result<Strings> {
    if *dtype != Dtype::String {
        let bytes = read_bytes(attr, of, count, dtype.size())?;
        return Ok(unpad(&bytes, dtype.size()));
    }
    if let Some(by_heap) = by_heap
        && let Some(strings) = by_heap(&read_references(Selected::Attr(attr), count)?)?
    {
        return Ok(strings);
    }
    Selected::Attr(attr).read_texts(&types::in_memory(of, dtype)?)
}

fn read_bytes(attr: &Id, of: &Id, count: usize, size: usize) -> Result<Vec<u8>> {
    let own = ffi::type_size(of)?;
    ensure!(own == size, "A type of {own} bytes where {size} are read");
    let mut bytes = vec![0; count * size];
    Selected::Attr(attr).read(of, &mut bytes)?;
    Ok(bytes)
}

/// The path that an attribute's one object reference leads to.
fn read_reference(object: &Id, attr: &Id, of: &Id) -> Result<Attr> {
    let paths = targets(object, attr, of, 1)?;
    Ok(match paths.map(|mut paths| paths.pop()) {
        Some(Some(Some(path))) => Attr::Reference(path),
        _ => Attr::Null(Dtype::Unsupported("it is a reference".into())),
    })
}

/// The paths that the object references of an attribute lead to, none for one that leads nowhere; `None` where they
/// are of another kind.
fn targets(object: &Id, attr: &Id, of: &Id, count: usize) -> Result<Option<Vec<Option<String>>>> {
    const SIZE: usize = 8;
    // Object references as they were before HDF5 1.12, and as h5py writes them: an address.
    let known = ffi::copy_type(&H5T_STD_REF_OBJ)?;
    if !ffi::same_type(of, &known) || ffi::type_size(of)? != SIZE {
        return Ok(None);
    }
    let bytes = read_bytes(attr, of, count, SIZE)?;
    let path = |reference: &[u8; SIZE]| {
        if *reference == [0; SIZE] {
            return Ok(None);
        }
        let name = ffi::referenced_path(object, reference)?;
        Ok(Some(String::from_utf8_lossy(&name).into_owned()))
    };
    let (references, _) = bytes.as_chunks();
    let paths: Result<_> = references.iter().map(path).collect();
    paths.map(Some)
}

/// Whether an attribute of an object refers to what does not stand at or below the path `base`, as far as can be told, or
/// is lost where the library copies it.
pub fn lead_away(object: &Id, base: &str) -> Result<bool> {
    let inside = |path: &Option<String>| {
        let path = path.as_deref().unwrap_or(base);
        let below = path.strip_prefix(base);
        below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    for name in names(object)? {
        let (attr, of, shape) = open(object, &name)?;
        // Sequences of records the library copies wrong (2.2.0), if they are of attributes.
        if ffi::class(&of) == H5T_class_t::H5T_VLEN
            && matches!(
                ffi::class(&ffi::base_type(&of)?),
                H5T_class_t::H5T_COMPOUND | H5T_class_t::H5T_ARRAY
            )
        {
            return Ok(true);
        }
        if !types::has_references(&of) {
            continue;
        }
        let count = shape.map_or(Ok(0), |shape| item_count(&shape))?;
        match targets(object, &attr, &of, count) {
            Ok(Some(paths)) if paths.iter().all(inside) => {}
            // Also where they cannot be followed: values are copied one by one then.
            _ => return Ok(true),
        }
    }
    Ok(false)
}

/// Writes one attribute, in place of one of that name.
pub fn write(object: &Id, name: &str, attr: &Attr) -> Result<()> {
    let write_texts = |shape: &[u64], values: &[String]| {
        let texts: Vec<CString> = values.iter().map(|v| text(v)).collect::<Result<_>>()?;
        let texts: Vec<&CStr> = texts.iter().map(CString::as_c_str).collect();
        write_values(
            object,
            name,
            (&Dtype::String, Some(shape)),
            texts_of(&texts),
            &texts,
        )
    };
    match attr {
        Attr::Text(value) => write_texts(&[], from_ref(value)),
        Attr::Texts { shape, values } => write_texts(shape, values),
        Attr::Bytes {
            dtype,
            shape,
            bytes,
        } => {
            ensure!(
                item_count(shape)? * dtype.size() == bytes.len(),
                "Attribute '{name}' does not fill its shape"
            );
            write_values(object, name, (dtype, Some(shape)), bytes.clone(), &[])
        }
        Attr::Null(dtype) => write_values(object, name, (dtype, None), vec![], &[]),
        // No reference is made anew: its path stands for it.
        Attr::Reference(path) => write_texts(&[], from_ref(path)),
        Attr::Json(value) => write_texts(&[], &[words::write(value.to_string())]),
    }
}

/// Makes an attribute of that type and shape, null without one, from its values.
fn write_values(
    object: &Id,
    name: &str,
    (dtype, shape): (&Dtype, Option<&[u64]>),
    values: Vec<u8>,
    texts: &[&CStr],
) -> Result<()> {
    let of = types::of_dtype(dtype)?;
    let (space, c_name) = (ffi::create_space(shape, false)?, text(name)?);
    let write = || {
        let attr = ffi::create_attr(object, &c_name, &of, &space)?;
        if values.is_empty() {
            return Ok(());
        }
        Selected::Attr(&attr).write(&of, values, texts)
    };
    write().with_context(|| format!("Write attribute '{name}'"))
}
