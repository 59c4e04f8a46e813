//! Awkward arrays: a form (JSON) and flat buffers named after its nodes (anndata format, "Awkward-arrays").
//!
//! A block is the same tree with its buffers in memory, each node holding just the rows of the block. Lists, records,
//! strings, options by index or byte mask, regular lists and plain buffers are understood; anything else is refused
//! when the array is opened, before a byte is written.

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::ints;
use crate::store::spec::{ArraySpec, Attr, Attrs, Dtype};
use crate::store::{Appender, Array, Group, Node, Rows};

pub struct Awkward {
    path: String,
    attrs: Attrs,
    rows: u64,
    form: Form,
}

/// One node of the form, with the buffers that belong to it.
enum Form {
    /// Rows of fixed width.
    Plain(Buffer),
    /// `offsets`: row i holds elements offsets[i] to offsets[i + 1] of the content.
    List(Buffer, Box<Form>),
    /// Rows of `size` elements.
    Regular(u64, Box<Form>),
    Record(Vec<Form>),
    /// `index`: where row i lies in the content; negative where it is missing.
    Option(Buffer, Box<Form>),
    /// `mask`: one byte for each row, beside a content of as many rows.
    Masked(Buffer, Box<Form>),
    /// A node that holds nothing itself.
    Through(Box<Form>),
}

struct Buffer {
    name: String,
    array: Array,
}

/// Rows of one node, in memory.
pub enum AwkwardBlock {
    Plain {
        row: usize,
        bytes: Vec<u8>,
    },
    List {
        lengths: Vec<u64>,
        content: Box<AwkwardBlock>,
    },
    Regular {
        size: usize,
        rows: usize,
        content: Box<AwkwardBlock>,
    },
    Record {
        rows: usize,
        contents: Vec<AwkwardBlock>,
    },
    Option {
        present: Vec<bool>,
        content: Box<AwkwardBlock>,
    },
    Masked {
        mask: Vec<u8>,
        content: Box<AwkwardBlock>,
    },
    Through(Box<AwkwardBlock>),
}

impl Awkward {
    pub fn open(group: &Group) -> Result<Awkward> {
        let path = group.path();
        let open = || -> Result<Awkward> {
            let attrs = group.attrs()?;
            let length = attrs.get("length").and_then(Attr::as_ints);
            let Some(&[rows]) = length.as_deref() else {
                bail!("it has no attribute 'length'");
            };
            let form: Value = match attrs.get("form") {
                Some(Attr::Text(form)) => serde_json::from_str(form)?,
                Some(Attr::Json(form)) => form.clone(),
                _ => bail!("it has no attribute 'form'"),
            };
            Ok(Awkward {
                path: path.clone(),
                rows,
                form: Form::open(group, &form, rows, 0)?,
                attrs,
            })
        };
        open().with_context(|| format!("Open awkward array '{path}'"))
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Its form as JSON: two arrays can be put together where these are equal.
    pub fn form(&self) -> Result<String> {
        match self.attrs.get("form") {
            Some(Attr::Text(form)) => Ok(serde_json::from_str::<Value>(form)?.to_string()),
            Some(Attr::Json(form)) => Ok(form.to_string()),
            _ => bail!("Awkward array '{}' has no attribute 'form'", self.path),
        }
    }

    pub fn read(&self, ranges: &[Range<u64>]) -> Result<AwkwardBlock> {
        self.form
            .read(ranges)
            .with_context(|| format!("Read '{}'", self.path))
    }

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

/// Deeper forms than this are no data.
const DEEPEST: usize = 64;

impl Form {
    fn open(group: &Group, form: &Value, rows: u64, depth: usize) -> Result<Form> {
        ensure!(
            depth < DEEPEST,
            "its form is nested more than {DEEPEST} deep"
        );
        let class = form["class"].as_str().unwrap_or("a node without a class");
        let key = form["form_key"].as_str().unwrap_or_default();
        let buffer = |part: &str, least: u64| Buffer::open(group, &format!("{key}-{part}"), least);
        let inner = |rows: u64| -> Result<Box<Form>> {
            Ok(Box::new(Form::open(
                group,
                &form["content"],
                rows,
                depth + 1,
            )?))
        };
        Ok(match class {
            "NumpyArray" => Form::Plain(buffer("data", rows)?),
            "ListOffsetArray" => {
                let offsets = buffer("offsets", rows + 1)?;
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
                let contents = form["contents"]
                    .as_array()
                    .context("a record without contents")?;
                let open = |c| Form::open(group, c, rows, depth + 1);
                Form::Record(contents.iter().map(open).collect::<Result<_>>()?)
            }
            "IndexedOptionArray" => Form::Option(buffer("index", rows)?, inner(0)?),
            "ByteMaskedArray" => Form::Masked(buffer("mask", rows)?, inner(rows)?),
            "UnmaskedArray" => Form::Through(inner(rows)?),
            other => bail!("its form holds {other}, whose rows cannot be taken"),
        })
    }

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

    fn create(&self, group: &Group) -> Result<FormWriter> {
        Ok(match self {
            Form::Plain(data) => FormWriter::Plain(data.create(group)?),
            Form::List(offsets, content) => {
                let dtype = offsets.array.spec().dtype.clone();
                let mut writer = offsets.create(group)?;
                writer.append(&ints::write(&[0], &dtype)?)?;
                FormWriter::List {
                    offsets: writer,
                    dtype,
                    end: 0,
                    content: Box::new(content.create(group)?),
                }
            }
            Form::Regular(_, content) | Form::Through(content) => {
                FormWriter::Through(Box::new(content.create(group)?))
            }
            Form::Record(contents) => FormWriter::Record(
                contents
                    .iter()
                    .map(|c| c.create(group))
                    .collect::<Result<_>>()?,
            ),
            Form::Option(index, content) => FormWriter::Option {
                index: index.create(group)?,
                dtype: index.array.spec().dtype.clone(),
                end: 0,
                content: Box::new(content.create(group)?),
            },
            Form::Masked(mask, content) => {
                FormWriter::Masked(mask.create(group)?, Box::new(content.create(group)?))
            }
        })
    }
}

impl Buffer {
    fn open(group: &Group, name: &str, least: u64) -> Result<Buffer> {
        let Some(Node::Array(array)) = group.get(name)? else {
            bail!("its buffer '{name}' is missing");
        };
        let rows = array.spec().rows();
        ensure!(
            !array.spec().shape.is_empty() && rows >= least,
            "its buffer '{name}' has {rows} rows, less than {least}"
        );
        Ok(Buffer {
            name: name.into(),
            array,
        })
    }

    fn ints(&self, ranges: &[Range<u64>]) -> Result<Vec<u64>> {
        ints::read(&self.array.read(ranges)?, &self.array.spec().dtype)
    }

    /// Of an offsets buffer: the lengths of the lists in `ranges`, and where their elements lie.
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

    fn create(&self, group: &Group) -> Result<Appender> {
        let spec: &ArraySpec = self.array.spec();
        group.create_array(&self.name, spec, Rows::Growing, &self.array.attrs()?)
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

impl AwkwardBlock {
    pub fn bytes(&self) -> usize {
        match self {
            AwkwardBlock::Plain { bytes, .. } => bytes.len(),
            AwkwardBlock::List { lengths, content } => 8 * lengths.len() + content.bytes(),
            AwkwardBlock::Regular { content, .. } | AwkwardBlock::Through(content) => {
                content.bytes()
            }
            AwkwardBlock::Record { contents, .. } => contents.iter().map(|c| c.bytes()).sum(),
            AwkwardBlock::Option { present, content } => present.len() + content.bytes(),
            AwkwardBlock::Masked { mask, content } => mask.len() + content.bytes(),
        }
    }

    pub fn pick(&self, picks: &[u32]) -> AwkwardBlock {
        match self {
            AwkwardBlock::Plain { row, bytes } => AwkwardBlock::Plain {
                row: *row,
                bytes: picks
                    .iter()
                    .flat_map(|&p| &bytes[p as usize * row..(p as usize + 1) * row])
                    .copied()
                    .collect(),
            },
            AwkwardBlock::List { lengths, content } => {
                let starts = starts(lengths.iter().copied());
                let inner: Vec<u32> = picks
                    .iter()
                    .flat_map(|&p| starts[p as usize]..starts[p as usize + 1])
                    .collect();
                AwkwardBlock::List {
                    lengths: picks.iter().map(|&p| lengths[p as usize]).collect(),
                    content: Box::new(content.pick(&inner)),
                }
            }
            AwkwardBlock::Regular { size, content, .. } => {
                let size32 = *size as u32;
                let inner: Vec<u32> = picks
                    .iter()
                    .flat_map(|&p| p * size32..(p + 1) * size32)
                    .collect();
                AwkwardBlock::Regular {
                    size: *size,
                    rows: picks.len(),
                    content: Box::new(content.pick(&inner)),
                }
            }
            AwkwardBlock::Record { contents, .. } => AwkwardBlock::Record {
                rows: picks.len(),
                contents: contents.iter().map(|c| c.pick(picks)).collect(),
            },
            AwkwardBlock::Option { present, content } => {
                let places = starts(present.iter().map(|&p| u64::from(p)));
                let inner: Vec<u32> = picks
                    .iter()
                    .filter(|&&p| present[p as usize])
                    .map(|&p| places[p as usize])
                    .collect();
                AwkwardBlock::Option {
                    present: picks.iter().map(|&p| present[p as usize]).collect(),
                    content: Box::new(content.pick(&inner)),
                }
            }
            AwkwardBlock::Masked { mask, content } => AwkwardBlock::Masked {
                mask: picks.iter().map(|&p| mask[p as usize]).collect(),
                content: Box::new(content.pick(picks)),
            },
            AwkwardBlock::Through(content) => AwkwardBlock::Through(Box::new(content.pick(picks))),
        }
    }

    pub fn rows(&self) -> usize {
        match self {
            AwkwardBlock::Plain { row, bytes } => bytes.len() / (*row).max(1),
            AwkwardBlock::List { lengths, .. } => lengths.len(),
            AwkwardBlock::Regular { rows, .. } | AwkwardBlock::Record { rows, .. } => *rows,
            AwkwardBlock::Option { present, .. } => present.len(),
            AwkwardBlock::Masked { mask, .. } => mask.len(),
            AwkwardBlock::Through(content) => content.rows(),
        }
    }
}

/// Where each of some lengths begins, and where the last one ends.
fn starts(lengths: impl Iterator<Item = u64>) -> Vec<u32> {
    let mut starts = vec![0u32];
    let mut end = 0;
    for length in lengths {
        end += length as u32;
        starts.push(end);
    }
    starts
}

pub struct AwkwardWriter(FormWriter);

enum FormWriter {
    Plain(Appender),
    List {
        offsets: Appender,
        dtype: Dtype,
        end: u64,
        content: Box<FormWriter>,
    },
    Record(Vec<FormWriter>),
    Option {
        index: Appender,
        dtype: Dtype,
        end: u64,
        content: Box<FormWriter>,
    },
    Masked(Appender, Box<FormWriter>),
    Through(Box<FormWriter>),
}

impl AwkwardWriter {
    pub fn append(&mut self, block: &AwkwardBlock) -> Result<()> {
        self.0.append(block)
    }

    pub fn finish(self) -> Result<()> {
        self.0.finish()
    }
}

impl FormWriter {
    fn append(&mut self, block: &AwkwardBlock) -> Result<()> {
        match (self, block) {
            (FormWriter::Plain(data), AwkwardBlock::Plain { bytes, .. }) => data.append(bytes),
            (
                FormWriter::List {
                    offsets,
                    dtype,
                    end,
                    content,
                },
                AwkwardBlock::List {
                    lengths,
                    content: inner,
                },
            ) => {
                let ends: Vec<u64> = lengths
                    .iter()
                    .map(|length| {
                        *end += length;
                        *end
                    })
                    .collect();
                offsets.append(&ints::write(&ends, dtype)?)?;
                content.append(inner)
            }
            (
                FormWriter::Through(content),
                AwkwardBlock::Regular { content: inner, .. } | AwkwardBlock::Through(inner),
            ) => content.append(inner),
            (FormWriter::Record(writers), AwkwardBlock::Record { contents, .. }) => writers
                .iter_mut()
                .zip(contents)
                .try_for_each(|(writer, inner)| writer.append(inner)),
            (
                FormWriter::Option {
                    index,
                    dtype,
                    end,
                    content,
                },
                AwkwardBlock::Option {
                    present,
                    content: inner,
                },
            ) => {
                let missing = vec![0xff; dtype.size()];
                let mut bytes = Vec::with_capacity(present.len() * dtype.size());
                for &is in present {
                    match is {
                        true => bytes.extend(ints::write(&[*end], dtype)?),
                        false => bytes.extend(&missing),
                    }
                    *end += u64::from(is);
                }
                debug_assert_eq!(inner.rows(), present.iter().filter(|&&p| p).count());
                index.append(&bytes)?;
                content.append(inner)
            }
            (
                FormWriter::Masked(mask, content),
                AwkwardBlock::Masked {
                    mask: bytes,
                    content: inner,
                },
            ) => {
                mask.append(bytes)?;
                content.append(inner)
            }
            _ => bail!("An awkward block of another form than its array"),
        }
    }

    fn finish(self) -> Result<()> {
        match self {
            FormWriter::Plain(data) => data.finish().map(drop),
            FormWriter::List {
                offsets, content, ..
            } => offsets.finish().map(drop).and_then(|_| content.finish()),
            FormWriter::Record(writers) => writers.into_iter().try_for_each(FormWriter::finish),
            FormWriter::Option { index, content, .. } => {
                index.finish().map(drop).and_then(|_| content.finish())
            }
            FormWriter::Masked(mask, content) => {
                mask.finish().map(drop).and_then(|_| content.finish())
            }
            FormWriter::Through(content) => content.finish(),
        }
    }
}
