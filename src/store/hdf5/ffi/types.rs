//! What the types of the library are to this program, and the other way round.

use std::ffi::{CStr, CString, c_uint};
use std::ptr::null_mut;

use anyhow::{Result, bail, ensure};
use hdf5::globals::{
    H5T_C_S1, H5T_IEEE_F32LE, H5T_IEEE_F64LE, H5T_STD_I8LE, H5T_STD_I16LE, H5T_STD_I32LE,
    H5T_STD_I64LE, H5T_STD_U8LE, H5T_STD_U16LE, H5T_STD_U32LE, H5T_STD_U64LE,
};
use hdf5_sys::h5::hsize_t;
use hdf5_sys::h5d::*;
use hdf5_sys::h5i::hid_t;
use hdf5_sys::h5t::*;

use super::super::watch::sync;
use super::{Id, done, failure, id, text};
use crate::store::spec::{Dtype, Field, Kind, Order};

pub(super) fn class(of: &Id) -> H5T_class_t {
    // SAFETY: asks for the class of an open type.
    sync(|| unsafe { H5Tget_class(of.0) })
}

pub(super) fn same(a: &Id, b: hid_t) -> bool {
    // SAFETY: compares two open types.
    sync(|| unsafe { H5Tequal(a.0, b) > 0 })
}

/// What a stored type is.
pub(super) fn dtype(of: &Id) -> Result<Dtype> {
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
                Ok((
                    member_name(of, i)?.to_string_lossy().into_owned(),
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

/// SAFETY of the caller: under the lock.
unsafe fn member_name(of: &Id, member: c_uint) -> Result<CString> {
    // SAFETY: the name is the caller's, who copies and frees it.
    unsafe {
        let raw = H5Tget_member_name(of.0, member);
        if raw.is_null() {
            return Err(failure());
        }
        let name = CStr::from_ptr(raw).to_owned();
        hdf5_sys::h5::H5free_memory(raw.cast());
        Ok(name)
    }
}

/// An enumeration made anew, in the oldest version of the format that has it: those of a file that was written with
/// `libver="latest"` may be of a version that older readers, for whom files are written, do not know.
fn enumeration(of: &Id) -> Result<Id> {
    // SAFETY: asks for the members of an open enumeration by numbers below their count; a value is as long as the type.
    sync(|| unsafe {
        let base = id(H5Tget_super(of.0))?;
        let (made, count) = (id(H5Tenum_create(base.0))?, H5Tget_nmembers(of.0));
        done(count)?;
        let mut value = vec![0u8; H5Tget_size(of.0)];
        for i in 0..count as c_uint {
            let name = member_name(of, i)?;
            done(H5Tget_member_value(of.0, i, value.as_mut_ptr().cast()))?;
            done(H5Tenum_insert(made.0, name.as_ptr(), value.as_ptr().cast()))?;
        }
        Ok(made)
    })
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
            || has_references(of)
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

pub(super) fn has_references(of: &Id) -> bool {
    // SAFETY: looks for a class inside an open type.
    sync(|| unsafe { H5Tdetect_class(of.0, H5T_class_t::H5T_REFERENCE) > 0 })
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
pub(super) fn type_of(dtype: &Dtype) -> Result<Id> {
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
            Dtype::Hdf5 { encoded, .. } => {
                let of = id(H5Tdecode2(encoded.as_ptr().cast(), encoded.len()))?;
                match class(&of) {
                    H5T_class_t::H5T_ENUM => enumeration(&of),
                    _ => Ok(of),
                }
            }
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
pub(super) fn memory_type(stored: &Id, dtype: &Dtype) -> Result<Id> {
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

/// The library's type for ours, each text in the character set that it has in the stored type: the library converts
/// none to another.
pub(super) fn in_charsets_of(stored: &Id, dtype: &Dtype) -> Result<Id> {
    let Dtype::Record { size, fields } = dtype else {
        return match dtype {
            Dtype::String => memory_type(stored, dtype),
            _ => type_of(dtype),
        };
    };
    // SAFETY: makes a compound; its members are those of the stored one, in the same order.
    sync(|| unsafe {
        let of = id(H5Tcreate(H5T_class_t::H5T_COMPOUND, *size))?;
        for (i, field) in (0..).zip(fields) {
            let mut member = id(H5Tget_member_type(stored.0, i))?;
            if field.shape.is_empty() {
                member = in_charsets_of(&member, &field.dtype)?;
            } else {
                let one = in_charsets_of(&id(H5Tget_super(member.0))?, &field.dtype)?;
                let rank = field.shape.len() as c_uint;
                member = id(H5Tarray_create2(one.0, rank, field.shape.as_ptr()))?;
            }
            let name = text(&field.name)?;
            done(H5Tinsert(of.0, name.as_ptr(), field.offset, member.0))?;
        }
        Ok(of)
    })
}

/// The type in memory of one member of a compound: that member alone.
pub(super) fn member_type(dataset: &Id, field: &Field) -> Result<Id> {
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

pub(super) fn has_text(dtype: &Dtype) -> bool {
    *dtype == Dtype::String || dtype.is_record_with_text()
}
