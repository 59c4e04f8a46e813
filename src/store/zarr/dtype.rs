//! What the metadata of an array say about its values.
//!
//! zarrs is told that a value is raw bytes where it does not know the type: fixed text and records.
//!
//! Version 2 names types as numpy does (`<f8`), version 3 by words (`float64`). There, dates, fixed text and records
//! are extensions, which zarr-python writes. A type that is not known is an error that says so: the array opens all the
//! same, but is not read.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::meta::Meta;
use crate::limits;
use crate::store::spec::{ByteOrder, Dtype, Field, Kind, NATIVE};

/// How one value is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct ZarrType {
    /// What is made of it.
    pub dtype: Dtype,
    /// Bytes in a decoded chunk; 0 for text of any length.
    pub size: usize,
    /// zarrs does not know the type and gets it as bytes without meaning.
    pub opaque: bool,
    /// Where it holds text of numpy's `U`: offset, bytes and byte order.
    /// Of a record there may be several; bytes and offset are those in one value.
    pub utf32: Vec<(usize, usize, ByteOrder)>,
}

impl ZarrType {
    /// An error for widths that are not read here, such as those of float128.
    pub fn number(kind: Kind, size: usize, order: ByteOrder) -> Result<ZarrType> {
        let known = match kind {
            Kind::Bool => size == 1,
            Kind::Int | Kind::Uint => [1, 2, 4, 8].contains(&size),
            Kind::Float => [2, 4, 8].contains(&size),
            Kind::Complex => [8, 16].contains(&size),
        };
        let dtype = Dtype::Number { kind, size, order };
        ensure!(known, "numbers of type {dtype}");
        Ok(ZarrType {
            dtype,
            size,
            opaque: false,
            utf32: vec![],
        })
    }

    /// numpy's dates and spans of time, by their kind, `M` or `m`, and unit; the length of a step stands before the unit.
    fn date(kind: &str, unit: &str, step: u64) -> Result<ZarrType> {
        let known = [
            "Y", "M", "W", "D", "h", "m", "s", "ms", "us", "μs", "ns", "ps", "fs", "as", "generic",
        ];
        ensure!(known.contains(&unit), "a unit of time '{unit}'");
        let name = match (unit, step) {
            ("generic", _) => format!("{kind}8"),
            (_, 0 | 1) => format!("{kind}8[{unit}]"),
            _ => format!("{kind}8[{step}{unit}]"),
        };
        Ok(ZarrType {
            dtype: Dtype::Date(name.into()),
            size: 8,
            ..ZarrType::text()
        })
    }

    /// Text of any length.
    fn text() -> ZarrType {
        ZarrType {
            dtype: Dtype::String,
            size: 0,
            opaque: false,
            utf32: vec![],
        }
    }

    /// Text of so many bytes, padded with NUL; the bound keeps a claim of metadata from becoming memory.
    pub fn fixed(size: usize) -> Result<ZarrType> {
        ensure!(
            (1..=limits::FIXED_TEXT).contains(&size),
            "text of {size} bytes"
        );
        let dtype = Dtype::FixedString { size };
        Ok(ZarrType {
            dtype,
            size,
            opaque: true,
            utf32: vec![],
        })
    }

    /// numpy's `U`. A code point takes 4 bytes here and at most 4 in UTF-8, so the text is converted in its place.
    pub fn utf32(size: usize, order: ByteOrder) -> Result<ZarrType> {
        ensure!(size.is_multiple_of(4), "UTF-32 in {size} bytes");
        let utf32 = vec![(0, size, order)];
        Ok(ZarrType {
            utf32,
            ..ZarrType::fixed(size)?
        })
    }

    /// Fields that lie one after another.
    fn record(parts: Vec<(String, ZarrType, Vec<u64>)>) -> Result<ZarrType> {
        let mut whole = ZarrType::text();
        let mut fields = vec![];
        for (name, item_type, shape) in parts {
            ensure!(
                item_type.size > 0,
                "records with text of any length (field '{name}')"
            );
            let offset = whole.size;
            let count = checked_items(&shape).and_then(|n| usize::try_from(n).ok());
            let bytes = count.and_then(|n| n.checked_mul(item_type.size));
            let end = bytes.and_then(|n| n.checked_add(offset));
            whole.size = end
                .filter(|&n| n <= limits::RECORD)
                .context("records too large to address")?;
            // `[["x", "<U2", [3]]]` has text at 0, 8 and 16.
            let each = (offset..whole.size).step_by(item_type.size);
            whole.utf32.extend(each.flat_map(|at| {
                item_type
                    .utf32
                    .iter()
                    .map(move |&(o, n, order)| (at + o, n, order))
            }));
            fields.push(Field {
                name,
                offset,
                dtype: item_type.dtype,
                shape,
            });
        }
        ensure!(whole.size > 0, "records of no width");
        whole.dtype = Dtype::Record {
            size: whole.size,
            fields,
        };
        whole.opaque = true;
        Ok(whole)
    }
}

/// Values in an array of this shape; `None` if they cannot be counted.
pub fn checked_items(shape: &[u64]) -> Option<u64> {
    shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d))
}

/// A list of sizes.
pub fn dims(json: &Value) -> Option<Vec<u64>> {
    json.as_array()?.iter().map(Value::as_u64).collect()
}

/// How the values of an array are stored; the error names what is not supported.
pub fn of(meta: &Meta) -> Result<ZarrType> {
    let json = &meta.json;
    let item_type = if meta.version == 3 {
        v3_type(&json["data_type"], endian(&json["codecs"]))?
    } else if json["dtype"].as_str() == Some("|O") {
        let filter = json["filters"][0]["id"].as_str().unwrap_or("none");
        ensure!(filter == "vlen-utf8", "objects (filter {filter})");
        ZarrType::text()
    } else {
        v2_type(&json["dtype"])?
    };
    // zarrs hands out numbers in this machine's byte order.
    let dtype = match item_type.dtype {
        Dtype::Number { kind, size, .. } => Dtype::Number {
            kind,
            size,
            order: NATIVE,
        },
        other => other,
    };
    Ok(ZarrType { dtype, ..item_type })
}

const DIGITS: [char; 10] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'];

/// A type as version 2 has it: `<f8`, `|S5`, `>U3`, `<M8[ns]`, or a list of fields, each with name, type and maybe
/// shape.
fn v2_type(dtype: &Value) -> Result<ZarrType> {
    if let Some(fields) = dtype.as_array() {
        let part = |field: &Value| {
            let name = field[0].as_str().context("a field without a name")?;
            let shape = match &field[2] {
                Value::Null => vec![],
                shape => dims(shape).context("a field without a shape")?,
            };
            // A date alone is turned as it is read, and its type tells no order. Of a record, bytes stay.
            let is_turned = |dtype: &str| dtype.starts_with(">M") || dtype.starts_with(">m");
            ensure!(
                !field[1].as_str().is_some_and(is_turned),
                "dates in big-endian order within records"
            );
            Ok((name.into(), v2_type(&field[1])?, shape))
        };
        return ZarrType::record(fields.iter().map(part).collect::<Result<_>>()?);
    }
    let unknown = || format!("data type {dtype}");
    let name = dtype.as_str().with_context(unknown)?;
    let (order, rest) = match name.split_at_checked(1).with_context(unknown)? {
        (">", rest) => (ByteOrder::Big, rest),
        ("<" | "|", rest) => (ByteOrder::Little, rest),
        _ => bail!(unknown()),
    };
    let (kind, size) = rest.split_at_checked(1).with_context(unknown)?;
    if let "M" | "m" = kind {
        let unit = size.strip_prefix('8').with_context(unknown)?;
        let unit = match unit {
            "" => "generic",
            unit => unit
                .strip_prefix('[')
                .and_then(|unit| unit.strip_suffix(']'))
                .with_context(unknown)?,
        };
        let (step, unit) = unit.split_at(unit.len() - unit.trim_start_matches(DIGITS).len());
        return ZarrType::date(kind, unit, step.parse().unwrap_or(1));
    }
    let size: usize = size.parse().ok().with_context(unknown)?;
    match kind {
        "b" => ZarrType::number(Kind::Bool, size, order),
        "i" => ZarrType::number(Kind::Int, size, order),
        "u" => ZarrType::number(Kind::Uint, size, order),
        "f" => ZarrType::number(Kind::Float, size, order),
        "c" => ZarrType::number(Kind::Complex, size, order),
        "S" => ZarrType::fixed(size),
        "U" => ZarrType::utf32(size.saturating_mul(4), order),
        _ => bail!(unknown()),
    }
}

/// A type as version 3 has it: a name, or an object with a name and a configuration. `order` comes from the codecs.
fn v3_type(data_type: &Value, order: ByteOrder) -> Result<ZarrType> {
    let unknown = || format!("data type {data_type}");
    let name = data_type.as_str().or(data_type["name"].as_str());
    let config = &data_type["configuration"];
    let bytes = || {
        let bytes = config["length_bytes"].as_u64().with_context(unknown)?;
        usize::try_from(bytes).with_context(unknown)
    };
    match name.with_context(unknown)? {
        "bool" => ZarrType::number(Kind::Bool, 1, order),
        "string" => Ok(ZarrType::text()),
        date @ ("numpy.datetime64" | "numpy.timedelta64") => {
            let unit = config["unit"].as_str().with_context(unknown)?;
            let step = config["scale_factor"].as_u64().unwrap_or(1);
            let kind = if date == "numpy.datetime64" { "M" } else { "m" };
            ZarrType::date(kind, unit, step)
        }
        "null_terminated_bytes" => ZarrType::fixed(bytes()?),
        "fixed_length_utf32" => ZarrType::utf32(bytes()?, order),
        // The fields were pairs of name and type under the older of these names.
        "struct" | "structured" => {
            let part = |field: &Value| {
                let (name, data_type) = match field {
                    Value::Array(_) => (&field[0], &field[1]),
                    _ => (&field["name"], &field["data_type"]),
                };
                let name = name.as_str().with_context(unknown)?;
                Ok((name.into(), v3_type(data_type, order)?, vec![]))
            };
            let fields = config["fields"].as_array().with_context(unknown)?;
            ZarrType::record(fields.iter().map(part).collect::<Result<_>>()?)
        }
        name => {
            let digits = name.find(|c: char| c.is_ascii_digit());
            let (kind, bits) = name.split_at(digits.with_context(unknown)?);
            let bits: usize = bits.parse().ok().with_context(unknown)?;
            let kind = match kind {
                "int" => Kind::Int,
                "uint" => Kind::Uint,
                "float" => Kind::Float,
                "complex" => Kind::Complex,
                _ => bail!(unknown()),
            };
            ensure!(bits.is_multiple_of(8), unknown());
            ZarrType::number(kind, bits / 8, order)
        }
    }
}

/// The byte order that version 3 keeps in its codec `bytes`.
fn endian(codecs: &Value) -> ByteOrder {
    for codec in codecs.as_array().into_iter().flatten() {
        match codec["name"].as_str() {
            Some("bytes") if codec["configuration"]["endian"] == "big" => return ByteOrder::Big,
            Some("sharding_indexed") => return endian(&codec["configuration"]["codecs"]),
            _ => {}
        }
    }
    ByteOrder::Little
}

/// The metadata of an array of opaque values, made into what zarrs reads: raw bytes.
/// Fill values are zeros, or base64 of the right length; any other is an error.
pub fn as_opaque(meta: &Meta, item_type: &ZarrType) -> Result<Value> {
    let mut json = meta.json.clone();
    let fill = &mut json["fill_value"];
    let is_utf32 =
        matches!(item_type.dtype, Dtype::FixedString { .. }) && !item_type.utf32.is_empty();
    match fill {
        // The value in base64, which zarrs takes for raw bytes.
        _ if is_zero(fill) => *fill = json!(zeros_in_base64(item_type.size)),
        Value::String(text) if !is_utf32 && text.len() == item_type.size.div_ceil(3) * 4 => {}
        _ => bail!("fill value {fill}"),
    }
    match meta.version {
        3 => json["data_type"] = json!(format!("r{}", 8 * item_type.size)),
        _ => json["dtype"] = json!(format!("|V{}", item_type.size)),
    }
    Ok(json)
}

/// Dates as zarrs is to read them: numbers of 8 bytes in the same order.
/// NaT, no time, is the least number of 64 bits in numpy.
pub fn as_numbers(meta: &Meta) -> Value {
    let mut json = meta.json.clone();
    if json["fill_value"] == "NaT" {
        json["fill_value"] = json!(i64::MIN);
    }
    let swapped = json["dtype"].as_str().is_some_and(|t| t.starts_with('>'));
    match meta.version {
        3 => json["data_type"] = json!("int64"),
        _ => json["dtype"] = json!(if swapped { ">i8" } else { "<i8" }),
    }
    json
}

/// As many zero bytes, as text of RFC 4648.
pub fn zeros_in_base64(size: usize) -> String {
    "AAAA".repeat(size / 3) + ["", "AA==", "AAA="][size % 3]
}

/// Whether a fill value is all zeros, in any of the ways in which it is written.
fn is_zero(fill: &Value) -> bool {
    match fill {
        Value::Null | Value::Bool(false) => true,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Object(fields) => fields.values().all(is_zero),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(dtype: Value) -> Result<Dtype> {
        Ok(v2_type(&dtype)?.dtype)
    }

    #[test]
    fn types_of_both_versions() {
        let number = |kind, size, order| Dtype::Number { kind, size, order };
        assert_eq!(v2(json!("|b1")).unwrap(), Dtype::BOOL);
        assert_eq!(
            v2(json!(">i8")).unwrap(),
            number(Kind::Int, 8, ByteOrder::Big)
        );
        assert_eq!(
            v2(json!("<c16")).unwrap(),
            number(Kind::Complex, 16, ByteOrder::Little)
        );
        for (name, numpy) in [
            ("<M8[ns]", "M8[ns]"),
            (">m8[25s]", "m8[25s]"),
            ("<M8", "M8"),
        ] {
            assert_eq!(v2(json!(name)).unwrap(), Dtype::Date(numpy.into()));
        }
        assert_eq!(v2(json!("|S5")).unwrap(), Dtype::FixedString { size: 5 });
        assert_eq!(v2(json!("<U5")).unwrap(), Dtype::FixedString { size: 20 });
        for unknown in [
            "",
            "<",
            "|S0",
            "<U999999999",
            "<M8[s",
            "<M4[s]",
            "<M8[x]",
            "<f16",
            "é",
            "<f3",
            "=i4",
            "|O",
        ] {
            assert!(v2(json!(unknown)).is_err(), "{unknown}");
        }
        let v3 = |json| v3_type(&json, ByteOrder::Little).map(|e| e.dtype);
        assert_eq!(
            v3(json!("uint16")).unwrap(),
            number(Kind::Uint, 2, ByteOrder::Little)
        );
        assert_eq!(
            v3(json!({"name": "float32"})).unwrap(),
            number(Kind::Float, 4, ByteOrder::Little)
        );
        for unknown in [
            "int4",
            "float8_e5m2",
            "r16",
            "bfloat16",
            "numpy.datetime64",
            "numpy.void",
            "",
        ] {
            assert!(v3(json!(unknown)).is_err(), "{unknown}");
        }
    }

    #[test]
    fn wide_elements_are_refused() {
        assert!(v2(json!(format!("|S{}", limits::FIXED_TEXT))).is_ok());
        assert!(v2(json!(format!("|S{}", limits::FIXED_TEXT + 1))).is_err());
        assert!(v2(json!([["a", "|i1", [limits::RECORD]]])).is_ok());
        assert!(v2(json!([["a", "|i1", [limits::RECORD + 1]]])).is_err());
    }

    #[test]
    fn fields_of_records() {
        let record = v2_type(&json!([["a", "<i2"], ["b", "<U2", [2]], ["c", ">f4"]])).unwrap();
        assert_eq!(record.size, 22);
        assert_eq!(
            record.utf32,
            [(2, 8, ByteOrder::Little), (10, 8, ByteOrder::Little)]
        );
        let pairs = json!({"name": "structured", "configuration": {"fields": [["a", "int16"]]}});
        let objects = json!({"name": "struct", "configuration": {"fields": [
            {"name": "a", "data_type": "int16"}
        ]}});
        let a = v3_type(&pairs, ByteOrder::Little).unwrap();
        assert_eq!(a, v3_type(&objects, ByteOrder::Little).unwrap());
        assert_eq!(a, v2_type(&json!([["a", "<i2"]])).unwrap());
    }
}
