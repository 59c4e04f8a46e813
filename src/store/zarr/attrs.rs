//! Attributes as JSON, and JSON as attributes.
//!
//! JSON has fewer types than HDF5, so a value has the widest of its kind when it comes back: `1` is int64, `[1.5, 2.5]`
//! two float64, `"x"` a text, `null` nothing, `[]` a list of no texts. What is none of these, such as an object or a
//! list of lists, stays JSON, and only a Zarr output can have it. NaN and infinities are texts of [`words`] within the
//! program.

use anyhow::{Context, Result, bail, ensure};
use half::f16;
use serde_json::{Map, Value, json};

use crate::store::spec::{Attr, Attrs, ByteOrder, Dtype, Kind};
use crate::store::words;

/// All attributes of a node. None is an error: what has no type of its own stays JSON.
pub fn from_json(json: &Map<String, Value>) -> Attrs {
    json.iter().fold(Attrs::default(), |attrs, (name, value)| {
        attrs.with(name, attr(value))
    })
}

/// Adds attributes to those of a node; those of the same names are replaced.
pub fn add_json(json: &mut Map<String, Value>, attrs: &Attrs) -> Result<()> {
    for (name, attr) in attrs.iter() {
        let value = value(attr).with_context(|| format!("Attribute '{name}'"))?;
        json.insert(name.into(), value);
    }
    Ok(())
}

/// One value. A list of lists stays JSON.
fn attr(value: &Value) -> Attr {
    match value {
        Value::Null => Attr::Null(Dtype::FLOAT64),
        Value::String(text) if words::number(text).is_none() => Attr::Text(text.clone()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            numbers(std::slice::from_ref(value), vec![])
                .unwrap_or_else(|| Attr::Json(value.clone()))
        }
        Value::Array(values) => {
            let texts: Option<Vec<_>> = values.iter().map(|v| v.as_str().map(Into::into)).collect();
            numbers(values, vec![values.len() as u64])
                .filter(|_| !values.is_empty())
                .or_else(|| texts.map(Attr::texts))
                .unwrap_or_else(|| Attr::Json(value.clone()))
        }
        Value::Object(_) => Attr::Json(value.clone()),
    }
}

/// Values of one kind: bools, integers or floats, never mixed.
fn numbers(values: &[Value], shape: Vec<u64>) -> Option<Attr> {
    let all = |kind, size, bytes: &dyn Fn(&Value) -> Option<Vec<u8>>| {
        let bytes: Option<Vec<_>> = values.iter().map(bytes).collect();
        bytes.map(|b| (Dtype::native(kind, size), b.concat()))
    };
    // An integer is tried as signed first; `18446744073709551615` needs the unsigned type.
    let (dtype, bytes) = all(Kind::Bool, 1, &|v| Some(vec![v.as_bool()? as u8]))
        .or_else(|| all(Kind::Int, 8, &|v| Some(v.as_i64()?.to_ne_bytes().into())))
        .or_else(|| all(Kind::Uint, 8, &|v| Some(v.as_u64()?.to_ne_bytes().into())))
        .or_else(|| {
            let float = |v: &Value| match v {
                Value::String(text) => words::number(text),
                _ => v.as_f64().filter(|_| v.is_f64()),
            };
            all(Kind::Float, 8, &|v| Some(float(v)?.to_ne_bytes().into()))
        })?;
    Some(Attr::Bytes {
        dtype,
        shape,
        bytes,
    })
}

/// An attribute in JSON, as version 2 and 3 store it.
/// An error for values that JSON does not have: complex numbers, and text as bytes.
pub fn value(attr: &Attr) -> Result<Value> {
    match attr {
        Attr::Text(text) | Attr::Reference(text) => Ok(json!(text)),
        Attr::Texts { shape, values } => nest(values.iter().map(|v| json!(v)).collect(), shape),
        Attr::Bytes {
            dtype,
            shape,
            bytes,
        } => {
            let Dtype::Number { kind, size, order } = *dtype.as_read() else {
                bail!("JSON has no values of type {dtype}");
            };
            ensure!(size > 0, "Numbers of no width");
            let values = bytes.chunks(size).map(|b| number(b, kind, order));
            let values: Option<Vec<_>> = values.collect();
            nest(
                values.with_context(|| format!("JSON has no numbers of type {dtype}"))?,
                shape,
            )
        }
        Attr::Null(_) => Ok(Value::Null),
        Attr::Json(value) => Ok(value.clone()),
    }
}

/// Lists of lists, as deep as `shape` is long.
/// 6 values of shape `[2, 3]` become 2 lists of 3, and one value of shape `[]` stays by itself.
fn nest(mut values: Vec<Value>, shape: &[u64]) -> Result<Value> {
    let count = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
    ensure!(
        count == Some(values.len() as u64),
        "{} values of shape {shape:?}",
        values.len()
    );
    for &size in shape.iter().skip(1).rev() {
        ensure!(size > 0, "JSON has no values of shape {shape:?}");
        values = values.chunks(size as usize).map(|c| json!(c)).collect();
    }
    match shape {
        [] => Ok(values.swap_remove(0)),
        _ => Ok(json!(values)),
    }
}

/// NaN and infinities, which JSON does not have, are [words].
/// `None` for numbers of other widths.
fn number(bytes: &[u8], kind: Kind, order: ByteOrder) -> Option<Value> {
    let mut little = [0; 8];
    little.get_mut(..bytes.len())?.copy_from_slice(bytes);
    if order == ByteOrder::Big {
        little[..bytes.len()].reverse();
    }
    let bits = u64::from_le_bytes(little);
    let unused = 64 - 8 * bytes.len() as u32;
    Some(match (kind, bytes.len()) {
        (Kind::Bool, 1) => json!(bits != 0),
        (Kind::Int, 1 | 2 | 4 | 8) => json!(((bits << unused) as i64) >> unused),
        (Kind::Uint, 1 | 2 | 4 | 8) => json!(bits),
        (Kind::Float, 2) => float(f16::from_bits(bits as u16).to_f64_const()),
        (Kind::Float, 4) => float(f32::from_bits(bits as u32).into()),
        (Kind::Float, 8) => float(f64::from_bits(bits)),
        _ => return None,
    })
}

fn float(value: f64) -> Value {
    words::of(value).map_or_else(|| json!(value), Value::String)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::spec::NATIVE;

    fn back(attr: Attr) -> Attr {
        let mut json = Map::new();
        add_json(&mut json, &Attrs::default().with("a", attr)).unwrap();
        from_json(&json).remove("a").unwrap()
    }

    #[test]
    fn values_come_back() {
        let float = |v: f64| Attr::Bytes {
            dtype: Dtype::FLOAT64,
            shape: vec![],
            bytes: v.to_ne_bytes().into(),
        };
        let big = Attr::Bytes {
            dtype: Dtype::native(Kind::Uint, 8),
            shape: vec![1],
            bytes: u64::MAX.to_ne_bytes().into(),
        };
        for attr in [
            Attr::Text("😀".into()),
            Attr::texts(vec![]),
            Attr::texts(vec!["a".into(), "".into()]),
            Attr::bool(true),
            Attr::ints(&[3, 5]),
            float(0.1),
            float(-1e300),
            float(f64::INFINITY),
            big,
            Attr::Null(Dtype::FLOAT64),
            Attr::Json(json!({"a": [1, 2.5, "x"]})),
            Attr::Json(json!([1, 2.5])),
            Attr::Json(json!([[1], [2]])),
        ] {
            assert_eq!(back(attr.clone()), attr);
        }
        assert_eq!(back(Attr::Reference("/a".into())), Attr::Text("/a".into()));
    }

    #[test]
    fn numbers_of_every_width() {
        let of = |kind, order, bytes: &[u8]| number(bytes, kind, order);
        assert_eq!(
            of(Kind::Int, ByteOrder::Big, &[0xff, 0xfe]),
            Some(json!(-2))
        );
        assert_eq!(
            of(Kind::Uint, ByteOrder::Little, &[1, 0, 0, 0]),
            Some(json!(1))
        );
        assert_eq!(
            of(Kind::Float, ByteOrder::Big, &1.5f32.to_be_bytes()),
            Some(json!(1.5))
        );
        assert_eq!(
            of(Kind::Float, ByteOrder::Little, &f64::NAN.to_le_bytes()),
            Some(json!("\u{fdd0}NaN"))
        );
        for (bits, value) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x0001, 2f64.powi(-24)),
            (0x7bff, 65504.0),
        ] {
            let bytes = u16::to_le_bytes(bits);
            assert_eq!(
                of(Kind::Float, ByteOrder::Little, &bytes),
                Some(json!(value))
            );
        }
        assert_eq!(of(Kind::Complex, NATIVE, &[0; 8]), None);
    }

    #[test]
    fn shapes_are_nested() {
        let grid = Attr::Bytes {
            dtype: Dtype::BOOL,
            shape: vec![2, 2],
            bytes: vec![1, 0, 0, 1],
        };
        assert_eq!(value(&grid).unwrap(), json!([[true, false], [false, true]]));
        let short = Attr::Bytes {
            dtype: Dtype::BOOL,
            shape: vec![3],
            bytes: vec![1],
        };
        assert!(value(&short).is_err());
    }
}
