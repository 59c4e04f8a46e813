//! What `encoding-type` and `encoding-version` may say ("On disk format", anndata documentation).
//!
//! Only what a node says of itself is looked at, and its type and shape: [`label`] reads no value.

use crate::store::Node;
use crate::store::spec::{ArraySpec, Attrs, Dtype};

/// Each encoding with its versions, and whether it is a group.
const KNOWN: [(&str, &[&str], bool); 18] = [
    ("anndata", &["0.1.0"], true),
    ("raw", &["0.1.0"], true),
    ("dict", &["0.1.0"], true),
    ("csr_matrix", &["0.1.0"], true),
    ("csc_matrix", &["0.1.0"], true),
    ("dataframe", &["0.1.0", "0.2.0"], true),
    ("categorical", &["0.2.0"], true),
    ("nullable-integer", &["0.1.0"], true),
    ("nullable-boolean", &["0.1.0"], true),
    ("nullable-string-array", &["0.1.0"], true),
    ("awkward-array", &["0.1.0"], true),
    ("array", &["0.2.0"], false),
    ("string-array", &["0.2.0"], false),
    ("rec-array", &["0.2.0"], false),
    ("numeric-scalar", &["0.2.0"], false),
    ("string", &["0.2.0"], false),
    ("bytes", &["0.2.0"], false),
    ("null", &["0.1.0"], false),
];

/// What a node says of itself.
#[derive(Debug, PartialEq, Eq)]
pub enum Label {
    /// A known encoding of a known version, which goes with the type and shape.
    Good,
    /// None, as in files of anndata 0.7 and before.
    Missing,
    /// Of another program; readers may not know it.
    Unknown(String),
    /// It does not go with its place, with the type and shape, or with the versions that anndata has.
    Wrong(String),
}

/// `expected` is what the place asks for, if that is one kind only.
pub fn label(node: &Node, attrs: &Attrs, expected: Option<&str>) -> Label {
    let Some(said) = attrs.get("encoding-type") else {
        return match attrs.get("encoding-version") {
            Some(_) => Label::Wrong("It has an 'encoding-version', but no 'encoding-type'".into()),
            None => Label::Missing,
        };
    };
    let Some(kind) = said.as_text() else {
        return Label::Wrong("Its 'encoding-type' is no text".into());
    };
    if let Some(expected) = expected.filter(|expected| *expected != kind) {
        return Label::Wrong(format!("It is '{kind}', where '{expected}' is expected"));
    }
    // Of files without labels, if both are empty.
    if kind.is_empty() && attrs.text("encoding-version") == Some("") {
        return Label::Missing;
    }
    if kind.is_empty() {
        return Label::Wrong("Its 'encoding-type' is empty".into());
    }
    let Some((_, versions, is_group)) = KNOWN.iter().find(|(name, ..)| *name == kind) else {
        return Label::Unknown(format!("Its encoding '{kind}' is none of anndata's"));
    };
    let Some(version) = attrs.text("encoding-version") else {
        return Label::Wrong(format!("It is '{kind}', but has no 'encoding-version'"));
    };
    if !versions.contains(&version) {
        return Label::Wrong(format!(
            "It is '{kind}' of version '{version}', where anndata has {}",
            versions.join(" and ")
        ));
    }
    match node {
        Node::Array(_) if *is_group => Label::Wrong(format!("It is '{kind}', but no group")),
        Node::Group(_) if !is_group => Label::Wrong(format!("It is '{kind}', but a group")),
        Node::Array(array) if !describes(kind, array.spec()) => {
            let spec = array.spec();
            let found = match (spec.null, spec.shape.len()) {
                (true, _) => "nothing".into(),
                (_, 0) => format!("a scalar of {}", spec.dtype),
                (_, axes) => format!("{} along {axes} axes", spec.dtype),
            };
            Label::Wrong(format!("It is '{kind}', but holds {found}"))
        }
        _ => Label::Good,
    }
}

/// Whether an array or scalar is what its `encoding-type` says.
fn describes(kind: &str, spec: &ArraySpec) -> bool {
    let (dtype, is_scalar) = (&spec.dtype, spec.shape.is_empty());
    // A type that is not known here may be what it says.
    let unknown = matches!(dtype, Dtype::Unsupported(_) | Dtype::Hdf5 { .. });
    match kind {
        "null" => spec.null,
        // Nothing is no text, and no number.
        _ if spec.null => false,
        "string" => is_scalar && dtype.is_string(),
        "bytes" => is_scalar && !dtype.is_string() || matches!(dtype, Dtype::FixedString { .. }),
        // An array of one number is read as that number.
        "numeric-scalar" => {
            let items = spec.rows().saturating_mul(spec.row_items());
            items == 1 && (dtype.kind().is_some() || unknown)
        }
        "string-array" => !is_scalar && dtype.is_string(),
        "rec-array" => matches!(dtype, Dtype::Record { .. }) || unknown,
        _ => true,
    }
}
