//! The metadata of an array that is written: one description, from which those of versions 2 and 3 are made.
//!
//! They are as anndata writes them: types, fill values and codecs of `.zarray` (Zarr v2, "Metadata") and `zarr.json`
//! (Zarr v3, "Array metadata"; text and records by the extensions that zarr-python has).
//!
//! [`Description`] has what an appender knows when all rows are written: a growing array has its shape only then.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use super::codec::Codec;
use super::dtype::{ZarrType, checked_items, zeros_in_base64};
use crate::limits;
use crate::store::ZarrVersion;
use crate::store::spec::{ArraySpec, ByteOrder, Dtype, Field, Kind, NATIVE};

/// What is said of an array.
pub struct Description<'a> {
    pub spec: &'a ArraySpec,
    /// The shape of what is encoded at a time.
    pub chunk: &'a [u64],
    /// The shape of a Zarr shard, where a file holds one; version 2 has none.
    pub shard: Option<&'a [u64]>,
    pub codec: &'a Codec,
}

impl Description<'_> {
    /// `.zarray`.
    pub fn v2(&self) -> Result<Value> {
        let dtype = stored(self.spec);
        let filters = match dtype {
            Dtype::String => json!([{"id": "vlen-utf8"}]),
            _ => Value::Null,
        };
        Ok(json!({
            "zarr_format": 2,
            "shape": self.spec.shape,
            "chunks": self.chunk,
            "dtype": v2_dtype(dtype)?,
            "fill_value": fill(dtype),
            "order": "C",
            "filters": filters,
            "dimension_separator": ".",
            "compressor": self.codec.v2(),
        }))
    }

    /// `zarr.json`.
    pub fn v3(&self, attrs: &Map<String, Value>) -> Result<Value> {
        let dtype = stored(self.spec);
        let mut codecs = vec![v3_bytes(dtype)];
        codecs.extend(self.codec.v3());
        // The chunks in a shard are encoded; the shard itself has an index of them at its end, with a checksum (Zarr
        // v3, "Sharding codec").
        if self.shard.is_some() {
            codecs = vec![json!({
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": self.chunk,
                    "codecs": codecs,
                    "index_codecs": [
                        {"name": "bytes", "configuration": {"endian": "little"}},
                        {"name": "crc32c"},
                    ],
                    "index_location": "end",
                },
            })];
        }
        // With shards the grid is that of files, and the codec says how these are cut.
        let file = self.shard.unwrap_or(self.chunk);
        Ok(json!({
            "zarr_format": 3,
            "node_type": "array",
            "shape": self.spec.shape,
            "data_type": v3_dtype(dtype)?,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": file}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": fill(dtype),
            "codecs": codecs,
            "attributes": attrs,
            "storage_transformers": [],
        }))
    }
}

/// An error, which says why, where a store of this version cannot hold such an array.
pub fn check(version: ZarrVersion, spec: &ArraySpec) -> Result<()> {
    let dtype = stored(spec);
    match version {
        ZarrVersion::V2 => v2_dtype(dtype).map(drop),
        ZarrVersion::V3 => v3_dtype(dtype).map(drop),
    }
}

/// The file of a chunk at this place in the grid, below the folder of its array.
/// `[0, 1]` is `0.1` in version 2 and `c/0/1` in version 3; a scalar, `[]`, is `0` and `c`.
pub fn key(version: ZarrVersion, place: &[u64]) -> String {
    let numbers = place.iter().map(u64::to_string);
    match (version, place) {
        (ZarrVersion::V2, []) => "0".into(),
        (ZarrVersion::V2, _) => numbers.collect::<Vec<_>>().join("."),
        (ZarrVersion::V3, _) => ["c".into()]
            .into_iter()
            .chain(numbers)
            .collect::<Vec<_>>()
            .join("/"),
    }
}

/// What stands for the values: anndata's `None` is a bool that is never written.
fn stored(spec: &ArraySpec) -> &Dtype {
    const NULL: &Dtype = &Dtype::BOOL;
    if spec.null { NULL } else { &spec.dtype }
}

/// numpy's name of a type, as `<f8`, `|b1`, `|S5` or `<U3`; of records a list, as `[["a", "<i4"], ["b", "|S5", [2]]]`
/// (Zarr v2, "Data type encoding").
fn v2_dtype(dtype: &Dtype) -> Result<Value> {
    Ok(match dtype {
        Dtype::Number { kind, size, order } => {
            ZarrType::number(*kind, *size, *order).context("Zarr has no such numbers")?;
            let order = match order {
                _ if *size == 1 => '|',
                ByteOrder::Little => '<',
                ByteOrder::Big => '>',
            };
            let kind = match kind {
                Kind::Bool => 'b',
                Kind::Int => 'i',
                Kind::Uint => 'u',
                Kind::Float => 'f',
                Kind::Complex => 'c',
            };
            json!(format!("{order}{kind}{size}"))
        }
        Dtype::String => json!("|O"),
        Dtype::Date(name) => {
            let order = if NATIVE == ByteOrder::Big { '>' } else { '<' };
            json!(format!("{order}{name}"))
        }
        Dtype::FixedString { size } => {
            ZarrType::fixed(*size).context("Zarr cannot store it")?;
            json!(format!("|S{size}"))
        }
        Dtype::Utf32 { size } => {
            ZarrType::utf32(*size, NATIVE).context("Zarr cannot store it")?;
            let order = if NATIVE == ByteOrder::Big { '>' } else { '<' };
            json!(format!("{order}U{}", size / 4))
        }
        Dtype::Record { size, fields } => {
            check_record(*size, fields)?;
            let field = |field: &Field| {
                let dtype = v2_dtype(&field.dtype);
                let dtype = dtype.with_context(|| format!("Field '{}'", field.name))?;
                Ok(match field.shape.as_slice() {
                    [] => json!([field.name, dtype]),
                    shape => json!([field.name, dtype, shape]),
                })
            };
            json!(fields.iter().map(field).collect::<Result<Vec<_>>>()?)
        }
        _ => bail!("Zarr cannot store {dtype}"),
    })
}

/// A name, as `float64` and `string`, or an object with a name and a configuration. Byte order is no part of it: the
/// codec `bytes` has that.
fn v3_dtype(dtype: &Dtype) -> Result<Value> {
    let of_bytes = |name, bytes| json!({"name": name, "configuration": {"length_bytes": bytes}});
    Ok(match dtype {
        Dtype::Number { kind, size, order } => {
            ZarrType::number(*kind, *size, *order).context("Zarr has no such numbers")?;
            let kind = match kind {
                Kind::Bool => return Ok(json!("bool")),
                Kind::Int => "int",
                Kind::Uint => "uint",
                Kind::Float => "float",
                Kind::Complex => "complex",
            };
            json!(format!("{kind}{}", 8 * size))
        }
        Dtype::String => json!("string"),
        Dtype::Date(name) => v3_date(name),
        Dtype::FixedString { size } => {
            ZarrType::fixed(*size).context("Zarr cannot store it")?;
            of_bytes("null_terminated_bytes", size)
        }
        Dtype::Utf32 { size } => {
            ZarrType::utf32(*size, NATIVE).context("Zarr cannot store it")?;
            of_bytes("fixed_length_utf32", size)
        }
        Dtype::Record { size, fields } => {
            check_record(*size, fields)?;
            let fields = fields.iter().map(v3_field).collect::<Result<Vec<_>>>()?;
            // Newer versions of zarr-python write it as `struct`, which older ones do not read.
            json!({"name": "structured", "configuration": {"fields": fields}})
        }
        _ => bail!("Zarr cannot store {dtype}"),
    })
}

/// A date by numpy's name of its type, such as `M8[25s]`.
fn v3_date(name: &str) -> Value {
    let (kind, rest) = name.split_at_checked(1).unwrap_or_default();
    let unit = rest.trim_start_matches('8').trim_matches(['[', ']']);
    // `25s` is 25 and `s`.
    let digits = unit.len() - unit.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (step, unit) = unit.split_at(digits);
    let kind = if kind == "M" {
        "datetime64"
    } else {
        "timedelta64"
    };
    let unit = if unit.is_empty() { "generic" } else { unit };
    json!({
        "name": format!("numpy.{kind}"),
        "configuration": {"unit": unit, "scale_factor": step.parse().unwrap_or(1u64)},
    })
}

/// A field of a record: its name and type. The bytes of all fields have this machine's order.
fn v3_field(field: &Field) -> Result<Value> {
    let name = &field.name;
    ensure!(
        field.shape.is_empty(),
        "Zarr of version 3 has no field of several values (field '{name}')"
    );
    let swapped =
        matches!(field.dtype, Dtype::Number { size, order, .. } if size > 1 && order != NATIVE);
    ensure!(
        !swapped,
        "Zarr of version 3 has no order of bytes of a field (field '{name}')"
    );
    let dtype = v3_dtype(&field.dtype).with_context(|| format!("Field '{name}'"))?;
    Ok(json!([name, dtype]))
}

/// An error unless the fields lie one after another.
/// Neither version says at which byte a field begins, so gaps, as those of a C struct, cannot be told to readers.
fn check_record(size: usize, fields: &[Field]) -> Result<()> {
    let mut end = 0;
    for field in fields {
        let name = &field.name;
        ensure!(
            field.offset == end,
            "Zarr cannot store a record with gaps (before field '{name}')"
        );
        ensure!(
            field.dtype != Dtype::String,
            "Zarr cannot store text of any length in a record (field '{name}')"
        );
        let bytes =
            checked_items(&field.shape).and_then(|n| n.checked_mul(field.dtype.size() as u64));
        end += bytes.context("Records too large to address")? as usize;
    }
    ensure!(
        end == size && size > 0,
        "Zarr cannot store a record with gaps (at its end)"
    );
    ensure!(
        size <= limits::RECORD,
        "Zarr cannot store records of {size} bytes"
    );
    Ok(())
}

/// Zeros, in both versions.
fn fill(dtype: &Dtype) -> Value {
    match dtype {
        Dtype::Number { kind, .. } => zero(*kind),
        Dtype::Date(_) => json!(0),
        Dtype::Record { size, .. } => json!(zeros_in_base64(*size)),
        _ => json!(""),
    }
}

fn zero(kind: Kind) -> Value {
    match kind {
        Kind::Bool => json!(false),
        Kind::Int | Kind::Uint => json!(0),
        Kind::Float => json!(0.0),
        Kind::Complex => json!([0.0, 0.0]),
    }
}

/// The codec that makes bytes of values.
/// A type of one byte has no order; records, dates and `U` are written in that of this machine.
fn v3_bytes(dtype: &Dtype) -> Value {
    let order = match dtype {
        Dtype::String => return json!({"name": "vlen-utf8", "configuration": {}}),
        Dtype::FixedString { .. } => None,
        Dtype::Number { size: 1, .. } => None,
        Dtype::Number { order, .. } => Some(*order),
        _ => Some(NATIVE),
    };
    match order {
        None => json!({"name": "bytes"}),
        Some(ByteOrder::Little) => json!({"name": "bytes", "configuration": {"endian": "little"}}),
        Some(ByteOrder::Big) => json!({"name": "bytes", "configuration": {"endian": "big"}}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::compression::Compression;
    use crate::store::zarr::dtype;
    use crate::store::zarr::meta::Meta;

    fn described(spec: &ArraySpec, shard: Option<&[u64]>) -> [Meta; 2] {
        let codec = Codec::new(Compression::Lz4, &spec.dtype).unwrap();
        let description = Description {
            spec,
            chunk: &spec.shape,
            shard,
            codec: &codec,
        };
        let meta = |version, json| Meta {
            is_array: true,
            version,
            json,
            attrs: Map::new(),
        };
        [
            meta(2, description.v2().unwrap()),
            meta(3, description.v3(&Map::new()).unwrap()),
        ]
    }

    #[test]
    fn what_is_written_is_understood_in_both_versions() {
        let field = |name: &str, offset, dtype, shape| Field {
            name: name.into(),
            offset,
            dtype,
            shape,
        };
        let int = Dtype::native(Kind::Int, 2);
        let text = Dtype::FixedString { size: 4 };
        let record = Dtype::Record {
            size: 6,
            fields: vec![
                field("a", 0, int.clone(), vec![]),
                field("b", 2, text.clone(), vec![]),
            ],
        };
        let kinds = [
            (Kind::Bool, 1),
            (Kind::Uint, 1),
            (Kind::Int, 8),
            (Kind::Float, 2),
            (Kind::Complex, 16),
        ];
        let numbers = kinds.map(|(kind, size)| Dtype::native(kind, size));
        for dtype in numbers.into_iter().chain([Dtype::String, text, record]) {
            let spec = ArraySpec::new(vec![2], dtype.clone());
            for shard in [None, Some(&[4][..])] {
                for meta in described(&spec, shard) {
                    assert_eq!(dtype::of(&meta).unwrap().dtype, dtype, "{}", meta.json);
                }
            }
        }
        let of_two = Dtype::Record {
            size: 4,
            fields: vec![field("a", 0, int, vec![2])],
        };
        let spec = ArraySpec::new(vec![2], of_two);
        assert!(check(ZarrVersion::V2, &spec).is_ok());
        let error = check(ZarrVersion::V3, &spec).unwrap_err().to_string();
        assert!(error.contains("field 'a'"), "{error}");
    }

    #[test]
    fn wide_elements_are_refused() {
        let spec = |size| ArraySpec::new(vec![1], Dtype::FixedString { size });
        for version in [ZarrVersion::V2, ZarrVersion::V3] {
            assert!(check(version, &spec(limits::FIXED_TEXT)).is_ok());
            assert!(check(version, &spec(limits::FIXED_TEXT + 1)).is_err());
        }
    }

    #[test]
    fn chunks_have_the_files_of_their_version() {
        assert_eq!(key(ZarrVersion::V2, &[]), "0");
        assert_eq!(key(ZarrVersion::V2, &[3, 0]), "3.0");
        assert_eq!(key(ZarrVersion::V3, &[]), "c");
        assert_eq!(key(ZarrVersion::V3, &[3, 0]), "c/3/0");
    }
}
