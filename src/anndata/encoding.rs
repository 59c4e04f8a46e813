//! What an element is: `encoding-type` and `encoding-version` as an enum, guessed for files older than the
//! attributes (anndata 0.5 to 0.7).

use std::fmt::{Display, Formatter};

use anyhow::{Result, ensure};

use crate::store::spec::{Attrs, Dtype};
use crate::store::{Array, Format, Group, Node};

/// The kinds of element of the anndata format ("On disk format", anndata documentation).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// A folder of elements: `dict`, the root, `raw`, and every group without attributes.
    Dict,
    /// Values of a fixed width, any rank.
    Array,
    StringArray,
    /// A scalar of any kind, and `null`.
    Scalar,
    Csr,
    Csc,
    /// Of any version: see [`older::is_frame`](super::older::is_frame).
    DataFrame,
    Categorical,
    /// `values` and `mask`: nullable-integer, -boolean and -string-array.
    Nullable,
    Awkward,
    /// Anything else, by the name it gives itself.
    Unknown(String),
}

impl Display for Encoding {
    /// As a message calls such an element: "it is a scalar".
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Encoding::Dict => "a folder",
            Encoding::Array => "an array",
            Encoding::StringArray => "an array of text",
            Encoding::Scalar => "a scalar",
            Encoding::Csr => "a CSR matrix",
            Encoding::Csc => "a CSC matrix",
            Encoding::DataFrame => "a dataframe",
            Encoding::Categorical => "a categorical column",
            Encoding::Nullable => "a nullable column",
            Encoding::Awkward => "an awkward array",
            Encoding::Unknown(name) => return write!(f, "of the encoding '{name}'"),
        })
    }
}

impl Encoding {
    /// The encoding of a node. An error only where attributes cannot be read: what is not known is [`Encoding::Unknown`].
    pub fn of(node: &Node) -> Result<Encoding> {
        match node {
            Node::Group(group) => Encoding::of_group(group),
            Node::Array(array) => Encoding::of_array(array),
        }
    }

    /// That of a group. Without `encoding-type` the attributes of anndata before 0.7 decide, else it is a dict.
    pub fn of_group(group: &Group) -> Result<Encoding> {
        let attrs = group.attrs()?;
        for name in ["encoding-type", "encoding-version", "h5sparse_format"] {
            // An attribute of another type is no sign of an old file: to guess would take the element for another.
            let is_text = attrs.get(name).is_none_or(|attr| attr.as_text().is_some());
            ensure!(is_text, "The '{name}' of '{}' is no text", group.path());
        }
        let Some(kind) = attrs.text("encoding-type") else {
            return Ok(match attrs.text("h5sparse_format") {
                Some("csc") => Encoding::Csc,
                Some(_) => Encoding::Csr,
                None => Encoding::Dict,
            });
        };
        Ok(match kind {
            "anndata" | "raw" | "dict" => Encoding::Dict,
            "csr_matrix" => Encoding::Csr,
            "csc_matrix" => Encoding::Csc,
            "dataframe" => Encoding::DataFrame,
            "categorical" => Encoding::Categorical,
            "nullable-integer" | "nullable-boolean" | "nullable-string-array" => Encoding::Nullable,
            "awkward-array" => Encoding::Awkward,
            other => Encoding::Unknown(other.into()),
        })
    }

    /// That of an array. Without `encoding-type` its type and shape decide.
    pub fn of_array(array: &Array) -> Result<Encoding> {
        let spec = array.spec();
        Ok(match (&spec.dtype, spec.shape.is_empty()) {
            (_, true) => Encoding::Scalar,
            (Dtype::String, _) => Encoding::StringArray,
            (Dtype::FixedString { .. }, _)
                if array.attrs()?.text("encoding-type") == Some("string-array") =>
            {
                Encoding::StringArray
            }
            _ => Encoding::Array,
        })
    }
}

/// The attributes that the current format asks for on an array that has none.
pub fn array_attrs(array: &Array) -> Result<Attrs> {
    let mut attrs = array.attrs()?;
    let spec = array.spec();
    // numpy's `U` becomes text of any length.
    let is_text = spec.dtype == Dtype::String && array.format() == Format::Zarr;
    if is_text && attrs.text("encoding-type") == Some("array") {
        let kind = Attrs::encoding("string-array", "0.2.0");
        kind.iter()
            .for_each(|(name, value)| attrs.set(name, value.clone()));
    }
    if attrs.get("encoding-type").is_some() {
        return Ok(attrs);
    }
    let (kind, version) = match (&spec.dtype, spec.shape.is_empty()) {
        _ if spec.null => ("null", "0.1.0"),
        (Dtype::String, true) => ("string", "0.2.0"),
        (Dtype::FixedString { .. }, true) => ("bytes", "0.2.0"),
        (_, true) => ("numeric-scalar", "0.2.0"),
        (Dtype::String, false) => ("string-array", "0.2.0"),
        (Dtype::Record { .. }, false) => ("rec-array", "0.2.0"),
        (_, false) => ("array", "0.2.0"),
    };
    // What the array has of its own comes after the label.
    let mut full = Attrs::encoding(kind, version);
    attrs
        .iter()
        .for_each(|(name, value)| full.set(name, value.clone()));
    Ok(full)
}

/// The attributes that every element has, and most have no others.
pub const LABEL: [&str; 2] = ["encoding-type", "encoding-version"];

/// The attributes that the format does not define for such an element, such as a unit that a user noted.
pub fn extras(attrs: &Attrs) -> Attrs {
    let defined: &[&str] = match attrs.text("encoding-type") {
        Some("dataframe") => &["_index", "column-order"],
        Some("csr_matrix" | "csc_matrix") => &["shape"],
        Some("categorical") => &["ordered"],
        Some("nullable-string-array") => &["na-value"],
        Some("awkward-array") => &["form", "length"],
        Some(_) => &[],
        // Columns and their categories before anndata 0.8, sparse matrices before 0.7.
        None => &["categories", "ordered", "h5sparse_format", "h5sparse_shape"],
    };
    let others = |(name, _): &(&str, _)| !LABEL.contains(name) && !defined.contains(name);
    attrs.iter().filter(others).collect()
}
