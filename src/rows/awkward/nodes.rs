//! What the JSON of a form says of its nodes, one at a time (`awkward.forms`).

use std::error::Error;
use std::fmt::{Display, Formatter};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

use crate::store::spec::{Attr, Attrs};

/// The form of an awkward array with these attributes.
pub fn form(attrs: &Attrs) -> Result<Value> {
    match attrs.get("form") {
        Some(Attr::Text(form)) => Ok(serde_json::from_str(form)?),
        Some(Attr::Json(form)) => Ok(form.clone()),
        _ => bail!("it has no attribute 'form'"),
    }
}

/// How many items each row has, as anndata counts them: fields where rows are records. `None` where rows differ,
/// have none, or lie under a mask, of which anndata does not know.
pub fn row_length(form: &Value) -> Option<u64> {
    match form["class"].as_str()? {
        "NumpyArray" => form["inner_shape"][0].as_u64(),
        "RegularArray" if form["parameters"]["__array__"].is_null() => form["size"].as_u64(),
        "RecordArray" => Some(form["contents"].as_array()?.len() as u64),
        "IndexedOptionArray" | "IndexedArray" | "UnmaskedArray" => row_length(&form["content"]),
        "UnionArray" => {
            let mut lengths = form["contents"].as_array()?.iter().map(row_length);
            let first = lengths.next()??;
            lengths.all(|length| length == Some(first)).then_some(first)
        }
        _ => None,
    }
}

/// A form that awkward knows and this program does not.
#[derive(Debug)]
pub struct UnknownForm(pub String);

impl Error for UnknownForm {}

impl Display for UnknownForm {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "its form holds {}, whose rows cannot be taken", self.0)
    }
}

/// What awkward makes an array of (`awkward.forms.from_dict`). Its first version added the type of the offsets.
const CLASSES: [&str; 11] = [
    "NumpyArray",
    "EmptyArray",
    "RegularArray",
    "ListArray",
    "ListOffsetArray",
    "RecordArray",
    "IndexedArray",
    "IndexedOptionArray",
    "BitMaskedArray",
    "UnmaskedArray",
    "UnionArray",
];

/// numpy's name for the type of a list of integers in a node, which a form writes as `i64`.
pub fn index_type(form: &Value, part: &str) -> Result<&'static str> {
    Ok(match form[part].as_str() {
        Some("i8") => "int8",
        Some("u8") => "uint8",
        Some("i32") => "int32",
        Some("u32") => "uint32",
        Some("i64") => "int64",
        _ => bail!("its form has {part} of no type"),
    })
}

/// Values in a row of a plain node.
pub fn inner_items(form: &Value) -> Result<u64> {
    let Some(shape) = form["inner_shape"].as_array() else {
        return Ok(1);
    };
    let items = (shape.iter()).try_fold(1u64, |items, size| items.checked_mul(size.as_u64()?));
    items.with_context(|| format!("its form has values of shape {}", form["inner_shape"]))
}

/// Refuses what awkward refuses of the `parameters` of a node: text is a list of characters.
pub fn check_parameters(form: &Value) -> Result<()> {
    let parameters = &form["parameters"];
    ensure!(
        parameters.is_null() || parameters.is_object(),
        "its form has the parameters {parameters}"
    );
    let of = match parameters["__array__"].as_str() {
        Some("string") => "char",
        Some("bytestring") => "byte",
        _ => return Ok(()),
    };
    let content = &form["content"];
    ensure!(
        content["primitive"] == "uint8" && content["parameters"]["__array__"] == of,
        "its form has text that is no list of {of}"
    );
    Ok(())
}

/// Why a node of a form is not read: awkward makes an array of it, or does not either.
pub fn unknown_form(class: &str) -> anyhow::Error {
    let stem = class.trim_end_matches(|c: char| "U_".contains(c) || c.is_ascii_digit());
    if CLASSES.contains(&stem) {
        UnknownForm(class.into()).into()
    } else {
        anyhow!("its form holds '{class}', of which awkward makes no array")
    }
}

/// The forms of the fields of a record.
pub fn contents(form: &Value) -> Result<&[Value]> {
    let contents = form["contents"].as_array();
    let contents = contents.context("a record without contents")?;
    // A tuple has no names.
    let names = form["fields"].as_array().map_or(contents.len(), Vec::len);
    ensure!(
        names == contents.len(),
        "a record of {} fields and {names} names",
        contents.len()
    );
    Ok(contents)
}
