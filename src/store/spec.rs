//! What an array or an attribute is, in terms that HDF5 and Zarr share.
//!
//! Values stay bytes: a [`Dtype`] says how wide they are and how they are read, so that a row can be copied
//! without conversion and written back in the width and byte order that it came in.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::number::whole_from;
pub use super::number::{ByteOrder, Kind, NATIVE, integer};
pub use super::strings::Strings;
use crate::limits;

/// The type of one value.
#[derive(Clone, Debug, PartialEq)]
pub enum Dtype {
    /// A number of `size` bytes.
    Number {
        kind: Kind,
        size: usize,
        order: ByteOrder,
    },
    /// Text of any length, UTF-8.
    String,
    /// Text of exactly `size` bytes, padded with NUL (numpy's `S`).
    FixedString { size: usize },
    /// Text of `size` bytes, 4 for each code point in this machine's order (numpy's `U`): so the records of Zarr hold
    /// text when they are written.
    Utf32 { size: usize },
    /// A date or a span of time: 8 bytes, which are a number of the unit that stands in numpy's name of the type, such as
    /// `M8[ns]` or `m8[25s]`. Zarr alone has them.
    Date(Arc<str>),
    /// numpy's structured type.
    Record { size: usize, fields: Vec<Field> },
    /// What only HDF5 can express, as `H5Tencode` gives it: rows are copied, nothing else, unless it is an enumeration.
    Hdf5 {
        size: usize,
        encoded: Arc<[u8]>,
        codes: Option<Box<Codes>>,
    },
    /// What cannot be read here, and why; the node can still be copied as a whole.
    Unsupported(String),
}

/// What the values of an enumeration are to readers, who see no names.
#[derive(Clone, Debug, PartialEq)]
pub struct Codes {
    pub dtype: Dtype,
    /// Its first names, for messages.
    names: String,
}

impl Codes {
    /// Of an enumeration whose values, each with its name, are integers of type `dtype`.
    pub fn new(dtype: Dtype, members: &[(Option<i128>, String)]) -> Codes {
        /// Names that a message lists.
        const NAMES: usize = 4;
        let shown = members.iter().take(NAMES).map(|(value, name)| match value {
            Some(value) => format!("{name}={value}"),
            None => name.clone(),
        });
        let mut names: Vec<String> = shown.collect();
        if members.len() > NAMES {
            names.push("...".into());
        }
        Codes {
            dtype,
            names: names.join(", "),
        }
    }
}

/// One field of a [`Dtype::Record`]; `shape` is empty for a scalar.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub name: String,
    pub offset: usize,
    pub dtype: Dtype,
    pub shape: Vec<u64>,
}

/// Values of an array of that shape; saturates, as all sizes do that a file claims.
pub fn items(shape: &[u64]) -> u64 {
    shape.iter().fold(1, |n, &side| n.saturating_mul(side))
}

/// The same, where memory can hold as many.
pub fn item_count(shape: &[u64]) -> Result<usize> {
    usize::try_from(items(shape))
        .ok()
        .filter(|&n| n <= isize::MAX as usize / 64)
        .with_context(|| format!("Shape {shape:?} is too large"))
}

impl Field {
    /// Values that one record has of it.
    pub fn items(&self) -> u64 {
        items(&self.shape)
    }

    /// Bytes of one value.
    pub fn bytes(&self) -> usize {
        let bytes = self.items().saturating_mul(self.dtype.size() as u64);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

impl Dtype {
    /// A number in this machine's byte order.
    pub const fn native(kind: Kind, size: usize) -> Dtype {
        Dtype::Number {
            kind,
            size,
            order: NATIVE,
        }
    }

    pub const BOOL: Dtype = Dtype::native(Kind::Bool, 1);
    pub const INT64: Dtype = Dtype::native(Kind::Int, 8);
    pub const FLOAT64: Dtype = Dtype::native(Kind::Float, 8);

    /// The same numbers in this machine's byte order.
    pub fn in_native_order(self) -> Dtype {
        match self {
            Dtype::Number { kind, size, .. } => Dtype::native(kind, size),
            other => other,
        }
    }

    /// Bytes of one value; 0 for text of any length.
    pub fn size(&self) -> usize {
        match self {
            Dtype::Number { size, .. }
            | Dtype::FixedString { size }
            | Dtype::Utf32 { size }
            | Dtype::Record { size, .. }
            | Dtype::Hdf5 { size, .. } => *size,
            Dtype::Date(_) => 8,
            Dtype::String | Dtype::Unsupported(_) => 0,
        }
    }

    /// The kind of a number; `None` for everything else.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Dtype::Number { kind, .. } => Some(*kind),
            _ => None,
        }
    }

    /// The type that readers see: of an enumeration, that of its codes.
    pub fn as_read(&self) -> &Dtype {
        match self {
            Dtype::Hdf5 {
                codes: Some(codes), ..
            } => &codes.dtype,
            _ => self,
        }
    }

    /// Whether its values are only copied: each is bytes, which are no number, and no other type holds them.
    pub fn is_bytes(&self) -> bool {
        matches!(self, Dtype::Hdf5 { .. } | Dtype::Date(_))
    }

    pub fn is_integer(&self) -> bool {
        matches!(self.kind(), Some(Kind::Int | Kind::Uint))
    }

    /// Whether it is a record with text of any length in it: such rows are no plain bytes.
    pub fn is_record_with_text(&self) -> bool {
        match self {
            Dtype::Record { fields, .. } => fields
                .iter()
                .any(|f| f.dtype == Dtype::String || f.dtype.is_record_with_text()),
            _ => false,
        }
    }

    /// Whether records lie within its records.
    pub fn has_records(&self) -> bool {
        match self {
            Dtype::Record { fields, .. } => {
                let mut types = fields.iter().map(|field| &field.dtype);
                types.any(|dtype| matches!(dtype, Dtype::Record { .. }))
            }
            _ => false,
        }
    }

    pub fn is_string(&self) -> bool {
        matches!(self, Dtype::String | Dtype::FixedString { .. })
    }
}

impl std::fmt::Display for Dtype {
    /// numpy's name where there is one.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Dtype::Number {
                kind: Kind::Bool, ..
            } => write!(f, "bool"),
            Dtype::Number { kind, size, order } => {
                let big = if *order == ByteOrder::Big { ">" } else { "" };
                let name = match kind {
                    Kind::Int => "int",
                    Kind::Uint => "uint",
                    Kind::Float => "float",
                    _ => "complex",
                };
                write!(f, "{big}{name}{}", size * 8)
            }
            Dtype::String => write!(f, "string"),
            Dtype::FixedString { size } => write!(f, "S{size}"),
            Dtype::Utf32 { size } => write!(f, "U{}", size / 4),
            Dtype::Date(name) => match name.strip_prefix("M8") {
                Some(unit) => write!(f, "datetime64{unit}"),
                None => write!(f, "timedelta64{}", name.trim_start_matches("m8")),
            },
            Dtype::Record { fields, .. } => write!(f, "record of {} fields", fields.len()),
            Dtype::Hdf5 {
                codes: Some(codes), ..
            } => write!(f, "an enumeration ({})", codes.names),
            Dtype::Hdf5 { size, .. } => write!(f, "an HDF5 type of {size} bytes"),
            Dtype::Unsupported(why) => write!(f, "a type that cannot be read: {why}"),
        }
    }
}

/// What an array is before a value of it is read or written.
#[derive(Clone, Debug, PartialEq)]
pub struct ArraySpec {
    /// Empty for a scalar.
    pub shape: Vec<u64>,
    pub dtype: Dtype,
    /// A null dataspace of HDF5, which holds no value at all (`None` in uns).
    pub null: bool,
}

impl ArraySpec {
    pub fn new(shape: Vec<u64>, dtype: Dtype) -> ArraySpec {
        ArraySpec {
            shape,
            dtype,
            null: false,
        }
    }

    /// Rows along axis 0; 1 for a scalar.
    pub fn rows(&self) -> u64 {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Values in one row; saturates for shapes that no machine holds.
    pub fn row_items(&self) -> u64 {
        items(self.shape.get(1..).unwrap_or_default())
    }

    /// An error for a shape that no file fills, though its header says so.
    pub fn check_size(&self) -> Result<()> {
        let row = self.row_bytes().max(self.row_items());
        ensure!(
            row.saturating_mul(self.rows()) <= limits::ARRAY,
            "Its shape {:?} is larger than any file holds",
            self.shape
        );
        Ok(())
    }

    /// Bytes of one row; 0 for text of any length.
    pub fn row_bytes(&self) -> u64 {
        self.row_items().saturating_mul(self.dtype.size() as u64)
    }
}

/// The value of one attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Attr {
    Text(String),
    /// An array of text.
    Texts {
        shape: Vec<u64>,
        values: Vec<String>,
    },
    /// Values of a fixed width; `shape` is empty for a scalar.
    Bytes {
        dtype: Dtype,
        shape: Vec<u64>,
        bytes: Vec<u8>,
    },
    /// A null dataspace of HDF5.
    Null(Dtype),
    /// The path that an HDF5 object reference leads to (`categories` as anndata 0.7 wrote it).
    Reference(String),
    /// What only Zarr can express.
    Json(Value),
}

impl Attr {
    pub fn bool(value: bool) -> Attr {
        Attr::Bytes {
            dtype: Dtype::BOOL,
            shape: vec![],
            bytes: vec![value as u8],
        }
    }

    pub fn ints(values: &[u64]) -> Attr {
        Attr::Bytes {
            dtype: Dtype::INT64,
            shape: vec![values.len() as u64],
            bytes: values.iter().flat_map(|v| v.to_ne_bytes()).collect(),
        }
    }

    pub fn texts(values: Vec<String>) -> Attr {
        Attr::Texts {
            shape: vec![values.len() as u64],
            values,
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Attr::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The texts of an array of text. An empty array counts whatever its type: h5py stores one as float64.
    pub fn as_texts(&self) -> Option<Vec<String>> {
        match self {
            Attr::Texts { values, .. } => Some(values.clone()),
            Attr::Bytes { shape, .. } if shape.contains(&0) => Some(vec![]),
            _ => None,
        }
    }

    /// The whole numbers of a scalar or array; floats count where they are whole, as readers in Python take them.
    /// `None` for other types and for negative values.
    pub fn as_ints(&self) -> Option<Vec<u64>> {
        let Attr::Bytes { dtype, bytes, .. } = self else {
            return None;
        };
        let Dtype::Number { kind, size, order } = dtype.as_read() else {
            return None;
        };
        if !(1..=8).contains(size) {
            return None;
        }
        let values = bytes.chunks_exact(*size);
        let values = values.map(|b| match kind {
            Kind::Float => whole_from(b, *order),
            _ => u64::try_from(integer(b, *kind, *order)?).ok(),
        });
        values.collect()
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self.as_ints()?.as_slice() {
            [v] => Some(*v != 0),
            _ => None,
        }
    }

    /// Whether Python takes it for true, as it does every text but the empty one; `None` for what is no single value.
    pub fn is_true(&self) -> Option<bool> {
        match self {
            Attr::Text(text) => Some(!text.is_empty()),
            _ => self.as_bool(),
        }
    }
}

/// The attributes of one node: of HDF5 by name, of Zarr in the order in which they are stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attrs(Vec<(String, Attr)>);

impl Attrs {
    /// The two attributes that every anndata element carries.
    pub fn encoding(kind: &str, version: &str) -> Attrs {
        Attrs::default()
            .with("encoding-type", Attr::Text(kind.into()))
            .with("encoding-version", Attr::Text(version.into()))
    }

    pub fn get(&self, name: &str) -> Option<&Attr> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_text()
    }

    /// Adds an attribute, or replaces its value in place.
    pub fn set(&mut self, name: &str, value: Attr) {
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.into(), value)),
        }
    }

    pub fn with(mut self, name: &str, value: Attr) -> Attrs {
        self.set(name, value);
        self
    }

    pub fn remove(&mut self, name: &str) -> Option<Attr> {
        let at = self.0.iter().position(|(n, _)| n == name)?;
        Some(self.0.remove(at).1)
    }

    /// The attributes by name, for comparing sets of them.
    pub fn sorted(&self) -> std::collections::BTreeMap<&str, &Attr> {
        self.iter().collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Attr)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v))
    }
}

impl<'a> FromIterator<(&'a str, &'a Attr)> for Attrs {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a Attr)>>(attrs: I) -> Attrs {
        let mut all = Attrs::default();
        attrs.into_iter().for_each(|(n, v)| all.set(n, v.clone()));
        all
    }
}
