//! What `encoding-type` and `encoding-version` may say ("On disk format", anndata documentation).

use crate::store::Node;
use crate::store::spec::{Attrs, Dtype};

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
    Good,
    /// None, as in files of anndata 0.7 and before.
    Missing,
    /// Of another program; readers may not know it.
    Unknown(String),
    Wrong(String),
}

pub fn label(node: &Node, attrs: &Attrs) -> Label {
    let Some(said) = attrs.get("encoding-type") else {
        return Label::Missing;
    };
    let Some(kind) = said.as_text() else {
        return Label::Wrong("Its 'encoding-type' is no text".into());
    };
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
        Node::Array(array) => {
            let text = array.spec().dtype.is_string();
            let scalar = array.spec().shape.is_empty();
            match (kind, &array.spec().dtype) {
                ("string-array", dtype) if !text => {
                    Label::Wrong(format!("It is '{kind}', but holds {dtype}"))
                }
                ("rec-array", dtype)
                    if !matches!(dtype, Dtype::Record { .. } | Dtype::Unsupported(_)) =>
                {
                    Label::Wrong(format!("It is '{kind}', but holds {dtype}"))
                }
                ("numeric-scalar" | "string" | "bytes", _) if !scalar => {
                    Label::Wrong(format!("It is '{kind}', but no scalar"))
                }
                ("array" | "string-array" | "rec-array", _) if scalar && kind != "array" => {
                    Label::Wrong(format!("It is '{kind}', but a scalar"))
                }
                _ => Label::Good,
            }
        }
        Node::Group(_) => Label::Good,
    }
}
