//! Awkward arrays: a form (JSON) and flat buffers named after its nodes (anndata format, "Awkward-arrays").
//!
//! A block is the same tree with its buffers in memory, each node holding just the rows of the block. Lists, records,
//! strings, options by index or byte mask, regular lists and plain buffers are understood; anything else is refused
//! when the array is opened, before a byte is written.
//!
//! The lists `[[1, 2], [], [3]]` are a `ListOffsetArray` with the key `node0` over a `NumpyArray` with the key `node1`,
//! and the buffers `node0-offsets`, `[0, 2, 2, 3]`, and `node1-data`, `[1, 2, 3]`. The form and `length`, the number of
//! rows, are attributes of the group; buffers are arrays in it.

mod block;
mod nodes;
mod unite;
mod write;

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

pub use self::block::AwkwardBlock;
pub use self::nodes::{UnknownForm, form, row_length};
use self::nodes::{check_parameters, index_type, inner_items, unknown_form};
pub use self::unite::Type;
pub use self::write::AwkwardWriter;
use crate::dtype::ints;
use crate::limits;
use crate::store::spec::{Attr, Attrs, Dtype};
use crate::store::{Array, Group, Node};

/// An awkward array on disk, open. Its rows are those of the outermost node of the form.
pub struct Awkward {
    path: String,
    attrs: Attrs,
    rows: u64,
    form: Form,
}

/// One node of the form, with the buffers that belong to it. In brackets: the class that awkward gives it.
enum Form {
    /// Rows of fixed width (`NumpyArray`).
    Plain(FormBuffer),
    /// `offsets`: row i holds items offsets[i] to offsets[i + 1] of the content (`ListOffsetArray`).
    List(FormBuffer, Box<Form>),
    /// Rows of `size` items (`RegularArray`).
    Regular(u64, Box<Form>),
    /// Fields of the same rows (`RecordArray`), without their names; `EmptyArray` is one of no fields.
    Record(Vec<Form>),
    /// `index`: where row i lies in the content; negative where it is missing (`IndexedOptionArray`).
    Option(FormBuffer, Box<Form>),
    /// `mask`: one byte for each row, beside a content of as many rows (`ByteMaskedArray`). Which byte means missing is
    /// in the form, and does not matter here.
    Masked(FormBuffer, Box<Form>),
    /// A node that holds nothing itself (`UnmaskedArray`).
    Through(Box<Form>),
}

struct FormBuffer {
    /// As it is called in the group: `node1-data`.
    name: String,
    array: Array,
}

impl Awkward {
    /// Opens an element of encoding `awkward-array`. An error where its form is not one that can be cut by rows
    /// (see the head of this file), or a buffer of the form is missing or too short.
    pub fn open(group: &Group) -> Result<Awkward> {
        let path = group.path();
        let open = || -> Result<Awkward> {
            let attrs = group.attrs()?;
            let length = attrs.get("length").and_then(Attr::as_ints);
            let Some(&[rows]) = length.as_deref() else {
                bail!("it has no attribute 'length'");
            };
            let form = form(&attrs)?;
            Ok(Awkward {
                path: path.clone(),
                rows,
                form: Form::open(group, &form, rows, 0)?,
                attrs,
            })
        };
        open().with_context(|| format!("Open awkward array '{path}'"))
    }

    /// Rows, by the attribute `length`.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Its form as JSON: two arrays can be put together where these are equal.
    pub fn form(&self) -> Result<String> {
        let form = form(&self.attrs);
        Ok(form.with_context(|| self.path.clone())?.to_string())
    }

    /// The rows in `ranges` (sorted, disjoint), one range after the other. An error where buffers lead beyond each
    /// other, or the rows take 4 GiB or more.
    pub fn read(&self, ranges: &[Range<u64>]) -> Result<AwkwardBlock> {
        let read = || {
            let block = self.form.read(ranges)?;
            // Rows are picked by numbers of 32 bits, and each item takes a byte at least.
            ensure!(
                block.bytes() as u64 <= u64::from(u32::MAX),
                "More than 4 GiB of it at a time; give a smaller --memory-limit"
            );
            Ok(block)
        };
        read().with_context(|| format!("Read '{}'", self.path))
    }

    /// A new array at `path` below `root`, of the same form, which will have `rows` rows.
    pub fn create(&self, root: &Group, path: &str, rows: u64) -> Result<AwkwardWriter> {
        let length = Attr::Bytes {
            dtype: Dtype::INT64,
            shape: vec![],
            bytes: rows.to_ne_bytes().to_vec(),
        };
        let group = root.create_group(path, &self.attrs.clone().with("length", length))?;
        Ok(AwkwardWriter(self.form.create(&group)?))
    }
}

impl Form {
    /// Opens a node that must have `rows` rows at the least, and those below it.
    fn open(group: &Group, form: &Value, rows: u64, depth: usize) -> Result<Form> {
        ensure!(
            depth < limits::DEPTH,
            "its form is nested more than {} deep",
            limits::DEPTH
        );
        let class = form["class"].as_str().unwrap_or("a node without a class");
        check_parameters(form)?;
        let key = form["form_key"].as_str().unwrap_or_default();
        let buffer = |part: &str, kind: &str, row: u64, least: u64| {
            FormBuffer::open(group, &format!("{key}-{part}"), kind, row, least)
        };
        let list = |part: &str, least: u64| -> Result<FormBuffer> {
            let kind = index_type(form, part)?;
            let takes = kind == "int32" || kind == "int64" || kind == "uint32" && part == "offsets";
            ensure!(takes, "its form has {part} of {kind}");
            buffer(part, kind, 1, least)
        };
        let below = |form: &Value, rows| Form::open(group, form, rows, depth + 1);
        let inner = |rows| below(&form["content"], rows).map(Box::new);
        Ok(match class {
            "NumpyArray" => {
                let kind = form["primitive"].as_str();
                let kind = kind.context("its form has values of no type")?;
                Form::Plain(buffer("data", kind, inner_items(form)?, rows)?)
            }
            "ListOffsetArray" => {
                let offsets = list("offsets", rows.saturating_add(1))?;
                let last = offsets.ints(std::slice::from_ref(&(rows..rows + 1)))?[0];
                Form::List(offsets, inner(last)?)
            }
            "RegularArray" => {
                let size = form["size"]
                    .as_u64()
                    .context("a regular list without a size")?;
                let items = rows
                    .checked_mul(size)
                    .context("a regular list that is too long")?;
                Form::Regular(size, inner(items)?)
            }
            "RecordArray" => {
                let open = |field| below(field, rows);
                Form::Record(
                    nodes::contents(form)?
                        .iter()
                        .map(open)
                        .collect::<Result<_>>()?,
                )
            }
            // How many rows the content needs, the index alone says, which is read with the rows.
            "IndexedOptionArray" => Form::Option(list("index", rows)?, inner(0)?),
            "ByteMaskedArray" => {
                let kind = index_type(form, "mask")?;
                ensure!(kind == "int8", "its form has a mask of {kind}");
                let mask = buffer("mask", kind, 1, rows)?;
                Form::Masked(mask, inner(rows)?)
            }
            // Of no rows, and without buffers: what lists hold that are all empty.
            "EmptyArray" => {
                ensure!(rows == 0, "an array without elements has {rows} rows");
                Form::Record(vec![])
            }
            "UnmaskedArray" => Form::Through(inner(rows)?),
            other => bail!(unknown_form(other)),
        })
    }

    /// The rows in `ranges` (sorted, disjoint) of this node, with those of the nodes below that they lead to.
    fn read(&self, ranges: &[Range<u64>]) -> Result<AwkwardBlock> {
        Ok(match self {
            Form::Plain(data) => AwkwardBlock::Plain {
                row: data.array.spec().row_bytes() as usize,
                bytes: data.array.read(ranges)?,
            },
            Form::List(offsets, content) => {
                let (lengths, inner) = offsets.lists(ranges)?;
                AwkwardBlock::List {
                    lengths,
                    content: Box::new(content.read(&inner)?),
                }
            }
            Form::Regular(size, content) => {
                let inner: Vec<_> = ranges
                    .iter()
                    .map(|r| r.start * size..r.end * size)
                    .collect();
                AwkwardBlock::Regular {
                    size: *size as usize,
                    rows: count(ranges) as usize,
                    content: Box::new(content.read(&inner)?),
                }
            }
            Form::Record(contents) => AwkwardBlock::Record {
                rows: count(ranges) as usize,
                contents: contents
                    .iter()
                    .map(|c| c.read(ranges))
                    .collect::<Result<_>>()?,
            },
            Form::Option(index, content) => {
                let index = index.ints(ranges)?;
                let present: Vec<bool> = index.iter().map(|&i| (i as i64) >= 0).collect();
                let places: Vec<u64> = index.into_iter().filter(|&i| (i as i64) >= 0).collect();
                AwkwardBlock::Option {
                    present,
                    content: Box::new(content.read_at(&places)?),
                }
            }
            Form::Masked(mask, content) => AwkwardBlock::Masked {
                mask: mask.array.read(ranges)?,
                content: Box::new(content.read(ranges)?),
            },
            Form::Through(content) => AwkwardBlock::Through(Box::new(content.read(ranges)?)),
        })
    }

    /// The rows at `places`, in any order, repeats allowed.
    fn read_at(&self, places: &[u64]) -> Result<AwkwardBlock> {
        // Buffers are read in their order, each row once, and rows picked from that.
        let mut sorted = places.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let block = self.read(&runs(&sorted))?;
        if sorted == places {
            return Ok(block);
        }
        let picks: Vec<u32> = places
            .iter()
            .map(|p| sorted.binary_search(p).unwrap_or_default() as u32)
            .collect();
        Ok(block.pick(&picks))
    }
}

impl FormBuffer {
    /// A buffer of `least` rows or more, of `row` values each. awkward takes its bytes for values of the type `kind`,
    /// by numpy's name, whatever they are; only integers of the same size and other sign are the same to it.
    fn open(group: &Group, name: &str, kind: &str, row: u64, least: u64) -> Result<FormBuffer> {
        let Some(Node::Array(array)) = group.get(name)? else {
            bail!("its buffer '{name}' is missing");
        };
        let spec = array.spec();
        let is_date = kind.starts_with("datetime64") || kind.starts_with("timedelta64");
        if is_date && matches!(spec.dtype, Dtype::Unsupported(_) | Dtype::Date(_)) {
            return Err(UnknownForm(kind.into()).into());
        }
        let rows = spec.rows();
        ensure!(
            !spec.shape.is_empty() && rows >= least,
            "its buffer '{name}' has {rows} rows, less than {least}"
        );
        let found = spec.dtype.to_string();
        let unsigned = |name: &str| name.trim_start_matches('u').to_owned();
        ensure!(
            unsigned(&found) == unsigned(kind) && spec.row_items() == row,
            "its buffer '{name}' has rows of {} {found}, where its form has {row} {kind}",
            spec.row_items()
        );
        Ok(FormBuffer {
            name: name.into(),
            array,
        })
    }

    fn ints(&self, ranges: &[Range<u64>]) -> Result<Vec<u64>> {
        ints::read(&self.array.read(ranges)?, &self.array.spec().dtype)
    }

    /// Of an offsets buffer: the lengths of the lists in `ranges`, and where their items lie. Offsets `[0, 2, 2, 5]`
    /// have in 0..3 the lengths `[2, 0, 3]` and the items `[0..5]`.
    fn lists(&self, ranges: &[Range<u64>]) -> Result<(Vec<u64>, Vec<Range<u64>>)> {
        let with_ends: Vec<_> = ranges.iter().map(|r| r.start..r.end + 1).collect();
        let offsets = self.ints(&with_ends)?;
        let (mut lengths, mut inner) = (vec![], Vec::<Range<u64>>::new());
        let (mut at, mut before) = (0, 0);
        for range in ranges {
            let here = &offsets[at..=at + (range.end - range.start) as usize];
            let (first, last) = (here[0], here[here.len() - 1]);
            ensure!(
                before <= first && here.is_sorted(),
                "Its buffer '{}' decreases in rows {} to {}",
                self.name,
                range.start,
                range.end
            );
            lengths.extend(here.windows(2).map(|w| w[1] - w[0]));
            match inner.last_mut() {
                Some(run) if run.end == first => run.end = last,
                _ if first < last => inner.push(first..last),
                _ => {}
            }
            before = last;
            at += here.len();
        }
        Ok((lengths, inner))
    }
}

fn count(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|r| r.end - r.start).sum()
}

/// Sorted, different numbers as ranges.
pub fn runs(sorted: &[u64]) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = vec![];
    for &n in sorted {
        match runs.last_mut() {
            Some(run) if run.end == n => run.end += 1,
            _ => runs.push(n..n + 1),
        }
    }
    runs
}
