//! Appending blocks of rows to a new awkward array: offsets and indexes are made anew, values stay bytes.
//!
//! All buffers grow: how many rows an inner node gets shows only when the last block has come. Nodes are written in the
//! order of the form, a block of each at a time, and hold back what does not fill a chunk.

use anyhow::{Result, bail};

use super::{AwkwardBlock, Form, FormBuffer};
use crate::dtype::ints;
use crate::store::spec::{ArraySpec, Dtype};
use crate::store::{Appender, Group, Rows};

impl Form {
    /// Creates the buffers of a new array in `group`. They have the names and types of the old ones, so the form stays
    /// as it is.
    pub(super) fn create(&self, group: &Group) -> Result<FormWriter> {
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

impl FormBuffer {
    fn create(&self, group: &Group) -> Result<Appender> {
        let spec: &ArraySpec = self.array.spec();
        group.create_array(&self.name, spec, Rows::Growing, &self.array.attrs()?)
    }
}

/// A new awkward array, open for appending. It is whole after [`finish`](AwkwardWriter::finish) only.
pub struct AwkwardWriter(pub(super) FormWriter);

/// A node that is being written; the variants are those of [`Form`].
pub(super) enum FormWriter {
    Plain(Appender),
    List {
        offsets: Appender,
        dtype: Dtype,
        /// Items so far, which is the last offset that was written.
        end: u64,
        content: Box<FormWriter>,
    },
    Record(Vec<FormWriter>),
    Option {
        index: Appender,
        dtype: Dtype,
        /// Rows of the content so far, where the next that is present goes.
        end: u64,
        content: Box<FormWriter>,
    },
    Masked(Appender, Box<FormWriter>),
    /// A node without buffers, regular lists among them.
    Through(Box<FormWriter>),
}

impl AwkwardWriter {
    /// Appends rows of an array of the same form.
    pub fn append(&mut self, block: &AwkwardBlock) -> Result<()> {
        self.0.append(block)
    }

    /// Closes all buffers; an error where one cannot be written.
    pub fn finish(self) -> Result<()> {
        self.0.finish()
    }
}

/// The index of an option: where each value that is present lies, -1 for others. `end` counts those that are present.
fn option_index(present: &[bool], end: &mut u64, dtype: &Dtype) -> Result<Vec<u8>> {
    let missing = vec![0xff; dtype.size()];
    let mut bytes = Vec::with_capacity(present.len() * dtype.size());
    for &is in present {
        if is {
            bytes.extend(ints::write(&[*end], dtype)?);
        } else {
            bytes.extend(&missing);
        }
        *end += u64::from(is);
    }
    Ok(bytes)
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
                debug_assert_eq!(inner.rows(), present.iter().filter(|&&p| p).count());
                index.append(&option_index(present, end, dtype)?)?;
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
