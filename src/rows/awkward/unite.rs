//! Awkward arrays of differing forms as one: what `awkward.concatenate` makes of them, and rows of one as rows of that.
//!
//! Numbers promote as numpy does, a value that may be missing makes all of its kind so, lists of any and of a fixed
//! length are lists of any, and what has no type takes that of the others. Of records the fields are united; one that
//! a file lacks is missing there, where awkward would make a union, of which rows cannot be taken.
//!
//! A [`Type`] is a form without its buffers. Types are united one file after another ([`Type::united`]), the array is
//! made from the result ([`Type::create`]), and blocks of each file are brought to it ([`Type::fit`]).

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::nodes::contents;
use super::write::FormWriter;
use super::{AwkwardBlock, AwkwardWriter, inner_items};
use crate::dtype::{ints, promote};
use crate::store::spec::{ArraySpec, Attr, Attrs, Dtype, Kind};
use crate::store::{Group, Rows};

/// What a node of a form says of its values. Nodes keep their `parameters`, such as that a list is text.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// Of no value.
    Empty,
    /// Values, with the shape of each, and the `parameters` of the node, which lists and records have too.
    Plain(Dtype, Value, Value),
    List(Box<Type>, Value),
    /// Lists of one length.
    Regular(u64, Box<Type>, Value),
    /// The names of the fields, `None` for a tuple, and their types.
    Record(Option<Vec<String>>, Vec<Type>, Value),
    /// Values that may be missing; where a mask says so, by which of its values they are there.
    Option(Box<Type>, bool),
}

impl Type {
    /// The type of a form. Indexes and masks are both options.
    ///
    /// # Errors
    /// A class or a type of values that is not known here, such as dates.
    pub fn of(form: &Value) -> Result<Type> {
        let inner = || Type::of(&form["content"]).map(Box::new);
        let parameters = match &form["parameters"] {
            Value::Null => json!({}),
            parameters => parameters.clone(),
        };
        Ok(match form["class"].as_str().unwrap_or_default() {
            "EmptyArray" => Type::Empty,
            "NumpyArray" => {
                let name = form["primitive"].as_str().unwrap_or_default();
                let dtype = number(name).with_context(|| format!("Values of {name}"))?;
                let shape = match &form["inner_shape"] {
                    Value::Null => json!([]),
                    shape => shape.clone(),
                };
                Type::Plain(dtype, shape, parameters)
            }
            "ListOffsetArray" => Type::List(inner()?, parameters),
            "RegularArray" => {
                let size = form["size"].as_u64().context("Lists without a size")?;
                Type::Regular(size, inner()?, parameters)
            }
            "RecordArray" => {
                let names = form["fields"].as_array();
                let names = names.map(|names| names.iter().filter_map(Value::as_str));
                let types: Result<_> = contents(form)?.iter().map(Type::of).collect();
                Type::Record(
                    names.map(|names| names.map(String::from).collect()),
                    types?,
                    parameters,
                )
            }
            "IndexedOptionArray" | "UnmaskedArray" => Type::Option(inner()?, true),
            "ByteMaskedArray" => Type::Option(inner()?, form["valid_when"] != false),
            other => bail!("Nodes of class {other:?}"),
        })
    }

    /// The type that holds the values of both.
    pub fn united(self, other: Type) -> Result<Type> {
        use Type::{Empty, List, Option, Plain, Record, Regular};
        Ok(match (self, other) {
            // Options go first, whatever they are of: what may be missing in one file may be so in the result.
            (Option(a, _), Option(b, _)) => Option(Box::new(a.united(*b)?), true),
            (Option(a, _), b) => Option(Box::new(a.united(b)?), true),
            (a, Option(b, _)) => Option(Box::new(a.united(*b)?), true),
            (Empty, a) | (a, Empty) => a,
            // Of the same parameters alone: text is no list of numbers.
            (Plain(a, shape, of), Plain(b, shape_b, of_b)) if shape == shape_b && of == of_b => {
                let dtype = promote::result_type(&[a.clone(), b.clone()]);
                Plain(dtype.with_context(|| format!("{a} and {b}"))?, shape, of)
            }
            (Regular(n, a, of), Regular(m, b, of_b)) if n == m && of == of_b => {
                Regular(n, Box::new(a.united(*b)?), of)
            }
            (List(a, of) | Regular(_, a, of), List(b, of_b) | Regular(_, b, of_b))
                if of == of_b =>
            {
                List(Box::new(a.united(*b)?), of)
            }
            (Record(names, a, of), Record(names_b, b, of_b)) if of == of_b => {
                let (names, types) = fields(names, a, names_b, b)?;
                Record(names, types, of)
            }
            (a, b) => bail!("{} and {}", a.name(), b.name()),
        })
    }

    /// What it holds, for an error.
    fn name(&self) -> String {
        match self {
            Type::Empty => "nothing".into(),
            Type::Plain(dtype, ..) => format!("values of {dtype}"),
            Type::List(_, of) | Type::Regular(_, _, of) => match of["__array__"].as_str() {
                Some(kind) => format!("values of {kind}"),
                None => "lists".into(),
            },
            Type::Record(..) => "records".into(),
            Type::Option(inner, _) => inner.name(),
        }
    }

    /// Creates the array at `path`, of `rows` rows.
    pub fn create(&self, out: &Group, path: &str, rows: u64) -> Result<AwkwardWriter> {
        let group = out.create_group(path, &Attrs::default())?;
        // The form names the buffers, which get their numbers as they are made, so it is written after them.
        let (form, writer) = self.node(&group, &mut 0)?;
        let length = Attr::Bytes {
            dtype: Dtype::INT64,
            shape: vec![],
            bytes: rows.to_ne_bytes().to_vec(),
        };
        let attrs = Attrs::encoding("awkward-array", "0.1.0")
            .with("form", Attr::Text(form.to_string()))
            .with("length", length);
        out.set_attrs(path, &attrs)?;
        Ok(AwkwardWriter(writer))
    }

    /// The form of this node and of those below it, and their buffers; `next` numbers the nodes.
    fn node(&self, group: &Group, next: &mut u64) -> Result<(Value, FormWriter)> {
        // From the outermost node on, each before its content, as awkward numbers them.
        let key = format!("node{next}");
        *next += 1;
        let array = |part: &str, row: &[u64], dtype: &Dtype| {
            let spec = ArraySpec::new([&[0], row].concat(), dtype.clone());
            let attrs = Attrs::encoding("array", "0.2.0");
            group.create_array(&format!("{key}-{part}"), &spec, Rows::Growing, &attrs)
        };
        Ok(match self {
            Type::Empty => {
                let form = json!({"class": "EmptyArray", "parameters": {}, "form_key": key});
                (form, FormWriter::Record(vec![]))
            }
            Type::Plain(dtype, shape, parameters) => {
                let row: Option<Vec<u64>> = (shape.as_array().into_iter().flatten())
                    .map(Value::as_u64)
                    .collect();
                let data = array("data", &row.context("Values of no shape")?, dtype)?;
                let form = json!({"class": "NumpyArray", "primitive": dtype.to_string(),
                    "inner_shape": shape, "parameters": parameters, "form_key": key});
                (form, FormWriter::Plain(data))
            }
            Type::List(inner, parameters) => {
                let mut offsets = array("offsets", &[], &Dtype::INT64)?;
                // One entry more than lists: the first begins at 0.
                offsets.append(&ints::write(&[0], &Dtype::INT64)?)?;
                let (content, writer) = inner.node(group, next)?;
                let form = json!({"class": "ListOffsetArray", "offsets": "i64",
                    "content": content, "parameters": parameters, "form_key": key});
                let writer = FormWriter::List {
                    offsets,
                    dtype: Dtype::INT64,
                    end: 0,
                    content: Box::new(writer),
                };
                (form, writer)
            }
            Type::Regular(size, inner, parameters) => {
                let (content, writer) = inner.node(group, next)?;
                let form = json!({"class": "RegularArray", "size": size, "content": content,
                    "parameters": parameters, "form_key": key});
                (form, FormWriter::Through(Box::new(writer)))
            }
            Type::Record(names, types, parameters) => {
                let nodes = types.iter().map(|inner| inner.node(group, next));
                let (contents, writers): (Vec<Value>, Vec<FormWriter>) =
                    nodes.collect::<Result<Vec<_>>>()?.into_iter().unzip();
                let form = json!({"class": "RecordArray", "fields": names, "contents": contents,
                    "parameters": parameters, "form_key": key});
                (form, FormWriter::Record(writers))
            }
            Type::Option(inner, _) => {
                let index = array("index", &[], &Dtype::INT64)?;
                let (content, writer) = inner.node(group, next)?;
                let form = json!({"class": "IndexedOptionArray", "index": "i64",
                    "content": content, "parameters": {}, "form_key": key});
                let writer = FormWriter::Option {
                    index,
                    dtype: Dtype::INT64,
                    end: 0,
                    content: Box::new(writer),
                };
                (form, writer)
            }
        })
    }

    /// Rows of this type as rows of type `to`, which is [united](Type::united) from this one.
    pub fn fit(&self, block: AwkwardBlock, to: &Type) -> Result<AwkwardBlock> {
        use AwkwardBlock as Block;
        Ok(match (self, to, block) {
            (Type::Option(from, valid), Type::Option(to, _), block) => {
                let (present, content) = options(block, *valid)?;
                Block::Option {
                    present,
                    content: Box::new(from.fit(content, to)?),
                }
            }
            // What is never missing in this file may be so in another.
            (from, Type::Option(to, _), block) => Block::Option {
                present: vec![true; block.rows()],
                content: Box::new(from.fit(block, to)?),
            },
            (Type::Empty, to, _) => to.nothing(),
            (Type::Plain(from, ..), Type::Plain(to, shape, _), Block::Plain { bytes, .. }) => {
                Block::Plain {
                    row: to.size() * inner_items(&json!({"inner_shape": shape}))? as usize,
                    bytes: promote::convert(&bytes, from, to)?,
                }
            }
            (Type::List(from, _), Type::List(to, _), Block::List { lengths, content }) => {
                let content = Box::new(from.fit(*content, to)?);
                Block::List { lengths, content }
            }
            (
                Type::Regular(_, from, _),
                to,
                Block::Regular {
                    size,
                    rows,
                    content,
                },
            ) => match to {
                Type::Regular(_, to, _) => Block::Regular {
                    size,
                    rows,
                    content: Box::new(from.fit(*content, to)?),
                },
                Type::List(to, _) => Block::List {
                    lengths: vec![size as u64; rows],
                    content: Box::new(from.fit(*content, to)?),
                },
                _ => bail!("{} as {}", self.name(), to.name()),
            },
            (
                Type::Record(names, from, _),
                Type::Record(all, to, _),
                Block::Record { rows, contents },
            ) => record((names, from), (all, to), rows, contents)?,
            (from, to, _) => bail!("{} as {}", from.name(), to.name()),
        })
    }

    /// No rows.
    fn nothing(&self) -> AwkwardBlock {
        use AwkwardBlock as Block;
        let inner = |of: &Type| Box::new(of.nothing());
        match self {
            Type::Empty => Block::Record {
                rows: 0,
                contents: vec![],
            },
            Type::Plain(dtype, ..) => Block::Plain {
                row: dtype.size(),
                bytes: vec![],
            },
            Type::List(of, _) => Block::List {
                lengths: vec![],
                content: inner(of),
            },
            Type::Regular(size, of, _) => Block::Regular {
                size: *size as usize,
                rows: 0,
                content: inner(of),
            },
            Type::Record(_, types, _) => Block::Record {
                rows: 0,
                contents: types.iter().map(Type::nothing).collect(),
            },
            Type::Option(of, _) => Block::Option {
                present: vec![],
                content: inner(of),
            },
        }
    }
}

/// The fields of two records, those of the first before new ones; what one of them lacks may be missing. `{a, b}` and
/// `{b, c}` are `{a?, b, c?}`.
fn fields(
    names: Option<Vec<String>>,
    types: Vec<Type>,
    others: Option<Vec<String>>,
    other_types: Vec<Type>,
) -> Result<(Option<Vec<String>>, Vec<Type>)> {
    let (mut names, others) = match (names, others) {
        (Some(names), Some(others)) => (names, others),
        (None, None) => {
            ensure!(
                types.len() == other_types.len(),
                "Tuples of {} and of {} values",
                types.len(),
                other_types.len()
            );
            let pairs = types.into_iter().zip(other_types);
            let types: Result<_> = pairs.map(|(a, b)| a.united(b)).collect();
            return Ok((None, types?));
        }
        _ => bail!("Tuples and records"),
    };
    let optional = |of: Type| match of {
        Type::Option(inner, _) => Type::Option(inner, true),
        of => Type::Option(Box::new(of), true),
    };
    let mut united = vec![];
    for (name, of) in names.iter().zip(types) {
        let at = others.iter().position(|other| other == name);
        let other = at.and_then(|at| other_types.get(at));
        united.push(match other {
            Some(other) => {
                let both = of.united(other.clone());
                both.with_context(|| format!("Field '{name}'"))?
            }
            None => optional(of),
        });
    }
    for (name, of) in others.into_iter().zip(other_types) {
        if !names.contains(&name) {
            names.push(name);
            united.push(optional(of));
        }
    }
    Ok((Some(names), united))
}

/// Records with all `fields`; one that they lack is missing.
fn record(
    (names, from): (&Option<Vec<String>>, &[Type]),
    (all, to): (&Option<Vec<String>>, &[Type]),
    rows: usize,
    contents: Vec<AwkwardBlock>,
) -> Result<AwkwardBlock> {
    let mut held: Vec<Option<AwkwardBlock>> = contents.into_iter().map(Some).collect();
    let mut fitted = vec![];
    for (at, to) in to.iter().enumerate() {
        // Fields are found by their names, those of tuples by their places.
        let place = match (names, all) {
            (Some(names), Some(all)) => names.iter().position(|name| *name == all[at]),
            _ => Some(at),
        };
        let found = place.and_then(|place| Some((from.get(place)?, held.get_mut(place)?.take()?)));
        fitted.push(match (found, to) {
            (Some((from, block)), to) => from.fit(block, to)?,
            (None, Type::Option(to, _)) => AwkwardBlock::Option {
                present: vec![false; rows],
                content: Box::new(to.nothing()),
            },
            _ => bail!("A field is missing"),
        });
    }
    let contents = fitted;
    Ok(AwkwardBlock::Record { rows, contents })
}

/// Which rows are there, and those.
fn options(block: AwkwardBlock, valid: bool) -> Result<(Vec<bool>, AwkwardBlock)> {
    Ok(match block {
        AwkwardBlock::Option { present, content } => (present, *content),
        AwkwardBlock::Masked { mask, content } => {
            // Its content has rows for what is missing too; that of an index, as it is written, has none.
            let present: Vec<bool> = mask.iter().map(|byte| (*byte != 0) == valid).collect();
            let rows = (0..).zip(&present).filter(|(_, present)| **present);
            let rows: Vec<u32> = rows.map(|(row, _)| row).collect();
            (present, content.pick(&rows))
        }
        AwkwardBlock::Through(content) => (vec![true; content.rows()], *content),
        _ => bail!("Rows without word of which are missing"),
    })
}

/// A type of numbers by numpy's name.
fn number(name: &str) -> Option<Dtype> {
    if name == "bool" {
        return Some(Dtype::BOOL);
    }
    let (kind, bits) = name.split_at(name.find(|c: char| c.is_ascii_digit())?);
    let kind = match kind {
        "int" => Kind::Int,
        "uint" => Kind::Uint,
        "float" => Kind::Float,
        "complex" => Kind::Complex,
        _ => return None,
    };
    Some(Dtype::native(kind, bits.parse::<usize>().ok()? / 8))
}
