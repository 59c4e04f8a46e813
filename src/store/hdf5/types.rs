//! What the types of the library are to this program, and the other way round.
//!
//! A type that has no [`Dtype`] becomes one that says why it is unsupported: its array can be copied by the library,
//! but not read. Types within types are followed to a depth that is bounded (`limits.rs`).

use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail, ensure};
use hdf5::globals::{
    H5T_C_S1, H5T_IEEE_F32LE, H5T_IEEE_F64LE, H5T_STD_I8LE, H5T_STD_I16LE, H5T_STD_I32LE,
    H5T_STD_I64LE, H5T_STD_U8LE, H5T_STD_U16LE, H5T_STD_U32LE, H5T_STD_U64LE,
};
use hdf5_sys::h5t::{H5T_VARIABLE, H5T_class_t, H5T_cset_t, H5T_order_t, H5T_sign_t, H5T_str_t};

use super::ffi::{self, Id, Property};
use super::format::heap;
use super::names::text;
use crate::limits;
use crate::store::spec::{ByteOrder, Codes, Dtype, Field, Kind, integer};

/// What a stored type is.
pub fn dtype(of: &Id) -> Result<Dtype> {
    let size = ffi::type_size(of)?;
    let order = match ffi::order(of) {
        H5T_order_t::H5T_ORDER_BE => ByteOrder::Big,
        _ => ByteOrder::Little,
    };
    let number = |kind| Dtype::Number { kind, size, order };
    // Numbers that do not fill their bytes, or floats of other fields than IEEE's, are not numpy's: they are only
    // copied.
    let if_whole = |dtype: Dtype| Ok(ffi::same_type(of, &of_dtype(&dtype)?).then_some(dtype));
    let found = match ffi::class(of) {
        H5T_class_t::H5T_INTEGER if matches!(size, 1 | 2 | 4 | 8) => match ffi::sign(of) {
            H5T_sign_t::H5T_SGN_NONE => if_whole(number(Kind::Uint)),
            _ => if_whole(number(Kind::Int)),
        },
        H5T_class_t::H5T_FLOAT if matches!(size, 2 | 4 | 8) => if_whole(number(Kind::Float)),
        H5T_class_t::H5T_ENUM => return enumerated(of, size),
        H5T_class_t::H5T_STRING if ffi::is_variable_text(of) => Ok(Some(Dtype::String)),
        H5T_class_t::H5T_STRING => Ok(Some(Dtype::FixedString { size })),
        H5T_class_t::H5T_COMPOUND => record(of, size),
        _ => Ok(None),
    };
    match found? {
        Some(dtype) => Ok(dtype),
        None => opaque(of, size),
    }
}

/// h5py's rule: an enumeration of exactly FALSE = 0 and TRUE = 1 is a bool, whatever its width, its sign and the order
/// of its names. Any other is the integers that its values are.
fn enumerated(of: &Id, size: usize) -> Result<Dtype> {
    let numbers = dtype(&ffi::base_type(of)?)?;
    let Dtype::Number { kind, order, .. } = numbers else {
        return opaque(of, size);
    };
    let mut members = vec![];
    for at in 0..ffi::member_count(of)? {
        let name = ffi::member_name(of, at)?.to_string_lossy().into_owned();
        members.push((integer(&ffi::enum_value(of, at)?, kind, order), name));
    }
    members.sort();
    let names = members.iter().map(|(value, name)| (*value, name.as_str()));
    if names.eq([(Some(0), "FALSE"), (Some(1), "TRUE")]) {
        return Ok(Dtype::BOOL);
    }
    Ok(match opaque(of, size)? {
        Dtype::Hdf5 { size, encoded, .. } => Dtype::Hdf5 {
            size,
            encoded,
            codes: Some(Box::new(Codes::new(numbers, &members))),
        },
        other => other,
    })
}

/// Whether values are stored in the bytes that they have in memory: bools are of one byte, and those of wider
/// enumerations are not.
pub fn is_as_in_memory(stored: &Id, dtype: &Dtype) -> Result<bool> {
    Ok(dtype.kind() != Some(Kind::Bool) || ffi::type_size(stored)? == dtype.size())
}

/// An error where types lie deeper in one another than any in use: whoever walks them does so on the stack, and holds a
/// copy of all that lies below at each level.
pub fn check_depth(of: &Id) -> Result<()> {
    fn within(of: &Id, depth: usize) -> Result<()> {
        ensure!(
            depth < limits::TYPES,
            "Its types lie deeper than {} in one another",
            limits::TYPES
        );
        match ffi::class(of) {
            H5T_class_t::H5T_COMPOUND => (0..ffi::member_count(of)?)
                .try_for_each(|at| within(&ffi::member_type(of, at)?, depth + 1)),
            H5T_class_t::H5T_ARRAY | H5T_class_t::H5T_VLEN => {
                within(&ffi::base_type(of)?, depth + 1)
            }
            _ => Ok(()),
        }
    }
    within(of, 0)
}

/// A compound: numpy's complex numbers, or a record. `None` where a member is none of ours.
fn record(of: &Id, size: usize) -> Result<Option<Dtype>> {
    let mut fields = vec![];
    for at in 0..ffi::member_count(of)? {
        let member = ffi::member_type(of, at)?;
        let (dtype, shape) = match ffi::class(&member) {
            H5T_class_t::H5T_ARRAY => {
                let shape = ffi::array_shape(&member)?;
                (dtype(&ffi::base_type(&member)?)?, shape)
            }
            _ => (dtype(&member)?, vec![]),
        };
        let (mut offset, item) = (ffi::member_offset(of, at), ffi::type_size(&member)?);
        let is_wide_bool = dtype.kind() == Some(Kind::Bool) && shape.is_empty() && item > 1;
        if is_wide_bool && ffi::order(&member) == H5T_order_t::H5T_ORDER_BE {
            offset += item - 1; // where the byte stands that is 0 or 1
        }
        let items = shape.iter().product::<u64>() as usize;
        // Of bools of several bytes in an array the bytes that count lie apart: no field can say where.
        let are_wide_bools = !shape.is_empty() && dtype.size() * items != item;
        let is_texts = dtype == Dtype::String && !shape.is_empty();
        if is_texts || are_wide_bools || matches!(dtype, Dtype::Hdf5 { .. } | Dtype::Unsupported(_))
        {
            return Ok(None);
        }
        fields.push(Field {
            name: ffi::member_name(of, at)?.to_string_lossy().into_owned(),
            offset,
            dtype,
            shape,
        });
    }
    // Two floats of one type, which fill the record, are what h5py makes of numpy's complex numbers.
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

/// A type of fixed width as bytes that can be given back to the library, unless its values lead elsewhere in the file.
fn opaque(of: &Id, size: usize) -> Result<Dtype> {
    let stays = ffi::pointers(of).is_ok_and(|pointers| pointers.is_empty());
    if has_references(of) || !stays {
        return Ok(Dtype::Unsupported(
            "it holds references or sequences of variable length".into(),
        ));
    }
    let encoded = ffi::encode_type(of)?.into();
    Ok(Dtype::Hdf5 {
        size,
        encoded,
        codes: None,
    })
}

pub fn has_references(of: &Id) -> bool {
    ffi::has_class(of, H5T_class_t::H5T_REFERENCE)
}

pub fn has_text(dtype: &Dtype) -> bool {
    *dtype == Dtype::String || dtype.is_record_with_text()
}

/// The library's type for ours.
pub fn of_dtype(dtype: &Dtype) -> Result<Id> {
    match dtype {
        Dtype::Number { kind, size, order } => number(*kind, *size, *order),
        Dtype::String => variable_text(H5T_cset_t::H5T_CSET_UTF8),
        Dtype::FixedString { size } => {
            let of = ffi::copy_type(&H5T_C_S1)?;
            let padding = Property::Padding(H5T_str_t::H5T_STR_NULLPAD);
            ffi::set(&of, &[Property::Size(*size), padding])?;
            Ok(of)
        }
        Dtype::Record { size, fields } => {
            let of = ffi::create_type(H5T_class_t::H5T_COMPOUND, *size)?;
            for field in fields {
                insert(&of, field, of_dtype(&field.dtype)?)?;
            }
            Ok(of)
        }
        Dtype::Hdf5 { encoded, .. } => {
            let of = ffi::decode_type(encoded)?;
            match ffi::class(&of) {
                H5T_class_t::H5T_ENUM => enumeration(&of),
                _ => Ok(of),
            }
        }
        Dtype::Date(_) => bail!("HDF5 has no type {dtype}"),
        Dtype::Utf32 { .. } => bail!("HDF5 has no text of type {dtype}"),
        Dtype::Unsupported(why) => bail!("A type that cannot be written: {why}"),
    }
}

fn number(kind: Kind, size: usize, order: ByteOrder) -> Result<Id> {
    let of = match (kind, size) {
        (Kind::Bool, _) => {
            let of = ffi::create_enum(&ffi::copy_type(&H5T_STD_I8LE)?)?;
            ffi::insert_enum_value(&of, c"FALSE", &[0])?;
            ffi::insert_enum_value(&of, c"TRUE", &[1])?;
            return Ok(of);
        }
        (Kind::Complex, _) => {
            let half = number(Kind::Float, size / 2, order)?;
            let of = ffi::create_type(H5T_class_t::H5T_COMPOUND, size)?;
            ffi::insert_member(&of, c"r", 0, &half)?;
            ffi::insert_member(&of, c"i", size / 2, &half)?;
            return Ok(of);
        }
        (Kind::Int, 1) => ffi::copy_type(&H5T_STD_I8LE),
        (Kind::Int, 2) => ffi::copy_type(&H5T_STD_I16LE),
        (Kind::Int, 4) => ffi::copy_type(&H5T_STD_I32LE),
        (Kind::Int, 8) => ffi::copy_type(&H5T_STD_I64LE),
        (Kind::Uint, 1) => ffi::copy_type(&H5T_STD_U8LE),
        (Kind::Uint, 2) => ffi::copy_type(&H5T_STD_U16LE),
        (Kind::Uint, 4) => ffi::copy_type(&H5T_STD_U32LE),
        (Kind::Uint, 8) => ffi::copy_type(&H5T_STD_U64LE),
        (Kind::Float, 2) => half_float(),
        (Kind::Float, 4) => ffi::copy_type(&H5T_IEEE_F32LE),
        (Kind::Float, 8) => ffi::copy_type(&H5T_IEEE_F64LE),
        _ => bail!("HDF5 has no {}", Dtype::Number { kind, size, order }),
    }?;
    if order == ByteOrder::Big {
        ffi::set(&of, &[Property::Order(H5T_order_t::H5T_ORDER_BE)])?;
    }
    Ok(of)
}

/// IEEE binary16, made from binary32 as h5py makes it, so that older libraries know it.
fn half_float() -> Result<Id> {
    let of = ffi::copy_type(&H5T_IEEE_F32LE)?;
    let fields = Property::FloatFields(15, (10, 5), (0, 10));
    ffi::set(
        &of,
        &[fields, Property::Size(2), Property::ExponentBias(15)],
    )?;
    Ok(of)
}

fn variable_text(charset: H5T_cset_t) -> Result<Id> {
    let of = ffi::copy_type(&H5T_C_S1)?;
    ffi::set(
        &of,
        &[Property::Size(H5T_VARIABLE), Property::Charset(charset)],
    )?;
    Ok(of)
}

/// An enumeration made anew, in the oldest version of the format that has it: those of a file that was written with
/// `libver="latest"` may be of a version that older readers, for whom files are written, do not know.
fn enumeration(of: &Id) -> Result<Id> {
    let made = ffi::create_enum(&ffi::base_type(of)?)?;
    for at in 0..ffi::member_count(of)? {
        let (name, value) = (ffi::member_name(of, at)?, ffi::enum_value(of, at)?);
        ffi::insert_enum_value(&made, &name, &value)?;
    }
    Ok(made)
}

/// The type of what is in the file for texts, and for sequences, of any length, which are one class to the library: a
/// reference, as opaque bytes.
pub fn reference() -> Result<Id> {
    // Once: another time would free conversions that are in use.
    static KNOWN: Mutex<bool> = Mutex::new(false);
    let opaque = ffi::create_type(H5T_class_t::H5T_OPAQUE, heap::REFERENCE)?;
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if !*known {
        let text = variable_text(H5T_cset_t::H5T_CSET_UTF8)?;
        ffi::read_as_opaque(c"to reference", &text, &opaque)?;
        *known = true;
    }
    Ok(opaque)
}

/// Adds a field, an array of `item` where it has a shape, to a compound.
fn insert(compound: &Id, field: &Field, item: Id) -> Result<()> {
    let member = if field.shape.is_empty() {
        item
    } else {
        ffi::create_array(&item, &field.shape)?
    };
    ffi::insert_member(compound, &text(&field.name)?, field.offset, &member)
}

/// The type that values have in memory: the stored one, but bools of one byte, and text as C strings in its character
/// set: the library converts none to another.
pub fn in_memory(stored: &Id, dtype: &Dtype) -> Result<Id> {
    match dtype {
        Dtype::String => variable_text(ffi::charset(stored)),
        Dtype::Number {
            kind: Kind::Bool, ..
        } => of_dtype(dtype),
        _ => Ok(stored.clone()),
    }
}

/// The library's type for ours, each text in the character set that it has in the stored type.
pub fn in_charsets_of(stored: &Id, dtype: &Dtype) -> Result<Id> {
    let Dtype::Record { size, fields } = dtype else {
        return match dtype {
            Dtype::String => in_memory(stored, dtype),
            _ => of_dtype(dtype),
        };
    };
    let of = ffi::create_type(H5T_class_t::H5T_COMPOUND, *size)?;
    for (at, field) in (0..).zip(fields) {
        let mut member = ffi::member_type(stored, at)?;
        if !field.shape.is_empty() {
            member = ffi::base_type(&member)?;
        }
        insert(&of, field, in_charsets_of(&member, &field.dtype)?)?;
    }
    Ok(of)
}

/// The type in memory of one member of a compound: that member alone.
pub fn of_member(compound: &Id, field: &Field) -> Result<Id> {
    let name = text(&field.name)?;
    let at = ffi::member_index(compound, &name)?;
    let member = in_memory(&ffi::member_type(compound, at)?, &field.dtype)?;
    // The library finds members by name, and leaves out those that are not there.
    let alone = ffi::create_type(H5T_class_t::H5T_COMPOUND, ffi::type_size(&member)?)?;
    ffi::insert_member(&alone, &name, 0, &member)?;
    Ok(alone)
}

/// A record type as it is in memory, with a pointer for each text.
///
/// `S3` at byte 0 and `int32` at byte 3 become text at 0 and `int32` at 8, of 12 bytes together. Text in a field of
/// several values keeps its width.
pub fn with_any_text(dtype: &Dtype) -> Result<Dtype> {
    let Dtype::Record { fields, .. } = dtype else {
        bail!("{dtype} is no record");
    };
    let mut size = 0;
    let fields = fields
        .iter()
        .map(|field| {
            let text = matches!(field.dtype, Dtype::FixedString { .. }) && field.shape.is_empty();
            let mut out = Field {
                offset: size,
                ..field.clone()
            };
            size += if text {
                size_of::<usize>()
            } else {
                field.bytes()
            };
            if text {
                out.dtype = Dtype::String;
            }
            out
        })
        .collect();
    Ok(Dtype::Record { size, fields })
}
